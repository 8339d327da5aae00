"""What every network's factory does alike, with keras.applications' arguments.

A family's module has a builder of features and hands it to `assemble`, which
checks the arguments, makes the input, puts the top on and loads the weights.
"""

import numbers
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

_WEIGHT_FILES = (".weights.h5", ".keras")


def assemble(
    features: Callable,
    top: Callable,
    *,
    default_size: int,
    minimum_size: int,
    include_top: bool,
    weights: str | os.PathLike | None,
    input_tensor,
    input_shape: tuple | None,
    pooling: str | None,
    classes: int,
    classifier_activation: str | Callable | None,
    name: str,
) -> keras.Model:
    """Builds a model from `features` (image to feature maps) and `top`.

    Args:
        features: function of the image tensor [batch, height, width,
            channels] (or channels first) to feature maps.
        top: function of (feature maps, classes, classifier_activation) to
            [batch, classes].
        default_size: height and width, in pixels, if no shape is given.
        minimum_size: the smallest height and width that the network takes.
        The others are the public factories'.

    Raises:
        ValueError, FileNotFoundError: before anything is built, where the
            arguments allow it.
    """
    _check_weights(weights, name)
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"Expected pooling=None, 'avg' or 'max'. Received: {pooling!r}")
    if not _is_positive_integer(classes):
        raise ValueError(f"Expected classes as a positive integer. Received: {classes!r}")
    keras.activations.get(classifier_activation)  # Raises for an unknown name.

    if input_tensor is None:
        inputs = x = keras.Input(_check_shape(input_shape, default_size, minimum_size, name))
    else:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise ValueError(
                "Expected input_tensor as a Keras tensor, such as keras.Input((224, 224, 3)) or "
                f"the output of a layer. Received: {type(input_tensor).__name__}"
            )
        if input_shape is not None and tuple(input_shape) != tuple(input_tensor.shape[1:]):
            raise ValueError(
                "input_shape and input_tensor disagree. Received: "
                f"input_shape={tuple(input_shape)}, input_tensor.shape={input_tensor.shape}"
            )
        _check_shape(tuple(input_tensor.shape[1:]), default_size, minimum_size, name)
        inputs, x = keras.utils.get_source_inputs(input_tensor), input_tensor

    x = features(x)
    if include_top:
        x = top(x, classes, classifier_activation)
    elif pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        _load_weights(model, os.fspath(weights))
    return model


def _is_positive_integer(value) -> bool:
    # NumPy's integers are Integral too.
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) > 0


def _check_shape(shape, default_size: int, minimum_size: int, name: str) -> tuple:
    channels_last = keras.config.image_data_format() == "channels_last"
    default = (default_size, default_size, 3) if channels_last else (3, default_size, default_size)
    if shape is None:
        return default
    shape = tuple(shape.tolist() if isinstance(shape, np.ndarray) else shape)
    layout = "(height, width, channels)" if channels_last else "(channels, height, width)"
    if len(shape) != 3 or not all(n is None or _is_positive_integer(n) for n in shape):
        raise ValueError(f"Expected input_shape as {layout}, such as {default}. Received: {shape}")
    size, channels = (shape[:2], shape[2]) if channels_last else (shape[1:], shape[0])
    if channels is None:
        raise ValueError(
            f"The number of channels in input_shape, {layout}, must be given. Received: {shape}"
        )
    if any(n is not None and n < minimum_size for n in size):
        raise ValueError(
            f"'{name}' takes images of {minimum_size}x{minimum_size} pixels or more. "
            f"Received: input_shape={shape}"
        )
    return shape


def _check_weights(weights, name: str) -> None:
    if weights is None:
        return
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(
            f"Expected weights=None or the path of a file. Received: {type(weights).__name__}"
        )
    path = Path(weights)
    if not path.suffix and path.name == os.fspath(weights) and not path.is_file():
        raise ValueError(
            f"No trained weights have been published for '{name}' (weights={weights!r}). Take "
            "weights=None for random initialisation, or the path of a file that "
            "model.save_weights or model.save wrote."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file at {str(path)!r}.")
    if not path.name.endswith(_WEIGHT_FILES):
        raise ValueError(
            f"Expected a weights file that ends in {' or '.join(_WEIGHT_FILES)}, as "
            f"model.save_weights and model.save write. Received: {str(path)!r}"
        )


def _load_weights(model: keras.Model, path: str) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # h5py, zipfile and Keras each have their own.
        reason = " ".join(str(error).split())
        raise ValueError(
            f"The weights in {path!r} are not those of this network ('{model.name}', "
            f"{model.count_params():,} parameters): {reason}"
        ) from error
