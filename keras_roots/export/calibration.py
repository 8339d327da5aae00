"""Photographs, as a model takes them: from a folder, or two that scikit-learn brings."""

import importlib.util
import os
from pathlib import Path

import keras
import numpy as np

from keras_roots.data import check_channels, check_preprocessing, preprocessed, sources
from keras_roots.data import images as image_files


def require_images(folder: str | os.PathLike) -> None:
    """Raises unless there is a folder with images in it or below; reads none.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images in it.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no folder of images '{folder}'.")
    if not any(path.suffix.lower() in sources.SUFFIXES for path in Path(folder).rglob("*")):
        raise ValueError(f"There are no images in '{folder}': {', '.join(sources.SUFFIXES)}")


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
    check_channels(preprocessing, channels)
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
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in sources.SUFFIXES:
                image_files.require_readable(path)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"The images in '{folder}' cannot be read: {reason}") from error
    return preprocessed(pixels, preprocessing)


def sample_photographs(shape: tuple[int, ...], count: int) -> np.ndarray | None:
    """Parts of scikit-learn's two photographs, of 0 to 255: float32 [count, *shape].

    The same for the same arguments; None if scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        return None
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    height, width, channels = shape
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        sides = np.array(photograph.shape[:2])
        # Of the size wanted, or as large as there is room for, with the same aspect.
        room = min(sides / (height, width))
        part = np.maximum(1, (np.array((height, width)) * room * rng.uniform(0.4, 1)).astype(int))
        top, left = (rng.integers(0, rest + 1) for rest in sides - part)
        crop = photograph[top : top + part[0], left : left + part[1]].astype(np.float32)
        if channels == 1:
            crop = crop.mean(axis=-1, keepdims=True)
        images.append(tf.image.resize(crop, (height, width)).numpy())
    return np.stack(images)
