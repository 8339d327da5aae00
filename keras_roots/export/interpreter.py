"""The LiteRT interpreter."""

import os

import numpy as np


def make_interpreter(model: bytes | str | os.PathLike, threads: int = 1):
    """A LiteRT interpreter of a file or its content, its tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    interpreter = Interpreter(**source, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    """Outputs [examples, values] of a model of batch 1."""
    return outputs(make_interpreter(content), images)


def outputs(interpreter, images: np.ndarray) -> np.ndarray:
    """The same of an interpreter whose tensors are allocated."""
    place_in = interpreter.get_input_details()[0]["index"]
    place_out = interpreter.get_output_details()[0]["index"]
    found = []
    for image in images:
        interpreter.set_tensor(place_in, image[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(place_out)[0])
    return np.stack(found)
