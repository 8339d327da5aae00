"""Models that tf-keras cannot have, and what is said of them."""

import keras
import numpy as np
import pytest

from keras_roots.compression.bridge import to_legacy
from tests.round_trips import (
    IMAGE,
)


class WithoutConfig(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__(name="mine")
        self.factor = factor

    def call(self, x):
        return x * self.factor


class Times(keras.layers.Layer):
    def call(self, x, by=1.0):
        return x * by


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            lambda x: keras.layers.Conv2D(2, 3, kernel_constraint="max_norm", name="a")(x),
            r"Layer 'a' \(Conv2D\) cannot be had .*it has a kernel_constraint, which would be lost",
        ),
        (
            lambda x: keras.layers.SeparableConv2D(2, 3, pointwise_constraint="non_neg", name="a")(
                x
            ),
            r"'a' \(SeparableConv2D\) .*it has a pointwise_constraint, which would be lost",
        ),
        (
            lambda x: keras.layers.PReLU(alpha_constraint="non_neg", name="a")(x),
            r"'a' \(PReLU\) .*its alpha has a constraint, which would be lost",
        ),
        (
            lambda x: keras.layers.Dense(
                4, kernel_regularizer=keras.regularizers.OrthogonalRegularizer(), name="a"
            )(x),
            r"'a' \(Dense\) .*its kernel_regularizer is OrthogonalRegularizer, none of L1 and L2",
        ),
        (
            lambda x: keras.layers.Dense(4, activation="silu", activity_regularizer="l1", name="a")(
                x
            ),
            r"'a' \(Dense\) .*its activity_regularizer is of an activation",
        ),
        (lambda x: WithoutConfig(2.0)(x), r"Layer 'mine' \(WithoutConfig\) cannot be had .*factor"),
        (
            lambda x: keras.Sequential([WithoutConfig(2.0)], name="block")(x),
            r"Layer 'block/mine' \(WithoutConfig\) cannot be had",
        ),
        (
            lambda x: keras.layers.Conv2D(2, 3, activation=abs_of, name="a")(x),
            r"'a' \(Conv2D\) .*it cannot be copied: .*abs_of",
        ),
    ],
)
def test_layers_that_cannot_be_had_are_named(outputs, message):
    inputs = keras.Input(IMAGE)
    with pytest.raises(ValueError, match=message):
        to_legacy(keras.Model(inputs, outputs(inputs)))


def abs_of(x):
    return keras.ops.abs(x)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_models_that_cannot_be_had():
    subclassed = Subclassed(name="mine")
    subclassed(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="functional or Sequential model. Received: 'mine'"):
        to_legacy(subclassed)
    with pytest.raises(ValueError, match="'empty' has not been built"):
        to_legacy(keras.Sequential([keras.layers.Dense(2)], name="empty"))
    inputs = keras.Input(IMAGE)
    half = keras.layers.Conv2D(2, 3, dtype="mixed_float16", name="half")(inputs)
    with pytest.raises(ValueError, match="computes in float32. .*'half' computes in float16"):
        to_legacy(keras.Model(inputs, half))
    inputs = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="one input size. Received: 'open'"):
        to_legacy(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="open"))


def test_what_computes_something_else_is_an_error():
    inputs = keras.Input((4,))
    times = Times()
    model = keras.Model(inputs, times(times(inputs, by=2.0), by=3.0), name="two_ways")
    with pytest.raises(RuntimeError, match="'two_ways' computes something else in tf-keras"):
        to_legacy(model)
