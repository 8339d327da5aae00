"""A run on JAX: see `training.loop`, which calls it."""

import importlib.metadata
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from keras_roots.data import Source, input_pipeline
from keras_roots.reporting import Progress
from keras_roots.training import plan
from keras_roots.training.config import Config
from keras_roots.training.on_jax import images
from keras_roots.training.on_jax.checkpoints import Checkpoints
from keras_roots.training.on_jax.steps import MOST, Steps
from keras_roots.training.run import VALIDATION, Run

# So long a signal waits, and so long the device works without asking.
_SECONDS = 2.0
_FASTEST_GROWTH = 8


class JaxRun(Run):
    """A run on JAX's first device.

    Args:
        config, folder, source, report: as of `Run`.
    """

    steps: Steps
    state: Checkpoints

    def __init__(self, config: Config, folder: Path, source: Source, report: Callable):
        super().__init__(config, folder, source, report, chief=True)
        model, optimizer = self._made(replicas=1)
        steps = Steps(config, model, optimizer, len(source.class_names))
        self._begin(steps, Checkpoints(folder, steps, config.keep_checkpoints), describe_device())
        self._train_images = images.to_train_on(source.train, config)
        self._held_out = images.to_evaluate_on(source.validation, config)
        self._train_pace, self._evaluate_pace = _Pace(), _Pace()

    def _versions(self) -> dict[str, str]:
        return {"backend": "jax", "jax": importlib.metadata.version("jax")}

    def _train_epoch(self) -> None:
        state, config = self.state, self.config
        first, end = state.step, min(self.ends[state.epochs], self.last)
        progress = Progress(end - first, f"Epoch {state.epochs + 1}/{len(self.ends)}")
        started = time.perf_counter()
        while state.step < end:
            to_checkpoint = config.checkpoint_every - state.step % config.checkpoint_every
            count = min(self._train_pace.count, end - state.step, to_checkpoint)
            with self._train_pace.of(count):
                found = self.steps.train(self._train_images, state.step, count)
            self._take(found)
            self._show(progress, state.step - first, time.perf_counter() - started)
            if self.signals.is_set:
                self._interrupt()
            if state.step % config.checkpoint_every == 0 and state.step < end:
                self._save()
        if end == self.ends[state.epochs]:
            seconds = time.perf_counter() - started
            self._finish_epoch(seconds, (end - first) * config.batch_size)

    def _take(self, found: np.ndarray) -> None:
        """Adds up what updates gave.

        Raises:
            DivergedError: one gave no number.
        """
        state = self.state
        for number, (loss, *_, norm) in enumerate(found.tolist()):
            for what, value in (("loss is", loss), ("gradients' norm is", norm)):
                if not math.isfinite(value):
                    self._diverged(state.step + number, f"{what} {value}")
        state.sums[:4] += found[:, :4].sum(axis=0)
        state.step += len(found)

    def _evaluate(self) -> dict[str, float]:
        batches = input_pipeline.steps_until(1, self.config, self.source.validation)
        progress = Progress(batches, "Evaluation")
        total, done = np.zeros(4), 0
        self.steps.swap_averages()
        try:
            while done < batches and not self.signals.is_set:
                count = min(self._evaluate_pace.count, batches - done)
                with self._evaluate_pace.of(count):
                    total += self.steps.evaluate(self._held_out, done, count)
                done += count
                progress.show(done, top1=total[1] / max(total[3], 1))
        finally:
            self.steps.swap_averages()
        if done < batches:
            self._interrupt()
        return dict(zip(VALIDATION, (total[:3] / total[3]).tolist(), strict=True))


class _Pace:
    """How many updates, or batches, are done in one call, so that it takes some seconds.

    Attributes:
        count: of the next call.
    """

    def __init__(self) -> None:
        self.count = 1

    def of(self, count: int) -> "_Pace":
        """To be entered for a call of so many."""
        self._asked, self._started = count, time.perf_counter()
        return self

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        fitting = self._asked * _SECONDS / max(time.perf_counter() - self._started, 1e-6)
        self.count = max(1, min(int(fitting), self._asked * _FASTEST_GROWTH, MOST))


def describe_device() -> str:
    """The device in words."""
    device = jax.devices()[0]
    return "1 replica on CPU" if device.platform == "cpu" else f"1 replica on {device.device_kind}"


def require_memory(source: Source) -> None:
    """Raises a ValueError if the images alone do not fit in the device's memory."""
    free = _free_memory()
    needed = sum(split.images.nbytes for split in (source.train, source.validation))
    if free is not None and needed > free:
        raise ValueError(
            f"On JAX all images are in the device's memory. They take {needed / 1e9:.2f} GB, and "
            f"{describe_device()} has {free / 1e9:.2f} GB left. Take a part of them, another "
            "device, or KERAS_BACKEND=tensorflow, which reads them batch by batch."
        )


def _free_memory() -> int | None:
    """Bytes on the device, where it says so."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return plan.free_memory()
    found = device.memory_stats() or {}
    limit = found.get("bytes_limit")
    return None if limit is None else limit - found.get("bytes_in_use", 0)
