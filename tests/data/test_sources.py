import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_roots.data import prepared, sources
from keras_roots.training.config import Config
from tests import sample_images


@pytest.fixture(scope="module", name="folder")
def make_folder(tmp_path_factory):
    return sample_images.digit_folders(tmp_path_factory.mktemp("digits"))


def config(folder, **values):
    return Config(**{"data_dir": str(folder), "batch_size": 4, **values})


def test_class_folders(folder):
    source = sources.open_source(config(folder, classes=3))
    assert source.class_names == ("digit-0", "digit-1", "digit-2")
    assert (source.train.size, source.validation.size) == (24, 12)
    assert source.validation.name == "val"
    content, label = source.train.read(tf.constant(9, tf.int64))
    path = folder / "train" / "digit-1" / "001.JPEG"
    assert content.numpy() == path.read_bytes()
    assert label == 1
    assert source.train.describe(9) == str(path)


def test_the_fingerprint_is_of_the_files_not_of_where_they_are(folder, tmp_path):
    moved = sample_images.digit_folders(tmp_path / "moved")
    before = sources.open_source(config(folder)).fingerprint()
    assert sources.open_source(config(moved)).fingerprint() == before
    (moved / "train" / "digit-0" / "007.JPEG").rename(moved / "train" / "digit-1" / "999.JPEG")
    assert sources.open_source(config(moved)).fingerprint() != before


def test_other_files_are_left_out_and_counted(folder, tmp_path):
    folder = sample_images.digit_folders(tmp_path, train=2, validation=1)
    (folder / "train" / "digit-0" / "notes.txt").touch()
    (folder / "train" / "README").touch()
    source = sources.open_source(config(folder))
    assert source.train.size == 6
    assert source.train.left_out == {".txt": 1}


def test_class_folders_that_are_not_right(folder, tmp_path):
    def refused(error, message, folder=tmp_path, **values):
        with pytest.raises(error, match=message):
            sources.open_source(config(folder, **values))

    refused(ValueError, "need data_dir", data_dir="")
    refused(FileNotFoundError, "no data folder", folder=tmp_path / "missing")
    refused(FileNotFoundError, "no split to evaluate on: one of validation, val, test")
    (tmp_path / "val" / "a").mkdir(parents=True)
    refused(FileNotFoundError, "no folder .*train")
    (tmp_path / "train" / "a").mkdir(parents=True)
    refused(ValueError, "no images in .*train/a")
    (tmp_path / "train" / "a" / "1.jpg").touch()
    refused(ValueError, "two class folders or more.*Found: 1")
    for place in ("train/b", "val/a", "val/c"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "1.jpg").touch()
    refused(ValueError, "other classes: b, c only in one of them")
    refused(ValueError, "Expected 7 classes.*has 3: digit-0", folder=folder, classes=7)
    refused(ValueError, "batch_size of the 24 training images", folder=folder, batch_size=25)


def test_a_folder_that_may_not_be_read():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        images = sample_images.digit_folders(Path(folder) / "digits", train=1, validation=1)
        locked = images / "train" / "digit-1"
        locked.chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # Root may read everything.
            with pytest.raises(ValueError, match="digit-1' cannot be read: Permission denied"):
                sources.open_source(config(images, batch_size=1))
        finally:
            if user == 0:
                os.seteuid(0)
            locked.chmod(0o700)


def test_images_of_which_none_can_be_read(tmp_path):
    folder = sample_images.digit_folders(tmp_path, train=2, validation=1)
    sources.check_readable(sources.open_source(config(folder)))
    for path in (folder / "val").rglob("*.JPEG"):
        path.write_text("no image")
    with pytest.raises(ValueError, match="None of 3 images tried can be read.*val/digit-0/000"):
        sources.check_readable(sources.open_source(config(folder)))


def test_synthetic_data_needs_none():
    source = sources.open_source(Config(dataset="synthetic", image_size=8, resize=8, classes=5))
    assert len(source.class_names) == 5
    image, label = source.train.read(tf.constant(1_000_003, tf.int64))
    assert image.shape == (8, 8, 3)
    assert label == 1_000_003 % 5
    again = sources.open_source(Config(dataset="synthetic", image_size=8, resize=8, classes=5))
    np.testing.assert_array_equal(
        again.train.read(tf.constant(3, tf.int64))[0],
        source.train.read(tf.constant(3, tf.int64))[0],
    )


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


@pytest.fixture(scope="module", name="small")
def make_prepared(tmp_path_factory):
    """A tfds data set of 3 classes."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (9, 8, 10, 3), np.uint8), np.arange(9) % 3
    tfds.dataset_builders.store_as_tfds_dataset(
        name="small",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
        ),
        split_datasets={
            "train": tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}),
            "test": tf.data.Dataset.from_tensor_slices({"image": images[:4], "label": labels[:4]}),
        },
        data_dir=folder,
        disable_shuffling=True,
    )
    return folder, images, labels


def test_a_prepared_data_set(small):
    folder, images, labels = small
    source = sources.open_source(config(folder, dataset="small"))
    assert source.name == "small/1.0.0"
    assert source.class_names == ("a", "b", "c")
    assert (source.train.size, source.validation.name, source.validation.size) == (9, "test", 4)
    for number in (7, 0, 8):
        content, label = source.train.read(tf.constant(number, tf.int64))
        np.testing.assert_array_equal(tf.io.decode_image(content), images[number])
        assert label == labels[number]
    assert "small/1.0.0 train, record 7" in source.train.describe(7)


def test_a_part_of_a_split(small):
    folder, images, _ = small
    source = sources.open_source(config(folder, dataset="small", train_split="train[3:8]"))
    assert source.train.size == 5
    content, _ = source.train.read(tf.constant(0, tf.int64))
    np.testing.assert_array_equal(tf.io.decode_image(content), images[3])


def test_prepared_data_that_is_not_right(small):
    folder, *_ = small
    for values, error, message in (
        ({"dataset": "other"}, FileNotFoundError, "holds no prepared other.*tfds build other"),
        ({"dataset": "../small"}, ValueError, "name of a data set"),
        ({"dataset": "small", "train_split": "training"}, ValueError, "no split 'training'.*train"),
    ):
        with pytest.raises(error, match=message):
            sources.open_source(config(folder, **values))


def test_a_data_set_that_has_configurations(small, tmp_path):
    """As imagenette: <name>/<configuration>/<version>."""
    folder, *_ = small
    shutil.copytree(folder / "small" / "1.0.0", tmp_path / "small" / "blue" / "1.0.0")
    for name in ("small", "small/blue"):
        assert sources.open_source(config(tmp_path, dataset=name)).train.size == 9
    shutil.copytree(folder / "small" / "1.0.0", tmp_path / "small" / "green" / "1.0.0")
    with pytest.raises(ValueError, match="holds several: give one of small/blue, small/green"):
        sources.open_source(config(tmp_path, dataset="small"))


def test_labels_that_are_of_no_class(small):
    """As of ImageNet's test split in tensorflow-datasets."""
    folder, *_ = small
    source = sources.open_source(config(folder, dataset="small"))
    unlabelled = dataclasses.replace(
        source.validation, read=lambda index: (source.validation.read(index)[0], tf.constant(-1))
    )
    with pytest.raises(ValueError, match="has the label -1, which is none of 3 classes"):
        sources.check_readable(dataclasses.replace(source, validation=unlabelled))
