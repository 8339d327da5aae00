"""The output stride of every call of a model, and which resolutions it was made of.

An *output stride* is the number of pixels of the image from one pixel of a
feature map to the next. Where a layer's class does not tell by how much it
sub-samples, the sizes of its inputs and outputs do.
"""

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import keras

from keras_roots.surgery import graph

Stride = tuple[Fraction, Fraction]


@dataclasses.dataclass(frozen=True)
class Site:
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
    for call, _, site in sites(model):
        strides.setdefault(id(call.layer), site.stride)
    return strides


def stride_text(stride: Stride | None) -> str:
    """Such as "8", or "8x4" (down, across); empty for None."""
    if stride is None:
        return ""
    down, across = stride
    return str(down) if down == across else f"{down}x{across}"


def sites(model: keras.Model) -> Iterator[tuple[graph.Call, bool, Site]]:
    """Each call, whether it is made on the image, and where its output is."""
    traced = graph.trace(model)
    places = {
        number: Site(stride, image=True, passed=frozenset({area_of(stride)}))
        for number, stride in zip(traced.inputs, _input_strides(traced), strict=True)
    }
    for call in traced.calls:
        given = [places[number] for number in call.inputs]
        strides = [site.stride for site in given if site.stride is not None]
        # The coarsest of several, if they differ: a vector or 1x1 map is broadcast over another.
        stride = max(strides, key=area_of, default=None)
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
            area = area_of(stride)
            finer = (a for site in given for a in site.passed if a < area)
            passed = frozenset([area, *finer])
        on_image = all(site.image for site in given)
        site = Site(stride, image=on_image and not _learns(call.layer), passed=passed)
        places.update(dict.fromkeys(call.outputs, site))
        yield call, on_image, site


def _input_strides(traced: graph.Graph) -> list[Stride]:
    """1 for the largest of the images that a model takes; more for smaller ones."""
    sizes = [_pixels(None, shape) if len(shape) == 4 else (None,) for shape in traced.input_shapes]
    known = [size for size in sizes if None not in size]
    largest = max(known, key=math.prod, default=None)
    one = (Fraction(1), Fraction(1))
    return [one if None in size or largest is None else _ratios(largest, size) for size in sizes]


def area_of(stride: Stride) -> Fraction:
    """Pixels of the image to one of a feature map of this stride."""
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


def _factor(call: graph.Call) -> Stride | None:
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


def _probe(call: graph.Call) -> tuple[tuple[tuple, ...], tuple]:
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
