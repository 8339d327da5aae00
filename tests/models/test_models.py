import inspect
import math

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots import cost
from keras_roots.layers import GroupedConv2D
from keras_roots.models import network
from keras_roots.surgery.strides import output_strides


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


# Of each family the smallest; `make test-slow` does them all.
FAMILIES = ("alexnet", "googlenet", "nin", "nin_imagenet", "resnet50", "resnet50v2", "vgg11")
NAMES = [
    pytest.param(name, marks=[] if name in FAMILIES else [pytest.mark.slow])
    for name in keras_roots.list_models()
]


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_grouped_is_a_grouped_convolution(name):
    dense, grouped = (keras_roots.build(name, root=root, include_top=False) for root in (1, 2))
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


@pytest.mark.parametrize("name", ["nin", "resnet50", "alexnet"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": 3}, "power of two"),
        ({"root": 0}, "at least 1"),
        ({"root": "16"}, "positive integer"),
        ({"root": (2, 2, 2)}, "one degree for each"),
        ({"root": 128}, "degrees that .* takes: 1, 2, 4, 8, 16, 32"),
        ({"root": 128}, "do not divide the channels of layer 'conv2"),
        ({"classes": 0}, "classes as a positive integer"),
        ({"classes": 2.5}, "classes as a positive integer"),
        ({"input_shape": (4, 4, 3)}, "pixels or more"),
        ({"input_shape": (64, 64)}, r"input_shape as \(height, width, channels\)"),
        ({"input_shape": (64, 64, None)}, "number of channels"),
        ({"input_shape": (64, -64, 3)}, "input_shape as"),
        ({"input_shape": 64}, "input_shape as .* Received: 64"),
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


# Architectures, against what the papers print.


def convolution_shapes(model):
    """(name, output height, filters) of every convolution."""
    return {
        layer.name: (layer.output.shape[1], layer.filters)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }


# Szegedy et al., Table 1: output size, then 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
INCEPTION = {
    "3a": (28, 64, 96, 128, 16, 32, 32),
    "3b": (28, 128, 128, 192, 32, 96, 64),
    "4a": (14, 192, 96, 208, 16, 48, 64),
    "4b": (14, 160, 112, 224, 24, 64, 64),
    "4c": (14, 128, 128, 256, 24, 64, 64),
    "4d": (14, 112, 144, 288, 32, 64, 64),
    "4e": (14, 256, 160, 320, 32, 128, 128),
    "5a": (7, 256, 160, 320, 32, 128, 128),
    "5b": (7, 384, 192, 384, 48, 128, 128),
}
INCEPTION_CHANNELS = {
    **{"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832},
    **{"5a": 832, "5b": 1024},
}


@pytest.mark.parametrize(
    ("geometry", "widths"),
    [("szegedy", {28: 28, 14: 14, 7: 7}), ("deep-roots", {28: 28, 14: 15, 7: 8})],
)
def test_googlenet_is_its_papers_table(geometry, widths):
    model = keras_roots.RootGoogLeNet(geometry=geometry)
    shapes = convolution_shapes(model)
    assert shapes["conv1_conv"] == (112, 64)
    assert shapes["conv2_reduce_conv"] == (56, 64)
    assert shapes["conv2_conv"] == (56, 192)
    branches = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_projection")
    for module, (width, *filters) in INCEPTION.items():
        found = [shapes[f"inception_{module}_{branch}_conv"] for branch in branches]
        assert found == [(widths[width], n) for n in filters]
        output = model.get_layer(f"inception_{module}_output").output
        assert output.shape[1:] == (widths[width], widths[width], INCEPTION_CHANNELS[module])
    classifier = model.get_layer("predictions").kernel.shape
    assert classifier == ((1024 if geometry == "szegedy" else 2 * 2 * 1024), 1000)


def test_googlenets_groups_and_initialiser():
    model = keras_roots.RootGoogLeNet(root=8)
    groups = {
        layer.name: layer.groups
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size[0] in (3, 5)
    }
    expected = {"conv2_conv": 8}
    for module in INCEPTION:
        for kernel in ("3x3", "5x5"):
            expected[f"inception_{module}_{kernel}_conv"] = {"3": 4, "4": 2, "5": 1}[module[0]]
    assert groups == expected
    # The three 1x1 that read a module's input are one compound layer.
    for branch in ("1x1", "3x3_reduce", "5x5_reduce"):
        layer = model.get_layer(f"inception_4a_{branch}_conv")
        assert layer.kernel_initializer.fan_out(layer.kernel.shape) == 192 + 96 + 16
    spatial = model.get_layer("inception_4a_5x5_conv")
    assert spatial.kernel_initializer.fan_out(spatial.kernel.shape) == 5 * 5 * 48
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert not layer.scale
            assert not layer.center


@pytest.mark.parametrize("name", FAMILIES)
def test_no_two_kernels_are_drawn_alike(name):
    model = keras_roots.build(name, include_top=False)
    kernels = [
        layer.get_weights()[0] for layer in model.layers if isinstance(layer, keras.layers.Conv2D)
    ]
    assert len({kernel.ravel()[:8].tobytes() for kernel in kernels}) == len(kernels)


def test_auxiliary_heads_train_and_are_left_out():
    model = keras_roots.RootGoogLeNet(
        auxiliary_heads=True, input_shape=(80, 80, 3), classes=3, root=2
    )
    names = ["predictions", "auxiliary_4a", "auxiliary_4d"]
    assert list(model.output) == names
    assert keras_roots.auxiliary_heads.loss_weights(model) == {
        "predictions": 1.0,
        "auxiliary_4a": 0.3,
        "auxiliary_4d": 0.3,
    }
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 80, 80, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 6)
    model.compile(
        keras.optimizers.SGD(0.01),
        dict.fromkeys(names, "sparse_categorical_crossentropy"),
        loss_weights=keras_roots.auxiliary_heads.loss_weights(model),
        metrics={"predictions": "accuracy"},
    )
    heads = [layer for layer in model.layers if layer.name.startswith("auxiliary")]
    before = {layer.name: layer.get_weights() for layer in heads}
    targets = dict.fromkeys(names, labels)
    model.fit(images, targets, epochs=1, batch_size=6, verbose=0)
    assert all(
        np.abs(new - old).max() > 0
        for layer in heads
        if isinstance(layer, keras.layers.Dense)
        for new, old in zip(layer.get_weights(), before[layer.name], strict=True)
    )
    found = model.evaluate(images, targets, batch_size=6, verbose=0, return_dict=True)
    scores = model.predict(images, verbose=0)
    losses = [-np.log(scores[name][np.arange(6), labels]).mean() for name in names]
    assert found["loss"] == pytest.approx(losses[0] + 0.3 * losses[1] + 0.3 * losses[2], rel=1e-4)

    alone = keras_roots.without_auxiliary_heads(model)
    assert not [layer.name for layer in alone.layers if layer.name.startswith("auxiliary")]
    np.testing.assert_allclose(alone.predict(images, verbose=0), scores["predictions"], atol=1e-6)
    same = keras_roots.RootNIN()
    assert keras_roots.without_auxiliary_heads(same) is same
    # Another's outputs are all kept, though one has the name of ours.
    other = keras.Model(same.inputs, {"predictions": same.output, "boxes": same.layers[-2].output})
    assert keras_roots.without_auxiliary_heads(other) is other
    for model in (same, other):
        with pytest.raises(ValueError, match=f"'{model.name}' has no auxiliary heads"):
            keras_roots.auxiliary_heads.loss_weights(model)


# He et al., arXiv:1512.03385, Table 1, and arXiv:1603.05027: blocks of the stages, which have maps
# of 56, 28, 14 and 7 pixels and 256, 512, 1024 and 2048 channels.
RESNET_BLOCKS = {
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnet50v2": (3, 4, 6, 3),
    "resnet101v2": (3, 4, 23, 3),
    "resnet152v2": (3, 8, 36, 3),
    "resnet200": (3, 24, 36, 3),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("resnet50", "resnet200") else [pytest.mark.slow])
        for name in RESNET_BLOCKS
    ],
)
def test_resnets_are_their_papers_tables(name):
    model = keras_roots.build(name, root=1)
    depth = int("".join(filter(str.isdigit, name.removesuffix("v2"))))
    weighted = [
        layer
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
        and not layer.name.endswith("_0_conv")
    ]
    assert len(weighted) == depth
    shapes = convolution_shapes(model)
    assert shapes["conv1_conv"] == (112, 64)
    for stage, blocks in enumerate(RESNET_BLOCKS[name], start=2):
        names = {n.rsplit("_", 2)[0] for n in shapes if n.startswith(f"conv{stage}_block")}
        assert len(names) == blocks
        filters, pixels = 64 * 2 ** (stage - 2), 56 // 2 ** (stage - 2)
        for block in names:
            assert shapes[f"{block}_2_conv"] == (pixels, filters)
            assert shapes[f"{block}_3_conv"] == (pixels, 4 * filters)
    assert model.get_layer("avg_pool").output.shape == (None, 2048)


def test_the_stride_of_version_1_5():
    model = keras_roots.RootResNet50(root=1, stride_in_1x1=False)
    for stage in (3, 4, 5):
        strides = [model.get_layer(f"conv{stage}_block1_{n}_conv").strides for n in (0, 1, 2)]
        assert strides == [(2, 2), (1, 1), (2, 2)]
    # The first 1x1 of a stage has four times the pixels. torchvision's ResNet-50 does as many.
    more = 256 * 128 * (56**2 - 28**2) + 512 * 256 * (28**2 - 14**2) + 1024 * 512 * (14**2 - 7**2)
    assert cost(model).macs == 3_857_973_248 + more == 4_089_184_256


def test_preactivation():
    model = keras_roots.RootResNet50V2(root=1)
    names = [layer.name for layer in model.layers]
    assert "conv2_block1_preact_bn" not in names
    assert "conv2_block2_preact_bn" in names
    assert names[-4:] == ["post_bn", "post_relu", "avg_pool", "predictions"]
    strides = [model.get_layer(f"conv3_block1_{n}_conv").strides for n in (0, 1, 2)]
    assert strides == [(2, 2), (1, 1), (2, 2)]
    assert not any(
        layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D)
    )
    # A block after the first of its stage passes on its input as it is.
    add = model.get_layer("conv2_block2_out")
    passed = {tensor.name for tensor in add.input}
    assert model.get_layer("conv2_block1_out").output.name in passed


def test_imagenet_nin_and_alexnet_have_the_sizes_of_the_caffe_models():
    shapes = convolution_shapes(keras_roots.RootNINImageNet(root=1))
    assert shapes == {
        **dict.fromkeys(("conv1_1_conv", "conv1_2_conv", "conv1_3_conv"), (54, 96)),
        **dict.fromkeys(("conv2_1_conv", "conv2_2_conv", "conv2_3_conv"), (27, 256)),
        **dict.fromkeys(("conv3_1_conv", "conv3_2_conv", "conv3_3_conv"), (13, 384)),
        **dict.fromkeys(("conv4_1_conv", "conv4_2_conv"), (6, 1024)),
        "conv4_3_conv": (6, 1000),
    }
    model = keras_roots.RootAlexNet(root=keras_roots.column(2), dense_conv3=True)
    assert convolution_shapes(model) == {
        "conv1": (55, 96),
        "conv2": (27, 256),
        "conv3": (13, 384),
        "conv4": (13, 384),
        "conv5": (13, 256),
    }
    assert groups_of(model) == [2, 1, 2, 2]
    assert model.get_layer("fc6").kernel.shape == (9216, 4096)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg11", 132_863_336),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
        ("nin_imagenet", 7_595_176),
    ],
)
def test_parameters_of_the_original_networks(name, parameters):
    """As torchvision has them, and Lin's Caffe model."""
    assert cost(keras_roots.build(name, root=1), "paper").parameters == parameters


@pytest.mark.parametrize("name", NAMES)
def test_endpoints_are_where_resolutions_end(name):
    model = keras_roots.build(name, root=1, include_top=False)
    strides = output_strides(model)
    endpoints = keras_roots.endpoints(name)
    assert list(endpoints) == sorted(endpoints)
    for key, layer_name in endpoints.items():
        stride = 2 ** int(key.removeprefix("C"))
        assert strides[id(model.get_layer(layer_name))] == (stride, stride)
    last = model.get_layer(list(endpoints.values())[-1])
    assert last.output is model.output
    pyramid = keras.Model(
        model.inputs, {key: model.get_layer(each).output for key, each in endpoints.items()}
    )
    assert list(pyramid.output) == list(endpoints)


@pytest.mark.parametrize("name", keras_roots.list_models())
def test_factories_look_alike(name):
    row = network(name)
    (factory,) = (
        getattr(keras_roots, each)
        for each in dir(keras_roots)
        if getattr(getattr(keras_roots, each), "network", None) is row
    )
    parameters = inspect.signature(factory).parameters
    theirs = list(inspect.signature(keras.applications.ResNet50).parameters)
    assert list(parameters) == [*theirs, "root", *row.options]
    assert parameters["classes"].default == row.classes
    assert parameters["root"].default == row.root
    assert parameters["root"].kind is inspect.Parameter.KEYWORD_ONLY
    for argument in parameters:
        assert f"    {argument}: " in factory.__doc__
    assert max(map(len, factory.__doc__.splitlines())) <= 80
    assert math.log2(row.root).is_integer()


def test_options_that_are_wrong():
    with pytest.raises(TypeError, match=r"RootGoogLeNet\(\) got an unexpected .* 'geometri'"):
        keras_roots.RootGoogLeNet(geometri="szegedy")
    with pytest.raises(ValueError, match="Did you mean 'deep-roots'"):
        keras_roots.RootGoogLeNet(geometry="deep-root")
    with pytest.raises(ValueError, match="one of False, True. Received: 'yes'"):
        keras_roots.RootAlexNet(dense_conv3="yes")
    with pytest.raises(ValueError, match="part of the top"):
        keras_roots.RootGoogLeNet(auxiliary_heads=True, include_top=False)


def test_images_that_leave_nothing():
    with pytest.raises(ValueError, match="7x7 average pooling .* meets feature maps of 5x5"):
        keras_roots.RootGoogLeNet(geometry="deep-roots", input_shape=(128, 128, 3))
    with pytest.raises(ValueError, match="auxiliary heads meets feature maps of 3x3"):
        keras_roots.RootGoogLeNet(auxiliary_heads=True, input_shape=(48, 48, 3))
    for build in (keras_roots.RootVGG11, keras_roots.RootAlexNet):
        with pytest.raises(ValueError, match="must have a fixed size"):
            build(input_shape=(None, None, 3))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_smallest_images_leave_a_pixel_and_smaller_ones_are_refused(name):
    size = network(name).minimum_size
    model = keras_roots.build(name, include_top=False, input_shape=(size, size, 3))
    assert min(model.output_shape[1:3]) >= 1
    with pytest.raises(ValueError, match=f"{size}x{size} pixels or more"):
        keras_roots.build(name, input_shape=(size, size - 1, 3))
