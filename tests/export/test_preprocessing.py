"""Preprocessing inside a file is what it is outside."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_roots.data.images import centre_box
from keras_roots.export import Preprocessing, export_tflite
from keras_roots.export import preprocessing as inside
from tests.reference import run_tflite


def mean_of_colours(size, channels=3):
    inputs = keras.Input((size, size, channels))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="means")


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["none", "torch", "caffe", "tf"])
def test_normalisation_inside_is_kerass(tmp_path, mode):
    images = pixels(4, 8, 8, 3)
    artifact = export_tflite(
        mean_of_colours(8),
        tmp_path / "a.tflite",
        images,
        preprocessing=Preprocessing(mode, inside=True),
    )
    expected = images
    if mode != "none":
        expected = keras.applications.imagenet_utils.preprocess_input(images.copy(), mode=mode)
    made = run_tflite(artifact.path.read_bytes(), images)
    np.testing.assert_allclose(made, expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-4)
    assert artifact.operators.get("CONV_2D", 0) == (mode != "none")
    assert artifact.metadata["input"]["preprocessing"] == "none"
    assert artifact.metadata["preprocessing_inside"] == mode


def test_one_channel(tmp_path):
    images = pixels(2, 8, 8, 1)
    artifact = export_tflite(
        mean_of_colours(8, 1),
        tmp_path / "a.tflite",
        images,
        preprocessing=Preprocessing("tf", inside=True),
    )
    made = run_tflite(artifact.path.read_bytes(), images)
    np.testing.assert_allclose(made[:, 0], images.mean(axis=(1, 2, 3)) / 127.5 - 1, atol=1e-5)
    with pytest.raises(ValueError, match="'torch' is of colours"):
        export_tflite(
            mean_of_colours(8, 1),
            tmp_path / "b.tflite",
            images,
            preprocessing=Preprocessing("torch", inside=True),
        )


def bilinear(image, size):
    """Half-pixel centres, no antialiasing: pixel by pixel."""
    height, width, _ = image.shape
    made = np.zeros((size, size, 3))
    for y in range(size):
        for x in range(size):
            v = min(max((y + 0.5) * height / size - 0.5, 0), height - 1)
            u = min(max((x + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = image[top, left] * (1 - u % 1) + image[top, right] * (u % 1)
            below = image[bottom, left] * (1 - u % 1) + image[bottom, right] * (u % 1)
            made[y, x] = above * (1 - v % 1) + below * (v % 1)
    return made


def test_crop_and_resize_inside(tmp_path):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    images = pixels(2, 20, 31, 3)
    artifact = export_tflite(
        model,
        tmp_path / "a.tflite",
        images,
        preprocessing=Preprocessing(inside=True, source_size=(20, 31), resize=8),
    )
    assert artifact.metadata["input"]["shape"] == [1, 20, 31, 3]
    assert artifact.metadata["input"]["crop_inside"]
    side = 15  # 20 * 6 / 8
    expected = [bilinear(image[2 : 2 + side, 8 : 8 + side], 6).ravel() for image in images]
    np.testing.assert_allclose(run_tflite(artifact.path.read_bytes(), images), expected, atol=1e-2)
    assert (artifact.delegates, artifact.outside) == (1, {})


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 40), st.integers(0, 60))
def test_the_crop_is_that_of_training(height, width, size, more):
    crop = inside._crop((size, size, 3), (height, width), size + more)
    box = centre_box(tf.constant([height, width]), size, size + more)
    assert list(crop.box) == box.numpy().tolist()


def test_integers_take_pixels(tmp_path):
    images = pixels(40, 8, 8, 3)
    artifact = export_tflite(
        mean_of_colours(8),
        tmp_path / "a.tflite",
        images[:4],
        precision="int8",
        interface="int8",
        calibration=images,
        preprocessing=Preprocessing("torch", inside=True),
    )
    assert artifact.metadata["input"]["dtype"] == "int8"
    assert artifact.metadata["input"]["scale"] == pytest.approx(1, abs=0.01)
    assert artifact.metadata["input"]["zero_point"] == -128
    assert artifact.metadata["calibration_images"] == 40


def test_bad_arguments(tmp_path):
    for arguments, message in (
        ({"mode": "imagenet"}, "preprocessing as one of"),
        ({"source_size": (8, 8)}, "inside=True"),
        ({"inside": True, "source_size": (0, 8)}, "size of 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Preprocessing(**arguments)
    inputs = keras.Input((5,))
    vector = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="for a model of one image"):
        export_tflite(
            vector, tmp_path / "a", np.zeros((1, 5)), preprocessing=Preprocessing(inside=True)
        )
    small = Preprocessing(inside=True, source_size=(8, 8), resize=4)
    with pytest.raises(ValueError, match="resize of the image size"):
        export_tflite(mean_of_colours(6), tmp_path / "a", pixels(1, 8, 8, 3), preprocessing=small)
    with pytest.warns(UserWarning, match="taken from 2 images only"):
        export_tflite(
            mean_of_colours(6),
            tmp_path / "a.tflite",
            pixels(1, 6, 6, 3),
            precision="int8",
            calibration=pixels(2, 6, 6, 3),
        )
