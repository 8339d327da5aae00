"""All plans as a picture: parameters over multiply-accumulates, or over latency."""

import os
from typing import Any

import numpy as np

from keras_roots.planning.pareto import pareto
from keras_roots.planning.recommendation import Recommendation, shares
from keras_roots.reporting import figures

# Degrees are written where none is so near, relative to the span of all plans.
_ROOM = 0.03


def plot(path: str | os.PathLike, found: Recommendation) -> None:
    """Writes a PNG, PDF or SVG; all quantities relative to the dense network.

    Over predicted latency, if that is known, else over multiply-accumulates.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as `reporting.figures.figure`.
    """
    with figures.figure(path, (9, 6.5)) as figure:
        _draw(figure.subplots(), found)


def _draw(axes: Any, found: Recommendation) -> None:
    network = found.network
    across = "macs" if found.savings is None else "latency"
    shown = [plan for plan in found.plans if shares(network, plan)[across] is not None]
    points = np.array([[shares(network, p)[across], shares(network, p)["parameters"]]
                       for p in shown], float)  # fmt: skip
    horizontal, vertical = points.T
    axes.scatter(
        horizontal, vertical, s=6, color="#c4c9cf", linewidths=0, label="all plans", zorder=1
    )
    with_dense = np.vstack([points, [1, 1]])
    front = with_dense[pareto(with_dense * [1, -1])]
    front = front[np.argsort(front[:, 0])]
    axes.plot(*front.T, color="black", linewidth=1, drawstyle="steps-post",
              label="most parameters kept", zorder=2)  # fmt: skip
    spans = np.ptp(with_dense, axis=0)
    labelled: list[np.ndarray] = []
    for family in ("root", "column", "tree"):
        color, marker = figures.COLOURS[family], figures.MARKERS[family]
        those = [
            (point, plan.topology.partition("-")[2])
            for point, plan in zip(points, shown, strict=True)
            if plan.topology is not None and plan.topology.startswith(f"{family}-")
        ]
        if not those:
            continue
        places = np.array([point for point, _ in those])
        axes.scatter(places[:, 0], places[:, 1], s=36, color=color, marker=marker,
                     label=f"{family}-r", zorder=3)  # fmt: skip
        # Roots are the uppermost of these, and the others have room below.
        above = family == "root"
        for point, degree in those:
            if any((abs(point - other) < _ROOM * spans).all() for other in labelled):
                continue
            labelled.append(point)
            axes.annotate(degree, point, (5, 5) if above else (-4, -10), color=color, fontsize=8,
                          textcoords="offset points", ha="left" if above else "right")  # fmt: skip
    axes.scatter([1], [1], s=70, marker="*", color="black", label="dense", zorder=3)
    for quantity, limit in found.limits.items():
        draw = {across: axes.axvline, "parameters": axes.axhline}.get(quantity)
        if draw is not None:
            text = next(budget.text for budget in found.budgets if budget.quantity == quantity)
            draw(limit, color="#8a6d1d", linestyle="--", linewidth=1, label=f"budget: {text}")
    names = {"macs": "multiply-accumulates / dense", "latency": "predicted latency / dense"}
    axes.set_xlabel(names[across])
    axes.set_ylabel("parameters / dense")
    axes.set_title(f"{network.name}: degrees by level", loc="left")
    axes.legend(fontsize=8, loc="lower right", frameon=True)
