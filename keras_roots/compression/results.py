"""What a compression bought, as a table, a CSV file, JSON and a picture."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.classify import intervals
from keras_roots.compression.recipe import FLOAT32, INT8, INT8_AFTER_QAT, QAT
from keras_roots.compression.weights import Weights
from keras_roots.reporting import Table, figures, numbers, write_csv, write_json, write_text
from keras_roots.timing.measure import Timings, describe
from keras_roots.timing.ratios import Ratio, ratio_of_medians

_PER_TURN = 5  # Of `interpreter.latency`.
_MARKERS = {FLOAT32: "s", INT8: "o", QAT: "^", INT8_AFTER_QAT: "v"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A TFLite file, and what was measured of it.

    Attributes:
        network: its name.
        weights: what was done to them, of `recipe`: "none", "pruned", ...
        kind: of file, of `recipe`: "float32", "int8", ...
        file: its path in the folder.
        images, correct: held-out images, and for how many it is right.
        parameters: of the network.
        counted: in the file.
        delegates, outside: how many parts XNNPACK runs, and kinds of operators
            that it does not.
        seconds: of one inference, in the order measured.
    """

    network: str
    weights: str
    kind: str
    file: str
    images: int
    correct: int
    parameters: int
    counted: Weights
    delegates: int
    outside: tuple[str, ...]
    seconds: tuple[float, ...]

    @property
    def top1(self) -> float:
        """Accuracy, 0 to 1."""
        return self.correct / self.images

    @property
    def median_ms(self) -> float:
        return 1e3 * Timings(self.seconds).median


@dataclasses.dataclass(frozen=True)
class Results:
    """All files of a job.

    Attributes:
        rows: a row for each; the first is what latencies are relative to.
        conditions: under which they were measured.
    """

    rows: tuple[Row, ...]
    conditions: Mapping[str, Any]

    def ratio(self, row: Row) -> Ratio:
        """A row's latency over that of the first row."""
        rounds = [
            np.reshape(each.seconds, (-1, _PER_TURN)).tolist() for each in (row, self.rows[0])
        ]
        return ratio_of_medians(*rounds, paired=True)

    def table(self) -> Table:
        """For people: accuracies with 95% intervals, sizes in kB of 1,000 bytes."""
        first = self.rows[0]
        rows = [
            {
                "network": row.network,
                "weights": row.weights,
                "file": row.kind,
                "top-1, %": f"{100 * row.top1:.2f}",
                "95% interval": numbers.interval(_percent(row), ".1f"),
                "kB": f"{row.counted.size / 1e3:,.0f}",
                "kB, gzip": f"{row.counted.gzip_size / 1e3:,.0f}",
                "non-zero weights": f"{row.counted.nonzero:,}",
                "values a kernel": f"{row.counted.median_values:,.0f}",
                "a filter": f"{row.counted.median_filter_values:,.0f}",
                "ms": f"{row.median_ms:.3g}",
                f"/ {first.network} {first.kind}": str(self.ratio(row)),
                "delegates": self._delegated(row),
            }
            for row in self.rows
        ]
        return Table.of(rows, left=3)

    def _delegated(self, row: Row) -> str:
        return str(row.delegates) + (f" ({', '.join(row.outside)} outside)" if row.outside else "")

    def caption(self) -> str:
        """What the columns are, and under which conditions they were measured."""
        return (
            "weights: none, as they were trained; tuned, trained for as long as the others without "
            f"compression. file: {INT8}, rounded after training; {QAT}, of quantisation-aware "
            f"training, with the ranges that it has found; {INT8_AFTER_QAT}, the weights of that, "
            "rounded as int8 is. values: how many the weights of a kernel have, and those of "
            "a filter, in the median over the file's kernels. ms: of one image in LiteRT, the "
            f"median. {describe(self.conditions)}"
        )

    def as_dicts(self) -> Iterator[dict[str, Any]]:
        """A dictionary for each row, of numbers and text."""
        for row in self.rows:
            low, high = intervals.wilson(row.correct, row.images)
            ratio, counted, timings = self.ratio(row), row.counted, Timings(row.seconds)
            yield {
                "network": row.network,
                "weights": row.weights,
                "kind": row.kind,
                "file": row.file,
                "images": row.images,
                "correct": row.correct,
                "top1": row.top1,
                "top1_low": low,
                "top1_high": high,
                "bytes": counted.size,
                "gzip_bytes": counted.gzip_size,
                "parameters": row.parameters,
                "nonzero_weights": counted.nonzero,
                "median_values_of_a_kernel": counted.median_values,
                "median_values_of_a_filter": counted.median_filter_values,
                "grouped_convolutions": counted.grouped,
                "delegates": row.delegates,
                "outside": " ".join(row.outside),
                "median_ms": row.median_ms,
                "p10_ms": 1e3 * timings.percentile(10),
                "p90_ms": 1e3 * timings.percentile(90),
                "ratio": ratio.value,
                "ratio_low": ratio.low,
                "ratio_high": ratio.high,
            }

    def write(self, folder: Path) -> None:
        """Writes results.json, .csv, .md and .png, and kernels.csv, a line for each kernel."""
        rows = list(self.as_dicts())
        conditions = dict(self.conditions)
        write_json(folder / "results.json", {"conditions": conditions, "rows": rows})
        write_csv(folder / "results.csv", rows)
        write_csv(folder / "kernels.csv", list(self._kernels()))
        write_text(folder / "results.md", f"{self.table().markdown()}\n\n{self.caption()}\n")
        self.plot(folder / "results.png")

    def _kernels(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            of_file = {name: getattr(row, name) for name in ("network", "weights", "kind", "file")}
            for kernel in row.counted.kernels:
                shape = "x".join(map(str, kernel.shape))
                yield {**of_file, **dataclasses.asdict(kernel), "shape": shape}

    def plot(self, path: Path) -> None:
        """Accuracy over the size of the file, compressed by gzip: *.png, *.pdf or *.svg."""
        networks = list(dict.fromkeys(row.network for row in self.rows))
        kinds = dict.fromkeys(row.weights for row in self.rows)
        colours = {weights: f"C{number}" for number, weights in enumerate(kinds)}
        sizes = [row.counted.gzip_size / 1e3 for row in self.rows]
        with figures.figure(path, (4.8 * len(networks), 4.6)) as figure:
            panels = figure.subplots(1, len(networks), squeeze=False, sharey=True, sharex=True)[0]
            for axes, network in zip(panels, networks, strict=True):
                for row in (row for row in self.rows if row.network == network):
                    low, high = _percent(row)
                    top1, size = 100 * row.top1, row.counted.gzip_size / 1e3
                    axes.errorbar(
                        size, top1, [[top1 - low], [high - top1]], color=colours[row.weights],
                        marker=_MARKERS[row.kind], markersize=6, linewidth=0.7, alpha=0.85,
                    )  # fmt: skip
                axes.set_title(network, fontsize=10)
                axes.set_xlabel("kB of the file, gzip")
            figures.log_scale(panels[0], "x")
            panels[0].set_xlim(min(sizes) / math.sqrt(2), max(sizes) * math.sqrt(2))
            panels[0].set_ylabel("top-1, %")
            for weights, colour in colours.items():
                axes.plot([], [], color=colour, marker="o", linestyle="", label=weights)
            for kind, marker in _MARKERS.items():
                axes.plot([], [], color="grey", marker=marker, linestyle="", label=kind)
            figures.legend_below(figure, [axes], columns=4)
            figure.suptitle(f"Accuracy and size, {self.conditions['data']}", fontsize=11)


def _percent(row: Row) -> tuple[float, float]:
    """The 95% interval of its accuracy."""
    low, high = intervals.wilson(row.correct, row.images)
    return 100 * low, 100 * high
