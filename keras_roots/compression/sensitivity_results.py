"""What a sensitivity scan found: a table, a CSV file and a picture.

Both accuracies are of the same images, so that all that tells them apart are the images that
changed sides. Were a change no better or worse than none, either direction would be as likely: an
exact binomial test, which is McNemar's. It errs towards seeing no difference.

Sources: McNemar, "Note on the sampling error of the difference between correlated proportions or
percentages", Psychometrika 12 (1947); Fagerland, Lydersen and Laake, "The McNemar test for binary
matched-pairs data", BMC Medical Research Methodology 13:91 (2013), "exact conditional test".
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_roots.reporting import Table, figures, write_csv

LEVEL = 0.05
UNCERTAIN = "~"


@dataclasses.dataclass(frozen=True)
class Row:
    """What one change of one kernel does.

    Attributes:
        layer: its path; see `keras_roots.surgery.graph.Call`. Of a separable
            convolution's two kernels, "path (depthwise)" and "path (pointwise)".
        groups: filter groups of the convolution; 1 of a Dense layer.
        parameters: of the kernel.
        change: "sparsity 0.5", or "4 bits".
        images: how many it was evaluated on.
        correct: how many of them are right with it.
        right_to_wrong, wrong_to_right: how many changed sides.
    """

    layer: str
    groups: int
    parameters: int
    change: str
    images: int
    correct: int
    right_to_wrong: int
    wrong_to_right: int

    @property
    def drop(self) -> float:
        """Of the accuracy, in points; negative where it is better."""
        return 100 * (self.right_to_wrong - self.wrong_to_right) / self.images

    @property
    def p_value(self) -> float:
        """How likely as many changed sides, as unequally, if the change made no difference."""
        return mcnemar(self.right_to_wrong, self.wrong_to_right)

    @property
    def is_certain(self) -> bool:
        """Whether the drop can be told from 0, at the level of 5%.

        So of 20 changes that make no difference, one may seem to.
        """
        return self.p_value < LEVEL


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What `scan` found.

    Attributes:
        model: name of the model.
        images: how many it was evaluated on.
        correct: how many of them are right when nothing is changed.
        rows: kernel by kernel in the network's order, change by change.
    """

    model: str
    images: int
    correct: int
    rows: tuple[Row, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """In the order in which they were asked for."""
        return tuple(dict.fromkeys(row.change for row in self.rows))

    def by_layer(self) -> dict[str, dict[str, Row]]:
        """The rows, by layer and change."""
        found: dict[str, dict[str, Row]] = {}
        for row in self.rows:
            found.setdefault(row.layer, {})[row.change] = row
        return found

    def table(self) -> Table:
        """A row for each layer: the drop with each change, in points.

        "~" marks those that cannot be told from 0.
        """
        rows = []
        for layer, of_layer in self.by_layer().items():
            first = next(iter(of_layer.values()))
            drops = [
                f"{'' if row.is_certain else UNCERTAIN}{row.drop:.2f}" for row in of_layer.values()
            ]
            rows.append((layer, str(first.groups), f"{first.parameters:,}", *drops))
        return Table(("layer", "groups", "parameters", *self.changes), rows)

    def csv_rows(self) -> list[dict[str, Any]]:
        """A dictionary for each row, of the columns of `write_csv`."""
        return [
            {
                "layer": row.layer,
                "groups": row.groups,
                "parameters": row.parameters,
                "change": row.change,
                "images": row.images,
                "correct_before": self.correct,
                "correct": row.correct,
                "right_to_wrong": row.right_to_wrong,
                "wrong_to_right": row.wrong_to_right,
                "drop_points": f"{row.drop:.4f}",
                "p_value": f"{row.p_value:.4g}",
            }
            for row in self.rows
        ]

    def write_csv(self, path: str | os.PathLike) -> None:
        """A line for each row, for other programs."""
        write_csv(path, self.csv_rows())

    def plot(self, path: str | os.PathLike) -> None:
        """The drops, layer by layer from the top: filled where they can be told from 0.

        Args:
            path: *.png, *.pdf or *.svg.

        Raises:
            ValueError, FileNotFoundError, ModuleNotFoundError: as `reporting.figures.figure`.
        """
        of_layers = self.by_layer()
        height = min(2.1 + 0.17 * len(of_layers), 60.0)
        with figures.figure(path, (8, max(height, 3.0))) as figure:
            axes = figure.subplots()
            axes.axvline(0, color="black", linewidth=0.8)
            places = range(len(of_layers))
            for change, style in _styles(self.changes).items():
                rows = [of_layer[change] for of_layer in of_layers.values()]
                for is_certain, face in ((True, style["color"]), (False, "none")):
                    points = [(r.drop, n) for n, r in enumerate(rows) if r.is_certain == is_certain]
                    xy = np.reshape(points, (-1, 2)).T
                    axes.plot(*xy, **style, linestyle="", mfc=face, zorder=3)
                axes.plot([row.drop for row in rows], places, color=style["color"], linewidth=0.7)
                axes.plot([], [], **style, linewidth=0.7, label=change)
            # Of some hundred layers, only every so many are named.
            step = -(-len(of_layers) // int((height - 1.6) / 0.13))
            axes.set_yticks(places[::step], list(of_layers)[::step], fontsize=7)
            axes.set_ylim(len(of_layers) - 0.4, -0.6)
            axes.set_xlabel(
                f"drop of accuracy, points (hollow: not told from 0, p of {LEVEL:g} or more)"
            )
            figure.suptitle(
                f"{self.model}: {self.correct:,} of {self.images:,} images right "
                f"({100 * self.correct / self.images:.1f}%), one layer changed",
                fontsize=10,
            )
            figures.legend_below(figure, [axes])


def _styles(changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Blue circles for sparsities, orange squares for bits, the darker the later."""
    from matplotlib import colormaps

    styles = {}
    for is_bits, marker, name in ((False, "o", "Blues"), (True, "s", "Oranges")):
        kind = [change for change in changes if change.endswith("bits") == is_bits]
        for place, change in enumerate(kind):
            shade = colormaps[name](0.9 - 0.5 * (len(kind) - 1 - place) / max(1, len(kind) - 1))
            styles[change] = {"marker": marker, "markersize": 5, "color": shade}
    return {change: styles[change] for change in changes}


def mcnemar(right_to_wrong: int, wrong_to_right: int) -> float:
    """Two-sided p-value, exact, of as many pairs that changed sides; see the module's sources."""
    changed, fewer = right_to_wrong + wrong_to_right, min(right_to_wrong, wrong_to_right)
    ways = tail = 1
    for number in range(fewer):  # Each of math.comb from the one before: of thousands, quicker.
        ways = ways * (changed - number) // (number + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**changed)
