import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_roots.layers import Conv2D, GroupedConv2D, convolution, root_module
from tests import reference

# Relative to the largest value: sums in another order, and the rounding of half precision.
TOLERANCES = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 1e-2, "float16": 1e-3}


@st.composite
def cases(draw):
    """Every combination that Keras's Conv2D accepts; strides and dilation exclude each other."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    strides, dilation = draw(st.sampled_from([(pair, (1, 1)), ((1, 1), pair)]))
    return {
        "groups": draw(st.sampled_from([1, 2, 3, 4, 8, 16])),
        "channels_per_group": draw(st.integers(1, 3)),
        "filters_per_group": draw(st.integers(1, 3)),
        "kernel_size": draw(pair),
        "strides": draw(strides) if strides is pair else strides,
        "dilation_rate": draw(dilation) if dilation is pair else dilation,
        "padding": draw(st.sampled_from(["same", "valid"])),
        "size": draw(st.tuples(st.integers(7, 10), st.integers(7, 10))),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
        "dtype": draw(st.sampled_from(sorted(TOLERANCES))),
        "batch": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 2**16)),
    }


def check(case, *, compiled=False, stock=True):
    """Forward pass and gradients against a NumPy loop, and against stock Keras with groups.

    Those it compiles with XLA, which knows all cases; without groups it takes TensorFlow's
    kernels, which do not on every processor.
    """
    rng = np.random.default_rng(case["seed"])
    groups, first = case["groups"], case["data_format"] == "channels_first"
    channels = groups * case["channels_per_group"]
    arguments = {
        "filters": groups * case["filters_per_group"],
        **{
            key: case[key]
            for key in (
                "groups",
                "kernel_size",
                "strides",
                "dilation_rate",
                "padding",
                "data_format",
                "dtype",
            )
        },
    }

    def rounded(array):
        return tf.cast(array, case["dtype"]).numpy().astype(np.float64)

    inputs = rounded(rng.normal(size=(case["batch"], *case["size"], channels)))
    kernel = rounded(
        rng.normal(size=(*case["kernel_size"], channels // groups, arguments["filters"]))
    )
    cotangent = None

    def draw_cotangent(shape):
        nonlocal cotangent
        cotangent = rounded(rng.normal(size=shape))
        return cotangent

    expected = reference.grouped_convolution(
        inputs, kernel, draw_cotangent, case["strides"], case["padding"], case["dilation_rate"]
    )

    def outputs_and_gradients(layer):
        x = np.moveaxis(inputs, -1, 1) if first else inputs
        x = tf.constant(x, case["dtype"])
        layer.build(x.shape)
        layer.set_weights([kernel, np.zeros(arguments["filters"])])
        weights = tf.constant(np.moveaxis(cotangent, -1, 1) if first else cotangent, case["dtype"])

        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x)
                loss = tf.reduce_sum(outputs * weights)
            return [outputs, *tape.gradient(loss, [x, layer.kernel.value])]

        y, dx, dk = (tf.function(run, jit_compile=True) if compiled else run)(x)
        assert y.dtype == case["dtype"]
        y, dx = (np.moveaxis(v.numpy(), 1, -1) if first else v.numpy() for v in (y, dx))
        return y, dx, dk.numpy()

    forms = [GroupedConv2D(**arguments)]
    if stock and groups > 1:
        forms.append(keras.layers.Conv2D(**arguments))
    for layer in forms:
        for actual, wanted in zip(outputs_and_gradients(layer), expected, strict=True):
            tolerance = TOLERANCES[case["dtype"]] * max(1.0, np.abs(wanted).max())
            np.testing.assert_allclose(actual.astype(np.float64), wanted, atol=tolerance, rtol=0)


@given(cases())
def test_equals_a_numpy_loop_and_stock_keras(case):
    check(case)


@given(cases())
@settings(max_examples=8)
def test_equals_a_numpy_loop_inside_an_xla_compilation(case):
    check(case, compiled=True, stock=False)


@pytest.mark.slow
@given(cases())
@settings(max_examples=300, derandomize=False)
def test_equals_a_numpy_loop_and_stock_keras_on_many_random_cases(case):
    check(case)


def test_the_same_arguments_weights_and_names_as_conv2d():
    arguments = {"filters": 8, "kernel_size": 3, "groups": 4, "strides": 2, "name": "conv"}
    ours, stock = GroupedConv2D(**arguments), keras.layers.Conv2D(**arguments)
    for layer in (ours, stock):
        layer.build((None, 9, 9, 8))
    assert ours.get_config().keys() == stock.get_config().keys()
    assert [w.path for w in ours.weights] == [w.path for w in stock.weights]
    assert [w.shape for w in ours.weights] == [w.shape for w in stock.weights]
    assert ours.compute_output_shape((2, 9, 9, 8)) == stock.compute_output_shape((2, 9, 9, 8))


def test_bias_activation_and_an_unknown_batch_and_size():
    inputs = keras.Input((None, None, 8))
    ours = keras.Model(inputs, GroupedConv2D(12, 3, groups=4, activation="relu")(inputs))
    stock = keras.Model(inputs, keras.layers.Conv2D(12, 3, groups=4, activation="relu")(inputs))
    weights = [np.random.default_rng(0).normal(size=w.shape) for w in ours.weights]
    images = np.random.default_rng(1).normal(size=(5, 9, 7, 8)).astype(np.float32)
    for model in (ours, stock):
        model.set_weights(weights)
    expected = stock.predict(images, verbose=0)
    np.testing.assert_allclose(ours.predict(images, verbose=0), expected, atol=1e-5)


def tiny_model(**kwargs):
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            GroupedConv2D(8, 3, groups=4, **kwargs),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )


def test_saves_loads_and_clones(tmp_path):
    model = tiny_model()
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert isinstance(loaded.layers[0], GroupedConv2D)
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    clone = keras.models.clone_model(model)
    assert isinstance(clone.layers[0], GroupedConv2D)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        clone.predict(images, verbose=0), model.predict(images, verbose=0)
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64", "float32"])
def test_trains_under(policy):
    model = tiny_model(dtype=policy)
    model.compile("sgd", "mse", jit_compile=False)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype(np.float32)
    before = model.get_weights()[0]
    losses = [model.train_on_batch(images, np.ones((4, 2), np.float32)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert not np.array_equal(model.get_weights()[0], before)


def test_an_input_smaller_than_the_kernel_is_an_error():
    with pytest.raises(ValueError, match="zero or negative|smaller than its kernel"):
        GroupedConv2D(8, 5, groups=4)(np.zeros((1, 4, 4, 8), np.float32))
    layer = GroupedConv2D(8, 5, groups=4)
    layer.build((None, 9, 9, 8))
    with pytest.raises(ValueError, match="zero or negative|smaller than its kernel"):
        layer(np.zeros((1, 4, 4, 8), np.float32))


def test_root_module_is_a_grouped_convolution_and_a_1x1():
    inputs = keras.Input((8, 8, 16))
    model = keras.Model(
        inputs,
        root_module(32, 3, groups=4, pointwise_filters=8, name="conv2", pointwise_name="mix")(
            inputs
        ),
    )
    assert [layer.name for layer in model.layers[1:]] == [
        "conv2_conv",
        "conv2_bn",
        "conv2_relu",
        "mix_conv",
    ]
    grouped, mix = model.get_layer("conv2_conv"), model.get_layer("mix_conv")
    assert isinstance(grouped, GroupedConv2D)
    assert grouped.kernel.shape == (3, 3, 16 // 4, 32)
    assert mix.kernel.shape == (1, 1, 32, 8)
    assert model.output_shape == (None, 8, 8, 8)


def test_root_module_without_names_normalisation_or_groups():
    inputs = keras.Input((8, 8, 16))
    model = keras.Model(inputs, root_module(32, 3, groups=1, normalization=None)(inputs))
    kinds = [type(layer) for layer in model.layers[1:]]
    assert kinds == [Conv2D, keras.layers.Activation, Conv2D]


def test_groups_that_do_not_divide_name_the_layer():
    inputs = keras.Input((8, 8, 12))
    with pytest.raises(ValueError, match=r"'conv5', which has 12 .* work there: 1, 2, 4\.$"):
        convolution(16, 3, groups=8, name="conv5")(inputs)
