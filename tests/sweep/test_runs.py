"""Sweeps of tiny runs, each in the process that it has in earnest."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_roots
from keras_roots import sweep
from keras_roots.data import LabelledImages, arrays
from keras_roots.sweep.processes import prepare, share_of_cores
from keras_roots.sweep.rows import of_run
from keras_roots.training import train_and_evaluate, workdir
from tests import sample_images
from tests.training_runs import digits_config

ROOT = Path(keras_roots.__file__).parents[1]


@pytest.fixture(scope="module", name="base")
def make_base(tmp_path_factory):
    """24 images to train on, 15 held out."""
    folder = sample_images.digit_folders(tmp_path_factory.mktemp("digits"), validation=5)
    return digits_config(folder, deterministic=True)


@pytest.fixture(scope="module", name="finished")
def make_finished(base, tmp_path_factory):
    """A sweep of two networks: its folder, rows and lines."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    lines = []
    rows = sweep.run(base, ["dense", "root-4"], [3], folder, jobs=2, report=lines.append)
    return folder, rows, lines


def table(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_sweep_leaves(finished):
    folder, rows, lines = finished
    assert {path.name for path in folder.iterdir()} == {
        *("sweep.json", "results.csv", "results.md", "error.png", "learning-curves.png"),
        *("dense-seed-3", "root-4-seed-3"),
    }
    assert sorted(row["network"] for row in table(folder)) == ["dense", "root-4"]
    for row in rows:
        summary = json.loads((folder / row.name / "summary.json").read_text())
        assert (row.top1, row.loss) == (summary["validation_top1"], summary["validation_loss"])
        assert (row.updates, row.epochs, row.images) == (6, 2, 15)
    text = (folder / "results.md").read_text()
    assert "| root-4 " in text
    assert "15 held-out images" in text
    for name in ("dense-seed-3", "root-4-seed-3"):
        assert f"Begins: {name}" in lines
        assert any(line.startswith(f"{name}: Epoch 2/2: loss") for line in lines)
        assert any(line.startswith(f"Done: {name}, top-1") for line in lines)


def test_a_run_is_that_of_its_configuration_alone(finished, base, tmp_path):
    folder, _, _ = finished
    alone = dataclasses.replace(base, root="4", seed=3)
    summary = train_and_evaluate(alone, tmp_path / "run", report=lambda _: None)
    of_sweep = json.loads((folder / "root-4-seed-3" / "summary.json").read_text())
    # On as many threads as a share of the cores has, sums are in another order.
    assert of_sweep["validation_loss"] == pytest.approx(summary["validation_loss"], rel=0.01)
    assert of_sweep["loss"] == pytest.approx(summary["loss"], rel=0.01)


def test_what_has_finished_is_not_trained_again(finished, base, tmp_path):
    folder, rows, _ = finished
    copy = tmp_path / "sweep"
    shutil.copytree(folder, copy)
    (copy / "results.csv").unlink()  # As if it had been killed between a run and its row.
    lines = []
    again = sweep.run(base, ["dense", "root-4"], [3], copy, report=lines.append)
    assert sorted(map(str, again)) == sorted(map(str, rows))
    assert lines == ["2 runs: 2 are done, 0 to do"]
    assert len(table(copy)) == 2


def test_a_run_of_another_configuration_is_no_row(finished, base):
    folder, rows, _ = finished
    data = json.loads((folder / "sweep.json").read_text())["data"]
    counts = {"parameters": rows[0].parameters, "macs": rows[0].macs}
    row = next(row for row in rows if row.network == "dense")
    of_dense = folder / row.name

    def read(network="dense", seed=3, data=data, **changes):
        run = sweep.Experiment(dataclasses.replace(base, **changes), (network,), (seed,)).runs[0]
        return of_run(run, of_dense, counts, data, row.configuration)

    assert read() is not None
    assert read(data_dir="elsewhere") is not None
    for values, message in (
        ({"seed": 4}, "seed: 3 there, 4 now"),
        ({"network": "root-2"}, "root: 'root-1' there, 'root-2' now"),
        ({"learning_rate": 0.03}, "learning_rate: 0.02 there, 0.03 now"),
        ({"data": {**data, "files": "others"}}, "data: files: .* there, 'others' now"),
    ):
        with pytest.raises(ValueError, match=f"dense-seed-3' holds a run of another.*{message}"):
            read(**values)


def test_a_folder_of_another_sweep_is_refused(finished, base):
    folder, _, _ = finished
    before = (folder / "results.csv").read_bytes()
    longer = dataclasses.replace(base, epochs=3)
    with pytest.raises(ValueError, match="belongs to another sweep. epochs: 2 there, 3 now"):
        sweep.run(longer, ["dense"], [3], folder)
    assert (folder / "results.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "networks", "message"),
    [
        ({"data_dir": "missing"}, ["dense"], "missing"),
        pytest.param(
            *({}, ["dense", "tree-64"], "tree-64: 64 filter groups do not divide"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_wrong_is_said_before_any_training(base, tmp_path, change, networks, message):
    with pytest.raises(ValueError, match=message):
        sweep.run(dataclasses.replace(base, **change), networks, [0], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_folder_that_is_a_file(base, tmp_path):
    (tmp_path / "sweep").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        sweep.run(base, ["dense"], [0], tmp_path / "sweep")
    with pytest.raises(ValueError, match="jobs of 1 or more"):
        sweep.run(base, ["dense"], [0], tmp_path / "other", jobs=0)


def test_what_networks_cost_is_the_papers(base):
    whole = dataclasses.replace(base, image_size=32, resize=32)
    experiment = sweep.Experiment(whole, ("dense", "root-8"), (0,))
    costs = prepare(experiment)["networks"]
    # Of 10 classes in the paper: a 1x1 of 192 filters for each, at 8x8.
    fewer = {"parameters": 7 * 193, "macs": 7 * (192 * 64 + 1)}
    for name, paper in (("dense", (966_986, 222_487_946)), ("root-8", (314_954, 103_343_498))):
        assert costs[name]["parameters"] + fewer["parameters"] == paper[0]
        assert costs[name]["macs"] + fewer["macs"] == paper[1]


def test_cores_are_shared():
    own = sorted(os.sched_getaffinity(0))
    assert share_of_cores(0, 1) == []
    assert sorted(share_of_cores(0, 2) + share_of_cores(1, 2)) == own or len(own) == 1
    assert all(len(share_of_cores(n, len(own) + 3)) == 1 for n in range(len(own) + 3))


def example(base, folder, *flags, backend="tensorflow", **options):
    config = folder.parent / f"{folder.name}.json"
    config.write_text(json.dumps(base.as_dict()))
    return subprocess.Popen(
        [
            *(sys.executable, ROOT / "examples" / "sweep_cifar10.py", f"--config={config}"),
            *(f"--workdir={folder}", *flags),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_what_there_is_to_do(finished, base):
    folder, _, _ = finished
    process = example(base, folder, "--networks=dense,root-2", "--first_seed=3", "--dry_run")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert [line.split()[-2:] for line in out.splitlines()[2:4]] == [["3", "2"], ["3", "3"]]
    assert "5 runs of 2 epochs" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_sweep_goes_on(base, tmp_path, number):
    longer = dataclasses.replace(base, epochs=12, checkpoint_every=2)
    flags = ("--networks=dense,root-4", "--seeds=1", "--first_seed=3", "--jobs=2")
    with example(longer, tmp_path / "cut", *flags, start_new_session=True) as process:
        for line in process.stdout:
            if "Epoch 2/12: loss" in line:
                process.send_signal(number)
                break
        _, err = process.communicate()
    assert process.returncode == (75 if number == signal.SIGTERM else 130), err
    assert not (tmp_path / "cut" / "results.csv").exists()
    process = example(longer, tmp_path / "cut", *flags)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Going on after update" in out
    process = example(longer, tmp_path / "whole", *flags)
    process.communicate()
    assert process.returncode == 0
    cut, whole = (sorted(table(tmp_path / n), key=str) for n in ("cut", "whole"))
    for first, second in zip(cut, whole, strict=True):
        for name in ("network", "top1", "loss", "updates"):
            assert first[name] == second[name]


@pytest.mark.slow
def test_one_run_that_fails_does_not_stop_the_others(base, tmp_path):
    """The dense network diverges at a learning rate at which no network trains; so do all."""
    wild = dataclasses.replace(base, learning_rate=1e30)
    process = example(wild, tmp_path / "sweep", "--networks=dense,root-4", "--seeds=1")
    out, err = process.communicate()
    assert process.returncode == 1
    assert "Without a result: dense-seed-0, root-4-seed-0" in err
    assert out.count("Ended without a result (exit code 1)") == 2


@pytest.mark.slow
def test_no_run_stays_behind_when_results_cannot_be_written(base, tmp_path):
    folder = tmp_path / "sweep"
    (folder / "results.csv").mkdir(parents=True)
    longer = dataclasses.replace(base, epochs=12)
    with pytest.raises(IsADirectoryError):
        sweep.run(longer, ["dense", "root-4"], [0], folder, jobs=2, report=lambda _: None)
    for name in ("dense-seed-0", "root-4-seed-0"):
        with workdir.alone(folder / name):  # Raises if a run is at work there.
            pass


@pytest.mark.slow
def test_a_sweep_on_jax(base, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    images = rng.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    held_out = (images[:15], labels[:15])
    small = LabelledImages("noise", images, labels, *held_out, tuple("abc"), True, 120)
    arrays.write(tmp_path / "arrays", small)
    changes = {"dataset": "arrays", "data_dir": str(tmp_path / "arrays"), "resize": 16}
    config = dataclasses.replace(base, **changes)
    flags = ("--networks=dense,root-4", "--seeds=1")
    process = example(config, tmp_path / "sweep", *flags, backend="jax")
    _, err = process.communicate()
    assert process.returncode == 0, err
    found = table(tmp_path / "sweep")
    assert [(row["network"], row["backend"], row["updates"]) for row in found] == [
        *(("dense", "jax", "6"), ("root-4", "jax", "6")),
    ]
    process = example(config, tmp_path / "sweep", *flags)
    _, err = process.communicate()
    assert process.returncode == 2
    assert "backend: 'jax' there, 'tensorflow' now" in err
