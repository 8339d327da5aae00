"""`keras-roots analyze`."""

import csv

import keras
import numpy as np
import pytest

from keras_roots import analysis
from keras_roots.cli import main
from keras_roots.data import Images
from keras_roots.layers import GroupedConv2D
from tests.colour_models import one_line
from tests.sample_images import photograph_folders

SIZE = 16


def network(groups, size=SIZE, channels=3):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((size, size, channels))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    convolution = GroupedConv2D if groups > 1 else keras.layers.Conv2D
    x = convolution(16, 3, strides=2, groups=groups, padding="same", name="second")(x)
    return keras.Model(inputs, x)  # No classifier.


@pytest.fixture(scope="module", name="files")
def save_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, model in {
        "dense": network(1),
        "root": network(4),
        "open": network(4, size=None),
        "grey": network(4, channels=1),
    }.items():
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
    inputs = keras.Input((SIZE, SIZE, 3))
    flat = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, flat, name="flat").save(folder / "flat.keras")
    two = keras.Input((SIZE, SIZE, 3))
    both = keras.layers.Conv2D(3, 1)(keras.layers.Add()([inputs, two]))
    keras.Model([inputs, two], both, name="two").save(folder / "two.keras")
    return folder


@pytest.fixture(scope="module", name="data")
def save_images(tmp_path_factory):
    return photograph_folders(tmp_path_factory.mktemp("data"), classes=2, train=1, validation=6)


def test_two_networks(files, data, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    output = tmp_path / "found"
    models = [str(files / name / "model.keras") for name in ("dense", "root")]
    command = ["analyze", *models, "--data", str(data), "--output", str(output)]
    assert main([*command, "--batch-size", "5", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    header, *rows = csv.reader(captured.out.splitlines())
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["network"] for row in rows] == ["dense/model", "root/model"]
    assert [row["groups"] for row in rows] == ["1", "4"]
    assert [row["blocks"] for row in rows] == ["4", "4"]
    assert f"root/model: 12 images of {data.name}/val" in captured.err
    assert sorted(path.name for path in output.iterdir()) == [
        "arrays.npz",
        "correlation-second.png",
        "correlation.csv",
        "covariance-first--second.png",
        "filters-dense-model.png",
        "filters-root-model.png",
        "savings.png",
        "summary.csv",
        "summary.md",
    ]
    assert (output / "summary.csv").read_text().splitlines() == captured.out.splitlines()
    pixels = np.concatenate(list(Images(data, SIZE)))
    expected = analysis.analyze(keras.models.load_model(models[1]), pixels)
    with np.load(output / "arrays.npz", allow_pickle=False) as arrays:
        for name, array in expected.arrays().items():
            assert np.allclose(arrays[f"root/model/{name}"], array, atol=1e-5)
    assert main(command) == 2
    assert "is not empty" in one_line(capsys)
    assert main([*command, "--overwrite"]) == 0
    assert "mean" not in capsys.readouterr().out


def test_one_network_and_layers_that_are_named(files, data, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    output = tmp_path / "a" / "b"
    command = ["analyze", str(files / "open" / "model.keras"), "--data", str(data / "val")]
    what = ["--image-size", "12", "--resize", "14", "--images", "9", "--figures", "svg"]
    pairs = ["--pair", "second,first", "--pair", "first,first", "--layer", "first"]
    assert main([*command, *what, *pairs, "-o", str(output), "--format", "markdown"]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "arrays.npz",
        "correlation-first.svg",
        "correlation.csv",
        "covariance-first--first.svg",
        "covariance-second--first.svg",
        "filters-open-model.svg",
        "summary.csv",
        "summary.md",
    ]
    text = capsys.readouterr().out
    assert text in (output / "summary.md").read_text() + "\n"
    with np.load(output / "arrays.npz") as arrays:
        # Of whitened responses with themselves.
        itself = arrays["open/model/covariance/first,first"]
        assert np.allclose(itself @ itself, itself, atol=1e-4)
