"""A Keras 3 model as one of tf-keras, and back.

Neither configurations nor files of Keras 3 can be read by tf-keras. So the model is built again,
call by call, of tf-keras's layers of the same names, and given the same weights: those of the
layers that tensorflow-model-optimization knows, and else the layer itself (see `kept`). Grouped
convolutions stay grouped.

The way back copies the Keras 3 model and gives it the weights, bit by bit.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_roots import graph as graphs
from keras_roots import layers, normalization
from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.clone import clone, copy_state, plain_copy
from keras_roots.compression.kept import Recipe, kept, kept_class
from keras_roots.compression.legacy import libraries
from keras_roots.export.exportable import require_exportable

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
    "Dropout": ("rate",),
    "SpatialDropout2D": ("rate", "data_format"),
    "Add": (),
    "Subtract": (),
    "Multiply": (),
    "Average": (),
    "Maximum": (),
    "Minimum": (),
    "Concatenate": ("axis",),
}
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
        return [variable.numpy() for variable in getattr(layer.kept, "weights", ())]
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
    without = _softmax_at_end(traced) if scores else None
    legacy_keras = libraries().keras
    tensors: dict[int, Any] = {}
    taken: set[str] = set()
    for number, tensor in zip(traced.inputs, model.inputs, strict=True):
        name = _unique(tensor.name, taken)
        tensors[number] = legacy_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
    inputs = [tensors[number] for number in traced.inputs]
    made: dict[int, Callable] = {}
    names: dict[int, tuple[str, ...]] = {}
    for call in traced.calls:
        if call is without and not call.layer.weights:
            tensors[call.outputs[0]] = tensors[call.inputs[0]]
            continue
        if id(call.layer) not in made:
            layers_made, called = _counterpart(call, taken, linear=call is without)
            names[id(call.layer)] = tuple(layer.name for layer in layers_made)
            made[id(call.layer)] = called
        given = [tensors[number] for number in call.inputs]
        try:
            outputs = made[id(call.layer)](given[0] if len(given) == 1 else given)
        except Exception as error:  # Whatever a layer raises of inputs that it has not expected.
            raise _NoCounterpartError(call, " ".join(str(error).split())) from error
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        tensors.update(zip(call.outputs, outputs, strict=True))
    made_outputs = [tensors[number] for number in traced.outputs]
    name = re.sub(r"\W", "_", model.name)
    legacy = legacy_keras.Model(inputs, made_outputs, name=name)
    for call in traced.calls:
        if isinstance(call.layer, keras.Layer) and call.layer.weights:
            _give_weights(call, [legacy.get_layer(name) for name in names[id(call.layer)]])
    bridge = Bridge(model, legacy, names, gives_scores=without is not None)
    _check(bridge, traced)
    return bridge


class _NoCounterpartError(ValueError):
    def __init__(self, call: graphs.Call, reason: str):
        super().__init__(
            f"Layer '{call.path}' ({type(call.layer).__name__}) cannot be had in tf-keras, which "
            f"tensorflow-model-optimization needs: {reason}"
        )


def _counterpart(call: graphs.Call, taken: set[str], *, linear: bool) -> tuple[list[Any], Callable]:
    """The layers of tf-keras that have the layer's weights, and what is called in its place."""
    layer, name = call.layer, _unique(call.path, taken)
    kind = _OURS.get(type(layer)) or _name_in_keras(layer)
    if kind == "SeparableConv2D":
        # One that tensorflow-model-optimization would take apart, and name anew.
        pointwise = _unique(f"{name}_pointwise", taken)
        made = _separable(call, name, pointwise, _regularizers(call))
    elif kind in _ARGUMENTS and _is_plain(call, kind):
        config = layer.get_config()
        arguments = {each: config[each] for each in _ARGUMENTS[kind] if each in config}
        if getattr(layer, "activation", None) is not None:
            arguments["activation"] = "linear"
        arguments |= _regularizers(call)
        made = [getattr(libraries().keras.layers, kind)(name=name, **arguments)]
    else:
        try:
            one = kept(Recipe(layer, call.arguments), name)
        except Exception as error:
            raise _NoCounterpartError(call, " ".join(str(error).split())) from error
        return [one], one
    for each in made:
        each.trainable = layer.trainable
    followers = list(made)
    activation = getattr(layer, "activation", None)
    if activation is not None and not linear:
        known = keras.activations.serialize(activation)
        if known in _ACTIVATIONS:
            made[-1].activation = libraries().keras.activations.get(known)
        else:
            activation_name = _unique(f"{name}_activation", taken)
            layer_of_it = keras.layers.Activation(activation, name=activation_name)
            followers.append(kept(Recipe(layer_of_it), activation_name))
    # A layer that is called with training=False, as of transfer learning, always is.
    fixed = call.arguments.kwargs.get("training")

    def called(inputs):
        for each in followers:
            inputs = each(inputs) if fixed is None else each(inputs, training=fixed)
        return inputs

    return made, called


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


def _is_plain(call: graphs.Call, kind: str) -> bool:
    """Whether the layer is no more than its arguments say."""
    layer = call.layer
    if kind == "Activation":
        return keras.activations.serialize(layer.activation) in _ACTIVATIONS
    if kind == "BatchNormalization":
        return not getattr(layer, "renorm", False) and not isinstance(layer.axis, (list, tuple))
    return not getattr(layer, "lora_enabled", False)


def _activation(function: Callable, name: str) -> Any:
    """A layer of an activation that tf-keras has not."""
    return kept(Recipe(keras.layers.Activation(function, name=name)), name)


def _regularizers(call: graphs.Call) -> dict[str, Any]:
    """A layer's regularisers as tf-keras's, by the names of its arguments."""
    found = {}
    for name in _REGULARIZED:
        if getattr(call.layer, f"{name}_constraint", None) is not None:
            raise _NoCounterpartError(call, f"it has a {name}_constraint, which would be lost")
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


def _softmax_at_end(traced: graphs.Graph) -> graphs.Call | None:
    """The call whose softmax over [batch, classes] is the model's only output."""
    for call in traced.calls:
        if call.outputs == traced.outputs and len(call.output_shapes[0]) == 2:
            layer = call.layer
            is_softmax = getattr(layer, "activation", None) is keras.activations.softmax or (
                type(layer) is keras.layers.Softmax and layer.axis in (-1, 1)
            )
            is_shared = sum(each.layer is layer for each in traced.calls) > 1
            return call if is_softmax and not is_shared else None
    return None


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
        rng.integers(0, 2, (1, *shape[1:])).astype(tensor.dtype)
        if "int" in tensor.dtype
        else rng.uniform(0, 1, (1, *shape[1:])).astype(tensor.dtype)
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
        difference = np.abs(mine - theirs).max(initial=0.0) / largest
        if mine.shape != theirs.shape or not difference < _TOLERANCE:
            raise RuntimeError(
                f"'{bridge.model.name}' computes something else in tf-keras (outputs differ by "
                f"{difference:.2g} of the largest): nothing was changed. Please report it with the "
                "model."
            )


def _unique(name: str, taken: set[str]) -> str:
    """A name of no other layer, of characters that TensorFlow allows."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    plain = plain if re.match(r"[A-Za-z0-9.]", plain) else f"x{plain}"
    while plain in taken:
        plain += "_"
    taken.add(plain)
    return plain
