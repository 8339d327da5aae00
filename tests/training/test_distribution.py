"""Several replicas compute what one device computes on the same global batch."""

import csv
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_roots.training import Config, network, train_and_evaluate
from keras_roots.training.strategies import check_tf_config, replicas
from tests import sample_images
from tests.processes import python

PROGRAM = """
import json, sys
from keras_roots.training import Config, train_and_evaluate
train_and_evaluate(Config(**json.loads(sys.argv[1])), sys.argv[2])
"""
LAYERS = """
import keras, numpy as np, tensorflow as tf
from keras_roots.layers.normalization import FusedBatchNormalization
from keras_roots.training import Config, strategies
from keras_roots.training.steps import Steps
config = Config(strategy="mirrored", devices=2, logical_cpus=True)
strategy = strategies.make(config)
# Dropout, which differs from replica to replica.
with strategy.scope():
    inputs = keras.Input((64,))
    outputs = keras.layers.Dense(2)(keras.layers.Dropout(0.5, seed=3)(inputs))
    model = keras.Model(inputs, outputs)
steps = Steps(config, strategy, model, keras.optimizers.SGD(0.1), 2)
mask = tf.function(lambda: strategy.run(lambda: model.layers[1](tf.ones((1, 64)), training=True)))
seed = next(v for v in model.variables if "seed_generator_state" in v.path)
initial = seed.numpy()
def drawn():
    return [each.numpy() for each in strategy.experimental_local_results(mask())]
first, second = drawn()
assert (first == second).all()  # Keras's own are the same on all replicas.
seed.assign(initial)
steps.separate_seeds()
one, other = drawn()
assert (one == first).all()
assert (one != other).mean() > 0.2
assert np.isfinite(one).all() and bool(steps.is_finite())
assert steps.all_have(7)
model.layers[2].bias.assign([np.nan, 0])
assert not bool(steps.is_finite())
# Batch normalisation, which is that of the whole batch.
x = np.random.default_rng(0).normal(300, 1, (8, 4, 4, 3)).astype(np.float32)
weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
def halves(value):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(value, 2)[context.replica_id_in_sync_group]))
def computed(kind):
    with strategy.scope():
        layer = kind(synchronized=True, momentum=0.5)
        layer.build((None, 4, 4, 3))
    def replica(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs * weights)
        return outputs, tape.gradient(loss, x)
    run = tf.function(lambda *args: strategy.run(replica, args=args))
    per_replica = run(halves(x), halves(weights))
    joined = [np.concatenate(strategy.experimental_local_results(each)) for each in per_replica]
    return (*joined, np.array(layer.moving_mean), np.array(layer.moving_variance))
exact = x.astype(np.float64)
mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
scale = 1 / np.sqrt(variance + 1e-3)
standard = (exact - mean) * scale
n = x.size // 3
gradient = scale * (weights - weights.sum((0, 1, 2)) / n
                    - standard * (weights * standard).sum((0, 1, 2)) / n)
expected = (standard, gradient, 0.5 * mean, 0.5 + 0.5 * variance)
def errors(kind):
    return [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(computed(kind), expected)]
ours, theirs = errors(FusedBatchNormalization), errors(keras.layers.BatchNormalization)
assert max(ours) < 1e-4, ours
assert max(theirs) > 10 * max(ours), (ours, theirs)  # What ours is for.
"""


@pytest.fixture(scope="module", name="config")
def make_config(tmp_path_factory):
    """Five updates; 9 images are held out, of which batches of 4 make two and a half."""
    folder = tmp_path_factory.mktemp("digits")
    return Config(
        model="nin",
        root="4",
        image_size=16,
        resize=18,
        # Equal pixels are ties in max pooling, whose gradient then hangs on the last bit.
        data_dir=str(sample_images.photograph_folders(folder, 3, train=7, validation=3)),
        augmentation="full",
        epochs=1,
        batch_size=4,
        base_batch_size=4,
        learning_rate=0.001,
        warmup_epochs=0,
        schedule="constant",
        ema_decay=0.5,
    )


@pytest.fixture(scope="module", name="single")
def make_single(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("single") / "run"
    train_and_evaluate(config, folder, report=lambda _: None)
    return folder


def start(config, folder, **environment):
    arguments = [json.dumps(config.as_dict()), str(folder)]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def assert_same(ours, theirs, config):
    def read(folder):
        with (folder / "history.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        return {name: float(v) for name, v in row.items() if name != "images_per_second"}

    a, b = read(ours), read(theirs)
    for name in ("epoch", "step", "images", "unread", "learning_rate"):
        assert a[name] == b[name]
    for name in ("loss", "validation_loss"):
        assert a[name] == pytest.approx(b[name], rel=2e-3), name
    for name in ("top1", "top5", "validation_top1", "validation_top5"):
        assert a[name] == pytest.approx(b[name], abs=0.12), name  # An image of 9.
    # How far the averaged weights have moved: rounding differs, and grows; gradients that were
    # summed twice, or not, would differ by 1.
    trained = [keras.models.load_model(f / "model.keras", safe_mode=True) for f in (ours, theirs)]
    initial = network.for_training(config, 3)
    for v, w, start in zip(*(m.trainable_variables for m in (*trained, initial)), strict=True):
        if v.name == "bias":
            continue  # Batch normalisation undoes it: its gradient is rounding.
        moved, expected = np.array(v) - np.array(start), np.array(w) - np.array(start)
        assert np.linalg.norm(expected) > 0, v.path
        assert np.linalg.norm(moved - expected) < 0.2 * np.linalg.norm(expected), v.path


def test_dropout_differs_by_replica_and_batch_normalisation_is_of_the_whole_batch():
    python(LAYERS)


def test_two_devices_of_one_machine(config, single, tmp_path):
    mirrored = dataclasses.replace(config, strategy="mirrored", devices=2, logical_cpus=True)
    output = finished(start(mirrored, tmp_path / "run"))
    assert "2 replicas on CPU (logical devices of a processor" in output
    assert_same(tmp_path / "run", single, config)


def start_two(config, folder):
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    distributed = dataclasses.replace(config, strategy="multi_worker")
    return [
        start(
            distributed,
            folder,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]


def test_two_processes(config, single, tmp_path):
    chief, other = (finished(process) for process in start_two(config, tmp_path / "run"))
    assert "2 replicas on CPU" in chief
    assert other == ""
    assert_same(tmp_path / "run", single, config)
    assert not [p for p in (tmp_path / "run").rglob("*") if "temp" in p.name or "worker" in p.name]


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_ends_both_at_the_same_update(config, tmp_path):
    config = dataclasses.replace(config, epochs=25, checkpoint_every=5)
    folder = tmp_path / "run"
    processes = start_two(config, folder)
    while not list(folder.glob("checkpoints/ckpt-*.index")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=300)[1] for process in processes]
    updates = [re.search(r"Interrupted .SIGTERM. after update (\d+)", each)[1] for each in errors]
    assert updates[0] == updates[1]
    chief, _ = (finished(process) for process in start_two(config, folder))
    assert f"Going on after update {updates[0]}" in chief
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 25


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_tf_config_that_is_not_right(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="(?s)needs TF_CONFIG.*export TF_CONFIG") as error:
        check_tf_config()
    assert (text or "nothing") in str(error.value)


def test_mirrored_needs_gpus_or_to_be_asked(config, tmp_path):
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("There is a GPU.")
    mirrored = dataclasses.replace(config, strategy="mirrored")
    for call in (
        lambda: train_and_evaluate(mirrored, tmp_path / "run"),
        lambda: replicas(mirrored),
    ):
        with pytest.raises(ValueError, match="found no GPU.*logical_cpus=True and .* devices=2"):
            call()
    assert replicas(dataclasses.replace(mirrored, logical_cpus=True)) == 2
    assert replicas(dataclasses.replace(mirrored, logical_cpus=True, devices=3)) == 3
    with pytest.raises(ValueError, match="in a new process"):
        train_and_evaluate(
            dataclasses.replace(config, strategy="mirrored", devices=3, logical_cpus=True),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()
