"""From a TensorFlow function to the content of a TFLite file."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def convert(
    function: Callable,
    shape: tuple[int, ...],
    *,
    name: str,
    variables: Iterable[Any] = (),
    precision: Precision = "float32",
    calibration: np.ndarray | None = None,
    quantized_interface: bool = False,
) -> bytes:
    """Converts a function of images to TFLite, of batch 1.

    Args:
        function: takes [1, *shape] and returns a tensor.
        shape: of one image.
        name: for errors.
        variables: those that it reads, whose values become constants.
        precision: "float32"; or "int8": weights (by output channel) and
            activations are 8-bit integers everywhere.
        calibration: [examples, *shape], from which int8's ranges are taken.
        quantized_interface: whether int8's input and output are int8 too,
            not float32.

    Raises:
        RuntimeError: it cannot be converted.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec((1, *shape), tf.float32, name="images")]
    # Handed a Keras model itself, the converter loses track of its variables without an error.
    holder = tf.Module()
    holder.variables_to_freeze = list(variables)
    try:
        traced = tf.function(function, input_signature=signature, autograph=False)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced.get_concrete_function()], holder
        )
        return _converted(converter, precision, calibration, quantized_interface)
    except Exception as error:  # The converter's own class is not public.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuntimeError(f"'{name}' cannot be converted to TFLite: {reason}") from error


def convert_stock(
    model, *, precision: Precision = "float32", calibration: np.ndarray | None = None
) -> bytes:
    """What a user of Keras and TensorFlow has: `TFLiteConverter.from_keras_model`, no more.

    Args:
        model: of Keras's own layers (see `keras_roots.to_stock`).
        precision, calibration: as of `convert`.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    with contextlib.redirect_stdout(io.StringIO()):  # Keras lists every variable.
        return _converted(converter, precision, calibration)


def _converted(converter, precision, calibration, quantized_interface: bool = False) -> bytes:
    import tensorflow as tf

    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if quantized_interface:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        return converter.convert()
