"""Analyses of networks, against direct computations."""

import tracemalloc

import keras
import numpy as np
import pytest

from keras_roots import analysis
from keras_roots.layers import Conv2D, GroupedConv2D
from tests.processes import python
from tests.reference import whitened_covariance
from tests.sample_models import elaborate_model, small_model


def strided_network():
    """Maps of 9x7, 5x4 (no divisors) and 1x1; a grouped convolution behind zero padding."""
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="tanh", name="first")(inputs)
    x = keras.layers.ZeroPadding2D(1, name="pad")(x)
    x = GroupedConv2D(4, 3, strides=2, groups=2, name="grouped")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="scores")(x), name="strided")


def images(count, shape=(9, 7, 3), seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def outputs(model, name, batch):
    part = keras.Model(model.input, model.get_layer(name).output)
    return np.asarray(part(batch, training=False))


def test_a_network_against_numpy():
    model, batch = strided_network(), images(11)
    pairs = [("first", "grouped"), ("grouped", "pooled"), ("scores", "norm")]
    found = analysis.analyze(model, batch, pairs=pairs, layers=["first", "pooled"], batch_size=4)
    assert found.images == 11
    assert [(each.first, each.second) for each in found.covariances] == pairs
    for each, pixels in zip(found.covariances, (63, 20, 20), strict=True):
        first, second = (
            maps.reshape(11, *((1, 1) if maps.ndim == 2 else maps.shape[1:3]), -1)
            for maps in (outputs(model, each.first, batch), outputs(model, each.second, batch))
        )
        assert each.samples == 11 * pixels
        assert each.own_samples == tuple(maps[..., 0].size for maps in (first, second))
        assert np.allclose(each.matrix, whitened_covariance(first, second), atol=1e-5)
    for each in found.correlations:
        responses = outputs(model, each.layer, batch)
        expected = np.corrcoef(responses.reshape(-1, responses.shape[-1]).T)
        assert np.allclose(each.matrix, expected, atol=1e-6)
    assert [each.groups for each in found.covariances] == [2, 1, 1]


def test_by_default_what_grouped_convolutions_read_and_give():
    planned = analysis.plan(strided_network())
    assert planned.pairs == (("first", "grouped"),)
    assert planned.layers == ("grouped",)
    # Without groups, the convolutions that could have some.
    assert analysis.plan(small_model()).pairs == (("conv0", "conv1"), ("conv1", "conv2"))
    inputs = keras.Input((8, 8, 3), name="picture")
    on_image = keras.Model(inputs, GroupedConv2D(6, 3, groups=3, name="a")(inputs))
    with pytest.raises(ValueError, match="Give pairs="):  # It is depthwise.
        analysis.plan(on_image)
    assert analysis.plan(on_image, pairs=[("picture", "a")]).pairs == (("picture", "a"),)


def test_what_a_pass_gives_does_not_depend_on_the_batches():
    model, batch = strided_network(), images(11)
    whole = analysis.analyze(model, batch, batch_size=11)
    parts = analysis.analyze(model, (batch[n : n + 3] for n in range(0, 11, 3)))
    for one, other in zip(whole.arrays().items(), parts.arrays().items(), strict=True):
        assert one[0] == other[0]
        assert np.allclose(one[1], other[1], atol=1e-6)


def test_memory_does_not_depend_on_the_number_of_images():
    model = strided_network()
    planned = analysis.plan(model)

    def peak(batches):
        made = (images(16, seed=n) for n in range(batches))
        tracemalloc.start()
        try:
            analysis.run(planned, made)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(3)  # The first run traces the function.
    few, many = peak(5), peak(60)
    # All responses of 55 batches would be 13 MB more as float64.
    assert many < few + 1_000_000


def test_layers_inside_of_nested_models():
    inner = keras.Input((8, 8, 4))
    x = GroupedConv2D(8, 3, groups=2, padding="same", name="grouped")(inner)
    block = keras.Model(inner, keras.layers.ReLU(name="relu")(x), name="block")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = keras.layers.Conv2D(4, 1, name="mix")(block(x)) + x  # One of keras.ops.
    model = keras.Model(inputs, keras.layers.Dropout(0.5, name="dropped")(x), name="nested")
    batch = images(5, (8, 8, 3))
    found = analysis.analyze(model, batch, pairs=[("first", "grouped"), ("relu", "dropped")])
    assert [each.second for each in found.covariances] == ["block/grouped", "dropped"]
    assert found.covariances[0].groups == 2
    first = outputs(model, "first", batch)
    grouped = np.asarray(block.get_layer("grouped")(first))
    assert np.allclose(found.covariances[0].matrix, whitened_covariance(first, grouped), atol=1e-5)
    relu, dropped = np.maximum(grouped, 0), outputs(model, "dropped", batch)
    assert np.allclose(found.covariances[1].matrix, whitened_covariance(relu, dropped), atol=1e-4)
    assert analysis.plan(model).pairs == (("first", "block/grouped"),)


def test_a_model_that_is_analysed_is_as_before():
    model, batch = strided_network(), images(8)
    before = [len(layer._inbound_nodes) for layer in model.layers], model.to_json()
    weights = [w.tobytes() for w in model.get_weights()]
    analysis.analyze(model, batch)
    assert ([len(layer._inbound_nodes) for layer in model.layers], model.to_json()) == before
    assert [w.tobytes() for w in model.get_weights()] == weights


def test_filters_that_never_respond_are_left_out_and_reported():
    model, batch = strided_network(), images(12)
    kernel, bias = model.get_layer("first").get_weights()
    kernel[..., 1] = 0
    kernel[..., 4], bias[4] = kernel[..., 2], bias[2]
    model.get_layer("first").set_weights([kernel, bias])
    found = analysis.analyze(model, batch)
    (each,) = found.covariances
    assert (each.constant, each.dependent) == ((1, 0), (1, 0))
    assert np.allclose(each.matrix[1], 0, atol=1e-12)
    assert np.allclose(each.matrix[4], each.matrix[2])
    assert found.notes() == [
        "first: 1 of 6 filters never respond",
        "first: 1 of 6 filters depend on others",
    ]


def test_too_few_images_are_refused_before_anything_is_computed():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(37, 3, strides=4, padding="same", name="first")(inputs)
    x = keras.layers.Conv2D(10, 3, padding="same", name="second")(x)
    model = keras.Model(inputs, x, name="wide")
    for weights in model.weights:
        weights.assign(np.full(weights.shape, np.nan))  # Which raise once they are used.
    message = (
        "37 filters of 'first' of 'wide', whose map is 2x2: 10 or more are needed. Received: 9"
    )
    with pytest.raises(ValueError, match=message):
        analysis.analyze(model, images(9, (8, 8, 3)))
    assert analysis.plan(model).images_needed() == 10
    with pytest.raises(RuntimeError, match="'first' are not finite"):
        analysis.analyze(model, images(10, (8, 8, 3)))


def test_too_few_images_of_unknown_number_are_refused_afterwards():
    inputs = keras.Input((1, 1, 3))
    x = keras.layers.Conv2D(9, 1, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1, name="second")(x))
    batch, pairs = images(10, (1, 1, 3)), [("first", "second")]
    with pytest.raises(ValueError, match="10 or more are needed. Received: 9"):
        analysis.analyze(model, iter([batch[:5], batch[5:9]]), pairs=pairs)
    found = analysis.analyze(model, iter([batch[:5], batch[5:]]), pairs=pairs)
    assert found.covariances[0].dependent == (6, 1)  # Of three colours.


def dense_network():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs), name="flat")


def two_inputs():
    one, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Add()([one, other]))
    return keras.Model([one, other], keras.layers.Conv2D(4, 3)(x), name="two")


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (dense_network, {}, "'flat' has no convolution"),
        (two_inputs, {}, "one input. 'two' has 2"),
        (elaborate_model, {}, "one input. 'elaborate' has 3"),
        (strided_network, {"layers": ["frist"]}, "no layer 'frist'. Did you mean 'first'?"),
        (strided_network, {"pairs": [("first", "zzz")]}, "no layer 'zzz'.$"),
        (strided_network, {"pairs": ["first"]}, "two layers' names. Received: 'first'"),
        (strided_network, {"pairs": [("a", "b", "c")]}, "Received: \\('a', 'b', 'c'\\)"),
        (strided_network, {"pairs": []}, "a pair or a layer to analyse. Received: none"),
        (strided_network, {"image_shape": (9, 8, 3)}, "takes images of \\(9, 7, 3\\). Received"),
    ],
)
def test_what_cannot_be_analysed(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        analysis.plan(model(), **arguments)


def test_images_and_layers_that_cannot_be_analysed():
    model = strided_network()
    with pytest.raises(ValueError, match="batch_size of 1 or more. Received: 0"):
        analysis.analyze(model, images(3), batch_size=0)
    for nothing in (images(0), iter([])):
        with pytest.raises(ValueError, match="one image or more. Received: none"):
            analysis.analyze(model, nothing)
    with pytest.raises(ValueError, match="takes images of .9, 7, 3.. Received: .8, 8, 3."):
        analysis.analyze(model, images(3, (8, 8, 3)))
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 5, name="a")(inputs)
    x = keras.layers.Conv2D(4, 3, name="b")(x)
    sequence = keras.layers.Reshape((-1, 4), name="sequence")(x)
    model = keras.Model(inputs, sequence, name="open")
    with pytest.raises(ValueError, match="leaves its image size open"):
        analysis.plan(model)
    with pytest.raises(ValueError, match="does not take images of .4, 4, 3."):
        analysis.plan(model, image_shape=(4, 4, 3))
    with pytest.raises(ValueError, match="feature maps or vectors. Received: 'sequence'"):
        analysis.plan(model, layers=["sequence"], image_shape=(9, 9, 3))
    assert analysis.analyze(model, images(4, (8, 9, 3))).covariances[0].matrix.shape == (4, 4)
    block = keras.Sequential([keras.Input((9, 7, 3)), keras.layers.Conv2D(3, 1, name="a")])
    inputs = keras.Input((9, 7, 3))
    other = keras.Sequential([keras.Input((9, 7, 3)), keras.layers.Conv2D(3, 1, name="a")])
    model = keras.Model(inputs, other(block(inputs)), name="twice")
    with pytest.raises(ValueError, match="several layers 'a'. Give one of: .*/a, .*/a"):
        analysis.plan(model, pairs=[], layers=["a"])


def test_channels_first_is_the_same():
    def network(data_format):
        inputs = keras.Input((5, 6, 3) if data_format == "channels_last" else (3, 5, 6))
        # Ours: without oneDNN, TensorFlow's kernels compute channels last only.
        x = Conv2D(4, 3, data_format=data_format, name="a")(inputs)
        return keras.Model(inputs, Conv2D(6, 3, data_format=data_format, name="b")(x))

    last, first = network("channels_last"), network("channels_first")
    first.set_weights(last.get_weights())
    batch = images(9, (5, 6, 3))
    expected = analysis.analyze(last, batch)
    found = analysis.analyze(first, batch.transpose(0, 3, 1, 2))
    assert expected.covariances[0].matrix.shape == (4, 6)
    assert np.allclose(found.covariances[0].matrix, expected.covariances[0].matrix, atol=1e-5)


def test_on_jax():
    pytest.importorskip("jax")
    program = """
import sys
import numpy as np, keras
from keras_roots import analysis
inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(4, 3, name="first", padding="same")(inputs)
x = keras.layers.Conv2D(8, 3, groups=2, name="grouped", padding="same")(x)
model = keras.Model(inputs, x)
rng = np.random.default_rng(0)
for variable in model.weights:
    variable.assign(rng.normal(size=variable.shape))
batch = rng.normal(size=(12, 8, 8, 3)).astype("float32")
found = analysis.analyze(model, batch, batch_size=5).covariances[0]
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
print(*found.matrix.ravel())
"""
    entries = python(program, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu").split()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="first", padding="same")(inputs)
    x = keras.layers.Conv2D(8, 3, groups=2, name="grouped", padding="same")(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    batch = rng.normal(size=(12, 8, 8, 3)).astype("float32")
    expected = whitened_covariance(outputs(model, "first", batch), outputs(model, "grouped", batch))
    assert np.allclose(np.array(entries, float).reshape(4, 8), expected, atol=1e-5)
