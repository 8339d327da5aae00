"""What `inference` measured, as a picture: latency over arithmetic, relative to stock dense."""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from keras_roots.files import replacing

_REQUIRED = ("network", "topology", "form", "precision", "threads", "macs", "median_ms")
_NAMES = {"stock": "stock Keras and TensorFlow", "native": "ours, groups as they stand",
          "auto": "ours", "tuned": "ours, tuned"}  # fmt: skip
_MARKERS = {"stock": "s", "native": "^", "auto": "o", "tuned": "o"}


def read(path: str | os.PathLike) -> list[Mapping[str, str]]:
    """The rows that `inference.write_csv` wrote.

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
        raise ValueError(f"'{path}' is no CSV file of benchmark inference: {error}") from error
    if not rows or any(row.get(name) is None for row in rows for name in _REQUIRED):
        raise ValueError(f"'{path}' is no CSV file of benchmark inference.")
    if len({row["network"] for row in rows}) > 1:
        raise ValueError(f"'{path}' is of several networks; a plot is of one.")
    return rows


def plot(path: str | os.PathLike, rows: Iterable[Mapping[str, str]]) -> None:
    """A panel for each precision and number of threads.

    Args:
        path: *.png, *.pdf or *.svg.
        rows: of one network, as `read` returns them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(rows)
    panels = list(dict.fromkeys((row["precision"], row["threads"]) for row in rows))
    figure = Figure(figsize=(4.6 * len(panels), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        these = [row for row in rows if (row["precision"], row["threads"]) == panel]
        (dense,) = (r for r in these if (r["topology"], r["form"]) == ("root-1", "stock"))
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
        threads = "thread" if panel[1] == "1" else "threads"
        axes.set_title(f"{panel[0]}, {panel[1]} {threads}", fontsize=10)
        axes.set_xlabel("multiply-accumulates / dense")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("latency / stock dense")
    figure.axes[0].legend(fontsize=8, loc="upper left", frameon=False)
    figure.suptitle(f"{rows[0]['network']} in LiteRT, batch 1, {rows[0].get('processor', '')}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


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
