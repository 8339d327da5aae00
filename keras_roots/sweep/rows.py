"""results.csv: a row for each run that has finished."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_roots.reporting import read_rows, write_rows
from keras_roots.sweep.experiment import Run
from keras_roots.training import history
from keras_roots.training.config import from_json
from keras_roots.training.workdir import differences_of


@dataclasses.dataclass(frozen=True)
class Row:
    """A run that has finished.

    Attributes:
        network: "dense", or its topology.
        seed: of its initialisation, order of examples and augmentation.
        parameters, macs: of the network, by the paper's rule (see
            `keras_roots.cost`).
        epochs, updates: of training.
        images: number of held-out images.
        top1, top5: accuracy on them after the last update, 0 to 1.
        loss: cross-entropy on them, nats an image.
        training_top1, training_loss: in the last epoch, on the training images
            as they were augmented, in training mode.
        images_per_second: of training, the median over epochs.
        training_seconds: of all epochs, evaluations and checkpoints apart.
        date: on which it ended.
        backend: of Keras.
        device: in words.
        precision: of the activations.
        configuration: see `experiment.identity`.
    """

    network: str
    seed: int
    parameters: int
    macs: int
    epochs: int
    updates: int
    images: int
    top1: float
    top5: float
    loss: float
    training_top1: float
    training_loss: float
    images_per_second: float
    training_seconds: float
    date: str
    backend: str
    device: str
    precision: str
    configuration: str

    @property
    def name(self) -> str:
        """As that of `experiment.Run`."""
        return f"{self.network}-seed-{self.seed}"


def of_run(
    run: Run, folder: Path, counts: dict[str, int], data: dict[str, Any], configuration: str
) -> Row | None:
    """The row of a run from its work directory; None unless it has finished.

    Args:
        folder: its work directory.
        counts: "parameters" and "macs".
        data: fingerprint of the data.

    Raises:
        ValueError: the directory is of another configuration or of other data,
            or what a run wrote there cannot be read.
    """
    path = folder / "summary.json"
    if not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        there = from_json(json.dumps(summary["config"]))
        if there.max_steps:  # It ended before its time.
            return None
        differences = differences_of(there, run.config, summary["data"], data)
        conditions = summary["conditions"]
        epochs = history.read(folder / "history.csv")
        row = Row(
            network=run.network,
            seed=run.config.seed,
            **counts,
            epochs=summary["epochs"],
            updates=summary["updates"],
            images=summary["data"]["validation_images"],
            top1=summary["validation_top1"],
            top5=summary["validation_top5"],
            loss=summary["validation_loss"],
            training_top1=summary["top1"],
            training_loss=summary["loss"],
            images_per_second=round(summary["images_per_second"], 1),
            training_seconds=round(
                sum(e.images / e.images_per_second for e in epochs if e.images_per_second), 1
            ),
            date=conditions["date"],
            backend=conditions.get("backend", "tensorflow"),
            device=conditions["devices"],
            precision=there.precision,
            configuration=configuration,
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"'{path}' is not as a run wrote it: {error!r}") from error
    if differences:
        listed = "; ".join(f"{name}: {values}" for name, values in differences.items())
        raise ValueError(
            f"'{folder}' holds a run of another configuration. {listed}. Give another folder."
        )
    return row


def read(path: Path, configuration: str) -> list[Row]:
    """The rows of a results.csv; none if there is no such file.

    Raises:
        ValueError: it is not as a sweep wrote it, or it is of another
            configuration.
    """
    rows = read_rows(path, Row, "a sweep")
    other = sorted({row.configuration for row in rows} - {configuration})
    if other:
        raise ValueError(
            f"'{path}' has results of another configuration, other data or another backend "
            f"({other[0]}, and this is {configuration}). Give another folder."
        )
    return rows


def write(path: Path, rows: Sequence[Row]) -> None:
    """Writes all rows, in the order in which the runs ended."""
    write_rows(path, Row, rows)
