"""Copies of models, in which some layers are others.

`keras.models.clone_model` does the work. What is added: names of inputs are
kept, a layer that several nested models share stays shared, a layer that
cannot be copied is named, and the state that layers hold outside of their
weights can be copied (statistics, vocabularies).
"""

import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras

from keras_roots import graph


def clone(
    model: keras.Model, copy_layer: Callable[[keras.Layer], keras.Layer]
) -> tuple[keras.Model, list[tuple[keras.Layer, keras.Layer]]]:
    """Copies a functional or Sequential model.

    Args:
        model: has been built.
        copy_layer: makes the copy of each layer that is no nested model; its
            weights are not looked at.

    Returns:
        The copy, not compiled, and each of the layers with its own.

    Raises:
        ValueError: a layer cannot be copied; it is named.
    """
    graph.trace(model)  # Raises for models of another kind.
    copies: dict[int, Any] = {}
    pairs: list[tuple[keras.Layer, keras.Layer]] = []

    def copy(operation):
        if id(operation) not in copies:
            copies[id(operation)] = copy_once(operation)
        return copies[id(operation)]

    def copy_once(operation):
        if not isinstance(operation, keras.Layer):
            return operation  # One of keras.ops; it has no state.
        if graph.is_graph(operation):
            return copy_model(operation)
        try:
            made = copy_layer(operation)
        except Exception as error:  # Whatever a layer's get_config and from_config raise.
            raise ValueError(
                f"Layer '{operation.name}' ({type(operation).__name__}) cannot be copied: "
                f"{' '.join(str(error).split())} A layer of your own needs a get_config that "
                "returns all arguments of its constructor."
            ) from error
        pairs.append((operation, made))
        return made

    def copy_model(model):
        inputs = None if isinstance(model, keras.Sequential) else _copy_inputs(model)
        # A compiled one would be compiled again, which needs its losses to be registered.
        with mock.patch.object(model, "compiled", False):
            return keras.models.clone_model(model, inputs, clone_function=copy)

    return copy_model(model), pairs


def plain_copy(layer: keras.Layer) -> keras.Layer:
    """A layer of the same class and configuration, with weights of its own."""
    return type(layer).from_config(layer.get_config())


def copy_state(source: keras.Layer, target: keras.Layer) -> None:
    """Copies weights and what else a layer has learned, into one of the same shapes."""
    if source.weights:
        target.set_weights(source.get_weights())
    copy_adapted_state(source, target, weights=False)


def copy_adapted_state(source: keras.Layer, target: keras.Layer, weights: bool = True) -> None:
    """Copies what a preprocessing layer has taken from data in `adapt`; of others, nothing."""
    if not hasattr(source, "adapt"):
        return
    if weights and source.weights:
        target.set_weights(source.get_weights())
    if isinstance(target, keras.layers.Normalization):
        target.finalize_state()  # It computes with copies of its weights.
    if hasattr(source, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:  # Vocabularies.
            source.save_assets(folder)
            target.load_assets(folder)


def _copy_inputs(model: keras.Model):
    """New inputs in the model's structure; Keras's own copies do not keep the layers' names."""
    layers = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }

    def copy(tensor):
        config = layers[id(tensor)].get_config()
        return keras.layers.InputLayer.from_config(config).output

    return keras.tree.map_structure(copy, model.input)
