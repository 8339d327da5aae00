"""Training a compressed network a little more, on the data it was trained on.

The data, their augmentation, the schedule of the learning rate and the
optimizer are those of `keras_roots.training`. The network is one of tf-keras,
with tensorflow-model-optimization's wrappers, so the update is made here: the
same stochastic gradient descent, on one device and in float32.
"""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.compression.fast_convolutions import fast
from keras_roots.compression.legacy import libraries
from keras_roots.export import calibration
from keras_roots.reporting import silent
from keras_roots.training import input_pipeline, optimization, sources
from keras_roots.training.checkpoint_folder import CheckpointFolder, whole_checkpoints
from keras_roots.training.config import Config, replaced
from keras_roots.training.loop import DivergedError, Interrupted
from keras_roots.training.progress import Progress
from keras_roots.training.signals import Signals
from keras_roots.training.steps import SUMS, inputs_and_targets, summed

_GENTLER = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuning:
    """On what a network is fine-tuned, and how.

        FineTuning.of(training.from_file("runs/r16/config.json"), epochs=2)
        FineTuning.of_arrays(images, labels, epochs=2)

    Attributes:
        config: of a training; what it says of a network is not looked at.
        source: its data.
        preprocessing: what the network takes: "none", values of 0 to 255; or
            as keras.applications has it: "torch", "caffe", "tf".
    """

    config: Config
    source: sources.Source
    preprocessing: str = "none"

    def __post_init__(self):
        calibration.check_preprocessing(self.preprocessing)

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        epochs: int = 2,
        learning_rate: float | None = None,
        preprocessing: str = "none",
    ) -> "FineTuning":
        """As a network was trained, but for fewer epochs and with smaller steps.

        Args:
            config: with which it was trained.
            epochs: passes over the training images.
            learning_rate: at first, for BASE_BATCH_SIZE images; from there a
                cosine leads to 0. By default a tenth of the configuration's.
            preprocessing: see the class.

        Raises:
            ValueError, FileNotFoundError, ModuleNotFoundError: the data are
                not there or not right, or an argument is out of range.
        """
        rate = _GENTLER * config.learning_rate if learning_rate is None else learning_rate
        config = replaced(
            config,
            {
                "epochs": epochs,
                "learning_rate": rate,
                "schedule": "cosine",
                "warmup_epochs": 0.0,
                # One device, one piece, float32: as tensorflow-model-optimization has it.
                "strategy": "none",
                "devices": 0,
                "logical_cpus": False,
                "accumulation": 1,
                "precision": "float32",
                "ema_decay": 0.0,
                "max_steps": 0,
                "jit_compile": False,
            },
        )
        input_pipeline.check(config, 1)
        source = sources.open_source(config)
        sources.check_readable(source)
        return cls(config, source, preprocessing)

    @classmethod
    def of_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int | None = None,
        epochs: int = 2,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        mirror: bool = False,
        preprocessing: str = "none",
        **config: Any,
    ) -> "FineTuning":
        """On images in memory.

        Args:
            images: uint8 [examples, size, size, 3], 0 to 255.
            labels: integers [examples], from 0.
            classes: how many there are; by default as many as the labels say.
            epochs, batch_size: passes over the images, images of an update.
            learning_rate: at first; from there a cosine leads to 0.
            mirror: whether an image keeps its class when mirrored.
            preprocessing: see the class.
            **config: other fields of `training.Config`.

        Raises:
            ValueError: an argument is not as above.
        """
        source = sources.array_source(images, labels, classes)
        return cls(
            Config(
                dataset="arrays",
                image_size=images.shape[1],
                resize=images.shape[1],
                augmentation="paper" if mirror else "none",
                epochs=epochs,
                batch_size=min(batch_size, len(images)),
                base_batch_size=min(batch_size, len(images)),
                learning_rate=learning_rate,
                warmup_epochs=0.0,
                **config,
            ),
            source,
            preprocessing,
        )

    @property
    def steps(self) -> int:
        """Number of updates."""
        return input_pipeline.steps_until(self.config.epochs, self.config, self.source.train)

    def inputs(self, images):
        """Images of 0 to 255 as the network takes them, of one batch."""
        return calibration.preprocessed(images, self.preprocessing)

    def check_fits(self, model: keras.Model) -> None:
        """Raises a ValueError unless these are images and classes of the model's."""
        size, classes = self.config.image_size, len(self.source.class_names)
        taken = [tuple(tensor.shape[1:]) for tensor in model.inputs]
        made = [tuple(tensor.shape[1:]) for tensor in model.outputs]
        if taken != [(size, size, 3)] or made != [(classes,)]:
            raise ValueError(
                f"Fine-tuning is on images of ({size}, {size}, 3) and {classes} classes, of "
                f"{self.source.name}. '{model.name}' takes {_listed(taken)} and gives "
                f"{_listed(made)}. Give the data and the configuration that it was trained with."
            )

    def calibration_images(self, count: int) -> np.ndarray:
        """The first images that an update takes, as the network takes them, augmented.

        Returns:
            float32 [images, height, width, channels], at most `count`.
        """
        found: list[np.ndarray] = []
        for batch in self._batches(0, -(-count // self.config.batch_size)):
            images, _ = inputs_and_targets(batch, self.config, len(self.source.class_names))
            is_read = batch["weights"].numpy() > 0
            found.append(np.asarray(self.inputs(images))[is_read])
        return np.concatenate(found)[:count]

    def _batches(self, first: int, last: int) -> Iterator[Any]:
        import tensorflow as tf

        last = min(last, self.steps)
        batches = input_pipeline.training(
            tf.distribute.get_strategy(), self.config, self.source, first, last
        )
        return (next(batches) for _ in range(first, last))


def _listed(shapes) -> str:
    return " and ".join(map(str, shapes)) or "nothing"


def fine_tune(
    model: Any,
    tuning: FineTuning,
    *,
    title: str,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> None:
    """Trains a tf-keras model in place.

    Args:
        model: gives logits, [batch, classes]; may hold
            tensorflow-model-optimization's wrappers.
        tuning: on what, and how.
        title: what is done, for the progress bar.
        folder: where checkpoints go; an interrupted call goes on from the
            last one there. None: nothing is written.
        report: takes a line after each epoch.

    Raises:
        DivergedError: the loss is no longer finite.
        Interrupted: SIGTERM or SIGINT came, and the state has been written.
    """
    with fast(model):
        _Run(model, tuning, title, folder, report).finish()


class _Run:
    def __init__(self, model, tuning: FineTuning, title: str, folder: Path | None, report):
        import tensorflow as tf

        self.model, self.tuning, self.title, self.report = model, tuning, title, report
        self.step, self.sums = 0, np.zeros(len(SUMS))
        self._rate = tf.Variable(0.0, trainable=False)
        config = tuning.config
        self._schedule = optimization.learning_rate(
            config, tuning.source.train.size / config.batch_size, tuning.steps
        )
        # The one of old: it makes its state for the variables that have a gradient, of which
        # the clustering's own have none.
        self.optimizer = libraries().keras.optimizers.legacy.SGD(
            lambda: self._rate, momentum=config.momentum, nesterov=config.nesterov
        )
        self.update = tf.function(self._update, reduce_retracing=True)
        self._state = _State(folder, self) if folder else None

    def finish(self) -> None:
        tuning, config = self.tuning, self.tuning.config
        ends = [
            input_pipeline.steps_until(epoch, config, tuning.source.train)
            for epoch in range(1, config.epochs + 1)
        ]
        batches = tuning._batches(0, 1)
        self.update.get_concrete_function(next(batches))  # Makes the optimizer's variables.
        if self._state and self._state.restore():
            self.report(f"{self.title}: going on after update {self.step}")
        batches = tuning._batches(self.step, tuning.steps)
        with Signals() if self._state else contextlib.nullcontext() as signals:
            for number, end in enumerate(ends, 1):
                if self.step < end:
                    self._train_epoch(batches, end, f"{number}/{len(ends)}", signals)

    def _train_epoch(self, batches, end: int, epoch: str, signals: Signals | None) -> None:
        first, started = self.step, time.perf_counter()
        progress = Progress(end - first, f"{self.title}, epoch {epoch}")
        every, size = self.tuning.config.checkpoint_every, self.tuning.config.batch_size
        while self.step < end:
            self._rate.assign(float(np.asarray(self._schedule(self.step))))
            sums = self.update(next(batches)).numpy()
            if not math.isfinite(sums[0]):
                raise DivergedError(
                    f"{self.title} diverged at update {self.step + 1}: the loss is {sums[0]}. Take "
                    "a lower learning rate."
                )
            self.step, self.sums = self.step + 1, self.sums + sums
            rate = (self.step - first) * size / (time.perf_counter() - started)
            loss, top1 = self.sums[:2] / max(self.sums[3], 1)
            progress.show(self.step - first, loss=loss, top1=top1, images_per_second=rate)
            if signals is not None and signals.is_set:
                self._state.save()
                raise Interrupted(signals.received or signal.SIGTERM, self.step)
            if self._state and self.step % every == 0 and self.step < end:
                self._state.save()
        self.report(
            f"{self.title}, epoch {epoch}: loss {loss:.4f}, top-1 {100 * top1:.2f}% in training, "
            f"{rate:.0f} images/s"
        )
        self.sums = np.zeros(len(SUMS))
        if self._state:
            self._state.save()

    def _update(self, batch):
        import tensorflow as tf

        config = self.tuning.config
        images, targets = inputs_and_targets(batch, config, len(self.tuning.source.class_names))
        weights = batch["weights"]
        with tf.GradientTape() as tape:
            logits = self.model(self.tuning.inputs(images), training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(losses * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)
            loss = tf.add_n([loss, *self.model.losses])
        variables = _unique(self.model.trainable_variables)
        found = zip(tape.gradient(loss, variables), variables, strict=True)
        pairs = [(gradient, variable) for gradient, variable in found if gradient is not None]
        gradients = [
            gradient + config.weight_decay * variable if _is_kernel(variable) else gradient
            for gradient, variable in pairs
        ]
        if config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm)
        self.optimizer.apply_gradients(
            zip(gradients, [variable for _, variable in pairs], strict=True)
        )
        return summed(losses, logits, tf.argmax(targets, axis=-1), weights)

    def variables(self) -> list[Any]:
        """All that an update changes."""
        return _unique([*self.model.variables, *self.optimizer.variables()])


class _State:
    """What of a run is on disk."""

    def __init__(self, folder: Path, run: _Run):
        self._run, self._path = run, folder
        self._folder: CheckpointFolder | None = None

    def _held(self):
        import tensorflow as tf

        if self._folder is None:
            self._numbers = tf.Variable([0.0] * (1 + len(SUMS)), dtype=tf.float64, trainable=False)
            self._checkpoint = tf.train.Checkpoint(
                variables=self._run.variables(), numbers=self._numbers
            )
            self._folder = CheckpointFolder(self._path, self._checkpoint, keep=1)
        return self._folder

    def save(self) -> None:
        folder = self._held()
        self._numbers.assign([self._run.step, *self._run.sums])
        folder.save()

    def restore(self) -> bool:
        """Goes back to the last checkpoint, if there is one.

        Raises:
            ValueError: it cannot be read.
        """
        folder = self._held()
        folder.tidy()
        paths = whole_checkpoints(self._path)
        if not paths:
            return False
        try:
            self._checkpoint.read(paths[-1]).assert_consumed()
        except Exception as error:  # TensorFlow's are many.
            raise ValueError(
                f"The checkpoint '{paths[-1]}' cannot be read: {' '.join(str(error).split())[:300]}"
                ". Remove the folder to begin again."
            ) from error
        step, *sums = self._numbers.numpy()
        self._run.step, self._run.sums = int(step), np.array(sums)
        return True


def _unique(variables) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _is_kernel(variable) -> bool:
    return variable.name.partition(":")[0].rpartition("/")[2] in ("kernel", "depthwise_kernel")
