"""Each grouped layer of a network by each of its lowerings, beside its dense twin, in LiteRT.

Why the exporter chooses as it does, on the machine at hand.
"""

import dataclasses
from collections.abc import Callable, Iterable

import keras

from keras_roots.export import choice, tuning
from keras_roots.export.convert import Precision
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.simplify import simplify
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.reporting import Table, silent
from keras_roots.requirements import require_extras, require_tensorflow
from keras_roots.timing.measure import Timings

# More operators than that take minutes to convert, and are the slowest anyhow.
_MOST_SPLITS = 16


@dataclasses.dataclass(frozen=True)
class LayerTimings:
    """One layer's timings.

    Attributes:
        shape: of the layer.
        precision, threads: with which it was timed.
        macs: multiply-accumulates of its kernel, without the zeros of packing.
        timings: by lowering; of its dense twin by "dense" (with groups).
    """

    shape: LayerShape
    precision: Precision
    threads: int
    macs: int
    timings: dict[str, Timings]

    @property
    def measurement(self) -> tuning.Measurement:
        """What a choice is made from."""
        milliseconds = {
            name: timing.median * 1e3
            for name, timing in self.timings.items()
            if name not in ("dense", "split")
        }
        return tuning.Measurement(self.precision, self.threads, self.shape, milliseconds)


def layers(
    models: Iterable[keras.Model],
    *,
    precisions: Iterable[Precision] = ("float32", "int8"),
    threads: int = 1,
    rounds: int = 10,
    report: Callable[[str], object] = silent,
) -> list[LayerTimings]:
    """Times every distinct layer that has several lowerings, those of one layer interleaved.

    Args:
        models: of one image as input, its size fixed.
        precisions: "float32", "int8" or both.
        threads: of the interpreter.
        rounds: turns of each candidate; a turn is five timed runs.
        report: takes a line for each layer.
    """
    require_tensorflow("The benchmark")
    require_extras("The benchmark", {"ai_edge_litert": "litert"})
    if rounds < 1 or threads < 1:
        raise ValueError(
            f"Expected rounds and threads of 1 or more. Received: {rounds} and {threads}"
        )
    convolutions = {}
    precisions = tuple(precisions)
    for model in models:
        for step in simplify(inference_graph(model)).convolutions():
            if len(choice.candidates(step.operation)) > 1:
                shape = step.operation.shape
                convolutions[shape] = step.operation
    if not convolutions:
        raise ValueError("These networks have no layer of several lowerings: no filter groups.")
    results = []
    for number, (shape, convolution) in enumerate(convolutions.items(), 1):
        for precision in precisions:
            report(f"layer {number} of {len(convolutions)}: {shape}, {precision}")
            grouped = shape.groups > 1
            names = choice.candidates(convolution)
            if grouped and shape.groups <= _MOST_SPLITS:
                names = [*names, "split"]
            timings = tuning.measure(
                shape, names, precision=precision, threads=threads, dense=grouped, rounds=rounds
            )
            results.append(LayerTimings(shape, precision, threads, convolution.macs, timings))
    return results


def measurements(results: Iterable[LayerTimings]) -> tuning.Measurements:
    """The results as the exporter reads them."""
    return tuning.Measurements(tuning.machine(), tuple(result.measurement for result in results))


def table(results: Iterable[LayerTimings]) -> Table:
    """A row for each lowering of each layer; the fastest has an asterisk."""
    header = (
        "layer",
        "precision",
        "lowering",
        "median, ms",
        "10th to 90th percentile",
        "G multiply-accumulates/s",
        "/ (dense / groups)",
    )
    rows = []
    for result in results:
        best = choice.fastest(result.measurement.milliseconds)
        dense = result.timings.get("dense")
        for name, timing in result.timings.items():
            macs = result.macs * (result.shape.groups if name == "dense" else 1)
            median = timing.median
            bound = dense.median / result.shape.groups if dense and name != "dense" else None
            rows.append(
                (
                    str(result.shape),
                    result.precision,
                    name + (" *" if name == best else ""),
                    f"{median * 1e3:.3f}",
                    timing.spread_in_ms(3),
                    f"{macs / median / 1e9:.1f}",
                    "" if bound is None else f"{median / bound:.2f}",
                )
            )
    return Table(header, rows, left=3)
