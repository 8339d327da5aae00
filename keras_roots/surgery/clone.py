"""Copies of models, in which some layers are others.

`keras.models.clone_model` does the work. What is added: names of inputs are
kept, a layer that several nested models share stays shared, models that are
not trainable stay so, a layer that cannot be copied is named, and the state
that layers hold outside of their weights can be copied (statistics,
vocabularies).
"""

import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_roots.surgery import graph
from keras_roots.surgery.temporarily import replaced


def clone(
    model: keras.Model,
    copy_layer: Callable[[keras.Layer], keras.Layer],
    copy_operation: Callable[[Any], Any] = lambda operation: operation,
) -> tuple[keras.Model, list[tuple[keras.Layer, keras.Layer]]]:
    """Copies a functional or Sequential model.

    Args:
        model: has been built.
        copy_layer: makes the copy of each layer that is no nested model; its
            weights are not looked at.
        copy_operation: the same of each of keras.ops; they have no state, so
            that by default they are shared.

    Returns:
        The copy, not compiled, and each of the layers with its own.

    Raises:
        ValueError: a layer cannot be copied; it is named.
    """
    graph.trace(model)  # Raises for models of another kind.
    copies: dict[int, Any] = {}
    pairs: list[tuple[keras.Layer, keras.Layer]] = []
    models: list[tuple[keras.Model, keras.Model]] = []

    def copy(operation):
        if id(operation) not in copies:
            copies[id(operation)] = copy_once(operation)
        return copies[id(operation)]

    def copy_once(operation):
        if not isinstance(operation, keras.Layer):
            return copy_operation(operation)
        if graph.is_graph(operation):
            return copy_model(operation)
        try:
            made = copy_layer(operation)
        except Exception as error:  # Whatever a layer's get_config and from_config raise.
            raise _CopyError(operation, error) from error
        pairs.append((operation, made))
        return made

    def copy_model(model):
        inputs = None if isinstance(model, keras.Sequential) else _copy_inputs(model)
        # A compiled one would be compiled again, which needs its losses to be registered.
        try:
            with replaced(model, compiled=False):
                copied = keras.models.clone_model(model, inputs, clone_function=copy)
        except _CopyError:
            raise
        except Exception as error:  # A copy is built when it is first called.
            failed = next((source for source, target in pairs if not target.built), model)
            raise _CopyError(failed, error) from error
        models.append((model, copied))
        return copied

    copied = copy_model(model)
    for source, target in reversed(models):  # Outer models first: each sets what it holds.
        if source.dtype_policy.quantization_mode is None:
            target.dtype_policy = source.dtype_policy
        target.trainable = source.trainable
    for source, target in pairs:
        for ours, theirs in _with_inner(source, target):
            theirs.trainable = ours.trainable
    return copied, pairs


class _CopyError(ValueError):
    def __init__(self, layer: keras.Layer, error: Exception):
        message = (
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be copied: "
            f"{' '.join(str(error).split())}"
        )
        if type(layer).__module__.partition(".")[0] not in ("keras", "keras_roots"):
            message += (
                " A layer of your own needs a get_config that returns all arguments of its "
                "constructor."
            )
        super().__init__(message)


def plain_copy(layer: keras.Layer) -> keras.Layer:
    """A layer of the same class and configuration, with weights of its own."""
    if type(layer) is keras.layers.Lambda:
        # Its function would be copied as code, which Keras refuses to load.
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            **keras.Layer.get_config(layer),
        )
    return type(layer).from_config(layer.get_config())


def copy_state(source: keras.Layer, target: keras.Layer) -> None:
    """Copies weights and what else a layer has learned, into one of the same shapes."""
    if source.weights:
        target.set_weights(source.get_weights())
    for ours, theirs in _with_inner(source, target):
        _copy_beside_weights(ours, theirs)


def copy_adapted_state(source: keras.Layer, target: keras.Layer) -> None:
    """Copies what preprocessing layers have taken from data in `adapt`; of others, nothing."""
    for ours, theirs in _with_inner(source, target):
        if hasattr(ours, "adapt"):
            if ours.weights:
                theirs.set_weights(ours.get_weights())
            _copy_beside_weights(ours, theirs)


def _copy_beside_weights(source: keras.Layer, target: keras.Layer) -> None:
    """Copies what `adapt` left outside of a layer's weights."""
    if isinstance(target, keras.layers.Normalization):
        target.finalize_state()  # It computes with copies of its weights.
    if hasattr(source, "adapt") and hasattr(source, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:  # Vocabularies.
            source.save_assets(folder)
            target.load_assets(folder)


def _with_inner(
    source: keras.Layer, target: keras.Layer
) -> Iterable[tuple[keras.Layer, keras.Layer]]:
    """A layer and its copy, and then the layers that they hold, such as a wrapper's."""
    ours, theirs = source._flatten_layers(), target._flatten_layers()
    if len(ours) != len(theirs):
        raise ValueError(
            f"Layer '{source.name}' ({type(source).__name__}) cannot be copied: a copy by its "
            "get_config holds other layers than it does."
        )
    return zip(ours, theirs, strict=True)


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
