"""Requests with which TensorFlow Serving warms a model up: assets.extra/tf_serving_warmup_requests.

A TFRecord file of tensorflow.serving.PredictionLog messages, whose fields are those of
tensorflow/serving's apis/prediction_log.proto, predict.proto and model.proto. They are written here
by hand, for the package that has them would be a dependency for a few bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

FILE = "tf_serving_warmup_requests"


def write(
    folder: Path, inputs: Mapping[str, np.ndarray], batches: Sequence[int], model: str
) -> None:
    """Writes a request of each batch size.

    Args:
        folder: "assets.extra" of a SavedModel.
        inputs: arrays [examples, ...] by name, repeated as need be.
        batches: sizes.
        model: name of the model.
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for batch in batches:
            pieces = {name: array[np.arange(batch) % len(array)] for name, array in inputs.items()}
            writer.write(_prediction_log(pieces, model))


def _prediction_log(inputs: Mapping[str, np.ndarray], model: str) -> bytes:
    import tensorflow as tf

    model_spec = _field(1, model.encode()) + _field(3, b"serving_default")
    request = _field(1, model_spec)
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))  # PredictionLog.predict_log.request


def _field(number: int, content: bytes) -> bytes:
    """A protocol buffer's field of bytes: its tag, their length, and they."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
