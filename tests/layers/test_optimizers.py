"""Our SGD updates as Keras's does."""

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.layers.optimizers import SGD


@hypothesis.given(
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    nesterov=st.booleans(),
    weight_decay=st.sampled_from([None, 0.1]),
    dtype=st.sampled_from(["float32", "float64", "float16"]),
    steps=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_updates_and_state_are_keras(momentum, nesterov, weight_decay, dtype, steps, seed):
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    ends = []
    for kind in (SGD, keras.optimizers.SGD):
        rng = np.random.default_rng(seed)
        variables = [keras.Variable(rng.normal(size=(3, 2)), dtype=dtype) for _ in "ab"]
        optimizer = kind(0.1, **options)
        for _ in range(steps):
            gradients = [tf.constant(rng.normal(size=(3, 2)), dtype) for _ in "ab"]
            optimizer.apply(gradients, variables)
        ends.append([np.asarray(each) for each in (*variables, *optimizer.variables)])
    tolerance = {"float32": 1e-6, "float64": 1e-12, "float16": 1e-2}[dtype]
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_operation_for_each_variable_and_a_schedule(jit_compile):
    variable = keras.Variable(np.ones((2, 2)))
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    optimizer = SGD(schedule, momentum=0.9)
    optimizer.build([variable])

    @tf.function(jit_compile=jit_compile)
    def step(gradient):
        optimizer.apply([gradient], [variable])

    gradient = tf.ones((2, 2))
    kinds = [each.type for each in step.get_concrete_function(gradient).graph.get_operations()]
    assert kinds.count("ResourceApplyKerasMomentum") == 1
    step(gradient)
    step(gradient)
    # 1 - 0.5 = 0.5; then the momentum 0.9 x 0.5 and the halved rate.
    np.testing.assert_allclose(variable, 0.5 - 0.9 * 0.5 - 0.25, atol=1e-6)


def test_sparse_gradients_are_left_to_keras():
    for momentum in (0.0, 0.9):
        variable = keras.Variable(np.ones((4, 2)))
        optimizer = SGD(0.5, momentum=momentum)
        optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), [2], (4, 2))], [variable])
        np.testing.assert_allclose(variable, [[1, 1], [1, 1], [0.5, 0.5], [1, 1]])


def test_a_model_with_it_is_saved_and_goes_on(tmp_path):
    def batch():
        rng = np.random.default_rng(0)
        return rng.normal(size=(8, 4)), rng.normal(size=(8, 1))

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(SGD(0.1, momentum=0.9, nesterov=True), "mse")
    model.fit(*batch(), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.optimizer) is SGD
    for each in (model, loaded):
        each.fit(*batch(), epochs=1, verbose=0)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_over_two_replicas():
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(SGD(0.1, momentum=0.9), "mse")
    history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
