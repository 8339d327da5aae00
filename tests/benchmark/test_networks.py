import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.benchmark import artifacts, networks, records, workers
from keras_roots.benchmark.networks_plan import plan
from keras_roots.benchmark.workers import started
from keras_roots.cli import main
from keras_roots.export import export_tflite
from tests.measured_networks import results
from tests.processes import python

TINY = {"image_size": 16, "rounds": 2, "per_turn": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model as a .keras file, and as TFLite files of batch 1 and 2."""
    folder = tmp_path_factory.mktemp("files")
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, outputs, name="small")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    paths = {"keras": folder / "small.keras", 1: folder / "1.tflite", 2: folder / "2.tflite"}
    model.save(paths["keras"])
    for batch in (1, 2):
        export_tflite(model, paths[batch], images, batch=batch)
    np.save(folder / "images.npy", images)
    return {name: str(path) for name, path in paths.items()} | {
        "images": str(folder / "images.npy"),
        "expected": keras.ops.convert_to_numpy(model(images)),
    }


def children():
    """Processes that this one started and that are still there."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("the system does not list a process's children")
    listed = Path("/proc/self/task").glob("*/children")
    return {int(process) for each in listed for process in each.read_text().split()}


def worker(files, tmp_path, artifact=None, batch=1):
    session = records.Session("files", "litert", "cpu", "float32", 1, batch)
    artifact = artifacts.Artifact(artifact or files[batch], files["images"], None)
    return started("a candidate", session, artifact, tmp_path / "outputs.npy")


def test_a_worker(files, tmp_path):
    before = children()
    with worker(files, tmp_path, batch=2) as ready:
        assert children() > before
        assert ready.load_s > 0
        assert ready.compile_s > 0
        seconds = ready.run(5)
        assert len(seconds) == 5
        assert min(seconds) > 0
        assert ready.end() >= 0
    assert children() == before
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), files["expected"], rtol=1e-4)


def test_a_worker_of_litert_imports_no_tensorflow_and_nothing_of_ours():
    program = f"""
import runpy, sys
worker = runpy.run_path({str(workers._PROGRAM)!r})
worker["_LiteRT"]({{}})
print([name for name in ("tensorflow", "keras", "keras_roots", "jax") if name in sys.modules])
"""
    assert python(program).strip() == "[]"


def test_a_worker_that_cannot_start(files, tmp_path):
    before = children()
    with (
        pytest.raises(RuntimeError, match=r"times a candidate died: .*missing\.tflite"),
        worker(files, tmp_path, str(tmp_path / "missing.tflite")),
    ):
        pass
    assert children() == before


def test_a_worker_that_dies_between_two_turns(files, tmp_path):
    before = children()
    with worker(files, tmp_path) as ready:
        ready.run(1)
        (process,) = children() - before
        os.kill(process, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="times a candidate died: exit code -9"):
            ready.run(1)


@pytest.mark.parametrize(
    "runtime",
    [
        "litert",
        "jax",
        pytest.param("tensorflow", marks=pytest.mark.slow),
        pytest.param("xla", marks=pytest.mark.slow),
    ],
)
def test_each_runtime_computes_what_keras_does_and_is_timed(files, tmp_path, runtime):
    path = tmp_path / "a.json"
    wanted = plan([files["keras"]], runtimes=[runtime], devices=["cpu"], batches=[2], **{
        **TINY, "image_size": None})  # fmt: skip
    (record,) = networks.measure(wanted, path).records
    # 3x3 kernels, 3 channels, 4 filters, on a map of 6x6; and their biases.
    assert (record.parameters, record.macs) == (3 * 3 * 3 * 4 + 4, 3 * 3 * 3 * 4 * 6 * 6)
    assert (record.session.runtime, record.session.batch, record.n) == (runtime, 2, 4)
    assert record.memory_mib >= 0
    assert record.load_s > 0
    assert record.weights.startswith("sha256 ")
    assert records.read(path).records == (record,)


def test_what_differs_from_keras_is_not_timed(files, tmp_path):
    wanted = plan([files["keras"]], batches=[3], **{**TINY, "image_size": None})
    ((session, (candidate,)),) = wanted.sessions.items()
    made = artifacts.Artifacts(tmp_path, lambda shape: np.zeros((1, *shape)), lambda line: None)
    artifact = made.get(candidate, session)
    assert made.get(candidate, session) is artifact
    np.testing.assert_array_equal(np.load(artifact.images).shape, (2, 8, 8, 3))
    first, second = artifact.expected
    artifacts.verify(np.stack([first, second, first]), artifact, session)
    with pytest.raises(RuntimeError):
        artifacts.verify(np.stack([first, second, second]), artifact, session)


def test_an_interrupted_run_goes_on(files, tmp_path):
    path = tmp_path / "a.json"
    small = {**TINY, "image_size": None}
    wanted = plan([files["keras"]], batches=[1, 2], **small)
    before = children()

    def interrupt(line):
        if line == "round 1 of 2" and path.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        networks.measure(wanted, path, report=interrupt)
    assert children() == before
    first = records.read(path)
    assert [record.session.batch for record in first.records] == [1]

    lines = []
    whole = networks.measure(wanted, path, report=lines.append)
    assert "1/2 files: litert, CPU, float32, batch 1, 1 thread: measured already" in lines
    assert whole.records[:1] == first.records
    assert [record.session.batch for record in whole.records] == [1, 2]
    assert records.read(path).records == whole.records
    second = networks.selected(whole, plan([files["keras"]], batches=[2], **small))
    assert second.records == whole.records[1:]
    assert networks.measure(wanted, path).records == whole.records

    with pytest.raises(ValueError, match="conditions: rounds 2. Now: rounds 3. Give another"):
        networks.measure(plan([files["keras"]], **{**small, "rounds": 3}), path)
    assert records.read(path).records == whole.records


def test_a_session_of_other_filter_groups_is_not_replaced(tmp_path):
    path = tmp_path / "a.json"
    wanted = plan(["nin"], [4], **TINY)
    ((session, (dense, root4)),) = wanted.sessions.items()
    counts = [
        keras_roots.cost(keras_roots.RootNIN(root=root, input_shape=(16, 16, 3))) for root in (1, 4)
    ]
    for candidate, count in zip((dense, root4), counts, strict=True):
        assert (candidate.parameters, candidate.macs) == (count.parameters, count.macs)
    made_up = results(session).records
    others = [dataclasses.replace(made_up[0], topology=name) for name in ("dense", "root-8")]
    records.write_json(path, records.Results(wanted.conditions(), others))
    with pytest.raises(ValueError, match="holds root-8 of nin: litert"):
        networks.resumed(wanted, path)
    assert networks.resumed(plan(["nin"], [4, 8], **TINY), path).records == tuple(others)


def test_the_command_on_files(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [files["keras"], files[2], "--batch", "2", "--rounds", "6", "--per-turn", "2"]
    arguments += ["--precision", "float32", "-o", "a.json", "--csv", "a.csv", "--plot", "a.png"]
    Path("accuracies.csv").write_text(f"network,topology,top1\nfiles,{files['keras']},0.5\n")
    arguments += ["--accuracy", "accuracies.csv", "--beside-paper", "--format", "markdown"]
    assert main(["benchmark", "networks", *arguments]) == 0
    out = capsys.readouterr().out
    assert "### files: litert, batch 2, 1 thread" in out
    assert "CPU, ms: float32" in out
    assert "CPU, ms: as it is" in out
    assert "not measured" in out
    assert "The paper has no figures of files." in out
    assert "processor" in out
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["topology"], row["precision"], row["macs"]) for row in rows] == [
        (files["keras"], "float32", str(3 * 3 * 3 * 4 * 6 * 6)),
        (files[2], "as it is", ""),
    ]
    conditions = json.loads(Path("a.json").read_text())["conditions"]
    assert {"processor", "flags", "gpu", "memory_gib", "jax", "rounds"} <= set(conditions)
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet51"], "Did you mean 'resnet50'"),
        (["nin", "--runtime", "torch"], "runtime as one of: litert, tensorflow, xla, jax"),
        (["nin", "--precision", "int4"], "a precision that litert runs. Received: 'int4'"),
        (["nin", "--runtime", "xla", "--precision", "int8"], "a precision that xla runs"),
        (
            ["nin", "--runtime", "litert", "--runtime", "jax", "--precision", "int8"],
            "jax runs float32. Received: precisions int8",
        ),
        (["nin", "--threads", "0"], "threads of 1 or more. Received: 0"),
        (["nin", "--threads", "100000"], "the cores here. Received: 100000"),
        (["nin", "--batch", "0"], "batches of 1 or more. Received: 0"),
        (["nin", "--rounds", "0"], "rounds of 1 or more. Received: 0"),
        (["nin", "--per-turn", "0"], "per_turn of 1 or more"),
        (["nin", "--image-size", "0"], "image_size of 1 or more"),
        (["nin", "--image-size", "2"], "8x8 pixels or more"),
        (["nin", "--device", "tpu"], "device as one of: cpu, gpu"),
        (["nin", "--device", "gpu"], "a GPU that litert runs on"),
        (["nin", "--root", "64"], "do not divide the channels"),
        (["nin", "--set", "geometry=x"], "nin has no option 'geometry'"),
        (["nin", "--calibration", "missing"], "no folder of images"),
        (["nin", "--accuracy", "missing.csv"], "no file of accuracies 'missing.csv'"),
        (["vgg11", "--image-size", "32", "--accuracy", "paper"], "no accuracy of vgg11 dense"),
        (["nin", "--plot", "a.txt"], "ends in .png, .pdf or .svg"),
        (["nin", "--csv", "missing/a.csv"], "no folder 'missing'"),
        (["missing.keras"], "no file 'missing.keras'"),
        (["missing.tflite"], "no file 'missing.tflite'"),
        ([__file__.replace(".py", ".tflite")], "no file"),
        (["missing.keras", "--root", "8"], "--root and --set are for networks"),
        (["a.tflite", "--runtime", "xla"], "TFLite files run in litert. Received: 'a.tflite'"),
        (["a.tflite", "--precision", "int8"], "Precisions are for networks and .keras files"),
        (["a.tflite", "--image-size", "8"], "Image sizes are for networks"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "networks", *arguments, "-o", "a.json"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("keras-roots: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_files_and_folders_that_are_wrong(files, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.tflite"
    broken.write_text("no model")
    keras_roots.RootNIN(include_top=False, input_shape=(None, None, 3)).save("open.keras")
    two = keras.Input((8, 8, 3)), keras.Input((4,))
    keras.Model(two, keras.layers.Conv2D(4, 3)(two[0])).save("two.keras")
    Path("other.json").write_text("{}")
    for arguments, message in (
        ([str(broken), "-o", "a.json"], "is no TFLite file"),
        ([files[1], "--batch", "4", "-o", "a.json"], "takes batches of 1 only. Received: a batch"),
        (["open.keras", "-o", "a.json"], "leaves its image size open: give --image-size"),
        (["two.keras", "-o", "a.json"], "Expected a model from one image"),
        ([files["keras"], "--image-size", "16", "-o", "a.json"], "images of (8, 8, 3) only"),
        (["nin", "--image-size", "16", "-o", "missing/a.json"], "no folder 'missing'"),
        (["nin", "--image-size", "16", "-o", "."], "a folder where a file is to be written"),
        (["nin", "--image-size", "16", "-o", "other.json"], "is no JSON file of benchmark"),
        (["nin", "--image-size", "16"], "required: -o/--output"),
    ):
        try:
            code = main(["benchmark", "networks", *arguments])
        except SystemExit as exit_:
            code = exit_.code
        assert code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not Path("a.json").exists()


@pytest.mark.slow
def test_every_precision_and_batch(tmp_path):
    wanted = plan(
        ["nin"],
        [8],
        precisions=["float16", "dynamic", "int8", "int8x16"],
        batches=[1, 3],
        **TINY,
    )
    found = networks.measure(wanted, tmp_path / "a.json")
    assert [(s.precision, s.batch) for s in found.sessions] == [
        (precision, batch)
        for precision in ("float16", "dynamic", "int8", "int8x16")
        for batch in (1, 3)
    ]


@pytest.mark.slow
def test_on_jax_where_there_is_no_tensorflow(tmp_path):
    """Neither in this process nor in the workers, which inherit the path."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise ImportError('not here')")
    command = ["benchmark", "networks", "nin", "--root", "8", "--image-size", "16"]
    command += ["--runtime", "jax", "--rounds", "1", "-o", str(tmp_path / "a.json")]
    root = str(Path(keras_roots.__file__).parents[1])
    path = os.pathsep.join([str(tmp_path), root])
    program = "import sys; from keras_roots.cli import main; sys.exit(main(sys.argv[1:]))"
    assert "nin: jax" in python(program, *command, PYTHONPATH=path, KERAS_BACKEND="jax")
    assert len(records.read(tmp_path / "a.json").records) == 2


@pytest.mark.slow
def test_interrupted_from_the_keyboard(tmp_path):
    path = tmp_path / "a.json"
    command = ["nin", "--root", "8", "--image-size", "16", "--batch", "1", "--batch", "2"]
    command = [*command, "--rounds", "200", "-o", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_roots", "benchmark", "networks", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not path.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "interrupted; files already written are whole" in errors
    assert {record.session.batch for record in records.read(path).records} == {1}
