"""A TFLite file as a classifier, whoever made it: of real numbers or integers, of any batch.

What `keras-roots export` attaches to its files says how images are to be prepared, what comes out,
and the names of the classes; other files are taken as they are.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.export import attachments, interpreter
from keras_roots.requirements import require_extras


class TFLiteClassifier:
    """Called with float32 images [n, *shape], it returns float32 scores [n, classes].

    Attributes:
        shape: of an image that the file takes.
        classes: how many.
        labels: their names, or None.
        preprocessing: what is left to do before, or None if the file does not say.
        resize: the shorter side before the crop, in pixels, or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TFLite file, or no classifier of images.
        ModuleNotFoundError: the extra "litert" is not installed.
    """

    def __init__(self, path: str | os.PathLike):
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file '{path}'.")
        require_extras("A TFLite file", {"ai_edge_litert": "litert"})
        try:
            self._interpreter = interpreter.make_interpreter(path, threads=os.cpu_count() or 1)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"'{path}' cannot be loaded as a TFLite file: {error}") from error
        self._input, self._output = _input_and_output(path, self._interpreter)
        self._batch, *shape = (int(length) for length in self._input["shape"])
        self.shape, self.classes = tuple(shape), int(self._output["shape"][1])
        metadata, self.labels = attachments.read(path)
        given, made = (_dictionary(metadata.get(name)) for name in ("input", "output"))
        self.preprocessing, self.resize = given.get("preprocessing"), given.get("resize")
        # Then the softmax was left out, as 8 bits would have lost its results.
        is_integer = np.dtype(self._output["dtype"]).kind in "iu"
        self._lacks_softmax = is_integer and made.get("values") == "scores"
        if self.labels is not None and len(self.labels) != self.classes:
            raise ValueError(
                f"'{path}' has {len(self.labels)} labels attached, and {self.classes} classes."
            )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        pieces = []
        for first in range(0, len(images), self._batch):
            places = np.minimum(np.arange(first, first + self._batch), len(images) - 1)
            given = interpreter.quantized(images[places], self._input)
            self._interpreter.set_tensor(self._input["index"], given)
            self._interpreter.invoke()
            made = self._interpreter.get_tensor(self._output["index"])
            pieces.append(interpreter.dequantized(made, self._output))
        scores = np.concatenate(pieces)[: len(images)].astype(np.float32)
        return _softmax(scores) if self._lacks_softmax else scores


def _input_and_output(path: str | os.PathLike, loaded: Any) -> tuple[Any, Any]:
    inputs, outputs = loaded.get_input_details(), loaded.get_output_details()
    shapes = [tuple(int(n) for n in each["shape"]) for each in (*inputs, *outputs)]
    if (
        not len(inputs) == len(outputs) == 1
        or [len(shape) for shape in shapes] != [4, 2]
        or shapes[0][0] != shapes[1][0]
    ):
        kinds = [np.dtype(each["dtype"]).name for each in (*inputs, *outputs)]
        found = ", ".join(f"{kind} {shape}" for kind, shape in zip(kinds, shapes, strict=True))
        raise ValueError(
            "Expected a TFLite file of a classifier of images, from one image, [batch, size, size, "
            f"3], to scores, [batch, classes]. '{path}' has inputs and outputs of {found}"
        )
    return inputs[0], outputs[0]


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
