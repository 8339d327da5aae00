"""A model's graph, flattened: which layers are called, on what, at which resolution.

Functional and Sequential models, nested ones included, are lists of calls
here, in an order in which they can be made. A *level*, in the sense of
`keras_roots.topology`, is one resolution: what has the same output stride.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
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
    return isinstance(layer, keras.Model) and hasattr(_graph_of(layer), "_nodes_by_depth")


def _graph_of(model: keras.Model) -> Any:
    # A Sequential model keeps its graph in a functional one, once it is built.
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
        graph = _graph_of(model)
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

    tensors = _graph_of(model).inputs
    inputs = tuple(next(numbers) for _ in tensors)
    outputs = visit(model, dict(zip(map(id, tensors), inputs, strict=True)), "")
    shapes = tuple(tuple(tensor.shape) for tensor in tensors)
    return Graph(tuple(calls), inputs, outputs, shapes)


def _bound(model: keras.Model, node: Any) -> Iterator[tuple[int, int]]:
    """Which tensor outside of a nested model is which of its inputs, by their `id`s."""
    arguments = node.arguments
    # Others than the first, such as masks, are no inputs of its graph.
    given = arguments.args[0] if arguments.args else arguments.kwargs["inputs"]
    graph = _graph_of(model)
    if isinstance(given, dict) and not isinstance(model.input, dict):
        given = [given.get(tensor.name) for tensor in graph.inputs]
    for inner, outer in zip(graph.inputs, keras.tree.flatten(given), strict=True):
        if outer is not None:  # As an optional input may be.
            yield id(inner), id(outer)


Stride = tuple[Fraction, Fraction]


@dataclasses.dataclass(frozen=True)
class _Site:
    """Where a tensor is.

    Attributes:
        stride: pixels of the image from one of its pixels to the next, down
            and across; None if it has no pixels, as after global pooling.
        image: whether it is the image still, with nothing learned before.
        passed: the areas, no coarser than its own, of what it was made of.
    """

    stride: Stride | None
    image: bool
    passed: frozenset[Fraction]


def output_strides(model: keras.Model) -> dict[int, Stride | None]:
    """The output stride of each layer's first call, by the layer's `id`."""
    strides: dict[int, Stride | None] = {}
    for call, _, site in _sites(model):
        strides.setdefault(id(call.layer), site.stride)
    return strides


def stride_text(stride: Stride | None) -> str:
    """Such as "8", or "8x4" (down, across); empty for None."""
    if stride is None:
        return ""
    down, across = stride
    return str(down) if down == across else f"{down}x{across}"


def _sites(model: keras.Model) -> Iterator[tuple[Call, bool, _Site]]:
    """Each call, whether it is made on the image, and where its output is."""
    graph = trace(model)
    sites = {
        number: _Site(stride, image=True, passed=frozenset({_area(stride)}))
        for number, stride in zip(graph.inputs, _input_strides(graph), strict=True)
    }
    for call in graph.calls:
        given = [sites[number] for number in call.inputs]
        strides = [site.stride for site in given if site.stride is not None]
        # The coarsest of several, if they differ: a vector or 1x1 map is broadcast over another.
        stride = max(strides, key=_area, default=None)
        factor = _factor(call)
        if factor is None:
            stride = None
        elif stride is not None:
            stride = (stride[0] * factor[0], stride[1] * factor[1])
        elif set(_pixels(call.layer, call.output_shapes[0])) != {1}:
            # A map made of a vector, as in a generator, is counted from anew.
            stride = (Fraction(1), Fraction(1))
        passed: frozenset[Fraction] = frozenset()
        if stride is not None:
            area = _area(stride)
            finer = (a for site in given for a in site.passed if a < area)
            passed = frozenset([area, *finer])
        on_image = all(site.image for site in given)
        site = _Site(stride, image=on_image and not _learns(call.layer), passed=passed)
        sites.update(dict.fromkeys(call.outputs, site))
        yield call, on_image, site


def _input_strides(graph: Graph) -> list[Stride]:
    """1 for the largest of the images that a model takes; more for smaller ones."""
    sizes = [_pixels(None, shape) if len(shape) == 4 else (None,) for shape in graph.input_shapes]
    known = [size for size in sizes if None not in size]
    largest = max(known, key=math.prod, default=None)
    one = (Fraction(1), Fraction(1))
    return [one if None in size or largest is None else _ratios(largest, size) for size in sizes]


def _area(stride: Stride) -> Fraction:
    return stride[0] * stride[1]


_POOLING = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_GLOBAL_POOLING = (keras.layers.GlobalMaxPooling2D, keras.layers.GlobalAveragePooling2D)
_STRIDED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    *_POOLING,
)
_SAME_STRIDE = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


def _factor(call: Call) -> Stride | None:
    """By what the call multiplies the stride; None if it leaves no pixels."""
    layer = call.layer
    if isinstance(layer, _GLOBAL_POOLING) or len(call.output_shapes[0]) != 4:
        return None
    down = across = Fraction(1)
    if isinstance(layer, _STRIDED):
        down, across = map(Fraction, layer.strides)
    elif isinstance(layer, keras.layers.Conv2DTranspose):
        down, across = (Fraction(1, stride) for stride in layer.strides)
    elif isinstance(layer, keras.layers.UpSampling2D):
        down, across = (Fraction(1, size) for size in layer.size)
    elif not isinstance(layer, _SAME_STRIDE):
        # Of a layer that is not known, the sizes tell.
        input_shapes, output_shape = call.input_shapes, call.output_shapes[0]
        if None in output_shape[1:]:
            input_shapes, output_shape = _probe(call)
        before = [_pixels(layer, shape) for shape in input_shapes if len(shape) == 4]
        after = _pixels(layer, output_shape)
        known = [size for size in before if None not in size]
        if known and None not in after:
            down, across = _ratios(max(known, key=math.prod), after)
    return down, across


_PROBE = 128
_SAME_SIZE = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.Add,
    keras.layers.Multiply,
    keras.layers.Concatenate,
)


def _probe(call: Call) -> tuple[tuple[tuple, ...], tuple]:
    """Shapes in and out of a call that leaves height and width open, of images of one size."""
    shapes = []

    def sized(value):
        if not isinstance(value, keras.KerasTensor):
            return value
        shape = tuple(value.shape)
        if len(shape) == 4:
            shape = (shape[0], *(_PROBE if size is None else size for size in shape[1:]))
        shapes.append(shape)
        return keras.KerasTensor(shape, value.dtype)

    if isinstance(call.layer, _SAME_SIZE):
        return call.input_shapes, call.output_shapes[0]
    args, kwargs = call.arguments.convert(sized)
    try:
        made = call.layer.compute_output_spec(*args, **kwargs)
    except Exception:  # Whatever a layer raises on sizes that it does not take.
        return call.input_shapes, call.output_shapes[0]
    return tuple(shapes), tuple(keras.tree.flatten(made)[0].shape)


def _pixels(layer: Any, shape: tuple) -> tuple:
    """Height and width of a feature map."""
    data_format = getattr(layer, "data_format", None) or keras.config.image_data_format()
    return shape[1:3] if data_format == "channels_last" else shape[2:4]


def _ratios(before: tuple, after: tuple) -> Stride:
    down, across = (_ratio(*sizes) for sizes in zip(before, after, strict=True))
    return down, across


def _ratio(before: int, after: int) -> Fraction:
    # A border that is lost or gained is no sub-sampling.
    if before >= after:
        return Fraction(max(1, round(before / max(after, 1))))
    return Fraction(1, max(1, round(after / max(before, 1))))


def _learns(layer: Any) -> bool:
    normalizations = (
        keras.layers.Normalization,
        keras.layers.BatchNormalization,
        keras.layers.LayerNormalization,
        keras.layers.GroupNormalization,
    )
    return bool(getattr(layer, "weights", ())) and not isinstance(layer, normalizations)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution in a model's graph.

    Attributes:
        path: see `Call`.
        layer: its layer.
        channels, filters: of a `Conv2D`; 0 of other kinds.
        stride: output stride, (down, across), of its first call, or None.
        passed: areas of the resolutions from the image to that call's
            output, both included, without those that are coarser than it.
        obstacle: why it can have no filter groups, in words; None if it can.
    """

    path: str
    layer: Any
    channels: int
    filters: int
    stride: Stride | None
    passed: frozenset[Fraction]
    obstacle: str | None

    @property
    def area(self) -> Fraction:
        """Pixels of the image to one of its output."""
        return Fraction(0) if self.stride is None else _area(self.stride)


def convolutions(model: keras.Model) -> list[Convolution]:
    """Every convolution of a functional or Sequential model, in order.

    One that is called several times is listed once, at its first call, and is
    on the image if any of its calls is.
    """
    first: dict[int, tuple[Call, _Site]] = {}
    images: set[int] = set()
    for call, on_image, site in _sites(model):
        if not getattr(call.layer, "weights", ()):
            continue
        first.setdefault(id(call.layer), (call, site))
        if on_image:
            images.add(id(call.layer))
    found = []
    for key, (call, site) in first.items():
        layer = call.layer
        is_conv2d = isinstance(layer, keras.layers.Conv2D)
        obstacle = _obstacle(layer, key in images)
        if not is_conv2d and obstacle is None:
            continue
        channels = layer.kernel.shape[-2] * layer.groups if is_conv2d else 0
        found.append(
            Convolution(
                path=call.path,
                layer=layer,
                channels=channels,
                filters=layer.filters if is_conv2d else 0,
                stride=site.stride,
                passed=site.passed,
                obstacle=obstacle,
            )
        )
    return found


GROUPED_ALREADY = "grouped already"
# What the paper leaves dense, and could have grouped.
BY_RULE = ("1x1", "on the image", None)


def _obstacle(layer: Any, on_image: bool) -> str | None:
    """Why a layer with weights has no filter groups to gain; None also if it convolves nothing."""
    depthwise = (keras.layers.DepthwiseConv2D, keras.layers.DepthwiseConv1D)
    separable = (keras.layers.SeparableConv2D, keras.layers.SeparableConv1D)
    transposed = (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    )
    if isinstance(layer, depthwise):
        return "depthwise"
    if isinstance(layer, separable):
        return "depthwise (separable)"
    if isinstance(layer, transposed):
        return "transposed"
    if isinstance(layer, (keras.layers.Conv1D, keras.layers.Conv3D)):
        return "not two-dimensional"
    if not isinstance(layer, keras.layers.Conv2D):
        if any(len(weight.shape) >= 4 for weight in layer.weights):
            return f"inside a {type(layer).__name__}, into which is not looked"
        return None
    if getattr(layer, "lora_enabled", False):
        return "adapted by LoRA"
    if getattr(layer, "quantization_mode", None):
        return "quantized"
    if set(layer.kernel_size) == {1}:
        return "1x1"
    if on_image:
        return "on the image"
    if layer.groups == layer.kernel.shape[-2] * layer.groups > 1:
        return "depthwise"
    return GROUPED_ALREADY if layer.groups > 1 else None
