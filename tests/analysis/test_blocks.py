"""Finding the block diagonal, in random matrices and in networks."""

import math

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
from hypothesis import assume, given

import keras_roots
from keras_roots import analysis
from keras_roots.analysis import blocks

seeds = st.integers(0, 2**32 - 1)


def planted(rng, groups, rows, columns, contrast):
    """Noise of one deviation outside of the blocks, `rows` x `columns` each, and another inside."""
    matrix = rng.normal(size=(groups * rows, groups * columns))
    for g in range(groups):
        matrix[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] *= contrast
    return matrix


@given(
    st.sampled_from([2, 3, 4, 6, 8, 16]),
    st.integers(2, 8),
    st.integers(2, 8),
    st.floats(3, 100),
    st.floats(1e-6, 1e6),
    seeds,
)
def test_planted_blocks_are_found(groups, rows, columns, contrast, scale, seed):
    assume(groups * rows * columns >= 64)
    matrix = scale * planted(np.random.default_rng(seed), groups, rows, columns, contrast)
    found = blocks.find(matrix)
    assert found.groups == groups
    assert found.evidence > blocks.VERY_STRONG
    assert math.isclose(blocks.contrast(matrix, groups), contrast, rel_tol=0.5)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["normal", "standard_t", "uniform"]),
    seeds,
)
def test_in_noise_nothing_is_found(rows, columns, kind, seed):
    rng = np.random.default_rng(seed)
    shape = (4 * rows, 4 * columns)
    matrix = (
        rng.standard_t(5, size=shape) if kind == "standard_t" else getattr(rng, kind)(size=shape)
    )
    assert blocks.find(matrix - matrix.mean()).groups == 1


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), seeds)
def test_share_and_contrast_against_loops(rows, columns, groups, seed):
    matrix = np.random.default_rng(seed).normal(size=(groups * rows, groups * columns))
    inside, outside = [], []
    for i in range(groups * rows):
        for j in range(groups * columns):
            (inside if i // rows == j // columns else outside).append(matrix[i, j] ** 2)
    expected = sum(inside) / (sum(inside) + sum(outside))
    assert math.isclose(blocks.share(matrix, groups), expected, rel_tol=1e-9)
    if groups > 1:
        ratio = math.sqrt(np.mean(inside) / np.mean(outside))
        assert math.isclose(blocks.contrast(matrix, groups), ratio, rel_tol=1e-9)
    else:
        assert math.isnan(blocks.contrast(matrix, 1))


def test_blocks_of_nothing_else_of_one_size_and_of_nothing():
    exact = np.kron(np.eye(4), np.ones((3, 5)))
    assert blocks.find(exact).groups == 4
    assert blocks.share(exact, 4) == 1
    assert blocks.contrast(exact, 4) == math.inf
    assert blocks.find(np.eye(12)).groups == 12
    for nothing in (np.zeros((4, 4)), np.ones((3, 5)), np.ones((1, 8))):
        found = blocks.find(nothing)
        assert found.groups == 1
        assert math.isnan(found.evidence)
    assert blocks.find(np.ones((4, 8))).groups == 1
    # Blocks that are weaker than the rest are no groups.
    assert blocks.find(planted(np.random.default_rng(0), 4, 8, 8, 0.1)).groups == 1
    assert math.isnan(blocks.share(np.zeros((4, 4)), 2))
    assert math.isnan(blocks.contrast(np.zeros((4, 4)), 2))


@pytest.mark.parametrize("bad", [np.full((4, 4), np.nan), np.zeros(4), np.zeros((0, 4))])
def test_no_matrix(bad):
    for function in (blocks.find, lambda m: blocks.share(m, 1), lambda m: blocks.contrast(m, 1)):
        with pytest.raises(ValueError, match="matrix of finite numbers"):
            function(bad)


@pytest.mark.parametrize("groups", [0, 3, 8])
def test_groups_that_do_not_divide(groups):
    with pytest.raises(ValueError, match="divide both sides of \\(4, 8\\)"):
        blocks.share(np.ones((4, 8)), groups)


def chain(groups, filters=24):
    """A convolution on the image, and grouped ones with a 1x1 between them."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    x = keras_roots.layers.convolution(filters, 3, padding="same", name="first")(inputs)
    for number, g in enumerate(groups):
        x = keras.layers.ReLU()(keras_roots.layers.batch_normalization(f"norm{number}")(x))
        x = keras_roots.layers.root_module(
            2 * filters, 3, groups=g, pointwise_filters=filters, name=f"spatial{number}"
        )(x)
    return keras.Model(inputs, x, name="chain")


@pytest.mark.parametrize("groups", [(1, 1, 1), (2, 6, 12), (8, 4, 3), (24, 1, 4)])
def test_the_groups_of_a_network_are_found_automatically(groups):
    batch = np.random.default_rng(0).normal(size=(60, 8, 8, 3)).astype(np.float32)
    model = chain(groups)
    # Each at its place: dense ones, too, are in the default only if there are no others.
    pairs = [("first", "spatial0_conv")] + [
        (f"spatial{n}_pointwise_conv", f"spatial{n + 1}_conv") for n in range(2)
    ]
    found = analysis.analyze(model, batch, pairs=pairs)
    assert tuple(each.groups for each in found.covariances) == tuple(
        1 if g == 24 else g for g in groups
    )
    assert tuple(each.found.groups for each in found.covariances) == groups
    for each, g in zip(found.covariances, groups, strict=True):
        if g > 1:
            assert blocks.contrast(each.matrix, g) > 1.2


def test_permuted_filters_show_no_groups():
    batch = np.random.default_rng(0).normal(size=(60, 8, 8, 3)).astype(np.float32)
    (each,) = analysis.analyze(chain((8,)), batch).covariances
    assert each.found.groups == 8
    rng = np.random.default_rng(0)
    mixed = each.matrix[rng.permutation(24)][:, rng.permutation(48)]
    assert blocks.find(mixed).groups == 1
