"""Files that users have saved load, and say the same as on the day when they were written."""

import csv
import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_roots.cli import main
from tests.contracts import folders, make_files
from tests.contracts.frozen import FILES

# Sums of float32 in another order, as processors have them, differ in the last of 24 bits; through
# a dozen layers of some dozen terms each, by a hundred times that.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# An update divides by a batch's deviations, which makes such differences larger.
CLOSE_AFTER_A_STEP = {"rtol": 1e-4, "atol": 1e-5}
REGISTERED = (
    *("CompoundHeNormal", "Conv2D", "FusedBatchNormalization", "GroupedConv2D"),
    *("LocalResponseNormalization", "SGD"),
)
# As in a process that has done nothing but what README says: `import keras_roots`.
_LOAD = """
import sys
import keras, numpy
import keras_roots
model = keras.models.load_model(sys.argv[1], safe_mode=True)
sys.path.insert(0, sys.argv[3])
from tests.contracts import folders, make_files
outputs = numpy.asarray(model(make_files.images(), training=False))
numpy.savez(sys.argv[2], outputs=outputs, one_more_step=make_files.one_more_step(model))
"""


@pytest.fixture(name="files")
def enter_files(monkeypatch):
    monkeypatch.chdir(FILES)
    return FILES


def test_names_of_what_is_registered():
    for name in REGISTERED:
        registered = keras.saving.get_registered_object(f"keras_roots>{name}")
        assert registered.__name__ == name
        assert keras.saving.get_registered_name(registered) == f"keras_roots>{name}"
    found = {name for name in keras.saving.get_custom_objects() if name.startswith("keras_roots>")}
    assert found == {f"keras_roots>{name}" for name in REGISTERED}


def test_the_saved_model_holds_all_that_is_registered():
    with zipfile.ZipFile(FILES / make_files.MODEL) as archive:
        text = archive.read("config.json").decode()
    for name in REGISTERED:
        assert f'"keras_roots>{name}"' in text


def test_a_saved_model_loads_after_importing_the_package_alone(tmp_path):
    root = str(FILES.parents[2])
    arguments = (str(FILES / make_files.MODEL), str(tmp_path / "found.npz"), root)
    subprocess.run(
        [sys.executable, "-c", _LOAD, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    with np.load(tmp_path / "found.npz") as found, np.load(FILES / make_files.OUTPUTS) as expected:
        np.testing.assert_allclose(found["outputs"], expected["outputs"], **CLOSE)
        # Of the optimizer's state, too.
        np.testing.assert_allclose(
            found["one_more_step"], expected["one_more_step"], **CLOSE_AFTER_A_STEP
        )
        difference = np.abs(expected["one_more_step"] - expected["outputs"]).max()
        assert difference > 100 * CLOSE_AFTER_A_STEP["atol"]


def test_saved_weights_go_into_the_network_that_code_builds():
    model = make_files.network()
    model.optimizer.build(model.trainable_variables)  # Its state is in the file, too.
    model.load_weights(FILES / make_files.WEIGHTS)
    with np.load(FILES / make_files.OUTPUTS) as expected:
        outputs = np.asarray(model(make_files.images(), training=False))
        np.testing.assert_allclose(outputs, expected["outputs"], **CLOSE)


def test_what_a_layer_saves_of_itself():
    """The keys of the configuration that a .keras file holds, beyond Keras's own."""
    with zipfile.ZipFile(FILES / make_files.MODEL) as archive:
        saved = json.loads(archive.read("config.json"))["config"]["layers"]
    model = make_files.network()
    for layer in saved:
        ours = model.get_layer(layer["config"]["name"])
        name = keras.saving.get_registered_name(type(ours))
        assert (layer["registered_name"] or layer["class_name"]) == name
        if name.startswith("keras_roots>"):
            written = json.loads(json.dumps(keras.saving.serialize_keras_object(ours)["config"]))
            for key, value in layer["config"].items():
                if "initializer" not in key and key != "dtype":
                    assert written[key] == value, (layer["config"]["name"], key)


@pytest.mark.parametrize("precision", make_files.TFLITE)
def test_an_exported_file_is_read_and_computes_the_same(precision, files):
    """int8's classes are of 1/256, and may be one step away where a sum is between two."""
    found = make_files.lite_outputs(files / make_files.TFLITE[precision])
    tolerance = CLOSE if precision == "float32" else {"rtol": 0, "atol": 1.001 / 256}
    with np.load(make_files.TFLITE_OUTPUTS) as expected:
        np.testing.assert_allclose(found, expected[precision], **tolerance)


@pytest.mark.parametrize("name", [make_files.MODEL, *make_files.TFLITE.values()])
def test_what_predict_says_of_a_photo(name, files):
    pytest.importorskip("ai_edge_litert")
    expected = json.loads((files / make_files.PREDICTIONS).read_text())[name]
    header, *rows = csv.reader(make_files.predicted(name).splitlines())
    expected_header, *expected_rows = csv.reader(expected)
    assert header == expected_header
    step = 1.001 / 256 if "int8" in name else 1.001e-4  # Of the last digit.
    for row, there in zip(rows, expected_rows, strict=True):
        assert row[:3] == there[:3]
        assert float(row[3]) == pytest.approx(float(there[3]), abs=step)


@pytest.mark.parametrize("precision", make_files.TFLITE)
def test_a_file_exported_now_is_as_one_exported_then(precision, files, tmp_path):
    """Its attachments, names and types of inputs and outputs; and what it computes.

    Metadata may gain a key. None that a reader knows goes.
    """
    path = tmp_path / "now.tflite"
    make_files.export(precision, path)
    then = files / make_files.TFLITE[precision]
    now, before = _attachments(path), _attachments(then)
    assert now.keys() == before.keys()
    for name, known in before.items():
        assert set(known) <= set(now[name]) if name.endswith(".json") else known == now[name]
    assert make_files.tensors(path) == make_files.tensors(then)
    found = make_files.lite_outputs(path)
    # A new lowering may round otherwise: three steps of int8.
    tolerance = CLOSE if precision == "float32" else {"rtol": 0, "atol": 3.001 / 256}
    with np.load(make_files.TFLITE_OUTPUTS) as expected:
        np.testing.assert_allclose(found, expected[precision], **tolerance)


def _attachments(path) -> dict[str, str | list[str]]:
    """What stands at the end of a file; of JSON its keys."""
    found: dict[str, str | list[str]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            text = archive.read(name).decode()
            found[name] = list(folders.keys(json.loads(text))) if name.endswith(".json") else text
    return found


def test_a_record_of_a_benchmark_is_read(files, tmp_path, capsys):
    compared = make_files.printed_by(
        *("benchmark", "compare", make_files.BENCHMARK, make_files.BENCHMARK, "--format", "csv")
    )
    expected = (files / make_files.COMPARED).read_text(encoding="utf-8")
    assert compared.splitlines() == expected.splitlines()
    pytest.importorskip("matplotlib")
    figure = tmp_path / "figure.png"
    assert main(["benchmark", "figure", make_files.BENCHMARK, "-o", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
