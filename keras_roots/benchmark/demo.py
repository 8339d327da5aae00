"""The main job, end to end: a root network beside its dense original.

Trains both forms of Network in Network on real images, evaluates them on
held-out ones, exports both to TFLite, verifies the files, times them side by
side, and leaves a table, a plot and the models in one folder.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots import data
from keras_roots.benchmark.measured import SPREAD, require_positive
from keras_roots.classify import intervals
from keras_roots.cost import cost
from keras_roots.export import Artifact, export_tflite, interpreter
from keras_roots.models import RootNIN
from keras_roots.reporting import (
    Table,
    figures,
    numbers,
    refuse_contents,
    replacing,
    results_folder,
    write_json,
    write_text,
)
from keras_roots.requirements import require_extras, require_tensorflow
from keras_roots.timing import Timings, conditions, describe
from keras_roots.topology import Topology, as_topology

_IMAGES_TO_VERIFY = 100
_SEED = 0
_BATCH_SIZE = 64
# SGD with Nesterov momentum; the rate rises for a fifth of the steps and falls by a cosine.
_LEARNING_RATE = 0.1
_MOMENTUM = 0.9
_WARMUP = 0.2
_PADDING = 4  # Pixels, before a random crop; as in the paper's training of this network.


@dataclasses.dataclass(frozen=True)
class Result:
    """What the demo found of one network.

    Attributes:
        topology: "dense", or such as "root-8".
        correct, images: how many of the held-out images it classifies right.
        parameters, macs: of `keras_roots.cost`, plain convention.
        artifact: the verified TFLite file.
        latency: of one inference.
    """

    topology: str
    correct: int
    images: int
    parameters: int
    macs: int
    artifact: Artifact
    latency: Timings

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy, 0-1."""
        return self.correct / self.images

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95% interval of the accuracy (Wilson's), for there are only so many images."""
        return intervals.wilson(self.correct, self.images)


def run(
    *,
    output: str | os.PathLike,
    dataset: str = "digits",
    data_dir: str | os.PathLike | None = None,
    root: int | Topology = 8,
    epochs: int = 5,
    examples: int | None = None,
    overwrite: bool = False,
    report: Callable[[str], object] = print,
) -> list[Result]:
    """Does the whole job and writes its results.

    Args:
        output: folder of the results; see `files.results_folder`.
        dataset, data_dir: see `data.load`.
        root: the filter groups of the network that is set beside the dense.
        epochs: passes over the training images, for each network.
        examples: train with at most so many images.
        overwrite: replace the results of an earlier run.
        report: takes each line of progress.

    Returns:
        The dense network's result and the root network's.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: something that it
            needs is not there or not right; before any training.
    """
    require_tensorflow("The demo")
    topology = as_topology(root)
    require_positive(epochs=epochs, examples=examples)
    require_extras(
        "The demo", {"sklearn": "datasets", "matplotlib": "plots", "ai_edge_litert": "litert"}
    )
    networks = {"dense": as_topology(1), str(topology): topology}
    dense, grouped = (RootNIN(root=each) for each in networks.values())  # Checks the degrees.
    if grouped.count_params() == dense.count_params():
        raise ValueError("The demo sets a root network beside the dense one. Give root=2 or more.")
    refuse_contents(output, overwrite=overwrite)
    images = data.load(dataset, data_dir)
    if examples is not None:
        images = images.take(examples)
    if len(images.train_images) < _BATCH_SIZE:
        raise ValueError(
            f"Training takes {_BATCH_SIZE} images or more. Received: {len(images.train_images)}"
        )
    folder = results_folder(output, overwrite=overwrite)

    report(
        f"{images.name}: {len(images.train_images):,} images to train on, "
        f"{len(images.test_images):,} held out. Results go to {folder}"
    )
    trained: dict[str, dict[str, Any]] = {}
    for name, each in networks.items():
        model = _network(images, each)
        counts = cost(model)
        report(
            f"\nTraining NIN {name}: {counts.parameters:,} parameters, "
            f"{counts.macs / 1e6:.1f} M multiply-accumulates an image"
        )
        correct = _train_and_evaluate(model, images, epochs)
        report(f"NIN {name}: {correct} of {len(images.test_images)} held-out images are right")
        with replacing(folder / f"nin_{name}.keras") as path:
            model.save(path)
        artifact = export_tflite(
            model, folder / f"nin_{name}.tflite", images.test_images[:_IMAGES_TO_VERIFY]
        )
        report(f"{artifact.path.name}: {artifact.comparison}")
        trained[name] = {
            "correct": correct,
            "images": len(images.test_images),
            "parameters": counts.parameters,
            "macs": counts.macs,
            "artifact": artifact,
        }

    report("\nTiming both files in turns ...")
    files = {name: found["artifact"].path for name, found in trained.items()}
    timings = interpreter.latency(files, images.test_images[0])
    results = [Result(name, **found, latency=timings[name]) for name, found in trained.items()]
    record = conditions(
        threads=1,
        dataset=images.name,
        training_images=len(images.train_images),
        held_out_images=len(images.test_images),
        epochs=epochs,
        batch=1,
        inferences=len(results[0].latency.seconds),
    )
    write_text(folder / "table.md", f"{table(results)}\n\n{describe(record)}\n")
    rows = [_as_record(result) for result in results]
    write_json(folder / "results.json", {"conditions": record, "results": rows})
    _plot(folder / "plot.png", results, record)
    report("\n" + table(results))
    report(f"\n{describe(record)}\n\nWritten to {folder}:")
    models = [f"nin_{name}.{suffix}" for name in networks for suffix in ("keras", "tflite")]
    for name in sorted([*models, "plot.png", "results.json", "table.md"]):
        report(f"  {name}")
    return results


def table(results: list[Result]) -> str:
    """The results as a Markdown table, the first of them being the reference."""
    reference = results[0]
    rows = [
        {
            "network": f"NIN {result.topology}",
            "top-1 accuracy, % (95% interval)": f"{100 * result.accuracy:.2f} "
            f"({numbers.interval(100 * end for end in result.accuracy_interval)})",
            "parameters": numbers.change(result.parameters, reference.parameters),
            "multiply-accumulates": numbers.change(result.macs, reference.macs),
            f"CPU latency, ms {SPREAD}": result.latency.in_ms(2),
            "latency / dense": f"{result.latency.median / reference.latency.median:.2f}",
            "TFLite file, KiB": f"{result.artifact.size / 1024:,.0f}",
        }
        for result in results
    ]
    return Table.of(rows).markdown()


def _network(images: data.LabelledImages, topology: Topology) -> keras.Model:
    """A network that takes images of 0-255, the training set's mean and variance within."""
    keras.utils.set_random_seed(_SEED)
    pixels = images.train_images.reshape(-1, images.train_images.shape[-1])
    inputs = keras.Input(images.train_images.shape[1:], name="images")
    normalized = keras.layers.Normalization(
        mean=pixels.mean(axis=0).tolist(), variance=pixels.var(axis=0).tolist(), name="normalize"
    )(inputs)
    return RootNIN(root=topology, input_tensor=normalized, classes=len(images.class_names))


def _train_and_evaluate(model: keras.Model, images: data.LabelledImages, epochs: int) -> int:
    training = _training_batches(images)
    steps = epochs * len(training)
    warmup = round(_WARMUP * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        _LEARNING_RATE / 10,
        decay_steps=steps - warmup,
        warmup_target=_LEARNING_RATE,
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    # The pipeline shuffles; Keras warns when asked to.
    model.fit(training, epochs=epochs, shuffle=False)
    scores = model.predict(images.test_images.astype(np.float32), batch_size=100)
    return int(np.sum(scores.argmax(axis=-1) == images.test_labels))


def _training_batches(images: data.LabelledImages):
    """A tf.data.Dataset of (images, labels): shuffled, cropped at random, mirrored if allowed."""
    import tensorflow as tf

    size = images.train_images.shape[1:]

    def augment(example, seed):
        image, label = example
        padding = [[_PADDING, _PADDING], [_PADDING, _PADDING], [0, 0]]
        image = tf.pad(image, padding, constant_values=images.background)
        image = tf.image.stateless_random_crop(image, size, seed)
        if images.mirror:
            image = tf.image.stateless_random_flip_left_right(image, seed)
        return tf.cast(image, tf.float32), label

    examples = tf.data.Dataset.from_tensor_slices((images.train_images, images.train_labels))
    examples = examples.shuffle(len(images.train_images), seed=_SEED)
    # A seed for each example, so that crops do not depend on the order of parallel calls.
    seeds = tf.data.Dataset.random(seed=_SEED, rerandomize_each_iteration=True).batch(2)
    batches = tf.data.Dataset.zip(examples, seeds)
    batches = batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.batch(_BATCH_SIZE, drop_remainder=True).prefetch(2)


def _as_record(result: Result) -> dict[str, object]:
    fields = dataclasses.asdict(result)
    fields["accuracy"], fields["accuracy_interval_95"] = result.accuracy, result.accuracy_interval
    fields["artifact"]["path"] = result.artifact.path.name
    percentiles = {"median": 50, "p10": 10, "p90": 90}
    fields["latency"] = {
        "unit": "s",
        **{name: result.latency.percentile(p) for name, p in percentiles.items()},
        "seconds": result.latency.seconds,
    }
    return fields


def _plot(path: Path, results: list[Result], record: dict[str, object]) -> None:
    with figures.figure(path, (9, 4.2)) as figure:
        figure.suptitle(f"Network in Network on {record['dataset']}")
        by_latency, by_macs = figure.subplots(1, 2, sharey=True)
        for result in results:
            accuracy = 100 * result.accuracy
            low, high = (100 * value for value in result.accuracy_interval)
            # At 100% the interval's end can lie below by a rounding error.
            yerr = [[max(0.0, accuracy - low)], [max(0.0, high - accuracy)]]
            p10, p50, p90 = (1e3 * result.latency.percentile(p) for p in (10, 50, 90))
            kind = result.topology.partition("-")[0]
            style = {
                "color": figures.COLOURS.get(kind, figures.COLOURS["explicit"]),
                "fmt": figures.MARKERS.get(kind, figures.MARKERS["explicit"]),
                "capsize": 3,
                "label": f"NIN {result.topology}",
            }
            by_latency.errorbar(p50, accuracy, yerr=yerr, xerr=[[p50 - p10], [p90 - p50]], **style)
            by_macs.errorbar(result.macs / 1e6, accuracy, yerr=yerr, **style)
        by_latency.set_xlabel(
            "CPU latency of an image, ms (LiteRT, 1 thread;\nmedian, 10th to 90th percentile)"
        )
        by_latency.set_ylabel(
            f"top-1 accuracy, % of {record['held_out_images']:,}\nheld-out images, 95% interval"
        )
        by_macs.set_xlabel("multiply-accumulates of an image, millions")
        for axes in (by_latency, by_macs):
            axes.set_xlim(left=0)
            axes.margins(y=0.25)
            axes.legend(loc="lower left")
