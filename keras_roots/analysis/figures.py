"""Pictures of an analysis: *.png, *.pdf or *.svg, of one network or of several side by side."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_roots.analysis import blocks
from keras_roots.analysis.filters import Filters
from keras_roots.analysis.results import Analysis, Correlation, Covariance, compared_groups
from keras_roots.reporting import figures

_BRIGHTEST = 99.5  # Percentile of the entries; few that are larger would darken all others.
_MOST_LINES = 64
_SHARP = 320  # Entries, of which each has a pixel or more; a third of the size as a file.
_IN_A_ROW = 32
_FILTER_INCHES = 0.34


def plot_covariance(
    path: str | os.PathLike, analyses: Sequence[Analysis], first: str, second: str
) -> None:
    """Heat maps of the absolute covariance of two layers, a panel for each network that has them.

    The scale is linear, from 0 to the 99.5th percentile of all panels. Lines are between the
    filter groups of the second layer.

    Raises:
        ValueError: no network has such a pair, or the file's name ends otherwise.
        ModuleNotFoundError: Matplotlib is not installed.
    """
    shown = [
        (analysis, each)
        for analysis in analyses
        for each in analysis.covariances
        if (each.first, each.second) == (first, second)
    ]
    panels = [
        (_covariance_title(analysis, analyses, each), np.abs(each.matrix), each.groups)
        for analysis, each in shown
    ]
    images = " and ".join(dict.fromkeys(f"{analysis.images:,}" for analysis, _ in shown))
    _heat_maps(
        path,
        panels,
        axes=(f"{second}, filter", f"{first}, channel"),
        bar="|covariance| of whitened responses",
        title=f"{first} and {second}: {images} images",
    )


def plot_correlation(path: str | os.PathLike, analyses: Sequence[Analysis], layer: str) -> None:
    """Heat maps of the absolute correlation within a layer, a panel for each network that has it.

    The scale is linear, from 0 to the 99.5th percentile of all panels without their diagonals.
    Filters that never respond have no correlation: they are grey.

    Raises:
        ValueError, ModuleNotFoundError: as `plot_covariance`.
    """
    shown = [
        (analysis, each)
        for analysis in analyses
        for each in analysis.correlations
        if each.layer == layer
    ]
    panels = []
    for analysis, each in shown:
        matrix = np.abs(each.matrix)
        np.fill_diagonal(matrix, np.nan)
        panels.append((_correlation_title(analysis, each), matrix, each.groups))
    images = " and ".join(dict.fromkeys(f"{analysis.images:,}" for analysis, _ in shown))
    _heat_maps(
        path,
        panels,
        axes=(f"{layer}, filter", "filter"),
        bar="|correlation| of responses",
        title=f"{layer}: {images} images",
    )


def plot_filters(path: str | os.PathLike, filters: Filters, name: str) -> None:
    """The kernels of a convolution as pictures, a row (or more, if it is long) for each group.

    Each filter is scaled by itself so that its largest absolute weight is black or white (or a
    colour's extreme) and 0 is grey. Three channels are red, green and blue, in the order in which
    the model takes them; one is grey.

    Raises:
        ValueError: it has neither one nor three channels; or as `plot_covariance`.
        ModuleNotFoundError: as `plot_covariance`.
    """
    if filters.kernels.shape[2] not in (1, 3):
        raise ValueError(
            "Expected filters of one channel or three to make a picture of. Received: "
            f"{filters.layer!r}, of {filters.kernels.shape[2]}"
        )
    lines: list[list[int]] = []
    centres = []
    rows = filters.rows()
    for row in rows.values():
        step = _IN_A_ROW if filters.groups else _columns(len(row))
        parts = [row[n : n + step] for n in range(0, len(row), step)] or [[]]
        centres.append(len(lines) + (len(parts) - 1) / 2)
        lines += parts
    picture = _tiled(pictures_of(filters.kernels), lines)
    width = max(map(len, lines))
    inches = (max(1.2 + _FILTER_INCHES * width, 5.5), 1.0 + _FILTER_INCHES * len(lines))
    with figures.figure(path, inches, grid=None) as figure:
        axes = figure.subplots()
        axes.imshow(picture, interpolation="nearest", extent=(0, width, len(lines), 0))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        if filters.groups:
            axes.set_yticks([centre + 0.5 for centre in centres], list(rows), fontsize=8)
            axes.tick_params(length=0)
            axes.set_ylabel("group", fontsize=9)
        count = filters.kernels.shape[-1]
        figure.suptitle(f"{name}: the {count} filters of {filters.layer}", fontsize=10)
        axes.set_title(_wrapped(filters.order(), inches[0]), fontsize=8, color="0.3")


def pictures_of(kernels: np.ndarray) -> np.ndarray:
    """Kernels [height, width, 1 or 3, filters] as colours: [filters, height, width, 3], 0 to 1."""
    largest = np.abs(kernels).max(axis=(0, 1, 2))
    scaled = 0.5 + kernels / (2 * np.where(largest > 0, largest, 1))
    return np.broadcast_to(np.moveaxis(scaled, -1, 0), (kernels.shape[-1], *kernels.shape[:2], 3))


def _tiled(pictures: np.ndarray, lines: list[list[int]]) -> np.ndarray:
    """Pictures in lines, with a border of white between them."""
    pixels = max(1, 24 // pictures.shape[1])  # Of a weight.
    large = pictures.repeat(pixels, axis=1).repeat(pixels, axis=2)
    high, wide = large.shape[1] + 3, large.shape[2] + 3
    canvas = np.ones((high * len(lines), wide * max(map(len, lines)), 3))
    for row, line in enumerate(lines):
        for column, number in enumerate(line):
            top, left = row * high + 1, column * wide + 1
            canvas[top : top + high - 3, left : left + wide - 3] = large[number]
    return canvas


def _columns(filters: int) -> int:
    """Of a picture about twice as wide as high."""
    return min(_IN_A_ROW, max(1, round((2 * filters) ** 0.5)))


def _heat_maps(
    path: str | os.PathLike,
    panels: Sequence[tuple[str, np.ndarray, int]],
    *,
    axes: tuple[str, str],
    bar: str,
    title: str,
) -> None:
    """Panels: a title, a matrix of 0 or more and NaN, and its number of groups."""
    if not panels:
        raise ValueError(f"Nothing was analysed by the name of {title.partition(':')[0]!r}.")
    values = np.concatenate([matrix[~np.isnan(matrix)].ravel() for _, matrix, _ in panels])
    brightest = float(np.percentile(values, _BRIGHTEST)) if values.size else 0.0
    rows, columns = panels[0][1].shape
    shape = min(max(rows / columns, 0.5), 1.6)
    inches = (1.3 + 4.2 * len(panels), 1.2 + 4.2 * shape)
    with figures.figure(path, inches, grid=None) as figure:
        places = figure.subplots(1, len(panels), squeeze=False)[0]
        for place, (heading, matrix, groups) in zip(places, panels, strict=True):
            picture = place.imshow(
                np.ma.masked_invalid(matrix),
                vmin=0,
                vmax=brightest or 1.0,
                cmap=_colours(),
                aspect="auto",
                interpolation="nearest" if max(matrix.shape) <= _SHARP else "antialiased",
            )
            place.set_box_aspect(shape)
            _lines(place, matrix.shape, groups)
            place.set_title(heading, fontsize=9)
            place.set_xlabel(axes[0], fontsize=9)
            place.tick_params(labelsize=8)
        places[0].set_ylabel(axes[1], fontsize=9)
        colour_bar = figure.colorbar(picture, ax=list(places), extend="max", pad=0.02)
        colour_bar.set_label(bar, fontsize=9)
        colour_bar.ax.tick_params(labelsize=8)
        figure.suptitle(title, fontsize=10)


def _lines(place: Any, shape: tuple[int, ...], groups: int) -> None:
    if not 1 < groups <= _MOST_LINES:
        return
    for side, draw in zip(shape, (place.axhline, place.axvline), strict=True):
        for border in range(1, groups):
            draw(border * side / groups - 0.5, color="white", linewidth=0.4, alpha=0.6)


def _colours():
    from matplotlib import colormaps

    return colormaps["magma"].with_extremes(bad="0.6")


def _covariance_title(
    analysis: Analysis, analyses: Sequence[Analysis], covariance: Covariance
) -> str:
    count = compared_groups(analyses, covariance)
    title = f"{analysis.model}: {_groups(covariance.groups)}, {_found(covariance)}"
    if count > 1:
        share = blocks.share(covariance.matrix, count)
        title += f"\n{share:.1%} of the squares in {count} blocks ({1 / count:.1%} if no different)"
    return title


def _correlation_title(analysis: Analysis, correlation: Correlation) -> str:
    title = f"{analysis.model}: {_groups(correlation.groups)}"
    if correlation.groups == 1:
        return f"{title}\nmean {correlation.within:.3f}"
    return f"{title}\nmean within {correlation.within:.3f}, between {correlation.between:.3f}"


def _found(covariance: Covariance) -> str:
    return "none found" if covariance.found.groups == 1 else f"{covariance.found.groups} found"


def _groups(count: int) -> str:
    return "no groups" if count == 1 else f"{count} groups"


def _wrapped(text: str, inches: float) -> str:
    import textwrap

    return textwrap.fill(text, max(40, int(inches * 15)))
