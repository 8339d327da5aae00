"""The inference graph computes what its model does, before and after every simplification."""

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.export import simplify
from keras_roots.export.inference_graph import (
    Convolution,
    Subsampling,
    inference_graph,
)
from keras_roots.layers.normalization import FusedBatchNormalization
from keras_roots.lowering.layer_shape import same_padding
from tests import reference
from tests.conformance import networks
from tests.sample_models import randomized


def images_for(model, count=2):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_equal(graph, model):
    images = images_for(model)
    expected = model.predict(images, verbose=0)
    actual = np.asarray(graph(images))
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


def macs(graph):
    return sum(step.operation.macs for step in graph.convolutions())


def kinds(graph):
    return [type(getattr(step.operation, "layer", None)) for step in graph.steps]


def test_resnet_without_the_pixels_that_nobody_reads():
    shape = {"input_shape": (64, 64, 3), "classes": 5, "classifier_activation": None}
    model = randomized(keras_roots.RootResNet50(root=16, **shape))
    graph = inference_graph(model)
    assert_equal(graph, model)
    simplified = simplify.simplify(graph)
    assert_equal(simplified, model)
    # The last block of three stages: its 3x3 in groups and its 1x1, on a quarter of the pixels;
    # the stages have images of 16, 8 and 4 pixels, and groups of 4, 16 and 64 channels.
    saved = sum(
        (pixels**2 - (pixels // 2) ** 2) * (9 * filters * per_group + filters * 4 * filters)
        for pixels, filters, per_group in ((16, 64, 4), (8, 128, 16), (4, 256, 64))
    )
    assert macs(graph) - macs(simplified) == saved
    subsamplings = [s for s in simplified.steps if isinstance(s.operation, Subsampling)]
    assert len(subsamplings) == 3
    # 53 convolutions, four of which are projections that went into the sum with another.
    assert len(simplified.convolutions()) == 53 - 4
    assert FusedBatchNormalization not in kinds(simplified)


def test_resnet_whose_stride_is_in_the_3x3_has_none_to_skip():
    model = networks.built("resnet-v1.5")
    graph = inference_graph(model)
    simplified = simplify.skip_unread_pixels(simplify.fold_normalization(graph))
    assert macs(simplified) == macs(graph)
    assert_equal(simplify.simplify(graph), model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["ResNet50", "EfficientNetV2B0", "InceptionV3", "DenseNet121", "Xception", "MobileNetV2",
     "ConvNeXtTiny", "InceptionResNetV2", "NASNetMobile"],
)  # fmt: skip
def test_networks_of_keras_applications(name):
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(224, 224, 3), classifier_activation=None
    )
    assert_equal(simplify.simplify(inference_graph(randomized(model))), model)


def conv(filters, size=1, **options):
    return keras.layers.Conv2D(filters, size, padding="same", **options)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 9)])
def test_pixels_read_at_a_stride_through_activations_and_sums(size):
    inputs = keras.Input((*size, 4))
    x = conv(6, 3, activation="relu")(inputs)
    y = conv(6, 5, strides=1)(inputs)
    total = keras.layers.Add()([x, y])
    total = keras.layers.ReLU()(keras.layers.BatchNormalization()(total))
    left, right = conv(3, strides=2)(total), conv(5, strides=2)(total)
    outputs = keras.layers.Concatenate()([left, right])
    model = randomized(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(outputs)))
    graph = inference_graph(model)
    # The normalisation follows no convolution and stays, and stops it.
    assert macs(simplify.simplify(graph)) == macs(graph)
    assert_equal(simplify.simplify(graph), model)

    total = keras.layers.Activation("gelu")(keras.layers.Multiply()([x, y]))
    outputs = keras.layers.Concatenate()([conv(3, strides=2)(total), conv(5, strides=2)(total)])
    model = randomized(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(outputs)))
    graph = inference_graph(model)
    simplified = simplify.simplify(graph)
    assert_equal(simplified, model)
    few = -(-size[0] // 2) * -(-size[1] // 2)
    both = 4 * 6 * (9 + 25)
    assert macs(simplified) == few * (both + 6 * 8)


def test_pixels_that_another_step_reads_are_computed():
    inputs = keras.Input((8, 8, 4))
    x = conv(6, 3)(inputs)
    strided = conv(3, strides=2)(x)
    others = {
        "another stride": conv(3, strides=4)(x),
        "a kernel of 3x3": conv(3, 3, strides=2)(x),
        "a pooling": keras.layers.MaxPooling2D(2)(x),
    }
    for name, other in others.items():
        pooled = [keras.layers.GlobalMaxPooling2D()(each) for each in (strided, other)]
        model = randomized(keras.Model(inputs, keras.layers.Concatenate()(pooled)))
        graph = inference_graph(model)
        simplified = simplify.simplify(graph)
        assert macs(simplified) == macs(graph), name
        assert_equal(simplified, model)


def test_padding_goes_into_a_convolution_and_not_into_a_pooling():
    inputs = keras.Input((9, 9, 4))
    padded = keras.layers.ZeroPadding2D(((3, 1), (0, 2)))(inputs)
    x = keras.layers.Conv2D(4, 4, strides=3)(padded)
    y = keras.layers.Conv2D(4, 4, strides=3, padding="same")(padded)
    pooled = keras.layers.MaxPooling2D(2)(keras.layers.ZeroPadding2D(1)(x))
    outputs = [keras.layers.GlobalMaxPooling2D()(each) for each in (pooled, y)]
    model = randomized(keras.Model(inputs, keras.layers.Concatenate()(outputs)))
    graph = simplify.simplify(inference_graph(model))
    assert kinds(graph).count(keras.layers.ZeroPadding2D) == 1
    assert_equal(graph, model)


def test_normalisation_that_does_not_follow_a_convolution_alone_stays():
    inputs = keras.Input((6, 6, 4))
    x = conv(4, 3, use_bias=False)(inputs)
    normal = keras.layers.BatchNormalization(center=False, scale=False)(x)
    both = keras.layers.Add()([x, normal])
    last = keras.layers.BatchNormalization()(conv(4, 3)(both))
    model = randomized(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(last)))
    graph = simplify.simplify(inference_graph(model))
    assert kinds(graph).count(keras.layers.BatchNormalization) == 1
    assert_equal(graph, model)


def test_sums_of_two_convolutions_are_merged_where_they_are_1x1_and_dense():
    inputs = keras.Input((6, 6, 4))
    x = conv(4, 3)(inputs)
    for second, merged in ((conv(8), True), (conv(8, 3), False), (conv(8, groups=2), False)):
        total = keras.layers.Add()([conv(8)(x), second(inputs)])
        model = randomized(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(total)))
        graph = simplify.simplify(inference_graph(model))
        assert len(graph.convolutions()) == (2 if merged else 3)
        assert_equal(graph, model)


def test_layers_called_twice_nested_models_and_a_softmax():
    inner = keras.Input((8, 8, 4))
    block = keras.Model(inner, keras.layers.BatchNormalization()(conv(4, 3)(inner)))
    inputs = keras.Input((8, 8, 4))
    x = block(block(inputs)) + inputs
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    model = randomized(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)))
    graph = simplify.simplify(inference_graph(model))
    assert_equal(graph, model)
    logits = graph.without_softmax()
    scores = np.exp(np.asarray(logits(images_for(model)), np.float64))
    expected = model.predict(images_for(model), verbose=0)
    np.testing.assert_allclose(scores / scores.sum(-1, keepdims=True), expected, atol=1e-6)
    assert logits.without_softmax() is None


@pytest.mark.parametrize("lowering", ["native", "packed-1", "packed-2", "packed-4", "split"])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 0), (2, 3))])
def test_a_convolution_by_each_lowering_is_the_loop(lowering, padding):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 2, 24)), rng.normal(size=24)
    x = rng.normal(size=(2, 9, 8, 16))
    layer = Convolution(
        kernel=kernel.astype(np.float32),
        bias=bias.astype(np.float32),
        input_shape=(9, 8, 16),
        strides=(2, 1),
        dilation_rate=(1, 1),
        padding=padding,
        lowering=lowering,
    )
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    expected, *_ = reference.grouped_convolution(padded, kernel, np.ones, (2, 1), "valid", (1, 1))
    np.testing.assert_allclose(layer(x.astype(np.float32)), expected + bias, atol=1e-4)
    assert layer.output_shape == expected.shape[1:]
    assert layer.groups == 8


def test_same_padding_is_tensorflows():
    import tensorflow as tf

    for size, kernel, stride, dilation in ((9, 3, 2, 1), (8, 3, 2, 1), (7, 5, 1, 2), (5, 1, 3, 1)):
        image, ones = np.ones((1, size, size, 1), np.float32), np.ones((kernel, kernel, 1, 1))
        padding = same_padding((size,) * 2, (kernel,) * 2, (stride,) * 2, (dilation,) * 2)
        padded = np.pad(image, [(0, 0), *padding, (0, 0)])
        expected = tf.nn.conv2d(image, ones, stride, "SAME", dilations=dilation)
        actual = tf.nn.conv2d(padded, ones, stride, "VALID", dilations=dilation)
        np.testing.assert_array_equal(actual, expected)
