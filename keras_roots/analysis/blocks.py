"""Finding the block diagonal of a matrix: how many filter groups does a covariance show?

The model for g groups: entries are normal with mean 0, with one variance in the g contiguous blocks
on the diagonal and another, smaller, outside. The candidates are all g that divide both sides.
The one of the largest likelihood is taken if it beats a single block by enough. That is counted as
the Bayesian information criterion does, log(entries) for the second variance. Real covariances
have heavy tails, which make a sample's variance vary more than a normal one's; so the likelihood
ratio is divided by (kurtosis - 1) / 2, which is 1 for a normal distribution (Box, "Non-normality
and tests on variances", Biometrika 40, 1953).

Sources: Schwarz, "Estimating the dimension of a model", Annals of Statistics 6 (1978); Kass and
Raftery, "Bayes factors", JASA 90 (1995), where differences above 10 are called very strong.
"""

import dataclasses
import math

import numpy as np

VERY_STRONG = 10.0
_LEAST_VARIANCE = 1e-12  # Of a part, to the whole: all outside the blocks may be 0.


@dataclasses.dataclass(frozen=True)
class Found:
    """What `find` found.

    Attributes:
        groups: 1 where the matrix shows no block diagonal.
        evidence: for the best of several groups, against one: the difference of the criterion,
            which is twice a log-likelihood, in nats; above `VERY_STRONG` if there are groups. NaN
            where there is nothing to choose.
    """

    groups: int
    evidence: float


def candidates(matrix: np.ndarray) -> list[int]:
    """The numbers of groups, from 2, that both sides can be cut in."""
    common = math.gcd(*matrix.shape)
    return [g for g in range(2, common + 1) if common % g == 0]


def find(matrix: np.ndarray) -> Found:
    """The number of contiguous groups that explains a matrix [rows, columns] best.

    A single entry in each block is one of the candidates: a matrix with nothing but a diagonal has
    as many groups as rows.

    Raises:
        ValueError: it is no matrix of finite numbers.
    """
    _check(matrix)
    squares = np.square(np.asarray(matrix, np.float64))
    whole, entries = squares.sum(), squares.size
    if not whole or not candidates(matrix):
        return Found(1, math.nan)
    squares = squares / (whole / entries)  # Tiny ones would underflow when they are squared.
    scores = {g: _score(squares, g) for g in candidates(matrix)}
    best = max(scores, key=lambda g: scores[g])
    spread = max(1.0, (_kurtosis(squares, best) - 1) / 2)
    evidence = scores[best] / spread - math.log(entries)
    return Found(best if evidence > VERY_STRONG else 1, evidence)


def _score(squares: np.ndarray, groups: int) -> float:
    """Twice the logarithm of the likelihood ratio to one block, of squares of mean 1."""
    parts = _parts(squares, groups)
    inside, outside = (float(part.mean()) for part in parts)
    if inside <= outside:
        return -math.inf
    return -sum(part.size * math.log(max(part.mean(), _LEAST_VARIANCE)) for part in parts)


def _kurtosis(squares: np.ndarray, groups: int) -> float:
    """Of the entries, each divided by the deviation of its part."""
    total = sum(
        part.size * np.square(part).mean() / part.mean() ** 2
        for part in _parts(squares, groups)
        if part.any()
    )
    return float(total) / squares.size


def _parts(matrix: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The entries in the blocks, and those outside."""
    rows, columns = matrix.shape
    blocks = matrix.reshape(groups, rows // groups, groups, columns // groups).swapaxes(1, 2)
    on_diagonal = np.eye(groups, dtype=bool)
    return blocks[on_diagonal], blocks[~on_diagonal]


def share(matrix: np.ndarray, groups: int) -> float:
    """The part of the squared entries that is in the blocks; 1/groups if they are no different.

    NaN if all are 0.

    Raises:
        ValueError: as `find`, or the groups do not divide both sides.
    """
    inside, outside = _sums(matrix, groups)
    return inside / (inside + outside) if inside + outside else math.nan


def contrast(matrix: np.ndarray, groups: int) -> float:
    """Root mean square of the entries in the blocks over that of those outside.

    Infinite if all outside are 0, and NaN if there are none.

    Raises:
        ValueError: as `share`.
    """
    inside, outside = _sums(matrix, groups)
    if groups == 1 or not inside + outside:
        return math.nan
    return math.sqrt(inside * (groups - 1) / outside) if outside else math.inf


def _check(matrix: np.ndarray) -> None:
    if np.ndim(matrix) != 2 or not np.size(matrix) or not np.isfinite(matrix).all():
        raise ValueError(
            f"Expected a matrix of finite numbers. Received: an array of shape {np.shape(matrix)}"
            f"{'' if np.ndim(matrix) != 2 else ' with NaN or infinity in it, or empty'}"
        )


def _sums(matrix: np.ndarray, groups: int) -> tuple[float, float]:
    """Of squares, in the blocks and outside of them."""
    _check(matrix)
    if groups < 1 or any(side % groups for side in np.shape(matrix)):
        raise ValueError(
            f"Expected groups that divide both sides of {np.shape(matrix)}. Received: {groups}"
        )
    inside, outside = _parts(np.square(np.asarray(matrix, np.float64)), groups)
    return float(inside.sum()), float(outside.sum())
