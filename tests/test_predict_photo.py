"""The example that needs LiteRT, NumPy and Pillow only says what `keras-roots predict` says."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_roots.cli import main
from keras_roots.export import Preprocessing, attachments, export_tflite
from tests.colour_models import COLOURS, NAMES, SIZE, jpeg, largest_colour, network, tables
from tests.processes import python

EXAMPLE = Path(__file__).parents[1] / "examples" / "predict_photo.py"
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


def said_by_us(capsys):
    return [(row[2], float(row[3])) for row in tables(capsys.readouterr().out)[0][2:]]


@pytest.fixture(scope="module", name="photos")
def save_photograph(tmp_path_factory):
    """A part of a photograph, as PNG and as JPEG."""
    samples = pytest.importorskip("sklearn.datasets")
    folder = tmp_path_factory.mktemp("photos")
    pixels = samples.load_sample_image("china.jpg")[20:320, 101:560]
    (folder / "photo.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (folder / "photo.jpg").write_bytes(tf.io.encode_jpeg(pixels, quality=95).numpy())
    return folder


# Scores are far enough apart to see a wrong crop or colour, and too near to see only the largest.
_KERNEL = np.array([[9, -3, 1, 0, 4, 2, 7], [-6, 8, 2, 0, -5, 1, 1], [2, 4, -9, 0, 6, 5, -1]])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preprocessing": Preprocessing("torch", resize=25), "interface": "int8", "batch": 2},
        {"preprocessing": Preprocessing("caffe", inside=True, source_size=(40, 61), resize=18)},
    ],
    ids=["float32", "int8", "cropped_inside"],
)
def test_the_example_says_what_predict_says(tmp_path, photos, capsys, options):
    model, shape, factor = tmp_path / "model.tflite", (SIZE, SIZE, 3), 1
    if options:
        shape = options["preprocessing"].input_shape(shape)
        factor = 255 / 5 if options["preprocessing"].mode == "torch" else 1 / 2
    rng = np.random.default_rng(0)
    images = (rng.uniform(0, 255, (40, *shape)) * rng.uniform(0, 1, (40, 1, 1, 3))).astype(
        "float32"
    )
    if "interface" in options:
        options = {**options, "precision": "int8", "calibration": images / 55 - 2}
        images = images / 55 - 2
    names = [f"class of {letter}" for letter in "abcdefg"] if options else None
    export_tflite(network(factor * _KERNEL), model, images[:4], labels=names, **options)
    for photo, tolerance in (("photo.png", 2e-4), ("photo.jpg", 0.02)):
        found = said_by_example(python(ALONE, str(EXAMPLE), str(model), str(photos / photo)))
        assert main(["predict", str(model), str(photos / photo)]) == 0
        expected = said_by_us(capsys)
        assert len(found) == 5
        assert found[0][0] == expected[0][0]
        assert found[0][1] - found[-1][1] > 0.2
        # TensorFlow decodes JPEGs less exactly than Pillow: a level, in red and blue.
        np.testing.assert_allclose(
            [p for _, p in found], [p for _, p in expected], atol=tolerance, rtol=0
        )


def test_what_the_metadata_may_leave_to_the_example(tmp_path, photos, capsys):
    model, size = tmp_path / "model.tflite", 64
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    found = export_tflite(network(_KERNEL, activation=None, size=size), model, images)
    content = model.read_bytes()
    metadata = dict(found.metadata, input={**found.metadata["input"], "resize": None})
    model.write_bytes(attachments.attach(content[: content.index(b"PK\x03\x04")], metadata))
    said = said_by_example(python(ALONE, str(EXAMPLE), str(model), str(photos / "photo.png")))
    assert main(["predict", str(model), str(photos / "photo.png")]) == 0
    expected = said_by_us(capsys)
    assert [name for name, _ in said] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in said], [s for _, s in expected], rtol=1e-3)


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


@pytest.mark.slow
def test_in_an_environment_that_holds_nothing_else(tmp_path):
    venv.create(tmp_path / "alone", with_pip=True)
    interpreter = tmp_path / "alone" / "bin" / "python"
    installed = subprocess.run(
        [interpreter, "-m", "pip", "install", "--quiet", "ai-edge-litert", "numpy", "pillow"],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip("no network to install from")
    packages = subprocess.run(
        [interpreter, "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert not re.search("tensorflow|keras|scipy", packages)
    model, red = tmp_path / "model.tflite", tmp_path / "red.jpg"
    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    export_tflite(largest_colour(), model, images, labels=NAMES)
    red.write_bytes(jpeg(COLOURS["red"]))
    result = subprocess.run(
        [interpreter, EXAMPLE, model, red], capture_output=True, text=True, check=True
    )
    assert said_by_example(result.stdout)[0][0] == "red"
