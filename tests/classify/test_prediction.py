import csv
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_roots.classify.classifier import Classifier
from keras_roots.classify.prediction import predict
from keras_roots.cli import main
from tests.colour_models import (
    COLOURS,
    jpeg,
    largest_colour,
    one_line,
    saved,
    tables,
)


@pytest.fixture(scope="module", name="files")
def save_models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"))


def test_predict_files_and_a_folder(files, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "b.jpg").write_bytes(jpeg(COLOURS["blue"]))
    (folder / "a.PNG").write_bytes(
        tf.io.encode_png(np.full((20, 30, 3), COLOURS["red"], np.uint8)).numpy()
    )
    (folder / "notes.txt").write_text("no photo")
    single = tmp_path / "green.jpeg"
    single.write_bytes(jpeg(COLOURS["green"], 40))
    for name in ("model.keras", "model.tflite"):
        arguments = ["predict", str(files / name), str(single), str(folder), "--top", "2"]
        assert main([*arguments, "--format", "csv"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        header, *rows = csv.reader(captured.out.splitlines())
        assert header == ["photo", "rank", "class", "probability"]
        assert [row[:3] for row in rows[::2]] == [
            [str(single), "1", "class 1"],
            [str(folder / "a.PNG"), "1", "class 2"],
            [str(folder / "b.jpg"), "1", "class 0"],
        ]
        powers = np.exp(10 * np.sort(COLOURS["red"]) / 255)
        probabilities = [float(row[3]) for row in rows[2:4]]
        np.testing.assert_allclose(probabilities, (powers / powers.sum())[:0:-1], atol=1e-4)


def test_names_of_classes(files, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(COLOURS["red"]))
    model = str(shutil.copy(files / "model.keras", tmp_path))
    (tmp_path / "classes.txt").write_text("blue\ngreen\nred\n")
    assert main(["predict", model, str(photo)]) == 0
    (_, _, *rows) = tables(capsys.readouterr().out)[0]
    assert [row[1:3] for row in rows] == [["1", "red"], ["2", "blue"], ["3", "green"]]
    names = tmp_path / "names.txt"
    names.write_text("bleu\nvert \nrouge\n\n")
    assert main(["predict", model, str(photo), "--classes", str(names)]) == 0
    assert [row[2] for row in tables(capsys.readouterr().out)[0][2:]] == ["rouge", "bleu", "vert"]
    names.write_text("bleu\n")
    assert main(["predict", model, str(photo), "--classes", str(names)]) == 2
    assert "has 3 classes. Received: 1 class names" in one_line(capsys)


def test_scores_that_are_no_probabilities(files, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(COLOURS["blue"]))
    assert main(["predict", str(files / "logits.keras"), str(photo)]) == 0
    captured = capsys.readouterr()
    header, _, first, *_ = tables(captured.out)[0]
    assert header[-1] == "score"
    assert float(first[-1]) == pytest.approx(10 * COLOURS["blue"][2] / 255, rel=0.02)
    assert "not probabilities" in captured.err


def test_a_photo_that_cannot_be_read(tmp_path):
    classifier = Classifier(largest_colour())
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = tf.io.encode_jpeg(noise).numpy()
    good.write_bytes(content)
    for broken in (b"", b"no image", content[: len(content) * 9 // 10]):
        bad.write_bytes(broken)
        with pytest.raises(ValueError, match="bad.jpg' cannot be read as an image"):
            predict(classifier, [good, bad])
    with pytest.raises(ValueError, match="one photo or more"):
        predict(classifier, [])
