"""Which layers are compressed, and which are left alone."""

import difflib
from collections.abc import Iterable, Sequence

import keras

from keras_roots.compression.bridge import Bridge
from keras_roots.compression.legacy import libraries
from keras_roots.surgery import graph, without_auxiliary_heads

DEFAULT = "default"
_KINDS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, keras.layers.Dense)


def layers_with_kernels(model: keras.Model) -> list[str]:
    """Names of the convolutions and dense layers, in the order in which they are called.

    Those of nested models have the names of these before them: "a/b".
    """
    found: dict[int, str] = {}
    for call in graph.trace(without_auxiliary_heads(model)).calls:
        if isinstance(call.layer, _KINDS):
            found.setdefault(id(call.layer), call.path)
    return list(found.values())


def left_alone(model: keras.Model, skip: str | Sequence[str]) -> list[str]:
    """The names of the layers that are not to be compressed.

    Args:
        skip: names; or "default": the first and the last layer with a kernel,
            which are the convolution that sees the image and the classifier.
            They have few weights, and most depends on them.

    Raises:
        ValueError: the model has no such layer.
    """
    names = layers_with_kernels(model)
    if not names:
        raise ValueError(f"'{model.name}' has no convolutions or dense layers to compress.")
    if isinstance(skip, str):
        if skip != DEFAULT:
            raise ValueError(f"Expected skip as a list of names or {DEFAULT!r}. Received: {skip!r}")
        return list(dict.fromkeys((names[0], names[-1])))
    for name in skip:
        if name not in names:
            alike = difflib.get_close_matches(name, names, 3) or names[:3]
            raise ValueError(
                f"'{model.name}' has no layer {name!r} with a kernel; it has {', '.join(alike)}"
                f"{', ...' if len(names) > len(alike) else ''}"
            )
    return list(skip)


def compressed(bridge: Bridge, skip: str | Sequence[str]) -> dict[str, str]:
    """The layers to compress: their names in the model, by those in tf-keras.

    Raises:
        ValueError: none are left.
    """
    alone = left_alone(bridge.model, skip)
    found = {name: path for name, path in kernels(bridge).items() if path not in alone}
    if not found:
        raise ValueError(
            f"No layer of '{bridge.model.name}' is left to compress: {listed(alone)} are left "
            "alone. Give skip."
        )
    return found


def kernels(bridge: Bridge) -> dict[str, str]:
    """The layers whose kernels can be compressed: their names, by those in tf-keras."""
    kinds = (libraries().keras.layers.Conv2D, libraries().keras.layers.Dense)
    found: dict[str, str] = {}
    for call in graph.trace(bridge.model).calls:
        for name in bridge.names.get(id(call.layer), ()):
            if type(bridge.legacy.get_layer(name)) in kinds:
                found.setdefault(name, call.path)
    return found


def listed(names: Iterable[str], most: int = 5) -> str:
    """Some names, and how many more."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
