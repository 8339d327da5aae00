import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_roots import data
from keras_roots.data import arrays, sources
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


def test_arrays_and_digits_are_opened_by_name_too(tmp_path):
    digits = data.load("digits").take(40)
    folder = arrays.write(tmp_path / "digits", digits)
    config = {"image_size": 32, "resize": 32, "batch_size": 8}
    of_folder = sources.open_source(Config(dataset="arrays", data_dir=str(folder), **config))
    by_name = sources.open_source(Config(dataset="digits", **config))
    assert of_folder.class_names == by_name.class_names == digits.class_names
    assert of_folder.validation.fingerprint == by_name.validation.fingerprint
    np.testing.assert_array_equal(of_folder.train.images, by_name.train.images[:40])
    for name in (folder, "digits"):
        called, names, split = sources.open_split(name)
        assert (called, names, split.size) == ("digits test", digits.class_names, 360)
        image, label = split.read(tf.constant(7, tf.int64))
        np.testing.assert_array_equal(image, digits.test_images[7])
        assert label == digits.test_labels[7]
    assert sources.open_split(folder, split="train")[2].size == 40
    with pytest.raises(ValueError, match="has the splits train and test. Received: 'val'"):
        sources.open_split(folder, split="val")
    with pytest.raises(ValueError, match="Arrays have the splits.*validation_split='train'"):
        sources.open_source(
            Config(dataset="arrays", data_dir=str(folder), validation_split="train", **config)
        )
    for dataset in ("arrays", "folders"):
        with pytest.raises(ValueError, match="need data_dir"):
            sources.open_source(Config(dataset=dataset))
