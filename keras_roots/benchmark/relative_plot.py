"""What `inference` or `steps` measured, as a picture: time over arithmetic, both of stock dense."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_roots.benchmark.measured import require_file
from keras_roots.reporting import figures, numbers, read_csv

_REQUIRED = ("network", "topology", "form", "macs", "median_ms")
# What the columns of each kind of file are for; rows that are equal in these share a panel.
_LITERT = ("precision", "threads")
_STEPS = ("kind", "context", "image_size", "batch_size")
_TICKS = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8)
_NAMES = {"stock": "stock Keras and TensorFlow", "native": "ours, groups as they stand",
          "auto": "ours", "tuned": "ours, tuned", "ours": "ours",
          "folded": "ours, folded for inference"}  # fmt: skip
_MARKERS = {"stock": "s", "native": "^", "auto": "o", "tuned": "o", "ours": "o", "folded": "v"}


def read(path: str | os.PathLike) -> list[dict[str, str]]:
    """The rows that `measured.write_csv` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    require_file(path)
    try:
        rows = read_csv(path)
    except ValueError as error:
        raise ValueError(f"'{path}' is no CSV file of a benchmark: {error}") from error
    kinds = (_LITERT, _STEPS)
    if (
        not rows
        or any(row.get(name) is None for row in rows for name in _REQUIRED)
        or not any(all(name in rows[0] for name in kind) for kind in kinds)
    ):
        raise ValueError(f"'{path}' is no CSV file of benchmark inference or benchmark steps.")
    return rows


def plot(path: str | os.PathLike, rows: Iterable[Mapping[str, str]]) -> None:
    """A panel for each precision and number of threads, or for each kind of step.

    Args:
        path: *.png, *.pdf or *.svg.
        rows: of one network and one kind of file, as `read` returns them.

    Raises:
        ValueError: they are of several, or stock Keras's dense network is not among them.
    """
    rows = list(rows)
    names = _STEPS if "context" in rows[0] else _LITERT
    if len({row["network"] for row in rows}) > 1 or any(
        n not in row for row in rows for n in names
    ):
        raise ValueError("A plot is of one network and of one kind of benchmark.")
    panels = list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))
    where = "LiteRT, batch 1" if names is _LITERT else f"Keras, {rows[0].get('cores', '?')} cores"
    with figures.figure(path, (4.6 * len(panels), 4.8)) as figure:
        places = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(places, panels, strict=True):
            _draw(axes, [row for row in rows if tuple(row[name] for name in names) == panel])
            axes.set_title(_title(panel), fontsize=10)
            if names is _STEPS:  # Stock Keras's groups take many times as long.
                figures.log_scale(axes, "y", ticks=_TICKS)
        places[0].set_ylabel("time / stock dense")
        figures.legend_below(figure, places)
        figure.suptitle(f"{rows[0]['network']} in {where}, {rows[0].get('processor', '')}")


def _draw(axes: Any, rows: Sequence[Mapping[str, str]]) -> None:
    dense = next((r for r in rows if (r["topology"], r["form"]) == ("root-1", "stock")), None)
    if dense is None:
        raise ValueError("The dense network of stock Keras was not timed, and is what all "
                         "times are relative to.")  # fmt: skip
    for form, name in _NAMES.items():
        points = [_place(row, dense) for row in rows if row["form"] == form]
        if points:
            axes.plot(*zip(*points, strict=True), _MARKERS[form] + "-",
                      label=name, markersize=5, linewidth=1)  # fmt: skip
    for x, y, topology in _points_to_name(rows, dense):
        axes.annotate(topology, (x, y), (0, -11), textcoords="offset points", ha="center",
                      fontsize=7)  # fmt: skip
    low = min(_place(row, dense)[0] for row in rows)
    axes.plot([low, 1], [low, 1], "k--", linewidth=0.8, label="as the arithmetic promises")
    axes.set_xlabel("multiply-accumulates / dense")


def _place(row: Mapping[str, str], dense: Mapping[str, str]) -> tuple[float, float]:
    """Multiply-accumulates and time, as shares of the dense network's."""
    return (
        int(row["macs"]) / int(dense["macs"]),
        float(row["median_ms"]) / float(dense["median_ms"]),
    )


def _title(panel: tuple[str, ...]) -> str:
    if len(panel) == len(_LITERT):
        precision, threads = panel
        return f"{precision}, {numbers.counted(int(threads), 'thread')}"
    kind, context, image_size, batch_size = panel
    return f"{kind}, {context}\n{image_size}x{image_size}, batch {batch_size}"


def _points_to_name(rows, dense) -> list[tuple[float, float, str]]:
    """The lowest point at each topology, where its name has room."""
    lowest: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row["form"] in _NAMES:
            x, y = _place(row, dense)
            if row["topology"] not in lowest or y < lowest[row["topology"]][1]:
                lowest[row["topology"]] = (x, y)
    return [
        (x, y, "dense" if name == "root-1" else name.removeprefix("root-"))
        for name, (x, y) in lowest.items()
    ]
