"""What stands beside the grouped convolutions, removed where that changes nothing.

Exact rewritings of an inference graph, each of the same function (float32
sums in another order):

* batch normalisation is folded into the convolution before it, and zero
  padding into the one after it;
* pixels that nobody reads are not computed. A ResNet whose blocks have their
  stride in a 1x1 convolution reads, at the end of a stage, one pixel of four:
  then the convolutions and the addition before take the stride themselves
  (an eighth of dense ResNet-50's multiply-accumulates, which all of its
  implementations do in vain);
* a sum of two 1x1 convolutions, as where a shortcut has a projection, is one
  convolution of both inputs' channels (of which int8 then has one scale).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_roots.export.inference_graph import (
    Activation,
    Concatenation,
    Convolution,
    InferenceGraph,
    LayerCall,
    Step,
    Subsampling,
)
from keras_roots.layers import FusedBatchNormalization


def simplify(graph: InferenceGraph) -> InferenceGraph:
    """All of them, in the order in which each makes room for the next."""
    for rewrite in (
        fold_normalization,
        fold_padding,
        skip_unread_pixels,
        merge_sums,
    ):
        graph = rewrite(graph)
    return graph


def fold_normalization(graph: InferenceGraph) -> InferenceGraph:
    """Batch normalisation becomes part of a convolution that nothing else reads."""
    for step in graph.steps:
        layer: Any = getattr(step.operation, "layer", None)
        if type(layer) not in (keras.layers.BatchNormalization, FusedBatchNormalization):
            continue
        producer = _only_for(graph, step)
        if producer is None or layer.axis not in (-1, 3):
            continue
        convolution = producer.operation
        mean, variance, gamma, beta = (
            default
            if weight is None
            else np.asarray(keras.ops.convert_to_numpy(weight), np.float64)
            for weight, default in (
                (layer.moving_mean, 0.0),
                (layer.moving_variance, 1.0),
                (layer.gamma if layer.scale else None, 1.0),
                (layer.beta if layer.center else None, 0.0),
            )
        )
        scale = gamma / np.sqrt(variance + layer.epsilon)
        folded = dataclasses.replace(
            convolution,
            kernel=(convolution.kernel * scale).astype(np.float32),
            bias=((convolution.bias - mean) * scale + beta).astype(np.float32),
        )
        graph = _replace(
            graph, producer, [Step(producer.name, folded, producer.inputs, step.outputs)]
        )
        graph = _replace(graph, step, [])
    return graph


def fold_padding(graph: InferenceGraph) -> InferenceGraph:
    """Zero padding becomes part of the convolutions that read it, if only those do."""
    for step in graph.steps:
        layer: Any = getattr(step.operation, "layer", None)
        if (
            type(layer) is not keras.layers.ZeroPadding2D
            or layer.data_format != "channels_last"
            or step.outputs[0] in graph.outputs
        ):
            continue
        readers = graph.consumers()[step.outputs[0]]
        if not all(isinstance(reader.operation, Convolution) for reader in readers):
            continue
        for reader in readers:
            convolution = reader.operation
            (top, bottom), (left, right) = convolution.padding
            (more_top, more_bottom), (more_left, more_right) = layer.padding
            padded = dataclasses.replace(
                convolution,
                input_shape=graph.shapes[step.inputs[0]],
                padding=(
                    (top + more_top, bottom + more_bottom),
                    (left + more_left, right + more_right),
                ),
            )
            graph = _replace(
                graph,
                reader,
                [Step(reader.name, _trimmed(padded), step.inputs, reader.outputs)],
            )
        graph = _replace(graph, step, [])
    return graph


def skip_unread_pixels(graph: InferenceGraph) -> InferenceGraph:
    """What only strided 1x1 convolutions read is computed at their stride."""
    for step in reversed(graph.steps):
        for number in step.outputs:
            strides = _strides_of_readers(graph, number)
            if strides is None or not _reaches_convolution(graph, number):
                continue
            for reader in graph.consumers()[number]:
                dense = dataclasses.replace(
                    reader.operation,
                    strides=(1, 1),
                    input_shape=_subsampled(graph.shapes[number], strides),
                )
                graph = _replace(graph, reader, [dataclasses.replace(reader, operation=dense)])
            graph = _subsample(graph, number, strides)
            # Again, for the graph is another now; each time there are fewer strides to move.
            return skip_unread_pixels(graph)
    return graph


def _strides_of_readers(graph: InferenceGraph, number: int) -> tuple[int, int] | None:
    """The strides of the 1x1 convolutions that read a tensor, if all is equal."""
    readers = [step.operation for step in graph.consumers()[number]]
    if number in graph.outputs or not readers:
        return None
    if not all(isinstance(reader, Convolution) and reader.pointwise for reader in readers):
        return None
    strides = {reader.strides for reader in readers}
    return strides.pop() if len(strides) == 1 and strides != {(1, 1)} else None


def _reaches_convolution(graph: InferenceGraph, number: int) -> bool:
    """Whether one before it, with elementwise steps between, would have less to do."""
    producer = graph.producers().get(number)
    if producer is None:
        return False
    if isinstance(producer.operation, Convolution):
        # TensorFlow has no dilated convolutions with strides.
        return producer.operation.dilation_rate == (1, 1)
    return _is_elementwise(graph, producer) and any(
        _is_read_once(graph, before) and _reaches_convolution(graph, before)
        for before in producer.inputs
    )


def _subsample(graph: InferenceGraph, number: int, strides: tuple[int, int]) -> InferenceGraph:
    """Makes the step that makes a tensor make only every so-manieth pixel of it."""
    producer = graph.producers()[number]
    if isinstance(producer.operation, Convolution):
        old = producer.operation
        strided = dataclasses.replace(
            old, strides=(old.strides[0] * strides[0], old.strides[1] * strides[1])
        )
        graph = _replace(
            graph, producer, [dataclasses.replace(producer, operation=_trimmed(strided))]
        )
    else:
        inputs = []
        for before in producer.inputs:
            if _is_read_once(graph, before) and _reaches_convolution(graph, before):
                graph = _subsample(graph, before, strides)
                inputs.append(before)
                continue
            fewer = _new_number(graph)
            step = Step(f"{producer.name}/subsampling", Subsampling(strides), (before,), (fewer,))
            graph = _with_shape(graph, fewer, _subsampled(graph.shapes[before], strides))
            graph = _replace(graph, producer, [step, producer])
            inputs.append(fewer)
        graph = _replace(graph, producer, [dataclasses.replace(producer, inputs=tuple(inputs))])
    return _with_shape(graph, number, _subsampled(graph.shapes[number], strides))


def merge_sums(graph: InferenceGraph) -> InferenceGraph:
    """The sum of two 1x1 convolutions is one, of the channels of both."""
    for step in graph.steps:
        if type(getattr(step.operation, "layer", None)) is not keras.layers.Add:
            continue
        made = graph.producers()
        producers = [made[number] for number in step.inputs if number in made]
        if len(step.inputs) != 2 or len(producers) != 2 or producers[0] is producers[1]:
            continue
        if not all(
            isinstance(producer.operation, Convolution)
            and producer.operation.pointwise
            and producer.operation.strides == (1, 1)
            and producer.operation.groups == 1
            and _is_read_once(graph, producer.outputs[0])
            for producer in producers
        ):
            continue
        first, second = (producer.operation for producer in producers)
        if first.output_shape != second.output_shape:
            continue
        both = _new_number(graph)
        height, width, _ = first.input_shape
        channels = first.input_shape[-1] + second.input_shape[-1]
        merged = dataclasses.replace(
            first,
            kernel=np.concatenate([first.kernel, second.kernel], axis=2),
            bias=first.bias + second.bias,
            input_shape=(height, width, channels),
        )
        inputs = tuple(producer.inputs[0] for producer in producers)
        graph = _with_shape(graph, both, (height, width, channels))
        graph = _replace(
            graph,
            step,
            [
                Step(f"{step.name}/inputs", Concatenation(), inputs, (both,)),
                Step(step.name, merged, (both,), step.outputs),
            ],
        )
        for producer in producers:
            graph = _replace(graph, producer, [])
    return graph


_POINTWISE_FUNCTIONS: tuple[Callable, ...] = tuple(
    getattr(keras.activations, name)
    for name in ("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "hard_silu",
                 "hard_sigmoid", "sigmoid", "softplus", "softsign", "tanh", "linear")
)  # fmt: skip
_POINTWISE_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
_SUMS = (keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply, keras.layers.Average)


def _is_elementwise(graph: InferenceGraph, step: Step) -> bool:
    """Whether each pixel of its output needs just the same pixel of each input."""
    shape = graph.shapes[step.outputs[0]]
    if len(shape) != 3 or any(graph.shapes[number] != shape for number in step.inputs):
        return False
    operation = step.operation
    if isinstance(operation, Activation):
        return operation.function in _POINTWISE_FUNCTIONS
    if not isinstance(operation, LayerCall):
        return False
    layer = operation.layer
    if type(layer) is keras.layers.Activation:
        return layer.activation in _POINTWISE_FUNCTIONS
    return type(layer) in (*_POINTWISE_LAYERS, *_SUMS)


def _is_read_once(graph: InferenceGraph, number: int) -> bool:
    return number not in graph.outputs and len(graph.consumers()[number]) == 1


def _only_for(graph: InferenceGraph, step: Step) -> Step | None:
    """The convolution whose output this step alone reads, if there is one."""
    producer = graph.producers().get(step.inputs[0])
    if producer is None or not isinstance(producer.operation, Convolution):
        return None
    return producer if _is_read_once(graph, step.inputs[0]) else None


def _trimmed(convolution: Convolution) -> Convolution:
    """Without the zeros at the end that its kernel never reaches."""
    padding = []
    for size, length, (before, after), pixels, stride, dilation in zip(
        convolution.input_shape[:2],
        convolution.output_shape[:2],
        convolution.padding,
        convolution.kernel.shape[:2],
        convolution.strides,
        convolution.dilation_rate,
        strict=True,
    ):
        reached = (length - 1) * stride + (pixels - 1) * dilation + 1
        padding.append((before, min(after, max(0, reached - before - size))))
    top_bottom, left_right = padding
    return dataclasses.replace(convolution, padding=(top_bottom, left_right))


def _subsampled(shape: tuple, strides: tuple[int, int]) -> tuple:
    height, width, channels = shape
    return -(-height // strides[0]), -(-width // strides[1]), channels


def _new_number(graph: InferenceGraph) -> int:
    return min(0, *graph.shapes) - 1


def _with_shape(graph: InferenceGraph, number: int, shape: tuple) -> InferenceGraph:
    return dataclasses.replace(graph, shapes={**graph.shapes, number: shape})


def _replace(graph: InferenceGraph, old: Step, new: list[Step]) -> InferenceGraph:
    """Puts steps in the place of one; those after it may take what they make."""
    steps: list[Step] = []
    for step in graph.steps:
        steps.extend(new if step.outputs == old.outputs and step.name == old.name else [step])
    return dataclasses.replace(graph, steps=tuple(steps))
