"""Every lowering is the loop, whatever the shape."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots.layers import GroupedConv2D
from keras_roots.lowering import ways
from tests import reference


def published_layers():
    """Kernel size, channels, filters and groups of every grouped layer of the paper's networks."""
    found = set()
    for network, degrees in {
        "resnet50": (2, 4, 8, 16, 32, 64),
        "resnet200": (2, 4, 8, 16, 32, 64),
        "googlenet": (2, 4, 8, 16),
        "nin": (2, 4, 8, 16),
        "alexnet": (2, 4, 8, 16),
    }.items():
        for degree in degrees:
            for layer in keras_roots.build(network, root=degree).layers:
                if isinstance(layer, GroupedConv2D):
                    channels = layer.kernel.shape[2] * layer.groups
                    found.add((*layer.kernel_size, channels, layer.filters, layer.groups))
    return sorted(found)


def lowerings(groups, channels, filters):
    found = ["native", "split", *ways.packings(groups), *ways.packings(groups, "split")]
    return [*found, "taps"] if max(channels, filters) // groups <= 8 else found


@pytest.mark.slow
def test_every_lowering_of_every_published_layer_is_the_loop():
    rng = np.random.default_rng(0)
    layers = published_layers()
    assert len(layers) > 50
    for height, width, channels, filters, groups in layers:
        kernel = rng.normal(size=(height, width, channels // groups, filters))
        x = rng.normal(size=(1, 4, 3, channels))
        expected, *_ = reference.grouped_convolution(x, kernel, np.ones, (1, 1), "same", (1, 1))
        for way in lowerings(groups, channels, filters):
            actual = ways.convolve(
                tf.constant(x, tf.float32),
                tf.constant(kernel, tf.float32),
                ways.Geometry(padding="same"),
                way,
            )
            error = np.abs(actual - expected).max() / np.abs(expected).max()
            assert error < 1e-5, (height, width, channels, filters, groups, way)


@hypothesis.given(
    into=st.integers(1, 4),
    merged=st.integers(1, 4),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
)
def test_packed_is_the_loop(into, merged, channels, filters):
    groups = into * merged
    rng = np.random.default_rng(groups)
    kernel = rng.normal(size=(3, 2, channels, groups * filters))
    x = rng.normal(size=(2, 6, 5, groups * channels))
    expected, *_ = reference.grouped_convolution(x, kernel, np.ones, (1, 1), "same", (1, 1))
    packed = ways.pack(tf.constant(kernel), groups, into)
    assert packed.shape == (3, 2, channels * merged, groups * filters)
    assert np.count_nonzero(packed) == kernel.size
    for then in ("", "-split"):
        outputs = ways.convolve(
            tf.constant(x, tf.float32),
            tf.constant(kernel, tf.float32),
            ways.Geometry(padding="same"),
            f"packed-{into}{then}",
        )
        np.testing.assert_allclose(outputs, expected, atol=1e-4)


@hypothesis.given(
    stride=st.integers(1, 3),
    blocks=st.tuples(st.integers(3, 5), st.integers(3, 5)),
    kernel=st.tuples(st.integers(2, 6), st.integers(1, 6)),
    padding=st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
    channels=st.integers(1, 3),
)
def test_folded_is_the_loop(stride, blocks, kernel, padding, channels):
    size = [n * stride for n in blocks]
    hypothesis.assume(all(n + sum(p) >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, *size, channels)), rng.normal(size=(*kernel, channels, 4))
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    expected, *_ = reference.grouped_convolution(
        padded, weights, np.ones, (stride, stride), "valid", (1, 1)
    )
    assert ways.foldable(x.shape, weights.shape, (stride, stride), (1, 1))
    actual = ways.folded(tf.constant(x, tf.float32), weights.astype(np.float32), stride, padding)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_what_cannot_be_folded():
    image, kernel = (1, 8, 8, 3), (3, 3, 3, 4)
    assert ways.foldable(image, kernel, (2, 2), (1, 1))
    assert not ways.foldable(image, kernel, (2, 1), (1, 1))
    assert not ways.foldable(image, kernel, (2, 2), (2, 2))
    assert not ways.foldable((1, 9, 8, 3), kernel, (2, 2), (1, 1))
    assert not ways.foldable((1, 8, 8, 6), kernel, (2, 2), (1, 1))
    assert not ways.foldable(image, (1, 3, 3, 4), (2, 2), (1, 1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fast", "'native', 'split', 'taps', 'product', 'packed-N' or 'packed-N-split'.*'fast'"),
        ("packed-", "'packed-N' or 'packed-N-split'.*'packed-'"),
        ("packed-0", "'packed-N'"),
        ("packed-4-native", "'packed-N'"),
        ("packed-3", "8 filter groups cannot be packed into 3: expected a divisor of 8"),
        ("packed-3-split", "8 filter groups cannot be packed into 3: expected a divisor of 8"),
        ("product", "for 1x1 convolutions without groups"),
    ],
)
def test_lowerings_that_are_none(name, message):
    image, kernel = tf.zeros((1, 4, 4, 8)), tf.zeros((3, 3, 1, 8))
    with pytest.raises(ValueError, match=message):
        ways.convolve(image, kernel, ways.Geometry(padding="same"), name)


def test_taps_need_a_known_size_and_channels_last():
    kernel = tf.zeros((3, 3, 1, 8))
    unknown = tf.TensorSpec((None, None, 4, 8))
    traced = tf.function(lambda x: ways.convolve(x, kernel, ways.Geometry(), "taps"))
    with pytest.raises(ValueError, match="images of a known size"):
        traced.get_concrete_function(unknown)
    geometry = ways.Geometry(data_format="channels_first")
    with pytest.raises(ValueError, match="for channels last"):
        ways.convolve(tf.zeros((1, 8, 4, 4)), kernel, geometry, "taps")


def test_names_of_packings():
    assert ways.packings(8) == ["packed-1", "packed-2", "packed-4"]
    assert ways.packings(4, "split") == ["packed-1-split", "packed-2-split"]
    assert ways.packed(8, 8) == "native"
    assert ways.packed(8, 8, "split") == "split"
    assert ways.packed_groups("packed-4-split", 8) == 4
    assert [ways.after_packing(name) for name in ("packed-4", "packed-4-split", "taps")] == [
        "native",
        "split",
        "taps",
    ]
