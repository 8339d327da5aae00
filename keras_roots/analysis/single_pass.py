"""The analysis of a model on images, in one pass: covariances, correlations, and filters.

found = analyze(model, images)
print(found.table().text())
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import numpy as np

from keras_roots.analysis.covariance import correlation, whitened, within_and_between
from keras_roots.analysis.filters import first_filters
from keras_roots.analysis.moments import Moments, samples_of
from keras_roots.analysis.plan import Pair, Plan, plan
from keras_roots.analysis.results import Analysis, Correlation, Covariance
from keras_roots.reporting import Lines, silent


def analyze(
    model: keras.Model,
    images: np.ndarray | Iterable[np.ndarray],
    *,
    pairs: Iterable[Sequence[str]] | None = None,
    layers: Iterable[str] | None = None,
    batch_size: int = 32,
    name: str | None = None,
    report: Callable[[str], object] = silent,
) -> Analysis:
    """Analyses a model's responses to images; the memory it takes does not depend on their number.

    Args:
        model, pairs, layers: as of `plan`.
        images: an array [n, height, width, channels] as the model takes them, or batches of such,
            of any number and sizes, each of which is read once.
        batch_size: into which an array is cut.
        name: of the model, in tables and figures; by default its own.
        report: takes a line of progress, now and then.

    Raises:
        ValueError: the model, the images or an argument are not as above, or the images are too
            few; before anything is computed if they are in an array.
        RuntimeError: the responses are not finite.
    """
    if batch_size < 1:
        raise ValueError(f"Expected batch_size of 1 or more. Received: {batch_size}")
    count, batches = _batches(images, batch_size)
    first = next(batches, None)
    if first is None:
        raise ValueError("Expected one image or more. Received: none")
    planned = plan(model, pairs=pairs, layers=layers, image_shape=first.shape[1:])
    if count is not None:
        planned.require(count)
    return run(planned, itertools.chain([first], batches), name=name, report=report, images=count)


def run(
    planned: Plan,
    batches: Iterable[np.ndarray],
    *,
    name: str | None = None,
    images: int | None = None,
    report: Callable[[str], object] = silent,
) -> Analysis:
    """Carries out a plan.

    Args:
        planned: of `plan`.
        batches: as of `analyze`.
        name: as of `analyze`.
        images: how many there are, if it is known, to report.
        report: as of `analyze`.

    Raises:
        ValueError, RuntimeError: as of `analyze`.
    """
    shapes = planned.responses.shapes
    of_pair = {pair: Moments(sum(shapes[path][2] for path in pair)) for pair in planned.pairs}
    of_layer = {path: Moments(shapes[path][2]) for path in planned.layers}
    seen, lines = 0, Lines(report)
    for batch in batches:
        responses = planned.responses(batch)
        for pair, moments in of_pair.items():
            for samples in samples_of([responses[path] for path in pair]):
                moments.update(samples)
        for path, moments in of_layer.items():
            for samples in samples_of([responses[path]]):
                moments.update(samples)
        seen += len(batch)
        lines(f"{seen:,}{'' if images is None else f' of {images:,}'} images analysed")
    planned.require(seen)
    return Analysis(
        model=planned.model.name if name is None else name,
        images=seen,
        covariances=tuple(_covariance(planned, seen, *each) for each in of_pair.items()),
        correlations=tuple(_correlation(planned, *each) for each in of_layer.items()),
        filters=_filters(planned.model),
    )


def _batches(
    images: np.ndarray | Iterable[np.ndarray], batch_size: int
) -> tuple[int | None, Iterator[np.ndarray]]:
    """How many images there are, if that is known, and batches of them that are not empty."""
    if isinstance(images, np.ndarray):
        if images.ndim < 2:
            raise ValueError(f"Expected an array of images. Received: one of {images.shape}")
        parts = (images[n : n + batch_size] for n in range(0, len(images), batch_size))
        return len(images), iter(parts)
    return None, (batch for batch in map(np.asarray, images) if len(batch))


def _covariance(planned: Plan, images: int, pair: Pair, moments: Moments) -> Covariance:
    first, second = pair
    shapes = planned.responses.shapes
    matrix, *whitenings = whitened(moments.covariance(), shapes[first][2])
    return Covariance(
        first=first,
        second=second,
        groups=planned.groups.get(second, 1),
        samples=moments.count,
        own_samples=tuple(images * shapes[path][0] * shapes[path][1] for path in pair),
        matrix=matrix,
        constant=tuple(each.constant for each in whitenings),
        dependent=tuple(each.dependent for each in whitenings),
    )


def _correlation(planned: Plan, path: str, moments: Moments) -> Correlation:
    matrix = correlation(moments.covariance())
    groups = planned.groups.get(path, 1)
    within, between = within_and_between(matrix, groups)
    return Correlation(path, groups, moments.count, matrix, within, between)


def _filters(model: keras.Model):
    try:
        return first_filters(model)
    except ValueError:  # As of one whose convolutions are of one dimension.
        return None
