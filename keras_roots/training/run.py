"""What a run does between its updates, whatever computes them: epochs, state, results.

`loop` computes them with TensorFlow, `on_jax.loop` with JAX.
"""

import abc
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import keras
import numpy as np

from keras_roots.data import Source, input_pipeline
from keras_roots.reporting import Progress, duration
from keras_roots.timing import conditions
from keras_roots.training import network, optimization, plan
from keras_roots.training.config import Config
from keras_roots.training.history import Epoch, History
from keras_roots.training.results import Results, Trained
from keras_roots.training.signals import Signals
from keras_roots.training.steps import SUMS

VALIDATION = ("validation_loss", "validation_top1", "validation_top5")


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


class State(Protocol):
    """What a run goes on from; see `checkpoints.Checkpoints`."""

    step: int
    epochs: int
    sums: np.ndarray
    best: float
    last_saved: int | None

    @property
    def is_saved(self) -> bool: ...
    def restore(self) -> str | None: ...
    def save(self, *, best: bool = False) -> None: ...
    def close(self) -> None: ...


class Run(abc.ABC):
    """One run, from where it was interrupted to its end.

    Args:
        config: the configuration.
        folder: the work directory.
        source: what is trained and evaluated on.
        report: takes each line of progress.
        chief: whether this worker writes the results.
    """

    steps: Trained
    state: State

    def __init__(
        self, config: Config, folder: Path, source: Source, report: Callable, *, chief: bool
    ):
        self.config, self.folder, self.source = config, folder, source
        self.report, self.chief = report, chief
        # The updates after which each epoch ends, and after which the run does.
        self.ends = [
            input_pipeline.steps_until(epoch, config, source.train)
            for epoch in range(1, config.epochs + 1)
        ]
        self.last = min(config.max_steps or self.ends[-1], self.ends[-1])
        self.schedule = optimization.learning_rate(
            config, source.train.size / config.batch_size, self.ends[-1]
        )
        self.signals = Signals()
        self.failure: Exception | None = None

    def _made(self, replicas: int) -> tuple[keras.Model, keras.optimizers.Optimizer]:
        """The network, and what updates it."""
        model = network.for_training(self.config, len(self.source.class_names), replicas)
        return model, optimization.make(self.config, self.schedule)

    def _begin(self, steps: Trained, state: State, devices: str) -> None:
        """Tells what will be done, and goes back to where the run was.

        Args:
            devices: in words.
        """
        self.steps, self.state, self.devices = steps, state, devices
        for line in plan.lines(self.config, self.source, devices, steps.model, self.last):
            self.report(line)
        path = state.restore()
        if path:
            self.report(f"Going on after update {state.step}, from {path}")
        self.history = History(self.folder, state.epochs, write=self.chief)
        self.results = Results(self.folder, steps, self.report, write=self.chief)

    def finished(self) -> dict[str, Any]:
        """Goes on to the end; what summary.json holds."""
        try:
            with self.signals:
                self._train()
                return self._finish()
        finally:
            self.state.close()

    def _train(self) -> None:
        state = self.state
        while True:
            # An epoch may have ended without its evaluation, when the run was interrupted.
            if state.epochs < len(self.ends) and state.step == self.ends[state.epochs]:
                self._finish_epoch(seconds=0.0, images=0)
            elif state.step < self.last:
                self._train_epoch()
            else:
                return

    def _versions(self) -> dict[str, str]:
        """Of what computes, beside those of `measure.conditions`."""
        return {}

    @abc.abstractmethod
    def _train_epoch(self) -> None:
        """Goes on to the end of the epoch, or of the run if that comes first."""

    @abc.abstractmethod
    def _evaluate(self) -> dict[str, float]:
        """Mean loss, top-1 and top-5 accuracy on the held-out images.

        Raises:
            Interrupted: a signal came; the epoch is evaluated when the run goes on.
        """

    def _learning_rate(self, step: int) -> float:
        return float(np.asarray(self.schedule(step)))

    def _show(self, progress: Progress, done: int, seconds: float) -> None:
        """Shows how far the epoch is: `done` updates here in so many seconds."""
        sums = self.state.sums
        progress.show(
            done,
            loss=sums[0] / max(sums[3], 1),
            top1=sums[1] / max(sums[3], 1),
            images_per_second=done * self.config.batch_size / seconds,
            learning_rate=self._learning_rate(self.state.step - 1),
        )

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

    def _interrupt(self) -> NoReturn:
        """Writes the state and ends, as all workers do at the same update."""
        self._require_finite_state()
        self.state.save()
        if self.failure is not None:
            raise self.failure
        raise Interrupted(self.signals.received or signal.SIGTERM, self.state.step)

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
            scores = {name: getattr(rows[-1], name) for name in VALIDATION}
        else:  # max_steps came before the end of an epoch.
            scores = self._evaluate()
        best = next((row.epoch for row in rows if row.validation_top1 == state.best), None)
        rates = [row.images_per_second for row in rows if row.images_per_second]
        summary = {
            "config": self.config.as_dict(),
            "data": {"name": self.source.name, **self.source.fingerprint()},
            "conditions": conditions(
                **self._versions(),
                devices=self.devices,
                batch_size=self.config.batch_size,
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
