"""A TFLite file as a classifier, whoever made it: of real numbers or integers, of any batch.

What `keras-roots export` attaches to its files says how images are to be prepared, what comes out,
and the names of the classes; other files are taken as they are.
"""

import contextlib
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.export import attachments, calibration, interpreter
from keras_roots.requirements import require_extras

# Where attachments begin; a file that was cut short within them has no archive's end.
_ATTACHED = re.compile(rb"PK\x03\x04.{26}" + re.escape(attachments.METADATA.encode()), re.DOTALL)


class TFLiteClassifier:
    """Called with float32 images [n, *shape], it returns float32 scores [n, classes].

    Args:
        path: of the file.
        image_size: in pixels, for a file that leaves it open.

    Attributes:
        shape: of an image. Of a file that crops by itself: of the square about
            the centre, beyond which it reads nothing.
        classes: how many.
        labels: their names, or None.
        preprocessing: what is left to do before, or None if the file does not say.
        resize: the shorter side before the crop, in pixels, or None.
        crops: whether the file itself crops and resizes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no whole TFLite file, or no classifier of images.
        ModuleNotFoundError: the extra "litert" is not installed.
    """

    def __init__(self, path: str | os.PathLike, image_size: int | None = None):
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file '{path}'.")
        require_extras("A TFLite file", {"ai_edge_litert": "litert"})
        self._interpreter = _loaded(path, image_size)
        self._input, self._output = _input_and_output(path, self._interpreter)
        self._batch, *lengths = (int(length) for length in self._input["shape"])
        self._whole = tuple(lengths)
        self.classes = int(self._output["shape"][1])
        metadata, self.labels = attachments.read(path)
        given, made = (_dictionary(metadata.get(name)) for name in ("input", "output"))
        self.preprocessing, self.resize = given.get("preprocessing"), given.get("resize")
        if self.preprocessing is not None:
            calibration.check_preprocessing(self.preprocessing)
        self.crops = given.get("crop_inside") is True
        self.shape = self._whole
        if self.crops:
            self.resize = min(self._whole[:2])
            self.shape = (self.resize, self.resize, self._whole[2])
        # Then the softmax was left out, as 8 bits would have lost its results.
        is_integer = np.dtype(self._output["dtype"]).kind in "iu"
        self._lacks_softmax = is_integer and made.get("values") == "logits"
        if self.labels is not None and len(self.labels) != self.classes:
            raise ValueError(
                f"'{path}' has {len(self.labels)} labels attached, and {self.classes} classes."
            )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        pieces = []
        for places in interpreter.batches(len(images), self._batch):
            given = interpreter.quantized(self._placed(images[places]), self._input)
            self._interpreter.set_tensor(self._input["index"], given)
            self._interpreter.invoke()
            made = self._interpreter.get_tensor(self._output["index"])
            pieces.append(interpreter.dequantized(made, self._output))
        scores = np.concatenate(pieces)[: len(images)].astype(np.float32)
        return _softmax(scores) if self._lacks_softmax else scores

    def _placed(self, images: np.ndarray) -> np.ndarray:
        """Squares about the centre as the file takes them: the rest, which is not read, is 0."""
        if images.shape[1:] == self._whole:
            return images
        whole = np.zeros((len(images), *self._whole), images.dtype)
        size = images.shape[1]
        top, left = ((length - size) // 2 for length in self._whole[:2])
        whole[:, top : top + size, left : left + size] = images
        return whole


def _loaded(path: str | os.PathLike, image_size: int | None) -> Any:
    """An interpreter of the file, which LiteRT verifies before it reads in it."""
    from ai_edge_litert.interpreter import Interpreter

    if Path(path).stat().st_size == 0:
        raise ValueError(f"'{path}' cannot be loaded as a TFLite file: it is empty.")
    with _reasons(path):
        loaded = Interpreter(model_path=str(path), num_threads=os.cpu_count() or 1)
    if not zipfile.is_zipfile(path) and _ATTACHED.search(Path(path).read_bytes()):
        raise ValueError(f"'{path}' is not whole: the metadata at its end are cut off.")
    for details in loaded.get_input_details():
        signature = [int(length) for length in details["shape_signature"]]
        if len(signature) == 4 and -1 in signature[1:3]:
            if image_size is None:
                raise ValueError(f"'{path}' leaves its image size open: give image_size=...")
            lengths = [image_size if length < 0 else length for length in signature[1:]]
            loaded.resize_tensor_input(details["index"], [abs(signature[0]), *lengths])
    with _reasons(path):
        loaded.allocate_tensors()
    return loaded


@contextlib.contextmanager
def _reasons(path: str | os.PathLike) -> Iterator[None]:
    """Why LiteRT does not load a file, as one kind of error."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if "valid Flatbuffer" in reason:
            reason = "it is none, or is not whole."
        raise ValueError(f"'{path}' cannot be loaded as a TFLite file: {reason}") from error


def _input_and_output(path: str | os.PathLike, loaded: Any) -> tuple[Any, Any]:
    inputs, outputs = loaded.get_input_details(), loaded.get_output_details()
    shapes = [tuple(int(n) for n in each["shape"]) for each in (*inputs, *outputs)]
    if (
        not len(inputs) == len(outputs) == 1
        or [len(shape) for shape in shapes] != [4, 2]
        or shapes[0][0] != shapes[1][0]
        or not _takes_pixels(inputs[0])
    ):
        raise no_classifier(str(path), map(_text, inputs), map(_text, outputs))
    return inputs[0], outputs[0]


def _takes_pixels(details: Any) -> bool:
    """Whether its numbers reach from 0 to 255, or have a scale."""
    dtype = np.dtype(details["dtype"])
    return dtype.kind in "fiu" and (dtype != np.int8 or bool(details["quantization"][0]))


def _text(details: Any) -> str:
    return f"{np.dtype(details['dtype']).name} {list(map(int, details['shape']))}"


def no_classifier(name: str, inputs: Iterable[str], outputs: Iterable[str]) -> ValueError:
    """The error of a model that is none, with what it takes and gives."""
    return ValueError(
        "Expected a classifier of images, which is what predict and evaluate are for: one input of "
        "shape [batch, size, size, 3], and one output of shape [batch, classes]. Received: "
        f"'{name}' with inputs of {', '.join(inputs) or 'unknown shapes'} and outputs of "
        f"{', '.join(outputs) or 'unknown shapes'}"
    )


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
