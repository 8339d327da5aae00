import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_roots.layers import normalization
from keras_roots.layers.normalization import FusedBatchNormalization, LocalResponseNormalization
from tests.processes import python

TOLERANCES = {"float32": 1e-5, "mixed_float16": 4e-3, "mixed_bfloat16": 3e-2, "float64": 1e-12}


def train_step(layer, inputs, cotangent, *, compiled=False):
    """Outputs, gradients, and the moving statistics afterwards."""
    dtype = layer.compute_dtype

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float64) * cotangent)
        weights = [weight.value for weight in layer.trainable_weights]
        return [outputs, *tape.gradient(loss, [x, *weights])]

    results = tf.function(run, jit_compile=compiled)(tf.constant(inputs, dtype))
    return [np.asarray(tf.cast(r, tf.float64)) for r in results] + [
        np.asarray(weight, np.float64) for weight in layer.non_trainable_weights
    ]


def assert_same_training(
    policy="float32", *, shape=(4, 5, 6, 7), seed=0, compiled=False, **options
):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(3, 2, size=shape)
    cotangent = rng.normal(size=shape)
    results, layers = [], []
    for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
        layer = kind(dtype=policy, momentum=0.9, **options)
        layer.build(shape)
        weights = np.random.default_rng(seed)
        layer.set_weights([weights.uniform(0.5, 2, weight.shape) for weight in layer.weights])
        results.append(train_step(layer, inputs, cotangent, compiled=compiled))
        layers.append(layer)
    for ours, stock in zip(*results, strict=True):
        atol = TOLERANCES[policy] * max(1, np.abs(stock).max())
        np.testing.assert_allclose(ours, stock, atol=atol, rtol=0)
    return layers


@given(
    policy=st.sampled_from(sorted(TOLERANCES)),
    batch=st.integers(1, 4),
    size=st.integers(1, 5),
    channels=st.integers(1, 5),
    scale=st.booleans(),
    center=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_outputs_gradients_and_moving_statistics_are_keras(
    policy, batch, size, channels, scale, center, seed
):
    if batch * size * size < 4:
        size = 2  # The gradients of so few values vanish, and rounding errors are all there is.
    shape = (batch, size, size, channels)
    assert_same_training(policy, shape=shape, seed=seed, scale=scale, center=center)


def test_inside_an_xla_compilation():
    assert_same_training(compiled=True)


def test_inside_an_xla_compilation_sums_are_staged(monkeypatch):
    def kinds():
        layer = FusedBatchNormalization()
        layer.build((None, 4, 4, 3))
        traced = tf.function(lambda x: layer(x, training=True), jit_compile=True)
        graph = traced.get_concrete_function(tf.TensorSpec((None, 4, 4, 3))).graph
        return [operation.type for operation in graph.get_operations()]

    assert "XlaOptimizationBarrier" in kinds()
    # It is private to TensorFlow; without it, the fused operation.
    monkeypatch.setattr(normalization, "_barrier", lambda: None)
    assert "FusedBatchNormV3" in kinds()


JAX = """
import jax, keras, numpy as np
from keras_roots.layers.normalization import FusedBatchNormalization

rng = np.random.default_rng(0)
x, d = (rng.normal(2, 3, size=(4, 5, 6, 7)).astype("float32") for _ in "xd")
results = []
for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
    layer = kind(momentum=0.9)
    layer.build(x.shape)
    draw = np.random.default_rng(1)
    layer.set_weights([draw.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    trainable, others = ([v.value for v in vs] for vs in
                         (layer.trainable_variables, layer.non_trainable_variables))
    call = lambda t, x: layer.stateless_call(t, others, x, training=True)
    step = lambda t, x: (jax.vjp(lambda t, x: call(t, x)[0], t, x)[1](d), call(t, x))
    results.append(jax.tree.leaves(jax.jit(step)(trainable, x)))
    barriers = str(jax.make_jaxpr(call)(trainable, x)).count("optimization_barrier")
    assert bool(barriers) == (kind is FusedBatchNormalization)
for ours, stock in zip(*results, strict=True):
    # Of float32 sums, which are added up in another order, relative to the largest of them.
    np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-5 * max(1, abs(stock).max()))
"""


def test_on_jax_it_is_keras():
    pytest.importorskip("jax")
    python(JAX, KERAS_BACKEND="jax")


def test_it_is_one_operation_and_its_gradient():
    layer = FusedBatchNormalization()
    layer.build((None, 4, 4, 3))
    traced = tf.function(lambda x: layer(x, training=True))
    graph = traced.get_concrete_function(tf.TensorSpec((None, 4, 4, 3))).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("FusedBatchNormV3") == 1


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"axis": 1}, (4, 3, 5, 5)),
        ({}, (4, 6)),
        ({"axis": 2}, (4, 5, 3, 5)),
    ],
)
def test_what_is_left_to_keras(options, shape):
    assert_same_training(shape=shape, **options)


def test_synchronized_is_left_to_keras():
    layer = FusedBatchNormalization(synchronized=True)
    assert not layer._fusible(tf.zeros((2, 3, 3, 4)))


def test_a_frozen_layer_keeps_its_statistics():
    layer = FusedBatchNormalization()
    layer.build((None, 4, 4, 3))
    layer.trainable = False
    before = layer.get_weights()
    layer(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), training=True)
    for ours, theirs in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fit_and_inference_are_keras(tmp_path):
    images = np.random.default_rng(0).normal(2, 3, size=(64, 4, 4, 3)).astype(np.float32)
    predictions = []
    for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
        model = keras.Sequential([keras.Input((4, 4, 3)), kind(), keras.layers.Flatten()])
        model.compile("sgd", "mse")
        model.fit(images, np.zeros((64, 48)), epochs=3, batch_size=16, shuffle=False, verbose=0)
        predictions.append(model.predict(images, verbose=0))
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
        np.testing.assert_array_equal(loaded.predict(images, verbose=0), predictions[-1])
    np.testing.assert_allclose(*predictions, atol=1e-4)


# AlexNet's.


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("n", [3, 5])
def test_local_response_normalization_is_tensorflows(n, data_format):
    x = np.random.default_rng(0).normal(0, 30, size=(2, 5, 4, 12)).astype(np.float32)
    expected = tf.nn.local_response_normalization(
        x, depth_radius=n // 2, bias=2.0, alpha=0.01 / n, beta=0.6
    )
    assert np.abs(expected - x).max() > 1
    keras.config.set_image_data_format(data_format)
    try:
        layer = LocalResponseNormalization(n=n, k=2.0, alpha=0.01, beta=0.6)
    finally:
        keras.config.set_image_data_format("channels_last")
    if data_format == "channels_first":
        actual = np.moveaxis(layer(np.moveaxis(x, -1, 1)), 1, -1)
    else:
        actual = layer(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_local_response_normalization_in_half_precision_and_from_its_configuration():
    layer = LocalResponseNormalization(alpha=1.0, dtype="float16", name="norm")
    x = np.full((1, 1, 1, 4), 500, np.float16)  # Whose square float16 has not.
    outputs = layer(x)
    assert outputs.dtype == "float16"
    assert np.isfinite(outputs).all()
    copy = LocalResponseNormalization.from_config(layer.get_config())
    np.testing.assert_array_equal(copy(x), outputs)
    assert layer.compute_output_shape((None, 7, 7, 4)) == (None, 7, 7, 4)
