import numpy as np
import pytest

from keras_roots import data


@pytest.fixture(scope="module", name="digits")
def make_digits():
    return data.load("digits")


def test_digits(digits):
    assert digits.train_images.shape == (1797 - 360, 32, 32, 3)
    assert digits.test_images.shape == (360, 32, 32, 3)
    assert digits.train_images.dtype == np.uint8
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert np.bincount(digits.test_labels).min() >= 35
    assert len(digits.class_names) == 10
    again = data.load("digits")
    np.testing.assert_array_equal(again.test_images, digits.test_images)


def test_held_out_digits_are_not_trained_on(digits):
    from sklearn.datasets import load_digits

    original = load_digits().images
    # Pixel 4j + 1.5 of the bigger image lies at the centre of pixel j of the original.
    ours = np.concatenate([digits.train_images, digits.test_images])[..., 0].astype(float)
    centres = (
        ours[:, 1::4, 1::4] + ours[:, 2::4, 1::4] + ours[:, 1::4, 2::4] + ours[:, 2::4, 2::4]
    ) / 4
    assert sorted(ours.mean(axis=(1, 2)).round(1))[::300] == pytest.approx(
        sorted(original.mean(axis=(1, 2)) * 255 / 16)[::300], abs=2
    )
    assert len(np.unique(ours.reshape(1797, -1), axis=0)) == len(
        np.unique(original.reshape(1797, -1), axis=0)
    )
    assert np.corrcoef(centres.mean(axis=0).ravel(), original.mean(axis=0).ravel())[0, 1] > 0.99


def test_take(digits):
    some = digits.take(64)
    assert len(some.train_images) == len(some.train_labels) == 64
    assert len(some.test_images) == 360


def store(folder, digits, version="3.0.2", **features):
    """Prepares a data set named cifar10, made of digits."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def split(images, labels):
        ids = [f"image_{n}" for n in range(len(images))]
        columns = {"id": ids, "image": images, "label": labels}
        return tf.data.Dataset.from_tensor_slices({name: columns[name] for name in features})

    tfds.dataset_builders.store_as_tfds_dataset(
        name="cifar10",
        version=version,
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            "train": split(digits.train_images[:80], digits.train_labels[:80]),
            "test": split(digits.test_images[:20], digits.test_labels[:20]),
        },
        data_dir=folder,
        disable_shuffling=True,
    )


@pytest.fixture(scope="module", name="prepared")
def prepare(tmp_path_factory, digits):
    """A folder where tfds keeps a data set of CIFAR-10's structure."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")
    store(
        folder,
        digits,
        id=tfds.features.Text(),
        image=tfds.features.Image(shape=(32, 32, 3)),
        label=tfds.features.ClassLabel(names=[f"class {n}" for n in range(10)]),
    )
    return folder


def test_cifar10_as_tfds_prepared_it(prepared, digits):
    images = data.load("cifar10", prepared)
    np.testing.assert_array_equal(images.train_images, digits.train_images[:80])
    np.testing.assert_array_equal(images.test_labels, digits.test_labels[:20])
    assert images.class_names[3] == "class 3"
    assert images.mirror
    assert images.background == round(digits.train_images[:80].mean())


def test_something_else_that_is_called_cifar10(tmp_path, digits):
    import tensorflow_datasets as tfds

    store(tmp_path, digits, id=tfds.features.Text())
    with pytest.raises(ValueError, match="is not of labelled images"):
        data.load("cifar10", tmp_path)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="digits, cifar10.*'mnist'"):
        data.load("mnist")
    with pytest.raises(ValueError, match="for cifar10 only"):
        data.load("digits", tmp_path)
