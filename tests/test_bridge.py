"""Keras 3 to tf-keras and back: the same functions, and weights bit by bit."""

import gc
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_roots
from keras_roots import graph, layers
from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.compression import bridge as bridges
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fast_convolutions import convolutions, fast, native
from keras_roots.compression.legacy import libraries
from tests.reference import grouped_convolution
from tests.sample_models import Scale, elaborate_inputs, elaborate_model, quietly

# The smallest images that a network takes.
SIZES = {"alexnet": 67, "googlenet": 80}
IMAGE = (8, 8, 4)


@pytest.fixture
def forget():
    """A hundred networks would fill the memory."""
    yield
    keras.backend.clear_session()
    libraries().keras.backend.clear_session()
    gc.collect()


def drawn(rng, name, shape):
    """Random values for a weight, such that feature maps stay of one size."""
    if "variance" in name or "gamma" in name:
        return rng.uniform(0.5, 1.5, shape)
    scale = 0.3 if len(shape) < 2 else np.sqrt(1.5 / max(np.prod(shape[:-1]), 1))
    return rng.normal(0, scale, shape)


def draw(model, seed):
    """Gives each weight other values; but not those that come from `adapt`."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if not hasattr(layer, "adapt"):
            for variable in layer._trainable_variables + layer._non_trainable_variables:
                if "float" in variable.dtype:
                    variable.assign(drawn(rng, variable.name, variable.shape))
    return model


def draw_legacy(model, seed):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if not hasattr(getattr(layer, "kept", None), "adapt"):
            for variable in layer.weights:
                if variable.dtype.is_floating:
                    variable.assign(drawn(rng, variable.name, variable.shape))


def random_inputs(model, seed=1):
    rng = np.random.default_rng(seed)
    return [
        tf.constant(rng.normal(size=(2, *tensor.shape[1:])), tensor.dtype)
        for tensor in model.inputs
    ]


def outputs_of(model, inputs):
    """Of a model of Keras or of tf-keras, as a list of arrays."""
    structured = inputs if len(inputs) > 1 else inputs[0]
    if isinstance(model, keras.Model):
        structured = keras.tree.pack_sequence_as(graph.functional(model).input, inputs)
    outputs = keras.tree.flatten(model(structured, training=False))
    return [np.asarray(output, np.float64) for output in outputs]


def assert_same_function(one, other, inputs):
    for ours, theirs in zip(outputs_of(one, inputs), outputs_of(other, inputs), strict=True):
        assert np.isfinite(ours).all()
        assert ours.std() > 0
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=2e-4 * np.abs(ours).max())


def bits(model):
    return [(tuple(weight.shape), np.asarray(weight).tobytes()) for weight in model.weights]


def geometry(model):
    """Groups and kernels' shapes of all Conv2D, of a model of Keras or of tf-keras."""
    kinds = (keras.layers.Conv2D, layers.Conv2D, layers.GroupedConv2D)
    kinds += (libraries().keras.layers.Conv2D,)
    found = [layer for layer in flat_layers(model) if type(layer) in kinds]
    return sorted((each.groups, tuple(each.kernel.shape)) for each in found)


def flat_layers(model):
    if not isinstance(model, keras.Model):
        return model.layers
    return list({id(call.layer): call.layer for call in graph.trace(model).calls}.values())


def assert_round_trip(model, inputs=None, *, plain=True):
    """There, back, and back after another training.

    Args:
        plain: each layer is one of the same name there, with all its weights.
    """
    draw(model, 0)
    before = bits(model)
    bridge = to_legacy(model)
    ours = without_auxiliary_heads(model)
    inputs = inputs or random_inputs(ours)
    assert_same_function(ours, bridge.legacy, inputs)
    if plain:
        assert geometry(bridge.legacy) == geometry(ours)
    copy = bridge.back()
    assert bits(copy) == bits(ours)
    assert type(copy) is type(ours)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in ours.layers]
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in ours.weights}

    draw_legacy(bridge.legacy, 1)
    changed = bridge.back()
    assert_same_function(changed, bridge.legacy, inputs)
    moved = zip(outputs_of(changed, inputs), outputs_of(ours, inputs), strict=True)
    assert max(np.abs(one - other).max() for one, other in moved) > 0
    if plain:
        for layer in changed.layers:
            if layer.weights and not isinstance(layer, keras.Model):
                theirs = bridge.legacy.get_layer(layer.name)
                theirs = getattr(theirs, "held", theirs.weights)
                for mine, weight in zip(layer.weights, theirs, strict=True):
                    assert np.asarray(mine).tobytes() == weight.numpy().tobytes()
    assert bits(model) == before
    assert bits(copy) == bits(ours)
    return bridge


QUICK = ("nin", "googlenet")


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for name in keras_roots.list_models()
    ],
)
def test_every_network_of_ours(name):
    size = SIZES.get(name, 64 if name == "nin_imagenet" else 32)
    more = {"auxiliary_heads": True} if name == "googlenet" else {}
    model = keras_roots.build(
        name,
        root=4,
        input_shape=(size, size, 3),
        classes=10,
        classifier_activation=None,
        **more,
    )
    bridge = assert_round_trip(model)
    assert max(groups for groups, _ in geometry(bridge.legacy)) == 4
    kept = [getattr(layer, "kept", None) for layer in bridge.legacy.layers]
    kept = [layer for layer in kept if layer and not isinstance(layer, keras.layers.Dropout)]
    assert len(kept) == 2 * (name == "alexnet")  # Its local response normalisation.


APPLICATIONS = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "Xception": 71,
    "NASNetMobile": 32,
    "ConvNeXtTiny": 32,
}


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "MobileNet" else pytest.mark.slow)
        for name in APPLICATIONS
    ],
)
def test_families_of_keras_applications(name):
    size = APPLICATIONS[name]
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=10,
        **({} if name.startswith("NASNet") else {"classifier_activation": None}),
    )
    if not name.startswith(("MobileNet", "EfficientNetB", "NASNet")):  # Nothing to group.
        model = quietly(model, 2)
    assert_round_trip(model, plain=not name.startswith(("Xception", "NASNet")))


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
        keras_roots.normalization.LocalResponseNormalization(),
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
    # Inside of another.
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


class WithoutConfig(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__(name="mine")
        self.factor = factor

    def call(self, x):
        return x * self.factor


class Times(keras.layers.Layer):
    def call(self, x, by=1.0):
        return x * by


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            lambda x: keras.layers.Conv2D(2, 3, kernel_constraint="max_norm", name="a")(x),
            r"Layer 'a' \(Conv2D\) cannot be had .*it has a kernel_constraint, which would be lost",
        ),
        (
            lambda x: keras.layers.SeparableConv2D(2, 3, pointwise_constraint="non_neg", name="a")(
                x
            ),
            r"'a' \(SeparableConv2D\) .*it has a pointwise_constraint, which would be lost",
        ),
        (
            lambda x: keras.layers.PReLU(alpha_constraint="non_neg", name="a")(x),
            r"'a' \(PReLU\) .*its alpha has a constraint, which would be lost",
        ),
        (
            lambda x: keras.layers.Dense(
                4, kernel_regularizer=keras.regularizers.OrthogonalRegularizer(), name="a"
            )(x),
            r"'a' \(Dense\) .*its kernel_regularizer is OrthogonalRegularizer, none of L1 and L2",
        ),
        (
            lambda x: keras.layers.Dense(4, activation="silu", activity_regularizer="l1", name="a")(
                x
            ),
            r"'a' \(Dense\) .*its activity_regularizer is of an activation",
        ),
        (lambda x: WithoutConfig(2.0)(x), r"Layer 'mine' \(WithoutConfig\) cannot be had .*factor"),
        (
            lambda x: keras.Sequential([WithoutConfig(2.0)], name="block")(x),
            r"Layer 'block/mine' \(WithoutConfig\) cannot be had",
        ),
        (
            lambda x: keras.layers.Conv2D(2, 3, activation=abs_of, name="a")(x),
            r"'a' \(Conv2D\) .*it cannot be copied: .*abs_of",
        ),
    ],
)
def test_layers_that_cannot_be_had_are_named(outputs, message):
    inputs = keras.Input(IMAGE)
    with pytest.raises(ValueError, match=message):
        to_legacy(keras.Model(inputs, outputs(inputs)))


def abs_of(x):
    return keras.ops.abs(x)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_models_that_cannot_be_had():
    subclassed = Subclassed(name="mine")
    subclassed(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="functional or Sequential model. Received: 'mine'"):
        to_legacy(subclassed)
    with pytest.raises(ValueError, match="'empty' has not been built"):
        to_legacy(keras.Sequential([keras.layers.Dense(2)], name="empty"))
    inputs = keras.Input(IMAGE)
    half = keras.layers.Conv2D(2, 3, dtype="mixed_float16", name="half")(inputs)
    with pytest.raises(ValueError, match="computes in float32. .*'half' computes in float16"):
        to_legacy(keras.Model(inputs, half))
    inputs = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="one input size. Received: 'open'"):
        to_legacy(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="open"))


def test_what_computes_something_else_is_an_error():
    inputs = keras.Input((4,))
    times = Times()
    model = keras.Model(inputs, times(times(inputs, by=2.0), by=3.0), name="two_ways")
    with pytest.raises(RuntimeError, match="'two_ways' computes something else in tf-keras"):
        to_legacy(model)


@st.composite
def cases(draw):
    """All that TensorFlow has; strides and dilation exclude each other."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    strides, dilation = draw(st.sampled_from([(pair, st.just((1, 1))), (st.just((1, 1)), pair)]))
    return {
        "groups": draw(st.sampled_from([1, 2, 3, 4])),
        "channels_per_group": draw(st.integers(1, 3)),
        "filters_per_group": draw(st.integers(1, 3)),
        "kernel_size": draw(pair),
        "strides": draw(strides),
        "dilation_rate": draw(dilation),
        "padding": draw(st.sampled_from(["same", "valid"])),
        "use_bias": draw(st.booleans()),
        "size": draw(st.tuples(st.integers(7, 9), st.integers(7, 9))),
        "batch": draw(st.integers(1, 2)),
        "seed": draw(st.integers(0, 2**16)),
    }


def attributes(model):
    return [dict(vars(layer)) for layer in model.layers]


def check(case):
    """Against a NumPy loop, as it is and inside both contexts; those leave nothing behind."""
    rng = np.random.default_rng(case["seed"])
    groups = case["groups"]
    channels, filters = groups * case["channels_per_group"], groups * case["filters_per_group"]
    names = ("kernel_size", "strides", "dilation_rate", "padding", "use_bias", "groups")
    layer = layers.Conv2D(filters, **{name: case[name] for name in names})
    model = draw(keras.Sequential([keras.Input((*case["size"], channels)), layer]), case["seed"])
    kernel, *biases = (np.asarray(weight, np.float64) for weight in model.get_weights())
    bias = biases[0] if biases else np.zeros(filters)
    images = rng.normal(size=(case["batch"], *case["size"], channels)).astype(np.float32)
    cotangent = rng.normal(size=(case["batch"], *layer.output.shape[1:])).astype(np.float32)
    outputs, of_images, of_kernel = grouped_convolution(
        images.astype(np.float64),
        kernel,
        lambda shape: cotangent.reshape(shape).astype(np.float64),
        case["strides"],
        case["padding"],
        case["dilation_rate"],
    )
    wanted = [outputs + bias, of_images, of_kernel, cotangent.astype(np.float64).sum((0, 1, 2))]

    legacy = to_legacy(model).legacy
    (convolution,) = convolutions(legacy)
    assert (convolution.groups, tuple(convolution.kernel.shape)) == (groups, kernel.shape)
    before = attributes(legacy)

    def agree(actual):
        for mine, theirs in zip(actual, wanted, strict=False):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * max(1, abs(theirs).max()))

    agree([legacy(images)])
    with native(legacy):
        agree([legacy(images)])
    with fast(legacy):
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            made = legacy(x, training=True)
        variables = [x, *legacy.trainable_variables]
        agree([made, *tape.gradient(made, variables, output_gradients=cotangent)])
    assert attributes(legacy) == before


@given(cases())
def test_convolutions_and_their_gradients_equal_a_numpy_loop(case):
    check(case)


@pytest.mark.slow
@given(cases())
@settings(max_examples=300, derandomize=False)
def test_many_random_convolutions_equal_a_numpy_loop(case):
    check(case)


def operators(model):
    """Of the graph of a call, and of the functions that it calls."""
    graph = tf.function(model).get_concrete_function(tf.ones((1, *IMAGE))).graph.as_graph_def()
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    return [node.op for node in itertools.chain(*nodes)]


def test_convolutions_in_wrappers_are_found_and_let_go():
    layers_of = libraries().keras.layers
    prune = libraries().tfmot.sparsity.keras.prune_low_magnitude
    inputs = libraries().keras.Input(IMAGE)
    x = prune(layers_of.Conv2D(4, 3, groups=2, name="grouped"))(inputs)
    model = libraries().keras.Model(inputs, layers_of.Conv2D(4, 3, name="dense")(x))
    found = convolutions(model)
    assert [layer.name for layer in found] == ["grouped", "dense"]
    before = [dict(vars(layer)) for layer in found]
    compiled = [op for op in operators(model) if op.endswith("PartitionedCall")]
    assert compiled  # With XLA, which is slow.
    for context in (fast, native):
        with context(model):
            inside = operators(model)
        assert inside.count("Conv2D") == 2
        assert not [op for op in inside if op.endswith("PartitionedCall")]
        with pytest.raises(RuntimeError, match="mine"), context(model):
            raise RuntimeError("mine")
        assert [dict(vars(layer)) for layer in found] == before
    assert [op for op in operators(model) if op.endswith("PartitionedCall")] == compiled


def test_names_are_unique_and_allowed():
    taken = set()
    given = ["a/b", "a_b", "a_b", "_x", "é", "1", "a b", "-"]
    names = [bridges._unique(name, taken) for name in given]
    assert names == ["a_b", "a_b_", "a_b__", "x_x", "x_", "1", "a_b___", "x-"]
    with tf.Graph().as_default():
        for name in names:
            with tf.name_scope(name):
                pass
