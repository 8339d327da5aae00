"""What a run leaves in its work directory beside its state, and what becomes of a full disk."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_roots.reporting import replacing, write_json, write_text
from keras_roots.requirements import tensorflow_errors
from keras_roots.training import network
from keras_roots.training.checkpoints import NotWrittenError
from keras_roots.training.config import Config


class Trained(Protocol):
    """A network with what trains it.

    Attributes:
        model: with its weights of now.
    """

    config: Config
    classes: int

    @property
    def model(self) -> keras.Model: ...
    def swap_averages(self) -> None: ...
    def is_finite(self) -> Any: ...


class Results:
    """The models, summary and unreadable images of a work directory.

    Args:
        folder: the work directory.
        steps: of which models are written.
        report: takes each line.
        write: whether to write; only one worker does.

    Attributes:
        unread: names of images that could not be read, in this run and those
            that it goes on from.
    """

    def __init__(
        self, folder: Path, steps: Trained, report: Callable[[str], object], *, write: bool
    ):
        self._folder, self._steps, self._report, self._write = folder, steps, report, write
        self._unread_file = folder / "unread.txt"
        self.unread: set[str] = set()
        if self._unread_file.is_file():
            self.unread.update(self._unread_file.read_text(encoding="utf-8").splitlines())

    @contextlib.contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """Reports what cannot be written; there may be room on the disk next time."""
        expected: tuple[type[Exception], ...] = (NotWrittenError, OSError, *tensorflow_errors())
        try:
            yield
        except expected as error:
            reason = " ".join(str(error).split())
            self._report(f"WARNING: {what} could not be written: {reason} Training goes on.")

    def add_unread(self, name: str) -> None:
        """Takes an image that cannot be read; it is reported once."""
        if name in self.unread:
            return
        self.unread.add(name)
        self._report(f"Cannot be read, and is left out: {name}")
        if self._write:
            with self.tolerating(self._unread_file.name):
                write_text(self._unread_file, "".join(f"{each}\n" for each in sorted(self.unread)))

    def write_model(self, name: str) -> None:
        """Writes the network for use, with the averages of its weights if there are any.

        Raises:
            OSError: it cannot be written.
        """
        if not self._write:
            return
        steps = self._steps
        steps.swap_averages()
        try:
            model = network.for_use(steps.model, steps.config, steps.classes)
        finally:
            steps.swap_averages()
        with replacing(self._folder / name) as path:
            model.save(path)

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes model.keras and summary.json.

        Raises:
            NotWrittenError: they cannot be written.
        """
        try:
            self.write_model("model.keras")
            if self._write:
                write_json(self._folder / "summary.json", summary)
        except OSError as error:
            raise NotWrittenError(
                f"The results could not be written to '{self._folder}': {error}. The same command "
                "writes them from the last checkpoint."
            ) from error
