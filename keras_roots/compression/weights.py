"""What the weights in a TFLite file are: how many, how many of them 0, how many values."""

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np

from keras_roots.export import flatbuffer

_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What the weights of a kernel are.

    Attributes:
        name: of the tensor in the file.
        shape: [filters, ...].
        size, nonzero: how many weights there are, and how many are not 0.
        values: how many values they have.
        filter_values: how many those of a filter have, in the median. int8 has
            a scale for each filter, and folded normalisation a factor, so that
            clusters of a kernel are clusters of each filter, not of the kernel,
            in a file.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    nonzero: int
    values: int
    filter_values: float


@dataclasses.dataclass(frozen=True)
class Weights:
    """Counted in a file.

    Attributes:
        size, gzip_size: of the file, in bytes, and as gzip compresses it.
        kernels: of its convolutions and dense layers, in order.
        grouped: how many convolutions are grouped (depthwise ones apart).
    """

    size: int
    gzip_size: int
    kernels: tuple[Kernel, ...]
    grouped: int

    @property
    def nonzero(self) -> int:
        """How many weights of kernels are not 0."""
        return sum(kernel.nonzero for kernel in self.kernels)

    @property
    def median_values(self) -> float:
        """How many values a kernel's weights have, in the median over kernels."""
        return float(np.median([kernel.values for kernel in self.kernels]))

    @property
    def median_filter_values(self) -> float:
        """The same of the weights of a filter."""
        return float(np.median([kernel.filter_values for kernel in self.kernels]))


def weights_of_file(path: str | os.PathLike) -> Weights:
    """Counts them.

    Raises:
        FileNotFoundError: there is no such file.
    """
    content = Path(path).read_bytes()
    return Weights(
        size=len(content),
        gzip_size=len(gzip.compress(content, 9, mtime=0)),
        kernels=tuple(_counted(name, kernel) for name, kernel in kernels_of(content).items()),
        grouped=sum(
            each.kind == "CONV_2D" and (each.groups or 1) > 1
            for each in flatbuffer.operators(content)
        ),
    )


def _counted(name: str, kernel: np.ndarray) -> Kernel:
    filters = kernel.reshape(len(kernel), -1)
    return Kernel(
        name=name,
        shape=kernel.shape,
        size=kernel.size,
        nonzero=int(np.count_nonzero(kernel)),
        values=len(np.unique(kernel)),
        filter_values=float(np.median([len(np.unique(each)) for each in filters])),
    )


def kernels_of(content: bytes) -> dict[str, np.ndarray]:
    """The kernels in a file by their tensors' names, [filters, ...], of the types that they have.

    Integers are as they stand; their zero is 0.
    """
    from ai_edge_litert import schema_py_generated as schema

    dtypes = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT8: np.int8,
    }
    model = flatbuffer.read(content)
    kinds = flatbuffer.kinds(model)
    found: dict[str, np.ndarray] = {}
    for graph in model.subgraphs:
        made = {int(operator.outputs[0]): operator for operator in graph.operators}
        seen: set[int] = set()
        for operator in graph.operators:
            place = int(operator.inputs[1]) if kinds[operator.opcodeIndex] in _KERNELS else -1
            while place in made and kinds[made[place].opcodeIndex] == "DEQUANTIZE":  # Of float16.
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
            name = tensor.name.decode(errors="replace")
            found[name] = np.moveaxis(kernel, -1, 0) if depthwise else kernel
    return found
