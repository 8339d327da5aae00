"""ONNX files, verified in ONNX Runtime.

By tf2onnx, as Keras's own export, but of the simplified graph: Keras's leaves the constants of a
Normalization layer out (3.15), and knows of no preprocessing inside. Groups stay groups (the
attribute of Conv).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots import lowering
from keras_roots.export import attachments, metadata
from keras_roots.export.artifact import Artifact, check, compare
from keras_roots.export.exportable import Exportable, Inputs, check_labels, exportable
from keras_roots.export.inference_graph import Convolution, InferenceGraph
from keras_roots.export.preprocessing import Preprocessing
from keras_roots.reporting import refuse_existing, replacing, silent
from keras_roots.requirements import require_extras

_USAGE = """\
import onnxruntime

session = onnxruntime.InferenceSession({path!r}, providers=["CPUExecutionProvider"])
outputs = session.run(None, {inputs})  # float32, [batch, ...]"""

_OPSET = 17


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    images: Inputs,
    *,
    preprocessing: str | Preprocessing = "none",
    labels: Sequence[str] | None = None,
    tolerance: float | None = None,
    overwrite: bool = True,
    report: Callable[[str], object] = silent,
) -> Artifact:
    """Writes an ONNX file of any batch size, once ONNX Runtime computes what Keras does.

    Args:
        model, images, preprocessing, labels, tolerance, overwrite, report: as
            of `export_tflite`.
        path: of the file to write, conventionally `*.onnx`.

    Raises:
        ValueError: the model or an argument is not as above.
        RuntimeError: it cannot be converted, or does not compute what the model
            does, or grouped convolutions were split; nothing is written.
        ModuleNotFoundError: the extra "onnx" is not installed.
        FileExistsError: the file is there, and is not to be replaced.
        FileNotFoundError: the folder of `path` does not exist.
    """
    require_extras("The export to ONNX", dict.fromkeys(("tf2onnx", "onnx", "onnxruntime"), "onnx"))
    if not overwrite:
        refuse_existing(path)
    ready = exportable(model, images, preprocessing, "The export to ONNX")
    check_labels(labels, ready)
    import onnx

    with replacing(path) as temporary:
        report(f"converting '{ready.model.name}' to ONNX")
        graph = ready.graph.with_lowerings({})
        _convert(ready, graph, temporary)
        network = onnx.load(temporary)
        operators = _operators(network, graph)
        actual = _run(temporary, ready)
        check(actual, ready.expected, "float32", tolerance)
        comparison = compare(actual, ready.expected, "ONNX Runtime")
        attached = metadata.metadata(
            ready,
            precision="float32",
            batch=None,
            comparison=comparison,
            labels=labels,
        )
        for name, text in attachments.texts(attached, labels).items():
            network.metadata_props.add(key=name, value=text)
        onnx.save(network, temporary)
        check(_run(temporary, ready), actual, "float32")
        size = temporary.stat().st_size
    names = ", ".join(f"{name!r}: {name}" for name in ready.input_names)
    return Artifact(
        path=Path(path),
        format="onnx",
        precision="float32",
        size=size,
        comparison=comparison,
        operators=operators,
        metadata=attached,
        usage=_USAGE.format(path=str(path), inputs="{" + names + "}"),
    )


def _convert(ready: Exportable, network: InferenceGraph, path: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    def infer(*inputs):
        with lowering.forced("native"):  # For layers that are called as they are.
            return ready.function(network)(*inputs)

    specs = ready.specs(None)
    try:
        tf2onnx.convert.from_function(
            tf.function(infer, specs, autograph=False),
            input_signature=specs,
            opset=_OPSET,
            output_path=str(path),
        )
    except Exception as error:  # tf2onnx has its own kinds.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuntimeError(f"'{ready.model.name}' cannot be converted to ONNX: {reason}") from error


def _operators(network: Any, graph: InferenceGraph) -> dict[str, int]:
    """How many operators there are of each kind, if grouped convolutions are whole."""
    kinds: dict[str, int] = {}
    grouped = 0
    for node in network.graph.node:
        kinds[node.op_type] = kinds.get(node.op_type, 0) + 1
        grouped += any(each.name == "group" and each.i > 1 for each in node.attribute)
    expected = sum(
        step.operation.groups > 1 for step in graph.steps if isinstance(step.operation, Convolution)
    )
    if grouped < expected:
        raise RuntimeError(
            f"The conversion of '{graph.name}' has {grouped} grouped convolutions, where the "
            f"model has {expected}: others were split in their groups. No file was written."
        )
    return kinds


def _run(path: Path, ready: Exportable) -> tuple[np.ndarray, ...]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    missing = {each.name for each in session.get_inputs()} - set(ready.input_names)
    if missing:
        raise RuntimeError(
            f"tf2onnx took constants of '{ready.model.name}' for inputs: {min(missing)}"
        )
    names = [each.name for each in session.get_outputs()]
    made = session.run(None, ready.named(ready.inputs))
    return ready.in_order(dict(zip(names, made, strict=True)))
