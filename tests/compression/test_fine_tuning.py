import contextlib
import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.compression import quantization, rounding
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fast_convolutions import fast
from keras_roots.compression.fine_tuning import FineTuning, Trainee
from keras_roots.compression.pruning import prune
from keras_roots.compression.quantization import quantize_aware
from keras_roots.compression.tuned import tune
from keras_roots.data import Source, Split, input_pipeline
from keras_roots.layers import GroupedConv2D
from keras_roots.training import Config
from keras_roots.training.loop import DivergedError, Interrupted
from keras_roots.training.signals import Signals
from tests.tiny_networks import (
    CLASSES,
    SIZE,
    as_bytes,
    as_taken,
    classifier,
    drawn,
    easy_images,
    halved,
    trained,
    tuning,
    with_kernels,
)


def linear():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, offset=-1)(inputs))
    return drawn(keras.Model(inputs, keras.layers.Dense(CLASSES)(x), name="linear"))


def batches_of(data):
    steps = data.steps
    return input_pipeline.training(
        tf.distribute.get_strategy(), data.config, data.source, 0, steps
    ), steps


@pytest.mark.parametrize(
    "config",
    [
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
        {"momentum": 0.5, "nesterov": False, "label_smoothing": 0.2, "clip_norm": 0.3},
    ],
)
def test_updates_are_those_of_the_network_in_keras_3(config):
    data = tuning(learning_rate=0.1, **config)
    data = dataclasses.replace(data, config=dataclasses.replace(data.config, base_batch_size=8))
    lines = []
    found = tune(trained(), data, report=lines.append)

    model = with_kernels(trained(), lambda kernel: kernel)
    model.get_layer("classifier").activation = keras.activations.linear
    variables = model.trainable_variables
    velocities = [np.zeros(variable.shape, np.float32) for variable in variables]
    all_batches, steps = batches_of(data)
    settings, losses, right = data.config, [], 0
    assert steps == 3
    for step, batch in zip(range(steps), all_batches, strict=False):
        smooth = settings.label_smoothing
        targets = np.eye(CLASSES, dtype=np.float32)[batch["labels"].numpy()]
        targets = targets * (1 - smooth) + smooth / CLASSES
        with tf.GradientTape() as tape:
            logits = model(as_taken(batch["images"].numpy()), training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients = [
            gradient.numpy() + settings.weight_decay * variable.numpy()
            if variable.name == "kernel"
            else gradient.numpy()
            for gradient, variable in zip(
                tape.gradient(loss, [variable.value for variable in variables]),
                variables,
                strict=True,
            )
        ]
        if settings.clip_norm:
            norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
            assert norm > settings.clip_norm
            gradients = [gradient * settings.clip_norm / norm for gradient in gradients]
        # Twice base_batch_size, and a cosine to 0.
        rate = 0.1 * 2 * (1 + np.cos(np.pi * step / steps)) / 2
        for place, gradient in enumerate(gradients):
            velocity = settings.momentum * velocities[place] - rate * gradient
            velocities[place] = velocity
            if settings.nesterov:
                velocity = settings.momentum * velocity - rate * gradient
            variables[place].assign_add(velocity)
        losses.append(float(loss))
        right += int(np.sum(logits.numpy().argmax(axis=-1) == batch["labels"].numpy()))

    for ours, theirs, start in zip(found.weights, model.weights, trained().weights, strict=True):
        # Keras 2 divides a batch's variance by one value less.
        rtol = 2e-3 if ours.name == "moving_variance" else 1e-4
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=2e-5, err_msg=ours.path)
        assert np.abs(np.asarray(theirs) - start).max() > 1e-3
    assert len(lines) == 1
    loss = re.match("Fine-tuning, epoch 1/1: loss (.*?),", lines[0])[1]
    assert float(loss) == pytest.approx(np.mean(losses), abs=2e-4)
    assert f"top-1 {100 * right / 48:.2f}% in training" in lines[0]


def files_source(images, labels):
    """As from files; None is one that is broken."""
    contents = tf.constant(
        [b"no image" if image is None else tf.io.encode_png(image).numpy() for image in images]
    )
    held = tf.constant(labels, tf.int64)
    split = Split(
        "train",
        len(images),
        lambda index: (contents[index], held[index]),
        lambda index: f"image {index}",
        "",
    )
    return Source("files", tuple("abc"), split, dataclasses.replace(split, size=0))


def test_images_that_cannot_be_read_count_for_nothing():
    images, labels = easy_images(9)

    def data(images, labels):
        config = Config(
            image_size=SIZE,
            resize=SIZE,
            augmentation="none",
            epochs=1,
            warmup_epochs=0.0,
            batch_size=len(images),
            base_batch_size=len(images),
            learning_rate=0.1,
            weight_decay=0.0,
        )
        return FineTuning(config, files_source(images, labels), "torch")

    broken = [image if n != 4 else None for n, image in enumerate(images)]
    rest = [n for n in range(9) if n != 4]
    found = tune(linear(), data(broken, labels))
    expected = tune(linear(), data(images[rest], labels[rest]))
    for ours, theirs, start in zip(
        found.get_weights(), expected.get_weights(), linear().get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(theirs - start).max() > 1e-2
    nothing = tune(linear(), data([None] * 3, labels[:3]))
    assert as_bytes(nothing) == as_bytes(linear())
    taken = data(broken, labels).calibration_images(9)
    assert len(taken) == 8
    whole = data(images, labels).inputs(tf.constant(as_taken(images[rest])))
    assert sorted(image.tobytes() for image in taken) == sorted(
        image.tobytes() for image in np.asarray(whole)
    )


def grouped():
    return classifier(
        keras.layers.Rescaling(1 / 128, offset=-1),
        keras.layers.Conv2D(8, 3, padding="same", name="first"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        GroupedConv2D(8, 3, groups=2, padding="same", name="grouped"),
        keras.layers.Activation("silu"),
    )


def pruned_network(folder):
    # Each update has its own learning rate, images, momentum and mask.
    data = tuning(epochs=2, learning_rate=0.1, mirror=True)
    return as_bytes(prune(grouped(), data, sparsity=0.8, folder=folder))


def quantized_network(folder):
    pruned = with_kernels(grouped(), halved, ["grouped"])
    values = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            quantization,
            "export_trained_integers",
            # The ranges, too.
            lambda *_, variables, **__: values.extend(each.numpy().tobytes() for each in variables),
        )
        found = quantize_aware(
            pruned, tuning(epochs=2), "", np.zeros(1), preserve="sparsity", folder=folder
        )
    assert len(values) > len(found.model.variables)
    return values


def network_with_dropout(folder):
    """Its random numbers are part of the state."""
    drawing = [keras.layers.Dropout(0.5), keras.layers.GaussianNoise(0.1)]
    model = classifier(GroupedConv2D(4, 3, groups=1), *drawing)
    return [each.tobytes() for each in tune(model, tuning(epochs=2), folder=folder).get_weights()]


@pytest.mark.parametrize("make", [pruned_network, quantized_network, network_with_dropout])
def test_an_interrupted_call_goes_on_to_the_same_bits(make, tmp_path, monkeypatch):
    folder, asked = tmp_path / "checkpoints", []

    def is_set(self):
        asked.append(self)
        return len(asked) == 4

    with monkeypatch.context() as patch:
        patch.setattr(Signals, "is_set", property(is_set))
        with pytest.raises(Interrupted, match="SIGTERM.*after update 4") as error:
            make(folder)
    assert error.value.step == 4
    resumed = make(folder)
    # In the second call, the two that were left.
    assert len(asked) == 4
    expected = make(None)
    assert len(expected) == len(resumed)
    assert expected == resumed


def broken(folder):
    folder.mkdir()
    (folder / "ckpt-1.index").write_bytes(b"broken")


def of_another_network(folder):
    tune(classifier(), tuning(16), folder=folder)


@pytest.mark.parametrize("write", [broken, of_another_network])
def test_checkpoints_that_are_none(write, tmp_path):
    folder = tmp_path / "checkpoints"
    write(folder)
    with pytest.raises(ValueError, match="cannot be read: .* Remove the folder to begin again"):
        tune(linear(), tuning(16), folder=folder)


def test_a_loss_that_is_not_finite_says_what_to_do():
    wanted = "diverged at update [23]: the loss is (nan|inf). Take a lower learning rate"
    with pytest.raises(DivergedError, match=wanted):
        tune(linear(), tuning(learning_rate=1e35))


def is_compiled(model, context):
    data = tuning(16)
    batches, _ = batches_of(data)
    with context:
        traced = tf.function(Trainee(model, data).update).get_concrete_function(
            next(batches), tf.constant(0.1)
        )
    return any(
        function.attr["_XlaMustCompile"].b
        for function in traced.graph.as_graph_def().library.function
    )


def test_updates_with_filter_groups_are_not_compiled_by_xla():
    """tf-keras has each grouped convolution compiled, whose gradients are slow then."""
    bridge = to_legacy(classifier(keras.layers.Conv2D(4, 3), GroupedConv2D(4, 3, groups=2)))
    model = rounding.with_rounding(bridge, (), "nothing", set())
    assert is_compiled(model, contextlib.nullcontext())
    assert not is_compiled(model, fast(model))


def torch_takes(images):
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return (images / 255 - mean) / deviation


@pytest.mark.parametrize(("count", "found"), [(1, 1), (20, 20), (60, 60), (500, 80)])
def test_images_for_calibration(count, found):
    images, labels = easy_images(40)
    how = {"batch_size": 16, "epochs": 2, "mirror": True}
    plain, torch = (
        FineTuning.of_arrays(images, labels, preprocessing=each, **how)
        for each in ("none", "torch")
    )
    assert plain.steps == 5
    taken = plain.calibration_images(count)
    assert (taken.dtype, taken.shape) == (np.float32, (found, SIZE, SIZE, 3))
    # Epoch after epoch; each image as it is, or mirrored.
    known = {image.tobytes(): n for n, image in enumerate(as_taken(images))}
    mirrored = {
        np.ascontiguousarray(image[:, ::-1]).tobytes(): n
        for n, image in enumerate(as_taken(images))
    }
    both = {**known, **mirrored}
    numbers = [both[image.tobytes()] for image in taken]
    for epoch in (numbers[:40], numbers[40:]):
        assert len(set(epoch)) == len(epoch)
    if count > 1:
        assert 0 < sum(image.tobytes() in known for image in taken) < found
    np.testing.assert_allclose(torch.calibration_images(count), torch_takes(taken), atol=1e-5)


SYNTHETIC = {"dataset": "synthetic", "classes": 3, "image_size": 8, "resize": 8, "batch_size": 8}


def test_of_a_trainings_configuration():
    config = Config(
        **SYNTHETIC,
        learning_rate=0.4,
        schedule="step",
        epochs=90,
        label_smoothing=0.1,
        precision="bfloat16",
        accumulation=2,
        strategy="mirrored",
        ema_decay=0.99,
        jit_compile=False,
        max_steps=7,
        momentum=0.8,
    )
    data = FineTuning.of(config, preprocessing="caffe")
    changed = {
        "epochs": 2,
        "schedule": "cosine",
        "warmup_epochs": 0.0,
        "strategy": "none",
        "accumulation": 1,
        "precision": "float32",
        "ema_decay": 0.0,
        "max_steps": 0,
    }
    assert data.config.learning_rate == pytest.approx(0.04)
    assert data.config == dataclasses.replace(
        config, learning_rate=data.config.learning_rate, **changed
    )
    assert (data.preprocessing, data.source.class_names) == ("caffe", ("0", "1", "2"))
    other = FineTuning.of(config, epochs=5, learning_rate=0.3)
    assert (other.config.epochs, other.config.learning_rate) == (5, 0.3)
    assert other.steps == -(-5 * data.source.train.size // 8)


@pytest.mark.parametrize(
    ("config", "arguments", "error", "message"),
    [
        (SYNTHETIC, {"epochs": 0}, ValueError, "epochs of 1 or more"),
        (SYNTHETIC, {"learning_rate": -0.1}, ValueError, "learning_rate of 0 or more"),
        (SYNTHETIC, {"preprocessing": "keras"}, ValueError, "preprocessing.*'keras'"),
        ({**SYNTHETIC, "mixup": 0.5, "batch_size": 9}, {}, ValueError, "multiple. Received: 9"),
        ({}, {}, ValueError, "Class folders need data_dir"),
        ({"data_dir": "/missing"}, {}, FileNotFoundError, "no data folder '/missing'"),
    ],
)
def test_configurations_that_are_none(config, arguments, error, message):
    with pytest.raises(error, match=message):
        FineTuning.of(Config(**config), **arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3), np.float32)}, "Received: float32"),
        ({"images": np.zeros((4, 8, 9, 3), np.uint8)}, r"square.*Received: uint8 \[4, 8, 9, 3\]"),
        ({"images": np.zeros((4, 8, 8, 1), np.uint8)}, r"Received: uint8 \[4, 8, 8, 1\]"),
        ({"labels": np.zeros(5, int)}, r"labels as integers, \[4\]"),
        ({"labels": np.zeros(4)}, "integers"),
        ({"labels": np.array([0, 1, -1, 2])}, "from 0 to 2, .*Received: -1 to 2"),
        ({"classes": 2}, "from 0 to 1, .*Received: 0 to 2"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8), "labels": np.zeros(0, int)}, "no images"),
        ({"preprocessing": "keras"}, "preprocessing.*'keras'"),
        ({"epochs": 0}, "epochs of 1 or more"),
        ({"momentum": 1.5}, "momentum from 0 to less than 1"),
    ],
)
def test_arrays_that_are_none(changed, message):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 2])
    with pytest.raises(ValueError, match=message):
        FineTuning.of_arrays(**{"images": images, "labels": labels, **changed})


def test_other_packages_are_asked_for_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"Fine-tuning needs .*keras_roots\[compression\]"
    ):
        tune(linear(), tuning(16), folder=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
