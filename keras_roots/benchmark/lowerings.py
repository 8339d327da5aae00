"""Each pass of a network's convolutions by each of its lowerings, on Keras's backend.

Why layers are computed as they are, on the machine at hand; on TensorFlow or
JAX. (For files, see `benchmark.layers`.)
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots.layers import Conv2D
from keras_roots.lowering import choice, measured, passes, ways
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.reporting import Table, silent
from keras_roots.surgery import graph
from keras_roots.timing.measure import Timings, conditions, interleaved

_NOTHING = "nothing"
# Layers of another format are turned round for these, see `passes.Plan.plain`.
_CHANNELS_LAST = ("taps", "product")


@dataclasses.dataclass(frozen=True)
class PassTimings:
    """One pass of one layer.

    Attributes:
        layer: an example of its name.
        shape: of the layer.
        context, direction, batch, dtype, data_format: see `measured.Measurement`.
        timings: by lowering; "dense" is its dense twin (with groups), and
            "nothing" a call that adds 1 to one number.
    """

    layer: str
    shape: LayerShape
    context: str
    direction: str
    batch: int
    dtype: str
    data_format: str
    timings: dict[str, Timings]

    @property
    def lowerings(self) -> dict[str, Timings]:
        return {
            name: timings
            for name, timings in self.timings.items()
            if name not in ("dense", _NOTHING)
        }

    @property
    def measurement(self) -> measured.Measurement:
        """What a choice is made from."""
        milliseconds = {name: round(each.median * 1e3, 4) for name, each in self.lowerings.items()}
        return measured.Measurement(
            self.context,
            self.direction,
            self.batch,
            self.dtype,
            self.data_format,
            self.shape,
            milliseconds,
        )


def contexts_here() -> list[str]:
    """The contexts that this machine and Keras's backend have, that of XLA last."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return ["xla-cpu" if jax.default_backend() == "cpu" else "accelerator"]
    if backend == "tensorflow":
        import tensorflow as tf

        accelerated = any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
        return ["accelerator"] if accelerated else ["tensorflow-cpu", "xla-cpu"]
    raise ValueError(f"The benchmark needs Keras on TensorFlow or JAX. Received: {backend}")


def lowerings(
    models: Iterable[keras.Model],
    *,
    contexts: Sequence[str] | None = None,
    directions: Sequence[str] = passes.DIRECTIONS,
    batches: Sequence[int] = (8,),
    dtypes: Sequence[str] = ("float32",),
    data_formats: Sequence[str] = ("channels_last",),
    rounds: int = 10,
    report: Callable[[str], object] = silent,
) -> list[PassTimings]:
    """Times every distinct convolution that has several lowerings, pass by pass, in turns.

    Args:
        models: of one image as input, its size fixed, channels last.
        contexts: those here by default.
        directions: of `passes.DIRECTIONS`.
        batches: numbers of images.
        dtypes: "float32", "bfloat16" or "float16".
        data_formats: of which the layers are to be.
        rounds: turns of each candidate; a turn is two timed calls.
        report: takes a line for each layer and pass.

    Raises:
        ValueError: an argument is not as above.
    """
    here = contexts_here()
    contexts = list(contexts or here)
    wrong = [context for context in contexts if context not in here]
    if wrong:
        raise ValueError(f"This machine has the contexts {', '.join(here)}. Received: {wrong[0]}")
    if rounds < 1 or not batches or min(batches) < 1:
        raise ValueError(
            f"Expected rounds and batch sizes of 1 or more. Received: {rounds} and {list(batches)}"
        )
    layers = distinct_layers(models)
    results = []
    grid = itertools.product(contexts, batches, dtypes, data_formats, directions)
    for (number, (shape, name)), kind in itertools.product(enumerate(layers.items(), 1), grid):
        context, batch, dtype, data_format, direction = kind
        names = [
            each
            for each in choice.candidates(shape, context, direction)
            if data_format == "channels_last" or each not in _CHANNELS_LAST
        ]
        if len(names) == 1 or not _computable(shape, context):
            continue
        report(
            f"layer {number} of {len(layers)}: {shape}, {context}, batch {batch}, {dtype}, "
            f"{data_format}, {direction}"
        )
        calls = _calls(shape, names, context, direction, batch, dtype, data_format)
        timings = interleaved(calls, rounds=rounds, per_turn=2, warmup=2)
        results.append(
            PassTimings(name, shape, context, direction, batch, dtype, data_format, timings)
        )
    return results


def _computable(shape: LayerShape, context: str) -> bool:
    """Whether TensorFlow's kernels have the gradients of a grouped convolution here."""
    return (
        context != "tensorflow-cpu"
        or shape.groups == 1
        or choice.native_differentiable_on_cpu("float32", "channels_last")
    )


def distinct_layers(models: Iterable[keras.Model]) -> dict[LayerShape, str]:
    """The shapes of grouped convolutions and of 1x1s, and a layer's name for each."""
    found: dict[LayerShape, str] = {}
    for model in models:
        for call in graph.trace(model).calls:
            layer: Any = call.layer
            if isinstance(layer, Conv2D):
                shape = layer.shape_on(call.input_shapes[0])
                if shape.groups > 1 or len(choice.candidates(shape, "xla-cpu", "forward")) > 1:
                    found.setdefault(shape, call.path)
    if not found:
        raise ValueError("These networks have no layer of several lowerings: no filter groups.")
    return found


def _calls(shape, names, context, direction, batch, dtype, data_format) -> dict[str, Callable]:
    rng = np.random.default_rng(0)

    def tensor(*size):
        return keras.ops.convert_to_tensor(rng.normal(size=size).astype(np.float32), dtype)

    def image(height, width, channels):
        if data_format == "channels_first":
            return tensor(batch, channels, height, width)
        return tensor(batch, height, width, channels)

    same = shape.padding != ((0, 0), (0, 0))
    geometry = ways.Geometry(
        shape.strides, "same" if same else "valid", shape.dilation_rate, data_format
    )
    x, cotangent = image(*shape.input_shape), image(*shape.output_shape)
    calls = {_NOTHING: compiled(lambda x: x + 1, context, keras.ops.zeros(1))}
    groups = dict.fromkeys(names, shape.groups)
    if shape.groups > 1:
        groups["dense"] = 1
    for name, number in groups.items():
        kernel = tensor(*shape.kernel_size, shape.input_shape[-1] // number, shape.filters)
        one_pass = _pass(direction, geometry, "native" if name == "dense" else name)
        calls[name] = compiled(one_pass, context, x, kernel, cotangent)
    return calls


def _pass(direction: str, geometry, lowering: str) -> Callable:
    def forward(x, kernel, _cotangent):
        return ways.convolve(x, kernel, geometry, lowering)

    def gradient(x, kernel, cotangent):
        return getattr(passes, direction)(cotangent, x, kernel, geometry, lowering)

    return forward if direction == "forward" else gradient


def compiled(function: Callable, context: str, *arguments) -> Callable[[], object]:
    """A call of a function that returns when it is done, compiled as the context says."""
    if keras.backend.backend() == "jax":
        import jax

        jitted = jax.jit(function)
        return lambda: jax.block_until_ready(jitted(*arguments))
    import tensorflow as tf

    traced = tf.function(function, jit_compile=context != "tensorflow-cpu", autograph=False)
    if context == "accelerator":
        return lambda: (traced(*arguments), tf.test.experimental.sync_devices())
    return lambda: traced(*arguments)


def measurements(results: Iterable[PassTimings]) -> measured.Measurements:
    """The results as `choice` reads them."""
    record = conditions(backend=keras.backend.backend())
    return measured.Measurements(record, tuple(result.measurement for result in results))


def table(results: Iterable[PassTimings]) -> Table:
    """A row for each lowering of each pass; the fastest has an asterisk."""
    header = (
        "layer",
        "context",
        "pass",
        "batch",
        "type",
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
            macs = result.shape.macs * result.batch
            macs *= {"dense": result.shape.groups, _NOTHING: 0}.get(name, 1)
            median = timing.median
            beside = dense is not None and name not in ("dense", _NOTHING)
            bound = dense.median / result.shape.groups if dense and beside else None
            kind = result.dtype
            if result.data_format != "channels_last":
                kind += f", {result.data_format}"
            rows.append(
                (
                    str(result.shape),
                    result.context,
                    result.direction.replace("_", " "),
                    str(result.batch),
                    kind,
                    name + (" *" if name == best else ""),
                    f"{median * 1e3:.3f}",
                    timing.spread_in_ms(3),
                    f"{macs / median / 1e9:.1f}" if macs else "",
                    "" if bound is None else f"{median / bound:.2f}",
                )
            )
    return Table(header, rows, left=6)
