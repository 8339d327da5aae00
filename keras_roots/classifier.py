"""A classifier of images, be it a Keras model or a TFLite file.

    classifier = Classifier(keras.models.load_model("model.keras"))
    scores = classifier(images)

`evaluation` and `prediction` take one.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.export import calibration, interpreter
from keras_roots.requirements import require_extras, require_tensorflow

_TOLERANCE = 0.01  # Of a sum of probabilities: float16 and int8 round them.


class Classifier:
    """A Keras model or a TFLite file as a function from images to scores.

    Called with uint8 [n, size, size, 3] of 0 to 255, it returns float32
    [n, classes]; or raises a RuntimeError if a score is not finite.

    Args:
        model: with one input of square images of three colours, channels last,
            and one output, [batch, classes]; auxiliary heads are left out. Or
            the path of a TFLite file of batch 1 that takes float32.
        preprocessing: what it was trained with: "none": values of 0 to 255
            (as of a model that normalises by itself); "torch", "caffe" or "tf":
            as keras.applications.imagenet_utils.preprocess_input has it.
        image_size: in pixels, for a model that leaves it open.

    Attributes:
        image_size: height and width of an image, in pixels.
        classes: how many.

    Raises:
        ValueError: the model or an argument is not as above.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: the extra "litert" is not installed, for a file.
    """

    def __init__(
        self,
        model: keras.Model | str | os.PathLike,
        *,
        preprocessing: str = "none",
        image_size: int | None = None,
    ):
        require_tensorflow("A classifier")
        calibration.check_preprocessing(preprocessing)
        if image_size is not None and image_size < 1:
            raise ValueError(f"Expected an image size of 1 or more. Received: {image_size}")
        of_kind = _of_keras if isinstance(model, keras.Model) else _of_tflite
        self._scores, name, shape, self.classes = of_kind(model)
        self.image_size = _image_size(name, shape, image_size)
        self._preprocessing = preprocessing

    def __call__(self, images: np.ndarray) -> np.ndarray:
        pixels = calibration.preprocessed(images.astype(np.float32), self._preprocessing)
        scores = np.asarray(self._scores(pixels), np.float32)
        if not np.isfinite(scores).all():
            raise RuntimeError(
                "The model's outputs are not finite (NaN or infinite): its weights are broken, or "
                "the images are not preprocessed as it was trained."
            )
        return scores


def _of_keras(model: keras.Model) -> tuple[Callable, str, tuple, int]:
    import tensorflow as tf

    model = without_auxiliary_heads(model)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    shapes: list[tuple[Any, ...]] = [tuple(tensor.shape) for tensor in outputs]
    if not len(inputs) == len(shapes) == 1 or len(shapes[0]) != 2 or shapes[0][1] is None:
        raise ValueError(
            "Expected a functional or Sequential model with one input, and one output of shape "
            f"[batch, classes]. Received: '{model.name}' with {len(inputs)} inputs and outputs of "
            f"{', '.join(map(str, shapes)) or 'unknown shapes'}"
        )

    @tf.function(autograph=False)
    def scores(pixels):
        return keras.tree.flatten(model(pixels, training=False))[0]

    return scores, model.name, tuple(inputs[0].shape[1:]), shapes[0][1]


def _of_tflite(path: str | os.PathLike) -> tuple[Callable, str, tuple, int]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    require_extras("A TFLite file", {"ai_edge_litert": "litert"})
    try:
        loaded = interpreter.make_interpreter(path, threads=os.cpu_count() or 1)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"'{path}' cannot be loaded as a TFLite file: {error}") from error
    inputs, outputs = loaded.get_input_details(), loaded.get_output_details()
    shapes = [tuple(int(n) for n in each["shape"]) for each in (*inputs, *outputs)]
    kinds = [np.dtype(each["dtype"]).name for each in (*inputs, *outputs)]
    if (
        not len(inputs) == len(outputs) == 1
        or [len(shape) for shape in shapes] != [4, 2]
        or [shape[0] for shape in shapes] != [1, 1]
        or kinds != ["float32", "float32"]
    ):
        found = ", ".join(f"{kind} {shape}" for kind, shape in zip(kinds, shapes, strict=True))
        raise ValueError(
            "Expected a TFLite file from one float32 image, [1, size, size, 3], to float32 scores, "
            f"[1, classes], as `keras-roots export` writes. '{path}' has inputs and outputs of "
            f"{found}"
        )

    def scores(pixels):
        return interpreter.outputs(loaded, pixels)

    return scores, str(path), shapes[0][1:], shapes[1][1]


def _image_size(name: str, shape: tuple, wanted: int | None) -> int:
    is_open = None in shape[:-1]
    if is_open and wanted is None:
        raise ValueError(f"'{name}' leaves its image size open: give --image-size (image_size)")
    if wanted is not None and not is_open and shape[:-1] != (wanted, wanted):
        raise ValueError(f"'{name}' takes images of {shape} only: omit the image size {wanted}")
    filled: tuple[Any, ...] = tuple(wanted if length is None else length for length in shape)
    if len(filled) != 3 or filled[0] != filled[1] or filled[2] != 3:
        raise ValueError(
            f"Expected a model of square images, (size, size, 3). '{name}' takes {filled}"
        )
    return filled[0]


def default_resize(image_size: int) -> int:
    """The shorter side in pixels, 256 for 224; small images are not cropped."""
    return image_size if image_size < 64 else round(image_size * 256 / 224)


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether each image's scores, [images, classes], are 0 or more and sum to 1."""
    return bool(
        (scores >= 0).all() and (np.abs(scores.sum(axis=-1, dtype=float) - 1) < _TOLERANCE).all()
    )


def checked_resize(image_size: int, resize: int | None) -> int:
    """The given one, or the default.

    Raises:
        ValueError: it is smaller than the image size.
    """
    if resize is None:
        return default_resize(image_size)
    if resize < image_size:
        raise ValueError(
            f"Expected resize of the image size ({image_size}) or more. Received: {resize}"
        )
    return resize
