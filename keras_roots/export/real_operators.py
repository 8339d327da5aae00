"""Operators of int8 files that XNNPACK has for real numbers only.

One of them between others splits a file: what comes before and after it are two delegates, and it
runs in LiteRT's own kernels, on one thread. Given real numbers (a DEQUANTIZE before it and a
QUANTIZE after, which XNNPACK has) it stays with the others, and is more exact.
"""

import copy
from typing import Any

from keras_roots.export import flatbuffer
from keras_roots.export.operator_check import delegated

_KINDS = ("AVERAGE_POOL_2D", "DIV", "FLOOR", "RSQRT", "SQRT", "SQUARED_DIFFERENCE")


def with_real_operators(content: bytes) -> bytes:
    """The file with these operators on real numbers, if XNNPACK then runs more of it."""
    delegates, outside = delegated(content)
    kinds = [kind for kind in _KINDS if kind in outside]
    if not kinds:
        return content
    changed = _on_real_numbers(content, kinds)
    fewer, left = delegated(changed)
    return changed if (sum(left.values()), fewer) < (sum(outside.values()), delegates) else content


def _on_real_numbers(content: bytes, wanted: list[str]) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.read(content)
    kinds = flatbuffer.kinds(model)
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

    for graph in model.subgraphs:

        def real(place: int, graph: Any = graph) -> int:
            tensor = copy.copy(graph.tensors[place])
            tensor.type, tensor.quantization, tensor.buffer = schema.TensorType.FLOAT32, None, 0
            tensor.name = tensor.name + b"/real"
            graph.tensors.append(tensor)
            return len(graph.tensors) - 1

        operators = []
        for operator in graph.operators:
            operators.append(operator)
            if kinds[operator.opcodeIndex] not in wanted:
                continue
            given, made = list(operator.inputs), list(operator.outputs)
            types = {graph.tensors[place].type for place in (*given, *made)}
            constant = any(
                model.buffers[graph.tensors[place].buffer].data is not None for place in given
            )
            if types != {schema.TensorType.INT8} or constant:
                continue
            operator.inputs, operator.outputs = [real(n) for n in given], [real(n) for n in made]
            before = zip(given, operator.inputs, strict=True)
            after = zip(operator.outputs, made, strict=True)
            operators[-1:] = [
                *(conversion("DEQUANTIZE", *places) for places in before),
                operator,
                *(conversion("QUANTIZE", *places) for places in after),
            ]
        graph.operators = operators
    return flatbuffer.packed(model)
