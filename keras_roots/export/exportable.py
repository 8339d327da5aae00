"""A model made ready for an export, with the inputs and outputs that it is verified on."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_roots.export import preprocessing as inside
from keras_roots.export.inference_graph import InferenceGraph, inference_graph
from keras_roots.export.preprocessing import Preprocessing, as_preprocessing
from keras_roots.export.simplify import simplify
from keras_roots.requirements import require_tensorflow
from keras_roots.surgery import graph as graphs
from keras_roots.surgery import without_auxiliary_heads

Inputs = np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Exportable:
    """A model, and all that an export needs of it.

    Attributes:
        model: without auxiliary heads.
        graph: simplified, what is to be inside before it.
        preprocessing: how images become what the model takes.
        input_names, output_names: of tensors, for signatures.
        dtypes: of the inputs.
        inputs: arrays [examples, ...], as the file takes them.
        expected: arrays [examples, ...], what Keras makes of them.
        scores: the same before a softmax at the end, behind which large
            differences can hide; None if there is none.
    """

    model: keras.Model
    graph: InferenceGraph
    preprocessing: Preprocessing
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dtypes: tuple[str, ...]
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...] | None

    @property
    def variables(self) -> list[Any]:
        return [variable.value for variable in self.model.variables]

    def specs(self, batch: int | None) -> list[Any]:
        """A tf.TensorSpec for each input."""
        import tensorflow as tf

        return [
            tf.TensorSpec((batch, *shape), dtype, name=name)
            for name, shape, dtype in zip(
                self.input_names, self.graph.input_shapes, self.dtypes, strict=True
            )
        ]

    def function(self, graph: InferenceGraph | None = None):
        """The graph, or another of the same outputs, as a function to a dictionary of these."""
        called = graph or self.graph

        def infer(*inputs):
            outputs = keras.tree.flatten(called(*inputs))
            return dict(zip(self.output_names, outputs, strict=True))

        return infer

    def outputs_of(self, graph: InferenceGraph) -> tuple[np.ndarray, ...]:
        """What a graph gives of the inputs on TensorFlow."""
        return _outputs(graph, self.inputs)

    def named(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.input_names, inputs, strict=True))

    def in_order(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(outputs[name] for name in self.output_names)


def exportable(
    model: keras.Model, images: Inputs, preprocessing: str | Preprocessing, what: str
) -> Exportable:
    """Checks a model and the inputs that its export is verified with, and runs it on them.

    Args:
        model, images, preprocessing: as of `export_tflite`.
        what: the export, for errors.

    Raises:
        ValueError: an argument is not as above.
    """
    require_tensorflow(what)
    model = without_auxiliary_heads(model)
    preprocessing = as_preprocessing(preprocessing)
    require_exportable(model)
    _check_resize(preprocessing, tuple(model.inputs[0].shape[1:]))
    plain = inference_graph(model)
    graph = inside.with_preprocessing(simplify(plain), preprocessing)
    # Pixels are real numbers for a file that normalises them, whatever the model takes.
    dtypes = tuple(
        keras.backend.standardize_dtype("float32" if preprocessing.inside else tensor.dtype)
        for tensor in model.inputs
    )
    inputs = checked_inputs(images, graph, dtypes, "to verify the export with")
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    given = [
        inside.apply(array, preprocessing, shape)
        for array, shape in zip(inputs, shapes, strict=True)
    ]
    made = model.predict(_structured(model, given), verbose=0)
    before_softmax = plain.without_softmax()
    return Exportable(
        model=model,
        graph=graph,
        preprocessing=preprocessing,
        input_names=_names([tensor.name for tensor in model.inputs], only="images"),
        output_names=_names(_output_names(model)),
        dtypes=dtypes,
        inputs=inputs,
        expected=tuple(np.asarray(each) for each in keras.tree.flatten(made)),
        scores=None if before_softmax is None else _outputs(before_softmax, given),
    )


def _outputs(graph: InferenceGraph, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """One example at a time."""
    made = [
        [np.asarray(each) for each in keras.tree.flatten(graph(*(x[n : n + 1] for x in inputs)))]
        for n in range(len(inputs[0]))
    ]
    return tuple(np.concatenate(pieces) for pieces in zip(*made, strict=True))


def _check_resize(preprocessing: Preprocessing, shape: tuple[int, ...]) -> None:
    size = max(shape[:2], default=0)
    if preprocessing.resize is not None and preprocessing.resize < size:
        raise ValueError(
            f"Expected resize of the image size ({size}) or more. Received: {preprocessing.resize}"
        )


def _structured(model: keras.Model, arrays: list[np.ndarray]) -> Any:
    """Arrays as the model takes them: one, a list, or a dictionary of names."""
    return keras.tree.pack_sequence_as(graphs.functional(model).input, arrays)


def _output_names(model: keras.Model) -> list[str]:
    outputs = graphs.functional(model).output
    if isinstance(outputs, dict):
        return [".".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(outputs)]
    return [tensor._keras_history.operation.name for tensor in model.outputs]


def _names(given: Sequence[str], only: str | None = None) -> tuple[str, ...]:
    """Names that are identifiers, no two alike."""
    if only is not None and len(given) == 1:
        return (only,)
    names: list[str] = []
    for name in given:
        plain = re.sub(r"\W", "_", name)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"x{plain}"
        while plain in names:
            plain += "_"
        names.append(plain)
    return tuple(names)


def require_exportable(model: keras.Model) -> None:
    """Raises a ValueError if a model cannot be exported, whatever the format.

    It is to be functional or Sequential, its input sizes known, and to compute in float32.
    """
    for call in graphs.trace(model).calls:
        if getattr(call.layer, "compute_dtype", "float32") in ("float16", "bfloat16", "float64"):
            raise ValueError(
                f"Expected a model that computes in float32. Received: '{model.name}', whose layer "
                f"'{call.layer.name}' computes in {call.layer.compute_dtype}. Build it under the "
                "float32 policy and set its weights."
            )
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if any(None in shape for shape in shapes):
        raise ValueError(
            f"An export is of one input size. Received: '{model.name}', which leaves it open, "
            f"{', '.join(map(str, shapes))}. Build it with an input_shape, or call it on a "
            "keras.Input of the size wanted."
        )


def checked_inputs(
    given: Inputs, graph: InferenceGraph, dtypes: Sequence[str], purpose: str
) -> tuple[np.ndarray, ...]:
    """Inputs as arrays of the types that the graph takes, all of as many examples.

    Raises:
        ValueError: their shapes are others, or there are none.
    """
    arrays = [given] if isinstance(given, np.ndarray) else list(given)
    shapes = graph.input_shapes
    found = [np.shape(array) for array in arrays]
    if (
        [shape[1:] for shape in found] != shapes
        or len({shape[:1] for shape in found}) != 1
        or found[0][0] == 0
    ):
        wanted = " and ".join(str(tuple(shape)) for shape in shapes)
        received = " and ".join(map(str, found)) or "none"
        raise ValueError(
            f"Expected one image or more of shape {wanted} {purpose}. Received: an array of shape "
            f"{received}"
        )
    return tuple(np.asarray(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True))


def check_labels(labels: Sequence[str] | None, ready: Exportable) -> None:
    """Raises a ValueError unless there are none, or one for each class."""
    if labels is None:
        return
    shapes = [array.shape[1:] for array in ready.expected]
    if shapes != [(len(labels),)]:
        raise ValueError(
            f"Expected a label for each class; '{ready.model.name}' has outputs of "
            f"{', '.join(map(str, shapes))}. Received: {len(labels)} labels"
        )
