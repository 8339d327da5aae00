"""TFLite files, verified with the LiteRT interpreter.

What is written is not the model as it was trained but the same function in
the form that LiteRT runs fastest: `simplify`d, and each layer in the lowering
that was chosen for it, whatever lowering TensorFlow itself would take on the
machine that exports.
"""

import collections
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_roots import graph as graphs
from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.export import choice
from keras_roots.export.convert import PRECISIONS, Precision, convert
from keras_roots.export.flatbuffer import operators, with_softmax
from keras_roots.export.inference_graph import (
    Convolution,
    InferenceGraph,
    LayerCall,
    inference_graph,
)
from keras_roots.export.interpreter import run
from keras_roots.export.simplify import simplify
from keras_roots.files import replacing
from keras_roots.lowering import ways
from keras_roots.reporting import silent
from keras_roots.requirements import require_extras, require_tensorflow

# Largest difference to Keras, relative to its largest output: float32 summed in other orders.
_TOLERANCE = 1e-4
# Root mean square of the difference, relative to that of the outputs: eight bits lose
# something (a quarter in a ResNet-50 of random weights), and a wrong file nearly all.
_INT8_TOLERANCE = 0.5


@dataclasses.dataclass(frozen=True)
class TFLiteArtifact:
    """A TFLite file, and what its verification found.

    Attributes:
        path: the file.
        size: in bytes.
        precision: "float32" or "int8".
        operators: number of operators of each kind, such as CONV_2D.
        choices: the lowering of each layer that has several, with its reason.
        images: number of images on which it was compared with Keras.
        max_difference: largest absolute difference of an output value.
        top1_agreement: share of images (0-1) whose largest output is at the
            same place in both.
    """

    path: Path
    size: int
    precision: Precision
    operators: dict[str, int]
    choices: tuple[choice.Choice, ...]
    images: int
    max_difference: float
    top1_agreement: float


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    images: np.ndarray,
    *,
    precision: Precision = "float32",
    calibration: np.ndarray | None = None,
    lowering: str = "auto",
    threads: int = 1,
    report: Callable[[str], object] = silent,
) -> TFLiteArtifact:
    """Writes a TFLite file of batch 1, once it is verified.

    Its signature takes `images`, float32 of [1, height, width, channels], and
    returns float32, whatever the precision within. A softmax at the end is
    float32 in int8 files too.

    Args:
        model: functional or Sequential, with one input of a fixed size and
            one output [batch, values]. Auxiliary heads are left out.
        path: of the file to write, conventionally `*.tflite`. An existing
            file is replaced only after the verification.
        images: [examples, height, width, channels], real inputs on which the
            file's outputs are compared with Keras's.
        precision: "float32", or "int8": weights (by output channel) and
            activations as 8-bit integers.
        calibration: [examples, height, width, channels], the inputs from which
            int8 takes the ranges of activations; a hundred or so, other than
            `images`.
        lowering: how grouped convolutions are computed: "auto", after the
            measurements that this package brings; "tuned", after measurements
            on this machine, cached; "native", as they stand.
        threads: with which "tuned" measures.
        report: takes lines of progress.

    Raises:
        ValueError: the model or an argument is not as above.
        RuntimeError: the model cannot be converted, or the converted one does
            not compute what it does, or has operators that it should not
            have; nothing is written.
        ModuleNotFoundError: the extra "litert" is not installed.
        FileNotFoundError: the folder of `path` does not exist.
    """
    require_tensorflow("The export to TFLite")
    require_extras("The export to TFLite", {"ai_edge_litert": "litert"})
    model = without_auxiliary_heads(model)
    shape = input_shape(model)
    _check_compute_dtype(model)
    images = _checked(images, shape, "to verify the export with")
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected precision as one of: {', '.join(PRECISIONS)}. Received: {precision!r}"
        )
    choice.check_policy(lowering)
    if precision == "int8":
        given = np.zeros((0, *shape)) if calibration is None else calibration
        calibration = _checked(given, shape, "to calibrate int8 with")
    with replacing(path) as temporary:
        graph = simplify(inference_graph(model))
        choices = choice.choose(graph, precision, lowering, threads=threads, report=report)
        graph = graph.with_lowerings({each.layer: each.lowering for each in choices})
        (expected,) = keras.tree.flatten(model.predict(images, verbose=0))
        # Of eight bits, a probability would have steps of 1/256, and most classes none.
        scores = graph.without_softmax() if precision == "int8" else None
        _check_float32(_outputs(graph, images), expected)
        report(f"converting '{model.name}' to TFLite, {precision}")
        content = convert_graph(model, scores or graph, precision, calibration)
        kinds = _check_operators(content, graph)
        if precision == "int8":
            rounded = run(content, images)
            _check_int8(rounded, _outputs(scores or graph, images))
        if scores:
            content = with_softmax(content)
            kinds["SOFTMAX"] = kinds.get("SOFTMAX", 0) + 1
        actual = run(content, images)
        if precision == "float32":
            _check_float32(actual, expected)
        elif scores:
            _check_float32(actual, _softmax(rounded))
        temporary.write_bytes(content)
    return TFLiteArtifact(
        path=Path(path),
        size=len(content),
        precision=precision,
        operators=kinds,
        choices=tuple(choices),
        images=len(images),
        max_difference=float(np.abs(actual - expected).max()),
        top1_agreement=float(np.mean(actual.argmax(-1) == expected.argmax(-1))),
    )


def _checked(images: np.ndarray, shape: tuple[int, ...], purpose: str) -> np.ndarray:
    images = np.asarray(images, np.float32)
    if len(images) == 0 or images.shape[1:] != shape:
        raise ValueError(
            f"Expected one image or more of shape {shape} {purpose}. Received: an array of shape "
            f"{images.shape}"
        )
    return images


def input_shape(model: keras.Model) -> tuple[int, ...]:
    """The shape of one image of a model that can be exported.

    Raises:
        ValueError: it has several inputs or outputs, others, or sizes that are open.
    """
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if not len(inputs) == len(outputs) == 1 or len(outputs[0].shape) != 2:
        raise ValueError(
            "Expected a functional or Sequential model with one input, and one output of shape "
            f"[batch, values]. Received: '{model.name}' with inputs {inputs}, outputs {outputs}"
        )
    shape = tuple(inputs[0].shape[1:])
    if None in shape:
        raise ValueError(
            f"A TFLite file is of one input size. Received: '{model.name}', which leaves it open, "
            f"{shape}. Build it with an input_shape."
        )
    return shape


def _check_compute_dtype(model: keras.Model) -> None:
    for layer in (call.layer for call in graphs.trace(model).calls):
        if getattr(layer, "compute_dtype", "float32") != "float32":
            raise ValueError(
                "Expected a model that computes in float32. Received: "
                f"'{model.name}', whose layer '{layer.name}' computes in {layer.compute_dtype}. "
                "Build it under the float32 policy and set its weights."
            )


def convert_graph(
    model: keras.Model, graph: InferenceGraph, precision: Precision, calibration: np.ndarray | None
) -> bytes:
    """The content of a TFLite file, not verified.

    Args:
        model: that the graph was made of; it holds the variables.
        graph: what is converted.
        precision, calibration: as of `export_tflite`.
    """
    from keras_roots import lowering

    def function(images):
        with lowering.forced("native"):  # For layers that are called as they are.
            return graph(images)

    return convert(
        function,
        graph.shapes[graph.input],
        name=model.name,
        variables=[variable.value for variable in model.variables],
        precision=precision,
        calibration=calibration,
    )


def _check_operators(content: bytes, graph: InferenceGraph) -> dict[str, int]:
    """How many operators there are of each kind, if they are those that there should be."""
    found = list(operators(content))
    kinds = dict(collections.Counter(operator.kind for operator in found))
    wrong = [kind for kind in kinds if kind.startswith("CUSTOM") or kind == "VAR_HANDLE"]
    if wrong:
        raise RuntimeError(
            f"The conversion of '{graph.name}' has operators that LiteRT does not run by itself "
            f"({', '.join(wrong)}); no file was written."
        )
    grouped = sum((operator.groups or 1) > 1 for operator in found)
    expected = sum(_is_grouped(step.operation) for step in graph.steps)
    if grouped < expected:
        raise RuntimeError(
            f"The conversion of '{graph.name}' has {grouped} grouped convolutions, where the "
            f"model has {expected}: others were split in their groups. No file was written."
        )
    return kinds


def _is_grouped(operation) -> bool:
    if isinstance(operation, Convolution):
        return operation.groups > 1 and ways.packed_groups(operation.lowering, operation.groups) > 1
    if not isinstance(operation, LayerCall):
        return False
    layer = operation.layer
    if isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)):
        return operation.call.input_shapes[0][-1] > 1
    return isinstance(layer, keras.layers.Conv2D) and layer.groups > 1


def _outputs(graph: InferenceGraph, images: np.ndarray) -> np.ndarray:
    """What the function gives that is converted, on TensorFlow and in float32."""
    return np.concatenate([np.asarray(graph(image[np.newaxis])) for image in images])


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _check_float32(actual: np.ndarray, expected: np.ndarray) -> None:
    difference = float(np.abs(actual - expected).max())
    allowed = _TOLERANCE * float(np.abs(expected).max())
    if not difference <= allowed:  # So that NaN fails too.
        raise RuntimeError(
            f"The converted model's outputs differ from Keras's by up to {difference:.3g}, where "
            f"{allowed:.3g} is allowed; no file was written."
        )


def _check_int8(actual: np.ndarray, expected: np.ndarray) -> None:
    difference = float(np.sqrt(np.mean(np.square(actual - expected))))
    allowed = _INT8_TOLERANCE * float(np.sqrt(np.mean(np.square(expected))))
    if not difference <= allowed:
        raise RuntimeError(
            f"The int8 outputs (before a softmax) differ from Keras's by {difference:.3g} in root "
            f"mean square, where {allowed:.3g} is allowed, half of the outputs' own; no file was "
            "written. Are the images for calibration like those that the model sees?"
        )
