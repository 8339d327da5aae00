"""Which layers are compressed."""

import keras
import pytest

import keras_roots
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.selection import (
    compressed,
    kernels,
    layers_with_kernels,
    left_alone,
    listed,
)


def model_of_many_kinds():
    """A nested block that is called twice, and one of each kind."""
    inner = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", groups=2, name="grouped")(inner)
    block = keras.Model(inner, keras.layers.BatchNormalization(name="bn")(x), name="block")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = block(block(x))
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.SeparableConv2D(6, 3, name="separable")(x)
    x = keras.layers.Conv2DTranspose(4, 3, name="transposed")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="classifier")(x), name="many")


NAMES = ["first", "block/grouped", "separable", "classifier"]


def test_names_are_in_the_order_of_calls_each_once():
    assert layers_with_kernels(model_of_many_kinds()) == NAMES


def test_auxiliary_heads_are_not_among_them():
    arguments = {"root": 4, "input_shape": (80, 80, 3), "classes": 10}
    with_heads = keras_roots.build("googlenet", auxiliary_heads=True, **arguments)
    plain = keras_roots.build("googlenet", **arguments)
    names = layers_with_kernels(with_heads)
    assert names == layers_with_kernels(plain)
    assert len(names) > 50


def test_by_default_the_first_and_the_last_are_left_alone():
    assert left_alone(model_of_many_kinds(), "default") == ["first", "classifier"]
    assert left_alone(model_of_many_kinds(), ()) == []
    assert left_alone(model_of_many_kinds(), ("separable",)) == ["separable"]
    inputs = keras.Input((4,))
    single = keras.Model(inputs, keras.layers.Dense(2, name="only")(inputs))
    assert left_alone(single, "default") == ["only"]


def test_names_that_are_none():
    model = model_of_many_kinds()
    with pytest.raises(ValueError, match=r"'many' has no layer 'frist' .* it has first, \.\.\.$"):
        left_alone(model, ["classifier", "frist"])
    # Alike none: the first three.
    with pytest.raises(ValueError, match=r"it has first, block/grouped, separable, \.\.\.$"):
        left_alone(model, ["0"])
    # They exist, but have no kernel to compress.
    for name in ("pool", "block/bn", "transposed", "grouped"):
        with pytest.raises(ValueError, match=f"no layer '{name}' with a kernel"):
            left_alone(model, [name])
    with pytest.raises(ValueError, match="Expected skip as a list .*'default'. Received: 'first'"):
        left_alone(model, "first")


def test_without_kernels():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.ReLU()(inputs), name="bare")
    with pytest.raises(ValueError, match="'bare' has no convolutions or dense layers to compress"):
        left_alone(model, "default")


def test_what_is_compressed():
    bridge = to_legacy(model_of_many_kinds())
    # Of a separable convolution the pointwise part; the others by the names there.
    expected = {
        "first": "first",
        "block_grouped": "block/grouped",
        "separable_pointwise": "separable",
        "classifier": "classifier",
    }
    assert kernels(bridge) == expected
    assert list(compressed(bridge, "default").values()) == NAMES[1:-1]
    assert compressed(bridge, []) == expected
    assert compressed(bridge, ["block/grouped"]).keys() == expected.keys() - {"block_grouped"}
    with pytest.raises(ValueError, match=r"No layer of 'many' is left to compress: first, block/"):
        compressed(bridge, NAMES)


def test_nothing_is_left_of_a_small_model():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="top")(hidden), name="small")
    with pytest.raises(ValueError, match="left to compress: hidden, top are left alone. Give skip"):
        compressed(to_legacy(model), "default")


def test_long_lists_are_shortened():
    assert listed(["a", "b"]) == "a, b"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert listed("abc", most=2) == "a, b and 1 more"
