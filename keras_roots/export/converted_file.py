"""A converted TFLite file: compared, given its softmax back, and written with attachments."""

import collections
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from keras_roots.export import attachments, metadata
from keras_roots.export.artifact import Artifact, check, compare
from keras_roots.export.convert import Precision
from keras_roots.export.exportable import Exportable
from keras_roots.export.flatbuffer import operators, with_softmax
from keras_roots.export.interpreter import interface_of, run_by_name
from keras_roots.export.operator_check import delegation
from keras_roots.lowering import Explanation

Interface = Literal["float32", "int8"]
INTERFACES: tuple[Interface, ...] = ("float32", "int8")


class ConvertedFile:
    """A converted file that is compared, and given its softmax back.

    Args:
        ready: the model.
        content: of the file, without the softmax if there is one.
        expected: what it should give.
        precision, interface, tolerance: as of `export_tflite`.
        gives_scores: whether the softmax is still to be put at the end.
    """

    def __init__(
        self,
        ready: Exportable,
        content: bytes,
        expected: Sequence[np.ndarray],
        precision: Precision,
        gives_scores: bool,
        *,
        interface: Interface,
        tolerance: float | None,
    ):
        self.ready, self.precision = ready, precision
        self.ends_in_scores = gives_scores and interface == "int8"
        self.integers = interface_of(content) if interface == "int8" else {}
        actual = self._run(content)
        check(actual, expected, precision, tolerance)
        if gives_scores and interface == "float32":
            content = with_softmax(content)
            probabilities, expected = _softmax(actual[0]), [_softmax(expected[0])]
            actual = self._run(content)
            check(actual, [probabilities], "float32")
        self.content, self.actual, found = content, actual, delegation(content)
        self.delegates, self.outside, self.outside_kinds = (
            found.delegates,
            found.outside,
            found.kinds(),
        )
        self.comparison = compare(actual, expected, "LiteRT")

    def _run(self, content: bytes) -> tuple[np.ndarray, ...]:
        return self.ready.in_order(run_by_name(content, self.ready.named(self.ready.inputs)))

    def written(
        self,
        temporary: Path,
        path: str | os.PathLike,
        *,
        labels: Sequence[str] | None,
        batch: int,
        notes: tuple[str, ...],
        lowering: str,
        choices: Sequence[Explanation] = (),
        calibration_images: int = 0,
    ) -> Artifact:
        """Writes it with its attachments, and tries it once more."""
        attached = metadata.metadata(
            self.ready,
            precision=self.precision,
            batch=batch,
            comparison=self.comparison,
            calibration_images=calibration_images,
            labels=labels,
            integers=self.integers,
            lowering=lowering,
        )
        if self.ends_in_scores:
            attached["output"]["values"] = "logits"
        content = attachments.attach(self.content, attached, labels)
        # What is written is what was tried, the attachments with it.
        check(self._run(content), self.actual, "float32")
        temporary.write_bytes(content)
        kinds = dict(collections.Counter(each.kind for each in operators(content)))
        return Artifact(
            path=Path(path),
            format="tflite",
            precision=self.precision,
            size=len(content),
            comparison=self.comparison,
            operators=kinds,
            delegates=self.delegates,
            outside=self.outside_kinds,
            choices=tuple(choices),
            metadata=attached,
            notes=notes,
            usage=f"keras-roots predict {path} photo.jpg",
        )


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
