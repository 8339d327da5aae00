"""Labelled images that are held in memory, as the JAX backend trains on them."""

import contextlib
import functools
import hashlib
import importlib.util
from collections.abc import Callable

import numpy as np

from keras_roots.data import arrays
from keras_roots.data.split import Source, Split
from keras_roots.training.config import Config


def of_folder(config: Config) -> Source:
    """The folder of `keras_roots.data.arrays` that a configuration names.

    Raises:
        FileNotFoundError, ValueError: as `arrays.read`; or splits that such a
            folder has not.
    """
    if not config.data_dir:
        raise ValueError("Arrays need data_dir: the folder that `keras-roots arrays` wrote")
    if config.train_split != "train" or config.validation_split not in ("", "test"):
        raise ValueError(
            "Arrays have the splits train, to train on, and test, to evaluate on. Received: "
            f"train_split={config.train_split!r}, validation_split={config.validation_split!r}"
        )
    images = arrays.read(config.data_dir)

    def split(name: str, pixels: np.ndarray, labels: np.ndarray) -> Split:
        return Split(
            name=name,
            size=len(pixels),
            read=_read_as_png(pixels, labels),
            describe=lambda index: f"{images.name} {name}, image {index}",
            fingerprint=digest(pixels, labels),
            arrays=(pixels, labels),
        )

    return Source(
        name=images.name,
        class_names=images.class_names,
        train=split("train", images.train_images, images.train_labels),
        validation=split("test", images.test_images, images.test_labels),
    )


def _read_as_png(images: np.ndarray, labels: np.ndarray) -> Callable:
    """`Split.read` of images in memory, for TensorFlow: they pass for files.

    So they are cropped, padded and resized as files are. PNG loses nothing.

    Args:
        images: uint8 [examples, height, width, 3].
        labels: integers [examples].
    """

    @functools.cache
    def held():
        import tensorflow as tf

        # A graph would hold them as part of its definition.
        with tf.init_scope(), tf.device("CPU"):
            return tf.constant(images), tf.constant(labels, tf.int64)

    def read(index):
        import tensorflow as tf

        pixels, classes = held()
        return tf.io.encode_png(pixels[index], compression=0), classes[index]

    return read


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    """A fingerprint of what they hold."""
    return hashlib.sha256(images.tobytes() + labels.astype(np.int64).tobytes()).hexdigest()[:16]


def require_reader(name: str) -> None:
    """Readies TensorFlow to read a prepared data set where Keras runs on JAX.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"The data set {name} is read by tensorflow-datasets with TensorFlow, which is not "
            f"installed. Where it is, `keras-roots arrays {name} FOLDER` writes files that need "
            "neither: take dataset='arrays' and data_dir=FOLDER."
        )
    import tensorflow as tf

    # Else it would take a GPU's memory. It can no longer be told once it has computed.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


def prepared(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split of a prepared tfds data set, in the order of its files.

    Returns:
        uint8 [examples, height, width, 3] and int64 [examples].

    Raises:
        ValueError: its images are not of one size and three colours, have no
            labels, or cannot be read.
    """
    import tensorflow_datasets as tfds

    name = builder.info.full_name
    shape = tuple(builder.info.features["image"].shape)
    if len(shape) != 3 or None in shape or shape[2] != 3:
        raise ValueError(
            f"{name} has images of {shape}. Those that are trained on in memory, as on the JAX "
            "backend, are of one size and three colours."
        )
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    try:
        found = tfds.as_numpy(
            builder.as_dataset(
                split=split, batch_size=-1, read_config=in_order, shuffle_files=False
            )
        )
    except Exception as error:  # tfds, TensorFlow and protobuf each have their own.
        raise ValueError(f"{name} {split} cannot be read: {error}") from error
    labels, classes = found["label"], builder.info.features["label"].num_classes
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{name} has labels of none of {classes} classes. Take another split than {split!r}."
        )
    return found["image"], labels
