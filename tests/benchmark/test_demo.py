import importlib.util
import json

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots import data
from keras_roots.benchmark import demo
from keras_roots.export.artifact import Artifact, Comparison
from keras_roots.timing.measure import Timings


def test_the_whole_job_on_a_few_images(tmp_path, capsys):
    results = demo.run(output=tmp_path / "results", epochs=1, examples=64)
    assert [result.topology for result in results] == ["dense", "root-8"]
    assert [result.macs for result in results] == [222_486_528, 103_342_080]
    folder = tmp_path / "results"
    assert sorted(path.name for path in folder.iterdir()) == [
        "nin_dense.keras",
        "nin_dense.tflite",
        "nin_root-8.keras",
        "nin_root-8.tflite",
        "plot.png",
        "results.json",
        "table.md",
    ]
    for result in results:
        model = keras.models.load_model(folder / f"nin_{result.topology}.keras", safe_mode=True)
        images = data.load("digits")
        scores = model.predict(images.test_images.astype(np.float32), verbose=0)
        assert int(np.sum(scores.argmax(-1) == images.test_labels)) == result.correct
    record = json.loads((folder / "results.json").read_text())
    assert record["conditions"]["training_images"] == 64
    assert record["results"][1]["accuracy"] == results[1].accuracy
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert demo.table(results) in printed
    assert demo.table(results) in (folder / "table.md").read_text()
    with pytest.raises(ValueError, match="not empty"):
        demo.run(output=folder)


def result(topology, correct, parameters, macs, seconds):
    comparison = Comparison("LiteRT", 1, 0.0, 0.0, 1.0)
    artifact = Artifact(None, "tflite", "float32", 2048, comparison)
    return demo.Result(topology, correct, 100, parameters, macs, artifact, Timings(seconds))


def test_the_table_is_relative_to_the_first():
    dense = result("dense", 90, 1000, 2000, (0.002, 0.002, 0.002))
    root = result("root-8", 95, 250, 500, (0.001, 0.0015, 0.001))
    assert root.accuracy == 0.95
    low, high = root.accuracy_interval
    assert (round(low, 3), round(high, 3)) == (0.888, 0.978)  # Wilson's formula by hand.
    _, _, first, second = demo.table([dense, root]).splitlines()
    cells = [cell.strip() for cell in second.split("|")[1:-1]]
    assert cells == [
        "NIN root-8",
        "95.00 (88.82 to 97.85)",
        "250 (-75%)",
        "500 (-75%)",
        "1.00 (1.00 to 1.40)",
        "0.50",
        "2",
    ]
    assert "1,000" in first


def test_training_batches_are_crops_of_the_images():
    images = data.load("digits").take(64)
    batch, labels = next(iter(demo._training_batches(images)))
    again, _ = next(iter(demo._training_batches(images)))
    np.testing.assert_array_equal(batch, again)
    epochs = demo._training_batches(images)
    first, second = (next(iter(epoch))[0].numpy() for epoch in (epochs, epochs))
    assert not np.array_equal(first, second)
    assert batch.shape == (64, 32, 32, 3)
    assert sorted(labels.numpy()) == sorted(images.train_labels)
    crops = batch.numpy().astype(np.uint8)
    padded = np.pad(images.train_images, [(0, 0), (4, 4), (4, 4), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(1, 2))
    possible = {windows[n, i, j].tobytes() for n in range(64) for i in range(9) for j in range(9)}
    assert all(crop.transpose(2, 0, 1).tobytes() in possible for crop in crops)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": 1}, "root=2 or more"),
        ({"root": keras_roots.column(1)}, "root=2 or more"),
        ({"root": 64}, "do not divide the channels of layer 'conv2_1_conv'"),
        ({"epochs": 0}, "epochs of 1 or more"),
        ({"examples": 0}, "examples of 1 or more"),
        ({"examples": 10}, "takes 64 images or more. Received: 10"),
        ({"dataset": "mnist"}, "digits, cifar10"),
    ],
)
def test_bad_arguments_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        demo.run(output=tmp_path / "results", **arguments)
    assert not (tmp_path / "results").exists()


def test_a_data_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data folder"):
        demo.run(output=tmp_path / "results", dataset="cifar10", data_dir=tmp_path / "missing")
    assert not (tmp_path / "results").exists()


def test_missing_extras_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"keras_roots\[datasets,litert,plots\]"):
        demo.run(output=tmp_path / "results")
    with pytest.raises(ModuleNotFoundError, match=r"tensorflow_datasets.*keras_roots\[datasets\]"):
        data.load("cifar10")


@pytest.mark.slow
def test_root_8_reaches_98_percent_of_held_out_digits(tmp_path):
    _, root = demo.run(output=tmp_path / "results")
    assert root.accuracy >= 0.98
