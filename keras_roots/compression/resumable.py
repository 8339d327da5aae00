"""A training of some epochs that can be interrupted at any moment, whatever its updates do.

Batches are a function of the update's number. So what is on disk is what an
update changes, and how many there have been.
"""

import contextlib
import itertools
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_roots.data import Source, input_pipeline
from keras_roots.reporting import Progress
from keras_roots.training import optimization
from keras_roots.training.checkpoint_folder import CheckpointFolder, whole_checkpoints
from keras_roots.training.config import Config
from keras_roots.training.loop import DivergedError, Interrupted
from keras_roots.training.signals import Signals
from keras_roots.training.steps import SUMS


class Trainee(Protocol):
    """What is trained."""

    def update(self, batch: Any, learning_rate: Any) -> Any:
        """Makes an update with operations of TensorFlow.

        Args:
            batch: see `input_pipeline.train_batches`.
            learning_rate: float32, a scalar tensor.

        Returns:
            The batch's part of `training.steps.SUMS`, a tensor.
        """

    def variables(self) -> list[Any]:
        """All that an update changes, once one has been traced."""


def train(
    trainee: Trainee,
    config: Config,
    source: Source,
    *,
    title: str,
    folder: Path | None,
    report: Callable[[str], object],
) -> None:
    """Makes all updates, or those that are left of an interrupted call.

    Args:
        trainee: what is trained.
        config: of the batches, the learning rate and the checkpoints.
        source: its data.
        title: what is done, for the progress bar.
        folder: where checkpoints go; an interrupted call goes on from the
            last one there. None: nothing is written.
        report: takes a line after each epoch.

    Raises:
        DivergedError: the loss is no longer finite.
        Interrupted: SIGTERM or SIGINT came, and the state has been written.
        ValueError: the checkpoint cannot be read.
    """
    _Run(trainee, config, source, title, folder, report).finish()


def batches(config: Config, source: Source, first: int, last: int) -> Iterator[Any]:
    """The batches of updates `first` to before `last`, on one device."""
    import tensorflow as tf

    return iter(input_pipeline.training(tf.distribute.get_strategy(), config, source, first, last))


def seed(states: Iterable[Any], number: int) -> None:
    """Begins the random numbers of layers such as dropout as a configuration's seed says.

    Args:
        states: variables of Keras's seed generators, [seed, count].
        number: the seed.
    """
    rng = np.random.default_rng(number)
    for state in states:
        state.assign([int(rng.integers(2**31)), 0])


class _Run:
    def __init__(
        self,
        trainee: Trainee,
        config: Config,
        source: Source,
        title: str,
        folder: Path | None,
        report: Callable[[str], object],
    ):
        self.trainee, self.config, self.source = trainee, config, source
        self.title, self.report = title, report
        self.step, self.sums = 0, np.zeros(len(SUMS))
        self._state = _State(folder, self) if folder else None

    def finish(self) -> None:
        import tensorflow as tf

        config, source = self.config, self.source
        ends = [
            input_pipeline.steps_until(epoch, config, source.train)
            for epoch in range(config.epochs + 1)
        ]
        self._rate = optimization.learning_rate(
            config, source.train.size / config.batch_size, ends[-1]
        )
        self._update = tf.function(self.trainee.update, reduce_retracing=True)
        # Makes the variables of an optimizer, too.
        self._update.get_concrete_function(next(batches(config, source, 0, 1)), self._rate(0))
        if self._state and self._state.restore():
            self.report(f"{self.title}: going on after update {self.step}")
        left = batches(config, source, self.step, ends[-1])
        with Signals() if self._state else contextlib.nullcontext() as signals:
            for number, (begin, end) in enumerate(itertools.pairwise(ends), 1):
                if self.step == begin:
                    self.sums = np.zeros(len(SUMS))
                if self.step < end:
                    self._train_epoch(left, end, f"{number}/{config.epochs}", signals)

    def _train_epoch(
        self, left: Iterator[Any], end: int, epoch: str, signals: Signals | None
    ) -> None:
        first, started = self.step, time.perf_counter()
        progress = Progress(end - first, f"{self.title}, epoch {epoch}", report=self.report)
        while self.step < end:
            sums = self._update(next(left), self._rate(self.step)).numpy()
            if not math.isfinite(sums[0]):
                raise DivergedError(
                    f"{self.title} diverged at update {self.step + 1}: the loss is {sums[0]}. Take "
                    "a lower learning rate."
                )
            self.step, self.sums = self.step + 1, self.sums + sums
            rate = (self.step - first) * self.config.batch_size / (time.perf_counter() - started)
            loss, top1 = self.sums[:2] / max(self.sums[3], 1)
            progress.show(self.step - first, loss=loss, top1=top1, images_per_second=rate)
            if self._state and signals is not None and signals.is_set:
                self._state.save()
                raise Interrupted(signals.received or signal.SIGTERM, self.step)
            if self._state and self.step % self.config.checkpoint_every == 0 and self.step < end:
                self._state.save()
        self.report(
            f"{self.title}, epoch {epoch}: loss {loss:.4f}, top-1 {100 * top1:.2f}% in training, "
            f"{rate:.0f} images/s"
        )
        if self._state:
            self._state.save()


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
                variables=self._run.trainee.variables(), numbers=self._numbers
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
