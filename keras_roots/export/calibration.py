"""Photographs from a folder, as a model takes them."""

import os
from pathlib import Path

import keras
import numpy as np

PREPROCESSING = ("none", "torch", "caffe", "tf")


_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def require_images(folder: str | os.PathLike) -> None:
    """Raises unless there is a folder with images in it or below; reads none.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images in it.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no folder of images '{folder}'.")
    if not any(path.suffix.lower() in _SUFFIXES for path in Path(folder).rglob("*")):
        raise ValueError(f"There are no images in '{folder}': {', '.join(_SUFFIXES)}")


def load_images(
    folder: str | os.PathLike, shape: tuple[int, ...], count: int, preprocessing: str = "none"
) -> np.ndarray:
    """Images of a folder and those in it, drawn at random with a fixed seed.

    Each is resized and cropped at the centre; its aspect ratio stays.

    Args:
        folder: with .jpg, .jpeg, .png, .bmp or .gif.
        shape: (height, width, channels) of the result; one channel or three.
        count: at most so many.
        preprocessing: what the model was trained with: "none": values of 0 to
            255 (as of a model that normalises by itself); "torch", "caffe" or
            "tf": as keras.applications has them.

    Returns:
        float32 [images, height, width, channels].

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images in it, or one cannot be read.
    """
    require_images(folder)
    if count < 1:
        raise ValueError(f"Expected one image or more. Received: {count}")
    check_preprocessing(preprocessing)
    if len(shape) != 3:
        raise ValueError(f"Expected a model of images. Received: one whose input is {shape}")
    height, width, channels = shape
    modes = {1: "grayscale", 3: "rgb"}
    if channels not in modes:
        raise ValueError(f"Images have one channel or three; the model takes {channels}.")
    if channels == 1 and preprocessing in ("torch", "caffe"):
        raise ValueError(
            f"The preprocessing {preprocessing!r} is of colours; the model takes one channel."
        )
    try:
        images = keras.utils.image_dataset_from_directory(
            folder,
            labels=None,
            color_mode=modes[channels],
            batch_size=None,
            image_size=(height, width),
            seed=0,
            crop_to_aspect_ratio=True,
            data_format="channels_last",
            verbose=False,
        ).take(count)
        pixels = np.stack([image.numpy() for image in images]).astype(np.float32)
    except Exception as error:  # TensorFlow's errors of decoding are many.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"The images in '{folder}' cannot be read: {reason}") from error
    return preprocessed(pixels, preprocessing)


def check_preprocessing(preprocessing: str) -> None:
    """Raises a ValueError unless it is one of `PREPROCESSING`."""
    if preprocessing not in PREPROCESSING:
        raise ValueError(
            f"Expected preprocessing as one of: {', '.join(PREPROCESSING)}. "
            f"Received: {preprocessing!r}"
        )


def preprocessed(pixels: np.ndarray, preprocessing: str) -> np.ndarray:
    """Float32 images of 0 to 255, [..., channels], as a model takes them; may change them."""
    if preprocessing == "none":
        return pixels
    return keras.applications.imagenet_utils.preprocess_input(
        pixels, data_format="channels_last", mode=preprocessing
    )
