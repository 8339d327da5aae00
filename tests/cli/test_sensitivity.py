"""`keras-roots sensitivity`, and the images that it reads."""

import csv
import shutil

import numpy as np
import pytest

from keras_roots.classify.classifier import Classifier
from keras_roots.classify.evaluation import evaluate, labelled_images
from keras_roots.cli import main
from keras_roots.compression.sensitivity import scan
from tests.colour_models import (
    COLOURS,
    NAMES,
    colour_folders,
    largest_colour,
    one_line,
    saved,
    tables,
)


def test_labelled_images_are_those_that_are_evaluated_on(tmp_path):
    data = colour_folders(tmp_path)
    (tmp_path / "green" / "bad.JPEG").write_bytes(b"no image")
    classifier = Classifier(largest_colour())
    read = labelled_images(classifier, data, batch_size=3)
    assert read.class_names == NAMES
    images, labels = read.in_memory()
    assert labels.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert images.shape == (7, 16, 16, 3)
    assert images.dtype == np.uint8
    shown = [COLOURS[name] for name in ["blue"] * 3 + ["green", "red", "red", "green"]]
    assert np.abs(images.mean(axis=(1, 2)) - shown).max() < 3
    assert [name.rpartition("/")[2] for name in read.unread] == ["bad.JPEG"]
    found = scan(largest_colour(), images, labels, sparsities=[0], bits=[])
    assert found.correct == sum(evaluate(classifier, data).correct)
    torch = Classifier(largest_colour(), preprocessing="torch")
    as_taken, _ = labelled_images(torch, data).in_memory()
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert as_taken.dtype == np.float32
    assert np.allclose(as_taken, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "taken"), [(1, [0]), (3, [0, 2, 4]), (7, range(7)), (9, range(7))]
)
def test_so_many_labelled_images_are_drawn_evenly(tmp_path, images, taken):
    classifier, data = Classifier(largest_colour()), colour_folders(tmp_path)
    everything, labels = labelled_images(classifier, data).in_memory()
    part, of_part = labelled_images(classifier, data, images=images).in_memory()
    assert of_part.tolist() == labels[list(taken)].tolist()
    assert np.array_equal(part, everything[list(taken)])


@pytest.fixture(scope="module", name="files")
def save_models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"))


def test_the_command(files, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    data = colour_folders(tmp_path / "data")
    (data / "green" / "bad.JPEG").write_bytes(b"no image")
    command = ["sensitivity", str(files / "logits.keras"), "--data", str(data)]
    files_ = ["--csv", str(tmp_path / "a.csv"), "--plot", str(tmp_path / "a.pdf")]
    assert main([*command, *files_, "--sparsity", "0.5,0.75", "--bits", "none"]) == 0
    captured = capsys.readouterr()
    heading, table = tables(captured.out)
    assert f"{data}: 6 of 7 images right, 85.71%" in heading[0][0]
    assert "~: not told from 0" in heading[1][0] + heading[1][-1]
    assert table[0] == ["layer", "groups", "parameters", "sparsity 0.5", "sparsity 0.75"]
    # Six zeros go first, and then the first of three equal weights, which is red's.
    assert table[2][1:] == ["1", "9", "~0.00", "~28.57"]
    assert captured.err.count("bad.JPEG") == 1
    assert "6 of 7 images are right" in captured.err
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["change"] for row in csv.DictReader(file)] == ["sparsity 0.5", "sparsity 0.75"]
    layer = table[2][0]
    assert main([*command, "--layer", layer, "--images", "3", "--format", "csv"]) == 0
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert header[3:] == ["sparsity 0.5", "sparsity 0.75", "sparsity 0.9", "8 bits", "4 bits"]
    assert row[:3] == [layer, "1", "9"]


def test_the_command_on_other_classes_than_those_of_the_work_directory(files, tmp_path, capsys):
    data = colour_folders(tmp_path / "data")
    model = shutil.copy(files / "model.keras", tmp_path)
    (tmp_path / "classes.txt").write_text("blue\ngreen\nyellow\n")
    assert main(["sensitivity", str(model), "--data", str(data)]) == 2
    assert "class 2 is 'yellow'" in one_line(capsys)


def test_a_broken_model_is_exit_code_1(files, tmp_path, capsys):
    data = colour_folders(tmp_path)
    assert main(["sensitivity", str(files / "nan.keras"), "--data", str(data)]) == 1
    assert "not finite" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.keras"], "no file 'a.keras'"),
        (["a.tflite"], "Expected a .keras file"),
        (["{model}", "--images", "-1"], "--images of 0 or more"),
        (["{model}", "--batch-size", "0"], "batch_size of 1 or more"),
        (["{model}", "--sparsity", "0.5,1"], "less than 1. Received: 1.0"),
        (["{model}", "--bits", "16"], "bits from 2 to 8. Received: 16"),
        (["{model}", "--bits", "none", "--sparsity", "none"], "Received: none"),
        (["{model}", "--layer", "conv1"], "no layer 'conv1'"),
        (["{model}", "--csv", "missing/a.csv"], "no folder 'missing'"),
        (["{model}", "--csv", "."], "a folder where a file"),
        (["{model}", "--plot", "missing/a.png"], "no folder 'missing'"),
        (["{model}", "--plot", "a.txt"], "ends in .png, .pdf or .svg"),
        (["{model}", "--resize", "15"], "resize of the image size"),
        (["{model}", "--image-size", "32"], "omit the image size"),
        (["{model}", "--data-dir", "missing"], "no data folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments, message, files, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    colour_folders(tmp_path / "data")
    arguments = [argument.format(model=files / "model.keras") for argument in arguments]
    assert main(["sensitivity", *arguments, "--data", "data"]) == 2
    assert message in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("option", ["--sparsity", "--bits"])
def test_lists_that_are_none(option, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["sensitivity", "model.keras", "--data", "data", option, "8;4"])
    assert exit_.value.code == 2
    assert "numbers with commas between them, or none; received '8;4'" in one_line(capsys)
