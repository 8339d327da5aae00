import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest

import keras_roots
from keras_roots import rootify
from keras_roots.rootify import warm_start
from keras_roots.rootify.grouping import _plan
from tests.sample_models import randomized


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
        pytest.param(
            lambda: keras_roots.RootGoogLeNet(
                root=1, input_shape=(32, 32, 3), classes=5, classifier_activation=None
            ),
            marks=pytest.mark.slow,
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


@pytest.mark.skipif(not hasattr(keras.activations, "glu"), reason="this Keras has no GLU")
def test_glu_pairs_channels_that_no_permutation_may_part():
    glu = keras.layers.Conv2D(8, 3, activation="glu")
    assert not warm_start._is_channelwise(glu.activation)
    assert warm_start._is_channelwise(keras.layers.Conv2D(8, 3, activation="silu").activation)
