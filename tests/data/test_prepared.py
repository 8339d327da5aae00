"""Data sets of tensorflow-datasets: found on disk, and read record by record."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_roots.data import prepared, sources
from keras_roots.training.config import Config

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 10, 3), np.uint8)
LABELS = np.arange(9) % 3


def store(folder, name="small", train=IMAGES, labels=LABELS):
    """Prepares images as a data set of 3 classes."""

    def split(images):
        return tf.data.Dataset.from_generator(
            lambda: (
                {"image": image, "label": n} for image, n in zip(images, labels, strict=False)
            ),
            output_signature={
                "image": tf.TensorSpec((None, None, 3), tf.uint8),
                "label": tf.TensorSpec((), tf.int64),
            },
        )

    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
        ),
        split_datasets={"train": split(train), "test": split(train[:4])},
        data_dir=folder,
        disable_shuffling=True,
    )
    return folder


@pytest.fixture(scope="module", name="folder")
def make_folder(tmp_path_factory):
    return store(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(name="copy")
def make_copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path, dirs_exist_ok=True))


def opened(folder, **values):
    config = {"data_dir": str(folder), "batch_size": 4, "dataset": "small", **values}
    return sources.open_source(Config(**config))


def test_a_prepared_data_set(folder):
    source = opened(folder)
    assert source.name == "small/1.0.0"
    assert source.class_names == ("a", "b", "c")
    assert (source.train.size, source.validation.name, source.validation.size) == (9, "test", 4)
    for number in (7, 0, 8):
        content, label = source.train.read(tf.constant(number, tf.int64))
        np.testing.assert_array_equal(tf.io.decode_image(content), IMAGES[number])
        assert label == LABELS[number]
    assert "small/1.0.0 train, record 7" in source.train.describe(7)
    part = opened(folder, train_split="train[3:8]").train
    assert part.size == 5
    content, _ = part.read(tf.constant(0, tf.int64))
    np.testing.assert_array_equal(tf.io.decode_image(content), IMAGES[3])


def test_one_that_is_held_in_memory(folder, tmp_path):
    data = prepared.Prepared("small", folder, in_memory=True)
    names, split = data.split("train[2:]")
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(split.images, IMAGES[2:])
    np.testing.assert_array_equal(split.labels, LABELS[2:])
    store(tmp_path, "labels", labels=np.full(9, -1))
    with pytest.raises(ValueError, match="labels of none of 3 classes"):
        prepared.Prepared("labels", tmp_path, in_memory=True).split("train")


def test_images_of_several_sizes_are_not_held(tmp_path):
    store(tmp_path, train=[IMAGES[0], IMAGES[1, :7]])
    with pytest.raises(ValueError, match="small/1.0.0 train cannot be held in memory.*one size"):
        prepared.Prepared("small", tmp_path, in_memory=True).split("train")


def test_prepared_data_that_are_not_right(folder):
    for values, error, message in (
        ({"dataset": "other"}, FileNotFoundError, "holds no prepared other.*tfds build other"),
        ({"dataset": "../small"}, ValueError, "name of a data set"),
        ({"train_split": "training"}, ValueError, "no split 'training'.*train"),
        ({"data_dir": f"{folder}/missing"}, FileNotFoundError, "no data folder.*tfds build small"),
    ):
        with pytest.raises(error, match=message):
            opened(folder, **values)


def test_a_shard_that_is_missing_or_cut_short(copy):
    shard = next(copy.rglob("*train*tfrecord*"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{shard.name}' .*ends within a record"):
        opened(copy)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"incomplete: it lacks {shard.name}"):
        opened(copy)


def test_the_newest_version_is_taken(copy):
    newer = copy / "small" / "1.0.10"
    shutil.copytree(copy / "small" / "1.0.0", copy / "small" / "1.0.9")
    shutil.copytree(copy / "small" / "1.0.0", newer)
    (newer / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"1\.0\.10' cannot be read"):
        opened(copy)


def test_a_data_set_that_has_configurations(folder, tmp_path):
    """As imagenette: <name>/<configuration>/<version>."""
    shutil.copytree(folder / "small" / "1.0.0", tmp_path / "small" / "blue" / "1.0.0")
    for name in ("small", "small/blue"):
        assert opened(tmp_path, dataset=name).train.size == 9
    shutil.copytree(folder / "small" / "1.0.0", tmp_path / "small" / "green" / "1.0.0")
    with pytest.raises(ValueError, match="holds several: give one of small/blue, small/green"):
        opened(tmp_path)


def test_labels_that_are_of_no_class(folder):
    """As of ImageNet's test split in tensorflow-datasets."""
    source = opened(folder)
    unlabelled = dataclasses.replace(
        source.validation, read=lambda index: (source.validation.read(index)[0], tf.constant(-1))
    )
    with pytest.raises(ValueError, match="has the label -1, which is none of 3 classes"):
        sources.check_readable(dataclasses.replace(source, validation=unlabelled))


def write_records(path: Path, contents: list[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)


def test_records_are_read_in_any_order(tmp_path):
    rng = np.random.default_rng(0)
    contents = [rng.bytes(int(n)) for n in rng.integers(0, 3000, 12)]
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, start in zip(paths, (0, 5, 6), strict=True):
        write_records(path, contents[start : {0: 5, 5: 6, 6: 12}[start]])
    size, read = prepared.reader([(paths[0], 1, 3), (paths[1], 0, 1), (paths[2], 2, 4)])
    expected = contents[1:4] + contents[5:6] + contents[8:12]
    assert size == len(expected)
    order = rng.permutation(size)
    found = tf.data.Dataset.from_tensor_slices(order).map(read, 2)
    assert list(found.as_numpy_iterator()) == [expected[n] for n in order]


def test_record_files_that_are_not_whole(tmp_path):
    path = tmp_path / "records"
    write_records(path, [b"abc", b"defg"])
    with pytest.raises(ValueError, match="holds 2 of 3 records"):
        prepared.reader([(path, 0, 3)])
    whole = path.read_bytes()
    for length in (len(whole) - 1, 20, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="ends within a record"):
            prepared.reader([(path, 0, 2)])
