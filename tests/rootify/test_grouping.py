import itertools
import math

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest

import keras_roots
from keras_roots import cost, plan, rootify
from keras_roots.surgery import convolutions
from tests.sample_models import Scale, elaborate_model, groups_of, quietly, small_model

SLOW = (
    *("resnet50v2", "resnet101", "resnet101v2", "resnet152", "resnet152v2", "resnet200"),
    *("googlenet", "vgg16", "vgg19"),
)
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in keras_roots.list_models()
]


@pytest.mark.parametrize("name", NAMES)
def test_a_rootified_dense_network_is_the_root_network(name):
    dense = keras_roots.build(name, root=1, include_top=False)
    for root in (16, keras_roots.column(4)):
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
    groups = [getattr(found.layer, "groups", None) for found in convolutions.find(rooted)]
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
    assert groups == [getattr(found.layer, "groups", None) for found in convolutions.find(loaded)]
    assert [w.shape for w in loaded.weights] == [w.shape for w in rooted.weights]


@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", pytest.param("ResNet50", marks=pytest.mark.slow)]
)
def test_some_of_keras_applications(name, tmp_path):
    check_application(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(keras_applications()))
def test_every_cnn_of_keras_applications(name, tmp_path):
    check_application(name, tmp_path)


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
    assert "1 of 12 channels and 5 filters, which have no common divisor: conv3" in text
    assert groups_of(rooted) == {"conv0": 1, "conv1": 4, "conv2": 4, "conv3": 1}
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


def test_layers_without_a_rule_are_reported_as_not_counted():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3)(keras.layers.Conv2D(8, 3)(inputs))
    printed = []
    rootify(keras.Model(inputs, Scale(2.0, name="scale")(x)), 2, report=printed.append)
    assert "Not counted, for want of a rule: scale" in printed[0]


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
    # A name that reads as a pattern is that name first.
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, name="x[1]")(keras.layers.Conv2D(8, 3, name="x1")(inputs))
    named = plan(keras.Model(inputs, x), 2, degrees={"x[1]": 8})
    assert {layer.name: layer.groups for layer in named.layers} == {"x1": 1, "x[1]": 8}
    nested = elaborate_model()
    kept = plan(nested, 4, keep=["tower/block/*"])
    assert [layer.name for layer in kept.grouped] == ["tower/second"]
    assert ("tower/block/a", "kept, as asked") in [(s.name, s.reason) for s in kept.skipped]


def test_explicit_degrees_are_one_for_each_level():
    model = small_model((8, 8, 8, 8))
    assert [layer.groups for layer in plan(model, (8, 2)).grouped] == [8, 8, 2]
    with pytest.raises(ValueError, match="one degree for each of the network's 2 levels"):
        plan(model, (8, 4, 2))


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
        ({"keep": [3]}, "Expected names of layers in keep. Received: 3"),
        ({"keep": 3}, "Expected keep as names of layers. Received: 3"),
        ({"degrees": ["conv1"]}, "Expected degrees as a mapping"),
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
