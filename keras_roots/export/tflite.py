"""TFLite files, verified with the LiteRT interpreter.

What is written is not the model as it was trained but the same function in
the form that LiteRT runs fastest: `simplify`d, and each layer in the lowering
that was chosen for it, whatever lowering TensorFlow itself would take on the
machine that exports.
"""

import os
import warnings
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_roots import lowering as lowerings
from keras_roots.export import choice
from keras_roots.export.artifact import Artifact, check
from keras_roots.export.convert import CALIBRATED, Precision, check_precision, convert
from keras_roots.export.converted_file import INTERFACES, ConvertedFile, Interface
from keras_roots.export.exportable import (
    Exportable,
    Inputs,
    check_labels,
    checked_inputs,
    exportable,
)
from keras_roots.export.inference_graph import InferenceGraph
from keras_roots.export.operator_check import check_operators
from keras_roots.export.preprocessing import Preprocessing
from keras_roots.export.real_operators import with_real_operators
from keras_roots.reporting import refuse_existing, replacing, silent
from keras_roots.requirements import require_extras

# With fewer, ranges of activations are a matter of chance.
_ENOUGH_TO_CALIBRATE = 32


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    images: Inputs,
    *,
    precision: Precision = "float32",
    interface: Interface = "float32",
    calibration: Inputs | None = None,
    preprocessing: str | Preprocessing = "none",
    labels: Sequence[str] | None = None,
    batch: int = 1,
    lowering: str = "auto",
    threads: int = 1,
    tolerance: float | None = None,
    overwrite: bool = True,
    report: Callable[[str], object] = silent,
) -> Artifact:
    """Writes a TFLite file, once it is verified.

    Its signature takes float32 `images`, [batch, height, width, channels]
    (or inputs by the names that the model gives them), and returns float32,
    whatever the precision within. A softmax at the end is float32 in int8
    files too. Metadata and labels are attached (see `attachments`).

    Args:
        model: functional or Sequential, its input sizes fixed. Auxiliary heads
            are left out.
        path: of the file to write, conventionally `*.tflite`.
        images: [examples, height, width, channels], real inputs as the file
            takes them, on which its outputs are compared with Keras's; of a
            model of several inputs a list of such.
        precision: "float32"; "float16": weights stored so; "dynamic": weights
            as 8-bit integers (by output channel); "int8": activations, too;
            "int8x16": activations as 16-bit integers, which XNNPACK does not
            run.
        interface: "int8": the inputs and outputs of an int8 file are int8, and
            it ends before the softmax, as of 8 bits most probabilities would
            be 0.
        calibration: as `images`, from which int8 and int8x16 take the ranges
            of activations; a hundred or so, other than `images`. Without it
            they take them from `images`, and say so.
        preprocessing: with which the model was trained, for the metadata; a
            `Preprocessing` can be put inside.
        labels: names of the classes.
        batch: examples that the file takes at once.
        lowering: how grouped convolutions are computed: "auto", after the
            measurements that this package brings; "tuned", after measurements
            on this machine, cached; "native", as they stand.
        threads: with which "tuned" measures.
        tolerance: see `artifact.check`.
        overwrite: whether an existing file may be replaced; it is only after
            the verification.
        report: takes lines of progress.

    Raises:
        ValueError: the model or an argument is not as above.
        RuntimeError: the model cannot be converted, or the converted one does
            not compute what it does, or has operators that it should not
            have; nothing is written.
        ModuleNotFoundError: the extra "litert" is not installed.
        FileExistsError: the file is there, and is not to be replaced.
        FileNotFoundError: the folder of `path` does not exist.
    """
    require_extras("The export to TFLite", {"ai_edge_litert": "litert"})
    if not overwrite:
        refuse_existing(path)
    _check_arguments(precision, interface, batch, threads)
    choice.check_policy(lowering)
    ready = exportable(model, images, preprocessing, "The export to TFLite")
    check_labels(labels, ready)
    ranges: tuple[np.ndarray, ...] = ()
    notes: list[str] = []
    if precision in CALIBRATED:
        ranges = _calibration(calibration, ready)
        source = f"ranges of activations are those of {len(ranges[0])} images"
        if calibration is None:
            source += ", the same that the file is verified with"
        report(source)
        notes.append(source)
    with replacing(path) as temporary:
        choices = choice.choose(ready.graph, precision, lowering, threads=threads, report=report)
        graph = ready.graph.with_lowerings({each.layer: each.lowering for each in choices})
        check(ready.outputs_of(graph), ready.expected, "float32")
        # A softmax makes scores alike that are not, and of eight bits most of its probabilities
        # would be 0: it is left out, compared, and put at the end as real numbers.
        scores = graph.without_softmax()
        report(f"converting '{ready.model.name}' to TFLite, {precision}")
        content = convert_graph(
            ready, scores or graph, precision, ranges, batch=batch, interface=interface
        )
        check_operators(content, graph)
        if precision == "int8":
            content = with_real_operators(content)
        finished = ConvertedFile(
            ready,
            content,
            ready.scores or ready.expected,
            precision,
            scores is not None,
            interface=interface,
            tolerance=tolerance,
        )
        return finished.written(
            temporary,
            path,
            labels=labels,
            batch=batch,
            notes=(*notes, *_notes(precision, interface, finished.outside)),
            lowering=lowering,
            choices=choices,
            calibration_images=len(ranges[0]) if ranges else 0,
        )


def _check_arguments(precision: str, interface: str, batch: int, threads: int) -> None:
    check_precision(precision)
    if interface not in INTERFACES:
        raise ValueError(
            f"Expected interface as one of: {', '.join(INTERFACES)}. Received: {interface!r}"
        )
    if interface == "int8" and precision != "int8":
        raise ValueError(
            f"An interface of int8 is of the precision int8. Received: {precision!r}. Its files "
            "take and give float32."
        )
    for name, number in (("batch", batch), ("threads", threads)):
        if number < 1:
            raise ValueError(f"Expected {name} of 1 or more. Received: {number}")


def _calibration(given: Inputs | None, ready: Exportable) -> tuple[np.ndarray, ...]:
    ranges = ready.inputs
    if given is not None:
        ranges = checked_inputs(given, ready.graph, ready.dtypes, "to calibrate int8 with")
    if len(ranges[0]) < _ENOUGH_TO_CALIBRATE:
        warnings.warn(
            f"The ranges of integers are taken from {len(ranges[0])} images only: what other "
            f"images reach beyond them is cut off. Give {_ENOUGH_TO_CALIBRATE} or more, better a "
            "hundred, of all kinds.",
            stacklevel=3,
        )
    return ranges


def _notes(precision, interface, outside) -> tuple[str, ...]:
    notes = []
    if precision == "int8x16":
        notes.append(
            "XNNPACK has no activations of 16 bits: LiteRT's reference kernels run such a file, "
            "many times slower than int8"
        )
    elif outside:
        notes.append("LiteRT's own kernels run what XNNPACK does not, one thread after the other")
    if interface == "int8":
        notes.append("inputs and outputs are int8, of the scales in its metadata")
    return tuple(notes)


def convert_graph(
    ready: Exportable,
    graph: InferenceGraph,
    precision: Precision,
    calibration: Sequence[np.ndarray] = (),
    *,
    batch: int = 1,
    interface: Interface = "float32",
) -> bytes:
    """The content of a TFLite file of a graph of that model, not verified."""

    def function(*inputs):
        with lowerings.forced("native"):  # For layers that are called as they are.
            return ready.function(graph)(*inputs)

    return convert(
        function,
        ready.specs(batch),
        name=ready.model.name,
        variables=ready.variables,
        precision=precision,
        calibration=calibration,
        quantized_interface=interface == "int8",
    )
