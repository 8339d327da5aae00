"""The LiteRT interpreter: files run and timed in it."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_roots.timing import Timings, interleaved


def make_interpreter(model: bytes | str | os.PathLike, threads: int = 1):
    """A LiteRT interpreter of a file or its content, its tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    interpreter = Interpreter(**source, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def run_by_name(content: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a file by their names, [examples, ...], of inputs [examples, ...] by theirs.

    Real numbers become the integers that the file takes and back, where it
    takes some; the last piece of the file's batch is filled up.
    """
    runner = make_interpreter(content).get_signature_runner()
    details_in, details_out = runner.get_input_details(), runner.get_output_details()
    batch = int(next(iter(details_in.values()))["shape"][0])
    count = len(next(iter(inputs.values())))
    found: dict[str, list[np.ndarray]] = {name: [] for name in details_out}
    for places in batches(count, batch):
        given = {name: quantized(array[places], details_in[name]) for name, array in inputs.items()}
        for name, made in runner(**given).items():
            found[name].append(dequantized(made, details_out[name]))
    return {name: np.concatenate(pieces)[:count] for name, pieces in found.items()}


def batches(count: int, batch: int) -> Iterator[np.ndarray]:
    """The numbers of `count` examples in pieces of `batch`; the last is filled up with the last."""
    for first in range(0, count, batch):
        yield np.minimum(np.arange(first, first + batch), count - 1)


def quantized(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Real numbers as an input takes them, of the interpreter's `details`."""
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if dtype.kind not in "iu" or not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantized(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """The real numbers that an output of the interpreter's `details` stands for."""
    scale, zero_point = details["quantization"]
    if values.dtype.kind not in "iu" or not scale:
        return values
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def interface_of(content: bytes) -> dict[str, dict[str, Any]]:
    """Type, scale and zero point of the inputs and outputs that are integers, by name."""
    runner = make_interpreter(content).get_signature_runner()
    found = {}
    for name, details in {**runner.get_input_details(), **runner.get_output_details()}.items():
        scale, zero_point = details["quantization"]
        if np.dtype(details["dtype"]).kind in "iu" and scale:
            found[name] = {
                "dtype": np.dtype(details["dtype"]).name,
                "scale": float(scale),
                "zero_point": int(zero_point),
            }
    return found


def latency(
    files: Mapping[str, str | os.PathLike],
    image: np.ndarray,
    *,
    threads: int = 1,
    rounds: int = 40,
) -> dict[str, Timings]:
    """Times one inference of each file, interleaved.

    Args:
        files: TFLite files of one image's input, by the name of the result.
        image: [height, width, channels].
        threads: threads of the interpreter.
        rounds: turns of each file; a turn is one untimed inference and five
            timed ones.
    """

    def inference(file: str | os.PathLike) -> Callable[[], None]:
        interpreter = make_interpreter(file, threads)
        place = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(place, image[np.newaxis].astype(np.float32))
        return interpreter.invoke

    candidates = {name: inference(file) for name, file in files.items()}
    return interleaved(candidates, rounds=rounds, per_turn=5, warmup=10, untimed_per_turn=1)
