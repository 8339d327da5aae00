"""Latency of networks as stock Keras and TensorFlow export them and as we do, in LiteRT.

All files of one precision and number of threads take turns in one run, and
with them: the dense twins of the grouped layers, each alone; one large matrix
product; and, if asked for, OpenVINO and ONNX Runtime. The *proportional
bound* of a network is the latency of our dense one, with each grouped layer's
dense time divided by its number of groups.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_roots.benchmark import measured, runtimes
from keras_roots.benchmark.measured import (
    DENSE,
    STOCK,
    calibration_images,
    of_columns,
    random_images,
    require_litert,
    require_positive,
    with_dense,
)
from keras_roots.benchmark.operators import in_turns
from keras_roots.cost import cost
from keras_roots.export import calibration as photographs
from keras_roots.export.choice import check_policy, random_convolution
from keras_roots.export.convert import Precision, check_precision, convert_stock
from keras_roots.export.flatbuffer import operators
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.tflite import export_tflite
from keras_roots.lowering import LayerShape
from keras_roots.models import build
from keras_roots.reporting import Table, silent
from keras_roots.surgery import to_stock
from keras_roots.topology import RootLike, Topology, as_topology

_PRODUCT = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(measured.Run):
    """What was timed in turns, in one precision and with so many threads, for one image.

    The forms are "stock", policies of the exporter, and runtimes.
    """

    counted = "inferences"
    precision: Precision
    threads: int

    def labels(self, topology: Topology, form: str) -> dict[str, object]:
        how = {"precision": self.precision, "threads": self.threads}
        return {**super().labels(topology, form), **how}


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
    calibration: str | None = None,
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
        calibration: folder of images for int8; random ones by default.
        rounds: turns of each candidate; a turn is an inference untimed and
            three timed.
        report: takes lines of progress.

    Raises:
        ValueError: an argument is not as above; before anything is converted.
    """
    require_litert()
    topologies = with_dense(roots)
    for policy in lowerings:
        check_policy(policy)
    for runtime in other_runtimes:
        runtimes.require_runtime(runtime)
    require_positive(rounds=rounds, threads=threads)
    for precision in precisions:
        check_precision(precision)
    if not lowerings:
        raise ValueError(f"Expected a lowering or more. Received: {list(lowerings)}")
    if calibration is not None:
        photographs.require_images(calibration)
    compared = {as_topology(root) for root in runtime_roots}
    # One at a time, for together they would fill the memory; all, to see that they can be built.
    for topology in topologies:
        shape = build(network, root=topology, **(options or {})).input_shape[1:]
        keras.backend.clear_session()
    images = calibration_images(calibration, shape)
    results = []
    with tempfile.TemporaryDirectory(prefix="keras-roots-") as folder:
        for precision in precisions:
            files: dict[tuple[Topology, str], Path] = {}
            groups: dict[Topology, dict[tuple, int]] = {}
            macs: dict[Topology, int] = {}
            others: dict[int, dict[tuple[Topology, str], Callable]] = {n: {} for n in threads}
            for topology in topologies:
                keras.utils.set_random_seed(0)
                model = build(network, root=topology, **(options or {}))
                macs[topology] = cost(model).macs
                groups[topology] = _groups(model)
                how: dict[str, Any] = {"precision": precision, "calibration": images}
                for form in (STOCK, *lowerings):
                    report(f"{network} {topology}: converting to {precision}, {form}")
                    path = Path(folder) / f"{precision}-{topology}-{form}.tflite"
                    files[topology, form] = path
                    if form == STOCK:
                        path.write_bytes(convert_stock(to_stock(model), **how))
                    else:
                        export_tflite(
                            model, path, images[:2], lowering=form, threads=threads[0],
                            report=report, **how,
                        )  # fmt: skip
                is_compared = precision == "float32" and topology in compared
                for runtime in other_runtimes if is_compared else ():
                    for count in threads:
                        report(f"{network} {topology}: converting for {runtime}")
                        call = runtimes.inference(model, runtime, threads=count)
                        others[count][topology, runtime] = call
                del model
                keras.backend.clear_session()
            for count in threads:
                report(f"{network}: timing {precision}, {count} threads")
                of_these = (files, macs, groups, others[count], lowerings[-1], rounds, report)
                results.append(_run(network, precision, count, *of_these))
    return results


def _run(network, precision, threads, files, macs, groups, others, ours, rounds, report) -> Run:
    timed: dict[Any, bytes] = {key: path.read_bytes() for key, path in files.items()}
    dense = [
        operator
        for operator in operators(timed[DENSE, ours], cut=True)
        if operator.kind == "CONV_2D"
    ]
    for operator in dense:
        if any(_key(operator) in each for each in groups.values()):
            timed[_key(operator)] = operator.file
    timed[_PRODUCT] = _product(precision)
    timings = in_turns(timed, threads=threads, rounds=rounds, others=others, report=report)
    bounds = {}
    for topology, degrees in groups.items():
        saved = sum(
            timings[_key(operator)].median * (1 - 1 / degrees[_key(operator)])
            for operator in dense
            if _key(operator) in degrees
        )
        bounds[topology] = timings[DENSE, ours].median - saved
    of_networks = {key: timings[key] for key in (*files, *others)}
    return Run(
        network=network,
        precision=precision,
        threads=threads,
        macs=macs,
        timings=of_networks,
        bounds={(topology, form): bounds[topology] for topology, form in of_networks},
        macs_per_second=_PRODUCT**3 / timings[_PRODUCT].median,
    )


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
    images = random_images(1, shape.input_shape)
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
    columns = [*run.counts(), run.medians(STOCK), ("/ stock dense", run.to_dense(STOCK, STOCK))]
    for form in lowerings:
        columns += [
            run.milliseconds(form, 2),
            ("/ stock dense", run.to_dense(form, STOCK)),
            ("/ dense of its kind", run.to_dense(form, form)),
        ]
    columns += [
        ("bound, ms", [f"{run.bounds[topology, ours] * 1e3:.2f}" for topology in run.macs]),
        (f"{ours} / bound", run.to_bounds(ours)),
        *map(run.medians, others),
    ]
    return of_columns(columns)
