"""All that an analysis found, as files in a folder."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_roots import reporting
from keras_roots.analysis import figures
from keras_roots.analysis.results import Analysis, correlation_table, covariance_table, pairs_of
from keras_roots.cost import Cost, cost
from keras_roots.cost import report as cost_report
from keras_roots.reporting import replacing, silent
from keras_roots.timing import describe

FIGURES = ("png", "pdf", "svg")


def write(
    folder: Path,
    analyses: Sequence[Analysis],
    *,
    costs: Sequence[Cost] = (),
    conditions: Mapping[str, object] | None = None,
    suffix: str = "png",
    report: Callable[[str], object] = silent,
) -> None:
    """Writes what one network's analysis found, or several networks' side by side.

    * covariance-A--B.png of each pair, correlation-A.png of each layer: see `figures`.
    * filters-NETWORK.png of each network whose images have one channel or three.
    * savings.png: parameters and multiply-accumulates layer by layer, of two networks.
    * summary.csv, correlation.csv: the tables. summary.md: both, with notes and conditions.
    * arrays.npz: the matrices, as "NETWORK/" and a name of `Analysis.arrays`.

    Args:
        folder: is there; files of these names are replaced.
        analyses: of networks of different names.
        costs: of two networks, to compare; the cheaper one is called grouped.
        conditions: under which it was found.
        suffix: of the figures, one of `FIGURES`.
        report: takes a line for each figure that cannot be drawn.

    Raises:
        ValueError: two analyses have the same name, or an argument is not as above.
        ModuleNotFoundError: Matplotlib is not installed.
    """
    names = [analysis.model for analysis in analyses]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected networks of different names. Received: {', '.join(names)}")
    if suffix not in FIGURES:
        raise ValueError(f"Expected a suffix of: {', '.join(FIGURES)}. Received: {suffix!r}")
    reporting.figures.require_plot(folder / f"figure.{suffix}")
    figure = _Names(folder, suffix)
    for first, second in pairs_of(analyses):
        path = figure(f"covariance-{first}--{second}")
        figures.plot_covariance(path, analyses, first, second)
    for layer in dict.fromkeys(each.layer for a in analyses for each in a.correlations):
        figures.plot_correlation(figure(f"correlation-{layer}"), analyses, layer)
    for analysis in analyses:
        if analysis.filters is None:
            report(f"{analysis.model}: no filters on an image to draw")
            continue
        try:
            figures.plot_filters(
                figure(f"filters-{analysis.model}"), analysis.filters, analysis.model
            )
        except ValueError as error:
            report(f"{analysis.model}: {error}")
    if len(costs) == 2:
        dense, grouped = sorted(costs, key=lambda each: -each.macs)
        cost_report.plot(figure("savings"), dense, grouped)
    _write_tables(folder, analyses, conditions or {})
    arrays = {
        f"{analysis.model}/{name}": array
        for analysis in analyses
        for name, array in analysis.arrays().items()
    }
    with replacing(folder / "arrays.npz") as path:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def named_cost(model, name: str, image_shape: Sequence[int]) -> Cost:
    """What a model costs, under another name than its own; for `write`."""
    is_open = None in model.inputs[0].shape[1:]
    counted = cost(model, input_shape=tuple(image_shape) if is_open else None)
    return dataclasses.replace(counted, model=name)


class _Names:
    """Paths for figures, of letters that every file system takes, no two alike."""

    def __init__(self, folder: Path, suffix: str):
        self._folder, self._suffix = folder, suffix
        self._taken: set[str] = set()

    def __call__(self, name: str) -> Path:
        plain = re.sub(r"[^\w.-]+", "-", name)
        number = 1
        while (unique := plain if number == 1 else f"{plain}-{number}").lower() in self._taken:
            number += 1
        self._taken.add(unique.lower())
        return self._folder / f"{unique}.{self._suffix}"


def _write_tables(
    folder: Path, analyses: Sequence[Analysis], conditions: Mapping[str, object]
) -> None:
    tables = (covariance_table(analyses), correlation_table(analyses))
    parts = [table.markdown() for table in tables if table.rows]
    notes = [f"- {a.model}: {note}" for a in analyses for note in a.notes()]
    parts += ["\n".join(notes)] if notes else []
    images = "; ".join(f"{a.model}: {a.images:,} images" for a in analyses)
    parts.append(f"{images}. {describe(conditions)}".rstrip())
    reporting.write_text(folder / "summary.csv", tables[0].csv())
    reporting.write_text(folder / "correlation.csv", tables[1].csv())
    reporting.write_text(folder / "summary.md", "\n\n".join(parts) + "\n")
