"""`keras-roots compress`: the whole job on a tiny network and images in one colour."""

import json
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_roots.cli import main
from keras_roots.compression import job
from keras_roots.compression.weights import kernels_of
from keras_roots.layers import batch_normalization, convolution
from keras_roots.training import loop
from tests.colour_models import COLOURS, SIZE, jpeg, one_line

_IMAGES = 16  # Of each class, to train on.
_BATCH = 16


def _network(name, groups):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    x = convolution(8, 3, strides=2, padding="same", name="first")(x)
    x = keras.layers.ReLU()(batch_normalization(name="first_bn")(x))
    before = x
    x = convolution(8, 3, groups=groups, padding="same", use_bias=False, name="spatial")(x)
    x = keras.layers.ReLU()(batch_normalization(name="spatial_bn")(x))
    x = convolution(8, 1, name="pointwise")(x)
    x = keras.layers.Add()([before, x])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax", name="classes")(x), name=name)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Folders of images, and two networks."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    for split, count in (("train", _IMAGES), ("val", 4)):
        for name, colour in COLOURS.items():
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                near = np.clip(np.array(colour) + rng.integers(-30, 30, 3), 0, 255)
                path = folder / "data" / split / name / f"{number}.JPEG"
                path.write_bytes(jpeg(near))
    for name, groups in (("dense", 1), ("root", 4)):
        _network(name, groups).save(folder / f"{name}.keras")
    return folder


def _command(given, output, *more):
    return [
        "compress", str(given / "root.keras"), "--data", str(given / "data"),
        "--batch-size", str(_BATCH), "--epochs", "2", "--rounds", "2", "-o", str(output), *more,
    ]  # fmt: skip


_ALL = ("--prune", "0.5", "--cluster", "4", "--qat")


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_whole_job(given, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    beside = ["--beside", str(given / "dense.keras")]
    # Interrupted in the middle of the clustering, which is the second of three trainings.
    interrupted = []

    def stopped(*args, **kwargs):
        interrupted.append(args)
        raise loop.Interrupted(2, 1)

    with monkeypatch.context() as patch:
        patch.setattr(job, "cluster", stopped)
        assert main(_command(given, output, *_ALL, *beside)) == 130
    assert "The same command goes on." in capsys.readouterr().err
    assert len(interrupted) == 1
    pruned = (output / "root" / "pruned.keras").read_bytes()
    # Another job does not go on there.
    assert main(_command(given, output, "--prune", "0.7", *beside)) == 2
    assert "belongs to another job, with other settings of: recipe" in one_line_of(capsys)

    assert main(_command(given, output, *_ALL, *beside)) == 0
    captured = capsys.readouterr()
    assert "Pruning" not in captured.err  # It had been done.
    assert (output / "root" / "pruned.keras").read_bytes() == pruned
    both = "pruned-clustered"
    assert _files(output) == sorted([
        ".lock", "compression.json", "kernels.csv",
        "results.csv", "results.json", "results.md", "results.png",
        "dense/none-float32.tflite", "dense/none-int8.tflite",
        "root/none-float32.tflite", "root/none-int8.tflite", "root/pruned.keras",
        f"root/{both}.keras", f"root/{both}-float32.tflite", f"root/{both}-int8.tflite",
        f"root/{both}-qat.keras", f"root/{both}-qat.tflite",
    ])  # fmt: skip

    results = json.loads((output / "results.json").read_text())
    assert results["conditions"]["epochs"] == 2
    names = [(row["network"], row["weights"], row["kind"]) for row in results["rows"]]
    assert names == [
        ("root", "none", "float32"),
        ("root", "none", "int8"),
        ("root", "pruned, clustered", "float32"),
        ("root", "pruned, clustered", "int8"),
        ("root", "pruned, clustered", "int8, QAT"),
        ("dense", "none", "float32"),
        ("dense", "none", "int8"),
    ]
    for row in results["rows"]:
        path = output / row["file"]
        assert row["images"] == 12
        assert row["bytes"] == path.stat().st_size
        assert row["delegates"] == 1
        assert row["outside"] == ""
        # Of float32 and int8, an export may merge groups as few channels as these.
        assert row["grouped_convolutions"] == 1 or row["kind"] != "int8, QAT"
        kernels = kernels_of(path.read_bytes()).values()
        assert row["nonzero_weights"] == sum(np.count_nonzero(kernel) for kernel in kernels)
        assert row["ratio_low"] is None  # Of two rounds.
    of = dict(zip(names, results["rows"], strict=True))
    trained, compressed = (
        of["root", weights, "float32"] for weights in ("none", "pruned, clustered")
    )
    # Half of the spatial and of the 1x1 convolution's weights; the first and the last are left.
    spatial, pointwise = 3 * 3 * 2 * 8, 8 * 8
    assert trained["nonzero_weights"] == 3 * 3 * 3 * 8 + spatial + pointwise + 8 * 3
    removed = trained["nonzero_weights"] - compressed["nonzero_weights"]
    assert removed >= (spatial + pointwise) // 2
    model = keras.models.load_model(output / "root" / f"{both}-qat.keras")
    for name in ("spatial", "pointwise"):
        kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel)
        assert len(np.unique(kernel)) <= 4
        assert np.mean(kernel == 0) >= 0.5
    assert len((output / "results.md").read_text().splitlines()) > len(names)
    assert (output / "results.png").read_bytes().startswith(b"\x89PNG")

    # Once more: nothing is trained, all is measured.
    before = (output / "root" / f"{both}-qat.tflite").stat().st_mtime_ns
    assert main(_command(given, output, *_ALL, *beside, "--format", "csv")) == 0
    assert capsys.readouterr().out.startswith("network,weights,file,")
    assert (output / "root" / f"{both}-qat.tflite").stat().st_mtime_ns == before


def one_line_of(capsys):
    """The last line of the errors."""
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_every_combination_with_a_teacher(given, tmp_path):
    output = tmp_path / "out"
    teacher = ["--teacher", str(given / "dense.keras")]
    assert main(_command(given, output, *_ALL, "--every-combination", *teacher)) == 0
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert [(row["weights"], row["kind"]) for row in rows] == [
        *(
            (weights, kind)
            for weights in ("none", "distilled", "tuned", "pruned", "clustered",
                            "pruned, clustered")
            for kind in ("float32", "int8")
        ),
        *(
            (weights, kind)
            for weights in ("distilled", "pruned", "clustered", "pruned, clustered")
            for kind in ("int8, QAT", "int8 after QAT")
        ),
    ]  # fmt: skip
    assert all(row["delegates"] == 1 for row in rows)
    assert all(row["grouped_convolutions"] == 1 for row in rows if row["kind"] == "int8, QAT")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "Nothing is to be compressed: give a --prune, a number of --cluster or --qat"),
        (["--prune", "1"], "Expected a sparsity above 0 and below 1"),
        (["--prune", "-0.5"], "Expected a sparsity above 0 and below 1"),
        (["--prune", "nan"], "Expected a sparsity above 0 and below 1"),
        (["--cluster", "1"], "Expected a number of clusters from 2 to 255"),
        (["--cluster", "2", "--prune", "0.5"], "from 3 to 255"),
        (["--prune", "0.7", "--schedule", "2:4"], "2:4 is a sparsity of 0.5"),
        (["--qat", "--epochs", "0"], "Expected --epochs of 1 or more"),
        (["--qat", "--rounds", "0"], "Expected --rounds of 1 or more"),
        (["--prune", "0.5", "--skip", "spacial"], "has no layer 'spacial' with a kernel; it has"),
        (["--qat", "--learning-rate", "-1"], "Expected learning_rate of 0 or more"),
        (["--qat", "--batch-size", "100"], "Expected a batch_size of the 48 training images"),
        (["--qat", "--config", "nothing.json"], "There is no configuration file"),
        (["--qat", "--beside", "nothing.keras"], "There is no file 'nothing.keras'"),
        (["--qat", "--beside", "root=x.keras"], "Two networks would be called 'root'"),
        (["--qat", "--data", "nothing"], "nothing"),
    ],
)
def test_mistakes(given, tmp_path, capsys, more, message):
    output = tmp_path / "out"
    assert main(_command(given, output, *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("keras-roots: ")
    assert error.count("\n") == 1
    assert not output.exists() or not any(output.iterdir())


def test_a_folder_of_something_else_and_no_data(given, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(_command(given, tmp_path, "--qat")) == 2
    assert "holds other things (such as 'mine.txt')" in one_line_of(capsys)
    assert _files(tmp_path) == [".lock", "mine.txt"]
    shutil.copy(given / "root.keras", tmp_path)
    assert main(["compress", str(tmp_path / "root.keras"), "--qat", "-o", str(tmp_path / "o")]) == 2
    assert "that says the data: give --data, or --config" in one_line(capsys)


def test_the_configuration_beside_the_model_says_the_data(given, tmp_path, capsys):
    shutil.copy(given / "root.keras", tmp_path / "model.keras")
    config = {"dataset": "folders", "data_dir": str(tmp_path / "none"), "image_size": SIZE,
              "resize": SIZE}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ["compress", str(tmp_path / "model.keras"), "--qat", "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert str(tmp_path / "none") in one_line(capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGKILL, -9)]
)
def test_stopped_by_a_signal_the_same_command_goes_on(given, tmp_path, number, code):
    output = tmp_path / "out"
    more = ["--prune", "0.5", "--epochs", "400"]
    command = [sys.executable, "-m", "keras_roots", *_command(given, output), *more]
    checkpoints = output / "root" / "checkpoints-pruned"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(checkpoints.glob("*.index")):  # Of an epoch.
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code, errors
    assert ("The same command goes on." in errors) == (number != signal.SIGKILL)
    assert not (output / "root" / "pruned.keras").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Pruning: going on after update" in done.stderr
    assert "Pruning, epoch 1/400" not in done.stderr
    assert not checkpoints.exists()
    assert sorted(path.name for path in (output / "root").iterdir()) == [
        "none-float32.tflite",
        "none-int8.tflite",
        "pruned-float32.tflite",
        "pruned-int8.tflite",
        "pruned.keras",
    ]
