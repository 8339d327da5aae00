import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots import plan, rootify
from keras_roots.surgery.stock import to_stock
from tests.sample_models import (
    elaborate_inputs,
    elaborate_model,
    groups_of,
    quietly,
    randomized,
    small_model,
)


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


def test_a_compiled_model_is_copied_and_left_as_it_is():
    model = small_model()

    def loss(y, prediction):
        return keras.ops.mean(prediction)

    model.compile("sgd", loss)
    rooted = quietly(model, 2)
    assert model.compiled
    assert not rooted.compiled


def conv(**kwargs):
    return keras.layers.Conv2D(8, 3, padding="same", **kwargs)


def adapted(layer, data):
    layer.adapt(data)
    return layer


def copies(model):
    yield from (quietly(model, 2, weights=weights) for weights in ("random", "block-diagonal"))
    yield to_stock(model)


def test_what_layers_within_layers_have_adapted_is_copied():
    rng = np.random.default_rng(0)
    normalize = adapted(keras.layers.Normalization(), rng.normal(3, 2, (50, 8, 8, 4)))
    words = adapted(keras.layers.TextVectorization(output_mode="multi_hot"), ["a cat", "a dog"])
    bins = adapted(
        keras.layers.Discretization(num_bins=3, output_mode="one_hot"), rng.normal(size=(50, 1))
    )
    frames, text = keras.Input((2, 8, 8, 4)), keras.Input((1,), dtype="string")
    number = keras.Input((1,))
    normal = keras.layers.TimeDistributed(normalize)(frames)
    maps = conv()(conv()(keras.layers.Reshape((16, 8, 4))(normal)))
    model = keras.Model([frames, text, number], [normal, words(text), bins(number), maps])
    inputs = [
        tf.constant(rng.normal(3, 2, (2, 2, 8, 8, 4)), tf.float32),
        tf.constant([["dog"], ["cat"]]),
        tf.constant([[-2.0], [2.0]]),
    ]
    expected = [np.asarray(output) for output in model(inputs)[:3]]
    assert np.ptp(expected[1], axis=0).max() == 1
    assert np.ptp(expected[2], axis=0).max() == 1
    for copy in copies(model):
        for ours, theirs in zip(copy(inputs), expected, strict=False):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_is_not_trainable_stays_so():
    inputs = keras.Input((8, 8, 4))
    backbone = keras.Model(inputs, keras.layers.BatchNormalization()(conv()(conv()(inputs))))
    backbone.trainable = False
    half = keras.Sequential([conv(name="free"), conv(name="frozen")], name="half")
    half.layers[1].trainable = False
    outer = keras.Input((8, 8, 4))
    model = keras.Model(outer, half(backbone(outer, training=True)))
    for copy in copies(model):
        assert [layer.trainable for layer in copy._flatten_layers()] == [
            layer.trainable for layer in model._flatten_layers()
        ]
        assert len(copy.trainable_weights) == 2
    printed = []
    rootify(model, 2, report=printed.append)
    assert printed[1].startswith("Drawn anew and yet not trainable: conv2d")
    assert "frozen" in printed[1]
    assert "free" not in printed[1]
    printed.clear()
    rootify(small_model(), 2, report=printed.append)
    assert len(printed) == 1


def test_weights_keep_their_paths():
    inputs = keras.Input((8, 8, 4))
    block = keras.Sequential([conv(name="a"), conv(name="b")], name="block")
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(block(inputs)))
    for copy in copies(model):
        assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]


def test_precision_is_kept():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = small_model()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for copy in copies(model):
        assert copy.dtype_policy.name == "mixed_bfloat16"
        assert {layer.compute_dtype for layer in copy.layers[1:]} == {"bfloat16"}


def test_lambda_layers_are_copied_with_their_function():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Lambda(lambda x, by: x * by, arguments={"by": 3.0}, name="triple")(inputs)
    model = keras.Model(inputs, conv()(conv()(x)))
    randomized(model)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 4))
    np.testing.assert_allclose(to_stock(model)(images), model(images), atol=1e-5)
    assert quietly(model, 2).get_layer("triple").arguments == {"by": 3.0}


@keras.saving.register_keras_serializable(package="tests")
class OwnModel(keras.Model):
    """Makes its own inputs, as backbones of other packages do."""

    def __init__(self, channels):
        inputs = keras.Input((8, 8, channels))
        super().__init__(inputs, conv()(conv()(inputs)), name="own")


def test_models_of_another_class():
    printed = []
    copy = rootify(OwnModel(4), 2, report=printed.append)
    assert "It is a Functional model, and no OwnModel" in printed[0]
    assert copy.name == "own"


def test_a_layer_that_cannot_be_built_with_groups_is_named():
    inputs = keras.Input((8, 8, 4))
    dense_only = keras.initializers.Constant(np.ones((3, 3, 8, 8)))
    x = conv(kernel_initializer=dense_only, name="constant")(conv()(inputs))
    with pytest.raises(ValueError, match=r"Layer 'constant' \(Conv2D\) cannot be copied"):
        quietly(keras.Model(inputs, x), 2)


def test_layers_with_adapters_are_left_alone():
    model = small_model((8, 8, 8, 8))
    model.get_layer("conv1").enable_lora(2)
    (skipped,) = (layer for layer in plan(model, 2).skipped if layer.name == "conv1")
    assert skipped.reason == "adapted by LoRA"
    with pytest.raises(ValueError, match="'conv1' cannot be given filter groups: .* by LoRA"):
        plan(model, 2, degrees={"conv1": 2})
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    for weights in ("block-diagonal", "permuted"):
        copy = quietly(model, 2, weights=weights)
        for ours, theirs in zip(
            copy.get_layer("conv1").get_weights(),
            model.get_layer("conv1").get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
