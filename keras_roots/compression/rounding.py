"""A tf-keras model that computes with the rounding of int8.

tensorflow-model-optimization makes it. Deviations: the ranges of feature maps begin with those of
some batches, not with -6 to 6; layers that it refuses compute in float32, from and to int8; and
each layer has a quantizer of its own.
"""

import contextlib
import functools
import types
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_roots.compression.bridge import Bridge
from keras_roots.compression.fast_convolutions import fast
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.compression.kept import kept_class
from keras_roots.compression.legacy import libraries
from keras_roots.compression.preserved import Preserve, kept_of
from keras_roots.surgery import graph, replaced

# Images from which ranges begin; their mean over batches forgets a batch by this.
_IMAGES_FOR_RANGES = 256
_FORGETTING = 0.9
_ONLY_IN_TRAINING = (
    keras.layers.Dropout,  # Those of one, two and three dimensions are such, too.
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.Identity,
)


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """In which tf-keras finds all classes by their names, as it copies models."""
    names = {each.__name__: each for each in (kept_class(), _output_rounded())}
    with (
        libraries().tfmot.quantization.keras.quantize_scope(),
        libraries().keras.utils.custom_object_scope(names),
    ):
        yield


def with_rounding(
    bridge: Bridge, alone: Sequence[str], preserve: Preserve, keeping: set[str]
) -> Any:
    """The tf-keras model with fake quantisation.

    Args:
        bridge: to it.
        alone: names of layers that are not quantised.
        preserve: what is preserved, in the layers of `keeping`.
    """
    quantization = libraries().tfmot.quantization.keras
    how = _annotations(bridge, alone)

    def annotate(layer: Any) -> Any:
        if layer.name not in how:
            return layer
        return quantization.quantize_annotate_layer(layer, how[layer.name])

    with scope(), _clusters_of_kernels():
        annotated = libraries().keras.models.clone_model(bridge.legacy, clone_function=annotate)
        quantized = quantization.quantize_apply(annotated, _scheme(preserve, keeping))
    for wrapper in quantized.layers:
        if isinstance(wrapper, quantization.QuantizeWrapper) and not wrapper.trainable:
            # It would train the kernel all the same.
            wrapper._non_trainable_weights += wrapper._trainable_weights
            wrapper._trainable_weights = []
    return quantized


def _scheme(preserve: Preserve, keeping: set[str]) -> Any:
    """The quantisation of 8 bits, which preserves something in some layers.

    tensorflow-model-optimization's own schemes have one quantizer for all
    layers, which ceases to preserve sparsity at the first that has no zeros.
    """
    tfmot = libraries().tfmot
    combine, default = tfmot.experimental.combine, tfmot.quantization.keras.default_8bit
    registry_class: Any = default.Default8BitQuantizeRegistry
    scheme_class: Any = default.Default8BitQuantizeScheme

    class Registry(registry_class):
        def get_quantize_config(self, layer):
            if preserve == "nothing" or layer.name not in keeping:
                return super().get_quantize_config(layer)
            what = kept_of(layer.kernel.numpy(), preserve)
            if what == "sparsity":
                own = combine.Default8BitPrunePreserveQuantizeScheme()
            else:
                own = combine.Default8BitClusterPreserveQuantizeScheme(what == "both")
            return own.get_quantize_registry().get_quantize_config(layer)

    class Scheme(scheme_class):
        def get_quantize_registry(self):
            return Registry()

    return Scheme()


@contextlib.contextmanager
def _clusters_of_kernels() -> Iterator[None]:
    """Clusters that are preserved are as clustering makes them.

    Those of a whole kernel, where tensorflow-model-optimization takes those of each filter apart if
    all filters happen to have nearly as many, so that the kernel has more in the end. And a
    centroid follows the mean of its weights' gradients, not their sum, which is of thousands:
    networks do not survive that at the learning rates of anything else.
    """
    from tensorflow_model_optimization.python.core.clustering.keras import cluster_config
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import (
        cluster_preserve,
    )

    registry = cluster_preserve.cluster_preserve_quantize_registry
    averaged = types.SimpleNamespace(SUM=cluster_config.GradientAggregation.AVG)

    def centroids_of(_layer, weight, _data_format):
        centroids, places = registry.get_unique(weight)
        return centroids, len(centroids), places, False

    config = types.SimpleNamespace(GradientAggregation=averaged)
    with replaced(registry, get_centroids=centroids_of, cluster_config=config):
        yield


@functools.cache
def _output_rounded() -> type:
    """How a layer is quantised that computes in float32: what it gives is rounded."""
    quantization = libraries().tfmot.quantization.keras
    config_class: Any = quantization.QuantizeConfig

    class OutputRounded(config_class):
        def get_weights_and_quantizers(self, _layer):
            return []

        def get_activations_and_quantizers(self, _layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            pass

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, _layer):
            return [
                quantization.quantizers.MovingAverageQuantizer(
                    num_bits=8, per_axis=False, symmetric=False, narrow_range=False
                )
            ]

        def get_config(self):
            return {}

    return OutputRounded


def _annotations(bridge: Bridge, alone: Sequence[str]) -> dict[str, Any]:
    """How each layer of tf-keras is quantised: None, as its kind is; or a configuration.

    Those that are left out stay as they are.
    """
    layers = libraries().keras.layers
    of_alone = {
        name
        for call in graph.trace(bridge.model).calls
        if call.path in alone
        for name in bridge.names[id(call.layer)]
    }
    known: tuple[type, ...] = (
        layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.ReLU, layers.Activation,
        layers.Add, layers.Concatenate, layers.AveragePooling2D, layers.GlobalAveragePooling2D,
        layers.MaxPooling2D, layers.GlobalMaxPooling2D, layers.ZeroPadding2D, layers.Cropping2D,
        layers.Flatten, layers.Reshape, layers.Permute,
    )  # fmt: skip
    convolutions = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    found: dict[str, Any] = {}
    for layer in bridge.legacy.layers:
        if isinstance(layer, layers.InputLayer) or layer.name in of_alone:
            continue
        if isinstance(layer, layers.BatchNormalization):
            before, after = _around(layer)
            if (
                len(before) == 1
                and type(before[0]) in convolutions
                and before[0].activation is libraries().keras.activations.linear
                and before[0].name not in of_alone
                and len(_around(before[0])[1]) == 1
            ):
                found[layer.name] = None  # It becomes part of the convolution.
            elif not (after and all(_is_relu(each) for each in after)):
                found[layer.name] = _output_rounded()()
        elif type(layer) in known:
            found[layer.name] = None
        elif isinstance(getattr(layer, "kept", None), _ONLY_IN_TRAINING):
            continue  # What it hands on has been rounded.
        elif not isinstance(layer.output, (list, tuple)) and layer.output.dtype.is_floating:
            found[layer.name] = _output_rounded()()
    return found


def _is_relu(layer: Any) -> bool:
    layers = libraries().keras.layers
    return isinstance(layer, layers.ReLU) or (
        isinstance(layer, layers.Activation) and layer.activation.__name__ == "relu"
    )


def _around(layer: Any) -> tuple[list[Any], list[Any]]:
    """The layers whose outputs it reads, and those that read its own."""
    before = [each for node in layer._inbound_nodes for each in _flat(node.inbound_layers)]
    return before, [node.outbound_layer for node in layer._outbound_nodes]


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@contextlib.contextmanager
def averages(decay: Any) -> Iterator[None]:
    """What is traced inside forgets, of the ranges of feature maps, as much as this in an update.

    tensorflow-model-optimization has 0.999 and no argument for it.
    """
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    as_it_is = quant_ops.MovingAvgQuantize

    def with_decay(*arguments, **others):
        return as_it_is(*arguments, **{**others, "ema_decay": decay})

    with replaced(quant_ops, MovingAvgQuantize=with_decay):
        yield


def begin_ranges(quantized: Any, tuning: FineTuning) -> None:
    """Sets the ranges of all feature maps to those of some batches; nothing else changes."""
    import tensorflow as tf

    images = tuning.calibration_images(_IMAGES_FOR_RANGES)
    size = tuning.config.batch_size
    ranges = {id(variable) for variable in quantized.variables if _is_range(variable)}
    others = [(v, v.numpy()) for v in quantized.variables if id(v) not in ranges]
    decay = tf.Variable(0.0, trainable=False)
    with averages(decay), fast(quantized):
        forward = tf.function(lambda batch: quantized(batch, training=True), reduce_retracing=True)
        for first in range(0, len(images), size):
            forward(tf.constant(images[first : first + size]))
            decay.assign(_FORGETTING)
    for variable, value in others:
        variable.assign(value)


def _is_range(variable: Any) -> bool:
    name = variable.name.partition(":")[0]
    return name.endswith(("_min", "_max", "/min", "/max"))
