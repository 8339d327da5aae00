"""Moments of responses, whitening and correlation, against direct computations."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from keras_roots.analysis.covariance import correlation, whitened, within_and_between, zca
from keras_roots.analysis.moments import Moments, samples_of
from tests.reference import upsampled, whitened_covariance

sizes = st.integers(1, 5)
shapes = st.tuples(sizes, sizes, st.integers(1, 4))


@given(shapes, shapes, st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_samples_are_pixels_of_maps_brought_to_one_size(one, other, images, seed, at_once):
    rng = np.random.default_rng(seed)
    maps = [rng.normal(size=(images, *shape)).astype(np.float32) for shape in (one, other)]
    height, width = max(one[0], other[0]), max(one[1], other[1])
    expected = np.concatenate([upsampled(m, height, width) for m in maps], axis=-1)
    parts = list(samples_of(maps, values_at_once=at_once))
    assert np.array_equal(np.concatenate(parts), expected.reshape(-1, one[2] + other[2]))
    assert max(part.size for part in parts) <= max(at_once, width * (one[2] + other[2]))


@given(
    st.integers(1, 4),
    st.lists(st.integers(0, 7), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_moments_of_batches_are_those_of_all(variables, counts, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(variables, variables))
    batches = [rng.normal(5, 2, size=(count, variables)) @ mixing for count in counts]
    moments = Moments(variables)
    for batch in batches:
        moments.update(batch)
    everything = np.concatenate(batches)
    assert moments.count == len(everything)
    if len(everything) < 2:
        with pytest.raises(ValueError, match=f"two samples or more. Received: {len(everything)}"):
            moments.covariance()
        return
    assert np.allclose(moments.mean, everything.mean(axis=0), rtol=1e-12, atol=1e-12)
    assert np.allclose(
        moments.covariance(), np.cov(everything.T).reshape(variables, variables), atol=1e-10
    )


def test_moments_keep_the_variance_of_what_is_large():
    rng = np.random.default_rng(0)
    small = rng.normal(size=(5000, 2)) * 1e-3
    moments = Moments(2)
    for batch in np.split(small + 1e6, 50):
        moments.update(batch)
    assert np.allclose(moments.covariance(), np.cov(small.T), rtol=1e-3, atol=1e-11)
    # Which the sum of squares less the square of the sum has lost.
    squares = ((small + 1e6) ** 2).mean(axis=0) - (small + 1e6).mean(axis=0) ** 2
    assert np.abs(squares / small.var(axis=0) - 1).max() > 0.1


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_whitened_covariance_against_whitened_samples(filters, others, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(filters + others, filters + others))
    samples = rng.normal(size=(1, 50, 1, filters + others)) @ mixing
    moments = Moments(filters + others)
    moments.update(samples[0, :, 0])
    found, *whitenings = whitened(moments.covariance(), filters)
    expected = whitened_covariance(samples[..., :filters], samples[..., filters:])
    assert np.allclose(found, expected, atol=1e-6)
    assert [(w.constant, w.dependent) for w in whitenings] == [(0, 0)] * 2
    assert np.linalg.norm(found, 2) <= 1 + 1e-9  # Singular values are canonical correlations.


def test_zca_leaves_out_what_has_no_variance():
    rng = np.random.default_rng(0)
    free = rng.normal(size=(200, 4))
    # A constant filter, one that is the sum of two others, and one that is a multiple.
    columns = [free, np.full((200, 1), 3.0), free[:, :1] + free[:, 1:2], 7 * free[:, 2:3]]
    samples = np.hstack(columns)
    covariance = np.cov(samples.T)
    found = zca(covariance)
    assert (found.rank, found.constant, found.dependent) == (4, 1, 2)
    # C^(-1/2) C C^(-1/2) is the projection on what varies.
    projection = found.matrix @ covariance @ found.matrix
    assert np.allclose(projection @ projection, projection, atol=1e-8)
    assert np.isclose(np.trace(projection), 4)
    assert np.allclose(found.matrix[4], 0)
    nothing = zca(np.zeros((3, 3)))
    assert (nothing.rank, nothing.constant, nothing.dependent) == (0, 3, 0)
    assert not nothing.matrix.any()


def test_correlation_against_numpy_and_of_groups():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(100, 6)) @ rng.normal(size=(6, 6))
    samples[:, 4] = 2.5
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(samples.T)
    found = correlation(np.cov(samples.T))
    assert np.isnan(found[4]).all()
    assert np.isnan(found[:, 4]).all()
    varies = [0, 1, 2, 3, 5]
    assert np.allclose(found[np.ix_(varies, varies)], expected[np.ix_(varies, varies)])
    within, between = within_and_between(found, 3)
    size = np.abs(expected)
    assert np.isclose(within, (size[0, 1] + size[2, 3]) / 2)
    pairs = [(0, 2), (0, 3), (0, 5), (1, 2), (1, 3), (1, 5), (2, 5), (3, 5)]
    assert np.isclose(between, np.mean([size[pair] for pair in pairs]))
    alone, none = within_and_between(found, 1)
    assert np.isclose(alone, (within * 2 + between * 8) / 10)
    assert math.isnan(none)
    with pytest.raises(ValueError, match="divide 6 filters. Received: 4"):
        within_and_between(found, 4)
