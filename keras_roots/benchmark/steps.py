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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots import lowering
from keras_roots.benchmark import measured
from keras_roots.benchmark.lowerings import compiled, contexts_here
from keras_roots.benchmark.measured import (
    DENSE,
    STOCK,
    configured,
    of_columns,
    random_images,
    require_one_of,
    require_positive,
    sized,
    with_dense,
)
from keras_roots.cost import cost
from keras_roots.layers import SGD, GroupedConv2D
from keras_roots.models import build
from keras_roots.reporting import Table, silent
from keras_roots.surgery import clone, copy_state, to_stock
from keras_roots.timing import Timings, interleaved
from keras_roots.topology import RootLike, Topology, as_topology

KINDS = ("train", "forward")
FORMS = (STOCK, "ours", "folded")
_ALL = "all"
_PRODUCT = 2048
_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(measured.Run):
    """What was timed in turns: one step each, of all images together.

    The forms are "stock", "ours", and "folded" (forward passes only).

    Attributes:
        kind, context, image_size, batch_size, dtype, data_format: how.
        without_spatial: the dense network without any of its spatial
            convolutions, in seconds, by form; empty where they cannot be left out.
    """

    counted = "steps"
    kind: str
    context: str
    image_size: int
    batch_size: int
    dtype: str
    data_format: str
    without_spatial: Mapping[str, float]

    def described(self) -> dict[str, object]:
        """What was timed, for the conditions."""
        names = ("network", "kind", "context", "image_size", "batch_size", "dtype", "data_format")
        return {name: getattr(self, name) for name in names}

    def labels(self, topology: Topology, form: str) -> dict[str, object]:
        return {**self.described(), **super().labels(topology, form)}

    def more(self, form: str) -> dict[str, object]:
        return {"without_spatial_ms": measured.milliseconds(self.without_spatial.get(form))}

    def notes(self) -> list[str]:
        """What the table does not say."""
        times = ", ".join(f"{t * 1e3:.1f} ms ({form})" for form, t in self.without_spatial.items())
        found = [f"Dense without spatial convolutions: {times}"] if times else []
        return [*found, self.product()]


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
    require_one_of("kind", kind, KINDS)
    require_positive(batch_size=batch_size, rounds=rounds)
    topologies = with_dense(roots)
    stock = set(topologies if stock_roots is None else map(as_topology, stock_roots))
    options = sized(options, image_size)
    forms = _forms(kind, dtype)
    candidates: dict[Any, Callable] = {}
    macs: dict[Topology, int] = {}
    levels = {}
    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
    with configured("dtype_policy", policy), _forced(lowering_of_all):
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
    timings: dict[Any, Timings] = interleaved(candidates, rounds=rounds, report=report)
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
    folds = (
        keras.backend.backend() == "tensorflow"
        and dtype == "float32"
        and keras.config.image_data_format() == "channels_last"
    )
    return ("ours", "folded") if kind == "forward" and folds else ("ours",)


def _forced(name: str | None):
    return contextlib.nullcontext() if name is None else lowering.forced(name)


def _bound(timings, form: str, groups: dict[str, int], spatial: dict[str, int]) -> float:
    """The time without spatial convolutions, and theirs by level, divided by the groups there."""
    dense, without = timings[DENSE, form].median, timings[_ALL, form].median
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
    images = random_images(batch_size, model.input_shape[1:])
    if kind == "train":
        make = keras.optimizers.SGD if form == "stock" else SGD
        model.compile(
            make(0.01, momentum=_MOMENTUM),
            "sparse_categorical_crossentropy",
            jit_compile=context != "tensorflow-cpu",
        )
        labels = np.random.default_rng(0).integers(0, model.output_shape[-1], batch_size)

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
    columns = run.counts()
    for form in FORMS:
        if not any(form == each for _, each in run.timings):
            continue
        columns += [run.milliseconds(form, 1), (f"{form} / dense {form}", run.to_dense(form, form))]
        if form != STOCK and (DENSE, STOCK) in run.timings:
            columns.append((f"{form} / dense stock", run.to_dense(form, STOCK)))
        if form != STOCK and run.bounds:
            columns.append((f"{form} / bound", run.to_bounds(form)))

        def of_rate(topology: Topology, timings: Timings) -> str:
            return f"{run.macs[topology] / timings.median / run.macs_per_second:.1%}"

        columns.append((f"{form}, of the product's rate", run.cells(form, of_rate)))
    return of_columns(columns)
