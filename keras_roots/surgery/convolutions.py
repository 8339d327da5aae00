"""The convolutions of a model: where they are, why one can have no filter groups, how ours run."""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import keras

from keras_roots.layers import Conv2D
from keras_roots.lowering import DIRECTIONS, Choice, Explanation, LayerShape, choice, contexts
from keras_roots.surgery import graph, strides


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution in a model's graph.

    Attributes:
        path: see `keras_roots.surgery.graph.Call`.
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
    stride: strides.Stride | None
    passed: frozenset[Fraction]
    obstacle: str | None

    @property
    def area(self) -> Fraction:
        """Pixels of the image to one of its output."""
        return Fraction(0) if self.stride is None else strides.area_of(self.stride)


def find(model: keras.Model) -> list[Convolution]:
    """Every convolution of a functional or Sequential model, in order.

    One that is called several times is listed once, at its first call, and is
    on the image if any of its calls is.
    """
    first: dict[int, tuple[graph.Call, strides.Site]] = {}
    images: set[int] = set()
    for call, on_image, site in strides.sites(model):
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


def ours(model: keras.Model) -> Iterator[tuple[str, Conv2D, LayerShape]]:
    """The path, layer and shape of each call of one of this package's convolutions."""
    for call in graph.trace(model).calls:
        if isinstance(call.layer, Conv2D):
            yield call.path, call.layer, call.layer.shape_on(call.input_shapes[0])


def explain(model: keras.Model, context: str = "tensorflow-cpu") -> list[Explanation]:
    """The lowering of each of this package's convolutions, and why.

    Args:
        model: a functional or Sequential model, built.
        context: where it is to run: "tensorflow-cpu", "xla-cpu" or
            "accelerator"; in float32, channels last.

    Raises:
        ValueError: unknown context, or a model of another kind.
    """
    contexts.check(context)
    return [
        Explanation(
            path,
            shape,
            {
                direction: choice.choose_here(shape, context, direction)
                if layer.lowering == "auto"
                else Choice(layer.lowering, "the layer's own")
                for direction in DIRECTIONS
            },
        )
        for path, layer, shape in ours(model)
        # Of others all passes are Keras's own.
        if shape.groups > 1 or len(choice.candidates(shape, context, "kernel_gradient")) > 1
    ]
