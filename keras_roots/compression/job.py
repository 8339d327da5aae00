"""Compresses networks, makes TFLite files of them, and measures what it bought.

A folder holds all of it, so that an interrupted job goes on: the settings, a
file of each kind of weights, and the TFLite files. What is there is not made
again; accuracies are counted and latencies timed anew each time.
"""

import dataclasses
import functools
import gc
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.classify import TFLiteClassifier, intervals
from keras_roots.compression import distillation, legacy, settings
from keras_roots.compression.clustering import cluster
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.compression.pruning import prune
from keras_roots.compression.quantization import quantize_aware
from keras_roots.compression.recipe import (
    BOTH,
    CLUSTERED,
    DISTILLED,
    FLOAT32,
    INT8,
    INT8_AFTER_QAT,
    PRESERVED,
    PRUNED,
    QAT,
    TRAINED,
    Recipe,
    before,
)
from keras_roots.compression.results import Results, Row
from keras_roots.compression.selection import left_alone
from keras_roots.compression.tuned import tune
from keras_roots.compression.weights import weights_of_file
from keras_roots.cost import cost
from keras_roots.export import export_tflite, interpreter
from keras_roots.export.operator_check import delegation
from keras_roots.reporting import replacing
from keras_roots.requirements import require_extras
from keras_roots.surgery import clone, copy_state, plain_copy, without_auxiliary_heads
from keras_roots.timing import conditions
from keras_roots.training.workdir import alone

_CALIBRATION_IMAGES = 500
_VERIFICATION_IMAGES = 32
_IMAGES_AT_ONCE = 256  # As float32.
# Rounding after training may be far off: what it does to the accuracy is what is to be seen.
_ANY = 10.0


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Labelled images that are not trained on.

    Attributes:
        name: of the data.
        images: [examples, height, width, channels], as the networks take them.
        labels: integers [examples].
    """

    name: str
    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if not len(self.images) or len(self.images) != len(self.labels):
            raise ValueError(
                "Expected as many labels as images, and one or more. Received: "
                f"{len(self.images)} images and {len(self.labels)} labels"
            )

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and their labels, some at a time."""
        for first in range(0, len(self.images), _IMAGES_AT_ONCE):
            part = slice(first, first + _IMAGES_AT_ONCE)
            yield self.images[part], self.labels[part]


def compress(
    networks: Mapping[str, keras.Model],
    tuning: FineTuning,
    held_out: HeldOut,
    folder: str | os.PathLike,
    recipe: Recipe,
    *,
    beside: Mapping[str, keras.Model] | None = None,
    teacher: keras.Model | None = None,
    threads: int = 1,
    rounds: int = 40,
    report: Callable[[str], object] = print,
) -> Results:
    """Compresses each network as the recipe says, and compares all that comes out.

    Args:
        networks: classifiers of Keras 3, by names for tables and files.
        tuning: the data to fine-tune on, and how; for all of them.
        held_out: the images on which each file's accuracy is counted.
        folder: for the results; an interrupted job goes on in it.
        recipe: what is done.
        beside: networks of which files are made as they are, to compare with.
        teacher: a network whose answers each network is first trained to give,
            too; see `distillation.distill`.
        threads: of the latencies.
        rounds: of the latencies; see `export.interpreter.latency`.
        report: takes lines of progress.

    Raises:
        ValueError: an argument is not as above, or the folder belongs to
            another job.
        ModuleNotFoundError: an extra is not installed; before any training.
        Interrupted: SIGTERM or SIGINT came while fine-tuning; the same call
            goes on.
        DivergedError: a loss is no longer finite.
        RuntimeError: a file is not what it should be.
    """
    legacy.require("Compression")
    require_extras("Compression", {"ai_edge_litert": "litert", "matplotlib": "plots"})
    intervals.require()
    beside = beside or {}
    both = {**networks, **beside}
    if len(both) < len(networks) + len(beside):
        raise ValueError(f"Expected names that are all different. Received: {', '.join(both)}")
    for name, model in both.items():
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(
                f"Expected names of letters, digits, '-', '_' and '.', as folders have them. "
                f"Received: {name!r}"
            )
        tuning.check_fits(model)
        _check_held_out(held_out, model)
    for model in networks.values():
        left_alone(model, recipe.skip)
    if teacher is not None:
        distillation.require("Distillation")
        tuning.check_fits(teacher)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        settings.begin(folder, recipe, tuning, both, teacher)
        jobs = [
            _Job(name, model, tuning, held_out, folder / name, recipe, teacher, report)
            for name, model in networks.items()
        ]
        made: list[_File] = []
        for job in jobs:
            made += job.files()
        for name, model in beside.items():
            job = _Job(name, model, tuning, held_out, folder / name, None, None, report)
            made += job.files()
        report("counting accuracies and timing all files, in turns")
        results = _measured(
            made,
            held_out,
            threads,
            rounds,
            epochs=tuning.config.epochs,
            learning_rate=f"{tuning.config.peak_learning_rate:.4g}",
            training_images=tuning.source.train.size,
        )
        results.write(folder)
        return results


@dataclasses.dataclass(frozen=True)
class _File:
    network: str
    weights: str
    kind: str
    path: Path
    delegates: int
    outside: tuple[str, ...]
    parameters: int


def _check_held_out(held_out: HeldOut, model: keras.Model) -> None:
    model = without_auxiliary_heads(model)
    taken, classes = tuple(model.inputs[0].shape[1:]), model.outputs[0].shape[-1]
    if (
        held_out.images.shape[1:] != taken
        or not held_out.labels.min() >= 0
        or (held_out.labels.max() >= classes)
    ):
        raise ValueError(
            f"'{model.name}' takes images of {taken} of {classes} classes. The held-out images "
            f"are {held_out.images.shape[1:]}, with labels from {held_out.labels.min()} to "
            f"{held_out.labels.max()}."
        )


class _Job:
    """All that is made of one network; without a recipe, only its files as it is."""

    def __init__(
        self,
        name: str,
        model: keras.Model,
        tuning: FineTuning,
        held_out: HeldOut,
        folder: Path,
        recipe: Recipe | None,
        teacher: keras.Model | None,
        report: Callable[[str], object],
    ):
        self.name, self.tuning, self.folder = name, tuning, folder
        self.model, self.teacher = without_auxiliary_heads(model), teacher
        self.recipe, self.report = recipe, report
        self.images = held_out.images[:_VERIFICATION_IMAGES].astype(np.float32)
        self._calibration: np.ndarray | None = None
        folder.mkdir(exist_ok=True)

    def files(self) -> Iterator[_File]:
        """Makes them, or finds them."""
        for kind in (FLOAT32, INT8):
            yield self._exported(TRAINED, kind, lambda: self.model)
        if self.recipe is None:
            return
        base = TRAINED if self.teacher is None else DISTILLED
        if self.teacher is not None:
            yield from self._both(DISTILLED)
        for weights in self.recipe.reported():
            yield from self._both(weights)
        for weights in self.recipe.trained_with_rounding():
            weights = base if weights == TRAINED else weights
            yield self._rounded(weights)
            if self.recipe.every:
                trained = self._path(weights, "-qat.keras")
                load = functools.partial(self._loaded, trained)
                yield self._exported(weights, INT8_AFTER_QAT, load)

    def _both(self, weights: str) -> Iterator[_File]:
        for kind in (FLOAT32, INT8):
            yield self._exported(weights, kind, lambda: self.weights(weights))

    def weights(self, weights: str) -> keras.Model:
        """The network with these, trained now if they are not on disk."""
        if weights == TRAINED:
            return self.model if self.teacher is None else self.weights(DISTILLED)
        path = self._path(weights, ".keras")
        if not path.exists():
            start = self.model if weights == DISTILLED else self.weights(before(weights))
            checkpoints = self.folder / f"checkpoints-{path.stem}"
            self.report(f"{self.name}: {weights}")
            made = self._made(weights, start, checkpoints)
            with replacing(path) as temporary:
                made.save(temporary)
            shutil.rmtree(checkpoints, ignore_errors=True)
            _forget()
        return self._loaded(path)

    def _loaded(self, path: Path) -> keras.Model:
        """A copy of the network with a file's weights; its layers may be anybody's."""
        copied, pairs = clone(self.model, plain_copy)
        for source, target in pairs:
            copy_state(source, target)
        copied.load_weights(path)
        return copied

    def _made(self, weights: str, start: keras.Model, checkpoints: Path) -> keras.Model:
        tuning, recipe = self.tuning, self.recipe
        how: dict[str, Any] = {"folder": checkpoints, "report": self.report}
        if weights == DISTILLED and self.teacher is not None:
            return distillation.distill(self.teacher, start, tuning, **how)
        if weights == PRUNED and recipe is not None and recipe.sparsity is not None:
            how |= {"schedule": recipe.schedule, "skip": recipe.skip}
            return prune(start, tuning, sparsity=recipe.sparsity, **how)
        if weights in (CLUSTERED, BOTH) and recipe is not None and recipe.clusters is not None:
            how |= {"preserve_sparsity": weights == BOTH, "skip": recipe.skip}
            return cluster(start, tuning, clusters=recipe.clusters, **how)
        return tune(start, tuning, **how)

    def _rounded(self, weights: str) -> _File:
        """The file of quantisation-aware training."""
        path, trained = self._path(weights, "-qat.tflite"), self._path(weights, "-qat.keras")
        if not (path.exists() and trained.exists()):
            checkpoints = self.folder / f"checkpoints-{path.stem}"
            self.report(f"{self.name}: {weights}, {QAT}")
            made = quantize_aware(
                self.weights(weights),
                self.tuning,
                path,
                self.images,
                preserve=PRESERVED.get(weights, "nothing"),
                labels=self.tuning.source.class_names,
                tolerance=_ANY,
                folder=checkpoints,
                report=self.report,
            )
            with replacing(trained) as temporary:
                made.model.save(temporary)
            shutil.rmtree(checkpoints, ignore_errors=True)
            _forget()
        return self._file(weights, QAT, path)

    def _exported(self, weights: str, kind: str, load: Callable[[], keras.Model]) -> _File:
        """The file of float32, or of int8 after training."""
        path = self._path(weights, f"-{kind.replace(' ', '-')}.tflite")
        if not path.exists():
            if kind != FLOAT32 and self._calibration is None:
                self._calibration = self.tuning.calibration_images(_CALIBRATION_IMAGES)
            export_tflite(
                load(),
                path,
                self.images,
                precision="float32" if kind == FLOAT32 else "int8",
                calibration=None if kind == FLOAT32 else self._calibration,
                preprocessing=self.tuning.preprocessing,
                labels=self.tuning.source.class_names,
                tolerance=None if kind == FLOAT32 else _ANY,
                report=self.report,
            )
            _forget()
        return self._file(weights, kind, path)

    def _file(self, weights: str, kind: str, path: Path) -> _File:
        found = delegation(path.read_bytes())
        return _File(
            network=self.name,
            weights=weights,
            kind=kind,
            path=path,
            delegates=found.delegates,
            outside=tuple(found.kinds()),
            parameters=cost(self.model).parameters,
        )

    def _path(self, weights: str, end: str) -> Path:
        return self.folder / f"{weights.replace(', ', '-')}{end}"


def _forget() -> None:
    """Gives back the memory of models that are no longer used."""
    keras.backend.clear_session()
    gc.collect()


def _measured(
    files: list[_File], held_out: HeldOut, threads: int, rounds: int, **more: object
) -> Results:
    image = held_out.images[0].astype(np.float32)
    names = {str(number): each.path for number, each in enumerate(files)}
    times = interpreter.latency(names, image, threads=threads, rounds=rounds)
    rows = []
    for number, each in enumerate(files):
        classifier = TFLiteClassifier(each.path)
        rows.append(
            Row(
                network=each.network,
                weights=each.weights,
                kind=each.kind,
                file=f"{each.path.parent.name}/{each.path.name}",
                images=len(held_out.images),
                correct=sum(
                    int(np.sum(classifier(images.astype(np.float32)).argmax(axis=-1) == labels))
                    for images, labels in held_out.pieces()
                ),
                parameters=each.parameters,
                counted=weights_of_file(each.path),
                delegates=each.delegates,
                outside=each.outside,
                seconds=times[str(number)].seconds,
            )
        )
    where = conditions(data=held_out.name, threads=threads, rounds=rounds, **more)
    return Results(tuple(rows), where)
