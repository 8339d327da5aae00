"""The pictures of a sweep: error against cost, and learning curves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots import topology
from keras_roots.reporting import figures
from keras_roots.sweep.comparison import Comparison, Score
from keras_roots.sweep.experiment import DENSE
from keras_roots.training import history

_LEAST_SPAN = 1.0  # Points of error that an axis shows.
_AXES = (("parameters", "parameters"), ("macs", "multiply-accumulates of an image"))


def error(found: Comparison, path: Path) -> None:
    """Top-1 error against parameters and against multiply-accumulates.

    The upper row is of the sweep, with the standard deviation over seeds; that
    of the dense network is a band. The lower row is what the paper reports.

    Args:
        path: *.png, *.pdf or *.svg.
    """
    with figures.figure(path, (9.5, 7.4 if found.has_paper else 4.2)) as figure:
        rows = figure.subplots(
            2 if found.has_paper else 1, 2, sharex="col", sharey="row", squeeze=False
        )
        figure.suptitle(found.name)
        _error_row(rows[0], found.scores, _measured, "error here, %")
        if found.has_paper:
            reported = [score for score in found.scores if score.paper is not None]
            _error_row(rows[1], reported, _reported, "error in the paper, %")
        _to_one_scale([row[0] for row in rows])
        for axes, (_, label) in zip(rows[-1], _AXES, strict=True):
            axes.set_xlabel(label)
        rows[0][0].legend(frameon=False, fontsize=9)


def _measured(score: Score) -> tuple[float, float | None]:
    return 100 - score.mean, score.deviation


def _reported(score: Score) -> tuple[float, float | None]:
    paper: Any = score.paper  # There is one, as they are chosen.
    deviation = paper.top1_deviation
    return 100 * (1 - paper.top1), None if deviation is None else 100 * deviation


def _error_row(
    row: Any,
    scores: Sequence[Score],
    value: Callable[[Score], tuple[float, float | None]],
    label: str,
) -> None:
    by_kind: dict[str, list[Score]] = {}
    for score in scores:
        by_kind.setdefault(_kind(score.network), []).append(score)
    for axes, (quantity, _) in zip(row, _AXES, strict=True):
        for kind, members in by_kind.items():
            at = [getattr(score, quantity) for score in members]
            errors, deviations = zip(*map(value, members), strict=True)
            bars = [deviation or 0.0 for deviation in deviations]
            axes.errorbar(
                at,
                errors,
                yerr=bars if any(bars) else None,
                capsize=3,
                label=kind,
                color=figures.COLOURS[kind],
                marker=figures.MARKERS[kind],
            )
            if kind == DENSE and bars[0]:
                axes.axhspan(errors[0] - bars[0], errors[0] + bars[0], color="black", alpha=0.08)
            if kind == DENSE:
                axes.axhline(errors[0], color="black", linewidth=0.7, linestyle=":")
                continue
            for x, y, score in zip(at, errors, members, strict=True):
                axes.annotate(
                    score.network.rpartition("-")[2] if kind != "explicit" else score.network,
                    (x, y),
                    textcoords="offset points",
                    xytext=(5, 5),
                    fontsize=8,
                    color=figures.COLOURS[kind],
                )
        figures.abbreviated(axes.xaxis)
        axes.set_xlim(left=0)
    row[0].set_ylabel(label)


def _to_one_scale(panels: Sequence[Any]) -> None:
    """Makes a point of error as high in each; small differences are not to look large."""
    span = max(_LEAST_SPAN, *(top - bottom for bottom, top in (p.get_ylim() for p in panels)))
    for axes in panels:
        middle = sum(axes.get_ylim()) / 2
        axes.set_ylim(middle - 0.55 * span, middle + 0.55 * span)


def _kind(network: str) -> str:
    return DENSE if network == DENSE else topology.parse(network).kind


def learning_curves(found: Comparison, folder: Path, path: Path) -> None:
    """Loss and error, epoch by epoch: the mean of each network's runs, and their range.

    Args:
        folder: of the sweep, with the runs' histories.
        path: *.png, *.pdf or *.svg.
    """
    with figures.figure(path, (9.5, 4.4)) as figure:
        figure.suptitle(found.name)
        panels = figure.subplots(1, 2)
        for place, score in enumerate(found.scores):
            curves = _curves(score, folder)
            if curves:
                color = f"C{place}" if len(found.scores) <= 10 else _of_twenty(place)
                _draw_curves(panels, curves, color, score.network)
        labels = ("cross-entropy, nats an image", "top-1 error, %")
        for axes, label in zip(panels, labels, strict=True):
            figures.log_scale(axes, "y", ticks=(1, 1.5, 2, 3, 5, 7))
            axes.set_ylabel(label)
            axes.set_xlabel("epoch")
            figures.whole_numbers(axes.xaxis)
        if panels[1].get_lines():  # The work directories of the runs may be gone.
            panels[1].plot([], [], color="grey", linestyle=":", label="in training")
            panels[1].legend(frameon=False, fontsize=9, title="held out, and the range of seeds")


def _of_twenty(place: int) -> Any:
    from matplotlib import colormaps

    return colormaps["tab20"](place % 20)


def _draw_curves(
    panels: Sequence[Any], curves: list[list[history.Epoch]], color: Any, network: str
) -> None:
    at = [epoch.epoch for epoch in curves[0]]
    for axes, quantity in zip(panels, ("loss", "top1"), strict=True):
        for name, style in ((quantity, ":"), (f"validation_{quantity}", "-")):
            values = np.array([[getattr(e, name) for e in epochs] for epochs in curves], float)
            if quantity == "top1":
                values = 100 * (1 - values)
            label = network if style == "-" else None
            axes.plot(at, values.mean(axis=0), color=color, linestyle=style, label=label)
            if style == "-" and len(curves) > 1:
                axes.fill_between(
                    at, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15
                )


def _curves(score: Score, folder: Path) -> list[list[history.Epoch]]:
    """Of the runs whose epochs are there and were all evaluated."""
    found = []
    for row in score.rows:
        epochs = history.read(folder / row.name / "history.csv")
        evaluated = [epoch for epoch in epochs if epoch.validation_loss is not None]
        if len(epochs) == row.epochs and evaluated:
            found.append(evaluated)
    return [epochs for epochs in found if len(epochs) == len(found[0])]
