"""From a TensorFlow function to the content of a TFLite file."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

Precision = Literal["float32", "float16", "dynamic", "int8", "int8x16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "dynamic", "int8", "int8x16")
# Whose activations are integers of ranges that are taken from examples.
CALIBRATED: tuple[Precision, ...] = ("int8", "int8x16")


def check_precision(precision: str) -> None:
    """Raises a ValueError unless it is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected precision as one of: {', '.join(PRECISIONS)}. Received: {precision!r}"
        )


def convert(
    function: Callable,
    inputs: Sequence[Any],
    *,
    name: str,
    variables: Iterable[Any] = (),
    precision: Precision = "float32",
    calibration: Sequence[np.ndarray] = (),
    quantized_interface: bool = False,
) -> bytes:
    """Converts a function to TFLite.

    Args:
        function: takes tensors, and returns one or a dictionary of some, by
            the names that they are to have.
        inputs: a tf.TensorSpec of each with its name, of the batch too.
        name: for errors.
        variables: those that it reads, whose values become constants.
        precision: "float32"; "float16": weights are stored so; "dynamic":
            weights are 8-bit integers, and activations become some for each
            convolution, with the range that they have there and then; "int8":
            both are, with ranges taken from examples; "int8x16": the same with
            activations of 16 bits.
        calibration: an array [examples, ...] for each input.
        quantized_interface: whether int8's inputs and outputs are int8 too,
            not float32.

    Raises:
        RuntimeError: it cannot be converted.
    """
    import tensorflow as tf

    # Handed a Keras model itself, the converter loses track of its variables without an error.
    holder = tf.Module()
    holder.variables_to_freeze = list(variables)
    try:
        traced = tf.function(function, input_signature=list(inputs), autograph=False)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced.get_concrete_function()], holder
        )
        batch = inputs[0].shape[0]
        return _converted(converter, precision, calibration, quantized_interface, batch)
    except Exception as error:  # The converter's own class is not public.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuntimeError(f"'{name}' cannot be converted to TFLite: {reason}") from error


def convert_stock(
    model, *, precision: Precision = "float32", calibration: np.ndarray | None = None
) -> bytes:
    """What a user of Keras and TensorFlow has: `TFLiteConverter.from_keras_model`, no more.

    Args:
        model: of Keras's own layers (see `keras_roots.to_stock`).
        precision: as of `convert`.
        calibration: images.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    with contextlib.redirect_stdout(io.StringIO()):  # Keras lists every variable.
        return _converted(converter, precision, () if calibration is None else (calibration,))


def _converted(
    converter, precision, calibration, quantized_interface: bool = False, batch: int = 1
) -> bytes:
    import tensorflow as tf

    kinds = tf.lite.OpsSet
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in CALIBRATED:
        converter.representative_dataset = lambda: _batches(calibration, batch)
    if precision == "int8":
        converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS_INT8]
        if quantized_interface:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    if precision == "int8x16":
        converter.target_spec.supported_ops = [
            kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            kinds.TFLITE_BUILTINS,  # For what has no integers of 16 bits, as a square root.
        ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        return converter.convert()


def _batches(calibration: Sequence[np.ndarray], batch: int):
    """Lists of a piece of each input, of the file's batch; the last may repeat examples."""
    count = len(calibration[0])
    for first in range(0, count, batch):
        places = np.arange(first, first + batch) % count
        yield [array[places] for array in calibration]
