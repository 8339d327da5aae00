"""Which lowering is chosen in each context, and that it works there."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots import lowering
from keras_roots.layers import Conv2D, GroupedConv2D
from keras_roots.lowering import choice, contexts, report, ways
from keras_roots.lowering.passes import DIRECTIONS
from tests.lowering import lowerings
from tests.processes import python

GRADIENTS_EQUAL_THE_LOOP = """
import numpy as np
from tests.layers.test_convolution import check
for data_format in ("channels_last", "channels_first"):
    for dtype in {dtypes}:
        for groups in (1, 4):
            check(
                dict(groups=groups, channels_per_group=2, filters_per_group=3, kernel_size=(3, 3),
                     strides=(2, 1), dilation_rate=(1, 1), padding="same", size=(7, 8),
                     data_format=data_format, dtype=dtype, batch=2, seed=1),
                stock=False)
"""


def operations(function, *arguments):
    graph = function.get_concrete_function(*arguments).graph
    return [operation.type for operation in graph.get_operations()]


@pytest.fixture(name="layer")
def make_layer():
    layer = GroupedConv2D(8, 3, groups=4)
    layer.build((None, 8, 8, 8))
    return layer


def differentiates(dtype):
    """Whether TensorFlow's own grouped convolution has a gradient here."""
    images, kernel = tf.Variable(tf.zeros((2, 8, 8, 8), dtype)), tf.zeros((3, 3, 2, 8), dtype)
    try:
        with tf.device("/CPU:0"), tf.GradientTape() as tape:
            outputs = tf.nn.conv2d(images, kernel, 1, "VALID")
        tape.gradient(outputs, images)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.AbortedError):
        return False
    return True


def convolutions(dtype):
    """Of a layer's graph: the types that are computed, and whether there are filter groups."""
    layer = GroupedConv2D(8, 3, groups=4, dtype=dtype)
    layer.build((None, 8, 8, 8))
    with tf.device("/CPU:0"):
        traced = tf.function(lambda x: layer(x))
        graph = traced.get_concrete_function(tf.zeros((2, 8, 8, 8), dtype)).graph
    found = [op.inputs for op in graph.get_operations() if op.type == "Conv2D"]
    assert found
    grouped = any(images.shape[-1] != kernel.shape[-2] for images, kernel in found)
    return {images.dtype.name for images, _ in found}, grouped


def test_a_grouped_convolution_where_tensorflow_can_differentiate_it():
    assert convolutions("float32") == ({"float32"}, differentiates("float32"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32_where_native_lacks_it(dtype):
    types, _ = convolutions(dtype)
    assert types == {dtype if differentiates(dtype) else "float32"}


def test_no_grouped_convolution_inside_an_xla_compilation_on_a_cpu(layer):
    images = tf.zeros((2, 8, 8, 8))
    compiled = tf.function(lambda x: layer(x), jit_compile=True)
    with tf.device("/CPU:0"):
        assert operations(compiled, images).count("Conv2D") == 0  # Taps, of two channels each.


@pytest.mark.parametrize(
    ("name", "convolutions"), [("native", 1), ("split", 4), ("packed-2-split", 2), ("taps", 0)]
)
def test_forced(layer, name, convolutions):
    images = tf.zeros((2, 8, 8, 8))
    with lowering.forced(name):
        assert operations(tf.function(lambda x: layer(x)), images).count("Conv2D") == convolutions
    assert choice._forced.get() is None


def test_what_cannot_be_forced_or_traced_for(layer):
    with pytest.raises(ValueError, match="'native', 'split'.*'fast'"), lowering.forced("fast"):
        pass
    with (
        pytest.raises(ValueError, match="tensorflow-cpu, xla-cpu, accelerator.*'gpu'"),
        lowering.traced_for("gpu"),
    ):
        pass
    with lowering.forced("packed-3"), pytest.raises(ValueError, match="a divisor of 4"):
        layer(tf.zeros((2, 8, 8, 8)))


def test_a_layers_own_lowering_goes_before_the_choice_and_into_its_configuration(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
    model = keras.Sequential(
        [keras.Input((8, 8, 8)), GroupedConv2D(8, 3, groups=4, lowering="split")]
    )
    assert operations(tf.function(lambda x: model(x)), tf.constant(images)).count("Conv2D") == 4
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.layers[0].lowering == "split"
    stock = keras_roots.to_stock(loaded)
    assert type(stock.layers[0]) is keras.layers.Conv2D
    np.testing.assert_allclose(stock(images), model(images), atol=1e-5)
    assert "lowering" not in GroupedConv2D(8, 3, groups=4).get_config()
    with pytest.raises(ValueError, match="a divisor of 4"):
        GroupedConv2D(8, 3, groups=4, lowering="packed-3")


def test_a_function_traced_outside_xla_keeps_its_lowering_inside_unless_told(layer):
    """The trap for exporters, and the way round it."""
    images = tf.zeros((2, 8, 8, 8))
    plain = tf.function(lambda x: layer(x))
    before = operations(plain, images)
    inside = tf.function(lambda x: plain(x), jit_compile=True)
    inside(images)
    assert operations(plain, images) == before
    with lowering.traced_for("xla-cpu"):
        told = tf.function(lambda x: layer(x))
        assert "Conv2D" not in operations(told, images)


def test_an_accelerator_takes_native_until_something_is_measured_there(monkeypatch):
    monkeypatch.setattr(choice, "_device_type", lambda inputs: "GPU")
    for dtype in (tf.float16, tf.float32, tf.float64):
        for data_format in ("channels_last", "channels_first"):
            plan = plan_of(data_format, dtype)
            assert (plan.uniform, plan.forward, plan.plain) == (True, "native", False)


def plan_of(data_format, dtype=tf.float32):
    layer = GroupedConv2D(8, 3, groups=4, data_format=data_format)
    inputs = tf.zeros((1, 8, 8, 8), dtype)
    return choice.plan(inputs, layer.shape_on(inputs.shape), ways.Geometry(data_format=data_format))


def test_the_device_scope_is_seen_inside_a_function():
    seen = []

    @tf.function
    def function(x):
        with tf.device("/CPU:0"):
            seen.append(choice._device_type(x))
        with tf.device("/GPU:0"):
            seen.append(choice._device_type(x))
        return x

    function.get_concrete_function(tf.zeros(1))
    assert seen == ["CPU", "GPU"]


def test_without_tensorflows_private_symbols_native_is_taken(monkeypatch):
    from tensorflow.python.ops import control_flow_util

    monkeypatch.delattr(control_flow_util, "GraphOrParentsInXlaContext")
    assert choice._inside_xla() is False


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
from keras_roots.layers.normalization import FusedBatchNormalization
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
import keras_roots
from keras_roots.export import inference_function
from tests.sample_models import randomized
model = randomized(keras_roots.RootNIN(root=8))
images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
expected = model.predict(images, verbose=0)
found = inference_function(model, jit_compile=False)(images)
np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
"""
    python(program, TF_ENABLE_ONEDNN_OPTS="0")


def test_where_onednn_refuses_what_tensorflow_believes_in():
    """On x86 with AVX-512, TensorFlow asks the processor, and oneDNN the variable too."""
    program = GRADIENTS_EQUAL_THE_LOOP.format(dtypes="('bfloat16', 'float16')")
    program += """
from tests.layers import test_normalization
from tests.training import test_steps
for policy in ("mixed_bfloat16", "mixed_float16"):
    test_normalization.assert_same_training(policy)
# With stock layers that pool and multiply matrices.
steps = test_steps.made(model="vgg11", image_size=32, resize=32, precision="bfloat16")
assert steps.model.get_layer("block1_conv1").compute_dtype == "bfloat16"
assert np.isfinite(test_steps.train(steps, test_steps.batch(size=32))).all()
"""
    python(program, ONEDNN_MAX_CPU_ISA="AVX2")


def test_every_choice_for_every_published_layer_is_possible():
    shapes = [shape for shape, _ in lowerings.rows()]
    assert any(shape.groups > 1 for shape in shapes)
    for shape, context, direction in itertools.product(shapes, contexts.KERAS, DIRECTIONS):
        chosen = choice.choose_here(shape, context, direction)
        ways.check(chosen.lowering, shape.groups)
        possible = choice.candidates(shape, context, direction)
        assert chosen.lowering in possible or "without oneDNN" in chosen.reason
        assert chosen.reason


def test_explain_names_the_layers_own_and_shares_rows():
    inputs = keras.Input((8, 8, 8))
    x = GroupedConv2D(8, 3, groups=4, padding="same", lowering="split", name="own")(inputs)
    x = Conv2D(8, 3, padding="same", name="dense")(x)  # Keras's own in all passes.
    for name in ("one", "two"):
        x = Conv2D(8, 1, name=name)(x)
    explained = lowering.explain(keras.Model(inputs, x))
    assert [each.layer for each in explained] == ["own", "one", "two"]
    assert explained[0].choices["forward"] == contexts.Choice("split", "the layer's own")
    rows = report.table(explained).rows
    assert [row[0] for row in rows] == ["own"] * 3 + ["one and 1 more"] * 3
    with pytest.raises(ValueError, match="Expected a context of: tensorflow-cpu"):
        lowering.explain(keras.Model(inputs, x), "gpu")
