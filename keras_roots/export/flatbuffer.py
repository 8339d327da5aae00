"""Inside a TFLite file: its operators, and a file of each alone."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of a TFLite file.

    Attributes:
        kind: such as "CONV_2D"; "CUSTOM Name" of a custom one.
        dtype: of its first input, such as "FLOAT32".
        shapes: of its inputs (constants included), batch included.
        output_shape: of its first output.
        file: content of a TFLite file that holds this operator only.
    """

    kind: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    file: bytes = dataclasses.field(repr=False, default=b"")

    @property
    def groups(self) -> int | None:
        """Filter groups of a convolution, else None."""
        if self.kind == "CONV_2D":
            return self.shapes[0][-1] // self.shapes[1][-1]
        return self.shapes[0][-1] if self.kind == "DEPTHWISE_CONV_2D" else None

    @property
    def label(self) -> str:
        """What it does, on what; the same for operators that take the same time."""
        given = [_text(shape) for shape in self.shapes if len(shape) > 1]
        if self.groups is not None:
            given = [f"{given[0]} kernel {given[1]}"]
        return f"{self.kind} {self.dtype} {', '.join(given)} -> {_text(self.output_shape)}"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def read(content: bytes) -> Any:
    """The file as objects (schema.ModelT)."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def operators(content: bytes, *, cut: bool = False) -> Iterator[Operator]:
    """The operators in the order in which they run.

    Args:
        content: of the file.
        cut: whether to make a file of each as well.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = read(content)
    names = kinds(model)
    dtypes = {n: name for name, n in vars(schema.TensorType).items() if isinstance(n, int)}
    for graph in model.subgraphs:
        for operator in graph.operators:
            given = [place for place in operator.inputs if place >= 0]
            yield Operator(
                kind=names[operator.opcodeIndex],
                dtype=dtypes[graph.tensors[given[0]].type] if given else "",
                shapes=tuple(_shape(graph.tensors[place]) for place in given),
                output_shape=_shape(graph.tensors[operator.outputs[0]]),
                file=_alone(model, graph, operator) if cut else b"",
            )


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def kinds(model: Any) -> list[str]:
    """The kind of each operator code of `read`."""
    from ai_edge_litert import schema_py_generated as schema

    names = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
    found = []
    for code in model.operatorCodes:
        # Old readers know the first 127 operators by the deprecated field only.
        kind = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        found.append(f"CUSTOM {code.customCode.decode()}" if kind == "CUSTOM" else kind)
    return found


def _alone(model: Any, graph: Any, operator: Any) -> bytes:
    """A file of one operator: what it reads from others becomes an input, constants stay."""
    from ai_edge_litert import schema_py_generated as schema

    one, part = schema.ModelT(), schema.SubGraphT()
    one.version, one.operatorCodes = model.version, [model.operatorCodes[operator.opcodeIndex]]
    one.buffers, part.tensors, part.inputs = [schema.BufferT()], [], []
    numbers: dict[int, int] = {-1: -1}
    for place in [*operator.inputs, *operator.outputs]:
        if place in numbers:
            continue
        numbers[place] = len(part.tensors)
        tensor = copy.copy(graph.tensors[place])
        data = model.buffers[tensor.buffer].data
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = data
            tensor.buffer = len(one.buffers)
            one.buffers.append(buffer)
        elif place in operator.inputs:
            part.inputs.append(numbers[place])
        part.tensors.append(tensor)
    alone = copy.copy(operator)
    alone.opcodeIndex = 0
    alone.inputs = [numbers[place] for place in operator.inputs]
    alone.outputs = [numbers[place] for place in operator.outputs]
    part.operators, part.outputs = [alone], alone.outputs
    one.subgraphs = [part]
    return packed(one)


def packed(model: Any) -> bytes:
    """The content of a file of such objects."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_softmax(content: bytes) -> bytes:
    """A file whose only output, float32 [1, classes], goes through a softmax at last."""
    from ai_edge_litert import schema_py_generated as schema

    model = read(content)
    graph = model.subgraphs[0]
    (scores,) = (int(place) for place in graph.outputs)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    code.version = 1
    model.operatorCodes.append(code)
    probabilities = copy.copy(graph.tensors[scores])
    probabilities.name = b"probabilities"
    graph.tensors.append(probabilities)
    softmax = schema.OperatorT()
    softmax.opcodeIndex = len(model.operatorCodes) - 1
    softmax.inputs, softmax.outputs = [scores], [len(graph.tensors) - 1]
    softmax.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
    softmax.builtinOptions = schema.SoftmaxOptionsT()
    softmax.builtinOptions.beta = 1.0
    graph.operators.append(softmax)
    graph.outputs = softmax.outputs
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = softmax.outputs[0]
    return packed(model)


def kernel_scales(content: bytes) -> list[np.ndarray]:
    """Of an int8 file: the scales of each convolution's kernel, one for each filter."""
    model = read(content)
    names = kinds(model)
    return [
        np.asarray(graph.tensors[operator.inputs[1]].quantization.scale)
        for graph in model.subgraphs
        for operator in graph.operators
        if names[operator.opcodeIndex] in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
