"""Quantisation-aware training: the network learns with the rounding of int8.

Kernels (by output channel) and feature maps are rounded to 8 bits in each
forward pass, and gradients pass as if they were not.

Source: Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877, as
tensorflow-model-optimization has it. Deviations: the ranges of feature maps
begin with those of some batches, not with -6 to 6, and follow the batches over
a fifth of the updates, where theirs need thousands; and layers that theirs
refuses compute in float32, from and to int8.
"""

import contextlib
import dataclasses
import functools
import os
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import keras
import numpy as np

from keras_roots import graph
from keras_roots.compression.bridge import Bridge, to_legacy
from keras_roots.compression.clustering import MOST_CLUSTERS
from keras_roots.compression.fast_convolutions import fast, native
from keras_roots.compression.fast_rounding import fast_rounding
from keras_roots.compression.fine_tuning import FineTuning, fine_tune
from keras_roots.compression.kept import kept_class
from keras_roots.compression.legacy import forgotten, libraries, require
from keras_roots.compression.selection import kernels, left_alone
from keras_roots.export.artifact import Artifact
from keras_roots.export.exportable import Inputs
from keras_roots.export.trained_integers import export_trained_integers
from keras_roots.reporting import silent
from keras_roots.requirements import require_extras

Preserve = Literal["nothing", "sparsity", "clusters", "both"]
PRESERVE: tuple[Preserve, ...] = ("nothing", "sparsity", "clusters", "both")
_NAMES = {
    "nothing": "QAT",
    "sparsity": "QAT that preserves sparsity (PQAT)",
    "clusters": "QAT that preserves clusters (CQAT)",
    "both": "QAT that preserves sparsity and clusters (PCQAT)",
}
# Images from which ranges begin; their mean over batches forgets a batch by this.
_IMAGES_FOR_RANGES = 256
_FORGETTING = 0.9
# In training: the average is over this part of the updates.
_PART = 0.2
# A kernel of so many zeros has been pruned; a few there may be by chance.
_PRUNED = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """What quantisation-aware training gives.

    Attributes:
        model: of Keras 3, with the weights that were trained, not rounded.
        artifact: the int8 TFLite file, with the ranges that were trained.
    """

    model: keras.Model
    artifact: Artifact


def check(preserve: str) -> None:
    """Raises a ValueError unless it is one of `PRESERVE`."""
    if preserve not in PRESERVE:
        raise ValueError(
            f"Expected what to preserve as one of: {', '.join(PRESERVE)}. Received: {preserve!r}"
        )


def quantize_aware(
    model: keras.Model,
    tuning: FineTuning,
    path: str | os.PathLike,
    images: Inputs,
    *,
    preserve: Preserve = "nothing",
    skip: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    tolerance: float | None = None,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> QuantizedNetwork:
    """Fine-tunes a network with the rounding of int8, and writes it as a TFLite file.

    Args:
        model, tuning, folder, report: as of `pruning.prune`.
        path: of the file to write, *.tflite.
        images: float32 [examples, height, width, channels] as the model takes
            them, on which the file is compared with the trained network.
        preserve: "sparsity": zeros stay zeros (PQAT); "clusters": kernels keep
            their number of values (CQAT); "both" (PCQAT). The model is to be
            pruned, clustered, or pruned and then clustered before.
        skip: names of layers that stay float32 in the file.
        labels: names of the classes, for the file.
        tolerance: see `export.artifact.check`.

    Raises:
        ValueError, ModuleNotFoundError, DivergedError, Interrupted: as of
            `pruning.prune`; or there is nothing to preserve.
        RuntimeError: what was to be preserved was not; or as of
            `export.export_tflite`.
    """
    require("Quantisation-aware training")
    require_extras("The export to TFLite", {"ai_edge_litert": "litert"})
    check(preserve)
    tuning.check_fits(model)
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder '{Path(path).parent}' to write in.")
    classes = len(tuning.source.class_names)
    if labels is not None and len(labels) != classes:
        raise ValueError(f"Expected {classes} labels, one a class. Received: {len(labels)}")
    alone = left_alone(model, list(skip))
    with forgotten():
        bridge = to_legacy(model, scores=True)
        before = _kernels(bridge, alone)
        keeping = _keeping(model, before, preserve)
        quantized = with_rounding(bridge, alone, preserve, keeping)
        _begin_ranges(quantized, tuning)
        steps = max(1.0, _PART * tuning.steps)
        with _averages(1 - 1 / steps), fast_rounding():
            fine_tune(quantized, tuning, title=_NAMES[preserve], folder=folder, report=report)
        _weights_back(bridge, quantized)
        _check_preserved(before, _kernels(bridge, alone), preserve, keeping)
        if preserve in ("clusters", "both"):
            combine = libraries().tfmot.experimental.combine
            with _scope():
                quantized = combine.strip_clustering_cqat(quantized)
        result = bridge.back()
        with native(quantized):
            artifact = export_trained_integers(
                result,
                path,
                images,
                infer=_inference(quantized),
                variables=quantized.variables,
                gives_scores=bridge.gives_scores,
                preprocessing=tuning.preprocessing,
                labels=labels,
                tolerance=tolerance,
                report=report,
            )
        return QuantizedNetwork(result, artifact)


@contextlib.contextmanager
def _scope() -> Iterator[None]:
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

    with _scope(), _clusters_of_kernels():
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
            what = _kept_of(layer.kernel.numpy(), preserve)
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

    def centroids_of(layer, weight, data_format):
        centroids, places = registry.get_unique(weight)
        return centroids, len(centroids), places, False

    with (
        mock.patch.object(registry, "get_centroids", centroids_of),
        mock.patch.object(
            registry, "cluster_config", types.SimpleNamespace(GradientAggregation=averaged)
        ),
    ):
        yield


@functools.cache
def _output_rounded() -> type:
    """How a layer is quantised that computes in float32: what it gives is rounded."""
    quantization = libraries().tfmot.quantization.keras
    config_class: Any = quantization.QuantizeConfig

    class OutputRounded(config_class):
        def get_weights_and_quantizers(self, layer):
            return []

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            pass

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
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
        layers.Flatten, layers.Reshape, layers.Permute, layers.Dropout, layers.SpatialDropout2D,
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
def _averages(decay: Any) -> Iterator[None]:
    """What is traced inside forgets, of the ranges of feature maps, as much as this in an update.

    tensorflow-model-optimization has 0.999 and no argument for it.
    """
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    as_it_is = quant_ops.MovingAvgQuantize

    def with_decay(*arguments, **others):
        return as_it_is(*arguments, **{**others, "ema_decay": decay})

    with mock.patch.object(quant_ops, "MovingAvgQuantize", with_decay):
        yield


def _begin_ranges(quantized: Any, tuning: FineTuning) -> None:
    """Sets the ranges of all feature maps to those of some batches; nothing else changes."""
    import tensorflow as tf

    images = tuning.calibration_images(_IMAGES_FOR_RANGES)
    size = tuning.config.batch_size
    ranges = {id(variable) for variable in quantized.variables if _is_range(variable)}
    others = [(v, v.numpy()) for v in quantized.variables if id(v) not in ranges]
    decay = tf.Variable(0.0, trainable=False)
    with _averages(decay), fast(quantized):
        forward = tf.function(lambda batch: quantized(batch, training=True), reduce_retracing=True)
        for first in range(0, len(images), size):
            forward(tf.constant(images[first : first + size]))
            decay.assign(_FORGETTING)
    for variable, value in others:
        variable.assign(value)


def _is_range(variable: Any) -> bool:
    name = variable.name.partition(":")[0]
    return name.endswith(("_min", "_max", "/min", "/max"))


def _inference(quantized: Any) -> Callable:
    def infer(images):
        return quantized(images, training=False)

    return infer


def _weights_back(bridge: Bridge, quantized: Any) -> None:
    """Gives the tf-keras model of the bridge the weights of the one with rounding."""
    for wrapper in quantized.layers:
        layer = getattr(wrapper, "layer", wrapper)
        if not any(layer.name in names for names in bridge.names.values()):
            continue
        target = bridge.legacy.get_layer(layer.name)
        if isinstance(layer, kept_class()):
            for ours, theirs in zip(target.held, layer.held, strict=True):
                ours.assign(theirs)
            continue
        trained = {}
        for weight, _, variables in getattr(wrapper, "_weight_vars", ()):
            mask = variables.get("sparsity_mask")
            trained[_last(weight)] = weight if mask is None else weight * mask
        for weight in target.weights:
            name = _last(weight)
            weight.assign(trained[name] if name in trained else getattr(layer, name))


def _last(variable: Any) -> str:
    """The name of a weight in its layer."""
    return variable.name.partition(":")[0].rpartition("/")[2]


def _kernels(bridge: Bridge, alone: Sequence[str]) -> dict[str, np.ndarray]:
    """Those that are quantised, by the names of tf-keras."""
    return {
        name: bridge.legacy.get_layer(name).kernel.numpy()
        for name, path in kernels(bridge).items()
        if path not in alone
    }


def _keeping(model: keras.Model, before: dict[str, np.ndarray], preserve: Preserve) -> set[str]:
    """The layers in which there is what is to be preserved.

    Raises:
        ValueError: there are none.
    """
    found = {name: _kept_of(kernel, preserve) for name, kernel in before.items()}
    if preserve in ("sparsity", "both") and not {"sparsity", "both"} & set(found.values()):
        raise ValueError(f"'{model.name}' has no zeros to preserve. Prune it first.")
    if preserve in ("clusters", "both") and not {"clusters", "both"} & set(found.values()):
        raise ValueError(f"'{model.name}' has no clusters to preserve. Cluster it first.")
    return {name for name, what in found.items() if what != "nothing"}


def _kept_of(kernel: np.ndarray, preserve: Preserve) -> Preserve:
    """What there is in a kernel of what is to be preserved."""
    weights = kernel[kernel != 0]
    is_pruned = preserve in ("sparsity", "both") and weights.size <= (1 - _PRUNED) * kernel.size
    # Those of few weights have few values in any case.
    is_clustered = preserve in ("clusters", "both") and (
        len(np.unique(weights)) < weights.size and len(np.unique(kernel)) <= MOST_CLUSTERS
    )
    if is_pruned and is_clustered:
        return "both"
    return "sparsity" if is_pruned else "clusters" if is_clustered else "nothing"


def _check_preserved(
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    preserve: Preserve,
    keeping: set[str],
) -> None:
    """Raises a RuntimeError unless zeros are zeros still, and clusters no more."""
    for name in sorted(keeping):
        kernel = before[name]
        what = _kept_of(kernel, preserve)
        if what in ("sparsity", "both"):
            lost = int(np.sum((kernel == 0) & (after[name] != 0)))
            if lost:
                raise RuntimeError(f"{lost:,} zeros of '{name}' were not preserved.")
        if what in ("clusters", "both"):
            clusters, found = len(np.unique(kernel)), len(np.unique(after[name]))
            if found > clusters:
                raise RuntimeError(
                    f"The kernel of '{name}' has {found} values, where it had {clusters} clusters: "
                    "they were not preserved."
                )
