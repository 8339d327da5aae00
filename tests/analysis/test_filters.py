"""The filters on the image, and the groups that read them."""

import keras
import numpy as np
import pytest

from keras_roots.analysis import first_filters
from keras_roots.layers import GroupedConv2D
from tests.sample_models import randomized

_layers = keras.layers


def network(*middle, filters=8, groups=4, after=()):
    inputs = keras.Input((16, 16, 3))
    x = _layers.Conv2D(filters, 3, padding="same", name="first")(inputs)
    for layer in middle:
        x = layer(x)
    x = GroupedConv2D(16, 3, groups=groups, name="grouped")(x)
    for layer in after:
        x = layer(x)
    return randomized(keras.Model(inputs, x, name="network"))


def test_without_convolutions_between_the_order_is_exact():
    model = network(
        _layers.BatchNormalization(),
        _layers.ReLU(),
        _layers.ZeroPadding2D(1),
        _layers.MaxPooling2D(2),
        _layers.Dropout(0.1),
        after=[_layers.ReLU(), GroupedConv2D(16, 3, groups=2)],
    )
    found = first_filters(model)
    assert (found.layer, found.reader, found.groups) == ("first", "grouped", 4)
    assert found.rows() == {"0": [0, 1], "1": [2, 3], "2": [4, 5], "3": [6, 7]}
    assert np.array_equal(found.strength, np.kron(np.eye(4), np.ones((2, 1))))
    assert found.is_exact
    assert found.order() == "a row for what each of the 4 groups of grouped reads"
    assert np.array_equal(found.kernels, np.asarray(model.get_layer("first").kernel))


def test_through_1x1_convolutions_by_the_squared_net_weights():
    model = network(
        _layers.BatchNormalization(name="norm"),
        _layers.Conv2D(6, 1, activation="relu", name="mix1"),
        _layers.Conv2D(8, 1, name="mix2"),
        _layers.BatchNormalization(scale=False, name="norm2"),
        groups=2,
    )
    found = first_filters(model)
    gamma, _, _, variance = model.get_layer("norm").get_weights()
    _, _, variance2 = model.get_layer("norm2").get_weights()
    mix1, mix2 = (np.asarray(model.get_layer(name).kernel)[0, 0] for name in ("mix1", "mix2"))
    read = np.zeros((8, 2))
    for f in range(8):
        for channel in range(8):
            net = sum(mix1[f, k] * mix2[k, channel] for k in range(6))
            net *= gamma[f] / np.sqrt(variance[f] + 1e-3) / np.sqrt(variance2[channel] + 1e-3)
            read[f, channel // 4] += net**2
    expected = read / read.sum(axis=1, keepdims=True)
    assert np.allclose(found.strength, expected, rtol=1e-5)
    assert not found.is_exact
    rows = found.rows()
    assert list(rows) == ["0", "1"]
    for g, row in enumerate(rows.values()):
        assert set(row) == {f for f in range(8) if expected[f].argmax() == g}
        assert [expected[f, g] for f in row] == sorted((expected[f, g] for f in row), reverse=True)
    share = expected.max(axis=1).mean()
    assert f"reads most of, through 1x1 convolutions: {share:.0%} of a filter" in found.order()
    assert "(50% if all read alike)" in found.order()


def test_a_1x1_that_only_permutes_is_exact_and_what_nobody_reads_is_apart():
    model = network(_layers.Conv2D(8, 1, use_bias=False, name="mix"), groups=2)
    kernel = np.zeros((1, 1, 8, 8), np.float32)
    order = [5, 1, 7, 3, 0, 4, 2]  # Filter 6 goes nowhere.
    kernel[0, 0, order, range(7)] = -2
    model.get_layer("mix").set_weights([kernel])
    found = first_filters(model)
    assert found.is_exact
    assert not found.strength[6].any()
    assert found.rows() == {"0": [1, 3, 5, 7], "1": [0, 2, 4], "none": [6]}
    assert found.group.tolist() == [1, 0, 1, 0, 1, 0, -1, 0]


def test_paths_that_meet_are_one_net_weight():
    inputs = keras.Input((8, 8, 3))
    first = _layers.Conv2D(4, 1, name="first")(inputs)
    mixed = _layers.Conv2D(4, 1, use_bias=False, name="mix")(first)
    total = _layers.Add()([first, mixed])
    wide = _layers.Concatenate()([total, _layers.Conv2D(2, 3, padding="same")(first), first])
    grouped = GroupedConv2D(10, 3, groups=5, name="grouped")(wide)
    model = keras.Model(inputs, grouped)
    kernel = -np.eye(4, dtype=np.float32)
    kernel[0, 1], kernel[2, 2] = 3, 0
    model.get_layer("mix").set_weights([kernel[None, None]])
    # The sum leaves only filter 0 in channel 1 and filter 2 in channel 2; of the 3x3 between
    # nothing can be told.
    expected = np.zeros((4, 5))
    expected[0, 0], expected[2, 1] = 9, 1
    expected[[0, 1, 2, 3], [3, 3, 4, 4]] += 1
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(first_filters(model).strength, expected)


@pytest.mark.parametrize(
    "middle",
    [
        [_layers.Conv2D(8, 3)],  # Spatial.
        [_layers.DepthwiseConv2D(3)],
        [_layers.Reshape((8, 8, 32)), _layers.Permute((1, 2, 3))],
    ],
)
def test_groups_that_cannot_be_told_are_none(middle):
    found = first_filters(network(*middle))
    assert (found.reader, found.groups) == (None, 0)
    assert found.rows() == {"none": list(range(8))}
    assert found.order().startswith("in their order: no filter groups read them")


def test_networks_without_groups_or_filters():
    inputs = keras.Input((8, 8, 1))
    x = _layers.Rescaling(1 / 255)(inputs)
    x = _layers.Conv2D(4, 3, name="first")(x)
    # Depthwise is no filter group.
    x = _layers.Conv2D(8, 3, groups=4, name="depthwise")(x)
    found = first_filters(keras.Model(inputs, x))
    assert (found.layer, found.reader, found.kernels.shape) == ("first", None, (3, 3, 1, 4))
    inputs = keras.Input((8, 3))
    flat = keras.Model(inputs, _layers.Conv1D(4, 3)(inputs), name="flat")
    with pytest.raises(ValueError, match="'flat' has no two-dimensional convolution"):
        first_filters(flat)
