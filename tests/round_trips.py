"""Models through the bridge to tf-keras and back, with weights that tell layers apart."""

import keras
import numpy as np
import tensorflow as tf

from keras_roots import layers
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.legacy import libraries
from keras_roots.surgery import graph
from keras_roots.surgery.auxiliary_heads import without_auxiliary_heads

IMAGE = (8, 8, 4)


def drawn(rng, name, shape):
    """Random values for a weight, such that feature maps stay of one size."""
    if "variance" in name or "gamma" in name:
        return rng.uniform(0.5, 1.5, shape)
    scale = 0.3 if len(shape) < 2 else np.sqrt(1.5 / max(np.prod(shape[:-1]), 1))
    return rng.normal(0, scale, shape)


def draw(model, seed):
    """Gives each weight other values; but not those that come from `adapt`."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if not hasattr(layer, "adapt"):
            for variable in layer._trainable_variables + layer._non_trainable_variables:
                if "float" in variable.dtype:
                    variable.assign(drawn(rng, variable.name, variable.shape))
    return model


def draw_legacy(model, seed):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if not hasattr(getattr(layer, "kept", None), "adapt"):
            for variable in layer.weights:
                if variable.dtype.is_floating:
                    variable.assign(drawn(rng, variable.name, variable.shape))


def random_inputs(model, seed=1):
    rng = np.random.default_rng(seed)
    return [
        tf.constant(rng.normal(size=(2, *tensor.shape[1:])), tensor.dtype)
        for tensor in model.inputs
    ]


def outputs_of(model, inputs):
    """Of a model of Keras or of tf-keras, as a list of arrays."""
    structured = inputs if len(inputs) > 1 else inputs[0]
    if isinstance(model, keras.Model):
        structured = keras.tree.pack_sequence_as(graph.functional(model).input, inputs)
    outputs = keras.tree.flatten(model(structured, training=False))
    return [np.asarray(output, np.float64) for output in outputs]


def assert_same_function(one, other, inputs):
    for ours, theirs in zip(outputs_of(one, inputs), outputs_of(other, inputs), strict=True):
        assert np.isfinite(ours).all()
        assert ours.std() > 0
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=2e-4 * np.abs(ours).max())


def bits(model):
    return [(tuple(weight.shape), np.asarray(weight).tobytes()) for weight in model.weights]


def geometry(model):
    """Groups and kernels' shapes of all Conv2D, of a model of Keras or of tf-keras."""
    kinds = (keras.layers.Conv2D, layers.Conv2D, layers.GroupedConv2D)
    kinds += (libraries().keras.layers.Conv2D,)
    found = [layer for layer in flat_layers(model) if type(layer) in kinds]
    return sorted((each.groups, tuple(each.kernel.shape)) for each in found)


def flat_layers(model):
    if not isinstance(model, keras.Model):
        return model.layers
    return list({id(call.layer): call.layer for call in graph.trace(model).calls}.values())


def assert_round_trip(model, inputs=None, *, plain=True):
    """There, back, and back after another training.

    Args:
        plain: each layer is one of the same name there, with all its weights.
    """
    draw(model, 0)
    before = bits(model)
    bridge = to_legacy(model)
    ours = without_auxiliary_heads(model)
    inputs = inputs or random_inputs(ours)
    assert_same_function(ours, bridge.legacy, inputs)
    if plain:
        assert geometry(bridge.legacy) == geometry(ours)
    copy = bridge.back()
    assert bits(copy) == bits(ours)
    assert type(copy) is type(ours)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in ours.layers]
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in ours.weights}

    draw_legacy(bridge.legacy, 1)
    changed = bridge.back()
    assert_same_function(changed, bridge.legacy, inputs)
    moved = zip(outputs_of(changed, inputs), outputs_of(ours, inputs), strict=True)
    assert max(np.abs(one - other).max() for one, other in moved) > 0
    if plain:
        for layer in changed.layers:
            if layer.weights and not isinstance(layer, keras.Model):
                theirs = bridge.legacy.get_layer(layer.name)
                theirs = getattr(theirs, "held", theirs.weights)
                for mine, weight in zip(layer.weights, theirs, strict=True):
                    assert np.asarray(mine).tobytes() == weight.numpy().tobytes()
    assert bits(model) == before
    assert bits(copy) == bits(ours)
    return bridge
