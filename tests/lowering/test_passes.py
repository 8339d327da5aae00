"""A convolution whose passes each take their own lowering: outputs, gradients, training."""

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots.layers import Conv2D, batch_normalization, root_module
from keras_roots.layers.optimizers import SGD
from keras_roots.lowering import choice, passes, ways
from tests import reference
from tests.processes import python

# Relative to the largest value.
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-3}


@st.composite
def cases(draw, *, xla=False):
    groups = draw(st.sampled_from([1, 2, 4, 6]))
    channels, filters = (groups * draw(st.integers(1, 3)) for _ in "cf")
    kernel_size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    dilation = (1, 1)
    if strides == (1, 1):
        dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    batch, size = draw(st.integers(1, 3)), draw(st.tuples(*[st.integers(5, 8)] * 2))
    names = ["split", "taps", *ways.packings(groups, "split")]
    if not xla and choice.native_differentiable_on_cpu("float32", "channels_last"):
        names += ["native", *ways.packings(groups)]
    if kernel_size == (1, 1) and groups == 1:
        names.append("product")
    # The input gradient by taps is another convolution, of stride 1 only.
    of_input = [name for name in names if name != "taps" or strides == (1, 1)]
    return {
        "plan": passes.Plan(
            draw(st.sampled_from(names)),
            draw(st.sampled_from(of_input)),
            draw(st.sampled_from(names)),
            own_bias_gradient=draw(st.booleans()),
            plain=True,
        ),
        "geometry": ways.Geometry(
            strides,
            draw(st.sampled_from(["same", "valid"])),
            dilation,
            draw(st.sampled_from(["channels_last", "channels_first"])),
        ),
        "kernel_shape": (*kernel_size, channels // groups, filters),
        "inputs_shape": (batch, *size, channels),
        "dtype": draw(st.sampled_from(sorted(TOLERANCES))),
        "bias": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**16)),
    }


def check(case, *, compiled):
    """Outputs and all three gradients against a NumPy loop."""
    rng = np.random.default_rng(case["seed"])
    geometry, dtype = case["geometry"], case["dtype"]
    first = geometry.data_format == "channels_first"

    def rounded(*shape):
        return tf.cast(rng.normal(size=shape), dtype).numpy().astype(np.float64)

    inputs, kernel = rounded(*case["inputs_shape"]), rounded(*case["kernel_shape"])
    bias = rounded(case["kernel_shape"][-1])
    cotangent = None

    def draw_cotangent(shape):
        nonlocal cotangent
        cotangent = rounded(*shape)
        return cotangent

    y, dx, dk = reference.grouped_convolution(
        inputs, kernel, draw_cotangent, geometry.strides, geometry.padding, geometry.dilation_rate
    )
    expected = [y + (bias if case["bias"] else 0), dx, dk]
    if case["bias"]:
        expected.append(cotangent.sum((0, 1, 2)))

    def run(x, k, b):
        x = tf.transpose(x, (0, 3, 1, 2)) if first else x
        with tf.GradientTape() as tape:
            operands = [x, k, b] if case["bias"] else [x, k]
            tape.watch(operands)
            outputs = passes.convolution(
                x, k, b if case["bias"] else None, geometry, case["plan"], training=True
            )
        weights = tf.cast(cotangent, dtype)
        weights = tf.transpose(weights, (0, 3, 1, 2)) if first else weights
        found = [outputs, *tape.gradient(outputs, operands, output_gradients=weights)]
        if first:
            found[:2] = [tf.transpose(value, (0, 2, 3, 1)) for value in found[:2]]
        return found

    operands = [tf.constant(value, dtype) for value in (inputs, kernel, bias)]
    results = (tf.function(run, jit_compile=True) if compiled else run)(*operands)
    for actual, wanted in zip(results, expected, strict=True):
        assert actual.dtype == dtype
        tolerance = TOLERANCES[dtype] * max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(
            actual.numpy().astype(np.float64), wanted, atol=tolerance, rtol=0
        )


@hypothesis.given(cases())
@hypothesis.settings(max_examples=40)
def test_outputs_and_gradients_are_the_loops(case):
    check(case, compiled=False)


@hypothesis.given(cases(xla=True))
@hypothesis.settings(max_examples=12)
def test_outputs_and_gradients_inside_an_xla_compilation(case):
    check(case, compiled=True)


@pytest.mark.slow
@hypothesis.given(case=cases(xla=True), compiled=st.booleans())
@hypothesis.settings(max_examples=200, derandomize=False)
def test_outputs_and_gradients_of_many_random_cases(case, compiled):
    check(case, compiled=compiled)


@pytest.mark.skipif(
    not choice.native_differentiable_on_cpu("float32", "channels_last"),
    reason="TensorFlow's kernels here have no gradient of a grouped convolution",
)
@pytest.mark.parametrize("strides", [(1, 2), (2, 1)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("groups", [1, 6])
def test_1x1s_whose_strides_differ_do_not_corrupt_memory(groups, strides, data_format):
    """TensorFlow's own gradients do, and abort the process sooner or later."""
    case = {
        "plan": passes.Plan.of("native", plain=True),
        "geometry": ways.Geometry(strides, "same", (1, 1), data_format),
        "kernel_shape": (1, 1, 3, 6),
        "inputs_shape": (1, 6, 6, 3 * groups),
        "dtype": "float32",
        "bias": True,
        "seed": 0,
    }
    for _ in range(20):
        check(case, compiled=False)


def kinds(function, *arguments):
    """The operations that the outputs need; others are never run."""
    needed, left = {}, list(tf.function(function).get_concrete_function(*arguments).outputs)
    while left:
        operation = left.pop().op
        if operation.name not in needed:
            needed[operation.name] = operation.type
            left.extend(operation.inputs)
    return list(needed.values())


def test_the_kernel_gradient_of_a_1x1_is_a_product():
    layer = Conv2D(16, 1)
    images = tf.zeros((2, 8, 8, 4))
    layer.build(images.shape)

    def gradients(x, training):
        with tf.GradientTape() as tape:
            outputs = layer(x, training=training)
        return tape.gradient(outputs, [layer.kernel.value, layer.bias.value])

    with_training = kinds(lambda x: gradients(x, True), images)
    assert "Conv2DBackpropFilter" not in with_training
    assert "MatMul" in with_training
    # As Keras has it, where nothing is trained.
    assert "Conv2DBackpropFilter" in kinds(lambda x: gradients(x, False), images)


def test_inference_is_free_of_custom_gradients():
    """Which a file would have to hold."""
    model = keras_roots.RootNIN(root=4)
    for xla in (False, True):
        traced = tf.function(lambda x: model(x, training=False), jit_compile=xla)
        graph = traced.get_concrete_function(tf.zeros((1, 32, 32, 3))).graph
        assert not [each for each in graph.get_operations() if each.type == "IdentityN"]


def test_a_second_derivative():
    layer = Conv2D(6, 1, activation="tanh")
    stock = keras.layers.Conv2D(6, 1, activation="tanh")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), tf.float32)
    for each in (layer, stock):
        each.build(x.shape)
    stock.set_weights(layer.get_weights())
    found = []
    for each in (layer, stock):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                outputs = each(x, training=True)
            first = inner.gradient(outputs, x)
        found.append(outer.gradient(first, [x, each.kernel.value]))
    for ours, theirs in zip(*found, strict=True):
        assert np.abs(theirs).max() > 0
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def small_root_network():
    """Of three levels, with what the paper's networks are made of."""
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Activation("relu")(batch_normalization()(Conv2D(32, 3, padding="same")(x)))
    for groups in (16, 4, 2):
        x = root_module(32, 3, groups=groups)(x)
        x = keras.layers.Activation("relu")(batch_normalization()(x))
        x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x))


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=pytest.mark.slow), True])
def test_twenty_train_steps_lose_what_stock_keras_loses(jit_compile):
    keras.utils.set_random_seed(1)
    model = small_root_network()
    stock = keras_roots.to_stock(model)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 8, 16, 16, 3)).astype(np.float32)
    labels = rng.integers(0, 5, (20, 8))
    losses = []
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
    for each, optimizer, jit in (
        (model, SGD(0.005, **options), jit_compile),
        (stock, keras.optimizers.SGD(0.005, **options), False),
    ):
        each.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=jit)
        losses.append([each.train_on_batch(x, y) for x, y in zip(images, labels, strict=True)])
    # At a higher rate, ReLUs of another side make of rounding more, step by step.
    assert np.std(losses[1]) > 0.05
    np.testing.assert_allclose(*losses, rtol=2e-4)
    for ours, theirs in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


JAX = """
import jax, keras, numpy as np
import keras_roots
from keras_roots.lowering import choice, passes, ways
from tests import reference
from tests.processes import python

rng = np.random.default_rng(0)
groups, geometry = 4, ways.Geometry(padding="same")
x, k, b = rng.normal(size=(2, 6, 7, 8)), rng.normal(size=(3, 3, 2, 12)), rng.normal(size=12)
weights = []
def cotangent_of(shape):
    weights.append(rng.normal(size=shape))
    return weights[0]
y, dx, dk = reference.grouped_convolution(x, k, cotangent_of, (1, 1), "same", (1, 1))
expected = [y + b, dx, dk, weights[0].sum((0, 1, 2))]
x, k, b, d = (value.astype("float32") for value in (x, k, b, weights[0]))

def results(convolution):
    y, pull = jax.vjp(convolution, x, k, b)
    return [y, *pull(d)]

def stock(x, k, b):
    return keras.ops.conv(x, k, 1, "same") + b

names = ["native", "split", "taps", *ways.packings(groups), *ways.packings(groups, "split")]
forms = {"stock": stock}
for name in names:
    for plan in (passes.Plan.of(name), passes.Plan(name, "taps", "packed-2-split")):
        forms[plan] = lambda x, k, b, plan=plan: passes.convolution(
            x, k, b, geometry, plan, training=True)
for form in forms.values():
    for actual, wanted in zip(results(jax.jit(form)), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-4)

# A model, which chooses for itself: nothing compiled is a grouped convolution.
model = keras_roots.RootNIN(root=8)
variables = [
    [each.value for each in group]
    for group in (model.trainable_variables, model.non_trainable_variables)
]
image = np.zeros((1, 32, 32, 3), "float32")
text = jax.jit(lambda t, n, x: model.stateless_call(t, n, x, training=True)[0]).lower(
    *variables, image).as_text()
assert "feature_group_count = 1" in text and "feature_group_count = 8" not in text
model.compile(keras_roots.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
losses = [model.train_on_batch(rng.normal(size=(4, 32, 32, 3)), np.arange(4)) for _ in range(2)]
assert np.isfinite(losses).all()
import sys
assert "tensorflow" not in sys.modules
"""


def test_on_jax_all_lowerings_are_the_loop_and_keras_own():
    pytest.importorskip("jax")
    python(JAX, KERAS_BACKEND="jax")
