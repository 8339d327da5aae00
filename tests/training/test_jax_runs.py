"""Runs on the JAX backend from their configuration to their model, TensorFlow not being there."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.data import arrays, input_pipeline, sources
from keras_roots.training import Config, train_and_evaluate
from keras_roots.training.on_jax import support
from tests import jax_cases
from tests.processes import python
from tests.training_runs import rows, weights

ROOT = Path(keras_roots.__file__).parents[1]
FILES = {
    *("config.json", "data.json", "classes.txt", "history.csv", "learning-curve.png"),
    *("checkpoints", "best-checkpoint", "best.keras", "model.keras", "summary.json", ".lock"),
}


def environment(folder):
    """Of JAX; what is compiled once serves all runs."""
    return {
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="module", name="folder")
def make_folder(tmp_path_factory):
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("jax")
    program = "import runpy; runpy.run_module('tests.jax_cases', run_name='__main__')"
    python(program, "runs", str(folder), **environment(folder))
    return folder


@pytest.fixture(scope="module", name="told")
def make_told(folder):
    return json.loads((folder / "told.json").read_text())


def bits(folder):
    return [value.tobytes() for value in weights(folder)]


def test_tensorflow_is_not_imported(told):
    assert told["modules"] == []


def test_what_a_run_leaves(folder, told):
    run, summary = folder / "whole", told["whole"]["summary"]
    assert {path.name for path in run.iterdir()} == FILES
    assert json.loads((run / "summary.json").read_text()) == summary
    assert summary["config"] == json.loads((run / "config.json").read_text())
    assert (summary["updates"], summary["epochs"]) == (5, 2)
    assert summary["conditions"]["backend"] == "jax"
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        f"ckpt-{number}.npz" for number in (2, 3, 4)
    ]
    first, second = rows(run)
    assert (first["step"], second["step"]) == ("3", "5")
    assert (first["images"], second["images"]) == ("30", "20")  # The batches go on.
    assert float(second["loss"]) < float(first["loss"])
    assert float(second["validation_top1"]) == summary["validation_top1"]
    assert (run / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "classes.txt").read_text() == "red\ngreen\nblue\n"
    assert any("24 images to train on, 12 held out" in line for line in told["whole"]["lines"])


def test_the_summary_has_the_keys_of_tensorflow(told, folder, tmp_path):
    """The same data there; and the crops of the images that are held out are the same."""
    config = dataclasses.replace(jax_cases.run_config(folder / "data"), max_steps=1)
    theirs = train_and_evaluate(config, tmp_path / "run", report=lambda line: None)
    ours = told["whole"]["summary"]
    assert theirs.keys() == ours.keys()
    assert theirs["data"] == ours["data"]
    assert theirs["config"] == {**ours["config"], "max_steps": 1}
    jax_run = folder / "whole"
    with pytest.raises(ValueError, match="is of Keras on 'jax'.*Set KERAS_BACKEND=jax"):
        train_and_evaluate(config, jax_run)
    assert "is of Keras on 'tensorflow'" in told["begun on tensorflow"]["error"]


def test_the_model_gives_the_same_on_tensorflow(folder, told):
    images = arrays.read(folder / "data")
    model = keras.models.load_model(folder / "whole" / "model.keras", safe_mode=True)
    scores = model.predict(images.test_images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(scores, np.load(folder / "scores.npy"), atol=1e-5)
    summary, labels = told["whole"]["summary"], images.test_labels
    assert np.mean(scores.argmax(axis=1) == labels) == pytest.approx(summary["validation_top1"])
    loss = -np.log(scores[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(summary["validation_loss"], rel=1e-4)


def test_a_finished_run_is_not_done_again(told):
    without = [{**told[name]["summary"], "conditions": None} for name in ("whole", "again")]
    assert without[0] == without[1]
    assert not any(line.startswith("Epoch") for line in told["again"]["lines"])


def test_an_interrupted_run_ends_with_the_same_bits(folder, told):
    assert told["terminated"]["error"].startswith("Interrupted: Interrupted (SIGTERM) after update")
    assert told["killed"]["error"].startswith("KilledError")
    for name, update in (("terminated", 4), ("killed", 3)):
        lines = told[f"{name}, going on"]["lines"]
        assert any(f"Going on after update {update}" in line for line in lines), lines
        assert rows(folder / name) == rows(folder / "whole")
        assert bits(folder / name) == bits(folder / "whole")
        assert {path.name for path in (folder / name).iterdir()} == FILES
    assert not list((folder / "killed" / "checkpoints").glob(".*"))


def test_checkpoints_are_named_arrays(folder):
    with np.load(folder / "whole" / "checkpoints" / "ckpt-4.npz", allow_pickle=False) as file:
        names = set(file.files)
        assert file["run/counts"].tolist() == [5, 2]
        kernels = [file[name] for name in names if name.endswith("kernel")]
    assert len({name.partition("/")[0] for name in names}) == 5
    assert all(np.isfinite(kernel).all() for kernel in kernels)


def test_other_ways_to_end(folder, told):
    early = told["ended early"]["summary"]
    assert (early["updates"], early["epochs"], early["loss"]) == (2, 0, None)
    assert (folder / "early" / "model.keras").is_file()
    assert told["diverged"]["error"].startswith("DivergedError: Diverged at update 4: the ")
    assert "The last good checkpoint, of update 3, is as it was" in told["diverged"]["error"]
    assert "belongs to another run. seed: 3 there, 4 now" in told["other configuration"]["error"]
    assert "keras-roots arrays cifar10 FOLDER" in told["tfds"]["error"]


def test_a_dry_run(folder, told):
    text = "\n".join(told["dry run"])
    for part in ("Updates: 5 (2.4 an epoch)", "all images in the device's memory", "Nothing was"):
        assert part in text
    assert not (folder / "dry").exists()


def test_every_field_is_honoured_or_refused(folder, told):
    """Those that are not in one of these lists fail here, until someone says which it is."""
    honoured = {
        *("name", "reached", "model", "root", "model_options", "image_size", "mean", "std"),
        *("dataset", "data_dir", "train_split", "validation_split", "classes", "strict"),
        *("augmentation", "resize", "padding", "mirror", "label_smoothing", "epochs"),
        *("batch_size", "learning_rate", "base_batch_size", "schedule", "warmup_epochs"),
        *("decay_epochs", "decay_factor", "momentum", "nesterov", "weight_decay", "clip_norm"),
        *("ema_decay", "precision", "seed", "jit_compile", "deterministic", "max_steps"),
        *("evaluate_every", "checkpoint_every", "keep_checkpoints"),
    }
    assert honoured | set(support.DEFAULT_ONLY) == {f.name for f in dataclasses.fields(Config)}
    assert not honoured & set(support.DEFAULT_ONLY)
    assert set(support.DEFAULT_ONLY) <= set(jax_cases.REFUSED)
    for name, error in told["refused"].items():
        assert error.startswith("ValueError: "), error
        assert name in error or name == "synthetic", error
    assert not (folder / "refused").exists()


def test_images_that_do_not_fit_in_memory(folder):
    program = """
import numpy as np
from keras_roots.training.on_jax import loop
from keras_roots.data import Source, Split

images = np.broadcast_to(np.uint8(0), (10**9, 100, 100, 3))
split = Split("train", 10**9, None, None, "", arrays=(images, None))
try:
    loop.require_memory(Source("many", (), split, split))
except ValueError as error:
    print(error)
"""
    printed = python(program, **environment(folder))
    assert "They take 60000.00 GB, and 1 replica on CPU has" in printed


@pytest.mark.parametrize("augmentation", ["none", "paper"])
def test_arrays_on_tensorflow(folder, augmentation):
    """They are cropped and padded as files are."""
    config = jax_cases.run_config(folder / "data")
    config = dataclasses.replace(
        config, augmentation=augmentation, padding=2 if augmentation == "paper" else 0, mirror=False
    )
    source, images = sources.open_source(config), arrays.read(folder / "data")
    share = input_pipeline.Share()
    (*_, last) = input_pipeline.validation_batches(config, source.validation, share)
    np.testing.assert_array_equal(last["images"][:2], images.test_images[10:])
    np.testing.assert_array_equal(last["weights"], [1] * 2 + [0] * 8)
    crops = 0
    for part in input_pipeline.train_batches(config, source.train, 0, 5, share):
        for number, crop, label in zip(
            part["examples"].numpy(), part["images"].numpy(), part["labels"].numpy(), strict=True
        ):
            assert label == images.train_labels[number]
            padded = np.pad(
                images.train_images[number], [(2, 2), (2, 2), (0, 0)], constant_values=120
            )
            places = [(y, x) for y in range(5) for x in range(5)]
            found = [p for p in places if (padded[p[0] :, p[1] :][:8, :8] == crop).all()]
            assert found
            crops += (2, 2) not in found
    assert (crops > 25) == (augmentation == "paper")


@pytest.mark.slow
def test_a_killed_program_goes_on_to_the_same_bits(folder, tmp_path):
    """examples/train_cifar10.py, killed by SIGKILL when it has done an epoch."""
    config = folder / "whole" / "config.json"
    hidden = (
        "import runpy, sys; from tests.jax_cases import hide_tensorflow; hide_tensorflow(); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [
        *(sys.executable, "-c", hidden, str(ROOT / "examples" / "train_cifar10.py")),
        *(f"--config={config}", f"--data_dir={folder / 'data'}", f"--workdir={tmp_path / 'run'}"),
    ]
    variables = {**os.environ, **environment(folder)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("Epoch 1/"):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "model.keras").exists()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Going on after update" in done.stdout
    assert bits(tmp_path / "run") == bits(folder / "whole")
    command[-1] = f"--workdir={tmp_path / 'half'}"
    half = [*command, "--precision=bfloat16", "--max_steps=1"]
    assert subprocess.run(half, env=variables, check=False).returncode == 0
    model = keras.models.load_model(tmp_path / "half" / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    command[-1] = f"--workdir={tmp_path / 'other'}"
    refused = subprocess.run(
        [*command, "--mixup=0.1"], env=variables, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "Keras on JAX does not train this. mixup=0.1" in refused.stderr
