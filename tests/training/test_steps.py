import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.data import augmentation
from keras_roots.surgery.auxiliary_heads import loss_weights
from keras_roots.training import network, optimization
from keras_roots.training.config import Config
from keras_roots.training.steps import Steps
from tests.sample_models import few_inception_modules

CLASSES, SIZE, BATCH = 4, 16, 8


def made(**values):
    common = {
        **{"model": "nin", "root": "4", "image_size": SIZE, "resize": SIZE, "epochs": 8},
        **{"batch_size": BATCH, "base_batch_size": BATCH, "learning_rate": 0.01},
        **{"warmup_epochs": 0, "schedule": "constant", "augmentation": "none"},
        **{"mean": (120, 120, 120), "std": (60, 60, 60)},
    }
    config = Config(**{**common, **values})
    model = network.for_training(config, CLASSES)
    optimizer = optimization.make(config, optimization.learning_rate(config, 1, 8))
    return Steps(config, tf.distribute.get_strategy(), model, optimizer, CLASSES)


def batch(seed=0, size=SIZE, **more):
    rng = np.random.default_rng(seed)
    values = {
        "images": rng.integers(0, 256, (BATCH, size, size, 3), np.uint8),
        "labels": rng.integers(0, CLASSES, BATCH),
        "examples": np.arange(BATCH),
        "weights": np.ones(BATCH, np.float32),
        "uniforms": rng.random((BATCH, augmentation.UNIFORMS), np.float32),
        **more,
    }
    return {name: tf.constant(value) for name, value in values.items()}


def train(steps, *batches):
    return [np.array([*s, n]) for s, n in (steps.train(b, tf.constant(False)) for b in batches)]


@pytest.fixture(scope="module", name="plain")
def make_plain():
    """The rows of two updates without anything particular."""
    return train(made(), batch(), batch(1))


def test_a_step_is_that_of_keras():
    """The same network, images and updates in Keras's own fit."""
    ours = made(weight_decay=0.0, nesterov=False, clip_norm=0.0)
    theirs = network.for_training(ours.config, CLASSES)
    theirs.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    for seed in range(3):
        data = batch(seed)
        (found,) = train(ours, data)
        loss, accuracy = theirs.train_on_batch(data["images"], data["labels"])
        if seed == 0:
            assert found[0] / BATCH == pytest.approx(float(loss), rel=1e-5)
            assert found[1] / BATCH == pytest.approx(float(accuracy))
        theirs.reset_metrics()
    for a, b in zip(ours.model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-4)


def test_images_of_weight_0_count_for_nothing():
    weights = np.array([1, 0, 1, 1, 0, 1, 1, 1], np.float32)
    steps = made()
    data = batch(weights=weights)
    outputs = steps.model(tf.cast(data["images"], tf.float32), training=False)
    losses = keras.losses.sparse_categorical_crossentropy(data["labels"], outputs, from_logits=True)
    found = steps.evaluate(data, tf.constant(False)).numpy()
    is_right = np.argmax(outputs, axis=-1) == data["labels"].numpy()
    expected = [(losses * weights).numpy().sum(), (is_right * weights).sum(), 6, 6, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.fixture(scope="module", name="twice")
def make_twice():
    """A batch of two equal halves; the row of an update by it, and the model after it."""
    data = {k: tf.concat([v[: BATCH // 2]] * 2, 0) for k, v in batch().items()}
    steps = made()
    return data, *train(steps, data), steps.model


def assert_same_update(steps, model):
    ours, theirs = steps.model.trainable_variables, model.trainable_variables
    for v, w in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-3, atol=1e-5)


def test_the_mean_is_over_the_images_that_count(twice):
    """If one of the halves has weight 0, batch statistics and mean gradient stay the same."""
    data, expected, model = twice
    half = {**data, "weights": tf.constant([1.0] * (BATCH // 2) + [0.0] * (BATCH // 2))}
    steps = made()
    (found,) = train(steps, half)
    np.testing.assert_allclose(found[:4] * 2, expected[:4], rtol=1e-5)
    assert found[-1] == pytest.approx(expected[-1], rel=1e-4)
    assert_same_update(steps, model)


def test_top_5_and_ties():
    steps = made()
    logits = np.zeros((3, 9), np.float32)
    logits[0], logits[1] = np.arange(9), 1.0
    from keras_roots.training.steps import _in_top

    labels = tf.constant([4, 5, 0], tf.int64)
    assert _in_top(labels, tf.constant(logits), 5).numpy().tolist() == [True, False, True]
    assert _in_top(labels, tf.constant(logits), 1).numpy().tolist() == [False, False, True]
    assert steps.classes == CLASSES


def test_pieces_of_a_batch_make_the_same_update_where_statistics_are_the_same(twice):
    """With pieces that are equal, so that batch normalisation sees the same in each."""
    data, expected, model = twice
    pieces = made(accumulation=2)
    (found,) = train(pieces, data)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert_same_update(pieces, model)


def test_label_smoothing(plain):
    smooth, data = made(label_smoothing=0.2), batch()
    (a,), b = train(smooth, data), plain[0]
    logits = network.for_training(smooth.config, CLASSES)(
        tf.cast(data["images"], tf.float32), training=True
    ).numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = 0.8 * np.eye(CLASSES)[data["labels"]] + 0.2 / CLASSES
    assert a[0] == pytest.approx(-(targets * logs).sum(), rel=1e-4)
    assert a[0] != pytest.approx(b[0], rel=3e-4)


def test_moving_averages():
    steps = made(ema_decay=0.5)
    before = [np.array(v) for v in steps.averages]
    train(steps, batch())
    # The first update has decay min(0.5, (1 + 1) / (10 + 1)).
    after = [np.array(v) for v in steps._averaged_values()]
    for average, a, b in zip(steps.averages, before, after, strict=True):
        np.testing.assert_allclose(average, a * 2 / 11 + b * 9 / 11, rtol=1e-4, atol=1e-6)
    averages = [np.array(v) for v in steps.averages]
    steps.swap_averages()
    for variable, average in zip(steps._averaged_values(), averages, strict=True):
        np.testing.assert_array_equal(variable, average)
    steps.swap_averages()
    for variable, value in zip(steps._averaged_values(), after, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(plain, precision):
    steps = made(precision=precision)
    for found, expected in zip(train(steps, batch(), batch(1)), plain, strict=True):
        np.testing.assert_allclose(found[0], expected[0], rtol=0.1)
        np.testing.assert_allclose(found[-1], expected[-1], rtol=0.15)
    layer = steps.model.get_layer("conv2_1_conv")
    assert (layer.compute_dtype, layer.variable_dtype) == (precision, "float32")
    used = network.for_use(steps.model, steps.config, CLASSES)
    assert used.get_layer("conv2_1_conv").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_compiled_by_xla_it_is_the_same(plain):
    (found,) = train(made(jit_compile=True), batch())
    np.testing.assert_allclose(found, plain[0], rtol=1e-3)


def test_the_network_for_use_gives_probabilities_of_images():
    steps = made()
    train(steps, batch(), batch(1))
    used = network.for_use(steps.model, steps.config, CLASSES)
    images = batch()["images"]
    logits = steps.model(tf.cast(images, tf.float32), training=False)
    np.testing.assert_allclose(
        used.predict(images.numpy(), verbose=0), keras.ops.softmax(logits), atol=1e-5
    )


def test_auxiliary_heads_have_their_part_of_the_loss(monkeypatch):
    few_inception_modules(monkeypatch)
    steps = made(
        model="googlenet",
        root="1",
        image_size=75,
        resize=75,
        model_options=("auxiliary_heads=true",),
    )
    data = batch(size=75)
    outputs = steps.model(tf.cast(data["images"], tf.float32), training=False)
    weights = loss_weights(steps.model)
    assert set(weights.values()) == {1.0, 0.3}
    targets = tf.one_hot(data["labels"], CLASSES)
    losses, logits = steps._losses(outputs, targets)
    expected = sum(
        weight
        * keras.losses.categorical_crossentropy(targets, outputs[name], from_logits=True).numpy()
        for name, weight in weights.items()
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(logits, outputs["predictions"])
    used = network.for_use(steps.model, steps.config, CLASSES)
    np.testing.assert_allclose(
        used(tf.cast(data["images"], tf.float32), training=False),
        keras.ops.softmax(outputs["predictions"]),
        atol=1e-5,
    )


def test_an_option_that_the_network_has_not():
    with pytest.raises(ValueError, match="nin has no 'geometry'; it has none"):
        made(model_options=("geometry=deep-roots",))
    with pytest.raises(ValueError, match="Unknown model 'resnet51'"):
        made(model="resnet51")
