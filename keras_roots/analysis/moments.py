"""Means and second moments of feature maps, of any number of images, in memory of a fixed size.

Batches are merged about their own means (Chan, Golub and LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances", COMPSTAT 1982), in float64: sums of squares would lose
the variance of what is large and varies little.
"""

from collections.abc import Iterator, Sequence

import numpy as np

_VALUES_AT_ONCE = 2**21  # 16 MiB of float64.


class Moments:
    """Of samples of so many variables; see `update`.

    Attributes:
        count: number of samples so far.
        mean: float64 [variables].
    """

    def __init__(self, variables: int):
        self.count = 0
        self.mean = np.zeros(variables)
        self._scatter = np.zeros((variables, variables))  # Sum of products about the mean.

    def update(self, samples: np.ndarray) -> None:
        """Adds samples, [n, variables]."""
        samples = np.asarray(samples, np.float64)
        count = len(samples)
        if not count:
            return
        mean = samples.mean(axis=0)
        centred = samples - mean
        total = self.count + count
        apart = mean - self.mean
        self._scatter += centred.T @ centred
        self._scatter += np.outer(apart, apart) * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    def covariance(self) -> np.ndarray:
        """Float64 [variables, variables], divided by one less than the samples."""
        if self.count < 2:
            raise ValueError(f"Expected two samples or more. Received: {self.count}")
        return self._scatter / (self.count - 1)


def samples_of(
    maps: Sequence[np.ndarray], values_at_once: int = _VALUES_AT_ONCE
) -> Iterator[np.ndarray]:
    """The pixels of feature maps of the same images, side by side: each pixel is a sample.

    Maps that are smaller than the largest are brought to its height and width by nearest
    neighbour: pixel i of `large` is pixel floor(i * small / large).

    Args:
        maps: each [n, its height, its width, its channels].
        values_at_once: at most so many are given at a time (but no less than one row of a map).

    Yields:
        Float64 [samples, channels of all maps], in the order of images, rows and columns.
    """
    height = max(each.shape[1] for each in maps)
    width = max(each.shape[2] for each in maps)
    rows, columns = np.arange(height), np.arange(width)
    picked = [(rows * each.shape[1] // height, columns * each.shape[2] // width) for each in maps]
    channels = sum(each.shape[3] for each in maps)
    lines = len(maps[0]) * height
    step = max(1, values_at_once // (width * channels))
    for start in range(0, lines, step):
        image, row = np.divmod(np.arange(start, min(start + step, lines)), height)
        samples = np.empty((len(image), width, channels))
        first = 0
        for each, (of_row, of_column) in zip(maps, picked, strict=True):
            part = slice(first, first + each.shape[3])
            samples[..., part] = each[image[:, None], of_row[row][:, None], of_column]
            first = part.stop
        yield samples.reshape(-1, channels)
