"""What tests of training compute on the JAX backend, in processes of their own, and on TensorFlow.

`python -m tests.jax_cases updates FOLDER` and `... runs FOLDER` compute with
Keras on JAX, the latter as if TensorFlow were not installed, and leave arrays
and JSON in the folder.
"""

import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import keras
import numpy as np

from keras_roots import layers
from keras_roots.data import LabelledImages, arrays
from keras_roots.lowering import choice
from keras_roots.training import Config, optimization

SIZE, BATCH, CLASSES, UPDATES = 8, 6, 4, 3

_COMMON = {
    **{"model": "nin", "root": "4", "image_size": SIZE, "resize": SIZE, "epochs": 8},
    **{"batch_size": BATCH, "base_batch_size": BATCH, "learning_rate": 0.05},
    **{"warmup_epochs": 0, "schedule": "constant", "augmentation": "none"},
    **{"mean": (120, 120, 120), "std": (60, 60, 60), "dataset": "arrays", "data_dir": "nowhere"},
}

# Configurations of some updates, and the filter groups of the network.
CASES = {
    "dense": (1, {"nesterov": False, "momentum": 0.5, "weight_decay": 0.0}),
    "everything": (
        4,
        {
            **{"weight_decay": 0.1, "clip_norm": 0.5, "label_smoothing": 0.1, "ema_decay": 0.9},
            **{"schedule": "cosine", "warmup_epochs": 2},
        },
    ),
    "no momentum": (2, {"momentum": 0.0}),
    "bfloat16": (4, {"precision": "bfloat16"}),
    "as on a GPU": (4, {}),
}
SCHEDULES = {
    "cosine": {"schedule": "cosine", "warmup_epochs": 2.5},
    "step": {"schedule": "step", "decay_epochs": (2, 5), "warmup_epochs": 1},
    "inverse": {"schedule": "inverse", "decay_factor": 0.3},
    "constant": {"schedule": "constant"},
}


def config(**values):
    return Config(**{**_COMMON, **values})


def network(groups, precision="float32"):
    """A root module between convolutions: logits, with the same weights on all backends."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy({"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision])
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3, dtype="float32")(inputs)
    x = layers.convolution(16, 3, padding="same", name="first")(x)
    x = keras.layers.ReLU()(layers.batch_normalization("first_bn")(x))
    x = layers.root_module(16, 3, groups=groups, name="spatial")(x)
    x = keras.layers.ReLU()(layers.batch_normalization("mix_bn")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    # Not on every processor does TensorFlow multiply matrices in half precision.
    logits = keras.layers.Dense(CLASSES, name="logits", dtype="float32")(x)
    model = keras.Model(inputs, logits)
    keras.config.set_dtype_policy(before)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if "kernel" in variable.name:
            fan = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, np.sqrt(2 / fan), variable.shape))
    return model


def batch(seed):
    """uint8 images and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.uint8)
    return images, rng.integers(0, CLASSES, BATCH)


def schedule(config):
    return optimization.learning_rate(config, 4.5, 36)


@keras.saving.register_keras_serializable(package="tests")
class Seen(keras.layers.Layer):
    """Counts how often each example is seen, whose number its first pixel's red is."""

    def __init__(self, examples, **kwargs):
        super().__init__(**kwargs)
        self.examples = examples

    def build(self, _):
        self.seen = self.add_weight(
            shape=(self.examples,), initializer="zeros", trainable=False, name="seen"
        )

    def call(self, inputs):
        number = keras.ops.cast(inputs[:, 0, 0, 0], "int32")
        self.seen.assign(self.seen + keras.ops.sum(keras.ops.one_hot(number, self.examples), 0))
        return inputs


def easy(train=24, test=12, classes=3, seed=0):
    """Images of which the class is the strongest colour."""
    rng = np.random.default_rng(seed)

    def drawn(count):
        labels = rng.integers(0, classes, count)
        images = rng.integers(0, 200, (count, SIZE, SIZE, 3))
        images[np.arange(count), :, :, labels] += 55
        return images.astype(np.uint8), labels

    return LabelledImages(
        "easy", *drawn(train), *drawn(test), ("red", "green", "blue"), mirror=True, background=120
    )


def run_config(folder):
    """Of five updates in two epochs: the third takes images of both."""
    return config(
        data_dir=str(folder),
        augmentation="paper",
        padding=1,
        epochs=2,
        batch_size=10,
        base_batch_size=10,
        learning_rate=0.02,
        ema_decay=0.5,
        weight_decay=1e-3,
        checkpoint_every=2,
        seed=3,
    )


def _updates(folder):
    import jax
    import jax.numpy as jnp

    from keras_roots.training.on_jax import images
    from keras_roots.training.on_jax.steps import Images, Steps

    found = {}
    for name, (groups, values) in CASES.items():
        of_case = config(**values)
        model = network(groups, of_case.precision)
        optimizer = optimization.make(of_case, schedule(of_case))
        steps = Steps(of_case, model, optimizer, CLASSES)
        update = jax.jit(steps.updated_by)
        context = "accelerator" if name == "as on a GPU" else "xla-cpu"
        for seed in range(UPDATES):
            pixels, labels = batch(seed)
            with choice.traced_for(context):
                steps.held, row = update(
                    steps.held, jnp.asarray(pixels, jnp.float32), jnp.asarray(labels)
                )
            found[f"{name}/row {seed}"] = np.asarray(row)
        for number, value in enumerate(steps.model.get_weights()):
            found[f"{name}/weights {number}"] = np.asarray(value, np.float32)
        steps.swap_averages()
        for number, value in enumerate(steps.model.get_weights()):
            found[f"{name}/averages {number}"] = np.asarray(value, np.float32)
        data = Images(*map(jnp.asarray, batch(9)))
        found[f"{name}/evaluation"] = steps.evaluate(data, 0, 1)
    for name, values in SCHEDULES.items():
        rates = jax.jit(jax.vmap(schedule(config(**values))))(jnp.arange(36))
        found[f"rates/{name}"] = np.asarray(rates)
    _draws(found, images)
    for looped in (False, True):
        found[f"seen/{looped}"] = _seen(looped)
    np.savez(folder / "updates.npz", **found)


def _draws(found, images):
    import jax.numpy as jnp

    for seed in (0, 1):
        found[f"orders/{seed}"] = np.asarray(images.orders(seed, jnp.arange(3), 50))
        epochs, examples = jnp.repeat(jnp.arange(2), 200), jnp.tile(jnp.arange(200), 2)
        found[f"uniforms/{seed}"] = np.asarray(images.uniforms(seed, epochs, examples))
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (40, SIZE + 4, SIZE + 6, 3)).astype(np.uint8)
    drawn = rng.random((40, images.UNIFORMS), np.float32)
    # The most and least that is drawn, and what is mirrored.
    drawn[:4] = [[0, 0, 0], [1 - 2**-24] * 3, [0.5] * 3, [0.0, 1 - 2**-24, np.float32(0.49999)]]
    found["augmented/pixels"], found["augmented/drawn"] = pixels, drawn
    for name, values in AUGMENTATIONS.items():
        of_case = config(**values)
        split = _Split(pixels, np.arange(40))
        data = images.to_train_on(split, of_case)
        found[f"augmented/{name}"] = np.asarray(
            images.augmented(data.pixels, jnp.asarray(drawn), of_case)
        )
        found[f"evaluated/{name}"] = np.asarray(images.to_evaluate_on(split, of_case).pixels)


AUGMENTATIONS = {
    "none": {"augmentation": "none"},
    "padded": {"augmentation": "paper", "padding": 3, "mean": (10.4, 20.6, 255)},
    "anywhere": {"augmentation": "paper", "mirror": False},
    "anywhere and mirrored": {"augmentation": "paper"},
}


@dataclasses.dataclass
class _Split:
    images: np.ndarray
    labels: np.ndarray


def _seen(looped):
    """How often each of 10 examples was seen after each of 4 runs of updates, by batches of 6."""
    import jax.numpy as jnp

    from keras_roots.training.on_jax.steps import Images, Steps

    pixels = np.zeros((10, SIZE, SIZE, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(10)
    data = Images(jnp.asarray(pixels), jnp.zeros(10, jnp.int32))
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(Seen(10)(inputs)))
    of_case = config()
    optimizer = optimization.make(of_case, 0.0)
    steps = Steps(of_case, keras.Model(inputs, x), optimizer, CLASSES, looped=looped)
    found = []
    for first, count in ((0, 1), (1, 1), (2, 2), (4, 1)):  # 10 examples are updates 0 to 1.67.
        assert steps.train(data, first, count).shape == (count, 5)
        (seen,) = (v for v in steps.model.non_trainable_variables if v.name == "seen")
        found.append(np.asarray(seen))
    return np.stack(found)


class _Hiding:
    """A finder of modules, but for TensorFlow's."""

    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets"):
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)


def hide_tensorflow():
    """As if it were not installed."""
    sys.meta_path[:] = map(_Hiding, sys.meta_path)


class KilledError(Exception):
    """As if the process had been."""


def _runs(folder):
    from keras_roots.training import train_and_evaluate
    from keras_roots.training.dry_run import run as dry_run

    data = arrays.write(folder / "data", easy(), shard_bytes=2000)
    of_run, told = run_config(data), {}

    def train(name, config=of_run, act=lambda line: None):
        """What it reports, and how it ends."""
        lines = []

        def report(line):
            lines.append(line)
            act(line)

        try:
            summary = train_and_evaluate(config, folder / name, report=report)
        except Exception as error:
            return {"lines": lines, "error": f"{type(error).__name__}: {error}"}
        return {"lines": lines, "summary": summary}

    def end(line):
        if line.startswith("Epoch 1/"):
            os.kill(os.getpid(), signal.SIGTERM)

    def die(line):
        if line.startswith("Epoch 2/"):
            raise KilledError

    told["dry run"] = []
    dry_run(of_run, str(folder / "dry"), report=told["dry run"].append)
    told["whole"] = train("whole")
    told["again"] = train("whole")
    told["terminated"], told["terminated, going on"] = (
        train("terminated", act=end),
        train("terminated"),
    )
    told["killed"] = train("killed", act=die)
    (last,) = (folder / "killed" / "checkpoints").glob("ckpt-3.npz")
    last.write_bytes(last.read_bytes()[:-100])  # That of update 4. Before it is that of 3.
    (last.parent / ".ckpt-4-0123abcd.npz").touch()
    told["killed, going on"] = train("killed")
    told["ended early"] = train("early", dataclasses.replace(of_run, max_steps=2))
    _overgrow(folder / "whole", folder / "diverged")
    told["diverged"] = train("diverged")
    told["other configuration"] = train("whole", dataclasses.replace(of_run, seed=4))
    (folder / "tensorflow").mkdir()
    for name in ("config.json", "data.json", "classes.txt"):
        text = (folder / "whole" / name).read_text().replace(',\n  "backend": "jax"', "")
        (folder / "tensorflow" / name).write_text(text)
    told["begun on tensorflow"] = train("tensorflow")
    told["tfds"] = train("tfds", dataclasses.replace(of_run, dataset="cifar10", data_dir=""))
    told["refused"] = {
        name: train("refused", dataclasses.replace(of_run, **values))["error"]
        for name, values in REFUSED.items()
    }
    told["modules"] = [name for name in sys.modules if name.startswith("tensorflow")]
    images = arrays.read(data).test_images.astype(np.float32)
    model = keras.models.load_model(folder / "whole" / "model.keras", safe_mode=True)
    np.save(folder / "scores.npy", model.predict(images, verbose=0))
    (folder / "told.json").write_text(json.dumps(told))


def _overgrow(run, copy):
    """Another run's first epoch, with weights so large that losses are no numbers."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("*.keras", "ckpt-[34].npz"))
    path = copy / "checkpoints" / "ckpt-2.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    np.savez(path, **{n: v * 1e30 if n.endswith("kernel") else v for n, v in arrays.items()})


# What JAX does not train, field by field.
REFUSED = {
    "strategy": {"strategy": "mirrored"},
    "devices": {"strategy": "mirrored", "devices": 2},
    "logical_cpus": {"strategy": "mirrored", "logical_cpus": True},
    "accumulation": {"accumulation": 2},
    "augmentation": {"augmentation": "full", "padding": 0},
    "min_area": {"min_area": 0.5},
    "color_jitter": {"color_jitter": 0.0},
    "lighting": {"lighting": 0.0},
    "rand_augment": {"rand_augment": 2},
    "rand_augment_factor": {"rand_augment_factor": 0.5},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "precision": {"precision": "float16"},
    "dataset": {"dataset": "folders"},
    "synthetic": {"dataset": "synthetic"},
    "mean": {"mean": (300.0, 0.0, 0.0)},
    "resize": {"resize": 9},
    "train_split": {"train_split": "train[:10%]"},
    "validation_split": {"validation_split": "train"},
    "classes": {"classes": 10},
    "batch_size": {"batch_size": 25},
}


if __name__ == "__main__":
    if sys.argv[1] == "runs":
        hide_tensorflow()
    {"updates": _updates, "runs": _runs}[sys.argv[1]](Path(sys.argv[2]))
