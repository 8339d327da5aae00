"""What `inference` or `steps` measured, as a picture: time over arithmetic, both of stock dense."""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_roots.reporting.files import replacing

_REQUIRED = ("network", "topology", "form", "macs", "median_ms")
# What the columns of each kind of file are for; rows that are equal in these share a panel.
_LITERT = ("precision", "threads")
_STEPS = ("kind", "context", "image_size", "batch_size")
_TICKS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50)
_NAMES = {"stock": "stock Keras and TensorFlow", "native": "ours, groups as they stand",
          "auto": "ours", "tuned": "ours, tuned", "ours": "ours",
          "folded": "ours, folded for inference"}  # fmt: skip
_MARKERS = {"stock": "s", "native": "^", "auto": "o", "tuned": "o", "ours": "o", "folded": "v"}


def read(path: str | os.PathLike) -> list[Mapping[str, str]]:
    """The rows that `inference.write_csv` or `steps.write_csv` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows: list[Mapping[str, str]] = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    rows = list(rows)
    names = _STEPS if "context" in rows[0] else _LITERT
    if len({row["network"] for row in rows}) > 1 or any(
        n not in row for row in rows for n in names
    ):
        raise ValueError("A plot is of one network and of one kind of benchmark.")
    panels = list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))
    figure = Figure(figsize=(4.6 * len(panels), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        these = [row for row in rows if tuple(row[name] for name in names) == panel]
        dense = next((r for r in these if (r["topology"], r["form"]) == ("root-1", "stock")), None)
        if dense is None:
            raise ValueError("The dense network of stock Keras was not timed, and is what all "
                             "times are relative to.")  # fmt: skip
        for form, name in _NAMES.items():
            points = [
                (
                    int(row["macs"]) / int(dense["macs"]),
                    float(row["median_ms"]) / float(dense["median_ms"]),
                    row["topology"],
                )
                for row in these
                if row["form"] == form
            ]
            if points:
                axes.plot(*zip(*(p[:2] for p in points), strict=True), _MARKERS[form] + "-",
                          label=name, markersize=5, linewidth=1)  # fmt: skip
        for x, y, topology in _points_to_name(these, dense):
            axes.annotate(topology, (x, y), (0, -11), textcoords="offset points", ha="center",
                          fontsize=7)  # fmt: skip
        low = min(int(row["macs"]) for row in these) / int(dense["macs"])
        axes.plot([low, 1], [low, 1], "k--", linewidth=0.8, label="as the arithmetic promises")
        axes.set_title(_title(panel), fontsize=10)
        if names is _STEPS:  # Stock Keras's groups take many times as long.
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(FixedLocator(_TICKS))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("multiply-accumulates / dense")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("time / stock dense")
    # One for all: not every form is in every panel.
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles, fontsize=8, loc="outside lower center",
                  ncols=len(handles), frameon=False)  # fmt: skip
    where = "LiteRT, batch 1" if names is _LITERT else f"Keras, {rows[0].get('cores', '?')} cores"
    figure.suptitle(f"{rows[0]['network']} in {where}, {rows[0].get('processor', '')}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _title(panel: tuple[str, ...]) -> str:
    if len(panel) == len(_LITERT):
        precision, threads = panel
        return f"{precision}, {threads} {'thread' if threads == '1' else 'threads'}"
    kind, context, image_size, batch_size = panel
    return f"{kind}, {context}\n{image_size}x{image_size}, batch {batch_size}"


def _points_to_name(rows, dense) -> list[tuple[float, float, str]]:
    """The lowest point at each topology, where its name has room."""
    lowest: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row["form"] in _NAMES:
            x = int(row["macs"]) / int(dense["macs"])
            y = float(row["median_ms"]) / float(dense["median_ms"])
            if row["topology"] not in lowest or y < lowest[row["topology"]][1]:
                lowest[row["topology"]] = (x, y)
    return [
        (x, y, "dense" if name == "root-1" else name.removeprefix("root-"))
        for name, (x, y) in lowest.items()
    ]
