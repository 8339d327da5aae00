import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.layers import GroupedConv2D


def groups_of(model):
    """Groups of the spatial convolutions, in order, without the first."""
    return [
        layer.groups
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size != (1, 1)
    ][1:]


@pytest.mark.parametrize("degree", [1, 2, 4, 8, 16, 32, 64])
def test_resnet50_groups_are_table_2(degree):
    model = keras_roots.RootResNet50(root=degree, input_shape=(32, 32, 3), classes=2)
    expected = []
    for stage, blocks in enumerate((3, 4, 6, 3)):
        expected += [max(1, degree // 2**stage)] * blocks
    assert groups_of(model) == expected
    assert model.name == ("resnet50" if degree == 1 else f"resnet50_root-{degree}")


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (1, [1, 1]),
        (4, [4, 2]),
        (keras_roots.column(8), [8, 8]),
        (keras_roots.tree(4), [4, 8]),
        ((3, 2), [3, 2]),
    ],
)
def test_nin_groups(root, expected):
    assert groups_of(keras_roots.RootNIN(root=root)) == expected


@pytest.mark.parametrize("name", keras_roots.list_models())
def test_only_what_is_grouped_is_a_grouped_convolution(name):
    dense, grouped = (keras_roots.build(name, root=root) for root in (1, 2))
    assert not any(isinstance(layer, GroupedConv2D) for layer in dense.layers)
    assert all(
        isinstance(layer, GroupedConv2D) == (getattr(layer, "groups", 1) > 1)
        for layer in grouped.layers
    )


def test_resnet50_names_and_shapes_are_those_of_keras_applications():
    theirs = keras.applications.ResNet50(weights=None)
    ours = keras_roots.RootResNet50(root=16)
    assert [layer.name for layer in ours.layers[1:]] == [layer.name for layer in theirs.layers[1:]]
    for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
        assert our_layer.output.shape == their_layer.output.shape


def test_nin_feature_maps_and_layers():
    model = keras_roots.RootNIN(root=4)
    shapes = {
        layer.name: (layer.output.shape[1], layer.filters)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }
    assert shapes == {
        "conv1_1_conv": (32, 192),
        "conv1_2_conv": (32, 160),
        "conv1_3_conv": (32, 96),
        "conv2_1_conv": (16, 192),
        "conv2_2_conv": (16, 192),
        "conv2_3_conv": (16, 192),
        "conv3_1_conv": (8, 192),
        "conv3_2_conv": (8, 192),
        "conv3_3_conv": (8, 10),
    }


@pytest.mark.parametrize(
    ("name", "features", "channels"), [("resnet50", (2, 2), 2048), ("nin", (16, 16), 192)]
)
def test_without_a_top(name, features, channels):
    build, shape = keras_roots.build, (64, 64, 3)
    without = build(name, include_top=False, input_shape=shape)
    assert without.output_shape == (None, *features, channels)
    for pooling in ("avg", "max"):
        pooled = build(name, include_top=False, input_shape=shape, pooling=pooling)
        assert pooled.output_shape == (None, channels)
    anything = build(name, include_top=False, input_shape=(None, None, 1))
    assert anything.output_shape == (None, None, None, channels)


def test_activation_classes_and_name():
    logits = keras_roots.RootNIN(classes=50, classifier_activation=None, name="mine")
    assert logits.name == "mine"
    assert logits.output_shape == (None, 50)
    image = np.random.default_rng(0).normal(size=(4, 32, 32, 3))
    assert (logits.predict(image, verbose=0) < 0).any()
    scores = keras_roots.RootNIN(classes=3).predict(image, verbose=0)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def test_numpy_integers():
    model = keras_roots.RootNIN(classes=np.int64(3), input_shape=np.array([16, 16, 3]))
    assert model.output_shape == (None, 3)


def test_upon_an_input_tensor():
    inputs = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    model = keras_roots.RootNIN(input_tensor=scaled)
    assert isinstance(model.layers[1], keras.layers.Rescaling)
    with pytest.raises(ValueError, match="disagree"):
        keras_roots.RootNIN(input_tensor=scaled, input_shape=(48, 48, 3))
    with pytest.raises(ValueError, match="Keras tensor"):
        keras_roots.RootNIN(input_tensor=np.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize("name", ["nin", "resnet50"])
def test_channels_first_computes_the_same(name):
    build = keras_roots.build
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    last = build(name, root=4, input_shape=(32, 32, 3))
    keras.config.set_image_data_format("channels_first")
    try:
        first = build(name, root=4, input_shape=(3, 32, 32))
        first.set_weights(last.get_weights())
        scores = first.predict(np.moveaxis(image, -1, 1), verbose=0)
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(scores, last.predict(image, verbose=0), atol=1e-5)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_from_a_file(tmp_path, suffix):
    model = keras_roots.RootNIN(root=8)
    path = tmp_path / f"nin{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    again = keras_roots.RootNIN(root=8, weights=path)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="not those of this network"):
        keras_roots.RootNIN(root=4, weights=path)


@pytest.mark.parametrize("name", ["imagenet", "cifar10"])
def test_weights_that_nobody_has_published(name):
    with pytest.raises(ValueError, match=f"No trained weights have been published.*{name}"):
        keras_roots.RootResNet50(weights=name)


def test_weights_files_that_are_missing_or_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file"):
        keras_roots.RootNIN(weights=tmp_path / "missing.weights.h5")
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(ValueError, match=r"ends in \.weights\.h5"):
        keras_roots.RootNIN(weights=tmp_path / "notes.txt")
    for name in ("broken.weights.h5", "broken.keras"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ValueError, match="not those of this network"):
            keras_roots.RootNIN(weights=tmp_path / name)
    with pytest.raises(ValueError, match="path of a file"):
        keras_roots.RootNIN(weights=7)


@pytest.mark.parametrize("name", ["nin", "resnet50"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": 3}, "power of two"),
        ({"root": 0}, "at least 1"),
        ({"root": "16"}, "positive integer"),
        ({"root": (2, 2, 2)}, "one degree for each"),
        ({"root": 128}, "do not divide the channels of layer 'conv2"),
        ({"classes": 0}, "classes as a positive integer"),
        ({"classes": 2.5}, "classes as a positive integer"),
        ({"input_shape": (4, 4, 3)}, "pixels or more"),
        ({"input_shape": (64, 64)}, r"input_shape as \(height, width, channels\)"),
        ({"input_shape": (64, 64, None)}, "number of channels"),
        ({"input_shape": (64, -64, 3)}, "input_shape as"),
        ({"pooling": "sum"}, "None, 'avg' or 'max'"),
        ({"classifier_activation": "softmaks"}, "softmaks"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_roots.build(name, **arguments)


def test_the_degree_error_lists_what_works():
    with pytest.raises(ValueError, match="'conv2_1_conv', which has 96 .* 1, 2, 3, 4, 6, 8, 12"):
        keras_roots.RootNIN(root=64)


def test_an_unknown_model_suggests_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'resnet50'.* nin, .*resnet50"):
        keras_roots.build("ResNet5")
