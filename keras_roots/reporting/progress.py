"""A bar on a terminal; elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable

import keras

_SECONDS_BETWEEN_LINES = 60.0


def silent(_line: str) -> None:
    """Takes a line of progress that nobody asked for."""


def _print(line: str) -> None:
    print(line, flush=True)


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
        self._report = report
        self._steps, self._title, self._shown = steps, title, shown
        self._bar: keras.utils.Progbar | None = None
        self._started = self._last = time.perf_counter()
        if shown and sys.stdout.isatty():
            print(title)
            self._bar = keras.utils.Progbar(steps, interval=0.2, unit_name="update")

    def show(self, done: int, **values: float) -> None:
        """Shows that so many are done, with what else is known."""
        if self._bar is not None:
            self._bar.stateful_metrics = set(values)
            self._bar.update(done, list(values.items()))
            return
        now = time.perf_counter()
        if self._shown and now - self._last >= _SECONDS_BETWEEN_LINES and done < self._steps:
            left = (now - self._started) / done * (self._steps - done)
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            line = f"{self._title}: {done}/{self._steps} updates, {duration(left)} left, {numbers}"
            self._report(line)
            self._last = now


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
