"""A run from its configuration to its model, which can be interrupted at any moment.

In the work directory:

* config.json, data.json, classes.txt: what is trained on what;
* checkpoints/, best-checkpoint/: the state (see `checkpoints`, and
  `on_jax.checkpoints`);
* history.csv, learning-curve.png (where matplotlib is), and on TensorFlow
  tensorboard/: epoch by epoch;
* unread.txt: images that could not be read, where there are any;
* best.keras: the best so far, by top-1 accuracy on the held-out images;
* model.keras, summary.json: at the end.

Models take images of 0 to 255 and give probabilities.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.data import input_pipeline, sources
from keras_roots.reporting import Progress, results_folder, silent
from keras_roots.requirements import require_tensorflow_or_jax
from keras_roots.training import strategies, workdir
from keras_roots.training.checkpoints import Checkpoints
from keras_roots.training.config import Config
from keras_roots.training.run import VALIDATION, DivergedError, Interrupted, Run
from keras_roots.training.steps import SUMS, Steps

__all__ = ["DivergedError", "Interrupted", "train_and_evaluate"]

_LEAST_LOSS_SCALE = 2.0**-14


def train_and_evaluate(
    config: Config,
    work_directory: str | os.PathLike,
    *,
    report: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Trains a network, or goes on where an interrupted run was.

    After it was killed at any moment, the same call goes on from the last
    checkpoint and ends with the same weights as without; bit by bit with
    `deterministic=True` on the same devices. On JAX as `on_jax` has it.

    Args:
        config: what is trained on what, and how.
        work_directory: of this run alone; made if there is none.
        report: takes each line of progress, from one worker.

    Returns:
        What summary.json holds.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: something that it
            needs is not there or not right; before any training.
        DivergedError: the loss is no longer finite.
        NotWrittenError: the last checkpoint could not be written.
        Interrupted: SIGTERM or SIGINT came; the state has been written.
    """
    require_tensorflow_or_jax("Training")
    folder = Path(work_directory).expanduser()
    if keras.backend.backend() == "jax":
        from keras_roots.training.on_jax.loop import JaxRun, require_memory

        source = sources.open_source(config)
        require_memory(source)
        return _alone(config, folder, source, lambda: JaxRun(config, folder, source, report))
    strategy = strategies.make(config)  # Before TensorFlow does anything else.
    if config.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    input_pipeline.check(config, strategy.num_replicas_in_sync)
    source = sources.open_source(config)
    if not strategies.is_chief(strategy):
        if workdir.has_begun(folder):
            workdir.check(folder, config, source)  # As the chief does.
        return _Run(config, folder, strategy, source, silent).finished()
    return _alone(config, folder, source, lambda: _Run(config, folder, strategy, source, report))


def _alone(
    config: Config, folder: Path, source: sources.Source, make: Callable[[], Run]
) -> dict[str, Any]:
    """A run to its end, in a work directory of its own."""
    begun = workdir.check(folder, config, source)
    sources.check_readable(source)
    results_folder(folder, overwrite=True)
    with workdir.alone(folder):
        workdir.tidy(folder)
        if not begun:
            workdir.begin(folder, config, source)
        return make().finished()


class _Run(Run):
    steps: Steps
    state: Checkpoints

    def __init__(self, config: Config, folder: Path, strategy, source: sources.Source, report):
        super().__init__(config, folder, source, report, chief=strategies.is_chief(strategy))
        self.strategy = strategy
        with strategy.scope():
            model, optimizer = self._made(strategy.num_replicas_in_sync)
        steps = Steps(config, strategy, model, optimizer, len(source.class_names))
        state = Checkpoints(folder, steps, config.keep_checkpoints)
        self._begin(steps, state, strategies.describe(strategy))
        steps.separate_seeds()

    def _train(self) -> None:
        self.batches = input_pipeline.training(
            self.strategy, self.config, self.source, self.state.step, self.last
        )
        super()._train()

    def _train_epoch(self) -> None:
        import tensorflow as tf

        state, config = self.state, self.config
        first, end = state.step, min(self.ends[state.epochs], self.last)
        progress = Progress(
            end - first, f"Epoch {state.epochs + 1}/{len(self.ends)}", shown=self.chief
        )
        started = time.perf_counter()
        pending = None
        while state.step < end:
            batch = next(self.batches)
            result = self.steps.train(batch, tf.constant(self.signals.is_set))
            # Looked at while the next update is under way.
            stop = pending is not None and self._take(*pending)
            pending = (state.step, batch, result)
            state.step += 1
            is_due = state.step % config.checkpoint_every == 0
            if stop or is_due or state.step == end:
                stop = self._take(*pending) or stop
                pending = None
            done, seconds = state.step - first, time.perf_counter() - started
            self._show(progress, done, seconds)
            if stop:
                self._interrupt()
            if is_due and state.step < end:
                self._save()
        if end == self.ends[state.epochs]:
            seconds = time.perf_counter() - started
            self._finish_epoch(seconds, (end - first) * config.batch_size)

    def _take(self, step: int, batch, result) -> bool:
        """Adds up what an update gave; whether anyone asked for an end.

        Raises:
            DivergedError: it gave no number.
        """
        sums, norm = (value.numpy() for value in result)
        loss, norm = float(sums[0]), float(norm)
        if not math.isfinite(loss):
            self._diverged(step, f"loss is {loss}")
        if not math.isfinite(norm) and not self._scale_is_to_blame():
            self._diverged(step, f"gradients' norm is {norm}")
        self.state.sums += sums
        if sums[3] < self.config.batch_size:
            self._note_unread(batch, self.source.train)
        return bool(sums[SUMS.index("stops")])

    def _scale_is_to_blame(self) -> bool:
        """Whether the gradients are of a loss that was scaled too much; it then is scaled less."""
        if self.config.precision != "float16":
            return False
        return float(self.steps.optimizer.dynamic_scale) >= _LEAST_LOSS_SCALE

    def _learning_rate(self, step: int) -> float:
        import tensorflow as tf

        with tf.device("CPU"):  # Else it would wait for the update under way on a GPU.
            return super()._learning_rate(step)

    def _note_unread(self, batch, split: sources.Split) -> None:
        for number in input_pipeline.unread(self.strategy, batch):
            name = split.describe(number)
            self.results.add_unread(name)
            if self.config.strict and self.failure is None:
                self.failure = ValueError(f"The image '{name}' cannot be read (strict=True).")
                if strategies.workers(self.strategy) == 1:
                    raise self.failure
                self.signals.ask()  # The others must not wait for this worker.

    def _evaluate(self) -> dict[str, float]:
        import tensorflow as tf

        split, size = self.source.validation, self.config.batch_size
        count = input_pipeline.steps_until(1, self.config, split)
        progress = Progress(count, "Evaluation", shown=self.chief)
        total = np.zeros(len(SUMS))
        self.steps.swap_averages()
        try:
            batches = input_pipeline.validation(self.strategy, self.config, split)
            for number, batch in zip(range(1, count + 1), batches, strict=True):
                sums = self.steps.evaluate(batch, tf.constant(self.signals.is_set)).numpy()
                total += sums
                if sums[3] < min(size, split.size - (number - 1) * size):
                    self._note_unread(batch, split)
                progress.show(number, top1=total[1] / max(total[3], 1))
                if total[SUMS.index("stops")]:
                    break
        finally:
            self.steps.swap_averages()
        if total[SUMS.index("stops")]:
            self._interrupt()
        return dict(zip(VALIDATION, (total[:3] / max(total[3], 1)).tolist(), strict=True))
