"""Operators of int8 files that XNNPACK has for real numbers only.

One of them between others splits a file: what comes before and after it are two delegates, and it
runs in LiteRT's own kernels, on one thread. Given real numbers (a DEQUANTIZE before it and a
QUANTIZE after, which XNNPACK has) it stays with the others, and is more exact.
"""

import copy
from typing import Any

import numpy as np

from keras_roots.export import flatbuffer
from keras_roots.export.operator_check import delegation


def with_real_operators(content: bytes) -> bytes:
    """The file with these operators on real numbers, if XNNPACK then runs more of it."""
    found = delegation(content)
    while found.outside:
        changed = _on_real_numbers(content, set(found.outside))
        after = delegation(changed)
        if (len(after.outside), after.delegates) >= (len(found.outside), found.delegates):
            break
        content, found = changed, after
    return content


def _on_real_numbers(content: bytes, places: set[int]) -> bytes:
    """The file with the operators at these places so, those whose tensors are all int8."""
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.read(content)
    codes = {}
    # Versions: of DEQUANTIZE the second takes int8.
    for kind, version in (("DEQUANTIZE", 2), ("QUANTIZE", 1)):
        codes[kind] = len(model.operatorCodes)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = version
        model.operatorCodes.append(code)

    def conversion(kind: str, before: int, after: int) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = codes[kind]
        operator.inputs, operator.outputs = [before], [after]
        return operator

    graph = model.subgraphs[0]

    def is_constant(number: int) -> bool:
        return model.buffers[graph.tensors[number].buffer].data is not None

    def real(number: int) -> int:
        """A tensor of the same values as real numbers, which a constant has at once."""
        tensor = copy.copy(graph.tensors[number])
        if is_constant(number):
            buffer = schema.BufferT()
            buffer.data = _real_values(tensor, model.buffers[tensor.buffer].data)
            model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1 if is_constant(number) else 0
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
        tensor.name = tensor.name + b"/real"
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    operators = []
    for place, operator in enumerate(graph.operators):
        operators.append(operator)
        given, made = list(operator.inputs), list(operator.outputs)
        tensors = [graph.tensors[n] for n in (*given, *made)]
        # Kernels of convolutions have a scale for each filter, and stay.
        if place not in places or any(
            tensor.type != schema.TensorType.INT8 or len(tensor.quantization.scale) != 1
            for tensor in tensors
        ):
            continue
        operator.inputs, operator.outputs = [real(n) for n in given], [real(n) for n in made]
        before = zip(given, operator.inputs, strict=True)
        after = zip(operator.outputs, made, strict=True)
        operators[-1:] = [
            *(conversion("DEQUANTIZE", *pair) for pair in before if not is_constant(pair[0])),
            operator,
            *(conversion("QUANTIZE", *pair) for pair in after),
        ]
    graph.operators = operators
    return flatbuffer.packed(model)


def _real_values(tensor: Any, data: Any) -> np.ndarray:
    """The bytes of an int8 constant's values as float32."""
    values = np.frombuffer(bytes(data), np.int8).astype(np.float32)
    scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
    # NumPy 2 would make float64 of a float32 and a zero point of int64.
    real = ((values - np.float32(zero_point)) * np.float32(scale)).astype(np.float32)
    return np.frombuffer(real.tobytes(), np.uint8)
