"""Inputs to try a model on when nobody gives any."""

import keras
import numpy as np

from keras_roots.export import calibration
from keras_roots.export.preprocessing import Preprocessing


def example_inputs(
    model: keras.Model, count: int, preprocessing: Preprocessing
) -> tuple[list[np.ndarray], str]:
    """Arrays [count, ...] for each input of a model, as a file takes them, and what they are.

    Parts of scikit-learn's two photographs, if it is installed and the model
    takes one image; else random numbers.
    """
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][-1] in (1, 3):
        shape = preprocessing.input_shape(shapes[0])
        images = calibration.sample_photographs(shape, count)
        if images is not None:
            images = calibration.preprocessed(images, preprocessing.to_caller())
            return [images], "parts of two photographs"
        if preprocessing.inside:
            images = np.random.default_rng(0).uniform(0, 255, size=(count, *shape))
            return [images.astype(np.float32)], "random pixels"
    rng = np.random.default_rng(0)
    arrays = [
        _random(rng, (count, *shape), keras.backend.standardize_dtype(tensor.dtype))
        for shape, tensor in zip(shapes, model.inputs, strict=True)
    ]
    return arrays, "random numbers, for the model does not take one image"


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype.startswith(("int", "uint", "bool")):
        return rng.integers(0, 2, size=shape).astype(dtype)  # Small enough for any vocabulary.
    return rng.normal(size=shape).astype(dtype)
