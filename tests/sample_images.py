"""Small image files in class folders, made for tests."""

import base64
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_roots import data

# A CMYK JPEG, 8x8, of about red 225, green 48, blue 0. TensorFlow writes none.
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0O"
    "EQ4LCxAWEBETFBUVFQwPFxgWFBgSFBUU/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAA"
    "AAAAAAkI/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkASwAAPwBU0eCqIG//2Q=="
)


def jpeg(image: np.ndarray, **options) -> bytes:
    return tf.io.encode_jpeg(image, **options).numpy()


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth colours, as far as a photograph has them: uint8 [height, width, 3]."""
    coarse = rng.integers(0, 256, (4, 5, 3))
    return tf.cast(tf.image.resize(coarse, (height, width), "bilinear"), tf.uint8).numpy()


def photograph_folders(folder: Path, classes: int, train: int, validation: int) -> Path:
    """Such photographs with noise, in which no two pixels are alike."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", validation)):
        for label in range(classes):
            of_class = folder / split / f"class-{label}"
            of_class.mkdir(parents=True)
            for number in range(count):
                image = photograph(rng, 36, 40) * 0.7 + rng.uniform(0, 76, (36, 40, 3))
                content = jpeg(image.astype(np.uint8), quality=100)
                (of_class / f"{number:03d}.JPEG").write_bytes(content)
    return folder


def digit_folders(folder: Path, classes: int = 3, train: int = 8, validation: int = 4) -> Path:
    """Handwritten digits, 32x32, as <folder>/train|val/<class>/*.JPEG: so many of each class."""
    digits = data.load("digits")
    for split, count, images, labels in (
        ("train", train, digits.train_images, digits.train_labels),
        ("val", validation, digits.test_images, digits.test_labels),
    ):
        for label in range(classes):
            of_class = folder / split / f"digit-{label}"
            of_class.mkdir(parents=True)
            for number, image in enumerate(images[labels == label][:count]):
                (of_class / f"{number:03d}.JPEG").write_bytes(jpeg(image))
    return folder
