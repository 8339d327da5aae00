import csv
import math
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_roots.classify.classifier import Classifier
from keras_roots.classify.evaluation import evaluate
from keras_roots.cli import main
from tests.colour_models import (
    COLOURS,
    NAMES,
    SIZE,
    colour_folders,
    jpeg,
    largest_colour,
    network,
    one_line,
    saved,
    tables,
)


@pytest.fixture(scope="module", name="files")
def save_models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("activation", ["softmax", None])
def test_evaluate_against_numpy(tmp_path, activation):
    rng = np.random.default_rng(0)
    means, labels = [], []
    for label in range(7):
        of_class = tmp_path / f"class-{label}"
        of_class.mkdir()
        for number in range(label % 3 + 2):
            image = rng.integers(0, 256, (22, 28, 3), np.uint8) // rng.integers(1, 9, 3)
            image = image.astype(np.uint8)
            (of_class / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
            # Of images whose shorter side is 22 already, 16 pixels are cropped as they are.
            means.append(image[3:19, 6:22].mean(axis=(0, 1)) / 255)
            labels.append(label)
    kernel = rng.normal(0, 3, (3, 7))
    scores, labels = np.array(means) @ kernel, np.array(labels)
    order = np.argsort(-scores, axis=1)
    found = evaluate(Classifier(network(kernel, activation)), tmp_path, resize=22, batch_size=4)
    assert found.images == tuple(np.bincount(labels))
    correct = order[:, 0] == labels
    assert found.correct == tuple(np.bincount(labels, weights=correct).astype(int))
    assert found.top1 == correct.mean()
    in_5 = (order[:, :5] == labels[:, np.newaxis]).any(axis=1)
    assert found.top5 == in_5.mean()
    assert 0 < found.top1 < found.top5 < 1
    if activation is None:
        assert found.cross_entropy is None
        assert len(found.summary().rows) == 2
    else:
        log = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        expected = -log[np.arange(len(labels)), labels].mean()
        assert found.cross_entropy == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_evaluate_prints_accuracy_and_classes(files, name, tmp_path, capsys):
    colour_folders(tmp_path / "validation")
    colour_folders(tmp_path / "test")
    shutil.rmtree(tmp_path / "test" / "red")
    command = ["evaluate", str(files / name), "--data", str(tmp_path), "--batch-size", "3"]
    assert main(command) == 0
    (heading,), (header, _, *measures), by_class = tables(capsys.readouterr().out)
    assert "validation: 7 images of 3 classes" in heading[0]
    share, n, z = 6 / 7, 7, 1.959964
    half = z * np.sqrt(share * (1 - share) / n + z**2 / 4 / n**2)
    low, high = ((share + z**2 / 2 / n + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    assert header == ["measure", "value", "95% interval"]
    assert measures[0] == ["top-1, %", "85.71", f"{100 * low:.2f} to {100 * high:.2f}"]
    assert measures[1][:2] == ["top-5, %", "100.00"]
    assert measures[2][0] == "cross-entropy, nats"
    assert [by_class[0], *by_class[2:5], by_class[-1]] == [
        ["class", "images", "top-1, %"],
        ["blue", "3", "100.00"],
        ["green", "1", "100.00"],
        ["red", "3", "66.67"],
        ["all", "7", "85.71"],
    ]


def test_evaluate_as_one_csv_table_of_another_split(files, tmp_path, capsys):
    colour_folders(tmp_path / "holdout")
    command = ["evaluate", str(files / "logits.keras"), "--data", str(tmp_path)]
    assert main([*command, "--split", "holdout", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert list(csv.reader(captured.out.splitlines())) == [
        ["class", "images", "top-1, %"],
        ["blue", "3", "100.00"],
        ["green", "1", "100.00"],
        ["red", "3", "66.67"],
        ["all", "7", "85.71"],
    ]
    assert "not probabilities" in captured.err
    assert main([*command, "--split", "train"]) == 2
    assert "There is no folder" in one_line(capsys)


def test_a_prepared_data_set(tmp_path, capsys, files):
    tfds = pytest.importorskip("tensorflow_datasets")
    colours = np.array([COLOURS[name] for name in ("red", "blue", "blue", "green")], np.uint8)
    images = np.broadcast_to(colours[:, np.newaxis, np.newaxis], (4, SIZE, SIZE, 3))
    for name, labels in (("colours", [2, 0, 1, 1]), ("unlabelled", [-1] * 4)):
        split = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=NAMES),
                }
            ),
            split_datasets={"train": split, "test": split},
            data_dir=tmp_path,
            disable_shuffling=True,
        )
    command = ["evaluate", str(files / "model.keras"), "--data-dir", str(tmp_path), "--data"]
    assert main([*command, "colours", "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "colours/1.0.0 test: 4 images" in out
    assert re.search(r"\| green +\| +2 \| +50.00 \|", out)
    assert evaluate(
        Classifier(largest_colour()), "colours", data_dir=tmp_path, split="test[:2]"
    ).images == (1, 0, 1)
    assert main([*command, "colours", "--split", "validation"]) == 2
    assert "has no split 'validation'" in one_line(capsys)
    assert main([*command, "unlabelled"]) == 2
    assert "without a label" in one_line(capsys)


def test_progress_is_reported_now_and_then(tmp_path, monkeypatch):
    classifier, lines = Classifier(largest_colour()), []
    data = colour_folders(tmp_path)
    monkeypatch.setattr("keras_roots.classify.evaluation._SECONDS_PER_LINE", math.inf)
    evaluate(classifier, data, batch_size=3, report=lines.append)
    assert lines == []
    monkeypatch.setattr("keras_roots.classify.evaluation._SECONDS_PER_LINE", 0)
    evaluate(classifier, data, batch_size=3, report=lines.append)
    assert lines == ["3 of 7 images", "6 of 7 images", "7 of 7 images"]


def test_unreadable_images_are_left_out_counted_and_named(files, tmp_path, capsys):
    colour_folders(tmp_path)
    for number in range(12):
        (tmp_path / "green" / f"bad{number:02d}.JPEG").write_bytes(b"no image")
    # Begins and ends as a JPEG does, so that its decoding is what fails.
    whole = jpeg(COLOURS["red"])
    (tmp_path / "red" / "hollow.JPEG").write_bytes(whole[:20] + bytes(30) + whole[-2:])
    found = evaluate(Classifier(largest_colour()), tmp_path, batch_size=5)
    assert found.images == (3, 1, 3)
    assert found.correct == (3, 1, 2)
    assert [name.rpartition("/")[2] for name in found.unread] == [
        *(f"bad{number:02d}.JPEG" for number in range(12)),
        "hollow.JPEG",
    ]
    assert main(["evaluate", str(files / "model.keras"), "--data", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "left out: 13\n" in captured.err
    assert captured.err.count("bad") == 10
    assert "and 3 more" in captured.err
    assert "7 images of 3 classes" in captured.out


def test_when_no_image_can_be_read(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "bad.JPEG").write_bytes(b"no image")
    with pytest.raises(ValueError, match="None of the 3 images .* such as .*bad.JPEG"):
        evaluate(Classifier(largest_colour()), tmp_path)


def test_other_classes_than_the_models(files, tmp_path, capsys):
    data = colour_folders(tmp_path / "data")
    assert main(["evaluate", str(files / "four.keras"), "--data", str(data)]) == 2
    error = one_line(capsys)
    assert "The model has 4 classes" in error
    assert f"{data} has 3" in error
    model = shutil.copy(files / "model.keras", tmp_path)
    (tmp_path / "classes.txt").write_text("blue\ngreen\nyellow\n")
    assert main(["evaluate", str(model), "--data", str(data)]) == 2
    assert "class 2 is 'yellow', and that of" in one_line(capsys)
    (tmp_path / "classes.txt").write_text("blue\ngreen\n")
    assert main(["evaluate", str(model), "--data", str(data)]) == 2
    assert "trained on 2 classes" in one_line(capsys)
    (tmp_path / "classes.txt").write_text("blue\ngreen\nred\n")
    assert main(["evaluate", str(model), "--data", str(data)]) == 0


def test_outputs_that_are_not_finite_are_exit_code_1(files, tmp_path, capsys):
    data = colour_folders(tmp_path)
    assert main(["evaluate", str(files / "nan.keras"), "--data", str(data)]) == 1
    assert "not finite" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "a.keras", "--data", "{data}"], "no file 'a.keras'"),
        (["evaluate", "a.tflite", "--data", "{data}"], "no file 'a.tflite'"),
        (["evaluate", "a.h5", "--data", "{data}"], "Expected a .keras file"),
        (["evaluate", "{broken}", "--data", "{data}"], "cannot be loaded as a TFLite file"),
        (["evaluate", "{model}", "--data", "./missing"], "'./missing' is no folder"),
        (["evaluate", "{model}", "--data", "x", "--data-dir", "missing"], "no data folder"),
        (["evaluate", "{model}", "--data", "{empty}"], "two class folders or more"),
        (["evaluate", "{model}", "--data", "{data}", "--batch-size", "0"], "batch_size of 1"),
        (["evaluate", "{model}", "--data", "{data}", "--resize", "15"], "resize of the image size"),
        (["evaluate", "{model}", "--data", "{data}", "--image-size", "32"], "omit the image size"),
        (["evaluate", "{model}", "--data", "{data}", "--image-size", "0"], "image size of 1"),
        (["predict", "{model}", "missing.jpg"], "no photo 'missing.jpg'"),
        (["predict", "{model}", "{empty}"], "There are no images in"),
        (["predict", "{model}", "{data}/red/0.JPEG", "{bad}"], "cannot be read as an image"),
        (["predict", "{model}", "{data}/red", "--top", "0"], "--top of 1 or more"),
        (["predict", "{model}", "{data}/red", "--resize", "1"], "resize of the image size"),
        (["predict", "{model}", "{data}/red", "--classes", "none.txt"], "no file of class names"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments, message, files, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    places = {
        "model": files / "model.keras",
        "data": colour_folders(tmp_path / "data"),
        "empty": tmp_path / "empty",
        "broken": tmp_path / "broken.tflite",
        "bad": tmp_path / "bad.jpg",
    }
    places["empty"].mkdir()
    for name in ("broken", "bad"):
        places[name].write_bytes(b"nothing that can be read")
    assert main([argument.format(**places) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("keras-roots: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_an_unknown_preprocessing(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "model.keras", "--preprocessing", "pytorch"])
    assert exit_.value.code == 2
    assert "invalid choice: 'pytorch'" in one_line(capsys)
