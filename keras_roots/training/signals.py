"""Asks of the system for an end (SIGTERM before a machine is taken away, SIGINT of a person)."""

import signal
import threading
from types import FrameType

_HANDLED = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Remembers such a signal while it is entered, so that work can end in its own time.

    A second one ends the process at once, as if this were not here. Only the
    main thread can handle signals; elsewhere nothing is changed.

    Attributes:
        received: the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    @property
    def is_set(self) -> bool:
        """Whether one came."""
        return self.received is not None

    def ask(self) -> None:
        """Asks for an end as a signal would."""
        self.received = self.received or signal.SIGTERM

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for each in _HANDLED:
                if signal.getsignal(each) != signal.SIG_IGN:  # As of SIGINT in the background.
                    self._before[each] = signal.signal(each, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        self._before = {}
