"""Models for tests of what takes any model."""

import keras
import numpy as np
import tensorflow as tf

from keras_roots import rootify


def groups_of(model):
    return {layer.name: layer.groups for layer in model.layers if hasattr(layer, "groups")}


def quietly(model, *args, **kwargs):
    return rootify(model, *args, report=None, **kwargs)


def small_model(filters=(8, 8, 8), image=(16, 16, 3)):
    inputs = x = keras.Input(image)
    for n, f in enumerate(filters):
        x = keras.layers.Conv2D(f, 3, strides=1 + n % 2, padding="same", name=f"conv{n}")(x)
    return keras.Model(inputs, x, name="small")


@keras.saving.register_keras_serializable(package="tests")
class Scale(keras.layers.Layer):
    """A custom layer with get_config."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return self.factor * self.gain * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def elaborate_model():
    """Nested models, shared layers, custom and preprocessing ones, several inputs and outputs."""
    normalize = keras.layers.Normalization(name="normalize")
    normalize.adapt(np.random.default_rng(0).normal(3, 2, size=(20, 16, 16, 3)))
    kind = keras.Input((1,), dtype="string", name="kind")
    lookup = keras.layers.StringLookup(output_mode="one_hot", name="lookup")
    lookup.adapt(np.array([["cat"], ["dog"], ["dog"]]))
    left, right = (keras.Input((16, 16, 3), name=name) for name in ("left", "right"))
    inner = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(inner)
    x = keras.layers.Conv2D(8, 3, padding="same", name="second")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    block = keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="a"),
            keras.layers.BatchNormalization(name="a_bn"),
        ],
        name="block",
    )
    x = block(block(x)) + x  # One of keras.ops.
    tower = keras.Model(inner, Scale(0.5, name="scale")(x), name="tower")
    maps = [tower(keras.layers.Rescaling(0.1)(normalize(each))) for each in (left, right)]
    merged = keras.layers.Concatenate(name="merged")(maps)
    merged = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(merged)
    pooled = keras.layers.GlobalAveragePooling2D()(merged)
    both = keras.layers.Concatenate()([pooled, lookup(kind)])
    return keras.Model(
        {"left": left, "right": right, "kind": kind},
        {"class": keras.layers.Dense(3, name="class")(both), "maps": merged},
        name="elaborate",
    )


def elaborate_inputs():
    rng = np.random.default_rng(1)
    images = {
        name: tf.constant(rng.normal(size=(2, 16, 16, 3)), tf.float32) for name in ("left", "right")
    }
    return {**images, "kind": tf.constant([["dog"], ["cat"]])}


def with_statistics(model, images):
    """The same, with the images' own batch-norm statistics, as after training."""
    layers = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return model


def randomized(model):
    """The same, with every bias and normalisation variable at random, so that tests can fail."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            weights = [rng.uniform(0.5, 1.5, w.shape) for w in weights]
        elif len(weights) == 2:
            weights[1] = rng.normal(0, 0.3, weights[1].shape)
        layer.set_weights(weights)
    return model
