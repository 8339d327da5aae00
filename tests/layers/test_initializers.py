import keras
import numpy as np
import pytest

from keras_roots.layers.initializers import CompoundHeNormal


def test_fan_out_of_equal_filter_groups_is_that_of_the_whole_layer():
    # Whatever the number of channels that each group sees, 4 here, n is 3 x 3 x 6400.
    kernel = np.asarray(CompoundHeNormal(seed=1)((3, 3, 4, 6400)), np.float64)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 3 * 6400)), rel=0.01)
    assert kernel.mean() == pytest.approx(0, abs=kernel.std() / 100)
    stock = keras.initializers.VarianceScaling(2, "fan_out", "untruncated_normal", seed=1)
    np.testing.assert_allclose(kernel, stock((3, 3, 4, 6400)), rtol=1e-6)


def test_a_gaussian_is_not_truncated():
    kernel = np.asarray(CompoundHeNormal(seed=1)((3, 3, 64, 256)), np.float64)
    assert (np.abs(kernel) > 3 * kernel.std()).mean() == pytest.approx(0.0027, rel=0.2)


def test_fan_out_of_a_compound_layer_is_the_sum_over_its_groups():
    # Inception 3a's branches on one tensor.
    branches = [(1, 1, 64), (1, 1, 96), (1, 1, 16)]
    expected = np.sqrt(2 / (64 + 96 + 16))
    for branch in branches:
        kernel = np.asarray(CompoundHeNormal(branches, seed=3)((1, 1, 1920, branch[2])), np.float64)
        assert kernel.std() == pytest.approx(expected, rel=0.02)
    assert CompoundHeNormal([(3, 5, 10), (1, 1, 4)]).fan_out((3, 5, 7, 10)) == 3 * 5 * 10 + 4


def test_dense_kernels():
    assert CompoundHeNormal().fan_out((2048, 1000)) == 1000


def test_serialisation_and_seeds():
    initializer = CompoundHeNormal([(1, 1, 64), (3, 3, 128)], seed=7)
    config = keras.saving.serialize_keras_object(initializer)
    again = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(initializer((1, 1, 8, 64)), again((1, 1, 8, 64)))
    assert not np.array_equal(CompoundHeNormal()((9, 9)), CompoundHeNormal()((9, 9)))


@pytest.mark.parametrize("groups", [[], [(3, 3)], [(3, 3, 0)], [(3, 3, 1.5)]])
def test_filter_groups_that_are_none(groups):
    with pytest.raises(ValueError, match="height, width, filters"):
        CompoundHeNormal(groups)


def test_a_vector_is_no_kernel():
    with pytest.raises(ValueError, match="two dimensions"):
        CompoundHeNormal()((8,))
