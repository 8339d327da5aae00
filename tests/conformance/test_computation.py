"""Every form of network computes the same, however it is computed, and has the same gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots.export import inference_function
from keras_roots.layers.normalization import LocalResponseNormalization
from keras_roots.lowering.choice import cpu_computes
from tests.conformance import networks

# Of the largest value: float32's rounding, 6e-8, in sums of hundreds of terms, some layers deep.
TOLERANCE = 2e-5


@pytest.fixture(name="name", params=networks.NAMES)
def get_name(request):
    return request.param


def assert_scores(found, name, tolerance=TOLERANCE):
    expected = networks.scores(name)[: len(found)]
    assert expected.std() > 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_function_for_inference_is_the_model_for_batches_of_any_size(name, jit_compile):
    function = inference_function(networks.built(name), jit_compile=jit_compile)
    for batch in (1, 3):
        assert_scores(np.asarray(function(networks.images(name)[:batch])), name)


def test_a_saved_model_is_loaded_as_it_was(tmp_path, name):
    model = networks.built(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_scores(np.asarray(loaded(networks.images(name)[:3], training=False)), name)


def gradients(model, images, cotangent):
    """Of sum(scores * cotangent) in training, by the weights."""
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(images, training=True) * cotangent)
    found = tape.gradient(total, [each.value for each in model.trainable_variables])
    return [np.asarray(gradient) for gradient in found]


def test_outputs_weights_and_gradients_are_those_of_stock_keras(name):
    model = networks.built(name)
    stock = keras_roots.to_stock(model)
    ours = {type(layer) for layer in stock.layers if type(layer).__module__[:6] != "keras."}
    assert ours <= {LocalResponseNormalization}  # Which Keras lacks.
    assert [layer.name for layer in stock.layers] == [layer.name for layer in model.layers]
    assert [each.path for each in stock.weights] == [each.path for each in model.weights]
    images = networks.images(name)[:4]
    assert_scores(np.asarray(stock(images, training=False)), name)

    trained = networks.fresh(name)  # The step changes moving statistics.
    trained.set_weights(model.get_weights())
    cotangent = np.random.default_rng(1).normal(size=(4, networks.CLASSES)).astype(np.float32)
    ours, theirs = (gradients(each, images, cotangent) for each in (trained, stock))
    largest = max(np.abs(gradient).max() for gradient in theirs)
    for gradient, expected in zip(ours, theirs, strict=True):
        # Through batch normalisation differences of sums come back, with ten times the rounding;
        # the gradients of a bias before it are such a difference of equal sums, and rounding alone.
        atol = 1e-3 * np.abs(expected).max() + TOLERANCE * largest
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)
    for ours, theirs in zip(trained.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.skipif(not cpu_computes("bfloat16"), reason="this CPU does not compute in bfloat16")
def test_in_mixed_bfloat16_it_is_nearly_the_same(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = networks.fresh(name)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(networks.built(name).get_weights())
    found = mixed(networks.images(name), training=False)
    assert found.dtype == "bfloat16"
    # Eight bits of each activation and weight, as in int8: a root mean square error of a quarter
    # where random layers amplify it.
    expected = networks.scores(name)
    noise = np.asarray(keras.ops.cast(found, "float32")) - expected
    assert np.linalg.norm(noise) < 0.25 * np.linalg.norm(expected)


def tensorflow_has_channels_first():
    """On a CPU it has with oneDNN only, which is on by default on some processors."""
    image, kernel = np.ones((1, 3, 8, 8), np.float32), np.ones((3, 3, 3, 4), np.float32)
    try:
        keras.ops.conv(image, kernel, data_format="channels_first")
    except tf.errors.UnimplementedError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in networks.NAMES if name != "rootified"])
def test_channels_first_computes_the_same(name):
    if not tensorflow_has_channels_first():
        pytest.skip("this TensorFlow has no channels_first on this CPU (oneDNN is off)")
    weights, images = networks.built(name).get_weights(), networks.images(name)[:2]
    keras.config.set_image_data_format("channels_first")
    try:
        first = networks.fresh(name)
        first.set_weights(weights)
        found = first.predict(np.moveaxis(images, -1, 1), verbose=0)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert_scores(found, name)
