import itertools
import math

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots import cost, graph, plan, rootify, warm_start
from keras_roots.rootify import _plan

SLOW = ("resnet101", "resnet101v2", "resnet152", "resnet152v2", "resnet200", "vgg16", "vgg19")
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in keras_roots.list_models()
]


def groups_of(model):
    return {layer.name: layer.groups for layer in model.layers if hasattr(layer, "groups")}


def quietly(model, *args, **kwargs):
    return rootify(model, *args, report=None, **kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_a_rootified_dense_network_is_the_root_network(name):
    dense = keras_roots.build(name, root=1, include_top=False)
    for root in (2, 16, keras_roots.column(4)):
        rooted, built = quietly(dense, root), keras_roots.build(name, root=root, include_top=False)
        assert groups_of(rooted) == groups_of(built)
        assert [layer.name for layer in rooted.layers[1:]] == [
            layer.name for layer in built.layers[1:]
        ]
        shape = None if name != "alexnet" else (227, 227, 3)
        for convention in ("plain", "paper"):
            ours, theirs = (cost(each, convention, shape) for each in (rooted, built))
            assert (ours.parameters, ours.macs) == (theirs.parameters, theirs.macs)


@pytest.mark.slow
@pytest.mark.parametrize("name", keras_roots.list_models())
def test_with_its_top_too(name):
    rooted = quietly(keras_roots.build(name, root=1), 8)
    built = keras_roots.build(name, root=8)
    assert groups_of(rooted) == groups_of(built)
    assert rooted.count_params() == built.count_params()
    assert cost(rooted).macs == cost(built).macs


def keras_applications():
    """Every network of keras.applications: a function with `include_top`."""
    found = {
        name: function
        for name, function in vars(keras.applications).items()
        if callable(function) and name[0].isupper()
    }
    assert len(found) >= 38
    return found


# Depthwise or separable but for the first convolution, which is on the image.
NOTHING_TO_GROUP = {
    *(f"EfficientNetB{n}" for n in range(8)),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile"),
}


def check_application(name, tmp_path):
    """A rootified network builds, costs less, keeps names and shapes, saves and loads."""
    model = getattr(keras.applications, name)(weights=None)
    if name in NOTHING_TO_GROUP:
        with pytest.raises(ValueError, match="nothing to group with root-2.*on the image"):
            quietly(model, 2)
        return
    rooted = quietly(model, 2)
    groups = [getattr(found.layer, "groups", None) for found in graph.convolutions(rooted)]
    assert groups.count(2) == len(plan(model, 2).grouped) > 0
    assert [layer.name for layer in rooted.layers] == [layer.name for layer in model.layers]
    assert rooted.name == model.name
    for ours, theirs in zip(rooted.layers, model.layers, strict=True):
        assert ours.output.shape == theirs.output.shape
    before, after = cost(model), cost(rooted)
    assert after.parameters < before.parameters
    assert after.macs < before.macs
    path = tmp_path / "rooted.keras"
    rooted.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    assert groups == [getattr(found.layer, "groups", None) for found in graph.convolutions(loaded)]
    assert [w.shape for w in loaded.weights] == [w.shape for w in rooted.weights]


@pytest.mark.parametrize("name", ["MobileNetV3Small", "ResNet50", "InceptionV3"])
def test_some_of_keras_applications(name, tmp_path):
    check_application(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(keras_applications()))
def test_every_cnn_of_keras_applications(name, tmp_path):
    check_application(name, tmp_path)


@keras.saving.register_keras_serializable(package="tests")
class Scale(keras.layers.Layer):
    """A custom layer with get_config."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return self.factor * self.gain * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def elaborate_model():
    """Nested models, shared layers, custom and preprocessing ones, several inputs and outputs."""
    normalize = keras.layers.Normalization(name="normalize")
    normalize.adapt(np.random.default_rng(0).normal(3, 2, size=(20, 16, 16, 3)))
    kind = keras.Input((1,), dtype="string", name="kind")
    lookup = keras.layers.StringLookup(output_mode="one_hot", name="lookup")
    lookup.adapt(np.array([["cat"], ["dog"], ["dog"]]))
    left, right = (keras.Input((16, 16, 3), name=name) for name in ("left", "right"))
    inner = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(inner)
    x = keras.layers.Conv2D(8, 3, padding="same", name="second")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    block = keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="a"),
            keras.layers.BatchNormalization(name="a_bn"),
        ],
        name="block",
    )
    x = block(block(x)) + x  # One of keras.ops.
    tower = keras.Model(inner, Scale(0.5, name="scale")(x), name="tower")
    maps = [tower(keras.layers.Rescaling(0.1)(normalize(each))) for each in (left, right)]
    merged = keras.layers.Concatenate(name="merged")(maps)
    merged = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(merged)
    pooled = keras.layers.GlobalAveragePooling2D()(merged)
    both = keras.layers.Concatenate()([pooled, lookup(kind)])
    return keras.Model(
        {"left": left, "right": right, "kind": kind},
        {"class": keras.layers.Dense(3, name="class")(both), "maps": merged},
        name="elaborate",
    )


def elaborate_inputs():
    rng = np.random.default_rng(1)
    images = {
        name: tf.constant(rng.normal(size=(2, 16, 16, 3)), tf.float32) for name in ("left", "right")
    }
    return {**images, "kind": tf.constant([["dog"], ["cat"]])}


def test_an_elaborate_model_survives(tmp_path):
    model = elaborate_model()
    rooted = quietly(model, 4, weights="block-diagonal")
    assert [layer.name for layer in rooted.layers] == [layer.name for layer in model.layers]
    assert rooted.name == "elaborate"
    assert set(rooted.input) == {"left", "right", "kind"}
    tower, block = rooted.get_layer("tower"), rooted.get_layer("tower").get_layer("block")
    # "first" is on the image; level 0 has 16x16 pixels, level 1 8x8, level 2 4x4.
    assert groups_of(tower) == {"first": 1, "second": 4}
    assert groups_of(block) == {"a": 2}
    assert rooted.get_layer("strided").groups == 1
    assert rooted.get_layer("lookup").get_vocabulary() == ["[UNK]", "dog", "cat"]

    # With zeros for what groups leave out, the dense model computes the same.
    for path in ("tower/second", "tower/block/a"):
        dense, grouped = model, rooted
        for name in path.split("/"):
            dense, grouped = dense.get_layer(name), grouped.get_layer(name)
        kernel, bias = dense.get_weights()
        masked = np.zeros_like(kernel)
        size = 8 // grouped.groups
        for g in range(grouped.groups):
            part = slice(g * size, (g + 1) * size)
            masked[:, :, part, part] = kernel[:, :, part, part]
        dense.set_weights([masked, bias])
    inputs = elaborate_inputs()
    expected, actual = model(inputs), rooted(inputs)
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value, atol=1e-5)

    path = tmp_path / "rooted.keras"
    rooted.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)(inputs)
    for key, value in actual.items():
        np.testing.assert_allclose(loaded[key], value, atol=1e-6)


def test_random_weights_are_drawn_and_what_was_adapted_stays():
    model = elaborate_model()
    before = model.get_weights()
    rooted = quietly(model, 4)
    assert rooted.get_layer("lookup").get_vocabulary() == ["[UNK]", "dog", "cat"]
    np.testing.assert_array_equal(
        rooted.get_layer("normalize").mean, model.get_layer("normalize").mean
    )
    kernels = [each.get_layer("strided").get_weights()[0] for each in (model, rooted)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def small_model(filters=(8, 8, 8), image=(16, 16, 3)):
    inputs = x = keras.Input(image)
    for n, f in enumerate(filters):
        x = keras.layers.Conv2D(f, 3, strides=1 + n % 2, padding="same", name=f"conv{n}")(x)
    return keras.Model(inputs, x, name="small")


def test_a_report_of_what_was_grouped_and_what_not():
    printed = []
    model = small_model((8, 12, 12, 5))
    rooted = rootify(model, 4, report=printed.append)
    (text,) = printed
    lines = [line.split() for line in text.splitlines()]
    # conv1 is strided: it belongs to the level of its output, the first with one to group.
    assert ["conv1", "3x3", "8", "12", "2", "4"] in lines
    assert ["conv2", "3x3", "12", "12", "2", "4"] in lines
    assert "1 on the image: conv0" in text
    assert "conv3" not in " ".join(groups_of(rooted)) or rooted.get_layer("conv3").groups == 1
    before, after = model.count_params(), rooted.count_params()
    assert f"Parameters: {before:,} to {after:,}" in text
    assert f"Multiply-accumulates: {cost(model).macs:,} to {cost(rooted).macs:,}" in text


def test_a_layer_whose_channels_do_not_divide_is_skipped_and_reported():
    model = small_model((8, 12, 18))
    planned = plan(model, 4)
    assert [(layer.name, layer.groups) for layer in planned.grouped] == [("conv1", 4)]
    reasons = {layer.name: layer.reason for layer in planned.skipped}
    assert reasons == {
        "conv0": "on the image",
        "conv2": "of 12 channels and 18 filters, which 4 does not divide (1, 2, 3, 6 would)",
    }
    assert "conv2" in str(planned)


def test_an_open_input_size_is_reported():
    printed = []
    rootify(small_model(image=(None, None, 3)), 2, report=printed.append)
    assert "depend on the input size" in printed[0]


def test_layers_to_keep_and_degrees_by_layer():
    model = small_model((8, 8, 8, 8))
    assert groups_of(quietly(model, 4, keep=["conv1"])) == {
        "conv0": 1,
        "conv1": 1,
        "conv2": 4,
        "conv3": 2,
    }
    assert groups_of(quietly(model, 4, degrees={"conv[12]": 2, "conv3": 8})) == {
        "conv0": 1,
        "conv1": 2,
        "conv2": 2,
        "conv3": 8,
    }
    # A layer that the rule would leave can be named.
    image = small_model((8, 8), image=(16, 16, 4))
    assert groups_of(quietly(image, 2, degrees={"conv0": 4})) == {"conv0": 4, "conv1": 2}
    nested = elaborate_model()
    kept = plan(nested, 4, keep=["tower/block/*"])
    assert [layer.name for layer in kept.grouped] == ["tower/second"]
    assert ("tower/block/a", "kept, as asked") in [(s.name, s.reason) for s in kept.skipped]


def test_explicit_degrees_are_one_for_each_level():
    model = small_model((8, 8, 8, 8))
    assert [layer.groups for layer in plan(model, (8, 2)).grouped] == [8, 8, 2]
    with pytest.raises(ValueError, match="one degree for each of the network's 2 levels"):
        plan(model, (8, 4, 2))


def test_a_decoder_has_the_degrees_of_its_encoder():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="in")(inputs)
    skips = []
    for n in range(2):
        x = keras.layers.Conv2D(8, 3, padding="same", name=f"down{n}")(x)
        skips.append(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="bottom")(x)
    for n in (1, 0):
        x = (
            keras.layers.UpSampling2D(2)(x)
            if n
            else keras.layers.Conv2DTranspose(8, 2, strides=2, name="transposed")(x)
        )
        x = keras.layers.Concatenate()([x, skips[n]])
        x = keras.layers.Conv2D(8, 3, padding="same", name=f"up{n}")(x)
    model = keras.Model(inputs, x)
    planned = plan(model, 8)
    assert {layer.name: layer.groups for layer in planned.grouped} == {
        "down0": 8,
        "down1": 4,
        "bottom": 2,
        "up1": 4,
        "up0": 8,
    }
    assert {layer.name: layer.reason for layer in planned.skipped}["transposed"] == "transposed"


def test_squeeze_and_excitation_and_unknown_layers_keep_the_level():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * keras.layers.Conv2D(8, 1, activation="sigmoid")(squeezed)
    x = keras.ops.pad(Scale(2.0)(x), [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = keras.layers.Conv2D(8, 3, name="same_level")(x)
    # Space to depth by reshaping is a sub-sampling like another.
    x = keras.ops.reshape(x, (-1, 4, 4, 32))
    x = keras.layers.Conv2D(8, 3, padding="same", name="next_level")(x)
    planned = plan(keras.Model(inputs, x), 8)
    assert {layer.name: (layer.groups, layer.output_stride) for layer in planned.grouped} == {
        "same_level": (8, "2"),
        "next_level": (4, "4"),
    }


def test_maps_that_are_made_of_a_vector():
    inputs = keras.Input((10,))
    x = keras.layers.Reshape((4, 4, 8))(keras.layers.Dense(4 * 4 * 8)(inputs))
    x = keras.layers.Conv2D(8, 3, padding="same", name="coarse")(x)
    x = keras.layers.UpSampling2D(2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="fine")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", name="image")(x))
    planned = plan(model, 8)
    assert {layer.name: layer.groups for layer in planned.grouped} == {"coarse": 4, "fine": 8}
    (skipped,) = planned.skipped
    assert skipped.reason == "of 8 channels and 3 filters, which have no common divisor"


class OwnConvolution(keras.layers.Conv2D):
    pass


def test_subclasses_are_grouped_only_if_named():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3)(inputs)
    x = OwnConvolution(8, 3, name="own")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="plain")(x))
    assert [layer.name for layer in plan(model, 2).grouped] == ["plain"]
    rooted = quietly(model, 2, degrees={"own": 4})
    assert type(rooted.get_layer("own")) is OwnConvolution
    assert groups_of(rooted)["own"] == 4


def test_layers_within_layers_are_not_entered_and_named():
    frames = keras.Input((2, 8, 8, 4))
    x = keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3), name="frames")(frames)
    x = keras.layers.Reshape((6, 12, 4))(x)
    model = keras.Model(frames, keras.layers.Conv2D(4, 3, name="plain")(x))
    (skipped,) = plan(model, 2).skipped
    assert (skipped.name, skipped.reason) == (
        "frames",
        "inside a TimeDistributed, into which is not looked",
    )


def test_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        model = small_model((8, 8, 8, 8), image=(3, 16, 16))
        rooted = quietly(model, 4)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert groups_of(rooted) == {"conv0": 1, "conv1": 4, "conv2": 4, "conv3": 2}


def test_a_compiled_model_is_copied_and_left_as_it_is():
    model = small_model()

    def loss(y, prediction):
        return keras.ops.mean(prediction)

    model.compile("sgd", loss)
    rooted = quietly(model, 2)
    assert model.compiled
    assert not rooted.compiled


def test_an_unbuilt_or_sequential_model():
    layers = [keras.layers.Conv2D(8, 3, name=f"conv{n}") for n in range(2)]
    model = keras.Sequential(layers, name="sequence")
    with pytest.raises(ValueError, match="'sequence' has not been built"):
        rootify(model, 2)
    model.build((None, 8, 8, 3))
    rooted = quietly(model, 2)
    assert isinstance(rooted, keras.Sequential)
    assert groups_of(rooted) == {"conv0": 1, "conv1": 2}


class Subclassed(keras.Model):
    def call(self, x):
        return x


class WithoutConfig(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__(name="mine")
        self.factor = factor

    def call(self, x):
        return x * self.factor


def test_models_that_cannot_be_rootified():
    subclassed = Subclassed(name="mine")
    subclassed(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="functional or Sequential model. Received: 'mine'"):
        rootify(subclassed, 2)
    with pytest.raises(ValueError, match="Expected a Keras model. Received: str"):
        rootify("model.keras", 2)
    model = small_model()
    without = keras.Model(model.inputs, WithoutConfig(2)(model.output))
    with pytest.raises(ValueError, match=r"Layer 'mine' \(WithoutConfig\) cannot be copied"):
        rootify(without, 2)
    with pytest.raises(ValueError, match="has nothing to group.*1 on the image; 2 at a level of"):
        rootify(model, 1)
    inputs = keras.Input((4,))
    dense = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="has no convolution"):
        rootify(dense, 2)
    with pytest.raises(
        ValueError, match="nothing to group.*1 of 8 channels and 6 filters, which 4"
    ):
        rootify(small_model((8, 6)), 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": 3}, "power of two"),
        ({"keep": ["convv1"]}, "called 'convv1'.*Did you mean 'conv1'"),
        ({"degrees": {"nope_*": 2}}, "called 'nope_"),
        ({"degrees": {"conv1": 3}}, "3 filter groups do not divide .*'conv1'.* 1, 2, 4, 8"),
        ({"degrees": {"conv1": 0}}, "at least 1"),
        ({"degrees": {"conv1": 2}, "keep": ["conv1"]}, "in keep and in degrees"),
        ({"weights": "permutted"}, "Did you mean 'permuted'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        rootify(small_model(), **{"root": 2, **arguments})


@hypothesis.given(
    degree=st.sampled_from([2, 4, 8]),
    filters=st.lists(st.sampled_from([4, 8, 12, 16, 24]), min_size=3, max_size=5),
)
def test_every_grouped_layer_is_divided_and_costs_its_share(degree, filters):
    model = small_model(tuple(filters))
    if all(math.gcd(c, f) % degree for c, f in itertools.pairwise(filters)):
        with pytest.raises(ValueError, match="nothing to group"):
            plan(model, keras_roots.column(degree))
        return
    planned = plan(model, keras_roots.column(degree))
    rooted = quietly(model, keras_roots.column(degree))
    dense, grouped = ({layer.name: layer for layer in cost(m).layers} for m in (model, rooted))
    for layer in planned.layers:
        assert (layer.groups == degree) == (
            layer.name != "conv0" and layer.channels % degree == 0 and layer.filters % degree == 0
        )
        assert dense[layer.name].macs == layer.groups * grouped[layer.name].macs


# Warm starts.


def randomized(model):
    """The same, with every bias and normalisation variable at random, so that tests can fail."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            weights = [rng.uniform(0.5, 1.5, w.shape) for w in weights]
        elif len(weights) == 2:
            weights[1] = rng.normal(0, 0.3, weights[1].shape)
        layer.set_weights(weights)
    return model


def permutable_model():
    """Chains, a residual, depthwise, pooling, a dense layer; logits."""
    k = keras.layers
    inputs = k.Input((16, 16, 3))
    x = k.Conv2D(16, 3, padding="same", name="first")(inputs)
    x = k.BatchNormalization(name="first_bn")(x)
    x = residual = k.ReLU(name="relu")(x)
    x = k.Conv2D(24, 3, padding="same", activation="relu", name="chain")(x)
    x = k.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = k.Conv2D(16, 3, padding="same", name="last")(x)
    x = k.MaxPooling2D(2, name="pool")(k.Add(name="add")([x, residual]))
    x = k.Conv2D(16, 3, padding="same", name="after")(x)
    x = k.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(inputs, k.Dense(5, name="logits")(x), name="permutable")


def with_permuted_weights(model, root):
    _, groups = _plan(model, root, (), None)
    weights = warm_start.permuted_weights(model, groups)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for ours, theirs in zip(copy.layers, model.layers, strict=True):
        if id(theirs) in weights:
            ours.set_weights(weights[id(theirs)])
    return copy, {layer.name for layer in model.layers if id(layer) in weights}


@pytest.mark.parametrize(
    "build",
    [
        permutable_model,
        lambda: keras_roots.RootResNet50(
            root=1, input_shape=(32, 32, 3), classes=5, classifier_activation=None
        ),
        lambda: keras_roots.RootGoogLeNet(
            root=1, input_shape=(32, 32, 3), classes=5, classifier_activation=None
        ),
    ],
    ids=["permutable", "resnet50", "googlenet"],
)
def test_permuted_weights_compute_the_same(build):
    model = randomized(build())
    copy, changed = with_permuted_weights(model, 4)
    assert changed
    images = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    expected = model.predict(images, verbose=0)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(
        copy.predict(images, verbose=0), expected, rtol=0, atol=2e-5 * np.abs(expected).max()
    )


def test_every_layer_of_a_chain_is_permuted():
    _, changed = with_permuted_weights(randomized(permutable_model()), 4)
    assert changed == {
        *("first", "first_bn", "chain", "depthwise", "last", "after", "logits"),
    }


def test_hidden_blocks_are_found():
    """A kernel of blocks in a shuffled order keeps all its weight if permuted, and only then."""
    rng = np.random.default_rng(0)
    k = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = k.Conv2D(16, 1, name="before")(inputs)
    x = k.Conv2D(32, 3, name="spatial")(x)
    model = keras.Model(inputs, k.Conv2D(4, 1, name="mix")(k.ReLU()(x)))
    kernel = np.zeros((3, 3, 16, 32), np.float32)
    for g in range(4):
        kernel[:, :, 4 * g : 4 * g + 4, 8 * g : 8 * g + 8] = rng.normal(size=(3, 3, 4, 8))
    kernel = kernel[:, :, rng.permutation(16)][:, :, :, rng.permutation(32)]
    model.get_layer("spatial").set_weights([kernel, rng.normal(size=32)])
    images = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    expected = model.predict(images, verbose=0)
    outputs, reports = {}, {}
    for weights in ("block-diagonal", "permuted"):
        printed = []
        degrees = {"spatial": 4}
        rooted = rootify(model, 2, degrees=degrees, weights=weights, report=printed.append)
        outputs[weights] = rooted.predict(images, verbose=0)
        reports[weights] = printed[-1]
    np.testing.assert_allclose(outputs["permuted"], expected, atol=1e-4)
    assert np.abs(outputs["block-diagonal"] - expected).max() > 0.1
    assert "keep 100% of" in reports["permuted"]


@hypothesis.given(
    seed=st.integers(0, 1000),
    degree=st.sampled_from([2, 3, 4]),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
)
def test_partitions_are_balanced_and_no_worse_than_the_order_as_it_is(
    seed, degree, inputs, outputs
):
    rng = np.random.default_rng(seed)
    energy = rng.uniform(size=(degree * inputs, degree * outputs))
    natural = [np.repeat(np.arange(degree), n) for n in (inputs, outputs)]
    free = [(label, False) for label in natural]
    left, right = warm_start._partition(energy, free, np.random.default_rng(0))
    assert np.bincount(left).tolist() == [inputs] * degree
    assert np.bincount(right).tolist() == [outputs] * degree

    def held(a, b):
        return (energy * (a[:, None] == b[None, :])).sum()

    assert held(left, right) >= held(*natural) - 1e-9


def test_graphs_list_calls_in_an_order_in_which_they_can_be_made():
    traced = graph.trace(elaborate_model())
    known = set(traced.inputs)
    for call in traced.calls:
        assert set(call.inputs) <= known
        known |= set(call.outputs)
    assert set(traced.outputs) <= known
    # Both towers call the shared block twice.
    assert [call.path for call in traced.calls].count("tower/block/a") == 4
