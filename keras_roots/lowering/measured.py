"""How fast each lowering of each pass is: measurements, read and written.

`measured.json` beside this file is what `keras-roots benchmark lowerings`
wrote, and what `choice` chooses from.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.passes import DIRECTIONS
from keras_roots.reporting.files import replacing

Row = TypeVar("Row")
_FORMAT = 1
MEASURED = Path(__file__).with_name("measured.json")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Median milliseconds of one pass of a layer by lowering.

    Attributes:
        context: where it was computed, see `choice.CONTEXTS`.
        direction: of `passes.DIRECTIONS`.
        batch: images.
        dtype, data_format: "float32", "channels_last" and the like.
        shape: of the layer.
        milliseconds: by lowering.
    """

    context: str
    direction: str
    batch: int
    dtype: str
    data_format: str
    shape: LayerShape
    milliseconds: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Measurements of one machine, and what they hold for."""

    conditions: Mapping[str, Any]
    rows: tuple[Measurement, ...]

    def write(self, path: str | os.PathLike) -> None:
        """As JSON, a measurement a line; a file that is there already is replaced at once."""
        rows = ",\n".join(json.dumps(dataclasses.asdict(row)) for row in self.rows)
        with replacing(path) as temporary:
            temporary.write_text(
                f'{{"format": {_FORMAT},\n"conditions": {json.dumps(dict(self.conditions))},\n'
                f'"measurements": [\n{rows}\n]}}\n',
                encoding="utf-8",
            )


def read(path: str | os.PathLike) -> Measurements:
    """Reads what `Measurements.write` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file.
    """
    return Measurements(*read_file(path, _FORMAT, _measurement))


def read_file(
    path: str | os.PathLike, version: int, measurement: Callable[[Mapping[str, Any]], Row]
) -> tuple[dict[str, Any], tuple[Row, ...]]:
    """Conditions and rows of a JSON file of measurements, of layers in Keras or in files.

    Args:
        path: of the file.
        version: its format.
        measurement: makes a row of what the file has of it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != version:
            raise ValueError(f"its format is {content['format']!r}, not {version}")
        return dict(content["conditions"]), tuple(map(measurement, content["measurements"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"'{path}' is no file of measurements: {error}") from error


def shape_and_milliseconds(row: Mapping[str, Any]) -> tuple[LayerShape, dict[str, float]]:
    """What all measurements of layers have.

    Raises:
        ValueError, KeyError, TypeError: the row has not.
    """
    milliseconds = {str(name): float(time) for name, time in row["milliseconds"].items()}
    if not milliseconds or any(not time > 0 for time in milliseconds.values()):
        raise ValueError(f"expected times above 0, not {milliseconds}")
    return LayerShape(**{key: _tuples(value) for key, value in row["shape"].items()}), milliseconds


def _measurement(row: Mapping[str, Any]) -> Measurement:
    shape, milliseconds = shape_and_milliseconds(row)
    if row["direction"] not in DIRECTIONS:
        raise ValueError(f"expected a direction of {DIRECTIONS}, not {row['direction']!r}")
    return Measurement(
        str(row["context"]),
        row["direction"],
        int(row["batch"]),
        str(row["dtype"]),
        str(row["data_format"]),
        shape,
        milliseconds,
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@functools.cache
def brought() -> Measurements:
    """Those that come with this package; none where it has no such file."""
    return read(MEASURED) if MEASURED.is_file() else Measurements({}, ())
