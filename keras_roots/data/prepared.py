"""Data sets that tensorflow-datasets has prepared on disk, each record of which is read by itself.

tfds itself would look for a data set on the network, for minutes. And tf.data reads TFRecord
files from the beginning on, which leaves an order at random to a shuffle buffer, and going on at
step n to reading n batches for nothing.
"""

import dataclasses
import os
import re
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_roots.data.split import VALIDATION_SPLITS, Split, fingerprint
from keras_roots.requirements import require_extras

_HEADER = struct.Struct("<QI")  # A record's length and its checksum.
_FOOTER = 4  # The checksum of the record.


class Prepared:
    """A data set of labelled images; nothing is downloaded.

    Args:
        name: see `builder`.
        data_dir: see `builder`.
        in_memory: hold the images of each split that is opened.

    Attributes:
        name: of the data set, with its version.
        class_names: one for each label.

    Raises:
        FileNotFoundError, ModuleNotFoundError: as of `builder`.
        ValueError: as of `builder`; or it is not of labelled images.
    """

    def __init__(
        self, name: str, data_dir: str | os.PathLike | None = None, *, in_memory: bool = False
    ):
        self._builder, self._in_memory = builder(name, data_dir), in_memory
        info = self._builder.info
        self.name, features = info.full_name, info.features
        if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
            raise ValueError(f"{self.name} is not of labelled images: {features}")
        self.class_names = tuple(features["label"].names)

    def held_out(self) -> str:
        """The split to evaluate on, by default.

        Raises:
            ValueError: there is none.
        """
        splits = self._builder.info.splits
        for name in VALIDATION_SPLITS:
            if name in splits:
                return name
        raise ValueError(
            f"{self.name} has no split of: {', '.join(VALIDATION_SPLITS)}. Give one of: "
            f"{', '.join(splits)}"
        )

    def split(self, name: str) -> tuple[tuple[str, ...], Split]:
        """The names of the classes, and a split; also a part of one, such as train[:10%].

        Raises:
            ValueError: there is no such split, or it is not in TFRecord files.
        """
        import tensorflow_datasets as tfds

        info = self._builder.info
        kind = str(getattr(info.file_format, "value", info.file_format))
        if kind != "tfrecord":
            raise ValueError(
                f"{self.name} is prepared as {kind}; expected tfrecord. "
                "Prepare it with --file_format=tfrecord."
            )
        try:
            instructions = info.splits[name].file_instructions
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{self.name} has no split {name!r}; it has {', '.join(info.splits)}"
            ) from error
        shards = [(Path(each.filename), each.skip, each.take) for each in instructions]
        listing = [(path.name, *rest) for path, *rest in shards]
        size, read_record = reader(shards)
        decoders = {"image": tfds.decode.SkipDecoding()}

        def read(index):
            example = info.features.deserialize_example(read_record(index), decoders=decoders)
            return example["image"], example["label"]

        found = Split(
            name=name,
            size=size,
            read=read,
            describe=lambda index: f"{self.name} {name}, record {index}",
            fingerprint=fingerprint(f"{self.name} {listing}"),
        )
        return self.class_names, self._held(found) if self._in_memory else found

    def _held(self, split: Split) -> Split:
        import tensorflow as tf

        def image_and_label(index):
            content, label = split.read(index)
            return tf.io.decode_image(content, channels=3, expand_animations=False), label

        def of_one_size(index):
            image, label = image_and_label(index)
            return tf.ensure_shape(image, first.shape), label

        try:
            first, _ = image_and_label(tf.constant(0, tf.int64))
            examples = tf.data.Dataset.range(split.size).map(of_one_size, tf.data.AUTOTUNE)
            images, labels = examples.batch(split.size).get_single_element()
        except tf.errors.OpError as error:
            reason = " ".join(str(error.message).split())
            raise ValueError(
                f"The images of {self.name} {split.name} cannot be held in memory, where they are "
                f"of one size: {reason}"
            ) from error
        labels, classes = labels.numpy(), len(self.class_names)
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f"{self.name} has labels of none of {classes} classes. Take another split than "
                f"{split.name!r}."
            )
        return dataclasses.replace(split, arrays=(images.numpy(), labels))


def builder(name: str, data_dir: str | os.PathLike | None = None):
    """The tfds builder of the newest prepared version, all of whose files are there.

    Args:
        name: of the data set, such as "cifar10", or with its configuration,
            "imagenet_resized/64x64".
        data_dir: where tensorflow-datasets keeps its data sets; by default
            where it does so itself (TFDS_DATA_DIR, or tensorflow_datasets in
            the home folder).

    Raises:
        FileNotFoundError: it is not there, or not whole; nothing is downloaded.
        ValueError: what is there cannot be read.
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    require_extras(f"The data set {name}", {"tensorflow_datasets": "datasets"})
    import tensorflow_datasets as tfds

    root = Path(tfds.core.constants.DATA_DIR if data_dir is None else data_dir).expanduser()
    how = (
        f"Prepare it with `tfds build {name} --data_dir={root}` (from tensorflow-datasets), or "
        f"give the folder that holds {name}/<version>/dataset_info.json as the data folder."
    )
    if not re.fullmatch(r"\w+(/[\w.-]+)?", name):
        raise ValueError(f"Expected the name of a data set, such as cifar10. Received: {name!r}")
    if not root.is_dir():
        raise FileNotFoundError(f"There is no data folder {str(root)!r}. {how}")
    versions = _versions(root / name)
    if not versions and "/" not in name:  # One of several configurations, as imagenette has.
        configurations = sorted(
            path.name for path in (root / name).glob("*") if path.is_dir() and _versions(path)
        )
        if len(configurations) > 1:
            raise ValueError(
                f"{str(root / name)!r} holds several: give one of "
                f"{', '.join(f'{name}/{each}' for each in configurations)}."
            )
        versions = _versions(root / name / configurations[0]) if configurations else {}
    if not versions:
        raise FileNotFoundError(f"The folder {str(root)!r} holds no prepared {name}. {how}")
    folder = versions[max(versions)]
    try:
        found = tfds.builder_from_directory(folder)
    except Exception as error:  # tfds, TensorFlow and protobuf each have their own.
        raise ValueError(
            f"{str(folder)!r} cannot be read as a prepared {name}: {error}. {how}"
        ) from error
    for split in found.info.splits.values():
        for path in map(Path, split.filepaths):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{str(folder)!r} is incomplete: it lacks {path.name}. {how}"
                )
    return found


def _versions(folder: Path) -> dict[tuple[int, ...], Path]:
    return {
        tuple(map(int, path.parent.name.split("."))): path.parent
        for path in folder.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    }


def offsets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where the records of a file begin, and their lengths, in bytes; none is read.

    Raises:
        ValueError: the file ends within a record.
    """
    found, lengths = [], []
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(_HEADER.size)
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else size
            found.append(position)
            lengths.append(length)
            position += _HEADER.size + length + _FOOTER
    if position != size:
        raise ValueError(f"'{path}' is no whole TFRecord file: it ends within a record.")
    return np.array(found, np.int64), np.array(lengths, np.int64)


def reader(shards: Sequence[tuple[Path, int, int]]):
    """Random access to some records of several files, one after the other.

    Args:
        shards: (file, records to leave out at its beginning, records to take).

    Returns:
        The number of records, and a function of an int64 tensor below it to
        the record, a string tensor.

    Raises:
        ValueError: a file holds fewer records, or is not whole.
    """
    import tensorflow as tf

    with ThreadPoolExecutor(16) as pool:  # It is the disk that takes its time.
        located = list(pool.map(offsets, [path for path, _, _ in shards]))
    files, starts, lengths = [], [], []
    for number, ((path, skip, take), (start, length)) in enumerate(
        zip(shards, located, strict=True)
    ):
        if len(start) < skip + take:
            raise ValueError(
                f"'{path}' is incomplete: it holds {len(start)} of {skip + take} records."
            )
        files.append(np.full(take, number))
        starts.append(start[skip : skip + take])
        lengths.append(length[skip : skip + take])
    names = tf.constant([str(path) for path, _, _ in shards])
    file_of, start_of, length_of = (
        tf.constant(np.concatenate(each), tf.int64) for each in (files, starts, lengths)
    )

    def read(index):
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[names[file_of[index]]],
            compression_type="",
            buffer_size=length_of[index] + _HEADER.size + _FOOTER,
            byte_offsets=[start_of[index]],
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return records.take(1).get_single_element()

    return sum(take for _, _, take in shards), read
