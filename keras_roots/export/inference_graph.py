"""A model for inference: convolutions whose weights are constants, among whatever else it calls.

What `simplify` rewrites and a lowering is chosen for; called on images, on
TensorFlow, it computes what the model does.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_roots.layers import Conv2D, GroupedConv2D
from keras_roots.lowering import LayerShape, Padding, same_padding, ways
from keras_roots.surgery import graph


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution and its bias, [batch, height, width, channels].

    Attributes:
        kernel: float32 [height, width, channels / groups, filters].
        bias: float32 [filters].
        input_shape, output_shape: without the batch.
        strides, dilation_rate: (down, across).
        padding: zeros before and after, ((top, bottom), (left, right)).
        lowering: one of `keras_roots.lowering`, or "folded".
    """

    kernel: np.ndarray
    bias: np.ndarray
    input_shape: tuple[int, int, int]
    strides: tuple[int, int]
    dilation_rate: tuple[int, int]
    padding: Padding
    lowering: str = "native"

    @property
    def groups(self) -> int:
        return self.input_shape[-1] // self.kernel.shape[-2]

    @property
    def shape(self) -> LayerShape:
        return LayerShape(
            input_shape=self.input_shape,
            filters=self.kernel.shape[-1],
            kernel_size=self.kernel.shape[:2],
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            padding=self.padding,
            groups=self.groups,
        )

    @property
    def output_shape(self) -> tuple[int, int, int]:
        return self.shape.output_shape

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the kernel for one image, whatever the lowering."""
        return self.shape.macs

    @property
    def pointwise(self) -> bool:
        return self.kernel.shape[:2] == (1, 1) and self.padding == ((0, 0), (0, 0))

    def __call__(self, x):
        import tensorflow as tf

        if self.lowering == "folded":
            x = ways.folded(x, self.kernel, self.strides[0], self.padding)
        else:
            # A file shall hold the packed kernel, not the operations that pack it.
            kernel, way = self.kernel, self.lowering
            groups = ways.packed_groups(way, self.groups)
            if groups != self.groups:
                with tf.init_scope():
                    kernel = ways.pack(tf.constant(kernel), self.groups, groups).numpy()
                way = ways.after_packing(way)
            padding = "same" if self.padding == self._same() else "valid"
            if padding == "valid" and self.padding != ((0, 0), (0, 0)):
                x = tf.pad(x, [(0, 0), *self.padding, (0, 0)])
            geometry = ways.Geometry(self.strides, padding, self.dilation_rate)
            x = ways.convolve(x, kernel, geometry, way)
        return tf.nn.bias_add(x, self.bias)

    def _same(self) -> Padding:
        return same_padding(
            self.input_shape[:2], self.kernel.shape[:2], self.strides, self.dilation_rate
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FullyConnected:
    """A dense layer and its bias, on [batch, channels]; kernel [channels, units]."""

    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, x):
        import tensorflow as tf

        return tf.nn.bias_add(tf.matmul(x, self.kernel), self.bias)


@dataclasses.dataclass(frozen=True, eq=False)
class Standardization:
    """Keras's Normalization layer: (x - mean) * scale, both of a shape that x can take."""

    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, x):
        import tensorflow as tf

        return (tf.cast(x, tf.float32) - self.mean) * self.scale


@dataclasses.dataclass(frozen=True)
class Subsampling:
    """Every so-manieth pixel, from the first: x[:, ::down, ::across]."""

    strides: tuple[int, int]

    def __call__(self, x):
        import tensorflow as tf

        _, height, width, channels = x.shape
        down, across = self.strides
        if height % down or width % across:
            return x[:, ::down, ::across]
        # A slice without strides, which XNNPACK has and the other not.
        blocks = tf.reshape(x, (-1, down, width // across, across * channels))
        first = blocks[:, :1, :, :channels]
        return tf.reshape(first, (-1, height // down, width // across, channels))


@dataclasses.dataclass(frozen=True)
class Activation:
    """A layer's own activation function, after it."""

    function: Callable

    def __call__(self, x):
        return self.function(x)


@dataclasses.dataclass(frozen=True)
class Concatenation:
    """Of channels."""

    def __call__(self, *tensors):
        import tensorflow as tf

        return tf.concat(tensors, axis=-1)


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """A call of a Keras layer, or of one of keras.ops, for inference."""

    call: graph.Call

    @property
    def layer(self) -> Any:
        return self.call.layer

    def __call__(self, *tensors):
        places = self.call.arguments.keras_tensors
        values = {id(place): value for place, value in zip(places, tensors, strict=True)}
        args, kwargs = self.call.arguments.fill_in(values)
        if getattr(self.layer, "_call_has_training_arg", False):
            kwargs["training"] = False
        return self.layer(*args, **kwargs)


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation, its name, and the numbers of the tensors that it takes and makes."""

    name: str
    operation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class InferenceGraph:
    """Steps in an order in which they can be made, and the numbers of inputs and outputs.

    Attributes:
        shapes: of each tensor, without the batch.
    """

    name: str
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: Mapping[int, tuple]

    def __call__(self, *inputs):
        """From tensors with the batch first to the model's output, or a list of several."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            made = step.operation(*(values[number] for number in step.inputs))
            values.update(zip(step.outputs, keras.tree.flatten(made), strict=True))
        outputs = [values[number] for number in self.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def input_shapes(self) -> list[tuple]:
        """Of the inputs, without the batch."""
        return [self.shapes[number] for number in self.inputs]

    def consumers(self) -> dict[int, list[Step]]:
        """The steps that take each tensor."""
        found = collections.defaultdict(list)
        for step in self.steps:
            for number in step.inputs:
                found[number].append(step)
        return found

    def producers(self) -> dict[int, Step]:
        """The step that makes each tensor."""
        return {number: step for step in self.steps for number in step.outputs}

    def without_softmax(self) -> "InferenceGraph | None":
        """The same without a softmax over [batch, classes] at its end; None if there is none."""
        output = self.outputs[0]
        last = self.producers().get(output)
        if len(self.outputs) > 1 or last is None or len(last.inputs) != 1:
            return None
        if len(self.shapes[output]) != 1 or self.consumers()[output]:
            return None
        operation = last.operation
        layer: Any = getattr(operation, "layer", None)
        if not (
            getattr(operation, "function", None) is keras.activations.softmax
            or (type(layer) is keras.layers.Softmax and layer.axis in (-1, 1))
            or getattr(layer, "activation", None) is keras.activations.softmax
        ) or type(layer) not in (type(None), keras.layers.Softmax, keras.layers.Activation):
            return None
        steps = tuple(step for step in self.steps if step is not last)
        return dataclasses.replace(self, steps=steps, outputs=last.inputs)

    def convolutions(self) -> list[Step]:
        return [step for step in self.steps if isinstance(step.operation, Convolution)]

    def with_lowerings(self, lowerings: Mapping[str, str]) -> "InferenceGraph":
        """The same with these lowerings, by the names of steps; others are native.

        Raises:
            ValueError: there is no convolution of that name.
        """
        unknown = set(lowerings) - {step.name for step in self.convolutions()}
        if unknown:
            raise ValueError(f"'{self.name}' has no convolution of the name {min(unknown)!r}")
        return dataclasses.replace(
            self,
            steps=tuple(
                dataclasses.replace(
                    step,
                    operation=dataclasses.replace(
                        step.operation, lowering=lowerings.get(step.name, "native")
                    ),
                )
                if isinstance(step.operation, Convolution)
                else step
                for step in self.steps
            ),
        )


def inference_graph(model: keras.Model) -> InferenceGraph:
    """A functional or Sequential model of known sizes.

    Raises:
        ValueError: the model is of another kind, has not been built, or leaves sizes open.
    """
    traced = graph.trace(model)
    shapes = {
        number: shape[1:] for number, shape in zip(traced.inputs, traced.input_shapes, strict=True)
    }
    if any(None in shape for shape in shapes.values()):
        raise ValueError(
            f"'{model.name}' leaves its input size open, {traced.input_shapes}. Build it with an "
            "input_shape, or call it on a keras.Input of the size wanted."
        )
    steps: list[Step] = []
    extra = -1  # Numbers for the tensors that the trace does not have.
    names: collections.Counter[str] = collections.Counter()
    for call in _with_known_sizes(traced):
        names[call.path] += 1
        name = call.path if names[call.path] == 1 else f"{call.path}#{names[call.path]}"
        shapes.update(
            (number, shape[1:])
            for number, shape in zip(call.outputs, call.output_shapes, strict=True)
        )
        operation: Any
        if _is_plain(call, (keras.layers.Conv2D, Conv2D, GroupedConv2D), 4):
            operation = _convolution(call)
        elif _is_plain(call, (keras.layers.Dense,), 2):
            kernel, bias = _weights(call.layer, call.layer.units)
            operation = FullyConnected(kernel, bias)
        elif type(call.layer) is keras.layers.Normalization and not call.layer.invert:
            # Left in the layer its constants are eager tensors, which tf2onnx takes for inputs.
            steps.append(Step(name, _standardization(call.layer), call.inputs, call.outputs))
            continue
        else:
            steps.append(Step(name, LayerCall(call), call.inputs, call.outputs))
            continue
        before, activation = call.outputs, call.layer.activation
        if activation is not keras.activations.linear:
            before, extra = (extra,), extra - 1
            shapes[before[0]] = shapes[call.outputs[0]]
        steps.append(Step(name, operation, call.inputs, before))
        if before != call.outputs:
            steps.append(Step(f"{name}/activation", Activation(activation), before, call.outputs))
    return InferenceGraph(model.name, tuple(steps), traced.inputs, traced.outputs, shapes)


def _with_known_sizes(traced: graph.Graph) -> Iterator[graph.Call]:
    """The calls with the shapes that they have here; nested models may leave theirs open."""
    if not any(
        None in shape[1:]
        for call in traced.calls
        for shape in (*call.input_shapes, *call.output_shapes)
    ):
        yield from traced.calls
        return
    tensors = {
        number: keras.KerasTensor(shape)
        for number, shape in zip(traced.inputs, traced.input_shapes, strict=True)
    }
    for call in traced.calls:
        places = call.arguments.keras_tensors
        given = {
            id(place): tensors[number] for place, number in zip(places, call.inputs, strict=True)
        }
        args, kwargs = call.arguments.fill_in(given)
        made = keras.tree.flatten(call.layer.compute_output_spec(*args, **kwargs))
        tensors.update(zip(call.outputs, made, strict=True))
        yield dataclasses.replace(
            call,
            input_shapes=tuple(tuple(tensors[number].shape) for number in call.inputs),
            output_shapes=tuple(tuple(tensor.shape) for tensor in made),
        )


def _is_plain(call: graph.Call, kinds: tuple[type, ...], rank: int) -> bool:
    """Whether a layer is one of Keras's or ours, channels last, and its weights are all of it."""
    layer = call.layer
    return (
        type(layer) in kinds
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and getattr(layer, "padding", "same") in ("same", "valid")
        and len(call.inputs) == 1
        and len(call.input_shapes[0]) == rank
        and not getattr(layer, "lora_enabled", False)
        and layer.dtype_policy.quantization_mode is None
    )


def _convolution(call: graph.Call) -> Convolution:
    layer, shape = call.layer, call.input_shapes[0][1:]
    padding: Padding = ((0, 0), (0, 0))
    if layer.padding == "same":
        padding = same_padding(shape[:2], layer.kernel_size, layer.strides, layer.dilation_rate)
    kernel, bias = _weights(layer, layer.filters)
    return Convolution(
        kernel=kernel,
        bias=bias,
        input_shape=shape,
        strides=tuple(layer.strides),
        dilation_rate=tuple(layer.dilation_rate),
        padding=padding,
    )


def _standardization(layer: Any) -> Standardization:
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(each), np.float32)
        for each in (layer.mean, layer.variance)
    )
    scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return Standardization(mean, scale.astype(np.float32))


def _weights(layer: Any, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float32)
    if not layer.use_bias:
        return kernel, np.zeros(outputs, np.float32)
    return kernel, np.asarray(keras.ops.convert_to_numpy(layer.bias), np.float32)
