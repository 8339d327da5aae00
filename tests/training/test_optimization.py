import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.training import optimization
from keras_roots.training.config import Config


def config(**values):
    return Config(**{"epochs": 10, "batch_size": 32, "base_batch_size": 32, **values})


def rates(config, steps_per_epoch, at):
    steps = round(config.epochs * steps_per_epoch)
    schedule = optimization.learning_rate(config, steps_per_epoch, steps)
    return [float(schedule(tf.constant(step, tf.int64))) for step in at]


def test_warmup_rises_evenly_to_the_highest():
    found = rates(config(learning_rate=0.5, warmup_epochs=2, schedule="constant"), 5, range(14))
    rising = [0.5 * (step + 1) / 11 for step in range(10)]
    np.testing.assert_allclose(found, [*rising, 0.5, 0.5, 0.5, 0.5], rtol=1e-6)


def test_cosine():
    found = rates(config(learning_rate=0.2, warmup_epochs=1), 10, range(10, 101))
    expected = [0.1 * (1 + np.cos(np.pi * step / 90)) for step in range(91)]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_steps():
    values = config(
        learning_rate=0.1, schedule="step", decay_epochs=(3, 6), decay_factor=0.2, warmup_epochs=0
    )
    found = rates(values, 4, range(40))
    expected = [0.1] * 12 + [0.02] * 12 + [0.004] * 16
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_one_over_t():
    values = config(learning_rate=0.1, schedule="inverse", decay_factor=0.5, warmup_epochs=0)
    found = rates(values, 8, range(0, 80, 7))
    expected = [0.1 / (1 + 0.5 * step / 8) for step in range(0, 80, 7)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_updates_are_those_of_torch(nesterov):
    """PyTorch's documented SGD, after clipping by the norm of all gradients together."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,), "gamma": (4,)}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    variables = [keras.Variable(value, name=name) for name, value in values.items()]
    optimizer = optimization.make(
        config(momentum=0.9, nesterov=nesterov, weight_decay=0.1, clip_norm=1.5), 0.05
    )
    optimizer.build(variables)
    buffers = {name: np.zeros(shape) for name, shape in shapes.items()}
    for _ in range(4):
        gradients = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
        optimizer.apply([tf.constant(g) for g in gradients.values()], variables)
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        for name, gradient in gradients.items():
            d = gradient * min(1, 1.5 / norm) + (0.1 * values[name] if name == "kernel" else 0)
            buffers[name] = 0.9 * buffers[name] + d
            values[name] = values[name] - 0.05 * (
                d + 0.9 * buffers[name] if nesterov else buffers[name]
            )
    for variable in variables:
        np.testing.assert_allclose(variable, values[variable.name], rtol=1e-5)


def test_float16_scales_the_loss():
    optimizer = optimization.make(config(precision="float16", weight_decay=0.0), 0.5)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    variable = keras.Variable(np.ones(2), name="kernel")
    optimizer.build([variable])
    scale = float(optimizer.scale_loss(1.0))
    optimizer.apply([tf.constant([np.inf, 1.0])], [variable])
    np.testing.assert_array_equal(variable, [1, 1])
    assert float(optimizer.scale_loss(1.0)) == scale / 2
    optimizer.apply([tf.constant([0.5, 1.0]) * scale / 2], [variable])
    assert np.abs(variable - np.array([1, 1])).max() > 0.2
