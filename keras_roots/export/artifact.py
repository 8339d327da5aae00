"""What an export returns: a file or folder, and what its verification found."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.lowering import Explanation, report
from keras_roots.reporting import Table

# Largest difference to Keras, relative to its largest output: float32 summed in other orders;
# float16 weights have 11 bits.
_LARGEST = {"float32": 1e-4, "float16": 5e-2}
# The same on a GPU, which multiplies float32 in fewer bits (TF32), unless told otherwise.
ON_GPU = 2e-2
# Decibels below which a file is not to be relied on unseen: the error is a sixth of the outputs.
_LEAST_SIGNAL_TO_NOISE = 15.0
# Root mean square of the difference, relative to that of the outputs: eight bits lose
# something (a quarter in a ResNet-50 of random weights), and a wrong file nearly all.
_ROOT_MEAN_SQUARE = {"dynamic": 0.5, "int8": 0.5, "int8x16": 0.5}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far an artifact is from Keras.

    Attributes:
        runtime: where the artifact was run.
        images: number of inputs that both were given.
        max_difference, mean_difference: largest and mean absolute difference
            of an output value.
        top1_agreement: share of inputs (0-1) whose largest output is at the
            same place in both; None if it is no [batch, values].
        signal_to_noise: 10 log10 of Keras's mean square over that of the
            difference, in dB, the least of all outputs; None where that is no
            number, as where nothing differs.
    """

    runtime: str
    images: int
    max_difference: float
    mean_difference: float
    top1_agreement: float | None
    signal_to_noise: float | None = None

    @property
    def warning(self) -> str | None:
        """That the artifact is far from Keras, in words; None where it is not."""
        if self.signal_to_noise is None or self.signal_to_noise >= _LEAST_SIGNAL_TO_NOISE:
            return None
        agreement = "" if self.top1_agreement is None else (
            f", and the largest is another one for {1 - self.top1_agreement:.1%} of the inputs"
        )  # fmt: skip
        return (
            f"the outputs are far from Keras's: their signal-to-noise ratio is "
            f"{self.signal_to_noise:.1f} dB, below {_LEAST_SIGNAL_TO_NOISE:g} dB{agreement}. "
            "Evaluate the file before you use it"
        )

    def __str__(self) -> str:
        agreement = (
            "" if self.top1_agreement is None else f", top-1 agreement {self.top1_agreement:.1%}"
        )
        return (
            f"compared with Keras on {self.images} inputs, in {self.runtime}: largest difference "
            f"{self.max_difference:.2g}, mean {self.mean_difference:.2g}{agreement}"
            + (
                ""
                if self.signal_to_noise is None
                else f", signal-to-noise ratio {self.signal_to_noise:.1f} dB"
            )
        )


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A verified export.

    Attributes:
        path: the file or folder.
        format: "tflite", "savedmodel", "xla", "stablehlo" or "onnx".
        precision: of `convert.PRECISIONS`.
        size: in bytes, of all files.
        comparison: with Keras.
        operators: number of operators of each kind, such as CONV_2D.
        delegates: of a TFLite file, how many parts of it XNNPACK runs.
        outside: the operators that XNNPACK does not run, by kind.
        choices: the lowering of each layer that has several, with its reason.
        metadata: what is attached.
        notes: what whoever uses it should know.
        usage: the lines that run it.
    """

    path: Path
    format: str
    precision: str
    size: int
    comparison: Comparison
    operators: Mapping[str, int] = dataclasses.field(default_factory=dict)
    delegates: int | None = None
    outside: Mapping[str, int] = dataclasses.field(default_factory=dict)
    choices: tuple[Explanation, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    usage: str = ""

    def report(self) -> str:
        """All that a person wants to know of it, in lines."""
        lines = [f"{self.path}: {self.size:,} bytes, {self.format}, {self.precision}"]
        if self.operators:
            lines.append(f"operators: {_counted(self.operators)}")
        if self.delegates is not None:
            lines.append(f"XNNPACK: {self._delegated()}")
        lines.append(str(self.comparison))
        if self.comparison.warning is not None:
            lines.append(f"warning: {self.comparison.warning}")
        lines += [f"note: {note}" for note in self.notes]
        if self.choices:
            lines += ["", self.lowerings().text()]
        if self.usage:
            lines += ["", "To run it:", "", self.usage]
        return "\n".join(lines)

    def _delegated(self) -> str:
        if not self.delegates:
            return "runs none of it; LiteRT's own kernels do"
        pieces = "one piece" if self.delegates == 1 else f"{self.delegates} pieces"
        if not self.outside:
            return f"runs all of it, in {pieces}"
        return f"runs {pieces} of it, and not {_counted(self.outside)}"

    def lowerings(self) -> Table:
        """How layers are computed; layers of one shape share a row."""
        return report.table(self.choices)


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def check(
    actual: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    precision: str,
    tolerance: float | None = None,
) -> None:
    """Raises unless each output is near enough to Keras's.

    Args:
        actual, expected: arrays in the same order.
        precision: decides what is measured, and what is near.
        tolerance: in place of what the precision allows: of float32 and
            float16 for the largest difference relative to the largest output,
            of others for the root mean square relative to the outputs' own.

    Raises:
        RuntimeError: it is not.
    """
    for ours, theirs in zip(actual, expected, strict=True):
        if ours.shape != theirs.shape:
            raise RuntimeError(
                f"An output of the converted model has the shape {ours.shape}, and Keras's "
                f"{theirs.shape}; no file was written."
            )
        difference = np.abs(ours.astype(np.float64) - theirs)
        if precision in _LARGEST:
            found, share = float(difference.max(initial=0)), tolerance or _LARGEST[precision]
            allowed = share * float(np.abs(theirs).max(initial=0))
            measure = "by up to"
        else:
            found = float(np.sqrt(np.mean(np.square(difference))))
            share = tolerance or _ROOT_MEAN_SQUARE[precision]
            allowed = share * float(np.sqrt(np.mean(np.square(theirs.astype(np.float64)))))
            measure = "in root mean square (before a softmax) by"
        if not found <= allowed:  # So that NaN fails too.
            raise RuntimeError(
                f"The converted model's outputs differ from Keras's {measure} {found:.3g}, where "
                f"{allowed:.3g} is allowed, {share:g} of the outputs' own; no file was written."
                + (
                    " Are the images for calibration like those that the model sees, and enough? "
                    "(A larger tolerance=... accepts more.)"
                    if precision.startswith("int8")
                    else ""
                )
            )


def compare(
    actual: Sequence[np.ndarray], expected: Sequence[np.ndarray], runtime: str
) -> Comparison:
    """Compares outputs [examples, ...] with Keras's."""
    differences = np.concatenate(
        [
            np.abs(ours.astype(np.float64) - theirs).ravel()
            for ours, theirs in zip(actual, expected, strict=True)
        ]
    )
    found = [_signal_to_noise(*pair) for pair in zip(actual, expected, strict=True)]
    ratios = [ratio for ratio in found if ratio is not None]
    agreement = None
    if len(expected) == 1 and expected[0].ndim == 2:
        agreement = float(np.mean(actual[0].argmax(-1) == expected[0].argmax(-1)))
    return Comparison(
        runtime=runtime,
        images=len(expected[0]),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        top1_agreement=agreement,
        signal_to_noise=min(ratios) if ratios else None,
    )


def _signal_to_noise(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """In dB; None where there is no signal, or no noise."""
    signal = float(np.mean(np.square(theirs, dtype=np.float64)))
    noise = float(np.mean(np.square(ours.astype(np.float64) - theirs)))
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
