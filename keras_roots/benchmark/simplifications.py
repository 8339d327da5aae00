"""What each simplification of the exporter brings: files of one network, one step further each."""

from collections.abc import Callable

import keras

from keras_roots.benchmark.measured import SPREAD, random_images, require_litert, require_positive
from keras_roots.benchmark.operators import in_turns
from keras_roots.export import choice, simplify
from keras_roots.export.convert import Precision, convert_stock
from keras_roots.export.exportable import exportable
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.tflite import convert_graph
from keras_roots.reporting import Table, silent
from keras_roots.surgery import to_stock
from keras_roots.timing import Timings

_STEPS = {
    "normalisation folded": simplify.fold_normalization,
    "padding folded": simplify.fold_padding,
    "unread pixels skipped": simplify.skip_unread_pixels,
    "sums merged": simplify.merge_sums,
}


def simplifications(
    model: keras.Model,
    *,
    precision: Precision,
    threads: int = 1,
    rounds: int = 15,
    report: Callable[[str], object] = silent,
) -> dict[str, Timings]:
    """Times stock conversion, and ours after each step, the lowerings last; interleaved.

    Args:
        model: of one image as input, its size fixed.
        precision: "float32" or "int8" (calibrated with random images).
        threads: of the interpreter.
        rounds: turns of each; a turn is one untimed inference and three timed.
        report: takes lines of progress.

    Returns:
        Timings of "stock" and of each step with all those before it.
    """
    require_litert()
    require_positive(rounds=rounds, threads=threads)
    images = random_images(4, model.input_shape[1:])
    report("converting: stock")
    files = {"stock": convert_stock(to_stock(model), precision=precision, calibration=images)}
    ready = exportable(model, images[:1], "none", "The benchmark")
    graph = inference_graph(model)
    for name, step in _STEPS.items():
        graph = step(graph)
        report(f"converting: {name}")
        files[name] = convert_graph(ready, graph, precision, (images,))
    lowerings = {each.layer: each.lowering for each in choice.choose(graph, precision)}
    report("converting: lowerings chosen")
    files["lowerings chosen"] = convert_graph(
        ready, graph.with_lowerings(lowerings), precision, (images,)
    )
    return in_turns(files, threads=threads, rounds=rounds)


def table(timings: dict[str, Timings]) -> Table:
    """A row for each step."""
    stock = timings["stock"].median
    rows = [(name, each.in_ms(2), f"{each.median / stock:.3f}") for name, each in timings.items()]
    return Table(("step", f"median, ms {SPREAD}", "/ stock"), rows)
