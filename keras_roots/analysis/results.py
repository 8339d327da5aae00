"""What an analysis found: tables and arrays."""

import dataclasses
import functools
from collections.abc import Sequence
from math import isnan, nan

import numpy as np

from keras_roots.analysis import blocks
from keras_roots.analysis.filters import Filters
from keras_roots.reporting import Table

# To a filter. Of independent responses, chance makes the canonical correlations about
# sqrt(filters / samples), and pixels side by side are less than independent.
_FEW_SAMPLES = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Covariance:
    """Between the whitened responses of two layers.

    Attributes:
        first, second: paths of the layers.
        groups: filter groups of the second, if it is a convolution; else 1.
        samples: pixels of all images, of the larger map.
        own_samples: of each layer, pixels of all images of its own map.
        matrix: float64 [filters of the first, of the second], -1 to 1.
        constant: of each layer, filters that respond the same to everything.
        dependent: of each layer, filters that are linear combinations of others.
    """

    first: str
    second: str
    groups: int
    samples: int
    own_samples: tuple[int, ...]
    matrix: np.ndarray
    constant: tuple[int, ...]
    dependent: tuple[int, ...]

    @functools.cached_property
    def found(self) -> blocks.Found:
        """The filter groups that the matrix shows."""
        return blocks.find(self.matrix)

    def notes(self) -> list[str]:
        """What could not be whitened, or not well, in words."""
        notes = []
        for path, filters, samples, constant, dependent in zip(
            (self.first, self.second),
            self.matrix.shape,
            self.own_samples,
            self.constant,
            self.dependent,
            strict=True,
        ):
            for count, what in ((constant, "never respond"), (dependent, "depend on others")):
                if count:
                    notes.append(f"{path}: {count} of {filters} filters {what}")
            if samples < _FEW_SAMPLES * filters:
                notes.append(
                    f"{path}: {samples:,} pixels for {filters} filters are few, so that chance has "
                    "a part in its covariance; give more images"
                )
        return notes


@dataclasses.dataclass(frozen=True, eq=False)
class Correlation:
    """Between the responses of the filters of one layer.

    Attributes:
        layer: its path.
        groups: its filter groups, if it is a convolution; else 1.
        samples: pixels of all images.
        matrix: Pearson's, float64 [filters, filters]; NaN for filters that respond the same to
            everything.
        within, between: mean absolute correlation of two filters of one group, and of two groups;
            NaN where there is none.
    """

    layer: str
    groups: int
    samples: int
    matrix: np.ndarray
    within: float
    between: float


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """Of one model.

    Attributes:
        model: its name.
        images: how many it was analysed on.
        covariances, correlations: of pairs of layers, and of layers.
        filters: those on the image; None of a model without any of two dimensions.
    """

    model: str
    images: int
    covariances: tuple[Covariance, ...]
    correlations: tuple[Correlation, ...]
    filters: Filters | None

    def table(self) -> Table:
        """As `covariance_table` of this one."""
        return covariance_table([self])

    def notes(self) -> list[str]:
        """What could not be whitened, or not well, layer by layer, in words."""
        notes = (note for each in self.covariances for note in each.notes())
        return list(dict.fromkeys(notes))

    def arrays(self) -> dict[str, np.ndarray]:
        """All matrices, float32, by name.

        "covariance/A,B" [filters of A, of B], "correlation/A" [filters of A, filters of A],
        "filters/A" [height, width, channels, filters], and "filter_groups/A" [filters], int64: the
        group that reads most of each filter, -1 where none does.
        """
        arrays = {
            f"covariance/{each.first},{each.second}": each.matrix.astype(np.float32)
            for each in self.covariances
        }
        for within in self.correlations:
            arrays[f"correlation/{within.layer}"] = within.matrix.astype(np.float32)
        if self.filters is not None:
            arrays[f"filters/{self.filters.layer}"] = self.filters.kernels
            arrays[f"filter_groups/{self.filters.layer}"] = self.filters.group
        return arrays


def compared_groups(analyses: Sequence[Analysis], covariance: Covariance) -> int:
    """The number of blocks that a covariance is measured by.

    The layer's own filter groups; if it has none, those of the same pair in another network; if
    there are none either, those found.
    """
    of_others = [
        each.groups
        for analysis in analyses
        for each in analysis.covariances
        if (each.first, each.second, each.matrix.shape)
        == (covariance.first, covariance.second, covariance.matrix.shape)
    ]
    if covariance.groups > 1:
        return covariance.groups
    return max(of_others, default=1) if max(of_others, default=1) > 1 else covariance.found.groups


def covariance_table(analyses: Sequence[Analysis]) -> Table:
    """A row for each pair of layers, and for each model.

    The blocks are those of `compared_groups`. The share is that of the squared covariance in
    them, and 1/blocks is what it would be if they were no different from the rest; the contrast is
    the root mean square inside over that outside. A single block has neither.
    """
    header = (
        *("first layer", "second layer", "network", "channels", "filters", "groups"),
        *("groups found", "blocks", "share in blocks", "1/blocks", "contrast"),
    )
    rows = []
    for first, second in pairs_of(analyses):
        for analysis in analyses:
            for each in analysis.covariances:
                if (each.first, each.second) != (first, second):
                    continue
                count = compared_groups(analyses, each)
                numbers = (*each.matrix.shape, each.groups, each.found.groups, count)
                shares = (blocks.share(each.matrix, count), 1 / count) if count > 1 else (nan, nan)
                contrast = blocks.contrast(each.matrix, count)
                cells = (*map(_decimal, shares), _decimal(contrast, 2))
                rows.append((first, second, analysis.model, *map(str, numbers), *cells))
    return Table(header, rows, left=3)


def correlation_table(analyses: Sequence[Analysis]) -> Table:
    """A row for each layer and model: the mean absolute correlation of two filters."""
    header = ("layer", "network", "filters", "groups", "within groups", "between groups")
    layers = dict.fromkeys(each.layer for a in analyses for each in a.correlations)
    rows = [
        (
            *(layer, analysis.model, str(len(each.matrix)), str(each.groups)),
            *(_decimal(each.within), _decimal(each.between)),
        )
        for layer in layers
        for analysis in analyses
        for each in analysis.correlations
        if each.layer == layer
    ]
    return Table(header, rows, left=2)


def pairs_of(analyses: Sequence[Analysis]) -> list[tuple[str, str]]:
    """The pairs of layers of one or more of them, each once."""
    pairs = ((each.first, each.second) for a in analyses for each in a.covariances)
    return list(dict.fromkeys(pairs))


def _decimal(number: float, digits: int = 3) -> str:
    return "" if isnan(number) else f"{number:.{digits}f}"
