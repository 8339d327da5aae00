"""Labelled images on disk, each of which can be read by its number.

So the order in which they are read is arithmetic, and nothing of it has to be
remembered from run to run.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from pathlib import Path

import keras
import numpy as np

from keras_roots.data import in_memory, prepared, tfrecords
from keras_roots.data.split import Source, Split
from keras_roots.training.config import ARRAYS, FOLDERS, SYNTHETIC, Config
from keras_roots.training.on_jax import support

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif")
VALIDATION_SPLITS = ("validation", "val", "test")  # The first that exists is evaluated on.
_SYNTHETIC_IMAGES = 1_281_167  # As many as ImageNet has to train on.
_SYNTHETIC_POOL = 16
_TRIED = 16  # Images, before the work.


def open_source(config: Config) -> Source:
    """The data of a configuration, checked but for the images themselves.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: they are not as they should be, or Keras runs on JAX and
            does not train so.
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    on_jax = keras.backend.backend() == "jax"
    if on_jax:
        support.check(config)
    if config.dataset == SYNTHETIC:
        return _synthetic(config)
    if config.dataset == FOLDERS:
        if not config.data_dir:
            raise ValueError("Class folders need data_dir: the folder of train/<class>/*.JPEG")
        source = class_folders(config.data_dir, config.train_split, config.validation_split)
    elif config.dataset == ARRAYS:
        source = in_memory.of_folder(config)
    else:
        source = _prepared(config, whole=on_jax)
    found = len(source.class_names)
    if config.classes not in (0, found):
        raise ValueError(
            f"Expected {config.classes} classes. {source.name} has {found}: "
            f"{', '.join(source.class_names[:5])}{', ...' if found > 5 else ''}"
        )
    if config.batch_size > source.train.size:
        raise ValueError(
            f"Expected a batch_size of the {source.train.size} training images or fewer. "
            f"Received: {config.batch_size}"
        )
    if on_jax:
        for split in (source.train, source.validation):
            support.check_images(config, split.images)
    return source


def check_readable(source: Source) -> None:
    """Tries some images of each split, before the long work.

    Raises:
        ValueError: none of them can be read, or one has a label of no class.
    """
    for split in (source.train, source.validation):
        if split.pixels or split.arrays is not None:
            continue
        import tensorflow as tf

        tried = sorted({n * (split.size - 1) // (_TRIED - 1) for n in range(_TRIED)})
        reasons = []
        for number in tried:
            try:
                content, label = split.read(tf.constant(number, tf.int64))
                if not 0 <= int(label) < len(source.class_names):  # As of ImageNet's test split.
                    raise ValueError(
                        f"{split.describe(number)} has the label {int(label)}, which is none of "
                        f"{len(source.class_names)} classes. Take another split than "
                        f"{split.name!r}."
                    )
                tf.io.decode_image(content, expand_animations=False)
            except tf.errors.OpError as error:
                reasons.append(f"{split.describe(number)}: {' '.join(str(error.message).split())}")
        if len(reasons) == len(tried):
            raise ValueError(f"None of {len(tried)} images tried can be read, such as {reasons[0]}")


def class_folders(
    data_dir: str | os.PathLike, train_split: str = "train", validation_split: str = ""
) -> Source:
    """Images in <data_dir>/<split>/<class>/.

    Raises:
        FileNotFoundError: a folder is not there.
        ValueError: it cannot be read, has no images, or the splits have other
            classes.
    """
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no data folder {str(folder)!r}.")
    validation_split = validation_split or validation_folder(folder)
    if not validation_split:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no split to evaluate on: one of {', '.join(VALIDATION_SPLITS)}"
        )
    names, train = folder_split(folder / train_split)
    others, validation = folder_split(folder / validation_split)
    if names != others:
        raise ValueError(
            f"{train_split} and {validation_split} of {str(folder)!r} have other classes: "
            f"{', '.join(sorted(set(names) ^ set(others))[:5])} only in one of them"
        )
    return Source(str(folder), names, train, validation)


def validation_folder(folder: Path) -> str:
    """The split of class folders to evaluate on, by default; "" if there is none."""
    return next((name for name in VALIDATION_SPLITS if (folder / name).is_dir()), "")


def validation_of(builder) -> str:
    """The split of a tfds data set to evaluate on, by default.

    Raises:
        ValueError: there is none.
    """
    for name in VALIDATION_SPLITS:
        if name in builder.info.splits:
            return name
    raise ValueError(
        f"{builder.info.full_name} has no split of: {', '.join(VALIDATION_SPLITS)}. Give one of: "
        f"{', '.join(builder.info.splits)}"
    )


def folder_split(folder: Path) -> tuple[tuple[str, ...], Split]:
    """The names of the classes, and the images, in <folder>/<class>/.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it cannot be read, or a class has no images.
    """
    import tensorflow as tf

    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    paths: list[str] = []
    labels: list[int] = []
    left_out: Counter = Counter()
    try:
        classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        for label, name in enumerate(classes):
            with os.scandir(folder / name) as entries:
                files = sorted(entry.path for entry in entries if entry.is_file())
            images = [path for path in files if Path(path).suffix.lower() in SUFFIXES]
            left_out.update(Path(path).suffix for path in set(files) - set(images))
            if not images:
                raise ValueError(f"There are no images in {str(folder / name)!r}.")
            paths += images
            labels += [label] * len(images)
    except OSError as error:
        raise ValueError(
            f"The folder {error.filename!r} cannot be read: {error.strerror}."
        ) from error
    if len(classes) < 2:
        raise ValueError(
            f"Expected two class folders or more in {str(folder)!r}. Found: {len(classes)}"
        )
    path_of, label_of = tf.constant(paths), tf.constant(labels, tf.int64)
    listing = "\n".join(os.path.relpath(path, folder) for path in paths)
    split = Split(
        name=folder.name,
        size=len(paths),
        read=lambda index: (tf.io.read_file(path_of[index]), label_of[index]),
        describe=lambda index: paths[index],
        fingerprint=_digest(listing),
        left_out=left_out,
    )
    return tuple(classes), split


def _prepared(config: Config, *, whole: bool) -> Source:
    """A prepared tfds data set; in memory, if `whole`."""
    if whole:
        in_memory.require_reader(config.dataset)
    builder = prepared.builder(config.dataset, config.data_dir or None)
    class_names = labels_of(builder)
    train, validation = (
        prepared_split(builder, name)
        for name in (config.train_split, config.validation_split or validation_of(builder))
    )
    if whole:
        train, validation = (
            dataclasses.replace(split, arrays=in_memory.prepared(builder, split.name))
            for split in (train, validation)
        )
    return Source(builder.info.full_name, class_names, train, validation)


def labels_of(builder) -> tuple[str, ...]:
    """The names of the classes of a tfds data set.

    Raises:
        ValueError: it is not of labelled images.
    """
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise ValueError(f"{builder.info.full_name} is not of labelled images: {features}")
    return tuple(features["label"].names)


def prepared_split(builder, name: str) -> Split:
    """A split of a prepared tfds data set; also a part of one, such as train[:10%].

    Raises:
        ValueError: there is no such split, or it is not in TFRecord files.
    """
    import tensorflow_datasets as tfds

    kind = str(getattr(builder.info.file_format, "value", builder.info.file_format))
    if kind != "tfrecord":
        raise ValueError(
            f"{builder.info.full_name} is prepared as {kind}; expected tfrecord. "
            "Prepare it with --file_format=tfrecord."
        )
    try:
        instructions = builder.info.splits[name].file_instructions
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{builder.info.full_name} has no split {name!r}; it has "
            f"{', '.join(builder.info.splits)}"
        ) from error
    shards = [(Path(each.filename), each.skip, each.take) for each in instructions]
    size, read_record = tfrecords.reader(shards)
    features = builder.info.features
    decoders = {"image": tfds.decode.SkipDecoding()}

    def read(index):
        example = features.deserialize_example(read_record(index), decoders=decoders)
        return example["image"], example["label"]

    return Split(
        name=name,
        size=size,
        read=read,
        describe=lambda index: f"{builder.info.full_name} {name}, record {index}",
        fingerprint=_digest(
            f"{builder.info.full_name} {[(path.name, *rest) for path, *rest in shards]}"
        ),
    )


def _synthetic(config: Config) -> Source:
    """Random pixels, drawn once: nothing is decoded."""
    import tensorflow as tf

    classes = config.classes or 1000
    pool = tf.random.stateless_uniform(
        (_SYNTHETIC_POOL, config.image_size, config.image_size, 3),
        [config.seed, 0],
        0,
        256,
        tf.int32,
    )
    pool = tf.cast(pool, tf.uint8)

    def read(index):
        return pool[index % _SYNTHETIC_POOL], index % classes

    def split(name: str, size: int) -> Split:
        return Split(name, size, read, lambda index: f"synthetic {index}", "synthetic", pixels=True)

    return Source(
        SYNTHETIC,
        tuple(str(label) for label in range(classes)),
        split("train", _SYNTHETIC_IMAGES),
        split("validation", max(classes, config.batch_size)),
    )


def array_source(images: np.ndarray, labels: np.ndarray, classes: int | None = None) -> Source:
    """Images in memory, to train on; none is held out.

    Args:
        images: uint8 [examples, size, size, 3], 0 to 255.
        labels: integers [examples], from 0.
        classes: how many there are; by default one more than the last label.

    Raises:
        ValueError: they are not as above.
    """
    import tensorflow as tf

    images, labels = np.asarray(images), np.asarray(labels)
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(
            "Expected images as uint8 [examples, size, size, 3], of 0 to 255. Received: "
            f"{images.dtype} {list(shape)}"
        )
    if labels.shape != shape[:1] or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(
            f"Expected {shape[0]} labels, integers, and one or more. Received: {labels.dtype} "
            f"{list(labels.shape)}"
        )
    classes = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}"
        )
    held, names = tf.constant(images), tf.constant(labels, tf.int64)

    def read(index):
        return held[index], names[index]

    digest = in_memory.digest(images, labels)
    split = Split("train", len(images), read, lambda n: f"image {n}", digest, pixels=True)
    nothing = dataclasses.replace(split, name="validation", size=0)
    return Source("arrays", tuple(map(str, range(classes))), split, nothing)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
