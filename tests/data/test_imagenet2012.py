"""tensorflow-datasets' own imagenet2012, from tars of the structure that ImageNet has."""

import io
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_roots.data import sources
from keras_roots.training import Config, train_and_evaluate
from tests import sample_images

SYNSETS = ("n01440764", "n15075141")  # The first and the last of a thousand.
OF_EACH, VALIDATION = 5, 6


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module", name="prepared")
def make_prepared(tmp_path_factory):
    """The data folder, and the images to train on by file name."""
    folder = tmp_path_factory.mktemp("tfds")
    manual = folder / "downloads" / "manual"
    manual.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = {
        f"{synset}_{number}.JPEG": sample_images.jpeg(sample_images.photograph(rng, 40, 50))
        for synset in SYNSETS
        for number in range(OF_EACH)
    }
    with tarfile.open(manual / "ILSVRC2012_img_train.tar", "w") as train:
        for synset in SYNSETS:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for name, content in images.items():
                    if name.startswith(synset):
                        add(archive, name, content)
            add(train, f"{synset}.tar", inner.getvalue())
    with tarfile.open(manual / "ILSVRC2012_img_val.tar", "w") as validation:
        for number in range(1, VALIDATION + 1):
            content = sample_images.jpeg(sample_images.photograph(rng, 36, 36))
            add(validation, f"ILSVRC2012_val_{number:08d}.JPEG", content)
    tfds.builder("imagenet2012", data_dir=folder).download_and_prepare()
    return folder, images


def configured(folder):
    return Config(
        dataset="imagenet2012",
        data_dir=str(folder),
        classes=1000,
        model="nin",
        root="4",
        image_size=16,
        resize=18,
        epochs=1,
        batch_size=5,
        warmup_epochs=0,
    )


def test_each_image_is_read_as_it_was_in_the_tar(prepared):
    folder, images = prepared
    source = sources.open_source(configured(folder))
    assert source.name == "imagenet2012/5.1.0"
    assert (source.class_names[0], source.class_names[999]) == SYNSETS
    assert (source.train.size, source.validation.size) == (2 * OF_EACH, VALIDATION)
    found = [source.train.read(tf.constant(n, tf.int64)) for n in range(source.train.size)]
    labels = {content.numpy(): int(label) for content, label in found}
    assert labels == {
        content: 0 if name.startswith(SYNSETS[0]) else 999 for name, content in images.items()
    }


def test_it_is_trained_on(prepared, tmp_path):
    folder, _ = prepared
    lines = []
    summary = train_and_evaluate(configured(folder), tmp_path / "run", report=lines.append)
    assert summary["updates"] == 2
    assert 0 < summary["loss"] < 15
    assert summary["data"]["train_images"] == 2 * OF_EACH
    model = keras.models.load_model(tmp_path / "run" / "model.keras", safe_mode=True)
    assert model.output_shape == (None, 1000)
    assert (tmp_path / "run" / "classes.txt").read_text().splitlines()[999] == SYNSETS[1]
