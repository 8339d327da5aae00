import contextlib
import dataclasses
import json
import os
import resource
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.data import sources
from keras_roots.training import DivergedError, Interrupted, train_and_evaluate, workdir
from keras_roots.training.checkpoints import NotWrittenError
from keras_roots.training.dry_run import run as dry_run
from keras_roots.training.signals import Signals
from tests import sample_images
from tests.training_runs import digits_config, rows, weights


@pytest.fixture(scope="module", name="folder")
def make_folder(tmp_path_factory):
    return sample_images.digit_folders(tmp_path_factory.mktemp("digits"), validation=5)


@pytest.fixture(scope="module", name="config")
def make_config(folder):
    """24 images to train on, 15 held out."""
    return digits_config(folder, root="4", ema_decay=0.5, checkpoint_every=2)


@pytest.fixture(scope="module", name="whole")
def make_whole(config, tmp_path_factory):
    """A run without interruption: its work directory, summary and lines."""
    lines = []
    folder = tmp_path_factory.mktemp("whole") / "run"
    summary = train_and_evaluate(config, folder, report=lines.append)
    return folder, summary, lines


def test_what_a_run_leaves(whole, config):
    folder, summary, lines = whole
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "data.json", "classes.txt", "history.csv", "learning-curve.png"),
        *("tensorboard", "checkpoints", "best-checkpoint", "best.keras", "model.keras"),
        *("summary.json", ".lock"),
    }
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["updates"] == 6
    assert summary["config"] == json.loads(json.dumps(config.as_dict()))
    first, second = rows(folder)
    assert (first["epoch"], first["step"], second["epoch"], second["step"]) == ("1", "3", "2", "6")
    assert float(second["validation_top1"]) == summary["validation_top1"]
    assert float(second["loss"]) < float(first["loss"])
    assert (folder / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert any("24 images to train on, 15 held out" in line for line in lines)
    assert "Epoch 2/2: loss" in lines[-2]
    assert workdir.class_names(folder) == ("digit-0", "digit-1", "digit-2")


def test_without_matplotlib_all_is_as_it_is_but_for_the_plot(whole, config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # Whoever imports it gets an ImportError.
    planned, lines = [], []
    dry_run(config, tmp_path / "run", report=planned.append)
    train_and_evaluate(config, tmp_path / "run", report=lines.append)
    left = {path.name for path in whole[0].iterdir()}
    assert {path.name for path in (tmp_path / "run").iterdir()} == left - {"learning-curve.png"}
    for told in (planned, lines):
        assert sum("matplotlib is not installed" in line for line in told) == 1
    assert not any("matplotlib is not installed" in line for line in whole[2])


def test_the_model_that_is_left_has_the_accuracy_that_is_reported(whole, folder):
    run, summary, _ = whole
    model = keras.models.load_model(run / "model.keras", safe_mode=True)
    paths = sorted((folder / "val").rglob("*.JPEG"))
    images = []
    for path in paths:  # 32 pixels: of the central 28 (32 x 16 / 18) 16 are made.
        image = tf.io.decode_jpeg(path.read_bytes(), channels=3)[2:30, 2:30]
        images.append(np.floor(tf.image.resize(image, (16, 16)).numpy() + 0.5))
    scores = model.predict(np.stack(images), verbose=0)
    labels = [int(path.parent.name[-1]) for path in paths]
    assert np.mean(scores.argmax(axis=1) == labels) == pytest.approx(summary["validation_top1"])
    loss = -np.log(scores[np.arange(15), labels]).mean()
    assert loss == pytest.approx(summary["validation_loss"], rel=1e-3)


def test_tensorboard_has_the_epochs(whole):
    folder, summary, _ = whole
    found = {}
    for path in (folder / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found[value.tag, event.step] = tf.make_ndarray(value.tensor)
    assert found["validation/top1", 6] == pytest.approx(summary["validation_top1"])
    assert found["train/loss", 6] == pytest.approx(summary["loss"])
    assert ("train/loss", 3) in found


def test_a_finished_run_is_not_done_again(whole, config):
    folder, summary, _ = whole
    before = rows(folder)
    lines = []
    again = train_and_evaluate(config, folder, report=lines.append)
    assert {k: v for k, v in again.items() if k != "conditions"} == {
        k: v for k, v in summary.items() if k != "conditions"
    }
    assert rows(folder) == before
    assert not any(line.startswith("Epoch") for line in lines)


@pytest.mark.parametrize(
    ("batch_size", "stops_at"), [(8, 4), pytest.param(12, 4, marks=pytest.mark.slow)]
)
def test_sigterm_and_going_on(whole, config, tmp_path, batch_size, stops_at):
    """In the middle of an epoch; and at its end, before its evaluation."""
    config = dataclasses.replace(config, batch_size=batch_size)
    folder = tmp_path / "run"

    def terminate_after_epoch_1(line):
        if line.startswith("Epoch 1/"):
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=f"SIGTERM.*after update {stops_at}") as error:
        train_and_evaluate(config, folder, report=terminate_after_epoch_1)
    assert error.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    assert len(rows(folder)) == 1
    assert not (folder / "model.keras").exists()
    lines = []
    train_and_evaluate(config, folder, report=lines.append)
    assert any(f"Going on after update {stops_at}" in line for line in lines)
    assert [row["epoch"] for row in rows(folder)] == ["1", "2"]
    if batch_size != 8:
        return
    for ours, theirs in zip(rows(folder), rows(whole[0]), strict=True):
        np.testing.assert_allclose(
            [float(value) for value in ours.values()],
            [float(value) for value in theirs.values()],
            rtol=1e-3,
            atol=0.08,  # An image more or less that is right.
        )
    for ours, theirs in zip(weights(folder), weights(whole[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3)


def test_max_steps_ends_a_run_and_more_of_them_go_on(config, whole, tmp_path):
    """In the middle of the second epoch of three updates; then not at all."""
    folder = tmp_path / "run"
    cut = dataclasses.replace(config, max_steps=4, evaluate_every=2)
    summary = train_and_evaluate(cut, folder, report=lambda _: None)
    assert (summary["updates"], summary["epochs"], summary["best_epoch"]) == (4, 1, None)
    assert 0 < summary["validation_loss"] < 3
    assert [row["step"] for row in rows(folder)] == ["3"]
    less = dataclasses.replace(cut, max_steps=2)  # Fewer than there are: nothing to do.
    assert train_and_evaluate(less, folder, report=lambda _: None)["updates"] == 4
    summary = train_and_evaluate(config, folder, report=lambda _: None)
    assert (summary["updates"], summary["epochs"]) == (6, 2)
    assert [(row["step"], row["images"]) for row in rows(folder)] == [("3", "24"), ("6", "24")]
    for ours, theirs in zip(weights(folder), weights(whole[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3)


def test_a_work_directory_that_was_begun_and_no_more(config, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("classes.txt", "data.json"):
        shutil.copy(whole[0] / name, folder)
    for name in (".config-1a2b3c4d.json", ".config-mine.json", ".model-00000000.keras"):
        (folder / name).touch()
    assert not workdir.check(folder, config, sources.open_source(config))
    workdir.tidy(folder)
    assert {path.name for path in folder.iterdir()} == {
        *("classes.txt", "data.json", ".config-mine.json")
    }


def test_another_configuration_is_refused_with_the_difference(whole, config, folder, tmp_path):
    run, *_ = whole
    other = dataclasses.replace(config, learning_rate=0.1, root="2")
    with pytest.raises(
        ValueError, match="another run.*root: '4' there, '2' now.*learning_rate: 0.02"
    ):
        train_and_evaluate(other, run)
    more = sample_images.digit_folders(tmp_path / "more", train=9, validation=5)
    with pytest.raises(ValueError, match="data: train_images: 24 there, 27 now"):
        train_and_evaluate(dataclasses.replace(config, data_dir=str(more)), run)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds other things \(such as 'thesis.tex'\)"):
        train_and_evaluate(config, tmp_path / "else")
    with pytest.raises(ValueError, match="is a file"):
        train_and_evaluate(config, tmp_path / "else" / "thesis.tex")


def test_a_second_run_in_the_same_directory_is_refused(whole, config):
    folder, *_ = whole
    with workdir.alone(folder), pytest.raises(ValueError, match="Another run is at work"):
        train_and_evaluate(config, folder)


def test_a_loss_that_is_no_number_stops_the_run(config, tmp_path):
    config = dataclasses.replace(
        config, learning_rate=3e37, checkpoint_every=1, schedule="constant", weight_decay=0.0
    )
    with pytest.raises(
        DivergedError, match=r"Diverged at update (2|3).*learning rate of 3e\+37.*The last good"
    ):
        train_and_evaluate(config, tmp_path / "run", report=lambda _: None)
    (last, *_) = sorted((tmp_path / "run" / "checkpoints").glob("*.index"), reverse=True)
    kept = tf.train.load_checkpoint(str(last.with_suffix("")))
    for name in kept.get_variable_to_shape_map():
        value = kept.get_tensor(name)
        assert not isinstance(value, np.ndarray) or np.isfinite(value).all(), name


@contextlib.contextmanager
def files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_reported_and_loses_nothing(config, whole, tmp_path):
    folder, lines = tmp_path / "run", []
    with files_of_at_most(200_000) as limit:

        def fill_up_after_epoch_1(line):
            lines.append(line)
            if line.startswith("Epoch 2/"):
                limit()

        with pytest.raises(NotWrittenError, match="of update 6 could not be written.*Earlier ones"):
            train_and_evaluate(config, folder, report=fill_up_after_epoch_1)
    assert any(
        "WARNING: a checkpoint could not be written: The checkpoint of update 6" in line
        for line in lines
    )
    names = {path.name.split(".")[0] for path in (folder / "checkpoints").iterdir()}
    assert names == {"ckpt-1", "ckpt-2", "ckpt-3"}
    lines.clear()
    train_and_evaluate(config, folder, report=lines.append)
    assert any("Going on after update 4" in line for line in lines)
    assert len(rows(folder)) == 2
    for ours, theirs in zip(weights(folder), weights(whole[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3)


def test_a_checkpoint_that_is_broken_is_passed_over(config, whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    (data,) = (folder / "checkpoints").glob("ckpt-4.data-*")
    data.write_bytes(data.read_bytes()[:1000])
    lines = []
    train_and_evaluate(config, folder, report=lines.append)
    assert any("Going on after update 4" in line for line in lines)
    assert len(rows(folder)) == 2
    for path in (folder / "checkpoints").glob("ckpt-*.data-*"):
        path.unlink()
    with pytest.raises(ValueError, match="None of the checkpoints in .* can be read"):
        train_and_evaluate(config, folder, report=lambda _: None)


def test_images_that_cannot_be_read(config, tmp_path):
    images = sample_images.digit_folders(tmp_path / "digits", validation=5)
    bad = [images / "train" / "digit-0" / "002.JPEG", images / "val" / "digit-2" / "004.JPEG"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:-200])
    config = dataclasses.replace(config, data_dir=str(images), epochs=1)
    lines = []
    summary = train_and_evaluate(config, tmp_path / "run", report=lines.append)
    assert summary["unread_images"] == [str(path) for path in bad]
    assert sum("Cannot be read, and is left out" in line for line in lines) == 2
    assert rows(tmp_path / "run")[0]["unread"] == "1"
    assert any("1 of 24 images could not be read" in line for line in lines)
    assert (tmp_path / "run" / "unread.txt").read_text().splitlines() == [str(p) for p in bad]
    with pytest.raises(ValueError, match="cannot be read .strict=True."):
        train_and_evaluate(dataclasses.replace(config, strict=True), tmp_path / "strict")


def test_dry_run_checks_and_leaves_nothing(config, tmp_path):
    lines = []
    dry_run(config, tmp_path / "runs" / "one", report=lines.append)
    text = "\n".join(lines)
    for part in (
        "24 images to train on, 15 held out",
        "Updates: 6 (3.0 an epoch) of 8 images",
        "16 images read",
        "Memory of a replica, estimated",
        "Nothing was trained",
    ):
        assert part in text
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="batch_size that 3 replicas"):
        dry_run(
            dataclasses.replace(config, strategy="mirrored", devices=3, logical_cpus=True),
            tmp_path / "run",
        )


def test_a_second_signal_is_the_systems_own():
    def own(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, own)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received == signal.SIGTERM
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not signals.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
