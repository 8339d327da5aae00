"""Which lowering each layer of a model gets, in words."""

import dataclasses

import keras

from keras_roots.lowering import choice
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.passes import DIRECTIONS
from keras_roots.reporting.tables import Table


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What one layer gets.

    Attributes:
        layer: its path, see `keras_roots.surgery.graph.Call`.
        shape: its shape.
        choices: for each direction of `passes.DIRECTIONS`.
    """

    layer: str
    shape: LayerShape
    choices: dict[str, choice.Choice]


def explain(model: keras.Model, context: str = "tensorflow-cpu") -> list[Explanation]:
    """The lowering of each of this package's convolutions, and why.

    Args:
        model: a functional or Sequential model, built.
        context: where it is to run: "tensorflow-cpu", "xla-cpu" or
            "accelerator"; in float32, channels last.

    Raises:
        ValueError: unknown context, or a model of another kind.
    """
    from keras_roots.layers import Conv2D
    from keras_roots.surgery import graph

    choice.check_context(context)
    found = []
    for call in graph.trace(model).calls:
        layer = call.layer
        if not isinstance(layer, Conv2D):
            continue
        shape = layer.shape_on(call.input_shapes[0])
        if len(choice.candidates(shape, context, "kernel_gradient")) == 1 == shape.groups:
            continue  # Keras's own, in all passes.
        asked = layer.lowering
        choices = {
            direction: choice.choose_here(shape, context, direction)
            if asked == "auto"
            else choice.Choice(asked, "the layer's own")
            for direction in DIRECTIONS
        }
        found.append(Explanation(call.path, shape, choices))
    return found


def table(explanations: list[Explanation]) -> Table:
    """A row for each pass; layers of one shape and choice share their rows."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for each in explanations:
        for direction, chosen in each.choices.items():
            key = (str(each.shape), direction.replace("_", " "), chosen.lowering, chosen.reason)
            rows.setdefault(key, []).append(each.layer)
    return Table(
        ("layer", "shape", "pass", "lowering", "why"),
        [
            (names[0] + (f" and {len(names) - 1} more" if names[1:] else ""), *row)
            for row, names in rows.items()
        ],
        left=5,
    )
