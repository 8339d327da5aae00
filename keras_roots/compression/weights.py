"""What the weights in a TFLite file are: how many, how many of them 0, how many values."""

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np

from keras_roots.export import flatbuffer

_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclasses.dataclass(frozen=True)
class Weights:
    """Counted in a file.

    Attributes:
        size: of the file, in bytes.
        gzip_size: of the file compressed by gzip, in bytes.
        nonzero: how many weights of kernels are not 0.
        values: of each kernel, how many values its weights have.
        filter_values: of each kernel, how many values the weights of a filter
            have, in the median. int8 has a scale for each filter, and folded
            normalisation a factor, so that clusters of a kernel are clusters
            of each filter, not of the kernel, in a file.
        grouped: how many convolutions are grouped (depthwise ones apart).
    """

    size: int
    gzip_size: int
    nonzero: int
    values: tuple[int, ...]
    filter_values: tuple[float, ...]
    grouped: int

    @property
    def median_values(self) -> float:
        return float(np.median(self.values))

    @property
    def median_filter_values(self) -> float:
        return float(np.median(self.filter_values))


def weights_of_file(path: str | os.PathLike) -> Weights:
    """Counts them.

    Raises:
        FileNotFoundError: there is no such file.
    """
    content = Path(path).read_bytes()
    kernels = kernels_of(content)
    per_filter = [np.median([len(np.unique(f)) for f in _filters(kernel)]) for kernel in kernels]
    return Weights(
        size=len(content),
        gzip_size=len(gzip.compress(content, 9, mtime=0)),
        nonzero=sum(int(np.count_nonzero(kernel)) for kernel in kernels),
        values=tuple(len(np.unique(kernel)) for kernel in kernels),
        filter_values=tuple(map(float, per_filter)),
        grouped=sum(
            each.kind == "CONV_2D" and (each.groups or 1) > 1
            for each in flatbuffer.operators(content)
        ),
    )


def kernels_of(content: bytes) -> list[np.ndarray]:
    """The kernels in a file, float32, float16 or integers as they stand; their zero is 0."""
    from ai_edge_litert import schema_py_generated as schema

    dtypes = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT8: np.int8,
    }
    model = flatbuffer.read(content)
    kinds = flatbuffer.kinds(model)
    found = []
    for graph in model.subgraphs:
        made = {int(operator.outputs[0]): operator for operator in graph.operators}
        seen: set[int] = set()
        for operator in graph.operators:
            place = int(operator.inputs[1]) if kinds[operator.opcodeIndex] in _KERNELS else -1
            while place in made:  # A DEQUANTIZE, of float16.
                place = int(made[place].inputs[0])
            if (
                place < 0
                or place in seen
                or model.buffers[graph.tensors[place].buffer].data is None
            ):
                continue
            seen.add(place)
            tensor = graph.tensors[place]
            data = bytes(model.buffers[tensor.buffer].data)
            kernel = np.frombuffer(data, dtypes[tensor.type]).reshape(tensor.shape)
            # Of depthwise ones the filters come last, [1, height, width, filters].
            depthwise = kinds[operator.opcodeIndex] == "DEPTHWISE_CONV_2D"
            found.append(np.moveaxis(kernel, -1, 0) if depthwise else kernel)
    return found


def _filters(kernel: np.ndarray) -> np.ndarray:
    return kernel.reshape(len(kernel), -1)
