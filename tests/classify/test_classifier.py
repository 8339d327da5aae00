import keras
import numpy as np
import pytest

from keras_roots.classify.classifier import Classifier
from keras_roots.cli import main
from keras_roots.data import default_resize
from tests.colour_models import (
    COLOURS,
    SIZE,
    colour_folders,
    largest_colour,
    network,
    one_line,
    saved,
    tables,
)


@pytest.fixture(scope="module", name="files")
def save_models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"))


def test_tflite_gives_the_same_scores(files):
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    ours, theirs = Classifier(largest_colour()), Classifier(files / "model.tflite")
    assert (theirs.image_size, theirs.classes) == (SIZE, 3)
    np.testing.assert_allclose(ours(images), theirs(images), atol=1e-6)


def test_preprocessing():
    images = np.full((1, SIZE, SIZE, 3), COLOURS["red"], np.uint8)
    model = network(255 * np.eye(3), activation=None)
    of_torch = (np.array(COLOURS["red"]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for mode, expected in {
        "none": COLOURS["red"],
        "tf": np.array(COLOURS["red"]) / 127.5 - 1,
        "torch": of_torch,
        "caffe": np.array(COLOURS["red"])[::-1] - [103.939, 116.779, 123.68],
    }.items():
        scores = Classifier(model, preprocessing=mode)(images)
        np.testing.assert_allclose(scores, [expected], rtol=1e-4)
    with pytest.raises(ValueError, match="preprocessing as one of: none, torch, caffe, tf"):
        Classifier(model, preprocessing="pytorch")


def test_resize_by_default():
    assert {size: default_resize(size) for size in (32, 63, 64, 224, 299)} == {
        32: 32,
        63: 63,
        64: 73,
        224: 256,
        299: 342,
    }


def test_auxiliary_heads_are_left_out():
    model = largest_colour()
    heads = {"predictions": model.output, "auxiliary_1": keras.layers.Dense(3)(model.output)}
    images = np.full((2, SIZE, SIZE, 3), COLOURS["green"], np.uint8)
    scores = Classifier(keras.Model(model.inputs, heads))(images)
    np.testing.assert_allclose(scores, Classifier(model)(images), atol=1e-6)


def test_a_model_that_leaves_its_image_size_open(files, tmp_path, capsys):
    data, model = str(colour_folders(tmp_path)), str(files / "open.keras")
    assert main(["evaluate", model, "--data", data]) == 2
    assert "leaves its image size open: give --image-size" in one_line(capsys)
    assert main(["evaluate", model, "--data", data, "--image-size", "8"]) == 0
    assert "resized to 8 pixels, of which 8 are cropped" in capsys.readouterr().out
    assert main(["predict", model, f"{data}/red/0.JPEG", "--image-size", "8", "--top", "1"]) == 0
    assert tables(capsys.readouterr().out)[0][-1][2] == "class 2"


def test_models_that_are_no_classifiers():
    images = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(4, 3)(images)
    wide, grey = keras.Input((SIZE, 2 * SIZE, 3)), keras.Input((SIZE, SIZE, 1))
    flat = keras.layers.GlobalAveragePooling2D()
    for model, message in (
        (keras.Model(images, maps), r"one output of shape \[batch, classes\]"),
        (keras.Model(images, {"a": flat(maps), "b": flat(images)}), "outputs of .*, .*"),
        (keras.Sequential([keras.layers.Dense(3)]), "unknown shapes"),
        (keras.Model(wide, flat(wide)), "model of square images"),
        (keras.Model(grey, flat(grey)), "model of square images"),
    ):
        with pytest.raises(ValueError, match=message):
            Classifier(model)
