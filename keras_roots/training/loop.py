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

import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.files import replacing
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
from keras_roots.training.checkpoints import Checkpoints, NotWrittenError
from keras_roots.training.config import Config
from keras_roots.training.history import Epoch, History
from keras_roots.training.progress import Progress, duration
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
    folder = Path(work_directory)
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
    workdir.check_writable(folder)
    with workdir.alone(folder):
        if not begun:
            workdir.begin(folder, config, source)
        return _Run(config, folder, strategy, source, report).finished()


class _Run:
    def __init__(self, config: Config, folder: Path, strategy, source, report):
        self.config, self.folder, self.strategy, self.source = config, folder, strategy, source
        self.report, self.chief = report, strategies.is_chief(strategy)
        self.classes = len(source.class_names)
        ends = [
            input_pipeline.steps_until(epoch, config, source.train)
            for epoch in range(1, config.epochs + 1)
        ]
        last = min(config.max_steps or ends[-1], ends[-1])
        self.ends = sorted({min(last, end) for end in ends})
        self.schedule = optimization.learning_rate(
            config,
            source.train.size / config.batch_size,
            input_pipeline.steps_until(config.epochs, config, source.train),
        )
        with strategy.scope():
            model = network.for_training(config, self.classes, strategy.num_replicas_in_sync)
            optimizer = optimization.make(config, self.schedule)
        self.steps = Steps(config, strategy, model, optimizer, self.classes)
        self.checkpoints = Checkpoints(folder, self.steps, config.keep_checkpoints)
        for line in plan.lines(config, source, strategies.describe(strategy), model, self.ends[-1]):
            report(line)
        path = self.checkpoints.restore()
        if path:
            report(f"Going on after update {self.checkpoints.step}, from {path}")
        self.history = History(folder, self.checkpoints.epochs, write=self.chief)
        self.unread = _Unread(folder, self.chief, report)
        self.signals = Signals()

    def finished(self) -> dict[str, Any]:
        try:
            with self.signals:
                self._train()
                return self._finish()
        finally:
            self.checkpoints.close()

    def _train(self) -> None:
        state, last = self.checkpoints, self.ends[-1]
        batches = input_pipeline.training(self.strategy, self.config, self.source, state.step, last)
        while True:
            # An epoch may have ended without its evaluation, when the run was interrupted.
            if state.epochs < len(self.ends) and state.step == self.ends[state.epochs]:
                self._finish_epoch(seconds=0.0, images=0)
                continue
            if state.step >= last:
                return
            self._train_epoch(batches)

    def _train_epoch(self, batches) -> None:
        import tensorflow as tf

        state, config = self.checkpoints, self.config
        first, end = state.step, self.ends[state.epochs]
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
            elapsed = time.perf_counter() - started
            done = state.step - first
            progress.show(
                done,
                loss=state.sums[0] / max(state.sums[3], 1),
                top1=state.sums[1] / max(state.sums[3], 1),
                images_per_second=done * config.batch_size / elapsed,
                learning_rate=self._learning_rate(state.step - 1),
            )
            if stop:
                self._interrupt()
            if is_due and state.step < end:
                self._save()
        self._finish_epoch(
            seconds=time.perf_counter() - started, images=(end - first) * config.batch_size
        )

    def _interrupt(self) -> None:
        """Writes the state and ends, as all workers do at the same update."""
        self.checkpoints.save()
        raise Interrupted(self.signals.received or signal.SIGTERM, self.checkpoints.step)

    def _take(self, step: int, batch, result) -> bool:
        """Adds up what an update gave; whether anyone asked for an end.

        Raises:
            DivergedError: it gave no number.
        """
        sums, norm = (value.numpy() for value in result)
        self._require_finite(step, float(sums[0]), float(norm))
        self.checkpoints.sums += sums
        if sums[3] < self.config.batch_size:
            self._note_unread(batch, self.source.train)
        return bool(sums[SUMS.index("stops")])

    def _require_finite(self, step: int, loss: float, norm: float) -> None:
        if math.isfinite(loss) and (math.isfinite(norm) or self._scale_is_to_blame()):
            return
        what = f"gradients' norm is {norm}" if math.isfinite(loss) else f"loss is {loss}"
        good = self.checkpoints.last_saved
        raise DivergedError(
            f"Diverged at update {step}: the {what}, at a learning rate of "
            f"{self._learning_rate(step):.4g}. "
            + (
                f"The last good checkpoint, of update {good}, is as it was. "
                if good is not None
                else "There is no checkpoint before it. "
            )
            + "Take a lower learning_rate, more warmup_epochs, or clip_norm, and a new work "
            "directory."
        )

    def _scale_is_to_blame(self) -> bool:
        """Whether the gradients are of a loss that was scaled too much; it then is scaled less."""
        if self.config.precision != "float16":
            return False
        return float(self.steps.optimizer.dynamic_scale) >= _LEAST_LOSS_SCALE

    def _learning_rate(self, step: int) -> float:
        return float(np.asarray(self.schedule(step)))

    def _note_unread(self, batch, split: sources.Split) -> None:
        for number in input_pipeline.unread(self.strategy, batch):
            name = split.describe(number)
            if self.config.strict:
                raise ValueError(f"The image '{name}' cannot be read (strict=True).")
            self.unread.add(name)

    def _evaluate(self) -> tuple[float, float, float]:
        """Mean loss, top-1 and top-5 accuracy on the held-out images.

        Raises:
            Interrupted: a signal came; the epoch is evaluated when the run goes on.
        """
        import tensorflow as tf

        split = self.source.validation
        count = input_pipeline.steps_until(1, self.config, split)
        progress = Progress(count, "Evaluation", shown=self.chief)
        total, expected = np.zeros(len(SUMS)), 0
        self.steps.swap_averages()
        try:
            batches = input_pipeline.validation(self.strategy, self.config, split)
            for number, batch in zip(range(1, count + 1), batches, strict=True):
                total += self.steps.evaluate(batch, tf.constant(self.signals.is_set)).numpy()
                expected = min(split.size, number * self.config.batch_size)
                if total[3] < expected:
                    self._note_unread(batch, split)
                progress.show(number, top1=total[1] / max(total[3], 1))
                if total[SUMS.index("stops")]:
                    break
        finally:
            self.steps.swap_averages()
        if total[SUMS.index("stops")]:
            self._interrupt()
        loss, top1, top5 = (float(each) for each in total[:3] / max(total[3], 1))
        return loss, top1, top5

    def _finish_epoch(self, seconds: float, images: int) -> None:
        state, config = self.checkpoints, self.config
        number = state.epochs + 1
        since = self.history.epochs[-1].step if self.history.epochs else 0
        seen = (state.step - since) * config.batch_size
        loss, top1, top5 = (float(each) for each in state.sums[:3] / max(state.sums[3], 1))
        values: dict[str, Any] = {
            "epoch": number,
            "step": state.step,
            "learning_rate": self._learning_rate(state.step - 1),
            "loss": loss,
            "top1": top1,
            "top5": top5,
            "images": seen,
            "unread": seen - int(state.sums[3]),
            "images_per_second": images / seconds if seconds else 0.0,
        }
        is_best = False
        if number % config.evaluate_every == 0 or number == len(self.ends):
            scores = self._evaluate()
            names = ("validation_loss", "validation_top1", "validation_top5")
            values.update(zip(names, scores, strict=True))
            is_best = scores[1] > state.best
            state.best = max(state.best, scores[1])
        row = Epoch(**values)
        with self._tolerating("history.csv"):
            self.history.add(row)
        left = (self.ends[-1] - state.step) * config.batch_size
        rate = row.images_per_second
        self.report(
            _in_words(row, len(self.ends)) + (f"; {duration(left / rate)} left" if rate else "")
        )
        state.epochs, state.sums = number, np.zeros(len(SUMS))
        if is_best:
            self._save(best=True)
            with self._tolerating("best.keras"):
                self._write_model("best.keras")
        self._save()
        with self._tolerating("learning-curve.png"):
            self.history.plot(self._title())

    def _save(self, *, best: bool = False) -> None:
        with self._tolerating("a checkpoint"):
            self.checkpoints.save(best=best)

    def _write_model(self, name: str) -> None:
        if not self.chief:
            return
        self.steps.swap_averages()
        try:
            model = network.for_use(self.steps.model, self.config, self.classes)
            with replacing(self.folder / name) as path:
                model.save(path)
        finally:
            self.steps.swap_averages()

    @contextlib.contextmanager
    def _tolerating(self, what: str) -> Iterator[None]:
        """Reports what cannot be written, as on a full disk; there may be room next time."""
        import tensorflow as tf

        try:
            yield
        except (NotWrittenError, OSError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())
            self.report(f"WARNING: {what} could not be written: {reason} Training goes on.")

    def _title(self) -> str:
        config = self.config
        name = config.name or f"{config.model} {config.root}"
        return f"{name}, {Path(self.source.name).name if config.data_dir else self.source.name}"

    def _finish(self) -> dict[str, Any]:
        if not self.checkpoints.is_saved:
            self.checkpoints.save()  # This time a full disk is an error.
        if not self.history.epochs:
            raise ValueError(f"'{self.folder}' has checkpoints of a whole run and no history.csv.")
        last = self.history.epochs[-1]
        evaluated = [e for e in self.history.epochs if e.validation_top1 is not None]
        best = max(evaluated, key=lambda each: each.validation_top1 or 0.0)
        summary = {
            "config": self.config.as_dict(),
            "data": {"name": self.source.name, **self.source.fingerprint()},
            "conditions": conditions(
                devices=strategies.describe(self.strategy),
                batch_size=self.config.batch_size,
            ),
            "updates": self.checkpoints.step,
            "epochs": self.checkpoints.epochs,
            "loss": last.loss,
            "top1": last.top1,
            "validation_loss": last.validation_loss,
            "validation_top1": last.validation_top1,
            "validation_top5": last.validation_top5,
            "best_epoch": best.epoch,
            "best_validation_top1": best.validation_top1,
            "images_per_second": float(
                np.median([e.images_per_second for e in self.history.epochs])
            ),
            "unread_images": sorted(self.unread.names),
        }
        try:
            self._write_model("model.keras")
            if self.chief:
                with replacing(self.folder / "summary.json") as path:
                    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise NotWrittenError(
                f"The results could not be written to '{self.folder}': {error}. The same command "
                "writes them from the last checkpoint."
            ) from error
        self.report(
            f"Done: top-1 {100 * (last.validation_top1 or 0):.2f}%, top-5 "
            f"{100 * (last.validation_top5 or 0):.2f}% of {self.source.validation.size:,} held-out "
            f"images (best: epoch {best.epoch}, top-1 {100 * (best.validation_top1 or 0):.2f}%). "
            f"Results are in {self.folder}"
        )
        return summary


class _Unread:
    """Names of images that could not be read, each reported once."""

    def __init__(self, folder: Path, write: bool, report):
        self._path, self._write, self._report = folder / "unread.txt", write, report
        self.names: set[str] = set()
        if self._path.is_file():
            self.names.update(self._path.read_text(encoding="utf-8").splitlines())

    def add(self, name: str) -> None:
        if name in self.names:
            return
        self.names.add(name)
        self._report(f"Cannot be read, and is left out: {name}")
        if self._write:
            with replacing(self._path) as path:
                path.write_text("".join(f"{n}\n" for n in sorted(self.names)), encoding="utf-8")


def _in_words(row: Epoch, epochs: int) -> str:
    text = (
        f"Epoch {row.epoch}/{epochs}: loss {row.loss:.4f}, top-1 {100 * row.top1:.2f}%, "
        f"{row.images_per_second:,.0f} images/s, learning rate {row.learning_rate:.4g}"
    )
    if row.validation_top1 is not None:
        text += (
            f"; held out: loss {row.validation_loss:.4f}, top-1 {100 * row.validation_top1:.2f}%, "
            f"top-5 {100 * (row.validation_top5 or 0):.2f}%"
        )
    if row.unread:
        text += f"; {row.unread:,} of {row.images:,} images could not be read"
    return text
