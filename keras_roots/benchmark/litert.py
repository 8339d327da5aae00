"""Latency of TFLite files in the LiteRT interpreter, side by side."""

import os
from collections.abc import Callable, Mapping

import numpy as np

from keras_roots.export.interpreter import make_interpreter
from keras_roots.timing.measure import Timings, interleaved


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
