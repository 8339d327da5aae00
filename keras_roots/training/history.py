"""What a run has reached, epoch by epoch: a CSV, a plot, and on TensorFlow TensorBoard's events."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_roots.reporting import figures, read_rows, write_rows

_CSV = "history.csv"
_PLOT = "learning-curve.png"


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch of a run.

    Attributes:
        epoch: its number, from 1.
        step: updates done at its end.
        learning_rate: of its last update.
        loss, top1, top5: mean over the training images as they were seen, in
            training mode; accuracies 0 to 1.
        images, unread: how many, and how many could not be read.
        images_per_second: of training, evaluation and checkpoints apart; from
            where this process began.
        validation_loss, validation_top1, validation_top5: on the held-out
            images, or None where they were not evaluated.
    """

    epoch: int
    step: int
    learning_rate: float
    loss: float
    top1: float
    top5: float
    images: int
    unread: int
    images_per_second: float
    validation_loss: float | None = None
    validation_top1: float | None = None
    validation_top5: float | None = None

    def in_words(self, epochs: int) -> str:
        """In a line; `epochs` is how many there will be."""
        text = (
            f"Epoch {self.epoch}/{epochs}: loss {self.loss:.4f}, top-1 {100 * self.top1:.2f}%, "
            f"{self.images_per_second:,.0f} images/s, learning rate {self.learning_rate:.4g}"
        )
        if self.validation_top1 is not None:
            text += (
                f"; held out: loss {self.validation_loss:.4f}, "
                f"top-1 {100 * self.validation_top1:.2f}%, "
                f"top-5 {100 * (self.validation_top5 or 0):.2f}%"
            )
        if self.unread:
            text += f"; {self.unread:,} of {self.images:,} images could not be read"
        return text


class History:
    """The epochs of a work directory, written as they end.

    Args:
        workdir: the work directory.
        epochs: how many of those that were written before still hold; what
            came after the checkpoint from which a run goes on is forgotten.
        write: whether to write; only one worker does.
    """

    def __init__(self, workdir: Path, epochs: int, *, write: bool = True):
        self._workdir, self._write = workdir, write
        self.epochs: list[Epoch] = [e for e in read(workdir / _CSV) if e.epoch <= epochs]
        self._events = None
        if write and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self._events = tf.summary.create_file_writer(str(workdir / "tensorboard"))

    def add(self, epoch: Epoch) -> None:
        """Takes an epoch and writes all files."""
        self.epochs.append(epoch)
        if not self._write:
            return
        write_rows(self._workdir / _CSV, Epoch, self.epochs)
        if self._events is None:
            return
        with self._events.as_default(step=epoch.step):
            for name, value in list(dataclasses.asdict(epoch).items())[2:]:
                of_validation = name.startswith("validation_")
                split = "validation" if of_validation else "train"
                if value is not None:
                    _write_scalar(f"{split}/{name.removeprefix('validation_')}", value)
        self._events.flush()

    def plot(self, title: str) -> Path | None:
        """Draws loss and error, epoch by epoch; where matplotlib is."""
        if not self._write or not self.epochs or not can_plot():
            return None
        target = self._workdir / _PLOT
        with figures.figure(target, (9, 4.2)) as figure:
            figure.suptitle(title)
            _draw(figure.subplots(1, 2), self.epochs)
        return target


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def _write_scalar(tag: str, value: float) -> None:
    """`tf.summary.scalar`, which needs TensorBoard to be installed; its reader may be elsewhere."""
    import tensorflow as tf

    v1 = tf.compat.v1
    metadata = v1.SummaryMetadata(
        plugin_data=v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
    )
    tf.summary.write(tag, tf.constant(value, tf.float32), metadata=metadata)


def read(path: Path) -> list[Epoch]:
    """The epochs of a history.csv; none if there is no such file.

    Raises:
        ValueError: it is not as a run wrote it.
    """
    return read_rows(path, Epoch, "a run")


def _draw(panels: Sequence[Any], epochs: Sequence[Epoch]) -> None:
    losses, accuracies = panels
    numbers = [each.epoch for each in epochs]
    evaluated = [each for each in epochs if each.validation_loss is not None]
    at = [each.epoch for each in evaluated]
    style = {"marker": "o", "markersize": 3}
    losses.plot(numbers, [each.loss for each in epochs], label="training", **style)
    losses.plot(at, [each.validation_loss for each in evaluated], label="held out", **style)
    losses.set_ylabel("cross-entropy, nats an image")
    for name, label in (("top1", "top-1"), ("top5", "top-5")):
        (line,) = accuracies.plot(
            at,
            [100 * getattr(each, f"validation_{name}") for each in evaluated],
            label=f"held out, {label}",
            **style,
        )
        accuracies.plot(
            numbers,
            [100 * getattr(each, name) for each in epochs],
            label=f"training, {label}",
            color=line.get_color(),
            linestyle=":",
        )
    accuracies.set_ylabel("accuracy, %")
    accuracies.set_ylim(0, 100)
    figures.log_scale(losses, "y")  # At first it may be a hundred times as high.
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        figures.whole_numbers(axes.xaxis)
        axes.legend()
