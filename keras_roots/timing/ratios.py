"""Ratios of medians and how far they may be off, so that noise is not printed as digits."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_roots.reporting import numbers

# With fewer rounds, the interval that resampling gives is too narrow.
FEWEST_ROUNDS = 6
# Half the width of an interval, relative to the ratio, above which the ratio is not shown.
WIDEST = 0.05
# Spread of a latency, (90th - 10th percentile) / median, above which it is marked.
NOISY = 0.2
_REPLICATES = 2000

Rounds = Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of two medians.

    Attributes:
        value: of the measurements as they are.
        low, high: 95% interval; None of fewer than `FEWEST_ROUNDS` rounds.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether its interval is within 5% of it on either side, on average."""
        if self.low is None or self.high is None:
            return False
        return (self.high - self.low) / 2 <= WIDEST * self.value

    @property
    def is_one(self) -> bool:
        """Whether it cannot be told from 1."""
        return self.low is None or self.high is None or self.low <= 1 <= self.high

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"too few rounds (under {FEWEST_ROUNDS})"
        if not self.is_known:
            return f"too noisy ({numbers.interval((self.low, self.high))})"
        return f"{self.value:.2f}"


def ratio_of_medians(seconds: Rounds, reference: Rounds, *, paired: bool) -> Ratio:
    """With the 95% interval of a bootstrap that draws rounds, as times of one round are alike.

    Args:
        seconds, reference: times of the two, round by round.
        paired: whether a round of the one ran beside that of the other, so
            that they are drawn together.

    Raises:
        ValueError: they are to be paired, and are not of as many rounds.
    """
    ours, theirs = np.asarray(seconds, float), np.asarray(reference, float)
    if paired and len(ours) != len(theirs):
        raise ValueError(
            f"Expected as many rounds of both. Received: {len(ours)} and {len(theirs)}"
        )
    value = float(np.median(ours) / np.median(theirs))
    if min(len(ours), len(theirs)) < FEWEST_ROUNDS:
        return Ratio(value)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_REPLICATES):
        mine = rng.integers(len(ours), size=len(ours))
        other = mine if paired else rng.integers(len(theirs), size=len(theirs))
        drawn.append(np.median(ours[mine]) / np.median(theirs[other]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Ratio(value, float(low), float(high))
