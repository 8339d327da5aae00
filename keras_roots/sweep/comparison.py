"""What the runs of a sweep say together: means, deviations, and differences from the dense network.

Runs of one network differ by their seeds. A mean is of its runs, a standard
deviation the sample's (n - 1). Whether a network differs from the dense one is
told by the interval of the difference of both means, by Welch's t-test, which
asks for neither equal deviations nor equally many runs. It is of the
variation between seeds: all networks are tested on the same images.

Source: Welch, "The generalization of 'Student's' problem when several
different population variances are involved", Biometrika 34 (1947).
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from keras_roots import topology
from keras_roots.paper.results import RESULTS, Result
from keras_roots.reporting import Table, duration, numbers
from keras_roots.sweep.experiment import DENSE
from keras_roots.sweep.rows import Row
from keras_roots.training.config import Config


@dataclasses.dataclass(frozen=True)
class Score:
    """The runs of one network.

    Attributes:
        network: "dense", or its topology.
        rows: of its runs, by seed.
        paper: what the paper reports of it, if it does.
    """

    network: str
    rows: tuple[Row, ...]
    paper: Result | None

    @property
    def parameters(self) -> int:
        return self.rows[0].parameters

    @property
    def macs(self) -> int:
        return self.rows[0].macs

    @property
    def mean(self) -> float:
        """Of top-1 accuracy, in percent."""
        return 100 * statistics.fmean(row.top1 for row in self.rows)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of top-1 accuracy, in points; None of one run."""
        if len(self.rows) < 2:
            return None
        return 100 * statistics.stdev(row.top1 for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The networks of a sweep.

    Attributes:
        name: of the experiment.
        scores: dense first, then root, column, tree, by degree.
        conditions: in words.
    """

    name: str
    scores: tuple[Score, ...]
    conditions: str

    @property
    def dense(self) -> Score | None:
        return next((score for score in self.scores if score.network == DENSE), None)

    @property
    def has_paper(self) -> bool:
        return any(score.paper is not None for score in self.scores)

    def table(self) -> Table:
        """A row for each network."""
        rows = []
        for score in self.scores:
            row = {
                "network": score.network,
                "runs": str(len(score.rows)),
                "parameters": self._count(score, "parameters"),
                "MACs": self._count(score, "macs"),
                "top-1, %": _with_deviation(score.mean, score.deviation),
                "minus dense, points": self._difference(score),
            }
            if self.has_paper:
                row["the paper's top-1, %"], row["the paper's minus dense"] = self._papers(score)
            rows.append(row)
        return Table.of(rows)

    def markdown(self) -> str:
        """The table, and what it is of."""
        return f"{self.table().markdown()}\n\n{self.conditions}"

    def _count(self, score: Score, quantity: str) -> str:
        number = getattr(score, quantity)
        if self.dense is None or score is self.dense:
            return f"{number:,}"
        return f"{number:,} ({number / getattr(self.dense, quantity):.0%})"

    def _difference(self, score: Score) -> str:
        if self.dense is None or score is self.dense:
            return ""
        text = f"{score.mean - self.dense.mean:+.2f}"
        interval = difference(score.rows, self.dense.rows)
        return text if interval is None else f"{text} ({numbers.interval(interval, '+.2f')})"

    def _papers(self, score: Score) -> list[str]:
        if score.paper is None:
            return ["", ""]
        dense = None if self.dense is None or score is self.dense else self.dense.paper
        change = "" if dense is None else f"{100 * (score.paper.top1 - dense.top1):+.2f}"
        spread = score.paper.top1_deviation
        return [
            _with_deviation(100 * score.paper.top1, None if spread is None else 100 * spread),
            change,
        ]


def compare(rows: Sequence[Row], base: Config, prepared: Mapping[str, Any]) -> Comparison:
    """Puts the rows of each network together.

    Args:
        rows: of runs that have finished; one or more.
        base: the configuration that they share.
        prepared: see `runner.prepare`.
    """
    by_network: dict[str, list[Row]] = {}
    for row in sorted(rows, key=_place):
        by_network.setdefault(row.network, []).append(row)
    published = RESULTS.get(base.model, {}) if _is_the_papers(base, prepared) else {}
    scores = tuple(
        Score(network, tuple(of_network), published.get(network))
        for network, of_network in by_network.items()
    )
    return Comparison(base.name or base.model, scores, _conditions(rows, base, prepared))


def difference(rows: Sequence[Row], others: Sequence[Row]) -> tuple[float, float] | None:
    """95% interval of the difference of mean top-1 accuracies, in points.

    Returns:
        None where a network has one run only, or no two runs differ.
    """
    from scipy.stats import t

    if min(len(rows), len(others)) < 2:
        return None
    samples = [[100 * row.top1 for row in each] for each in (rows, others)]
    parts = [statistics.variance(sample) / len(sample) for sample in samples]
    if sum(parts) == 0:
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True)
    )
    middle = statistics.fmean(samples[0]) - statistics.fmean(samples[1])
    half = float(t.ppf(0.975, freedom)) * sum(parts) ** 0.5
    return middle - half, middle + half


def _place(row: Row) -> tuple:
    if row.network == DENSE:
        return (0,)
    parsed = topology.parse(row.network)
    kinds = ("root", "column", "tree", "explicit")
    return (1, kinds.index(parsed.kind), parsed.first_degrees, row.seed)


def _is_the_papers(base: Config, prepared: Mapping[str, Any]) -> bool:
    """Whether the data are those of the paper's figures: all of CIFAR-10 for NIN, else ImageNet."""
    if base.model == "nin":
        data = prepared["data"]
        sizes = (data["train_images"], data["validation_images"])
        return "cifar10" in prepared["data_name"] and sizes == (50_000, 10_000)
    return prepared["data"]["classes"] == 1_000


def _with_deviation(mean: float, deviation: float | None) -> str:
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _conditions(rows: Sequence[Row], base: Config, prepared: Mapping[str, Any]) -> str:
    devices = ", ".join(sorted({f"{row.device}, Keras on {row.backend}" for row in rows}))
    images = prepared["data"]["train_images"]
    seconds = sum(row.training_seconds for row in rows)
    return (
        f"Top-1 accuracy of {rows[0].images:,} held-out images after the last of {base.epochs} "
        f"epochs of {images:,} images: mean and standard deviation of the runs; the difference "
        "with its 95% interval (Welch's t-test over seeds). Parameters and multiply-accumulates "
        f"by the paper's rule. Batches of {base.batch_size}, learning rate "
        f"{base.peak_learning_rate:g} at its highest, {base.schedule}, {base.precision}. "
        f"{devices}; {duration(seconds)} hours of training in {len(rows)} runs."
    )
