"""A bar on a terminal; elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable

import keras

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_UPDATES = 60.0  # Between lines of a `Progress`, as it may go on for days.


def silent(_line: str) -> None:
    """Takes a line of progress that nobody asked for."""


def _print(line: str) -> None:
    print(line, flush=True)


class Lines:
    """Hands on a line of progress now and then, and drops the others.

    Args:
        report: takes the lines.
        seconds: at least so many before the first and between two; 10 by default.
    """

    def __init__(self, report: Callable[[str], object], *, seconds: float | None = None):
        self._report = report
        self._seconds = _SECONDS_BETWEEN_LINES if seconds is None else seconds
        self._started = self._last = time.perf_counter()

    def __call__(self, line: str) -> None:
        now = time.perf_counter()
        if now - self._last >= self._seconds:
            self._report(line)
            self._last = now

    def left(self, done: int, total: int) -> str:
        """How long the rest takes, as `duration`, if it goes on as it did."""
        return duration((time.perf_counter() - self._started) / max(done, 1) * (total - done))


class Progress:
    """Progress of work that has a known number of updates.

    Args:
        steps: how many.
        title: stands before it.
        shown: whether to show anything.
        report: takes the lines.
    """

    def __init__(
        self,
        steps: int,
        title: str,
        *,
        shown: bool = True,
        report: Callable[[str], object] = _print,
    ):
        self._steps, self._title, self._shown = steps, title, shown
        self._bar: keras.utils.Progbar | None = None
        self._lines = Lines(report, seconds=_SECONDS_OF_UPDATES)
        if shown and sys.stdout.isatty():
            print(title)
            self._bar = keras.utils.Progbar(steps, interval=0.2, unit_name="update")

    def show(self, done: int, **values: float) -> None:
        """Shows that so many are done, with what else is known."""
        if self._bar is not None:
            self._bar.stateful_metrics = set(values)
            self._bar.update(done, list(values.items()))
            return
        if self._shown and done < self._steps:
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            left = self._lines.left(done, self._steps)
            self._lines(f"{self._title}: {done}/{self._steps} updates, {left} left, {numbers}")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
