import keras
import numpy as np
import pytest

import keras_roots

SHAPE, CLASSES = (64, 64, 3), 7


@pytest.fixture(scope="module", name="source")
def make_source():
    return randomized(keras.applications.ResNet50)


def randomized(application, **kwargs):
    """One of keras.applications with every bias and batch-norm variable at random."""
    model = application(weights=None, input_shape=SHAPE, classes=CLASSES, **kwargs)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = weights
            weights = [
                rng.uniform(0.5, 1.5, gamma.shape),
                rng.normal(0, 0.5, beta.shape),
                rng.normal(0, 0.5, mean.shape),
                rng.uniform(0.5, 1.5, variance.shape),
            ]
        elif len(weights) == 2:
            weights[1] = rng.normal(0, 0.5, weights[1].shape)
        layer.set_weights(weights)
    return model


def test_the_dense_network_computes_what_keras_applications_does(source):
    target = keras_roots.RootResNet50(root=1, input_shape=SHAPE, classes=CLASSES)
    images = np.random.default_rng(1).normal(size=(4, *SHAPE)).astype(np.float32)
    expected = source.predict(images, verbose=0)
    assert np.abs(target.predict(images, verbose=0) - expected).max() > 1e-2
    keras_roots.transfer_weights(source, target)
    np.testing.assert_allclose(target.predict(images, verbose=0), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet101", "ResNet152", "VGG16", "VGG19"])
def test_the_other_networks_that_keras_applications_has(name):
    source = randomized(getattr(keras.applications, name), classifier_activation=None)
    target = getattr(keras_roots, f"Root{name}")(
        root=1, input_shape=SHAPE, classes=CLASSES, classifier_activation=None
    )
    images = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    expected = source.predict(images, verbose=0)
    scale = np.abs(expected).max()
    assert np.abs(target.predict(images, verbose=0) - expected).max() > 0.1 * scale
    keras_roots.transfer_weights(source, target)
    actual = target.predict(images, verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * scale)


def test_vgg_without_its_top():
    source = randomized(keras.applications.VGG16, include_top=False)
    target = keras_roots.RootVGG16(root=1, input_shape=SHAPE, include_top=False)
    keras_roots.transfer_weights(source, target)
    images = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    expected = source.predict(images, verbose=0)
    actual = target.predict(images, verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_feature_maps_are_equal_too(source):
    target = keras_roots.RootResNet50(root=1, input_shape=SHAPE, classes=CLASSES)
    keras_roots.transfer_weights(source, target)
    images = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    for name in ("pool1_pool", "conv2_block3_out", "conv4_block6_out", "conv5_block3_out"):
        expected, actual = (
            keras.Model(model.inputs, model.get_layer(name).output).predict(images, verbose=0)
            for model in (source, target)
        )
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_filter_groups_do_not_take_dense_kernels(source):
    target = keras_roots.RootResNet50(root=16, input_shape=SHAPE, classes=CLASSES)
    before = target.get_weights()
    with pytest.raises(ValueError, match=r"'conv2_block1_2_conv'.*\(3, 3, 4, 64\).*root=1"):
        keras_roots.transfer_weights(source, target)
    for ours, theirs in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_architecture(source):
    with pytest.raises(ValueError, match="has no layer 'conv1_1_conv'"):
        keras_roots.transfer_weights(source, keras_roots.RootNIN(root=1))


def test_a_deeper_network_of_the_same_names():
    source = keras.applications.ResNet101(weights=None, input_shape=SHAPE, classes=CLASSES)
    target = keras_roots.RootResNet50(root=1, input_shape=SHAPE, classes=CLASSES)
    with pytest.raises(ValueError, match="has no layer 'conv4_block7_1_conv'"):
        keras_roots.transfer_weights(source, target)


def test_a_network_without_a_top_takes_what_is_below_it(source):
    target = keras_roots.RootResNet50(root=1, input_shape=SHAPE, include_top=False)
    keras_roots.transfer_weights(source, target)
    images = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    features = keras.Model(source.inputs, source.get_layer("conv5_block3_out").output)
    expected = features.predict(images, verbose=0)
    actual = target.predict(images, verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_bias_that_nothing_can_take():
    inputs = keras.Input((4,))
    source = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs), name="biased")
    target = keras.Model(inputs, keras.layers.Dense(3, use_bias=False, name="dense")(inputs))
    with pytest.raises(ValueError, match="'biased' has a bias"):
        keras_roots.transfer_weights(source, target)
