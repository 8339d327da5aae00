"""TFLite files, verified with the LiteRT interpreter.

Grouped convolutions stay one CONV_2D operator each, whatever lowering
TensorFlow itself would take on the machine that exports.
"""

import collections
import dataclasses
import os
from pathlib import Path

import keras
import numpy as np

from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.cost import cost
from keras_roots.files import replacing
from keras_roots.requirements import require_extras, require_tensorflow

# Largest difference to Keras, relative to its largest output: float32 summed in other orders.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class TFLiteArtifact:
    """A TFLite file, and what its verification found.

    Attributes:
        path: the file.
        size: in bytes.
        operators: number of operators of each kind, such as CONV_2D.
        images: number of images on which it was compared with Keras.
        max_difference: largest absolute difference of an output value.
        top1_agreement: share of images (0-1) whose largest output is at the
            same place in both.
    """

    path: Path
    size: int
    operators: dict[str, int]
    images: int
    max_difference: float
    top1_agreement: float


def export_tflite(
    model: keras.Model, path: str | os.PathLike, images: np.ndarray
) -> TFLiteArtifact:
    """Writes a float32 TFLite file of batch 1, once it is verified.

    Its signature takes `images`, float32 of [1, height, width, channels].

    Args:
        model: functional or Sequential, with one input of a fixed size and
            one output [batch, values]. Auxiliary heads are left out.
        path: of the file to write, conventionally `*.tflite`. An existing
            file is replaced only after the verification.
        images: [examples, height, width, channels], real inputs on which the
            file's outputs are compared with Keras's.

    Raises:
        ValueError: the model or the images are not as above.
        RuntimeError: the model cannot be converted, or the converted one does
            not compute what it does, or has operators that it should not
            have; nothing is written.
        ModuleNotFoundError: the extra "litert" is not installed.
        FileNotFoundError: the folder of `path` does not exist.
    """
    require_tensorflow("The export to TFLite")
    require_extras("The export to TFLite", {"ai_edge_litert": "litert"})
    model = without_auxiliary_heads(model)
    shape = _input_shape(model)
    _check_precision(model)
    images = np.asarray(images, np.float32)
    if len(images) == 0 or images.shape[1:] != shape:
        raise ValueError(
            f"Expected one image or more of shape {shape} to verify the export with. Received: an "
            f"array of shape {images.shape}"
        )
    with replacing(path) as temporary:
        content = _convert(model, shape)
        operators, grouped = _operators(content)
        _check_operators(operators, grouped, model)
        expected = np.asarray(model.predict(images, verbose=0))
        actual = _run(content, images)
        difference = _check_outputs(actual, expected)
        temporary.write_bytes(content)
    return TFLiteArtifact(
        path=Path(path),
        size=len(content),
        operators=operators,
        images=len(images),
        max_difference=difference,
        top1_agreement=float(np.mean(actual.argmax(-1) == expected.argmax(-1))),
    )


def _input_shape(model: keras.Model) -> tuple[int, ...]:
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


def _check_precision(model: keras.Model) -> None:
    for layer in model.layers:
        if layer.compute_dtype != "float32":
            raise ValueError(
                "Expected a model that computes in float32. Received: "
                f"'{model.name}', whose layer '{layer.name}' computes in {layer.compute_dtype}. "
                "Build it under the float32 policy and set its weights."
            )


def _convert(model: keras.Model, shape: tuple[int, ...]) -> bytes:
    import tensorflow as tf

    from keras_roots import lowering

    signature = [tf.TensorSpec((1, *shape), tf.float32, name="images")]
    # Handed the Keras model itself, the converter loses track of its variables without an error.
    holder = tf.Module()
    holder.variables_to_freeze = [variable.value for variable in model.variables]
    try:
        with lowering.forced("native"):
            function = tf.function(
                lambda images: model(images, training=False), input_signature=signature
            ).get_concrete_function()
        return tf.lite.TFLiteConverter.from_concrete_functions([function], holder).convert()
    except Exception as error:  # The converter's own class is not public.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuntimeError(f"'{model.name}' cannot be converted to TFLite: {reason}") from error


def _operators(content: bytes) -> tuple[dict[str, int], int]:
    """How many operators of each kind, and how many of them are grouped convolutions."""
    from ai_edge_litert import schema_py_generated as schema

    names = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = []
    for code in file.operatorCodes:
        # Old readers know the first 127 operators by the deprecated field only.
        kind = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        kinds.append(f"CUSTOM {code.customCode.decode()}" if kind == "CUSTOM" else kind)
    counter: collections.Counter[str] = collections.Counter()
    grouped = 0
    for graph in file.subgraphs:
        for operator in graph.operators:
            kind = kinds[operator.opcodeIndex]
            counter[kind] += 1
            if kind == "CONV_2D":
                images, kernel = (graph.tensors[place].shape for place in operator.inputs[:2])
                grouped += kernel[-1] < images[-1]
            grouped += kind == "DEPTHWISE_CONV_2D"
    return dict(counter), int(grouped)


def _check_operators(operators: dict[str, int], grouped: int, model: keras.Model) -> None:
    wrong = [kind for kind in operators if kind.startswith("CUSTOM") or kind == "VAR_HANDLE"]
    if wrong:
        raise RuntimeError(
            f"The conversion of '{model.name}' has operators that LiteRT does not run by itself "
            f"({', '.join(wrong)}); no file was written."
        )
    expected = sum(layer.calls for layer in cost(model).layers if (layer.groups or 1) > 1)
    if grouped < expected:
        raise RuntimeError(
            f"The conversion of '{model.name}' has {grouped} grouped convolutions, where the "
            f"model has {expected}: others were split in their groups. No file was written."
        )


def _run(content: bytes, images: np.ndarray) -> np.ndarray:
    """Outputs [examples, values] of a model of batch 1."""
    interpreter = make_interpreter(content)
    place_in = interpreter.get_input_details()[0]["index"]
    place_out = interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in images:
        interpreter.set_tensor(place_in, image[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(place_out)[0])
    return np.stack(outputs)


def make_interpreter(model: bytes | str | os.PathLike, threads: int = 1):
    """A LiteRT interpreter of a file or its content, its tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    interpreter = Interpreter(**source, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _check_outputs(actual: np.ndarray, expected: np.ndarray) -> float:
    difference = float(np.abs(actual - expected).max())
    allowed = _TOLERANCE * float(np.abs(expected).max())
    if not difference <= allowed:  # So that NaN fails too.
        raise RuntimeError(
            f"The converted model's outputs differ from Keras's by up to {difference:.3g}, where "
            f"{allowed:.3g} is allowed; no file was written."
        )
    return difference
