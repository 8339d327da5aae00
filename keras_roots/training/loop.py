"""A run from its configuration to its model, which can be interrupted at any moment.

In the work directory:

* config.json, data.json, classes.txt: what is trained on what;
* checkpoints/, best-checkpoint/: the state (see `checkpoints`);
* history.csv, learning-curve.png, tensorboard/: epoch by epoch;
* unread.txt: images that could not be read, where there are any;
* best.keras: the best so far, by top-1 accuracy on the held-out images;
* model.keras, summary.json: at the end.

Models take images of 0 to 255 and give probabilities.
"""

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from keras_roots.files import results_folder
from keras_roots.measure import conditions
from keras_roots.reporting import silent
from keras_roots.requirements import require_extras, require_tensorflow
from keras_roots.training import (
    input_pipeline,
    network,
    optimization,
    plan,
    sources,
    strategies,
    workdir,
)
from keras_roots.training.checkpoints import Checkpoints
from keras_roots.training.config import Config
from keras_roots.training.history import Epoch, History
from keras_roots.training.progress import Progress, duration
from keras_roots.training.results import Results
from keras_roots.training.signals import Signals
from keras_roots.training.steps import SUMS, Steps

_LEAST_LOSS_SCALE = 2.0**-14


class Interrupted(Exception):  # noqa: N818 - Nothing is wrong.
    """A signal asked for an end; the state has been written.

    Attributes:
        signal: its number.
        step: updates done.
    """

    def __init__(self, signal_number: int, step: int):
        name = signal.Signals(signal_number).name
        super().__init__(
            f"Interrupted ({name}) after update {step}, whose checkpoint is written. "
            "The same command goes on."
        )
        self.signal, self.step = signal_number, step


class DivergedError(RuntimeError):
    """The loss or the gradients are no longer finite."""


def train_and_evaluate(
    config: Config,
    work_directory: str | os.PathLike,
    *,
    report: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Trains a network, or goes on where an interrupted run was.

    After it was killed at any moment, the same call goes on from the last
    checkpoint and ends with the same weights as without; bit by bit with
    `deterministic=True` on the same devices.

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
    require_tensorflow("Training")
    require_extras("Training", {"matplotlib": "plots"})
    folder = Path(work_directory).expanduser()
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
    begun = workdir.check(folder, config, source)
    sources.check_readable(source)
    results_folder(folder, overwrite=True)
    with workdir.alone(folder):
        workdir.tidy(folder)
        if not begun:
            workdir.begin(folder, config, source)
        return _Run(config, folder, strategy, source, report).finished()


class _Run:
    def __init__(self, config: Config, folder: Path, strategy, source: sources.Source, report):
        self.config, self.folder, self.strategy, self.source = config, folder, strategy, source
        self.report, self.chief = report, strategies.is_chief(strategy)
        # The updates after which each epoch ends, and after which the run does.
        self.ends = [
            input_pipeline.steps_until(epoch, config, source.train)
            for epoch in range(1, config.epochs + 1)
        ]
        self.last = min(config.max_steps or self.ends[-1], self.ends[-1])
        self.schedule = optimization.learning_rate(
            config, source.train.size / config.batch_size, self.ends[-1]
        )
        classes = len(source.class_names)
        with strategy.scope():
            model = network.for_training(config, classes, strategy.num_replicas_in_sync)
            optimizer = optimization.make(config, self.schedule)
        self.steps = Steps(config, strategy, model, optimizer, classes)
        self.state = Checkpoints(folder, self.steps, config.keep_checkpoints)
        for line in plan.lines(config, source, strategies.describe(strategy), model, self.last):
            report(line)
        path = self.state.restore()
        self.steps.separate_seeds()
        if path:
            report(f"Going on after update {self.state.step}, from {path}")
        self.history = History(folder, self.state.epochs, write=self.chief)
        self.results = Results(folder, self.steps, report, write=self.chief)
        self.signals = Signals()
        self.failure: Exception | None = None

    def finished(self) -> dict[str, Any]:
        try:
            with self.signals:
                self._train()
                return self._finish()
        finally:
            self.state.close()

    def _train(self) -> None:
        state = self.state
        batches = input_pipeline.training(
            self.strategy, self.config, self.source, state.step, self.last
        )
        while True:
            # An epoch may have ended without its evaluation, when the run was interrupted.
            if state.epochs < len(self.ends) and state.step == self.ends[state.epochs]:
                self._finish_epoch(seconds=0.0, images=0)
            elif state.step < self.last:
                self._train_epoch(batches)
            else:
                return

    def _train_epoch(self, batches) -> None:
        """Goes on to the end of the epoch, or of the run if that comes first."""
        import tensorflow as tf

        state, config = self.state, self.config
        first, end = state.step, min(self.ends[state.epochs], self.last)
        progress = Progress(
            end - first, f"Epoch {state.epochs + 1}/{len(self.ends)}", shown=self.chief
        )
        started = time.perf_counter()
        pending = None
        while state.step < end:
            batch = next(batches)
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
            progress.show(
                done,
                loss=state.sums[0] / max(state.sums[3], 1),
                top1=state.sums[1] / max(state.sums[3], 1),
                images_per_second=done * config.batch_size / seconds,
                learning_rate=self._learning_rate(state.step - 1),
            )
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

    def _diverged(self, step: int, what: str) -> NoReturn:
        """Ends the run; `step` counts from 0, and the message, as all that people see, from 1."""
        good = self.state.last_saved
        kept = (
            "There is no checkpoint before it."
            if good is None
            else f"The last good checkpoint, of update {good}, is as it was."
        )
        raise DivergedError(
            f"Diverged at update {step + 1}: the {what}, at a learning rate of "
            f"{self._learning_rate(step):.4g}. {kept} Take a lower learning_rate, more "
            "warmup_epochs, or clip_norm, and a new work directory."
        )

    def _scale_is_to_blame(self) -> bool:
        """Whether the gradients are of a loss that was scaled too much; it then is scaled less."""
        if self.config.precision != "float16":
            return False
        return float(self.steps.optimizer.dynamic_scale) >= _LEAST_LOSS_SCALE

    def _learning_rate(self, step: int) -> float:
        import tensorflow as tf

        with tf.device("CPU"):  # Else it would wait for the update under way on a GPU.
            return float(np.asarray(self.schedule(step)))

    def _note_unread(self, batch, split: sources.Split) -> None:
        for number in input_pipeline.unread(self.strategy, batch):
            name = split.describe(number)
            self.results.add_unread(name)
            if self.config.strict and self.failure is None:
                self.failure = ValueError(f"The image '{name}' cannot be read (strict=True).")
                if strategies.workers(self.strategy) == 1:
                    raise self.failure
                self.signals.ask()  # The others must not wait for this worker.

    def _interrupt(self) -> NoReturn:
        """Writes the state and ends, as all workers do at the same update."""
        self._require_finite_state()
        self.state.save()
        if self.failure is not None:
            raise self.failure
        raise Interrupted(self.signals.received or signal.SIGTERM, self.state.step)

    def _evaluate(self) -> dict[str, float]:
        """Mean loss, top-1 and top-5 accuracy on the held-out images.

        Raises:
            Interrupted: a signal came; the epoch is evaluated when the run goes on.
        """
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
        names = ("validation_loss", "validation_top1", "validation_top5")
        return dict(zip(names, (total[:3] / max(total[3], 1)).tolist(), strict=True))

    def _finish_epoch(self, seconds: float, images: int) -> None:
        state, config = self.state, self.config
        number = state.epochs + 1
        begin = self.ends[state.epochs - 1] if state.epochs else 0
        seen = (state.step - begin) * config.batch_size
        loss, top1, top5 = (float(each) for each in state.sums[:3] / max(state.sums[3], 1))
        is_evaluated = number % config.evaluate_every == 0 or number == len(self.ends)
        row = Epoch(
            epoch=number,
            step=state.step,
            learning_rate=self._learning_rate(state.step - 1),
            loss=loss,
            top1=top1,
            top5=top5,
            images=seen,
            unread=seen - int(state.sums[3]),
            images_per_second=images / seconds if seconds else 0.0,
            **(self._evaluate() if is_evaluated else {}),
        )
        with self.results.tolerating("history.csv"):
            self.history.add(row)
        left = (self.last - state.step) * config.batch_size
        rate = row.images_per_second
        self.report(
            row.in_words(len(self.ends)) + (f"; {duration(left / rate)} left" if rate else "")
        )
        state.epochs, state.sums = number, np.zeros(len(SUMS))
        if row.validation_top1 is not None and row.validation_top1 > state.best:
            with self.results.tolerating("best.keras"):
                self.results.write_model("best.keras")
                state.best = row.validation_top1
                self.state.save(best=True)
        self._save()
        with self.results.tolerating("learning-curve.png"):
            self.history.plot(self._title())

    def _save(self) -> None:
        self._require_finite_state()
        with self.results.tolerating("a checkpoint"):
            self.state.save()

    def _require_finite_state(self) -> None:
        """Lest a checkpoint be written that no run can go on from."""
        if not bool(self.steps.is_finite()):
            self._diverged(self.state.step - 1, "updated weights are not finite")

    def _title(self) -> str:
        config = self.config
        name = config.name or f"{config.model} {config.root}"
        return f"{name}, {Path(self.source.name).name if config.data_dir else self.source.name}"

    def _finish(self) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        state, rows = self.state, self.history.epochs
        if not state.is_saved:
            self._require_finite_state()
            state.save()  # This time a full disk is an error.
        if rows and rows[-1].step == state.step and rows[-1].validation_top1 is not None:
            names = ("validation_loss", "validation_top1", "validation_top5")
            scores = {name: getattr(rows[-1], name) for name in names}
        else:  # max_steps came before the end of an epoch.
            scores = self._evaluate()
        best = next((row.epoch for row in rows if row.validation_top1 == state.best), None)
        rates = [row.images_per_second for row in rows if row.images_per_second]
        summary = {
            "config": self.config.as_dict(),
            "data": {"name": self.source.name, **self.source.fingerprint()},
            "conditions": conditions(
                devices=strategies.describe(self.strategy), batch_size=self.config.batch_size
            ),
            "updates": state.step,
            "epochs": state.epochs,
            "loss": rows[-1].loss if rows else None,
            "top1": rows[-1].top1 if rows else None,
            **scores,
            "best_epoch": best,
            "best_validation_top1": state.best if best else None,
            "images_per_second": float(np.median(rates)) if rates else None,
            "unread_images": sorted(self.results.unread),
        }
        self.results.finish(summary)
        self.report(
            f"Done after {state.step:,} updates: top-1 {100 * scores['validation_top1']:.2f}%, "
            f"top-5 {100 * scores['validation_top5']:.2f}% of {self.source.validation.size:,} "
            "held-out images"
            + (f" (best: epoch {best}, top-1 {100 * state.best:.2f}%)" if best else "")
            + f". Results are in {self.folder}"
        )
        return summary
