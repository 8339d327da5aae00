"""Whitening, and covariance and correlation of filter responses.

Source: Ioannou et al., arXiv:1605.06489, section on inter-layer covariance. Of two layers, each
pixel being a sample, the responses X1 and X2 are brought to a mean of 0 and are ZCA-whitened, each
layer by itself; shown is X1 X2^T / (N - 1). It equals C1^(-1/2) C12 C2^(-1/2), of the covariances
C1 and C2 within the layers and C12 between them, so that nothing but moments has to be kept.
"""

import dataclasses

import numpy as np

# Of the largest eigenvalue. Responses are float32, so that what is below has no right digit: the
# squares of their rounding errors are some 1e-14 of it.
TOLERANCE = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class Whitening:
    """C^(-1/2) of a covariance C, and what had no variance to whiten.

    Attributes:
        matrix: symmetric, float64 [filters, filters]; pseudo-inverse.
        rank: eigenvalues above the tolerance.
        constant: filters that respond the same to everything: their variance is at most the
            tolerance times the largest of a filter.
    """

    matrix: np.ndarray
    rank: int
    constant: int

    @property
    def dependent(self) -> int:
        """Filters that are no constants and linear combinations of others."""
        return len(self.matrix) - self.rank - self.constant


def zca(covariance: np.ndarray, tolerance: float = TOLERANCE) -> Whitening:
    """The whitening that changes the responses least, by eigenvalues.

    Args:
        covariance: symmetric, [filters, filters].
        tolerance: eigenvalues of at most this times the largest count as 0, and their directions
            are left out.
    """
    values, vectors = np.linalg.eigh(covariance)
    is_kept = (values > tolerance * values[-1]) & (values > 0)
    kept = vectors[:, is_kept]
    matrix = (kept / np.sqrt(values[is_kept])) @ kept.T
    constant = int(np.sum(constants(covariance, tolerance)))
    return Whitening(matrix, int(is_kept.sum()), constant)


def constants(covariance: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Which filters respond the same to everything: bool [filters]."""
    variances = np.diag(covariance)
    return ~(variances > tolerance * variances.max())


def whitened(
    covariance: np.ndarray, filters: int, tolerance: float = TOLERANCE
) -> tuple[np.ndarray, Whitening, Whitening]:
    """The inter-layer covariance of whitened responses.

    Args:
        covariance: of both layers' responses together, the first layer's first:
            [filters + others, filters + others].
        filters: number of the first layer's.
        tolerance: as of `zca`.

    Returns:
        Float64 [filters, others], of entries from -1 to 1; and each layer's whitening.
    """
    first, second = slice(filters), slice(filters, None)
    ours, theirs = (zca(covariance[part, part], tolerance) for part in (first, second))
    return ours.matrix @ covariance[first, second] @ theirs.matrix, ours, theirs


def correlation(covariance: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Pearson's, of each two filters: float64 [filters, filters]; NaN for constant filters."""
    is_constant = constants(covariance, tolerance)
    deviations = np.where(is_constant, np.nan, np.sqrt(np.abs(np.diag(covariance))))
    found = covariance / np.outer(deviations, deviations)
    return np.clip(found, -1, 1)


def within_and_between(correlations: np.ndarray, groups: int) -> tuple[float, float]:
    """Mean absolute correlation of two filters of one group, and of two groups.

    Args:
        correlations: [filters, filters]; NaNs and the diagonal are left out.
        groups: divides the filters, which are in order; NaN where there is no such pair.

    Raises:
        ValueError: it does not.
    """
    filters = len(correlations)
    if groups < 1 or filters % groups:
        raise ValueError(f"Expected groups that divide {filters} filters. Received: {groups}")
    group = np.arange(filters) // (filters // groups)
    is_within = group[:, None] == group
    sizes = np.abs(correlations)
    is_pair = ~np.eye(filters, dtype=bool) & ~np.isnan(sizes)
    within, between = (
        float(sizes[chosen].mean()) if chosen.any() else float("nan")
        for chosen in (is_pair & is_within, is_pair & ~is_within)
    )
    return within, between
