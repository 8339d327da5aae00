"""Every layer of every network of the registry, and its lowering in every context, as data.

`python -m tests.lowering.lowerings` writes `lowerings.txt` anew; a change of it is a change of how
fast networks are.
"""

import gc
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras

import keras_roots
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.simplify import simplify
from keras_roots.layers import Conv2D
from keras_roots.lowering import choice
from keras_roots.lowering.contexts import CONTEXTS
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.passes import DIRECTIONS
from keras_roots.surgery import graph
from keras_roots.topology import RootLike

FILE = Path(__file__).with_name("lowerings.txt")
ROOTS = (1, 2, 4, 8, 16, 32, 64, keras_roots.column(4), keras_roots.tree(4))
_HEADER = (
    "# channels>filters/groups height,width kernel strides padding; then the lowerings in\n"
    f"# {', '.join(CONTEXTS)}:\n"
    f"# where they differ, of {', '.join(DIRECTIONS)}.\n"
)


def shapes_of(name: str, roots: Iterable[RootLike] = ROOTS) -> set[LayerShape]:
    """The convolutions of a network of the registry, as it stands and simplified for inference."""
    shapes = set()
    for root in roots:
        keras.backend.clear_session()
        gc.collect()
        try:
            model = keras_roots.build(name, root=root)
        except ValueError:  # A degree that it has not the channels for.
            continue
        for call in graph.trace(model).calls:
            if isinstance(call.layer, Conv2D):
                shapes.add(call.layer.shape_on(call.input_shapes[0]))
        for step in simplify(inference_graph(model)).convolutions():
            shapes.add(step.operation.shape)
    return shapes


def lowerings(shape: LayerShape) -> list[str]:
    """A word for each of `CONTEXTS`."""
    words = []
    for context in CONTEXTS:
        directions = ("forward",) if context.startswith("litert-") else DIRECTIONS
        found = [choice.choose(shape, context, direction).lowering for direction in directions]
        words.append(found[0] if len(set(found)) == 1 else ",".join(found))
    return words


def _line(shape: LayerShape) -> str:
    height, width, channels = shape.input_shape
    sizes = (
        (height, width), shape.kernel_size, shape.strides, (*shape.padding[0], *shape.padding[1])
    )  # fmt: skip
    words = [",".join(map(str, each)) for each in sizes]
    return " ".join([f"{channels}>{shape.filters}/{shape.groups}", *words, *lowerings(shape)])


def _shape(words: list[str]) -> LayerShape:
    channels, _, filters = words[0].partition(">")
    filters, _, groups = filters.partition("/")
    size, kernel, strides, padding = (tuple(map(int, word.split(","))) for word in words[1:])
    return LayerShape(
        (*size, int(channels)),
        int(filters),
        kernel,
        strides,
        (1, 1),
        (padding[:2], padding[2:]),
        int(groups),
    )


def rows() -> Iterator[tuple[LayerShape, list[str]]]:
    """What the file has: shapes, and a word for each of `CONTEXTS`."""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            words = line.split()
            yield _shape(words[:5]), words[5:]


def write(shapes: Iterable[LayerShape]) -> None:
    def order(shape: LayerShape):
        return shape.kernel_size, shape.strides, -math.prod(shape.input_shape[:2]), str(shape)

    lines = [_line(shape) for shape in sorted(shapes, key=order)]
    FILE.write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(set().union(*map(shapes_of, keras_roots.list_models())))
