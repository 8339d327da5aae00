"""A run that is killed at any moment ends with the very weights of one that is not."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_roots
from tests import sample_images

ROOT = Path(keras_roots.__file__).parents[1]
PREEMPTED = 75
UPDATES = 60
FLAGS = (
    *("--model=nin", "--root=4", "--image_size=16", "--resize=18", "--augmentation=full"),
    *("--epochs=4", "--batch_size=8", "--accumulation=2", "--warmup_epochs=1", "--classes=3"),
    *("--ema_decay=0.9", "--label_smoothing=0.1", "--schedule=cosine", "--clip_norm=5"),
    *("--checkpoint_every=4", "--deterministic", "--learning_rate=0.5"),
)


def start(data, folder):
    program = ROOT / "examples" / "train_imagenet.py"
    return subprocess.Popen(
        [sys.executable, program, *FLAGS, f"--data_dir={data}", f"--workdir={folder}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [
            {k: v for k, v in r.items() if k != "images_per_second"} for r in csv.DictReader(file)
        ]


def checkpoints(folder):
    return {path.name for path in (folder / "checkpoints").glob("ckpt-*.index")}


def interrupted(process, folder, how):
    """Lets it write a checkpoint that was not there, and sends it a signal a while later."""
    before = checkpoints(folder)
    while process.poll() is None and not checkpoints(folder) - before:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))  # noqa: S311 - Any moment must do.
    process.send_signal(how)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_resumed_it_has_the_same_weights(tmp_path, kills):
    data = sample_images.digit_folders(tmp_path / "digits", train=40, validation=5)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    reference = start(data, whole)
    how = [*[signal.SIGKILL] * kills, signal.SIGTERM]
    codes = [interrupted(start(data, folder), folder, each) for each in how]
    # At the end there may have been nothing left to interrupt.
    expected = [PREEMPTED if each == signal.SIGTERM else -each for each in how]
    assert all(code in (0, wanted) for code, wanted in zip(codes, expected, strict=True))
    assert codes[0] == -signal.SIGKILL
    last = start(data, folder)
    for process in (reference, last):
        output, errors = process.communicate()
        assert process.returncode == 0, errors
    assert "Going on after update" in output
    assert rows(folder) == rows(whole)
    assert json.loads((folder / "summary.json").read_text())["updates"] == UPDATES
    for name in ("model.keras", "best.keras"):
        ours, theirs = (keras.models.load_model(f / name, safe_mode=True) for f in (folder, whole))
        for v, w in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(v, w, err_msg=f"{name} {v.path}")
    leftovers = [p.name for p in folder.rglob("*") if "temp" in p.name or p.name.startswith(".m")]
    assert leftovers == []
    assert len(checkpoints(folder)) == 3
