"""Latency of networks as stock Keras and TensorFlow export them and as we do, in LiteRT.

All files of one precision and number of threads take turns in one run, and
with them: the dense twins of the grouped layers, each alone; one large matrix
product; and, if asked for, OpenVINO and ONNX Runtime. The *proportional
bound* of a network is the latency of our dense one, with each grouped layer's
dense time divided by its number of groups.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots import reporting
from keras_roots.benchmark import runtimes
from keras_roots.benchmark.operators import random_inference
from keras_roots.cost import cost
from keras_roots.export.choice import check_policy, random_convolution
from keras_roots.export.convert import Precision, check_precision, convert_stock
from keras_roots.export.flatbuffer import operators
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.tflite import export_tflite
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.models import build
from keras_roots.reporting import Table, silent
from keras_roots.requirements import require_extras, require_tensorflow
from keras_roots.surgery.stock import to_stock
from keras_roots.timing.measure import Timings, interleaved
from keras_roots.topology import RootLike, Topology, as_topology

STOCK = "stock"
_DENSE = as_topology(1)
_PRODUCT = 1024
_IMAGES = 32


@dataclasses.dataclass(frozen=True)
class Run:
    """What was timed in turns, in one precision and with so many threads.

    Attributes:
        network, precision, threads: what and how.
        macs: multiply-accumulates of each network, for one image.
        timings: of one inference each, by topology and form: "stock", a policy of the exporter,
            or a runtime.
        bounds: the proportional bound of each topology in seconds.
        macs_per_second: of the large matrix product.
    """

    network: str
    precision: Precision
    threads: int
    macs: dict[Topology, int]
    timings: dict[tuple[Topology, str], Timings]
    bounds: dict[Topology, float]
    macs_per_second: float

    def median(self, topology: Topology, form: str) -> float:
        return self.timings[topology, form].median


def inference(
    network: str,
    roots: Iterable[RootLike],
    *,
    options: dict[str, Any] | None = None,
    precisions: Sequence[Precision] = ("float32", "int8"),
    threads: Sequence[int] = (1,),
    lowerings: Sequence[str] = ("native", "auto"),
    other_runtimes: Sequence[str] = (),
    runtime_roots: Iterable[RootLike] = (1, 16, 64),
    calibration: np.ndarray | None = None,
    rounds: int = 15,
    report: Callable[[str], object] = silent,
) -> list[Run]:
    """Times networks of random weights, batch 1.

    Args:
        network: a registry name.
        roots: filter groups; the dense network is always among them.
        options: other arguments of its factory.
        precisions, threads: a run for each pair.
        lowerings: policies of the exporter, beside stock conversion ("tuned"
            measures with the first of `threads`); the last is held against
            the bound.
        other_runtimes: of `runtimes.RUNTIMES`; they run in float32.
        runtime_roots: the filter groups that they are given.
        calibration: images for int8; random ones by default.
        rounds: turns of each candidate; a turn is an inference untimed and
            three timed.
        report: takes lines of progress.

    Raises:
        ValueError: an argument is not as above; before anything is converted.
    """
    require_tensorflow("The benchmark")
    require_extras("The benchmark", {"ai_edge_litert": "litert"})
    topologies = list(dict.fromkeys([_DENSE, *map(as_topology, roots)]))
    for policy in lowerings:
        check_policy(policy)
    for runtime in other_runtimes:
        runtimes.require_runtime(runtime)
    if rounds < 1 or not threads or min(threads) < 1:
        raise ValueError(
            f"Expected rounds and threads of 1 or more. Received: {rounds} and {list(threads)}"
        )
    for precision in precisions:
        check_precision(precision)
    if not lowerings:
        raise ValueError(f"Expected a lowering or more. Received: {list(lowerings)}")
    compared = {as_topology(root) for root in runtime_roots}
    # One at a time, for together they would fill the memory; all, to see that they can be built.
    for topology in topologies:
        shape = build(network, root=topology, **(options or {})).input_shape[1:]
        keras.backend.clear_session()
    if calibration is None:
        calibration = np.random.default_rng(0).normal(size=(_IMAGES, *shape)).astype(np.float32)
    results = []
    with tempfile.TemporaryDirectory(prefix="keras-roots-") as folder:
        for precision in precisions:
            files: dict[tuple[Topology, str], Path] = {}
            groups: dict[Topology, dict[tuple, int]] = {}
            macs: dict[Topology, int] = {}
            others: dict[tuple[Topology, str, int], Callable] = {}
            for topology in topologies:
                keras.utils.set_random_seed(0)
                model = build(network, root=topology, **(options or {}))
                macs[topology] = cost(model).macs
                groups[topology] = _groups(model)
                for form in (STOCK, *lowerings):
                    report(f"{network} {topology}: converting to {precision}, {form}")
                    path = Path(folder) / f"{precision}-{topology}-{form}.tflite"
                    files[topology, form] = path
                    if form == STOCK:
                        path.write_bytes(
                            convert_stock(
                                to_stock(model), precision=precision, calibration=calibration
                            )
                        )
                    else:
                        export_tflite(
                            model,
                            path,
                            calibration[:2],
                            precision=precision,
                            calibration=calibration,
                            lowering=form,
                            threads=threads[0],
                            report=report,
                        )
                for runtime in other_runtimes if precision == "float32" else ():
                    for count in threads if topology in compared else ():
                        report(f"{network} {topology}: converting for {runtime}")
                        others[topology, runtime, count] = runtimes.inference(
                            model, runtime, threads=count
                        )
                del model
                keras.backend.clear_session()
            for count in threads:
                these = {
                    (topology, runtime): call
                    for (topology, runtime, number), call in others.items()
                    if number == count
                }
                report(f"{network}: timing {precision}, {count} threads")
                results.append(
                    _run(
                        network, precision, count, files, macs, groups, these, lowerings[-1],
                        rounds, report,
                    )
                )  # fmt: skip
    return results


def _run(network, precision, threads, files, macs, groups, others, ours, rounds, report) -> Run:
    candidates: dict[Any, Callable] = {
        key: random_inference(path.read_bytes(), threads) for key, path in files.items()
    }
    candidates.update(others)
    dense = [
        operator
        for operator in operators(files[_DENSE, ours].read_bytes(), cut=True)
        if operator.kind == "CONV_2D"
    ]
    for operator in dense:
        if any(_key(operator) in each for each in groups.values()):
            candidates[_key(operator)] = random_inference(operator.file, threads)
    candidates["product"] = random_inference(_product(precision), threads)
    timings: Mapping[Any, Timings] = interleaved(
        candidates,
        rounds=rounds,
        per_turn=3,
        warmup=2,
        untimed_per_turn=1,
        report=report,
    )
    of_networks = {key: timings[key] for key in (*files, *others)}
    bounds = {}
    for topology, degrees in groups.items():
        saved = sum(
            timings[_key(operator)].median * (1 - 1 / degrees[_key(operator)])
            for operator in dense
            if _key(operator) in degrees
        )
        bounds[topology] = timings[_DENSE, ours].median - saved
    speed = _PRODUCT**3 / timings["product"].median
    return Run(network, precision, threads, macs, of_networks, bounds, speed)


def _product(precision: Precision) -> bytes:
    """A product of two square matrices, as a 1x1 convolution."""
    import tensorflow as tf

    from keras_roots.export.convert import convert

    shape = LayerShape(
        input_shape=(32, _PRODUCT // 32, _PRODUCT),
        filters=_PRODUCT,
        kernel_size=(1, 1),
        strides=(1, 1),
        dilation_rate=(1, 1),
        padding=((0, 0), (0, 0)),
        groups=1,
    )
    images = np.random.default_rng(0).normal(size=(1, *shape.input_shape)).astype(np.float32)
    return convert(
        random_convolution(shape, "native"),
        [tf.TensorSpec((1, *shape.input_shape), tf.float32, name="images")],
        name="product",
        precision=precision,
        calibration=(images,),
        quantized_interface=True,
    )


def _key(operator) -> tuple:
    """What tells a dense convolution's grouped twin: output, kernel and channels."""
    filters, height, width, channels = operator.shapes[1]
    return (operator.output_shape[1:3], height, width, channels, filters)


def _groups(model: keras.Model) -> dict[tuple, int]:
    """The filter groups of a network's grouped layers, by the keys of their dense twins."""
    from keras_roots.export.simplify import simplify

    found = {}
    for step in simplify(inference_graph(model)).convolutions():
        layer = step.operation
        if layer.groups > 1:
            height, width, _, filters = layer.kernel.shape
            key = (layer.output_shape[:2], height, width, layer.input_shape[-1], filters)
            found[key] = layer.groups
    return found


def table(run: Run) -> Table:
    """A row for each topology, in milliseconds and ratios."""
    forms = list(dict.fromkeys(form for _, form in run.timings))
    lowerings = [form for form in forms if form not in (STOCK, *runtimes.RUNTIMES)]
    others = [form for form in forms if form in runtimes.RUNTIMES]
    ours = lowerings[-1]
    header = ["network", "MACs / dense", "stock, ms", "/ stock dense"]
    for form in lowerings:
        header += [f"{form}, ms (10th to 90th percentile)", "/ stock dense", "/ dense of its kind"]
    header += ["bound, ms", f"{ours} / bound", *(f"{runtime}, ms" for runtime in others)]
    stock = run.median(_DENSE, STOCK)
    rows = []
    for topology in dict.fromkeys(topology for topology, _ in run.timings):
        median = run.median(topology, STOCK)
        row = [
            "dense" if topology == _DENSE else str(topology),
            f"{run.macs[topology] / run.macs[_DENSE]:.3f}",
            f"{median * 1e3:.2f}",
            f"{median / stock:.3f}",
        ]
        for form in lowerings:
            timings = run.timings[topology, form]
            row += [
                timings.in_ms(2),
                f"{timings.median / stock:.3f}",
                f"{timings.median / run.median(_DENSE, form):.3f}",
            ]
        bound = run.bounds[topology]
        row += [f"{bound * 1e3:.2f}", f"{run.median(topology, ours) / bound:.3f}"]
        for runtime in others:
            found = run.timings.get((topology, runtime))
            row.append("" if found is None else f"{found.median * 1e3:.2f}")
        rows.append(row)
    return Table(header, rows)


def write_csv(path, runs: Iterable[Run], conditions: dict[str, Any]) -> None:
    """A row for each form of each network, with the conditions, for other programs."""
    reporting.write_csv(
        path,
        [
            {
                "network": run.network,
                "topology": topology,
                "form": form,
                "precision": run.precision,
                "threads": run.threads,
                "macs": run.macs[topology],
                **timings.columns(),
                "inferences": len(timings.seconds),
                "bound_ms": f"{run.bounds[topology] * 1e3:.4f}",
                "product_macs_per_second": f"{run.macs_per_second:.4g}",
                **conditions,
            }
            for run in runs
            for (topology, form), timings in run.timings.items()
        ],
    )
