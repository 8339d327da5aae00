"""The whole state of a run on JAX, on disk: archives of named arrays, each whole or not there."""

import re
import zipfile
from pathlib import Path

import numpy as np

from keras_roots.reporting import replacing
from keras_roots.training.checkpoints import NotWrittenError
from keras_roots.training.on_jax.steps import Steps
from keras_roots.training.steps import SUMS

_FOLDER, _BEST = "checkpoints", "best-checkpoint"
_COUNTS, _NUMBERS = "run/counts", "run/numbers"


class Checkpoints:
    """The checkpoints of a work directory: <folder>/ckpt-<number>.npz.

    Args:
        workdir: the work directory.
        steps: what is kept.
        keep: how many of the last.

    Attributes:
        step, epochs, sums, best, last_saved, is_saved: as of
            `training.checkpoints.Checkpoints`.
    """

    def __init__(self, workdir: Path, steps: Steps, keep: int):
        self.step, self.epochs, self.best = 0, 0, -1.0
        self.sums = np.zeros(len(SUMS))
        self.last_saved: int | None = None
        self._saved_epochs = 0
        self._workdir, self._steps, self._keep = workdir, steps, keep

    def restore(self) -> str | None:
        """Goes back to the last checkpoint that is whole; its path, or None without any.

        Raises:
            ValueError: there are checkpoints, and none can be read.
        """
        for name in (_FOLDER, _BEST):
            _tidy(self._workdir / name)
        paths = _present(self._workdir / _FOLDER)
        reason = ""
        for path in reversed(paths):
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = dict(file)
                counts, numbers = arrays.pop(_COUNTS), arrays.pop(_NUMBERS)
                self._steps.assign(arrays)
            except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
                reason = f"{path.name}: {' '.join(str(error).split())[:300]}"
                continue
            self.step, self.epochs = (int(each) for each in counts)
            self.sums, self.best = numbers[:-1], float(numbers[-1])
            self.last_saved, self._saved_epochs = self.step, self.epochs
            return str(path)
        if paths:
            raise ValueError(
                f"None of the checkpoints in '{self._workdir / _FOLDER}' can be read: {reason}"
            )
        return None

    def save(self, *, best: bool = False) -> None:
        """Writes the state as the last checkpoint, or as the best.

        Raises:
            NotWrittenError: it could not be written; earlier ones stay.
        """
        folder = self._workdir / (_BEST if best else _FOLDER)
        numbers = {
            _COUNTS: np.array([self.step, self.epochs], np.int64),
            _NUMBERS: np.array([*self.sums, self.best], np.float64),
        }
        try:
            folder.mkdir(exist_ok=True)
            present = _present(folder)
            new = folder / f"ckpt-{max(map(_number, present), default=0) + 1}.npz"
            with replacing(new) as path:
                np.savez(path, **numbers, **self._steps.arrays())  # type: ignore[arg-type]
        except OSError as error:
            raise NotWrittenError(
                f"The checkpoint of update {self.step} could not be written to '{folder}': "
                f"{error}. Earlier ones are as they were."
            ) from error
        for path in [*present, new][: -(1 if best else self._keep)]:
            path.unlink(missing_ok=True)
        if not best:
            self.last_saved, self._saved_epochs = self.step, self.epochs

    @property
    def is_saved(self) -> bool:
        return (self.last_saved, self._saved_epochs) == (self.step, self.epochs)

    def close(self) -> None:
        """Nothing is open."""


def _present(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("ckpt-*.npz") if _number(path)]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    text = path.stem.removeprefix("ckpt-")
    return int(text) if text.isdecimal() else 0


def _tidy(folder: Path) -> None:
    """Removes what a save has left that was killed."""
    for path in folder.glob(".ckpt-*.npz"):
        if re.fullmatch(r"\.ckpt-\d+-[0-9a-f]{8}\.npz", path.name):
            path.unlink(missing_ok=True)
