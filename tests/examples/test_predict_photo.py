"""The example that needs LiteRT, NumPy and Pillow only says what `keras-roots predict` says."""

import csv
import re
import subprocess
import sys
import venv
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.cli import main
from keras_roots.data import preprocessed
from keras_roots.export import Preprocessing, attachments, export_tflite
from tests.colour_models import COLOURS, NAMES, SIZE, jpeg, largest_colour
from tests.processes import python

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_photo.py"
# A process without what the example must not need.
ALONE = """
import runpy, sys
for name in ("tensorflow", "keras", "keras_roots", "jax", "scipy"):
    sys.modules[name] = None
example, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(example, run_name="__main__")
"""


def said_by_example(text):
    return [(line.split("  ")[1], float(line.split()[0])) for line in text.splitlines()]


def said_by_us(model, photo, capsys):
    capsys.readouterr()
    assert main(["predict", str(model), str(photo), "--format", "csv"]) == 0
    _, *rows = csv.reader(capsys.readouterr().out.splitlines())
    return [(row[2], float(row[3])) for row in rows]


@pytest.fixture(scope="module", name="photos")
def save_photograph(tmp_path_factory):
    """A part of a photograph, as PNG and as JPEG."""
    samples = pytest.importorskip("sklearn.datasets")
    folder = tmp_path_factory.mktemp("photos")
    pixels = samples.load_sample_image("china.jpg")[20:320, 101:560]
    (folder / "photo.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (folder / "photo.jpg").write_bytes(tf.io.encode_jpeg(pixels, quality=95).numpy())
    return folder


def of_every_pixel(deviation, size=SIZE, activation="softmax"):
    """Of 7 classes by each pixel's place and colour, so that a wrong crop is another result.

    Args:
        deviation: of the values that it takes.
    """
    inputs = keras.Input((size, size, 3))
    dense = keras.layers.Dense(7, use_bias=False, activation=activation)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    kernel = np.random.default_rng(1).normal(size=(3 * size**2, 7)) / (deviation * size)
    dense.set_weights([kernel.astype(np.float32)])
    return model


@pytest.mark.parametrize(
    ("preprocessing", "options"),
    [
        (Preprocessing(), {}),
        (Preprocessing("tf", resize=25), {"precision": "int8", "interface": "int8", "batch": 2}),
        (Preprocessing("torch"), {"batch": 3}),
        (Preprocessing("caffe", inside=True, source_size=(40, 61), resize=18), {}),
    ],
    ids=lambda value: value.mode if isinstance(value, Preprocessing) else "",
)
def test_the_example_says_what_predict_says(tmp_path, photos, capsys, preprocessing, options):
    path, mode = tmp_path / "model.tflite", preprocessing.mode
    model = of_every_pixel({"none": 60, "tf": 0.5, "torch": 1, "caffe": 60}[mode])
    shape = preprocessing.input_shape((SIZE, SIZE, 3))
    images = np.random.default_rng(0).uniform(0, 255, (40, *shape)).astype(np.float32)
    if not preprocessing.inside:
        images = preprocessed(images, mode)
    if "precision" in options:
        options = {**options, "calibration": images}
    names = None if mode == "none" else [f"class of {letter}" for letter in "abcdefg"]
    export_tflite(model, path, images[:4], preprocessing=preprocessing, labels=names, **options)
    for photo, tolerance in (("photo.png", 3e-4), ("photo.jpg", 0.05)):
        found = said_by_example(python(ALONE, str(EXAMPLE), str(path), str(photos / photo)))
        expected = said_by_us(path, photos / photo, capsys)
        assert len(found) == 5
        assert found[0][0] == expected[0][0]
        assert found[0][1] - found[-1][1] > 0.2
        # TensorFlow decodes JPEGs less exactly than Pillow: a level, in red and blue.
        np.testing.assert_allclose(
            [p for _, p in found], [p for _, p in expected], atol=tolerance, rtol=0
        )


def test_what_the_metadata_may_leave_open(tmp_path, photos, capsys):
    path, size = tmp_path / "model.tflite", 64
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    metadata = export_tflite(of_every_pixel(60, size, None), path, images).metadata
    content, metadata = path.read_bytes(), {**metadata, "input": dict(metadata["input"])}
    metadata["input"]["resize"] = None
    path.write_bytes(attachments.attach(content[: content.index(b"PK\x03\x04")], metadata))
    found = said_by_example(python(ALONE, str(EXAMPLE), str(path), str(photos / "photo.png")))
    expected = said_by_us(path, photos / "photo.png", capsys)
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=2e-3)


def test_mistakes(tmp_path, photos):
    model, other, broken = (tmp_path / f"{name}.tflite" for name in ("model", "other", "broken"))
    export_tflite(largest_colour(), model, np.ones((1, SIZE, SIZE, 3), np.float32))
    content = model.read_bytes()
    other.write_bytes(content[: content.index(b"PK\x03\x04")])
    broken.write_bytes(b"no model")
    photo, text = photos / "photo.png", tmp_path / "text.jpg"
    text.write_text("no photo")
    for given, message in (
        ((broken, photo), "broken.tflite has no metadata of a classifier"),
        ((other, photo), "other.tflite has no metadata of a classifier"),
        ((tmp_path / "none.tflite", photo), "No such file or directory: .*none.tflite'"),
        ((model, tmp_path / "none.jpg"), "No such file or directory: .*none.jpg'"),
        ((model, text), "cannot identify image file .*text.jpg'"),
    ):
        result = subprocess.run(
            [sys.executable, EXAMPLE, *given], capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert re.fullmatch(f"predict_photo.py: .*{message}\n", result.stderr)


# No image library: an image in one colour, and the place of its largest score.
WITHOUT_PILLOW = f"""
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1])
interpreter.allocate_tensors()
image = np.full((1, {SIZE}, {SIZE}, 3), {COLOURS["red"]}, np.float32)
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
interpreter.invoke()
print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax())
"""


@pytest.mark.slow
def test_in_an_environment_that_holds_nothing_else(tmp_path):
    venv.create(tmp_path / "alone", with_pip=True)
    interpreter = tmp_path / "alone" / "bin" / "python"

    def run(*arguments, check=True):
        command = [interpreter, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check)

    install = ("-m", "pip", "install", "--quiet")
    if run(*install, "ai-edge-litert", "numpy", check=False).returncode != 0:
        pytest.skip("no network to install from")
    model, red = tmp_path / "model.tflite", tmp_path / "red.jpg"
    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    export_tflite(largest_colour(), model, images, labels=NAMES)
    assert NAMES[int(run("-c", WITHOUT_PILLOW, model).stdout)] == "red"
    run(*install, "pillow")
    assert not re.search("tensorflow|keras|scipy", run("-m", "pip", "list").stdout)
    red.write_bytes(jpeg(COLOURS["red"]))
    assert said_by_example(run(EXAMPLE, model, red).stdout)[0][0] == "red"
