import itertools
import os
import re
import signal

import keras
import numpy as np
import pytest

from keras_roots import models
from keras_roots.compression.distillation import distill
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.surgery.logits import copy_with_logits
from keras_roots.training import Config
from keras_roots.training.loop import DivergedError, Interrupted
from tests.colour_models import colour_folders

pytest.importorskip("keras.distillation")
SIZE, CLASSES = 8, 4


def as_bytes(model):
    return [np.asarray(variable).tobytes() for variable in model.variables]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def data(count=24, **config):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    labels = rng.integers(0, CLASSES, count)
    settings = {"epochs": 2, "batch_size": 8, "seed": 3, **config}
    return FineTuning.of_arrays(images, labels, classes=CLASSES, **settings), images, labels


def linear(activation="softmax", seed=0, size=SIZE, classes=CLASSES):
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, offset=-1)(inputs))
    normal = keras.initializers.RandomNormal(stddev=0.2, seed=seed)
    dense = keras.layers.Dense(classes, activation=activation, kernel_initializer=normal)
    return keras.Model(inputs, dense(x), name=f"linear{seed}")


def nested(seed=0, end=keras.layers.Softmax):
    """With normalisation, dropout and a layer that is called twice, in a model in a model."""
    keras.utils.set_random_seed(seed)
    inner = keras.Input((SIZE, SIZE, 4))
    shared = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    x = keras.layers.BatchNormalization(name="norm")(shared(shared(inner)))
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    top = keras.layers.Dense(CLASSES, name="top")(x)
    net = keras.Model(inner, end()(top), name="net")
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    model = keras.Model(inputs, net(keras.layers.Conv2D(4, 1, name="first")(x)), name="outer")
    norm = net.get_layer("norm")
    norm.set_weights([np.linspace(0.5, 2, 4) * (n + 1) for n in range(4)])
    net.get_layer("top").kernel.assign(np.random.default_rng(seed).normal(0, 2, (4, CLASSES)))
    return model


ENDS = {
    "layer": keras.layers.Softmax,
    "activation": lambda: keras.layers.Activation("softmax"),
    "operation": lambda: keras.ops.softmax,
    "dense": lambda: keras.layers.Dense(CLASSES, activation="softmax"),
    "logits": lambda: keras.layers.Activation("linear"),
}


@pytest.mark.parametrize("name", ENDS)
def test_copies_without_the_softmax(name):
    model = nested(end=ENDS[name])
    before = as_bytes(model)
    images = np.random.default_rng(1).uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)
    expected = np.asarray(model(images))
    copied, pairs = copy_with_logits(model)
    logits = np.asarray(copied(images))
    if name == "logits":
        assert np.array_equal(logits, expected)
    else:
        assert logits.min() < 0
        np.testing.assert_allclose(softmax(logits), expected, rtol=1e-4)
    copied.set_weights([np.zeros_like(weight) for weight in copied.get_weights()])
    assert as_bytes(model) == before
    assert {source.name for source, _ in pairs} >= {"first", "shared", "top"}
    assert np.array_equal(model(images), expected)


def test_copies_of_networks_without_the_softmax():
    image = np.random.default_rng(1).uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
    network = models.RootNIN(root=8)
    inputs = keras.Input((32, 32, 3))
    for model in (network, keras.Model(inputs, network(keras.layers.Rescaling(2)(inputs)))):
        logits = np.asarray(copy_with_logits(model)[0](image))
        np.testing.assert_allclose(softmax(logits), model(image), rtol=1e-4)


def test_probabilities_of_something_else_are_refused():
    inputs = keras.Input((SIZE, SIZE, 3))
    mean = keras.layers.Average()([linear(seed=seed)(inputs) for seed in range(2)])
    with pytest.raises(ValueError, match="whose outputs are probabilities that something else"):
        copy_with_logits(keras.Model(inputs, mean))


@pytest.mark.parametrize(
    ("temperature", "student_weight", "smoothing"),
    [(3.0, 0.0, 0.0), (1.0, 0.3, 0.0), (3.0, 0.3, 0.2), (3.0, 1.0, 0.2)],
)
def test_one_update_against_numpy(temperature, student_weight, smoothing):
    rate, decay = 0.5, 0.01
    tuning, images, labels = data(
        epochs=1,
        batch_size=24,
        learning_rate=rate,
        momentum=0.0,
        weight_decay=decay,
        label_smoothing=smoothing,
    )
    teacher, student = linear(None, seed=1), linear("softmax", seed=2)
    inputs = images.reshape(len(images), -1) / 128.0 - 1
    (kernel, bias), theirs = student.get_weights(), teacher.get_weights()
    answers, logits = inputs @ theirs[0] + theirs[1], inputs @ kernel + bias
    targets = np.eye(CLASSES)[labels] * (1 - smoothing) + smoothing / CLASSES
    soft, softer = softmax(logits), softmax(logits / temperature)
    wanted = softmax(answers / temperature)
    divergence = temperature**2 * np.sum(wanted * np.log(wanted / softer), axis=-1)
    entropy = -np.sum(targets * np.log(soft), axis=-1)
    loss = np.mean(student_weight * entropy + (1 - student_weight) * divergence)
    by_logits = student_weight * (soft - targets)
    by_logits += (1 - student_weight) * temperature * (softer - wanted)
    by_logits /= len(images)

    lines = []
    how = {"temperature": temperature, "student_weight": student_weight}
    trained = distill(teacher, student, tuning, **how, report=lines.append)
    right = np.mean(logits.argmax(axis=-1) == labels)
    assert len(lines) == 1
    assert float(re.search("epoch 1/1: loss (.*?),", lines[0])[1]) == pytest.approx(loss, abs=2e-4)
    assert f"top-1 {100 * right:.2f}%" in lines[0]
    new_kernel, new_bias = trained.get_weights()
    np.testing.assert_allclose(new_bias, bias - rate * by_logits.sum(axis=0), atol=1e-5)
    by_kernel = inputs.T @ by_logits + decay * kernel
    np.testing.assert_allclose(new_kernel, kernel - rate * by_kernel, atol=1e-5)
    assert np.abs(new_kernel - kernel).max() > 1e-2


def test_teacher_and_student_stay_as_they_are_and_the_softmax_comes_back():
    tuning, images, _ = data(label_smoothing=0.1, mixup=0.5)
    teacher, student = nested(1), nested(2)
    student.get_layer("first").trainable = False
    before = [as_bytes(model) for model in (teacher, student)]
    trained = distill(teacher, student, tuning)
    assert [as_bytes(model) for model in (teacher, student)] == before
    assert all(layer.trainable for layer in teacher.layers)
    assert student.get_layer("net").trainable
    outputs = np.asarray(trained(images.astype(np.float32)))
    np.testing.assert_allclose(outputs.sum(axis=-1), 1, atol=1e-5)
    assert [layer.name for layer in trained.layers] == [layer.name for layer in student.layers]
    changed = {
        weight.path.rpartition("/")[2]
        for weight, old in zip(trained.weights, student.get_weights(), strict=True)
        if not np.array_equal(weight, old)
    }
    assert changed == {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"}
    frozen = [np.asarray(model.get_layer("first").kernel) for model in (student, trained)]
    assert np.array_equal(*frozen)


def test_the_teachers_statistics_do_not_move(monkeypatch):
    taught = []
    distiller = keras.distillation.Distiller

    def spy(teacher, *arguments, **how):
        taught.append((teacher, as_bytes(teacher)))
        return distiller(teacher, *arguments, **how)

    monkeypatch.setattr(keras.distillation, "Distiller", spy)
    tuning, _, _ = data(epochs=1)
    distill(nested(1), nested(2), tuning)
    [(teacher, before)] = taught
    assert as_bytes(teacher) == before


def test_a_student_learns_its_teachers_answers_where_labels_are_noise():
    tuning, images, labels = data(
        400, epochs=20, batch_size=50, learning_rate=0.2, weight_decay=0.0
    )
    teacher, student = linear(seed=1), linear(seed=2)

    def answers(model):
        return np.asarray(model(images.astype(np.float32))).argmax(axis=-1)

    trained = distill(teacher, student, tuning, student_weight=0.0)
    assert np.mean(answers(teacher) == answers(student)) < 0.4
    assert np.mean(answers(teacher) == answers(trained)) > 0.8
    assert np.mean(labels == answers(trained)) < 0.4


def test_an_interrupted_call_goes_on_to_the_same_weights(tmp_path):
    tuning, _, _ = data(epochs=3, mirror=True, learning_rate=0.05, checkpoint_every=5)
    teacher, seeds = nested(1), itertools.count()

    def student():
        model = nested(2)
        keras.utils.set_random_seed(next(seeds))  # What dropout leaves out is the configuration's.
        return model

    expected = distill(teacher, student(), tuning)

    def interrupt(line):
        if "epoch 1/3" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "checkpoints"
    with pytest.raises(Interrupted, match="SIGTERM.*after update 4") as error:
        distill(teacher, student(), tuning, folder=folder, report=interrupt)
    assert error.value.step == 4

    def break_off(line):
        if "epoch 2/3" in line:
            raise KeyboardInterrupt  # Before the epoch's checkpoint, after that of update 5.

    lines = []
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, student(), tuning, folder=folder, report=break_off)
    trained = distill(teacher, student(), tuning, folder=folder, report=lines.append)
    assert lines[0] == "Distillation: going on after update 5"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "Distillation, epoch 2/3",
        "Distillation, epoch 3/3",
    ]
    for ours, theirs in zip(trained.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    again = distill(teacher, student(), tuning, folder=folder, report=lines.append)
    assert lines[3:] == ["Distillation: going on after update 9"]
    assert as_bytes(again)[0] == as_bytes(trained)[0]


def test_a_checkpoint_that_is_none(tmp_path):
    tuning, _, _ = data(epochs=1)
    (tmp_path / "ckpt-1.index").write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot be read: .* Remove the folder to begin again"):
        distill(linear(), linear(), tuning, folder=tmp_path)


def colours(folder, batch_size):
    config = Config(
        dataset="folders",
        data_dir=str(folder),
        image_size=16,
        resize=16,
        augmentation="none",
        batch_size=batch_size,
        base_batch_size=batch_size,
        weight_decay=0.0,
    )
    return FineTuning.of(config, epochs=1, learning_rate=0.5)


@pytest.mark.parametrize("batch_size", [8, 1])
def test_images_that_cannot_be_read_count_for_nothing(tmp_path, batch_size):
    for name in ("whole", "broken"):
        for split in ("train", "val"):
            colour_folders(tmp_path / name / split)
    (tmp_path / "broken" / "train" / "red" / "bad.JPEG").write_bytes(b"no image")
    sizes = {"size": 16, "classes": 3}
    models_ = linear(seed=1, **sizes), linear(seed=2, **sizes)
    trained = distill(*models_, colours(tmp_path / "broken", batch_size))
    if batch_size == 1:  # In which an update has nothing at all.
        assert all(np.isfinite(weight).all() for weight in trained.get_weights())
        return
    expected = distill(*models_, colours(tmp_path / "whole", batch_size - 1))
    for ours, theirs in zip(trained.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_auxiliary_heads_are_left_out():
    student = linear(seed=2)
    heads = keras.Model(
        student.inputs,
        {
            "predictions": student.output,
            "auxiliary_1": keras.layers.Dense(CLASSES)(keras.layers.Flatten()(student.input)),
        },
    )
    tuning, _, _ = data(epochs=1)
    trained = distill(linear(seed=1), heads, tuning)
    expected = distill(linear(seed=1), student, tuning)
    assert np.array_equal(trained.get_weights()[0], expected.get_weights()[0])


def test_regularisation_counts():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Flatten()(inputs)
    dense = keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.5))
    model = keras.Model(inputs, dense(x))
    tuning, _, _ = data(batch_size=24, epochs=1, learning_rate=0.5, momentum=0.0, weight_decay=0.0)
    trained = distill(model, model, tuning, student_weight=0.0)
    kernel = model.get_weights()[0]
    np.testing.assert_allclose(trained.get_weights()[0], kernel / 2, atol=1e-4)


def test_a_loss_that_is_not_finite():
    tuning, _, _ = data(epochs=1)
    teacher = linear()
    teacher.set_weights([np.full_like(weight, np.nan) for weight in teacher.get_weights()])
    with pytest.raises(DivergedError, match="Distillation diverged at update 1: the loss is nan"):
        distill(teacher, linear(), tuning)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0}, "temperature above 0.*Received: 0"),
        ({"temperature": -1.0}, "temperature above 0"),
        ({"temperature": float("nan")}, "temperature above 0"),
        ({"temperature": float("inf")}, "temperature above 0"),
        ({"student_weight": -0.1}, "student_weight from 0 to 1.*Received: -0.1"),
        ({"student_weight": 1.1}, "student_weight from 0 to 1"),
        ({"teacher": linear(classes=5, seed=7)}, "4 classes.*'linear7' takes.*gives \\(5,\\)"),
        ({"student": linear(classes=5, seed=7)}, "4 classes.*'linear7' takes.*gives \\(5,\\)"),
        ({"teacher": linear(size=9, seed=7)}, "'linear7' takes \\(9, 9, 3\\)"),
        ({"student": keras.layers.Dense(3)}, "Expected a Keras model. Received: Dense"),
        ({"teacher": keras.Sequential([keras.layers.Dense(3)])}, "has not been built"),
    ],
)
def test_what_is_asked_for_in_error(changed, message):
    tuning, _, _ = data()
    arguments = {"teacher": linear(), "student": linear(), **changed}
    with pytest.raises(ValueError, match=message):
        distill(**arguments, tuning=tuning)


def test_models_that_are_no_students():
    tuning, _, _ = data()
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = keras.Model(inputs, keras.layers.Dense(CLASSES)(inputs), name="maps")
    frozen = linear()
    frozen.trainable = False
    half = keras.layers.Dense(CLASSES, dtype="float16")(keras.layers.Flatten()(inputs))
    for student, message in (
        (maps, "'maps' takes .* and gives \\(8, 8, 4\\)"),
        (frozen, "Expected a student with weights to train"),
        (keras.Model(inputs, half, name="half"), "float32. Received: 'half' with float16"),
    ):
        with pytest.raises(ValueError, match=message):
            distill(linear(), student, tuning)


def test_a_keras_that_has_no_distillation(monkeypatch):
    tuning, _, _ = data()
    monkeypatch.delattr(keras, "distillation")
    with pytest.raises(ModuleNotFoundError, match="needs Keras 3.12 or later.*'keras>=3.12'"):
        distill(linear(), linear(), tuning)
