"""tf-keras's convolutions while they are computed as ours are, or as TensorFlow's operator."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_roots import layers
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fast_convolutions import convolutions, fast, native
from keras_roots.compression.legacy import libraries
from tests.reference import grouped_convolution
from tests.round_trips import IMAGE, draw


@st.composite
def cases(draw):
    """All that TensorFlow has; strides and dilation exclude each other."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    strides, dilation = draw(st.sampled_from([(pair, st.just((1, 1))), (st.just((1, 1)), pair)]))
    return {
        "groups": draw(st.sampled_from([1, 2, 3, 4])),
        "channels_per_group": draw(st.integers(1, 3)),
        "filters_per_group": draw(st.integers(1, 3)),
        "kernel_size": draw(pair),
        "strides": draw(strides),
        "dilation_rate": draw(dilation),
        "padding": draw(st.sampled_from(["same", "valid"])),
        "use_bias": draw(st.booleans()),
        "size": draw(st.tuples(st.integers(7, 9), st.integers(7, 9))),
        "batch": draw(st.integers(1, 2)),
        "seed": draw(st.integers(0, 2**16)),
    }


def attributes(model):
    return [dict(vars(layer)) for layer in model.layers]


def check(case):
    """Against a NumPy loop, as it is and inside both contexts; those leave nothing behind."""
    rng = np.random.default_rng(case["seed"])
    groups = case["groups"]
    channels, filters = groups * case["channels_per_group"], groups * case["filters_per_group"]
    names = ("kernel_size", "strides", "dilation_rate", "padding", "use_bias", "groups")
    layer = layers.Conv2D(filters, **{name: case[name] for name in names})
    model = draw(keras.Sequential([keras.Input((*case["size"], channels)), layer]), case["seed"])
    kernel, *biases = (np.asarray(weight, np.float64) for weight in model.get_weights())
    bias = biases[0] if biases else np.zeros(filters)
    images = rng.normal(size=(case["batch"], *case["size"], channels)).astype(np.float32)
    cotangent = rng.normal(size=(case["batch"], *layer.output.shape[1:])).astype(np.float32)
    outputs, of_images, of_kernel = grouped_convolution(
        images.astype(np.float64),
        kernel,
        lambda shape: cotangent.reshape(shape).astype(np.float64),
        case["strides"],
        case["padding"],
        case["dilation_rate"],
    )
    wanted = [outputs + bias, of_images, of_kernel, cotangent.astype(np.float64).sum((0, 1, 2))]

    legacy = to_legacy(model).legacy
    (convolution,) = convolutions(legacy)
    assert (convolution.groups, tuple(convolution.kernel.shape)) == (groups, kernel.shape)
    before = attributes(legacy)

    def agree(actual):
        for mine, theirs in zip(actual, wanted, strict=False):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * max(1, abs(theirs).max()))

    agree([legacy(images)])
    with native(legacy):
        agree([legacy(images)])
    with fast(legacy):
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            made = legacy(x, training=True)
        variables = [x, *legacy.trainable_variables]
        agree([made, *tape.gradient(made, variables, output_gradients=cotangent)])
    assert attributes(legacy) == before


@given(cases())
def test_convolutions_and_their_gradients_equal_a_numpy_loop(case):
    check(case)


@pytest.mark.slow
@given(cases())
@settings(max_examples=300, derandomize=False)
def test_many_random_convolutions_equal_a_numpy_loop(case):
    check(case)


def operators(model):
    """Of the graph of a call, and of the functions that it calls."""
    graph = tf.function(model).get_concrete_function(tf.ones((1, *IMAGE))).graph.as_graph_def()
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    return [node.op for node in itertools.chain(*nodes)]


def test_convolutions_in_wrappers_are_found_and_let_go():
    layers_of = libraries().keras.layers
    prune = libraries().tfmot.sparsity.keras.prune_low_magnitude
    inputs = libraries().keras.Input(IMAGE)
    x = prune(layers_of.Conv2D(4, 3, groups=2, name="grouped"))(inputs)
    model = libraries().keras.Model(inputs, layers_of.Conv2D(4, 3, name="dense")(x))
    found = convolutions(model)
    assert [layer.name for layer in found] == ["grouped", "dense"]
    before = [dict(vars(layer)) for layer in found]
    compiled = [op for op in operators(model) if op.endswith("PartitionedCall")]
    assert compiled  # With XLA, which is slow.
    ours = keras.Sequential(
        [keras.Input(IMAGE), layers.GroupedConv2D(4, 3, groups=2), layers.Conv2D(4, 3)]
    )
    # One for each layer, or as many as our layers take: without oneDNN, groups become several.
    for context, count in ((native, 2), (fast, operators(ours).count("Conv2D"))):
        with context(model):
            inside = operators(model)
        assert inside.count("Conv2D") == count
        assert not [op for op in inside if op.endswith("PartitionedCall")]
        with pytest.raises(RuntimeError, match="mine"), context(model):
            raise RuntimeError("mine")
        assert [dict(vars(layer)) for layer in found] == before
    assert [op for op in operators(model) if op.endswith("PartitionedCall")] == compiled
