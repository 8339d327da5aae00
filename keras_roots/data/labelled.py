"""Image classification data in memory, for programs that run in minutes.

* digits: the 1,797 handwritten digits that scikit-learn carries (a copy of
  the test set of UCI's "Optical Recognition of Handwritten Digits"), brought
  from 8x8 to 32x32 pixels. Needs no network. One fifth is held out, drawn at
  random class by class, so the same writers are in both parts.
* cifar10: CIFAR-10 as tensorflow-datasets prepared it on disk.
"""

import dataclasses
import os
from typing import Any

import keras
import numpy as np

from keras_roots.data import prepared
from keras_roots.requirements import require_extras

DATASETS = ("digits", "cifar10")
_SIZE = 32
_HELD_OUT_DIGITS = 360


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images of one size with their classes, for training and held out.

    Attributes:
        name: of the data set.
        train_images, test_images: uint8, [examples, height, width, 3], 0-255.
        train_labels, test_labels: int64, [examples], from 0.
        class_names: one for each label.
        mirror: whether an image keeps its class when mirrored left to right.
        background: what to pad images with, 0-255.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mirror: bool
    background: int

    def take(self, examples: int) -> "LabelledImages":
        """The same with at most so many training examples."""
        return dataclasses.replace(
            self,
            train_images=self.train_images[:examples],
            train_labels=self.train_labels[:examples],
        )


def load(name: str, data_dir: str | os.PathLike | None = None) -> LabelledImages:
    """Loads a data set whole.

    Args:
        name: one of `DATASETS`.
        data_dir: where tensorflow-datasets keeps its data sets, for cifar10;
            by default where it does so itself (TFDS_DATA_DIR, or
            tensorflow_datasets in the home folder).

    Raises:
        ValueError: unknown name, `data_dir` given for digits, or files that
            tensorflow-datasets cannot read.
        FileNotFoundError: CIFAR-10 is not there; nothing is downloaded.
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    if name == "digits":
        if data_dir is not None:
            raise ValueError("The digits come with scikit-learn: data_dir is for cifar10 only.")
        return _digits()
    if name == "cifar10":
        return _cifar10(data_dir)
    raise ValueError(f"Expected a data set of: {', '.join(DATASETS)}. Received: {name!r}")


def _digits() -> LabelledImages:
    require_extras("The digits", {"sklearn": "datasets"})
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = digits.images.astype(np.float32)[..., np.newaxis] * (255 / 16)
    grey = keras.ops.image.resize(
        grey, (_SIZE, _SIZE), interpolation="bilinear", data_format="channels_last"
    )
    grey = np.rint(keras.ops.convert_to_numpy(grey)).astype(np.uint8)
    images = np.repeat(grey, 3, axis=-1)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        digits.target.astype(np.int64),
        test_size=_HELD_OUT_DIGITS,
        stratify=digits.target,
        random_state=0,
    )
    return LabelledImages(
        "digits",
        train_images,
        train_labels,
        test_images,
        test_labels,
        class_names=tuple("0123456789"),
        mirror=False,
        background=0,
    )


def _cifar10(data_dir: str | os.PathLike | None) -> LabelledImages:
    require_extras("CIFAR-10", {"tensorflow_datasets": "datasets"})
    import tensorflow_datasets as tfds

    builder = prepared.builder("cifar10", data_dir)
    folder, features = str(builder.data_path), builder.info.features
    for split in ("train", "test"):
        if split not in builder.info.splits:
            raise FileNotFoundError(f"{folder!r} is incomplete: it lacks a {split} split.")
    if not {"image", "label"} <= set(features) or features["image"].shape != (_SIZE, _SIZE, 3):
        raise ValueError(f"{folder!r} is no CIFAR-10: it holds {features}")
    try:
        arrays: dict[str, Any] = {
            split: tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
            for split in ("train", "test")
        }
    except Exception as error:  # tfds, TensorFlow and protobuf each have their own.
        raise ValueError(f"{folder!r} cannot be read as a prepared cifar10: {error}") from error
    return LabelledImages(
        "cifar10",
        arrays["train"]["image"],
        arrays["train"]["label"],
        arrays["test"]["image"],
        arrays["test"]["label"],
        class_names=tuple(features["label"].names),
        mirror=True,
        background=round(arrays["train"]["image"].mean()),
    )
