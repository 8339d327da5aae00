"""The whole state of a run, on disk, written as a whole or not at all.

The state is every variable of the model, the optimizer and the averages (seed
generators included, which `tf.train.Checkpoint(model=...)` leaves out), how
many updates have been done, and the sums of the epoch so far. The data are a
function of the number of updates, so nothing else is to be kept.
"""

import tempfile
from pathlib import Path

import numpy as np

from keras_roots.training import strategies
from keras_roots.training.checkpoint_folder import CheckpointFolder, whole_checkpoints
from keras_roots.training.steps import SUMS, Steps

_FOLDER = "checkpoints"
_BEST = "best-checkpoint"


class Checkpoints:
    """The checkpoints of a work directory.

    Args:
        workdir: the work directory; the chief's is written.
        steps: what is kept.
        keep: how many of the last.

    Attributes:
        step: updates done.
        epochs: epochs finished, evaluation included.
        sums: of the epoch that has begun, as `SUMS` names them.
        best: top-1 accuracy of the best checkpoint, 0 to 1; -1 before the first.
        last_saved: the update of the last checkpoint, or None without any.
        is_saved: whether the last checkpoint is of this very state.
    """

    def __init__(self, workdir: Path, steps: Steps, keep: int):
        import tensorflow as tf

        self.step, self.epochs, self.best = 0, 0, -1.0
        self.sums = np.zeros(len(SUMS))
        self.last_saved: int | None = None
        self._saved_epochs = 0
        with steps.strategy.scope():
            self._counts = tf.Variable([0, 0], dtype=tf.int64, trainable=False)
            self._numbers = tf.Variable([0.0] * (len(SUMS) + 1), dtype=tf.float64, trainable=False)
        self._held = tf.train.Checkpoint(
            variables=steps.variables(), counts=self._counts, numbers=self._numbers
        )
        # All workers must take part in writing; what the others write is thrown away.
        self._own: tempfile.TemporaryDirectory | None = None
        folder = workdir
        if not strategies.is_chief(steps.strategy):
            self._own = tempfile.TemporaryDirectory(prefix="keras_roots-worker-")
            folder = Path(self._own.name)
        self._folder, self._steps = workdir / _FOLDER, steps
        self._last = CheckpointFolder(folder / _FOLDER, self._held, keep)
        self._best = CheckpointFolder(folder / _BEST, self._held, 1)

    def restore(self) -> str | None:
        """Goes back to the last checkpoint that is whole; its path, or None without any.

        Raises:
            ValueError: there are checkpoints, and none can be read; or the
                workers do not find the same.
        """
        paths = whole_checkpoints(self._folder)
        reason, found = "", None
        for path in reversed(paths):
            try:
                self._held.read(path).assert_consumed()
            except Exception as error:  # TensorFlow's are many, IndexError among them.
                reason = " ".join(str(error).split())[:300]
                continue
            counts, numbers = self._counts.numpy(), self._numbers.numpy()
            self.step, self.epochs = (int(each) for each in counts)
            self.sums, self.best = numbers[:-1].copy(), float(numbers[-1])
            self.last_saved, self._saved_epochs = self.step, self.epochs
            found = path
            break
        if paths and found is None:
            raise ValueError(f"None of the checkpoints in '{self._folder}' can be read: {reason}")
        if not self._steps.all_have(self.step):
            raise ValueError(
                f"The workers do not find the same checkpoint: this one that of update {self.step} "
                f"in '{self._folder}'. The work directory must be one that all of them see."
            )
        for folder in (self._last, self._best):
            folder.tidy()
        return found

    def save(self, *, best: bool = False) -> None:
        """Writes the state as the last checkpoint, or as the best.

        Raises:
            NotWrittenError: it could not be written; earlier ones stay.
        """
        import tensorflow as tf

        self._counts.assign([self.step, self.epochs])
        self._numbers.assign([*self.sums, self.best])
        folder = self._best if best else self._last
        try:
            folder.save()
        except (tf.errors.OpError, OSError) as error:
            folder.tidy()
            reason = " ".join(str(getattr(error, "message", error)).split())
            raise NotWrittenError(
                f"The checkpoint of update {self.step} could not be written to "
                f"'{folder.path}': {reason}. Earlier ones are as they were."
            ) from error
        if not best:
            self.last_saved, self._saved_epochs = self.step, self.epochs

    @property
    def is_saved(self) -> bool:
        return (self.last_saved, self._saved_epochs) == (self.step, self.epochs)

    def close(self) -> None:
        if self._own is not None:
            self._own.cleanup()


class NotWrittenError(RuntimeError):
    """The state or the results could not be written, as on a full disk."""
