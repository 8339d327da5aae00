"""Keras 3 to tf-keras and back: the same functions, and weights bit by bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots import layers
from keras_roots.compression import bridge as bridges
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.legacy import libraries
from tests.round_trips import (
    IMAGE,
    assert_round_trip,
    assert_same_function,
    bits,
    draw,
    draw_legacy,
    outputs_of,
    random_inputs,
)
from tests.sample_models import Scale, elaborate_inputs, elaborate_model


def sequential():
    """One within another, and a softmax."""
    convolution = layers.GroupedConv2D(8, 3, groups=4, activation="tanh")
    block = keras.Sequential([convolution, keras.layers.ReLU(0.5)], name="block")
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input(IMAGE), block, *top], name="sequential")


def nested_and_shared():
    inner = keras.Input(IMAGE)
    x = keras.layers.Conv2D(4, 3, padding="same", groups=2, name="conv")(inner)
    block = keras.Model(inner, keras.layers.BatchNormalization(name="bn")(x), name="block")
    twice = keras.layers.Conv2D(4, 1, name="twice")
    inputs = keras.Input(IMAGE)
    # A name that the nested one would have there.
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="block_conv")(inputs)
    return keras.Model(inputs, twice(block(twice(block(x)))))


def several_inputs_and_outputs():
    left, right = keras.Input(IMAGE, name="left"), keras.Input(IMAGE, name="right")
    added = keras.layers.Add()([left, keras.layers.Conv2D(4, 3, padding="same")(right)])
    product = keras.layers.Multiply()([added, keras.layers.Subtract()([left, right])])
    joined = keras.layers.Concatenate(axis=1)([added, product])
    # An input is an output, too.
    return keras.Model({"right": right, "left": left}, {"y": joined, "x": product, "w": left})


def functions():
    inputs = keras.Input(IMAGE)
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs) + 1.0
    first, second = keras.ops.split(keras.ops.concatenate([x, inputs], axis=-1), 2, axis=1)
    x = keras.ops.add(x1=first * second, x2=keras.ops.max(first, axis=(1, 2), keepdims=True))
    return keras.Model(inputs, keras.ops.relu(x[:, 1:, ::2]) - 2.0 * x[:, :3, 1::2])


def lambdas():
    inputs = keras.Input(IMAGE)
    x = keras.layers.Lambda(lambda x, by: x * by, arguments={"by": 3.0})(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))


@keras.saving.register_keras_serializable(package="tests")
class Block(keras.layers.Layer):
    """Its layers are built when it is called, and told by Keras whether it trains."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.bn = keras.layers.Dense(4), keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, x):
        return self.dropout(self.bn(self.dense(x)))


class Outputs(keras.layers.Layer):
    def call(self, x):
        return {"twice": 2.0 * x, "more": x + 1.0}


def layers_of_ones_own():
    inputs = keras.Input(IMAGE)
    outputs = Outputs()(Block()(Scale(2.0)(inputs)))
    return keras.Model(inputs, [outputs["twice"], outputs["more"]])


def activations():
    x = inputs = keras.Input(IMAGE)
    for kind in ("silu", "hard_silu", "gelu", "sigmoid", "linear", keras.layers.ReLU(1.0)):
        x = keras.layers.Conv2D(4, 3, padding="same", activation=kind)(x)
    x = keras.layers.DepthwiseConv2D(2, activation="relu6")(x)
    x = keras.layers.Conv2DTranspose(3, 2, strides=2, activation="elu")(x)
    for kind in ("relu", "relu6", "softmax", "mish"):
        x = keras.layers.Activation(kind)(x)
    return keras.Model(inputs, x)


def separable():
    x = inputs = keras.Input(IMAGE)
    for more in ({"activation": "silu"}, {"dilation_rate": 2, "use_bias": False}, {"strides": 2}):
        x = keras.layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, **more)(x)
    return keras.Model(inputs, x)


def geometries():
    x = inputs = keras.Input(IMAGE)
    x = keras.layers.ZeroPadding2D(((1, 2), (0, 3)))(x)
    x = keras.layers.AveragePooling2D(3, 2, padding="same")(x)
    x = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1)(x)
    x = keras.layers.Cropping2D(((0, 1), (1, 0)))(x)
    x = keras.layers.MaxPooling2D((3, 2), (1, 2), padding="same")(x)
    x = keras.layers.Permute((2, 1, 3))(x)
    x = keras.layers.Reshape((-1, 8))(x)
    merged = [keras.layers.Maximum, keras.layers.Minimum, keras.layers.Average]
    x = keras.layers.Concatenate()([each()([x, x * x]) for each in merged])
    x = keras.layers.Dense(5, activation="sigmoid")(x)
    x = keras.layers.Softmax(axis=1)(keras.layers.ReLU(negative_slope=0.1, threshold=0.3)(x))
    return keras.Model(inputs, keras.layers.Flatten()(x))


def kinds_that_tf_keras_computes_as_keras_does():
    x = inputs = keras.Input(IMAGE)
    x = layers.convolution(8, 3, groups=2, padding="same")(x)
    for layer in (
        keras_roots.layers.normalization.LocalResponseNormalization(),
        keras.layers.PReLU(),
        keras.layers.LayerNormalization(),
        keras.layers.UpSampling2D(),
        keras.layers.BatchNormalization(axis=1),
        keras.layers.Add(),  # Of one tensor.
    ):
        x = layer([x] if isinstance(layer, keras.layers.Add) else x)
    x = keras.layers.TimeDistributed(keras.layers.Dense(4))(x)
    x = keras.layers.Reshape((16, -1))(x)
    x = keras.layers.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(inputs, keras.layers.GRU(4, return_state=True)(x))


def awkward_names():
    x = inputs = keras.Input(IMAGE, name="_ä in")
    for name in ("_conv 1", "Conv", "conv", "é"):
        x = keras.layers.Conv2D(4, 2, name=name)(x)
    return keras.Model(inputs, x, name="_ä 1")


def pixels():
    """Integers, scaled and turned inside; randomly so in training."""
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.RandomFlip()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3)(keras.layers.GaussianNoise(0.5)(x)))


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (sequential, False),
        (nested_and_shared, False),
        (several_inputs_and_outputs, True),
        (functions, True),
        (lambdas, True),
        (layers_of_ones_own, True),
        (activations, True),
        (separable, False),
        (geometries, True),
        (kinds_that_tf_keras_computes_as_keras_does, True),
        (awkward_names, False),
        (pixels, True),
    ],
)
def test_models_of_all_kinds(make, plain):
    assert_round_trip(make(), plain=plain)


def test_an_elaborate_model():
    """Strings, and what layers have taken from data."""
    model = elaborate_model()
    given = elaborate_inputs()
    bridge = assert_round_trip(model, [given[each.name] for each in model.inputs], plain=False)
    assert bridge.back().get_layer("lookup").get_vocabulary() == ["[UNK]", "dog", "cat"]
    assert {"tower_block_a", "tower_first"} <= {layer.name for layer in bridge.legacy.layers}


def test_what_is_compressed_is_a_layer_of_tf_keras():
    """Whatever its activation."""
    kinds = libraries().keras.layers
    found = [type(layer) for layer in to_legacy(activations()).legacy.layers]
    assert found.count(kinds.Conv2D) == 6
    assert found.count(kinds.DepthwiseConv2D) == found.count(kinds.Conv2DTranspose) == 1
    found = [type(layer) for layer in to_legacy(separable()).legacy.layers]
    assert found.count(kinds.DepthwiseConv2D) == found.count(kinds.Conv2D) == 3


def test_a_model_that_was_trained_there_is_brought_back():
    """One of the same layers' names, as tensorflow-model-optimization makes of its wrappers."""
    bridge = to_legacy(nested_and_shared())
    other = libraries().keras.models.clone_model(bridge.legacy)
    draw_legacy(other, 3)
    copy = bridge.back(other)
    kernel = copy.get_layer("block").get_layer("conv").kernel
    np.testing.assert_array_equal(kernel, other.get_layer("block_conv_").kernel)
    assert_same_function(copy, other, random_inputs(copy))


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda x: keras.layers.Dense(3, activation="softmax")(x), "Dense"),
        (lambda x: keras.layers.Activation("softmax")(keras.layers.Dense(3)(x)), "Dense"),
        (lambda x: keras.layers.Softmax()(keras.layers.Dense(3)(x)), "Dense"),
        (lambda x: keras.ops.softmax(keras.layers.Dense(3)(x)), "Dense"),
        (lambda x: OwnDense(3, activation="softmax")(x), "Kept"),
    ],
)
def test_a_softmax_at_the_end_is_left_out_and_comes_back(end, kind):
    inputs = keras.Input((5,))
    nested = keras.Model(inputs, end(inputs))
    model = draw(keras.Model(inputs, nested(keras.layers.Dense(5)(inputs))), 0)
    bridge = to_legacy(model, scores=True)
    assert bridge.gives_scores
    assert type(bridge.legacy.layers[-1]).__name__ == kind
    given = random_inputs(model)
    (scores,), (probabilities,) = outputs_of(bridge.legacy, given), outputs_of(model, given)
    assert np.abs(scores.sum(axis=-1) - 1).max() > 0.1
    powers = np.exp(scores)
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), probabilities, atol=1e-6)
    copy = bridge.back()
    assert_same_function(model, copy, given)
    assert bits(copy) == bits(model)
    assert not to_legacy(model).gives_scores


class OwnDense(keras.layers.Dense):
    pass


def test_without_a_softmax_nothing_is_left_out():
    inputs = keras.Input((5,))
    shared = keras.layers.Dense(5, activation="softmax")
    for outputs in (keras.layers.Dense(5)(inputs), shared(shared(inputs))):
        bridge = to_legacy(keras.Model(inputs, outputs), scores=True)
        assert not bridge.gives_scores


def in_training(layer, x):
    """What the tf-keras model of one layer gives in training."""
    inputs = keras.Input(x.shape[1:])
    return to_legacy(keras.Model(inputs, layer(inputs))).legacy(x, training=True).numpy()


def test_dropout_and_noise_are_there_in_training():
    x = np.ones((50, 4, 4, 8), np.float32)
    assert 0.2 < np.mean(in_training(keras.layers.Dropout(0.3), x) == 0) < 0.4
    maps = in_training(keras.layers.SpatialDropout2D(0.5), x)
    assert 0.3 < np.mean(maps == 0) < 0.7
    assert np.ptp(maps, axis=(1, 2)).max() == 0
    rows = in_training(keras.layers.Dropout(0.5, noise_shape=(None, 4, 1, 1)), x)
    assert np.ptp(rows, axis=(2, 3)).max() == 0
    assert np.ptp(rows, axis=1).max() > 0
    assert 0.4 < in_training(keras.layers.GaussianNoise(0.5), x).std() < 0.6
    # Inside of another, which normalises: of equal values, only rounding errors would be left.
    x = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    assert 0.4 < np.mean(in_training(Block(), x) == 0) < 0.6


def test_layers_called_with_training_false_stay_so():
    """As of transfer learning; and a shared one in that call only."""
    x = np.random.default_rng(0).normal(3, 2, (16, *IMAGE)).astype(np.float32)
    inputs = keras.Input(IMAGE)
    fixed, free, shared = (keras.layers.BatchNormalization(name=n) for n in ("a", "b", "c"))
    once = shared(inputs, training=False)
    convolved = keras.layers.Conv2D(4, 1)(inputs, training=False)
    ours = layers.Conv2D(4, 1)(inputs, training=False)
    outputs = [fixed(inputs, training=False), free(inputs), once, shared(inputs), convolved, ours]
    bridge = to_legacy(keras.Model(inputs, outputs))
    made = bridge.legacy(x, training=True)
    for n, is_normalized in enumerate([False, True, False, True]):
        assert (np.abs(np.mean(made[n])) < 1e-3) == is_normalized
    copy = bridge.back()
    average = np.mean(x, axis=(0, 1, 2))
    np.testing.assert_array_equal(copy.get_layer("a").moving_mean, 0)
    for name in ("b", "c"):
        moved = copy.get_layer(name).moving_mean
        np.testing.assert_allclose(moved, 0.01 * average, rtol=1e-4)


def test_training_true_is_what_keras_makes_of_it():
    """At inference nothing."""
    inputs = keras.Input(IMAGE)
    x = keras.layers.GaussianNoise(0.5)(keras.layers.Dropout(0.5)(inputs, training=True))
    assert_round_trip(keras.Model(inputs, keras.layers.Conv2D(2, 3)(x)))


@keras.saving.register_keras_serializable(package="tests")
class Penalized(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), regularizer=keras.regularizers.L1(0.1))

    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x * self.gain


def penalized():
    l1, l2, both = (
        keras.regularizers.L1(0.2),
        keras.regularizers.L2(0.03),
        keras.regularizers.L1L2(0.04, 0.05),
    )
    inputs = keras.Input(IMAGE)
    of_kernel = {"depthwise_regularizer": l2, "bias_regularizer": l1}
    x = keras.layers.Conv2D(
        4, 3, groups=2, kernel_regularizer=l1, bias_regularizer=l2, activity_regularizer=l1
    )(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same", **of_kernel)(x)
    x = keras.layers.SeparableConv2D(
        4, 3, padding="same", pointwise_regularizer=both, activation="relu", **of_kernel
    )(x)
    x = keras.layers.BatchNormalization(gamma_regularizer=both, beta_regularizer=l2)(x)
    x = keras.layers.ReLU(activity_regularizer=l2)(x)
    shared = Penalized()
    x = shared(shared(keras.layers.PReLU(alpha_regularizer=l2)(x)))
    x = keras.layers.Conv2DTranspose(3, 2, kernel_regularizer=l2)(x)
    x = keras.layers.ActivityRegularization(l2=0.01)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(3, kernel_regularizer=both, activation="tanh")(x)
    return keras.Model(inputs, x)


def test_losses_of_regularisers_and_layers_are_the_same():
    model = draw(penalized(), 0)
    x = np.random.default_rng(0).normal(size=(5, *IMAGE)).astype(np.float32)
    model(x)
    expected = [float(loss) for loss in model.losses]
    assert len(expected) > 15
    legacy = to_legacy(model).legacy
    # A copy, too: tensorflow-model-optimization makes some.
    copied = libraries().keras.models.clone_model(legacy)
    for one, other in zip(legacy.layers, copied.layers, strict=True):
        other.set_weights(one.get_weights())
    for each in (legacy, copied):
        each(x)
        np.testing.assert_allclose(sorted(map(float, each.losses)), sorted(expected), rtol=1e-4)


def test_gradients_are_the_same_and_what_is_frozen_stays_so():
    inputs = keras.Input(IMAGE)
    frozen = keras.layers.Conv2D(4, 3, name="frozen")
    block = Block(name="block")
    x = keras.layers.PReLU(name="prelu")(block(frozen(inputs)))
    half = keras.layers.TimeDistributed(keras.layers.Dense(3), name="half")(x)
    model = keras.Model(inputs, keras.layers.SeparableConv2D(2, 3, name="top")(half))
    frozen.trainable = block.dense.trainable = model.get_layer("half").trainable = False
    draw(model, 0)
    legacy = to_legacy(model).legacy
    (x,) = random_inputs(model)

    def gradients(model, variables):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x, training=False)))
        return tape.gradient(loss, variables)

    expected = gradients(model, [weight.value for weight in model.trainable_weights])
    actual = gradients(legacy, legacy.trainable_variables)
    assert len(expected) == 2 + 1 + 3  # Of the inner normalisation, the PReLU, the top.
    for ours, theirs in zip(expected, actual, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * np.abs(ours).max())
    assert len(legacy.weights) == len(model.weights)


def test_names_are_unique_and_allowed():
    taken = set()
    given = ["a/b", "a_b", "a_b", "_x", "é", "1", "a b", "-"]
    names = [bridges._unique(name, taken) for name in given]
    assert names == ["a_b", "a_b_", "a_b__", "x_x", "x_", "1", "a_b___", "x-"]
    with tf.Graph().as_default():
        for name in names:
            with tf.name_scope(name):
                pass
