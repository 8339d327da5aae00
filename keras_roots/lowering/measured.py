"""How fast each lowering of a layer is: measurements, read and written.

`measured.json` beside this file has what `keras-roots benchmark lowerings` and
`benchmark layers` wrote, and is what `choice` chooses from.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.passes import DIRECTIONS
from keras_roots.reporting import replacing
from keras_roots.timing import Timings

_FORMAT = 2
MEASURED = Path(__file__).with_name("measured.json")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Median milliseconds of one pass of a layer by lowering.

    Attributes:
        context: where it was computed, see `contexts.CONTEXTS`.
        direction: of `passes.DIRECTIONS`.
        batch: images.
        threads: of the runtime; None where it has what threads it takes.
        dtype, data_format: "float32", "channels_last" and the like.
        shape: of the layer.
        milliseconds: by lowering.
    """

    context: str
    direction: str
    batch: int
    threads: int | None
    dtype: str
    data_format: str
    shape: LayerShape
    milliseconds: Mapping[str, float]

    def with_times(self, timings: Mapping[str, Timings], lowerings: Iterable[str]) -> "Measurement":
        """The same with the medians of these lowerings."""
        times = {name: round(timings[name].median * 1e3, 4) for name in lowerings}
        return dataclasses.replace(self, milliseconds=times)


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Measurements, and for each of their contexts the conditions that they hold for."""

    conditions: Mapping[str, Mapping[str, Any]]
    rows: tuple[Measurement, ...]

    def find(self, wanted: Measurement) -> Measurement | None:
        """The one that differs from it in nothing but the times."""
        for row in self.rows:
            if dataclasses.replace(row, milliseconds=wanted.milliseconds) == wanted:
                return row
        return None

    def updated(self, row: Measurement, conditions: Mapping[str, Any]) -> "Measurements":
        """These and one more, in place of one of the same kind."""
        old = self.find(row)
        rows = tuple(each for each in self.rows if each is not old)
        return Measurements({**self.conditions, row.context: conditions}, (*rows, row))

    def write(self, path: str | os.PathLike) -> None:
        """As JSON, a measurement a line; a file that is there already is replaced at once."""
        conditions = ",\n".join(
            f"{json.dumps(context)}: {json.dumps(dict(each))}"
            for context, each in self.conditions.items()
        )
        rows = ",\n".join(json.dumps(dataclasses.asdict(row)) for row in self.rows)
        with replacing(path) as temporary:
            temporary.write_text(
                f'{{"format": {_FORMAT},\n"conditions": {{\n{conditions}\n}},\n'
                f'"measurements": [\n{rows}\n]}}\n',
                encoding="utf-8",
            )


def read(path: str | os.PathLike) -> Measurements:
    """Reads what `Measurements.write` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {_FORMAT}")
        conditions = {context: dict(each) for context, each in content["conditions"].items()}
        return Measurements(conditions, tuple(map(_measurement, content["measurements"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"'{path}' is no file of measurements: {error}") from error


def _measurement(row: Mapping[str, Any]) -> Measurement:
    milliseconds = {str(name): float(time) for name, time in row["milliseconds"].items()}
    if not milliseconds or any(not time > 0 for time in milliseconds.values()):
        raise ValueError(f"expected times above 0, not {milliseconds}")
    if row["direction"] not in DIRECTIONS:
        raise ValueError(f"expected a direction of {DIRECTIONS}, not {row['direction']!r}")
    shape = LayerShape(**{key: _tuples(value) for key, value in row["shape"].items()})
    return Measurement(**{**row, "shape": shape, "milliseconds": milliseconds})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@functools.cache
def brought() -> Measurements:
    """Those that come with this package; none where it has no such file."""
    return read(MEASURED) if MEASURED.is_file() else Measurements({}, ())
