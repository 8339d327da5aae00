"""The JAX backend's updates, learning rates, orders and crops beside TensorFlow's and NumPy's."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots.data import augmentation
from keras_roots.training import optimization
from keras_roots.training.steps import Steps
from tests import jax_cases
from tests.processes import python

ROOT = Path(keras_roots.__file__).parents[1]


@pytest.fixture(scope="module", name="found")
def make_found(tmp_path_factory):
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("jax")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    program = "import runpy; runpy.run_module('tests.jax_cases', run_name='__main__')"
    python(program, "updates", str(folder), KERAS_BACKEND="jax", PYTHONPATH=path)
    with np.load(folder / "updates.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", jax_cases.CASES)
def test_updates_are_those_of_tensorflow(found, name):
    groups, values = jax_cases.CASES[name]
    config = jax_cases.config(**values)
    model = jax_cases.network(groups, config.precision)
    optimizer = optimization.make(config, jax_cases.schedule(config))
    steps = Steps(config, tf.distribute.get_strategy(), model, optimizer, jax_cases.CLASSES)
    before = model.get_weights()
    exact = config.precision == "float32"
    bounds = {"rtol": 1e-4, "atol": 1e-5} if exact else {"rtol": 0.05, "atol": 0.02}
    for seed in range(jax_cases.UPDATES):
        sums, norm = steps.train(batch(seed), tf.constant(False))
        np.testing.assert_allclose(
            found[f"{name}/row {seed}"], [*sums.numpy()[:4], float(norm)], **bounds
        )
    after = model.get_weights()
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(before, after, strict=True))
    for kind, exchange in (("weights", False), ("averages", True)):
        if exchange:
            steps.swap_averages()
        for number, value in enumerate(model.get_weights()):
            np.testing.assert_allclose(found[f"{name}/{kind} {number}"], value, **bounds)
    sums = steps.evaluate(batch(9), tf.constant(False)).numpy()
    np.testing.assert_allclose(found[f"{name}/evaluation"], sums[:4], **bounds)


def batch(seed):
    images, labels = jax_cases.batch(seed)
    values = {
        "images": images,
        "labels": labels,
        "examples": np.arange(len(labels)),
        "weights": np.ones(len(labels), np.float32),
        "uniforms": np.zeros((len(labels), augmentation.UNIFORMS), np.float32),
    }
    return {key: tf.constant(value) for key, value in values.items()}


@pytest.mark.parametrize("name", jax_cases.SCHEDULES)
def test_learning_rates_are_those_of_tensorflow(found, name):
    schedule = jax_cases.schedule(jax_cases.config(**jax_cases.SCHEDULES[name]))
    expected = [float(schedule(step)) for step in range(36)]
    np.testing.assert_allclose(found[f"rates/{name}"], expected, rtol=1e-5, atol=1e-8)


def test_orders_are_permutations_of_their_own(found):
    orders = np.concatenate([found["orders/0"], found["orders/1"]])
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(50), (6, 1)))
    assert len(np.unique(orders, axis=0)) == 6


def test_numbers_drawn_are_of_seed_epoch_and_example(found):
    drawn = np.concatenate([found["uniforms/0"], found["uniforms/1"]])
    assert drawn.shape == (800, 3)
    assert len(np.unique(drawn, axis=0)) == 800
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # Of 800 the mean of each deviates by 0.01.
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(3), atol=0.12)


@pytest.mark.parametrize("name", jax_cases.AUGMENTATIONS)
def test_crops_and_mirroring(found, name):
    """Pixel by pixel, of images 12 high and 14 wide, of which 8x8 are taken."""
    config = jax_cases.config(**jax_cases.AUGMENTATIONS[name])
    pixels, drawn = found["augmented/pixels"], found["augmented/drawn"]
    size, pad = config.image_size, config.padding
    background = [round(value) for value in config.mean]
    for image, (u, v, w), result in zip(pixels, drawn, found[f"augmented/{name}"], strict=True):
        height, width = image.shape[:2]
        top, left = (height - size) // 2, (width - size) // 2
        bounds = (0, height, 0, width)
        if config.padding:
            bounds = (top, top + size, left, left + size)
            top, left = top - pad + int(u * (2 * pad + 1)), left - pad + int(v * (2 * pad + 1))
        elif config.augmentation == "paper":
            top, left = int(u * (height - size + 1)), int(v * (width - size + 1))
        expected = np.empty((size, size, 3))
        for y in range(size):
            for x in range(size):
                row, column = top + y, left + x
                inside = bounds[0] <= row < bounds[1] and bounds[2] <= column < bounds[3]
                expected[y, x] = image[row, column] if inside else background
        if config.augmentation == "paper" and config.mirror and w < 0.5:
            expected = expected[:, ::-1]
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(found[f"evaluated/{name}"], pixels[:, 2:10, 3:11])


@pytest.mark.parametrize("looped", [False, True])
def test_each_image_is_seen_once_an_epoch(found, looped):
    """Batches of 6 of 10 images: 6, 12, 24 and 30 have been seen, three epochs in the end."""
    counts = found[f"seen/{looped}"]
    assert counts.sum(axis=1).tolist() == [6, 12, 24, 30]
    assert (counts.max(axis=1) - counts.min(axis=1)).tolist() == [1, 1, 1, 0]
    np.testing.assert_array_equal(counts, found["seen/False"])
