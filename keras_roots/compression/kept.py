"""A Keras 3 layer inside a tf-keras model.

What tf-keras has no counterpart of (local response normalisation, StochasticDepth, the functions
of `keras.ops`, a layer of the user's own), and what draws random numbers, whose state tf-keras does
not show, computes there as it does in Keras 3, on the same tensors
of TensorFlow: with a copy of the layer, whose variables the tf-keras model trains and saves as its
own.
"""

import functools
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import keras

from keras_roots.compression.legacy import libraries
from keras_roots.surgery import copy_state, plain_copy


class Recipe:
    """How a layer is called: what a copy of a `Kept` is made from.

    Args:
        layer: or a function, such as those of keras.ops.
        arguments: with which it is called in its model, `graph.Call.arguments`;
            None where that is one tensor.
        linear: leave its activation out.
    """

    def __init__(self, layer: Any, arguments: Any = None, *, linear: bool = False):
        self._layer, self._arguments, self._linear = layer, arguments, linear

    def copy(self) -> Any:
        """The layer's copy, of the same state, or the function itself."""
        layer = self._layer
        if not isinstance(layer, keras.Layer):
            return layer
        copied = plain_copy(layer)
        if self._arguments is not None and not copied.built:
            # As it was built itself: layers within it may be, only when it is called.
            args, kwargs = self._with(lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype))
            copied(*args, **kwargs)
        copy_state(layer, copied)
        for ours, theirs in zip(layer._flatten_layers(), copied._flatten_layers(), strict=True):
            theirs.trainable = ours.trainable
        if self._linear:
            copied.activation = keras.activations.linear
        return copied

    def called(self, copied: Any, tensors: list[Any], training: bool) -> Any:
        """What the copy makes of tensors, which come in the order of the model's own."""
        args: tuple = tuple(tensors)
        kwargs: dict[str, Any] = {}
        if self._arguments is not None:
            remaining = iter(tensors)
            args, kwargs = self._with(lambda _: next(remaining))
        if isinstance(copied, keras.Layer):
            # Layers within it are told, even if its own `call` does not take it.
            kwargs = {**kwargs, "training": training}
        return copied(*args, **kwargs)

    def _with(self, made_of: Callable[[Any], Any]) -> tuple[tuple, dict[str, Any]]:
        """The arguments, with something else for each tensor."""
        return keras.tree.map_structure(
            lambda value: made_of(value) if isinstance(value, keras.KerasTensor) else value,
            (self._arguments.args, self._arguments.kwargs),
        )


# tf-keras copies layers by their configurations, which hold a recipe by its number.
_numbers = itertools.count()
_recipes: "weakref.WeakValueDictionary[int, Recipe]" = weakref.WeakValueDictionary()


@functools.cache
def kept_class() -> Any:
    """The class of layers of tf-keras, made once that is imported."""

    base: Any = libraries().keras.layers.Layer

    class Kept(base):
        def __init__(self, number: int, **kwargs):
            super().__init__(**kwargs)
            self.recipe = _recipes[number]
            self._number = number
            self.kept = self.recipe.copy()
            self.held = [variable.value for variable in getattr(self.kept, "weights", ())]
            self.seeds = [
                variable.value
                for variable in getattr(self.kept, "variables", ())
                if variable.path.endswith("seed_generator_state")
            ]
            penalties = [
                functools.partial(variable.regularizer, variable.value)
                for variable in getattr(self.kept, "trainable_weights", ())
                if variable.regularizer is not None
            ]
            self._penalties = len(penalties)
            self.add_loss(penalties)

        @property
        def trainable_weights(self):
            found = getattr(self.kept, "trainable_weights", ()) if self.trainable else ()
            return [variable.value for variable in found]

        @property
        def non_trainable_weights(self):
            trained = {id(variable) for variable in self.trainable_weights}
            return [variable for variable in self.held if id(variable) not in trained]

        def call(self, inputs, training=None):
            tensors = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            outputs = self.recipe.called(self.kept, list(tensors), bool(training))
            losses = getattr(self.kept, "losses", [])  # Of the call, and then of the weights.
            self.add_loss(losses[: len(losses) - self._penalties])
            return outputs

        def get_config(self):
            return {**super().get_config(), "number": self._number}

    return Kept


def kept(recipe: Recipe, name: str) -> Any:
    """A layer of tf-keras that computes what the recipe says."""
    number = next(_numbers)
    _recipes[number] = recipe
    return kept_class()(number, name=name)
