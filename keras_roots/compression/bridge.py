"""A Keras 3 model as one of tf-keras, and back.

Neither configurations nor files of Keras 3 can be read by tf-keras. So the model is built again,
call by call, of tf-keras's layers of the same names, and given the same weights: those of the
layers that tensorflow-model-optimization knows, and else the layer itself (see `kept`). Grouped
convolutions stay grouped.

The way back copies the Keras 3 model and gives it the weights, bit by bit.
"""

import dataclasses
import inspect
import re
from typing import Any

import keras
import numpy as np

from keras_roots import layers
from keras_roots.compression.kept import Recipe, kept, kept_class
from keras_roots.compression.legacy import libraries
from keras_roots.export.exportable import require_exportable
from keras_roots.layers import normalization
from keras_roots.surgery import (
    clone,
    copy_state,
    plain_copy,
    softmax_at_end,
    without_auxiliary_heads,
)
from keras_roots.surgery import graph as graphs

_POOLING = ("pool_size", "strides", "padding", "data_format")
_CONVOLUTION = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias")
# By the class's name, the same in both: the arguments in which it is what it is.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "Conv2D": ("filters", "groups", *_CONVOLUTION),
    "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
    "Conv2DTranspose": ("filters", "output_padding", *_CONVOLUTION),
    "Dense": ("units", "use_bias"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Activation": (),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Softmax": ("axis",),
    "MaxPooling2D": _POOLING,
    "AveragePooling2D": _POOLING,
    "GlobalAveragePooling2D": ("data_format", "keepdims"),
    "GlobalMaxPooling2D": ("data_format", "keepdims"),
    "ZeroPadding2D": ("padding", "data_format"),
    "Cropping2D": ("cropping", "data_format"),
    "Flatten": ("data_format",),
    "Reshape": ("target_shape",),
    "Permute": ("dims",),
    "Concatenate": ("axis",),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), ()),
}
_MERGING = ("Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
# Whose activity_regularizer tf-keras does not forget in a copy.
_SEPARABLE = "SeparableConv2D"
_WITH_ACTIVITY = ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense", _SEPARABLE)
_LOST = "which would be lost"
_OURS: dict[type, str] = {
    layers.Conv2D: "Conv2D",
    layers.GroupedConv2D: "Conv2D",
    normalization.FusedBatchNormalization: "BatchNormalization",
}
# Those that both have, and tensorflow-model-optimization knows to quantise.
_ACTIVATIONS = ("linear", "relu", "softmax", "sigmoid", "tanh")
_REGULARIZED = ("kernel", "bias", "depthwise", "pointwise", "gamma", "beta", "activity")
# Largest difference of an output of the two, relative to the largest: sums in other orders.
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Bridge:
    """A model of Keras 3 and one of tf-keras that computes the same.

    Attributes:
        model: of Keras 3, without auxiliary heads; it is not changed.
        legacy: of tf-keras.
        names: of the tf-keras layers of each layer of `model`, by its identity.
            They are two for a separable convolution.
        gives_scores: whether the softmax at the model's end was left out.
    """

    model: keras.Model
    legacy: Any
    names: dict[int, tuple[str, ...]]
    gives_scores: bool

    def back(self, legacy: Any | None = None) -> keras.Model:
        """A copy of the Keras 3 model, with the weights of the tf-keras one.

        Args:
            legacy: another of the same layers, such as one without its
                wrappers of training; by default the bridge's own.
        """
        found = {layer.name: layer for layer in (legacy or self.legacy).layers}
        copied, pairs = clone(self.model, plain_copy)
        for source, target in pairs:
            copy_state(source, target)
            if target.weights and id(source) in self.names:
                parts = [weights_of(found[name]) for name in self.names[id(source)]]
                target.set_weights([weight for part in parts for weight in part])
        return copied


def weights_of(layer: Any) -> list[np.ndarray]:
    """Those of a tf-keras layer, in the order of its counterpart's."""
    if isinstance(layer, kept_class()):
        return [variable.numpy() for variable in layer.held]
    return layer.get_weights()


def to_legacy(model: keras.Model, *, scores: bool = False) -> Bridge:
    """Builds a tf-keras model that computes what a Keras 3 model does.

    Args:
        model: functional or Sequential, in float32, its input sizes fixed;
            auxiliary heads are left out.
        scores: leave a softmax at its end out.

    Raises:
        ValueError: the model is not as above, or a layer of it cannot be had
            in tf-keras; it is named, with the reason.
        RuntimeError: what was built computes something else.
    """
    model = without_auxiliary_heads(model)
    require_exportable(model)
    traced = graphs.trace(model)
    without = softmax_at_end(traced) if scores else None
    legacy_keras = libraries().keras
    tensors: dict[int, Any] = {}
    taken: set[str] = set()
    for number, tensor in zip(traced.inputs, model.inputs, strict=True):
        name = _unique(tensor.name, taken)
        tensors[number] = legacy_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
    inputs = [tensors[number] for number in traced.inputs]
    called: dict[int, list[Any]] = {}
    names: dict[int, tuple[str, ...]] = {}
    for call in traced.calls:
        if call is without and not getattr(call.layer, "weights", ()):
            tensors[call.outputs[0]] = tensors[call.inputs[0]]
            continue
        given = [tensors[number] for number in call.inputs]
        if id(call.layer) not in called:
            made, called[id(call.layer)] = _counterpart(call, given, taken, linear=call is without)
            names[id(call.layer)] = tuple(layer.name for layer in made)
        outputs = given[0] if len(given) == 1 else given
        how = {"training": False} if _is_fixed(call) else {}
        try:
            for layer in called[id(call.layer)]:
                outputs = layer(outputs, **how)
        except Exception as error:  # Whatever a layer raises of inputs that it has not expected.
            raise _NoCounterpartError(call, error) from error
        tensors.update(zip(call.outputs, keras.tree.flatten(outputs), strict=True))
    made_outputs = [tensors[number] for number in traced.outputs]
    legacy = legacy_keras.Model(inputs, made_outputs, name=_unique(model.name, set()))
    for call in traced.calls:
        if isinstance(call.layer, keras.Layer) and call.layer.weights:
            _give_weights(call, [legacy.get_layer(name) for name in names[id(call.layer)]])
    bridge = Bridge(model, legacy, names, gives_scores=without is not None)
    _check(bridge, traced)
    return bridge


class _NoCounterpartError(ValueError):
    def __init__(self, call: graphs.Call, reason: str | Exception):
        super().__init__(
            f"Layer '{call.path}' ({type(call.layer).__name__}) cannot be had in tf-keras, which "
            f"tensorflow-model-optimization needs: {' '.join(str(reason).split())}"
        )


def _is_fixed(call: graphs.Call) -> bool:
    """Whether a layer is called with training=False, as of transfer learning. It always is."""
    if call.arguments.kwargs.get("training") is not False:
        return False
    # Where its `call` has a default, Keras notes that in the same place.
    parameter = inspect.signature(call.layer.call).parameters.get("training")
    return parameter is not None and parameter.default is not False


def _counterpart(
    call: graphs.Call, given: list[Any], taken: set[str], *, linear: bool
) -> tuple[list[Any], list[Any]]:
    """The layers of tf-keras that have the layer's weights; and those to call, in this order."""
    layer, name = call.layer, _unique(call.path, taken)
    kind = _OURS.get(type(layer)) or _name_in_keras(layer)
    if kind is None or not _is_plain(call, kind, given):
        return _kept(call, name, linear=linear)
    try:
        plain_copy(layer)  # As it will be on the way back.
    except Exception as error:
        raise _NoCounterpartError(call, f"it cannot be copied: {error}") from error
    if kind == _SEPARABLE:
        # One that tensorflow-model-optimization would take apart, and name anew.
        pointwise = _unique(f"{name}_pointwise", taken)
        made = _separable(call, name, pointwise, _regularizers(call))
    else:
        config = layer.get_config()
        arguments = {each: config[each] for each in _ARGUMENTS[kind] if each in config}
        if getattr(layer, "activation", None) is not None:
            arguments["activation"] = "linear"
        arguments |= _regularizers(call)
        made = [getattr(libraries().keras.layers, kind)(name=name, **arguments)]
    for each in made:
        each.trainable = layer.trainable
    activation = getattr(layer, "activation", None)
    if activation is None:
        return made, made
    known = keras.activations.serialize(activation)
    if known in _ACTIVATIONS and not linear:
        made[-1].activation = libraries().keras.activations.get(known)
        return made, made
    if layer.activity_regularizer is not None:
        raise _NoCounterpartError(
            call, "its activity_regularizer is of an activation that is no part of the layer there"
        )
    if linear:
        return made, made
    return made, [*made, kept(Recipe(activation), _unique(f"{name}_activation", taken))]


def _kept(call: graphs.Call, name: str, *, linear: bool) -> tuple[list[Any], list[Any]]:
    for variable in getattr(call.layer, "weights", ()):
        if variable.constraint is not None:
            raise _NoCounterpartError(call, f"its {variable.name} has a constraint, {_LOST}")
    try:
        made = kept(Recipe(call.layer, call.arguments, linear=linear), name)
    except Exception as error:
        raise _NoCounterpartError(call, error) from error
    made.trainable = getattr(call.layer, "trainable", True)
    return [made], [made]


def _separable(
    call: graphs.Call, name: str, pointwise: str, regularizers: dict[str, Any]
) -> list[Any]:
    layers_of, config = libraries().keras.layers, call.layer.get_config()
    spatial = ("kernel_size", "strides", "padding", "data_format", "dilation_rate")
    of_kernels = {
        part: regularizers.pop(f"{part}_regularizer", None) for part in ("depthwise", "pointwise")
    }
    return [
        layers_of.DepthwiseConv2D(
            name=name,
            depth_multiplier=config["depth_multiplier"],
            use_bias=False,
            depthwise_regularizer=of_kernels["depthwise"],
            **{each: config[each] for each in spatial},
        ),
        layers_of.Conv2D(
            config["filters"],
            1,
            name=pointwise,
            use_bias=config["use_bias"],
            data_format=config["data_format"],
            kernel_regularizer=of_kernels["pointwise"],
            **regularizers,
        ),
    ]


def _name_in_keras(layer: Any) -> str | None:
    """The class's name, if it is Keras's own."""
    name = type(layer).__name__
    return name if getattr(keras.layers, name, None) is type(layer) else None


def _is_plain(call: graphs.Call, kind: str, given: list[Any]) -> bool:
    """Whether the layer is one that tf-keras has too, and no more than its arguments say."""
    layer = call.layer
    if kind not in _ARGUMENTS and kind != _SEPARABLE:
        return False
    # A single tensor to add up is refused there, and several types are not made one.
    several = len({tensor.dtype for tensor in given}) > 1
    if several or (len(given) > 1) != (kind in _MERGING):
        return False
    if layer.activity_regularizer is not None and kind not in _WITH_ACTIVITY:
        return False
    if kind == "Activation":
        return keras.activations.serialize(layer.activation) in _ACTIVATIONS
    if kind == "BatchNormalization":
        return not getattr(layer, "renorm", False) and not isinstance(layer.axis, (list, tuple))
    if getattr(getattr(layer, "activation", None), "weights", ()):  # As a PReLU has.
        return False
    return not getattr(layer, "lora_enabled", False) and not getattr(
        layer, "quantization_mode", None
    )


def _regularizers(call: graphs.Call) -> dict[str, Any]:
    """A layer's regularisers as tf-keras's, by the names of its arguments."""
    found = {}
    for name in _REGULARIZED:
        if getattr(call.layer, f"{name}_constraint", None) is not None:
            raise _NoCounterpartError(call, f"it has a {name}_constraint, {_LOST}")
        regularizer = getattr(call.layer, f"{name}_regularizer", None)
        if regularizer is None:
            continue
        if type(regularizer) not in (
            keras.regularizers.L1,
            keras.regularizers.L2,
            keras.regularizers.L1L2,
        ):
            kind = type(regularizer).__name__
            raise _NoCounterpartError(call, f"its {name}_regularizer is {kind}, none of L1 and L2")
        found[f"{name}_regularizer"] = libraries().keras.regularizers.L1L2(
            float(getattr(regularizer, "l1", 0.0)), float(getattr(regularizer, "l2", 0.0))
        )
    return found


def _give_weights(call: graphs.Call, made: list[Any]) -> None:
    if isinstance(made[0], kept_class()):
        return  # It has copied them.
    given = call.layer.get_weights()
    shapes = [tuple(weight.shape) for layer in made for weight in layer.weights]
    if [weight.shape for weight in given] != shapes:
        raise _NoCounterpartError(
            call, f"its weights are of other shapes than there, which are {shapes}"
        )
    for layer in made:
        count = len(layer.weights)
        layer.set_weights(given[:count])
        given = given[count:]


def _check(bridge: Bridge, traced: graphs.Graph) -> None:
    """Raises a RuntimeError unless both compute the same, of random inputs."""
    rng = np.random.default_rng(0)
    inputs = [
        _random(rng, (1, *shape[1:]), tensor.dtype)
        for shape, tensor in zip(traced.input_shapes, bridge.model.inputs, strict=True)
    ]
    expected = bridge.model(
        keras.tree.pack_sequence_as(graphs.functional(bridge.model).input, inputs), training=False
    )
    actual = bridge.legacy(inputs if len(inputs) > 1 else inputs[0], training=False)
    if bridge.gives_scores:
        actual = keras.ops.softmax(actual)
    for mine, theirs in zip(keras.tree.flatten(expected), keras.tree.flatten(actual), strict=True):
        mine, theirs = (np.asarray(each, np.float64) for each in (mine, theirs))
        largest = max(np.abs(mine).max(initial=0.0), np.finfo(np.float32).tiny)
        difference = np.inf
        if mine.shape == theirs.shape:
            difference = np.abs(mine - theirs).max(initial=0.0) / largest
        if not difference < _TOLERANCE:
            raise RuntimeError(
                f"'{bridge.model.name}' computes something else in tf-keras (outputs differ by "
                f"{difference:.2g} of the largest): nothing was changed. Please report it with the "
                "model."
            )


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    import tensorflow as tf

    if dtype == "string":
        return tf.fill(shape, "")
    values = rng.integers(0, 2, shape) if "int" in dtype else rng.uniform(0, 1, shape)
    return tf.constant(values.astype(dtype))


def _unique(name: str, taken: set[str]) -> str:
    """A name of no other layer, of characters that TensorFlow allows."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    plain = plain if re.match(r"[A-Za-z0-9.]", plain) else f"x{plain}"
    while plain in taken:
        plain += "_"
    taken.add(plain)
    return plain
