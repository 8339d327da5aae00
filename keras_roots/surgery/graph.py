"""A model's graph, flattened: which layers are called, on what.

Functional and Sequential models, nested ones included, are lists of calls
here, in an order in which they can be made.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer (or of one of keras.ops).

    Attributes:
        path: the layer's name, after those of the models that hold it: "a/b".
        layer: what is called.
        inputs, outputs: numbers of the tensors; equal where tensors are.
        input_shapes, output_shapes: theirs, batch included.
        arguments: with which it is called.
    """

    path: str
    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[tuple, ...]
    output_shapes: tuple[tuple, ...]
    arguments: Any = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls of a model, the numbers of its input and output tensors, and inputs' shapes."""

    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[tuple, ...]


def is_graph(layer: Any) -> bool:
    """Whether it is a model whose calls can be listed."""
    return isinstance(layer, keras.Model) and hasattr(functional(layer), "_nodes_by_depth")


def functional(model: keras.Model) -> Any:
    """The model that has the graph: a Sequential one keeps its own in another, once it is built."""
    return model._functional if isinstance(model, keras.Sequential) else model


def trace(model: keras.Model) -> Graph:
    """Lists the calls of a functional or Sequential model.

    Raises:
        ValueError: the model is of another kind, or has not been built.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a Keras model. Received: {type(model).__name__}")
    if not is_graph(model):
        if isinstance(model, keras.Sequential):
            raise ValueError(
                f"The Sequential model '{model.name}' has not been built, so that its shapes are "
                "unknown. Put a keras.Input first, or call model.build(...)."
            )
        raise ValueError(
            f"Expected a functional or Sequential model. Received: '{model.name}', a subclassed "
            f"one ({type(model).__name__}), whose layers' order only its code knows. If it can be "
            "called on keras.Input, give the functional model of the tensors between its layers."
        )
    calls: list[Call] = []
    numbers = itertools.count()

    def visit(model: keras.Model, known: dict[int, int], prefix: str) -> tuple[int, ...]:
        graph = functional(model)
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input or any(id(tensor) not in known for tensor in node.input_tensors):
                    continue
                layer = node.operation
                path = prefix + layer.name
                if is_graph(layer):
                    bound = {inner: known[outer] for inner, outer in _bound(layer, node)}
                    made = visit(layer, bound, path + "/")
                else:
                    given = tuple(known[id(tensor)] for tensor in node.input_tensors)
                    made = tuple(next(numbers) for _ in node.outputs)
                    before, after = (
                        tuple(tuple(tensor.shape) for tensor in tensors)
                        for tensors in (node.input_tensors, node.outputs)
                    )
                    calls.append(Call(path, layer, given, made, before, after, node.arguments))
                known.update(zip(map(id, node.outputs), made, strict=True))
        return tuple(known[id(tensor)] for tensor in graph.outputs)

    tensors = functional(model).inputs
    inputs = tuple(next(numbers) for _ in tensors)
    outputs = visit(model, dict(zip(map(id, tensors), inputs, strict=True)), "")
    shapes = tuple(tuple(tensor.shape) for tensor in tensors)
    return Graph(tuple(calls), inputs, outputs, shapes)


def _bound(model: keras.Model, node: Any) -> Iterator[tuple[int, int]]:
    """Which tensor outside of a nested model is which of its inputs, by their `id`s."""
    arguments = node.arguments
    # Others than the first, such as masks, are no inputs of its graph.
    given = arguments.args[0] if arguments.args else arguments.kwargs["inputs"]
    graph = functional(model)
    if isinstance(given, dict) and not isinstance(model.input, dict):
        given = [given.get(tensor.name) for tensor in graph.inputs]
    for inner, outer in zip(graph.inputs, keras.tree.flatten(given), strict=True):
        if outer is not None:  # As an optional input may be.
            yield id(inner), id(outer)
