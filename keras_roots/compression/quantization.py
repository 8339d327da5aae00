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

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.compression.bridge import Bridge, to_legacy
from keras_roots.compression.fast_convolutions import native
from keras_roots.compression.fast_rounding import fast_rounding
from keras_roots.compression.fine_tuning import FineTuning, fine_tune
from keras_roots.compression.kept import kept_class
from keras_roots.compression.legacy import forgotten, libraries, require
from keras_roots.compression.preserved import PRESERVE, Preserve, check_preserved, keeping_of
from keras_roots.compression.rounding import (
    averages,
    begin_ranges,
    scope,
    with_rounding,
)
from keras_roots.compression.selection import kernels, left_alone
from keras_roots.export.artifact import Artifact
from keras_roots.export.exportable import Inputs
from keras_roots.export.trained_integers import export_trained_integers
from keras_roots.reporting import silent
from keras_roots.requirements import require_extras

_NAMES = {
    "nothing": "QAT",
    "sparsity": "QAT that preserves sparsity (PQAT)",
    "clusters": "QAT that preserves clusters (CQAT)",
    "both": "QAT that preserves sparsity and clusters (PCQAT)",
}
# In training: the average is over this part of the updates.
_PART = 0.2


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
        keeping = keeping_of(model, before, preserve)
        quantized = with_rounding(bridge, alone, preserve, keeping)
        begin_ranges(quantized, tuning)
        steps = max(1.0, _PART * tuning.steps)
        with averages(1 - 1 / steps), fast_rounding():
            fine_tune(quantized, tuning, title=_NAMES[preserve], folder=folder, report=report)
        _weights_back(bridge, quantized)
        check_preserved(before, _kernels(bridge, alone), preserve, keeping)
        if preserve in ("clusters", "both"):
            combine = libraries().tfmot.experimental.combine
            with scope():
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
