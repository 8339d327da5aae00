"""Whether the operators of a TFLite file are those that there should be, and who runs them."""

import collections
import dataclasses

import keras

from keras_roots.export.flatbuffer import operators
from keras_roots.export.inference_graph import Convolution, InferenceGraph, LayerCall
from keras_roots.export.interpreter import make_interpreter
from keras_roots.lowering import ways


def check_operators(content: bytes, graph: InferenceGraph) -> dict[str, int]:
    """How many operators there are of each kind.

    Raises:
        RuntimeError: some need more than LiteRT, or grouped convolutions were
            split in their groups.
    """
    found = list(operators(content))
    kinds = dict(collections.Counter(operator.kind for operator in found))
    wrong = [kind for kind in kinds if kind.startswith("CUSTOM") or kind == "VAR_HANDLE"]
    if wrong:
        raise RuntimeError(
            f"The conversion of '{graph.name}' has operators that LiteRT does not run by itself "
            f"({', '.join(wrong)}); no file was written."
        )
    grouped = sum((operator.groups or 1) > 1 for operator in found)
    expected = sum(_is_grouped(step.operation) for step in graph.steps)
    if grouped < expected:
        raise RuntimeError(
            f"The conversion of '{graph.name}' has {grouped} grouped convolutions, where the "
            f"model has {expected}: others were split in their groups. No file was written."
        )
    return kinds


def _is_grouped(operation) -> bool:
    if isinstance(operation, Convolution):
        return operation.groups > 1 and ways.packed_groups(operation.lowering, operation.groups) > 1
    if not isinstance(operation, LayerCall):
        return False
    layer = operation.layer
    if isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)):
        return operation.call.input_shapes[0][-1] > 1
    return isinstance(layer, keras.layers.Conv2D) and layer.groups > 1


@dataclasses.dataclass(frozen=True)
class Delegation:
    """Who runs a file.

    Attributes:
        delegates: in how many parts XNNPACK runs it.
        outside: the operators that it does not run: kind by number in the file.
    """

    delegates: int
    outside: dict[int, str]

    def kinds(self) -> dict[str, int]:
        """How many of each kind are outside."""
        return dict(sorted(collections.Counter(self.outside.values()).items()))


def delegation(content: bytes) -> Delegation:
    """What XNNPACK runs of a file on this machine."""
    interpreter = make_interpreter(content)
    delegates: list[dict] = []
    others: list[dict] = []
    # Private to LiteRT, which has no public way to ask; operators that a delegate took stay listed.
    for operator in interpreter._get_ops_details():
        kind = delegates if operator["op_name"] == "DELEGATE" else others
        kind.append(operator)
    makers = {int(n): each for each in (*others, *delegates) for n in each["outputs"]}
    wanted = [details["index"] for details in interpreter.get_output_details()]
    seen: set[int] = set()
    outside: dict[int, str] = {}
    # Back from the outputs: what runs is what is reached.
    while wanted:
        maker = makers.get(int(wanted.pop()))
        if maker is None or maker["index"] in seen:
            continue
        seen.add(maker["index"])
        wanted += [n for n in maker["inputs"] if n >= 0]
        if maker["op_name"] != "DELEGATE":
            outside[int(maker["index"])] = maker["op_name"]
    return Delegation(len(delegates), outside)
