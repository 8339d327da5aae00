"""A Keras 3 layer inside a tf-keras model.

What tf-keras has no counterpart of (local response normalisation, StochasticDepth, the functions
of `keras.ops`, a layer of the user's own) computes there as it does in Keras 3, on the same tensors
of TensorFlow: with a copy of the layer, whose variables the tf-keras model trains and saves as its
own.
"""

import functools
import itertools
import weakref
from typing import Any

import keras

from keras_roots.clone import copy_state, plain_copy
from keras_roots.compression.legacy import libraries


class Recipe:
    """How a layer is called: what a copy of a `Kept` is made from.

    Args:
        layer: or a function of keras.ops.
        arguments: with which it is called in its model, `graph.Call.arguments`;
            None where that is one tensor.
    """

    def __init__(self, layer: Any, arguments: Any = None):
        self._layer, self._arguments = layer, arguments

    def copy(self) -> Any:
        """The layer's copy, of the same state, or the function itself."""
        layer = self._layer
        if not isinstance(layer, keras.Layer):
            return layer
        copied = plain_copy(layer)
        build = layer.get_build_config()
        if build and not copied.built:
            copied.build_from_config(build)
        copy_state(layer, copied)
        copied.trainable = layer.trainable
        return copied

    def called(self, copied: Any, tensors: list[Any], training: Any) -> Any:
        """What the copy makes of tensors, which come in the order of the model's own."""
        args, kwargs = tuple(tensors), {}
        if self._arguments is not None:
            remaining = iter(tensors)
            args, kwargs = keras.tree.map_structure(
                lambda value: next(remaining) if isinstance(value, keras.KerasTensor) else value,
                (self._arguments.args, self._arguments.kwargs),
            )
        if getattr(copied, "_call_has_training_arg", False) and kwargs.get("training") is None:
            kwargs = {**kwargs, "training": training}
        return copied(*args, **kwargs)


# tf-keras copies layers by their configurations, which hold a recipe by its number.
_numbers = itertools.count()
_recipes: "weakref.WeakValueDictionary[int, Recipe]" = weakref.WeakValueDictionary()


@functools.cache
def kept_class() -> type:
    """The class of layers of tf-keras, made once that is imported."""

    class Kept(libraries().keras.layers.Layer):
        def __init__(self, number: int, **kwargs):
            super().__init__(**kwargs)
            self.recipe = _recipes[number]
            self._number = number
            self.kept = self.recipe.copy()
            # As tf-keras finds a layer's weights; that it trains them is told by themselves.
            self.held = [variable.value for variable in getattr(self.kept, "weights", ())]

        def call(self, inputs, training=None):
            tensors = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            return self.recipe.called(self.kept, list(tensors), bool(training))

        def get_config(self):
            return {**super().get_config(), "number": self._number}

    return Kept


def kept(recipe: Recipe, name: str) -> Any:
    """A layer of tf-keras that computes what the recipe says."""
    number = next(_numbers)
    _recipes[number] = recipe
    return kept_class()(number, name=name)
