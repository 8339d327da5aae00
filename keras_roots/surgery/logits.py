"""Classifiers without the softmax at their end.

Probabilities are what a classifier is asked for; a loss, a temperature or a
rounding is of the logits before them.
"""

from typing import Any

import keras
import numpy as np

from keras_roots.surgery import graph as graphs
from keras_roots.surgery.clone import clone, copy_state, plain_copy

# Largest difference of a probability: sums in other orders.
_TOLERANCE = 1e-4


def softmax_at_end(traced: graphs.Graph) -> graphs.Call | None:
    """The call whose softmax over [batch, classes] is the model's only output.

    It is a layer with that activation, a Softmax layer, or one of keras.ops.
    None, if there is no such call, or the layer is called elsewhere, too.
    """
    for call in traced.calls:
        if call.outputs == traced.outputs and len(call.output_shapes[0]) == 2:
            is_shared = sum(each.layer is call.layer for each in traced.calls) > 1
            return call if _is_softmax(call.layer) and not is_shared else None
    return None


def _is_softmax(layer: Any) -> bool:
    if getattr(layer, "activation", None) is keras.activations.softmax:
        return True
    is_operation = not isinstance(layer, keras.Layer) and type(layer).__name__ == "Softmax"
    return (is_operation or type(layer) is keras.layers.Softmax) and layer.axis in (-1, 1)


def copy_with_logits(
    model: keras.Model,
) -> tuple[keras.Model, list[tuple[keras.Layer, keras.Layer]]]:
    """Copies a classifier, its weights too, without the softmax at its end.

    Args:
        model: functional or Sequential, of one input of a fixed size and one
            output of [batch, classes]: a softmax or logits.

    Returns:
        The copy, of one tensor to one, and each of the model's layers with its
        own, nested ones included.

    Raises:
        ValueError: the model is of another kind, a layer cannot be copied, or
            probabilities are made by something else than a softmax at the end.
        RuntimeError: the copy computes something else.
    """
    end = softmax_at_end(graphs.trace(model))

    def copy(layer):
        if end is None or layer is not end.layer:
            return plain_copy(layer) if isinstance(layer, keras.Layer) else layer
        if not hasattr(layer, "activation"):
            return _Same(name=layer.name, dtype=getattr(layer, "dtype_policy", None))
        made = plain_copy(layer)
        made.activation = keras.activations.linear
        return made

    copied, pairs = clone(model, copy, copy)
    for source, target in pairs:
        copy_state(source, target)
    copied = keras.Model(copied.inputs[0], copied.outputs[0], name=model.name)
    _check(model, copied, has_softmax=end is not None)
    return copied, pairs


class _Same(keras.layers.Layer):
    """Is called as a Softmax is."""

    def call(self, inputs, mask=None):  # noqa: ARG002
        return inputs


def _check(model: keras.Model, copied: keras.Model, *, has_softmax: bool) -> None:
    """Looks at what both make of random inputs."""
    shape = (2, *model.inputs[0].shape[1:])
    inputs = np.random.default_rng(0).uniform(0, 1, shape).astype(model.inputs[0].dtype)
    structured = keras.tree.pack_sequence_as(graphs.functional(model).input, [inputs])
    outputs = keras.tree.flatten(model(structured, training=False))[0]
    given, logits = (np.asarray(each, float) for each in (outputs, copied(inputs, training=False)))
    if has_softmax:
        highest = logits.max(axis=-1, keepdims=True)
        powers = np.exp(logits - highest)
        expected = powers / powers.sum(axis=-1, keepdims=True)
        if not np.allclose(expected, given, atol=_TOLERANCE, equal_nan=True):
            raise RuntimeError(
                f"'{model.name}' computes something else without its softmax: nothing was changed. "
                "Please report it with the model."
            )
    elif given.min() >= 0 and np.allclose(given.sum(axis=-1), 1, atol=_TOLERANCE):
        raise ValueError(
            f"Expected a model whose last layer is a softmax, or whose outputs are logits. "
            f"Received: '{model.name}', whose outputs are probabilities that something else makes. "
            "Give the model that ends with the softmax, or before it."
        )
