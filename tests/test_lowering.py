"""The lowering that is chosen in each context, and that it works there."""

import os
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots import lowering
from keras_roots.layers import GroupedConv2D
from tests import reference

GRADIENTS_EQUAL_THE_LOOP = """
import numpy as np
from tests.test_layers import check
for data_format in ("channels_last", "channels_first"):
    for dtype in {dtypes}:
        for compiled in (False, True):
            check(
                dict(groups=4, channels_per_group=2, filters_per_group=3, kernel_size=(3, 3),
                     strides=(2, 1), dilation_rate=(1, 1), padding="same", size=(7, 8),
                     data_format=data_format, dtype=dtype, batch=2, seed=1),
                compiled=compiled, stock=False)
"""


def python(program, **environment):
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def operations(function, *arguments):
    graph = function.get_concrete_function(*arguments).graph
    return [operation.type for operation in graph.get_operations()]


@pytest.fixture(name="layer")
def make_layer():
    layer = GroupedConv2D(8, 3, groups=4)
    layer.build((None, 8, 8, 8))
    return layer


def test_one_convolution_where_tensorflow_can_differentiate_it(layer):
    images = tf.Variable(tf.zeros((2, 8, 8, 8)))
    kernel = tf.zeros((3, 3, 2, 8))
    try:
        with tf.GradientTape() as tape:
            outputs = tf.nn.conv2d(images, kernel, 1, "VALID")
        tape.gradient(outputs, images)
        expected = 1
    except tf.errors.InvalidArgumentError:
        expected = 4
    traced = tf.function(lambda x: layer(x))
    assert operations(traced, images.value()).count("Conv2D") == expected


def test_split_inside_an_xla_compilation_on_a_cpu(layer):
    images = tf.zeros((2, 8, 8, 8))
    compiled = tf.function(lambda x: layer(x), jit_compile=True)
    with tf.device("/CPU:0"):
        assert operations(compiled, images).count("Conv2D") == 4


@pytest.mark.parametrize(("name", "convolutions"), [("native", 1), ("split", 4)])
def test_forced(layer, name, convolutions):
    images = tf.zeros((2, 8, 8, 8))
    with lowering.forced(name):
        assert operations(tf.function(lambda x: layer(x)), images).count("Conv2D") == convolutions
    assert lowering._forced.get() is None


def test_forced_to_something_unknown():
    with (
        pytest.raises(ValueError, match="'native' or 'split'.*'fast'"),
        lowering.forced("fast"),
    ):
        pass


def test_half_precision_is_computed_in_float32_where_native_lacks_it():
    half = GroupedConv2D(8, 3, groups=4, dtype="float16")
    half.build((None, 8, 8, 8))
    images = tf.zeros((2, 8, 8, 8), tf.float16)
    with tf.device("/CPU:0"):
        graph = tf.function(lambda x: half(x)).get_concrete_function(images).graph
    types = {op.inputs[0].dtype for op in graph.get_operations() if op.type == "Conv2D"}
    assert types == {tf.float32}


def published_layers():
    """Kernel size, channels, filters and groups of every grouped layer of the paper's networks."""
    found = set()
    for network, degrees in {
        "resnet50": (2, 4, 8, 16, 32, 64),
        "resnet200": (2, 4, 8, 16, 32, 64),
        "googlenet": (2, 4, 8, 16),
        "nin": (2, 4, 8, 16),
        "alexnet": (2, 4, 8, 16),
    }.items():
        for degree in degrees:
            for layer in keras_roots.build(network, root=degree).layers:
                if isinstance(layer, GroupedConv2D):
                    channels = layer.kernel.shape[2] * layer.groups
                    found.add((*layer.kernel_size, channels, layer.filters, layer.groups))
    return sorted(found)


@pytest.mark.slow
def test_every_lowering_of_every_published_layer_is_the_loop():
    rng = np.random.default_rng(0)
    layers = published_layers()
    assert len(layers) > 50
    for height, width, channels, filters, groups in layers:
        kernel = rng.normal(size=(height, width, channels // groups, filters))
        x = rng.normal(size=(1, 4, 3, channels))
        expected, *_ = reference.grouped_convolution(x, kernel, np.ones, (1, 1), "same", (1, 1))
        for way in ("native", "split", *lowering.packings(groups)):
            actual = lowering.convolve(
                tf.constant(x, tf.float32),
                tf.constant(kernel, tf.float32),
                (1, 1),
                "same",
                (1, 1),
                "channels_last",
                way,
            )
            error = np.abs(actual - expected).max() / np.abs(expected).max()
            assert error < 1e-5, (height, width, channels, filters, groups, way)


@hypothesis.given(
    into=st.integers(1, 4),
    merged=st.integers(1, 4),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
)
def test_packed_is_the_loop(into, merged, channels, filters):
    groups = into * merged
    rng = np.random.default_rng(groups)
    kernel = rng.normal(size=(3, 2, channels, groups * filters))
    x = rng.normal(size=(2, 6, 5, groups * channels))
    expected, *_ = reference.grouped_convolution(x, kernel, np.ones, (1, 1), "same", (1, 1))
    packed = lowering.pack(tf.constant(kernel), groups, into)
    assert packed.shape == (3, 2, channels * merged, groups * filters)
    assert np.count_nonzero(packed) == kernel.size
    outputs = lowering.convolve(
        tf.constant(x, tf.float32),
        tf.constant(kernel, tf.float32),
        (1, 1),
        "same",
        (1, 1),
        "channels_last",
        f"packed-{into}",
    )
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


@hypothesis.given(
    stride=st.integers(1, 3),
    blocks=st.tuples(st.integers(3, 5), st.integers(3, 5)),
    kernel=st.tuples(st.integers(2, 6), st.integers(1, 6)),
    padding=st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
    channels=st.integers(1, 3),
)
def test_folded_is_the_loop(stride, blocks, kernel, padding, channels):
    size = [n * stride for n in blocks]
    hypothesis.assume(all(n + sum(p) >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, *size, channels)), rng.normal(size=(*kernel, channels, 4))
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    expected, *_ = reference.grouped_convolution(
        padded, weights, np.ones, (stride, stride), "valid", (1, 1)
    )
    assert lowering.foldable(x.shape, weights.shape, (stride, stride), (1, 1))
    actual = lowering.folded(
        tf.constant(x, tf.float32), weights.astype(np.float32), stride, padding
    )
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_what_cannot_be_folded():
    image, kernel = (1, 8, 8, 3), (3, 3, 3, 4)
    assert lowering.foldable(image, kernel, (2, 2), (1, 1))
    assert not lowering.foldable(image, kernel, (2, 1), (1, 1))
    assert not lowering.foldable(image, kernel, (2, 2), (2, 2))
    assert not lowering.foldable((1, 9, 8, 3), kernel, (2, 2), (1, 1))
    assert not lowering.foldable((1, 8, 8, 6), kernel, (2, 2), (1, 1))
    assert not lowering.foldable(image, (1, 3, 3, 4), (2, 2), (1, 1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fast", "'native', 'split' or 'packed-N'.*'fast'"),
        ("packed-", "'native', 'split' or 'packed-N'.*'packed-'"),
        ("packed-0", "'native', 'split' or 'packed-N'"),
        ("packed-3", "8 filter groups cannot be packed into 3: expected a divisor of 8"),
    ],
)
def test_lowerings_that_are_none(name, message):
    image, kernel = tf.zeros((1, 4, 4, 8)), tf.zeros((3, 3, 1, 8))
    with pytest.raises(ValueError, match=message):
        lowering.convolve(image, kernel, (1, 1), "same", (1, 1), "channels_last", name)
    assert lowering.packings(8) == ["packed-1", "packed-2", "packed-4"]


def test_an_accelerator_takes_native(monkeypatch):
    monkeypatch.setattr(lowering, "_device_type", lambda inputs: "GPU")
    for dtype in (tf.float16, tf.float32, tf.float64):
        assert lowering.choose(tf.zeros((1, 8, 8, 8), dtype), "channels_first") == "native"


def test_the_device_scope_is_seen_inside_a_function():
    seen = []

    @tf.function
    def function(x):
        with tf.device("/CPU:0"):
            seen.append(lowering._device_type(x))
        with tf.device("/GPU:0"):
            seen.append(lowering._device_type(x))
        return x

    function.get_concrete_function(tf.zeros(1))
    assert seen == ["CPU", "GPU"]


def test_without_tensorflows_private_symbols_native_is_taken(monkeypatch):
    from tensorflow.python.ops import control_flow_util

    monkeypatch.delattr(control_flow_util, "GraphOrParentsInXlaContext")
    assert lowering._inside_xla() is False


def test_fit_compiled_by_xla():
    model = keras.Sequential([keras.Input((8, 8, 4)), GroupedConv2D(8, 3, groups=4)])
    model.compile("sgd", "mse", jit_compile=True)
    images = np.ones((4, 8, 8, 4), np.float32)
    history = model.fit(images, np.zeros((4, 6, 6, 8)), epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_distributed_over_two_replicas():
    program = """
import keras, numpy as np, tensorflow as tf
from keras_roots.layers import GroupedConv2D
from keras_roots.normalization import FusedBatchNormalization
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential(
        [keras.Input((8, 8, 4)), GroupedConv2D(8, 3, groups=4), FusedBatchNormalization()])
    model.compile("sgd", "mse")
images = np.random.default_rng(0).normal(size=(4, 8, 8, 4))
history = model.fit(images, np.ones((4, 6, 6, 8)), epochs=3, verbose=0)
assert history.history["loss"][-1] < history.history["loss"][0]
"""
    python(program)


def test_without_onednn():
    program = GRADIENTS_EQUAL_THE_LOOP.format(dtypes="('float32', 'bfloat16')")
    program += """
import tensorflow as tf
from keras_roots import lowering
assert lowering.choose(tf.zeros((1, 8, 8, 8)), "channels_last") == "split"
"""
    python(program, TF_ENABLE_ONEDNN_OPTS="0")


def test_another_backend_goes_through_keras_without_tensorflow():
    program = """
import sys
import keras, numpy as np
from keras_roots.layers import GroupedConv2D
from tests import reference
import keras_roots

rng = np.random.default_rng(0)
x, kernel = rng.normal(size=(2, 7, 7, 8)), rng.normal(size=(3, 3, 2, 12))
layer = GroupedConv2D(12, 3, groups=4)
layer.build(x.shape)
layer.set_weights([kernel, np.zeros(12)])
expected, *_ = reference.grouped_convolution(x, kernel, np.ones, (1, 1), "valid", (1, 1))
np.testing.assert_allclose(layer(x.astype("float32")), expected, atol=1e-4)
model = keras_roots.RootNIN(root=4)
assert keras_roots.cost(model, convention="paper").macs == 123_397_514
assert model.predict(np.zeros((1, 32, 32, 3)), verbose=0).shape == (1, 10)
assert "tensorflow" not in sys.modules
"""
    pytest.importorskip("jax")
    python(program, KERAS_BACKEND="jax")
