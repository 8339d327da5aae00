"""Pictures of results: one style, drawn without a display, and whole or not there.

Matplotlib is imported where a picture is drawn; its global state stays as it is.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from keras_roots.reporting.files import replacing, require_place
from keras_roots.requirements import require_extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of a kind of topology, in every picture.
COLOURS = {
    "dense": "black",
    "root": "#1f6fb2",
    "column": "#d95f02",
    "tree": "#3a923a",
    "explicit": "#8c564b",
}
MARKERS = {"dense": "s", "root": "o", "column": "^", "tree": "v", "explicit": "D"}
_DOTS_PER_INCH = 120


def require_plot(path: str | os.PathLike) -> None:
    """Raises what `figure` would, before the work that comes first.

    Raises:
        ValueError: the file's name ends otherwise than in .png, .pdf or .svg.
        FileNotFoundError, IsADirectoryError: see `require_place`.
        ModuleNotFoundError: Matplotlib is not installed.
    """
    if not os.fspath(path).lower().endswith((".png", ".pdf", ".svg")):
        raise ValueError(
            f"Expected a plot's file that ends in .png, .pdf or .svg. Received: {os.fspath(path)!r}"
        )
    require_place(path)
    require_extras("The plot", {"matplotlib": "plots"})


@contextlib.contextmanager
def figure(
    path: str | os.PathLike,
    inches: tuple[float, float],
    *,
    grid: Literal["both", "x", "y", None] = "both",
) -> Iterator["Figure"]:
    """Gives a figure to draw on; then writes it, unless something is raised.

    Args:
        path: *.png, *.pdf or *.svg.
        inches: width and height.
        grid: lines across all its axes, of "x", "y" or "both"; None for pictures.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as `require_plot`.
    """
    require_plot(path)
    from matplotlib.figure import Figure

    drawn = Figure(figsize=inches, layout="constrained")
    yield drawn
    if grid is not None:
        for axes in drawn.axes:
            axes.grid(axis=grid, alpha=0.3)
            axes.set_axisbelow(True)
    with replacing(path) as temporary:
        drawn.savefig(temporary, dpi=_DOTS_PER_INCH)


def log_scale(axes: Any, which: str, *, ticks: tuple[float, ...] = (1, 2, 5)) -> None:
    """Makes an axis ("x" or "y") logarithmic, with plain numbers at `ticks` of each decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set(**{f"{which}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_locator(LogLocator(subs=ticks))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_locator(NullLocator())


def whole_numbers(axis: Any) -> None:
    """Puts an axis's ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def abbreviated(axis: Any) -> None:
    """Writes an axis's large numbers as 20k, 3M, 1G."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(sep=""))


def legend_below(figure: Any, panels: Iterable[Any], *, columns: int = 6) -> None:
    """One legend for all panels, as not every line is in each."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(),
        handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        fontsize=8,
        frameon=False,
    )
