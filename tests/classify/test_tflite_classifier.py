"""TFLite files as classifiers: with metadata and without, of real numbers and of integers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.classify.classifier import Classifier, resize_of
from keras_roots.cli import main
from keras_roots.export import Preprocessing, attachments, export_tflite
from keras_roots.export.convert import convert
from tests.colour_models import (
    COLOURS,
    NAMES,
    SIZE,
    colour_folders,
    jpeg,
    largest_colour,
    network,
    one_line,
    tables,
)
from tests.reference import run_tflite

RNG = np.random.default_rng(0)
# Of many colours, so that what is calibrated reaches as far as what is tried.
COLOURED = RNG.uniform(0, 255, (45, SIZE, SIZE, 3)) * RNG.uniform(0, 1, (45, 1, 1, 3))
IMAGES, TO_CALIBRATE = COLOURED[:5].astype(np.uint8), COLOURED[5:].astype(np.float32)


@pytest.fixture(scope="module", name="folder")
def make_files(tmp_path_factory):
    """A folder of files that tests only read."""
    folder = tmp_path_factory.mktemp("files")
    export_tflite(largest_colour(), folder / "model.tflite", TO_CALIBRATE[:2])
    # Trained on what "torch" makes of 0 to 255, which is about -2 to 2.6.
    images = TO_CALIBRATE / 255 * 4.6 - 2
    export_tflite(
        network(10 * 255 / 4.6 * np.eye(3)[::-1]),
        folder / "int8.tflite",
        images[:2],
        calibration=images,
        precision="int8",
        interface="int8",
        preprocessing="torch",
        batch=3,
        labels=NAMES,
    )
    return folder


@pytest.fixture(scope="module", name="bare")
def cut_attachments_off(folder):
    """The content of a file as others write them."""
    content = (folder / "model.tflite").read_bytes()
    return content[: content.index(b"PK\x03\x04")]


def written(folder, content, metadata=None, labels=None):
    path = folder / "other.tflite"
    has_none = metadata is None and labels is None
    path.write_bytes(content if has_none else attachments.attach(content, metadata or {}, labels))
    return path


def test_a_file_of_integers_in_pieces_of_its_batch(folder):
    classifier = Classifier(folder / "int8.tflite")
    expected = Classifier(network(10 * 255 / 4.6 * np.eye(3)[::-1]), preprocessing="torch")
    assert (classifier.labels, classifier.resize, classifier.crops) == (NAMES, SIZE, False)
    scores = classifier(IMAGES)  # Five, where it takes three at once.
    np.testing.assert_allclose(scores, expected(IMAGES), atol=0.03)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(classifier(IMAGES[3:4]), scores[3:4])


def test_scores_become_probabilities_only_if_the_metadata_say_so(folder, tmp_path):
    content = (folder / "int8.tflite").read_bytes()
    path = written(tmp_path, content[: content.index(b"PK\x03\x04")])
    scores = Classifier(path, preprocessing="torch")(IMAGES)
    assert abs(scores.sum(axis=1) - 1).min() > 0.1
    powers = np.exp(scores)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Classifier(folder / "int8.tflite")(IMAGES), expected, rtol=1e-5)


def test_a_file_of_uint8_that_others_made(tmp_path):
    model, holder = largest_colour(), tf.Module()
    holder.variables_to_freeze = [variable.value for variable in model.variables]
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()], holder
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in TO_CALIBRATE)
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    classifier = Classifier(written(tmp_path, converter.convert()))
    np.testing.assert_allclose(classifier(IMAGES), Classifier(model)(IMAGES), atol=0.01)


def test_what_the_metadata_say_of_images(bare, tmp_path, capsys):
    path = written(tmp_path, bare, {"input": {"preprocessing": "caffe", "resize": 20}})
    classifier = Classifier(path)
    expected = Classifier(largest_colour(), preprocessing="caffe")(IMAGES)
    np.testing.assert_allclose(classifier(IMAGES), expected, atol=1e-5)
    assert (resize_of(classifier, None), resize_of(classifier, 17)) == (20, 17)
    Classifier(path, preprocessing="caffe")
    assert main(["predict", str(path), ".", "--preprocessing", "torch"]) == 2
    assert "images of the preprocessing 'caffe'. Received: 'torch'" in one_line(capsys)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(COLOURS["red"]))
    for said, message in (
        ({"preprocessing": "x"}, "preprocessing as one of: none, torch, caffe, tf. Received: 'x'"),
        ({"resize": SIZE - 1}, f"resize of the image size ({SIZE}) or more. Received: {SIZE - 1}"),
    ):
        path = written(tmp_path, bare, {"input": said})
        assert main(["predict", str(path), str(photo)]) == 2
        assert message in one_line(capsys)


def test_metadata_of_others_are_not_heeded(bare, tmp_path):
    expected = Classifier(written(tmp_path, bare))(IMAGES)
    for metadata in ({"input": ["x"], "output": 3}, {"name": "x"}):
        classifier = Classifier(written(tmp_path, bare, metadata))
        assert (classifier.labels, classifier.resize, classifier.crops) == (None, None, False)
        np.testing.assert_array_equal(classifier(IMAGES), expected)
        np.testing.assert_allclose(
            Classifier(written(tmp_path, bare, metadata), preprocessing="tf")(IMAGES),
            Classifier(largest_colour(), preprocessing="tf")(IMAGES),
            atol=1e-5,
        )


def test_a_file_that_crops_by_itself(tmp_path, capsys):
    path, height, width = tmp_path / "model.tflite", 30, 45
    wholes = RNG.integers(0, 256, (2, height, width, 3), np.uint8)
    export_tflite(
        network(10 / 50 * np.eye(3)),
        path,
        wholes.astype(np.float32),
        preprocessing=Preprocessing("caffe", inside=True, source_size=(height, width), resize=18),
    )
    classifier = Classifier(path)
    assert (classifier.image_size, classifier.crops) == (height, True)
    expected = run_tflite(path.read_bytes(), wholes.astype(np.float32))
    squares = wholes[:, :, (width - height) // 2 :][:, :, :height]
    np.testing.assert_array_equal(classifier(squares), expected)
    photo = tmp_path / "photo.png"
    photo.write_bytes(tf.io.encode_png(wholes[0]).numpy())
    assert main(["predict", str(path), str(photo), "--format", "csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    np.testing.assert_allclose(
        [float(row[3]) for row in rows], np.sort(expected[0])[::-1], atol=6e-5
    )
    assert main(["predict", str(path), str(photo), "--resize", "50"]) == 2
    assert "itself crops and resizes: omit the resize of 50" in one_line(capsys)


def test_names_of_classes_in_the_file(bare, tmp_path, capsys):
    photo, path = tmp_path / "photo.jpg", written(tmp_path, bare, labels=NAMES)
    photo.write_bytes(jpeg(COLOURS["red"]))
    (tmp_path / "classes.txt").write_text("bleu\nvert\nrouge\n")
    (tmp_path / "names.txt").write_text("blau\ngruen\nrot\n")

    def first(*arguments):
        assert main(["predict", str(path), str(photo), *arguments]) == 0
        return tables(capsys.readouterr().out)[0][2][2]

    assert first() == "red"
    assert first("--classes", str(tmp_path / "names.txt")) == "rot"
    written(tmp_path, bare)
    assert first() == "rouge"
    written(tmp_path, bare, labels=NAMES[:2])
    assert main(["predict", str(path), str(photo)]) == 2
    assert "has 2 labels attached, and 3 classes" in one_line(capsys)


def test_evaluate_a_file_of_integers(folder, tmp_path, capsys):
    data = colour_folders(tmp_path)
    assert main(["evaluate", str(folder / "int8.tflite"), "--data", str(data)]) == 0
    captured = capsys.readouterr()
    _, (_, _, top1, _, entropy), by_class = tables(captured.out)
    assert top1[:2] == ["top-1, %", "85.71"]
    assert entropy[0] == "cross-entropy, nats"
    assert [row[0] for row in by_class[2:5]] == list(NAMES)
    assert captured.err == ""
    (data / "red").rename(data / "yellow")
    assert main(["evaluate", str(folder / "int8.tflite"), "--data", str(data)]) == 2
    assert "class 2 is 'red', and that of" in one_line(capsys)


def test_files_that_are_not_whole(folder, tmp_path, capsys):
    for name in ("model", "int8"):
        content = (folder / f"{name}.tflite").read_bytes()
        attached = content.index(b"PK\x03\x04")
        cuts = {*range(0, attached - 16, attached // 20), attached - 17}
        for cut in (*sorted(cuts), attached + 50, len(content) - 1):
            path = written(tmp_path, content[:cut])
            with pytest.raises(ValueError, match="is empty|not whole|metadata at its end are cut"):
                Classifier(path)
    for content in (b"", b"TFL3", b"\x1c\0\0\0TFL3", bytes(100), b"no model"):
        path = written(tmp_path, content)
        assert main(["predict", str(path), "."]) == 2
        assert "cannot be loaded as a TFLite file" in one_line(capsys)


def test_files_that_are_no_classifiers(tmp_path, capsys):
    images, numbers = keras.Input((SIZE, SIZE, 3), name="images"), keras.Input((4,), name="four")
    means = keras.layers.GlobalAveragePooling2D()(images)
    both = keras.layers.Concatenate()([means, numbers])
    for model, found in (
        (keras.Model(images, keras.layers.AveragePooling2D(4)(images)), "float32 [1, 4, 4, 3]"),
        (keras.Model([images, numbers], both), "float32 [1, 4]"),
        (keras.Model(numbers, keras.layers.Dense(3)(numbers)), "inputs of float32 [1, 4] and"),
    ):
        path, saved = tmp_path / "model.tflite", tmp_path / "model.keras"
        inputs = [np.ones((2, *tensor.shape[1:]), np.float32) for tensor in model.inputs]
        export_tflite(model, path, inputs)
        model.save(saved)
        for name in (path, saved):
            assert main(["predict", str(name), "."]) == 2
            error = one_line(capsys)
            assert "Expected a classifier of images, which is what predict and evaluate" in error
            assert found in error or name == saved


def test_a_file_that_leaves_its_image_size_open(tmp_path, capsys):
    model = largest_colour(size=None)
    content = convert(
        lambda images: model(images, training=False),
        [tf.TensorSpec((None, None, None, 3), tf.float32)],
        name="open",
        variables=[variable.value for variable in model.variables],
    )
    path = written(tmp_path, content)
    assert main(["predict", str(path), "."]) == 2
    assert "leaves its image size open: give --image-size" in one_line(capsys)
    classifier = Classifier(path, image_size=SIZE)
    np.testing.assert_allclose(classifier(IMAGES), Classifier(largest_colour())(IMAGES), atol=1e-6)
