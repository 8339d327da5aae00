"""Parameters and multiply-accumulates of any Keras model, layer by layer.

A *multiply-accumulate* (MAC) is one multiplication and one addition; a
convolution does height x width x (channels / groups) of them for each value
of its output, a dense layer one for each weight. Two conventions:

* "plain": every parameter counts, so that the total is
  `model.count_params()`; the multiply-accumulates are those of kernels.
* "paper": the rule under which the figures of Ioannou et al.,
  arXiv:1605.06489, come out. Only weights and biases of convolutions and dense
  layers count as parameters (nothing of normalisation), and each bias
  parameter adds one to the multiply-accumulates.

Counts are those of one image, not of a batch.
"""

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import keras

from keras_roots.reporting import Table
from keras_roots.surgery import Stride, graph, output_strides, stride_text

Convention = Literal["plain", "paper"]
_CONVENTIONS = ("plain", "paper")
_ONE_AT_A_TIME = threading.RLock()  # Two counts of one model would undo each other's classes.


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        name: the layer's path in the model, nested models separated by "/".
        kind: its class, such as "Conv2D".
        output_shape: of its last call, without the batch.
        output_stride: pixels of the image to one of its output, at its first
            call, such as "8"; empty where there are none, as in a classifier,
            and in subclassed models.
        groups: filter groups of a convolution (all its channels if it is
            depthwise or separable), else None.
        calls: how often the model calls it.
        parameters: number of parameters under the convention.
        macs: multiply-accumulates of all its calls for one image; None where
            this package has no rule for a layer that has weights.
    """

    name: str
    kind: str
    output_shape: tuple
    output_stride: str
    groups: int | None
    calls: int
    parameters: int
    macs: int | None


@dataclasses.dataclass(frozen=True)
class StageCost:
    """What the layers of one resolution cost together.

    Attributes:
        output_stride: see `LayerCost`.
        layers: number of layers that cost anything.
        parameters, macs: their sums.
    """

    output_stride: str
    layers: int
    parameters: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a model costs, in total, by stage and by layer.

    Attributes:
        model: name of the model.
        convention: "plain" or "paper".
        parameters: total number of parameters.
        macs: total multiply-accumulates for one image.
        layers: one `LayerCost` for each layer that has parameters or does
            multiply-accumulates, in the order of their first call.
        stages: one `StageCost` for each output stride, in the same order.
        uncounted: names of layers whose multiply-accumulates are unknown, and
            so not in `macs`.
    """

    model: str
    convention: Convention
    parameters: int
    macs: int
    layers: tuple[LayerCost, ...]

    @property
    def stages(self) -> tuple[StageCost, ...]:
        by_stride: dict[str, list[LayerCost]] = {}
        for layer in self.layers:
            by_stride.setdefault(layer.output_stride, []).append(layer)
        return tuple(
            StageCost(
                output_stride=stride,
                layers=len(layers),
                parameters=sum(layer.parameters for layer in layers),
                macs=sum(layer.macs or 0 for layer in layers),
            )
            for stride, layers in by_stride.items()
        )

    @property
    def uncounted(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers if layer.macs is None)

    def __str__(self) -> str:
        """A table of the layers, and their sum."""
        rows = [
            (
                layer.name,
                layer.kind,
                shape_text(layer.output_shape),
                "" if layer.groups is None else str(layer.groups),
                f"{layer.parameters:,}",
                "unknown" if layer.macs is None else f"{layer.macs:,}",
            )
            for layer in self.layers
        ]
        header = ("layer", "kind", "output", "groups", "parameters", "multiply-accumulates")
        total = (self.model, "", "", "", f"{self.parameters:,}", f"{self.macs:,}")
        text = Table(header, rows, left=3, footer=[total]).text()
        if self.uncounted:
            text += f"\nNot counted, for want of a rule: {', '.join(self.uncounted)}"
        return text


def shape_text(shape: tuple) -> str:
    """Such as "56 x 56 x 64"."""
    return " x ".join(map(str, shape))


def cost(
    model: keras.Model,
    convention: Convention = "plain",
    input_shape: tuple | None = None,
) -> Cost:
    """Counts parameters and multiply-accumulates.

    The model is called on symbolic input, and every layer's call is noted
    with its shapes; so shared layers, nested and subclassed models
    count as often as they are called. Layers that Keras does not know to be
    the model's, as those that a Lambda's function refers to, are not seen.

    Args:
        model: a Keras model, built.
        convention: "plain" or "paper" (see this module).
        input_shape: of one image, without the batch, where the model leaves
            it open or has never been called; (height, width, channels).

    Raises:
        ValueError: unknown convention; a model whose input size is open, or,
            if it is subclassed, whose inputs are several or unknown.
    """
    if convention not in _CONVENTIONS:
        raise ValueError(f"Expected convention='plain' or 'paper'. Received: {convention!r}")
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a Keras model. Received: {type(model).__name__}")
    inputs = _inputs_of_one_image(model, input_shape)
    opaque = _Opaque(model)
    if not all(layer.built for layer in model._flatten_layers()):
        opaque(inputs)  # Builds them, which takes several calls.
    with _recording(model) as records:
        opaque(inputs)
    strides = output_strides(model) if graph.is_graph(model) else {}
    layers = _layer_costs(records, convention, strides)
    return Cost(
        model=model.name,
        convention=convention,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs or 0 for layer in layers),
        layers=layers,
    )


class _Opaque(keras.Layer):
    """Hides a model's graph, so that Keras must run its layers to learn the output's shape."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, inputs):
        return self.model(inputs, training=False)


@dataclasses.dataclass
class _Record:
    """One layer and the shapes of its calls, batch included."""

    layer: keras.Layer
    name: str
    shapes: list[tuple[tuple, tuple]] = dataclasses.field(default_factory=list)
    parameters: int = 0


@contextlib.contextmanager
def _recording(model: keras.Model) -> Iterator[list[_Record]]:
    """Notes every call of a layer of `model` by this thread, in the order in which they begin.

    Meanwhile its layers, and no others, are of subclasses of their own classes.
    """
    records: dict[int, _Record] = {}
    stack: list[keras.Layer] = []
    assigned: set[int] = set()
    thread = threading.get_ident()

    def call_and_note(call_layer: Callable, layer: keras.Layer, *args, **kwargs):
        if threading.get_ident() != thread or not (stack or layer is model):
            return call_layer(layer, *args, **kwargs)
        names = [*(outer.name for outer in stack[1:]), layer.name]
        record = records.setdefault(id(layer), _Record(layer, "/".join(names)))
        stack.append(layer)
        try:
            outputs = call_layer(layer, *args, **kwargs)
        finally:
            stack.pop()
        inputs = args[0] if args else next(iter(kwargs.values()), None)
        record.shapes.append((_shape(inputs), _shape(outputs)))
        # What a layer holds beyond the layers that it called is its own.
        for weight in layer.weights:
            if id(weight) not in assigned:
                assigned.add(id(weight))
                record.parameters += math.prod(weight.shape)
        return outputs

    def noting(kind: type) -> type:
        def call(layer, *args, **kwargs):
            return call_and_note(kind.__call__, layer, *args, **kwargs)

        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        return type(kind)(kind.__name__, (kind,), {"__call__": call, **names})

    ordered: list[_Record] = []
    with _ONE_AT_A_TIME, contextlib.ExitStack() as restored:
        layers = {id(layer): layer for layer in model._flatten_layers()}.values()
        kinds = {kind: noting(kind) for kind in {type(layer) for layer in layers}}
        for layer in layers:
            restored.callback(object.__setattr__, layer, "__class__", type(layer))
            object.__setattr__(layer, "__class__", kinds[type(layer)])
        yield ordered
    ordered.extend(records.values())


def _shape(tensors: Any) -> tuple:
    first = next(iter(keras.tree.flatten(tensors)), None)
    return tuple(getattr(first, "shape", ()))


def _inputs_of_one_image(model: keras.Model, input_shape: tuple | None):
    """Symbolic inputs of batch 1, in the structure that the model takes."""
    inputs = getattr(model, "inputs", None) if model.built else None
    if inputs:  # In a functional model's own structure: a tensor, a list or a dictionary.
        inputs = inputs[0] if isinstance(model, keras.Sequential) else model.input
    several = inputs is not None and len(keras.tree.flatten(inputs)) > 1
    if input_shape is not None:
        if several:
            raise ValueError(
                f"input_shape is for models of one input; '{model.name}' has several. Build it "
                "with the sizes that are to be counted."
            )
        dtype = None if inputs is None else keras.tree.flatten(inputs)[0].dtype
        return keras.Input(batch_shape=(1, *input_shape), dtype=dtype)
    if inputs is None:
        # A subclassed model remembers only the shape that it was built with.
        shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
        if not isinstance(shape, (list, tuple)) or not shape or isinstance(shape[0], (list, tuple)):
            raise ValueError(
                f"The inputs of '{model.name}' are unknown: it has not been built, or takes "
                "several. Give input_shape=(height, width, channels), or make a functional model "
                "of it: keras.Model(inputs, model(inputs))."
            )
        inputs = keras.KerasTensor(shape)

    def one_image(tensor):
        if None in tensor.shape[1:]:
            advice = (
                "Build it with a fixed size."
                if several
                else "Give input_shape=(height, width, channels)."
            )
            raise ValueError(
                f"The model '{model.name}' leaves its input size open, {tensor.shape[1:]}, and "
                f"its multiply-accumulates depend on it. {advice}"
            )
        return keras.Input(batch_shape=(1, *tensor.shape[1:]), dtype=tensor.dtype)

    return keras.tree.map_structure(one_image, inputs)


def _layer_costs(
    records: list[_Record], convention: Convention, strides: Mapping[int, Stride | None]
) -> tuple[LayerCost, ...]:
    layers = []
    for record in records:
        layer, kind = record.layer, _kind(record.layer)
        parameters, macs = record.parameters, None
        if kind is not None:
            macs = sum(_macs(layer, kind, *shapes) for shapes in record.shapes)
            if convention == "paper":
                macs += _size(getattr(layer, "bias", None)) * len(record.shapes)
        elif parameters == 0 or isinstance(layer, _FREE):
            macs = 0
        if convention == "paper" and kind is None:
            parameters = 0
        if parameters or macs or macs is None:
            layers.append(
                LayerCost(
                    name=record.name,
                    kind=type(layer).__name__,
                    output_shape=record.shapes[-1][1][1:],
                    output_stride=stride_text(strides.get(id(layer))),
                    groups=_groups(layer, kind),
                    calls=len(record.shapes),
                    parameters=parameters,
                    macs=macs,
                )
            )
    return tuple(layers)


# Layers that have weights and, under both conventions, no multiply-accumulates.
_FREE: tuple[type, ...] = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Normalization,
    keras.layers.Embedding,
    keras.layers.PReLU,
    *filter(None, [getattr(keras.layers, "RMSNormalization", None)]),  # Of later versions.
)
_KINDS: dict[str, tuple[type, ...]] = {
    "convolution": (
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
        keras.layers.DepthwiseConv1D,
        keras.layers.DepthwiseConv2D,
    ),
    "transposed": (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    ),
    "separable": (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
    "dense": (keras.layers.Dense,),
    "einsum": (keras.layers.EinsumDense,),
}


def _kind(layer: keras.Layer) -> str | None:
    # Keras makes its transposed and separable convolutions no subclasses of the plain ones.
    for kind, classes in _KINDS.items():
        if isinstance(layer, classes):
            return kind
    return None


def _macs(layer: Any, kind: str, input_shape: tuple, output_shape: tuple) -> int:
    """Multiply-accumulates of one call: kernel weights x the positions where each is used."""
    if kind == "dense":
        return math.prod(input_shape[1:-1]) * _size(layer.kernel)
    if kind == "einsum":
        inputs, kernel = layer.equation.replace(" ", "").split("->")[0].split(",")
        shared = math.prod(
            size for label, size in zip(kernel, layer.kernel.shape, strict=True) if label in inputs
        )
        return math.prod(input_shape[1:]) // shared * _size(layer.kernel)
    # Each weight of a transposed convolution meets every pixel of the input.
    shape = input_shape if kind == "transposed" else output_shape
    pixels = math.prod(shape[1:-1] if layer.data_format == "channels_last" else shape[2:])
    if kind == "separable":
        return pixels * (_size(layer.depthwise_kernel) + _size(layer.pointwise_kernel))
    return pixels * _size(layer.kernel)


def _groups(layer: Any, kind: str | None) -> int | None:
    if kind == "separable":
        return layer.depthwise_kernel.shape[-2]
    if kind == "convolution":
        return layer.groups if hasattr(layer, "groups") else layer.kernel.shape[-2]
    return None


def _size(weight: Any) -> int:
    return 0 if weight is None else math.prod(weight.shape)
