"""A classifier of images, be it a Keras model or a TFLite file.

    classifier = Classifier(keras.models.load_model("model.keras"))
    scores = classifier(images)

`evaluation` and `prediction` take one.
"""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_roots.classify.tflite_classifier import TFLiteClassifier, no_classifier
from keras_roots.data import check_preprocessing, checked_resize, preprocessed
from keras_roots.requirements import require_tensorflow
from keras_roots.surgery.auxiliary_heads import without_auxiliary_heads

_TOLERANCE = 0.01  # Of a sum of probabilities: float16 and int8 round them.


class Classifier:
    """A Keras model or a TFLite file as a function from images to scores.

    Called with uint8 [n, size, size, 3] of 0 to 255, it returns float32
    [n, classes]; or raises a RuntimeError if a score is not finite.

    Args:
        model: with one input of square images of three colours, channels last,
            and one output, [batch, classes]; auxiliary heads are left out. Or
            the path of a TFLite file, of real numbers or integers.
        preprocessing: what it was trained with: "none": values of 0 to 255
            (as of a model that normalises by itself); "torch", "caffe" or "tf":
            as keras.applications.imagenet_utils.preprocess_input has it; by
            default what a TFLite file of ours says, else "none".
        image_size: in pixels, for a model that leaves it open.

    Attributes:
        image_size: height and width of an image, in pixels.
        classes: how many.
        preprocessing: as above.
        labels: their names, as a TFLite file of ours has them, or None.
        resize: the shorter side of an image before the crop, in pixels, as
            such a file was exported for, or None.
        crops: whether such a file itself crops and resizes whole images: it is
            given their central square, beyond which it reads nothing.

    Raises:
        ValueError: the model or an argument is not as above, or contradicts
            what the file says.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: the extra "litert" is not installed, for a file.
    """

    def __init__(
        self,
        model: keras.Model | str | os.PathLike,
        *,
        preprocessing: str | None = None,
        image_size: int | None = None,
    ):
        require_tensorflow("A classifier")
        if preprocessing is not None:
            check_preprocessing(preprocessing)
        if image_size is not None and image_size < 1:
            raise ValueError(f"Expected an image size of 1 or more. Received: {image_size}")
        self.labels: tuple[str, ...] | None = None
        self.resize: int | None = None
        self.crops = False
        if isinstance(model, keras.Model):
            self._scores, name, shape, self.classes = _of_keras(model)
        else:
            file = TFLiteClassifier(model, image_size)
            self._scores, name, shape, self.classes = file, str(model), file.shape, file.classes
            self.labels, self.resize, self.crops = file.labels, file.resize, file.crops
            preprocessing = _agreed(name, preprocessing, file.preprocessing)
        self.image_size = _image_size(name, shape, image_size)
        self.preprocessing = preprocessing or "none"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        pixels = self.preprocessed(images).astype(np.float32, copy=False)
        scores = np.asarray(self._scores(pixels), np.float32)
        if not np.isfinite(scores).all():
            raise RuntimeError(
                "The model's outputs are not finite (NaN or infinite): its weights are broken, or "
                "the images are not preprocessed as it was trained."
            )
        return scores

    def preprocessed(self, images: np.ndarray) -> np.ndarray:
        """Uint8 images as the model takes them: float32, or the same if it takes 0 to 255."""
        return preprocessed(images, self.preprocessing)


def _of_keras(model: keras.Model) -> tuple[Callable, str, tuple, int]:
    import tensorflow as tf

    model = without_auxiliary_heads(model)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    taken, made = ([tuple(tensor.shape) for tensor in tensors] for tensors in (inputs, outputs))
    is_one = [len(shape) for shape in taken] == [4] and [len(shape) for shape in made] == [2]
    if not is_one or made[0][1] is None:
        raise no_classifier(model.name, map(str, taken), map(str, made))

    @tf.function(autograph=False)
    def scores(pixels):
        return keras.tree.flatten(model(pixels, training=False))[0]

    return scores, model.name, taken[0][1:], made[0][1]


def _agreed(name: str, asked: str | None, said: str | None) -> str | None:
    """The preprocessing that is asked for and that a file says it needs, if they are the same."""
    if asked is not None and said is not None and asked != said:
        raise ValueError(
            f"'{name}' was exported for images of the preprocessing {said!r}. Received: {asked!r}. "
            "Leave it out."
        )
    return said if asked is None else asked


def _image_size(name: str, shape: tuple, wanted: int | None) -> int:
    is_open = None in shape[:-1]
    if is_open and wanted is None:
        raise ValueError(f"'{name}' leaves its image size open: give image_size=...")
    if wanted is not None and not is_open and shape[:-1] != (wanted, wanted):
        raise ValueError(f"'{name}' takes images of {shape} only: omit the image size {wanted}")
    filled: tuple[Any, ...] = tuple(wanted if length is None else length for length in shape)
    if len(filled) != 3 or filled[0] != filled[1] or filled[2] != 3:
        raise ValueError(
            f"Expected a model of square images, (size, size, 3). '{name}' takes {filled}"
        )
    return filled[0]


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether each image's scores, [images, classes], are 0 or more and sum to 1."""
    return bool(
        (scores >= 0).all() and (np.abs(scores.sum(axis=-1, dtype=float) - 1) < _TOLERANCE).all()
    )


def resize_of(classifier: Classifier, resize: int | None) -> int:
    """The given one, or the default.

    Raises:
        ValueError: it is smaller than the image size, or the file crops by
            itself.
    """
    if classifier.crops and resize not in (None, classifier.image_size):
        raise ValueError(f"The file itself crops and resizes: omit the resize of {resize}")
    return checked_resize(classifier.image_size, classifier.resize if resize is None else resize)
