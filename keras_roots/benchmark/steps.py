"""Train steps and forward passes of whole networks: stock Keras, and ours, in turns.

What is timed is `train_on_batch` on random images (forward pass, gradients
and update: SGD with momentum, as in the paper), or the forward pass for
inference. The *proportional bound* of a network with filter groups is the time
of our dense one without its spatial convolutions, and of these the dense time
divided by their groups; both are timed in the same turns, as dense networks in
which the convolutions of one level, or of all, are left out.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots import lowering, reporting
from keras_roots.benchmark.lowerings import compiled, contexts_here
from keras_roots.cost import cost
from keras_roots.layers import GroupedConv2D
from keras_roots.layers.optimizers import SGD
from keras_roots.models import build
from keras_roots.models.application import shape_of_size
from keras_roots.reporting import Table, silent
from keras_roots.surgery.clone import clone, copy_state
from keras_roots.surgery.stock import to_stock
from keras_roots.timing.measure import Timings, interleaved
from keras_roots.topology import RootLike, Topology, as_topology

KINDS = ("train", "forward")
FORMS = ("stock", "ours", "folded")
_ALL = "all"
_DENSE = as_topology(1)
_PRODUCT = 2048
_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class Run:
    """What was timed in turns.

    Attributes:
        network, kind, context, image_size, batch_size, dtype, data_format: what and how.
        macs: multiply-accumulates of each network's step, all images together.
        timings: of one step each, by topology and form: "stock", "ours", or "folded" (forward
            passes only).
        without_spatial: the dense network without any of its spatial
            convolutions, in seconds, by form; empty where they cannot be left out.
        bounds: the proportional bounds, in seconds, by topology and form.
        macs_per_second: of a product of two large matrices.
    """

    network: str
    kind: str
    context: str
    image_size: int
    batch_size: int
    dtype: str
    data_format: str
    macs: dict[Topology, int]
    timings: dict[tuple[Topology, str], Timings]
    without_spatial: dict[str, float]
    bounds: dict[tuple[Topology, str], float]
    macs_per_second: float

    def median(self, topology: Topology, form: str) -> float:
        return self.timings[topology, form].median


def steps(
    network: str,
    roots: Iterable[RootLike],
    *,
    kind: str = "train",
    xla: bool = False,
    options: dict[str, Any] | None = None,
    image_size: int | None = None,
    batch_size: int = 8,
    dtype: str = "float32",
    stock_roots: Iterable[RootLike] | None = None,
    lowering_of_all: str | None = None,
    bound: bool = True,
    rounds: int = 10,
    report: Callable[[str], object] = silent,
) -> Run:
    """Times steps of networks of random weights.

    Args:
        network: a registry name.
        roots: filter groups; the dense network is always among them.
        kind: "train" or "forward".
        xla: whether TensorFlow compiles all of it with XLA; JAX always does.
        options: other arguments of the network's factory.
        image_size: height and width; the network's own by default.
        batch_size: images in a step.
        dtype: "float32", or "bfloat16" or "float16", in mixed precision.
        stock_roots: those of which stock Keras is timed too; all by default.
        lowering_of_all: one for every grouped convolution of ours.
        bound: whether to time what the proportional bound needs, where all
            grouped convolutions keep the shape and so can be left out.
        rounds: timed steps of each.
        report: takes lines of progress.

    Raises:
        ValueError: an argument is not as above; before anything is timed.
    """
    here = contexts_here()
    context = here[-1] if xla else here[0]
    if kind not in KINDS:
        raise ValueError(f"Expected kind as one of: {', '.join(KINDS)}. Received: {kind!r}")
    if batch_size < 1 or rounds < 1:
        raise ValueError(
            "Expected batch_size and rounds of 1 or more. Received: "
            f"batch_size={batch_size}, rounds={rounds}"
        )
    topologies = list(dict.fromkeys([_DENSE, *map(as_topology, roots)]))
    stock = set(topologies if stock_roots is None else map(as_topology, stock_roots))
    options = dict(options or {})
    if image_size is not None:
        options["input_shape"] = shape_of_size(image_size, 3)
    forms = _forms(kind, dtype)
    candidates: dict[Any, Callable] = {}
    macs: dict[Topology, int] = {}
    levels = {}
    with _dtype_policy(dtype), _forced(lowering_of_all):
        for topology in topologies:
            model = build(network, root=topology, **options)
            macs[topology] = _macs(model, kind) * batch_size
            levels[topology] = _groups(model)
            for form in ("stock", *forms) if topology in stock else forms:
                report(f"tracing {network} {topology}, {form}")
                network_of_form = to_stock(model) if form == "stock" else model
                candidates[topology, form] = _step(network_of_form, kind, form, context, batch_size)
        spatial = _levels(levels) if bound else {}
        dense = build(network, root=1, **options)
        if any(_changes_shape(dense.get_layer(name)) for name in spatial):
            spatial = {}
        for left_out in (*sorted(set(spatial.values())), _ALL) if spatial else ():
            names = [name for name, level in spatial.items() if left_out in (level, _ALL)]
            thinner = _without(dense, names)
            for form in forms:
                report(f"tracing {network} dense without level {left_out}, {form}")
                candidates[left_out, form] = _step(thinner, kind, form, context, batch_size)
        candidates["product"] = _product(dtype, context)
    timings: dict[Any, Timings] = interleaved(
        candidates,
        rounds=rounds,
        warmup=1,
        report=report,
    )
    return Run(
        network=network,
        kind=kind,
        context=context,
        image_size=max(model.input_shape[1:]),
        batch_size=batch_size,
        dtype=dtype,
        data_format=keras.config.image_data_format(),
        macs=macs,
        timings={
            (topology, form): timings[topology, form]
            for topology in topologies
            for form in ("stock", *forms)
            if (topology, form) in timings
        },
        without_spatial={form: timings[_ALL, form].median for form in forms if spatial},
        bounds={
            (topology, form): _bound(timings, form, levels[topology], spatial)
            for topology in topologies
            for form in forms
            if spatial
        },
        macs_per_second=_PRODUCT**3 / timings["product"].median,
    )


def _forms(kind: str, dtype: str) -> tuple[str, ...]:
    folds = keras.backend.backend() == "tensorflow" and dtype == "float32"
    if keras.config.image_data_format() == "channels_first":
        folds = False
    return ("ours", "folded") if kind == "forward" and folds else ("ours",)


@contextlib.contextmanager
def _dtype_policy(dtype: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{dtype}" if dtype != "float32" else dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _forced(name: str | None):
    return contextlib.nullcontext() if name is None else lowering.forced(name)


def _bound(timings, form: str, groups: dict[str, int], spatial: dict[str, int]) -> float:
    """The time without spatial convolutions, and theirs by level, divided by the groups there."""
    dense, without = timings[_DENSE, form].median, timings[_ALL, form].median
    saved = {level: dense - timings[level, form].median for level in set(spatial.values())}
    # Together they are what leaving out all of them saves.
    scale = (dense - without) / sum(saved.values())
    degrees = {level: groups.get(name, 1) for name, level in spatial.items()}
    return without + sum(scale * saved[level] / degree for level, degree in degrees.items())


def _groups(model: keras.Model) -> dict[str, int]:
    """The groups of each grouped convolution."""
    return {layer.name: layer.groups for layer in model.layers if isinstance(layer, GroupedConv2D)}


def _levels(groups: dict[Topology, dict[str, int]]) -> dict[str, int]:
    """The level of each layer that any topology groups: one for those of equal groups in all."""
    names = dict.fromkeys(name for each in groups.values() for name in each)
    degrees = {name: tuple(each.get(name, 1) for each in groups.values()) for name in names}
    numbers = {column: level for level, column in enumerate(dict.fromkeys(degrees.values()))}
    return {name: numbers[degrees[name]] for name in names}


def _changes_shape(layer: keras.Layer) -> bool:
    return layer.output.shape != layer.input.shape


def _without(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """A copy in which these layers, which keep the shape, hand on what they get."""

    def copy(layer):
        if layer.name in names:
            return keras.layers.Identity(name=layer.name)
        return type(layer).from_config(layer.get_config())

    thinner, pairs = clone(model, copy)
    for source, target in pairs:
        if source.name not in names:
            copy_state(source, target)
    return thinner


def _macs(model: keras.Model, kind: str) -> int:
    """Of a train step: forward, and two gradients but of the image, for one image."""
    counted = cost(model)
    if kind == "forward":
        return counted.macs
    first = next(layer for layer in counted.layers if layer.macs)
    return 3 * counted.macs - (first.macs or 0)


def _step(model, kind: str, form: str, context: str, batch_size: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, *model.input_shape[1:])).astype(np.float32)
    if kind == "train":
        make = keras.optimizers.SGD if form == "stock" else SGD
        model.compile(
            make(0.01, momentum=_MOMENTUM),
            "sparse_categorical_crossentropy",
            jit_compile=context != "tensorflow-cpu",
        )
        labels = rng.integers(0, model.output_shape[-1], batch_size)

        def call():
            return model.train_on_batch(images, labels)

        call()  # Traced here, where what is forced is in force.
        return call
    images = keras.ops.convert_to_tensor(images)
    if keras.backend.backend() == "jax":
        call = _forward_on_jax(model, images)
    else:
        call = compiled(_forward(model, form, context), context, images)
    call()
    return call


def _forward(model: keras.Model, form: str, context: str) -> Callable:
    if form == "folded":
        from keras_roots.export import inference_function

        return inference_function(model, jit_compile=context != "tensorflow-cpu")
    return lambda images: model(images, training=False)


def _forward_on_jax(model: keras.Model, images) -> Callable[[], object]:
    # As constants, the weights would be compiled into the function.
    weights = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    return compiled(
        lambda x, trainable, others: model.stateless_call(trainable, others, x, training=False)[0],
        "xla",
        images,
        *weights,
    )


def _product(dtype: str, context: str) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    one, other = (
        keras.ops.convert_to_tensor(rng.normal(size=(_PRODUCT, _PRODUCT)), dtype) for _ in "ab"
    )
    return compiled(keras.ops.matmul, context, one, other)


def table(run: Run) -> Table:
    """A row for each topology: milliseconds, and ratios to the arithmetic and to the bound."""
    forms = [form for form in FORMS if any(form == each for _, each in run.timings)]
    has_stock = (_DENSE, "stock") in run.timings
    header = ["network", "MACs / dense"]
    for form in forms:
        header += [f"{form}, ms (10th to 90th percentile)", f"{form} / dense {form}"]
        if form != "stock":
            header += [f"{form} / dense stock"] if has_stock else []
            header += [f"{form} / bound"] if run.bounds else []
        header.append(f"{form}, of the product's rate")
    rows = []
    for topology, macs in run.macs.items():
        row = ["dense" if topology == _DENSE else str(topology), f"{macs / run.macs[_DENSE]:.3f}"]
        for form in forms:
            columns = 3 + (form != "stock") * (has_stock + bool(run.bounds))
            if (topology, form) not in run.timings:
                row += [""] * columns
                continue
            timings = run.timings[topology, form]
            median = timings.median
            row.append(timings.in_ms(1))
            dense = (_DENSE, form)
            row.append(f"{median / run.median(*dense):.3f}" if dense in run.timings else "")
            if form != "stock":
                row += [f"{median / run.median(_DENSE, 'stock'):.3f}"] if has_stock else []
                row += [f"{median / run.bounds[topology, form]:.3f}"] if run.bounds else []
            row.append(f"{macs / median / run.macs_per_second:.1%}")
        rows.append(row)
    return Table(header, rows)


def describe(run: Run) -> dict[str, object]:
    """What was timed, for the conditions."""
    names = ("network", "kind", "context", "image_size", "batch_size", "dtype", "data_format")
    return {name: getattr(run, name) for name in names}


def write_csv(path, run: Run, conditions: dict[str, Any]) -> None:
    """A row for each form of each network, with the conditions, for other programs."""
    rows = []
    for (topology, form), timings in run.timings.items():
        bound, without = run.bounds.get((topology, form)), run.without_spatial.get(form)
        rows.append(
            {
                **describe(run),
                "topology": topology,
                "form": form,
                "macs": run.macs[topology],
                **timings.columns(),
                "steps": len(timings.seconds),
                "bound_ms": None if bound is None else f"{bound * 1e3:.4f}",
                "without_spatial_ms": None if without is None else f"{without * 1e3:.4f}",
                "product_macs_per_second": f"{run.macs_per_second:.4g}",
                **conditions,
            }
        )
    reporting.write_csv(path, rows)
