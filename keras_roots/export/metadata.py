"""What a file says of itself: what it takes and gives, is made of, and how it was verified."""

import dataclasses
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.cost import cost
from keras_roots.data import default_resize
from keras_roots.export.artifact import Comparison
from keras_roots.export.exportable import Exportable
from keras_roots.timing import versions

_FORMAT = 1
_VALUES = {
    "none": "as the model was trained; 0 to 255 if it normalises by itself",
    "torch": "of keras.applications.imagenet_utils.preprocess_input(mode='torch')",
    "caffe": "of keras.applications.imagenet_utils.preprocess_input(mode='caffe')",
    "tf": "-1 to 1",
}


def metadata(
    ready: Exportable,
    *,
    precision: str,
    batch: int | None,
    comparison: Comparison,
    calibration_images: int = 0,
    labels: Sequence[str] | None = None,
    integers: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """As JSON takes it.

    Args:
        ready: what was exported.
        precision: of the file.
        batch: of its inputs; None: any.
        comparison: of the verification.
        calibration_images: how many gave int8 its ranges.
        labels: names of the classes.
        integers: of inputs and outputs that are integers, by name: type,
            scale and zero point.
        more: of the format.
    """
    preprocessing, integers = ready.preprocessing, integers or {}
    inputs = [
        {
            "name": name,
            "shape": [batch, *shape],
            "dtype": dtype,
            **integers.get(name, {}),
            "values": "pixels of 0 to 255" if preprocessing.inside else _VALUES[preprocessing.mode],
            "preprocessing": preprocessing.to_caller(),
            "resize": _resize(ready),
            "crop_inside": preprocessing.source_size is not None,
        }
        for name, shape, dtype in zip(
            ready.input_names, ready.graph.input_shapes, ready.dtypes, strict=True
        )
    ]
    outputs = [
        {
            "name": name,
            "shape": [batch, *array.shape[1:]],
            "dtype": str(array.dtype),
            "values": kind_of(ready),
            **integers.get(name, {}),
        }
        for name, array in zip(ready.output_names, ready.expected, strict=True)
    ]
    counts = cost(ready.model)
    return {
        "format": _FORMAT,
        "name": ready.model.name,
        "root": root_of(ready.model),
        "precision": precision,
        **({"input": inputs[0]} if len(inputs) == 1 else {"inputs": inputs}),
        **({"output": outputs[0]} if len(outputs) == 1 else {"outputs": outputs}),
        "preprocessing_inside": preprocessing.mode if preprocessing.inside else None,
        "labels": None if labels is None else len(labels),
        "parameters": counts.parameters,
        "multiply_accumulates": counts.macs,
        "calibration_images": calibration_images,
        "verification": dataclasses.asdict(comparison),
        "versions": versions(),
        "git_revision": _git_revision(),
        **more,
    }


def kind_of(ready: Exportable) -> str:
    """Of the outputs: "probabilities", "scores" (one for each class), or "features".

    A file of int8 that ends before its softmax has "logits".
    """
    if len(ready.expected) != 1 or ready.expected[0].ndim != 2:
        return "features"
    values = ready.expected[0].astype(np.float64)
    if (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-3):
        return "probabilities"
    last = ready.model.outputs[0]._keras_history.operation
    is_classifier = isinstance(last, (keras.layers.Dense, keras.layers.Activation))
    return "scores" if is_classifier else "features"


def root_of(model: keras.Model) -> str | None:
    """Its topology as the factories write it into the name; None of others."""
    _, separator, topology = model.name.rpartition("_")
    is_ours = topology.startswith(("root-", "column-", "tree-", "degrees-"))
    return topology if separator and is_ours else None


def _resize(ready: Exportable) -> int | None:
    """The shorter side before the crop, of a model of square images."""
    preprocessing = ready.preprocessing
    if preprocessing.resize is not None:
        return preprocessing.resize
    shape = ready.model.inputs[0].shape
    return default_resize(shape[1]) if len(shape) == 4 and shape[1] == shape[2] else None


def _git_revision() -> str | None:
    """Of keras_roots's own sources, where they are a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        found = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
