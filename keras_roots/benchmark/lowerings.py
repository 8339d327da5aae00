"""Each pass of a network's convolutions by each of its lowerings, on the machine at hand.

Why layers are computed as they are: in Keras, on TensorFlow or JAX; and in TFLite files, in LiteRT.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots.benchmark.measured import require_litert, require_positive
from keras_roots.lowering import MOST, LayerShape, Measurement, Measurements, choice, passes, ways
from keras_roots.reporting import Table, silent
from keras_roots.surgery import convolutions
from keras_roots.timing import Timings, conditions, interleaved

LITERT = ("litert-float32", "litert-int8")
_NOTHING, _DENSE = "nothing", "dense"
# Layers of another format are turned round for these, see `passes.Plan.plain`.
_CHANNELS_LAST = ("taps", "product")


@dataclasses.dataclass(frozen=True)
class LayerTimings:
    """One pass of one layer.

    Attributes:
        layer: an example of its name.
        measurement: what a choice is made from.
        timings: of its lowerings, and of what stands beside them: "dense" is
            its dense twin (with groups), "nothing" a call that adds 1 to one
            number (in Keras), and "split" stands there too where it is no
            lowering to choose.
    """

    layer: str
    measurement: Measurement
    timings: Mapping[str, Timings]


def contexts_here() -> list[str]:
    """Keras's contexts that this machine and Keras's backend have, that of XLA last."""
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
    threads: int = 1,
    rounds: int = 10,
    report: Callable[[str], object] = silent,
) -> list[LayerTimings]:
    """Times every distinct convolution that has several lowerings, pass by pass, in turns.

    Args:
        models: of one image as input, its size fixed, channels last.
        contexts: Keras's that are here, which is the default; and of
            `LITERT`: forward passes of one image, of the layers of files.
        directions: of `passes.DIRECTIONS`.
        batches: numbers of images.
        dtypes: "float32", "bfloat16" or "float16".
        data_formats: of which the layers are to be.
        threads: of LiteRT.
        rounds: turns of each candidate; a turn is two timed calls, five in
            LiteRT.
        report: takes a line for each layer and pass.

    Raises:
        ValueError: an argument is not as above.
        ModuleNotFoundError: the extra "litert" is not installed, and needed.
    """
    contexts = list(contexts or contexts_here())
    here = [*contexts_here(), *LITERT]
    wrong = [context for context in contexts if context not in here]
    if wrong:
        raise ValueError(f"This machine has the contexts {', '.join(here)}. Received: {wrong[0]}")
    require_positive(rounds=rounds, threads=threads, batches=batches)
    models = list(models)
    planned = []
    for context in contexts:
        layers = _layers(models, context)
        grid = itertools.product(directions, batches, (None,), dtypes, data_formats)
        kinds: list[tuple[str, int, int | None, str, str]] = list(grid)
        if context in LITERT:
            kinds = [("forward", 1, threads, context.removeprefix("litert-"), "channels_last")]
        for (shape, layer), kind in itertools.product(layers.items(), kinds):
            measurement = Measurement(context, *kind, shape=shape, milliseconds={})
            if len(names := _lowerings(measurement)) > 1:
                planned.append((layer, measurement, names))
    if not planned:
        raise ValueError("These networks have no layer of several lowerings: no filter groups.")
    results = []
    for number, (layer, wanted, names) in enumerate(planned, 1):
        if not _computable(wanted):
            continue
        report(
            f"{number} of {len(planned)}: {wanted.shape}, {wanted.context}, batch {wanted.batch}, "
            f"{_type(wanted)}, {wanted.direction}"
        )
        timings = _timed(wanted, names, rounds)
        results.append(LayerTimings(layer, wanted.with_times(timings, names), timings))
    return results


def _layers(models: Sequence[keras.Model], context: str) -> dict[LayerShape, str]:
    """The shapes of the convolutions that a context has to compute, and a layer's name for each."""
    found: dict[LayerShape, str] = {}
    if context in LITERT:
        require_litert("The benchmark of files")
        # Which imports TensorFlow, whatever Keras runs on.
        from keras_roots.export.inference_graph import inference_graph
        from keras_roots.export.simplify import simplify

        for model in models:
            for step in simplify(inference_graph(model)).convolutions():
                found.setdefault(step.operation.shape, step.name)
    else:
        for model in models:
            for path, _, shape in convolutions.ours(model):
                found.setdefault(shape, path)
    return found


def _lowerings(wanted: Measurement) -> list[str]:
    return [
        name
        for name in choice.candidates(wanted.shape, wanted.context, wanted.direction)
        if wanted.data_format == "channels_last" or name not in _CHANNELS_LAST
    ]


def _computable(wanted: Measurement) -> bool:
    """Whether TensorFlow's kernels have the gradients of a grouped convolution here."""
    return (
        wanted.context != "tensorflow-cpu"
        or wanted.shape.groups == 1
        or choice.native_differentiable_on_cpu("float32", "channels_last")
    )


def _timed(wanted: Measurement, names: Sequence[str], rounds: int) -> dict[str, Timings]:
    dense = [_DENSE] if wanted.shape.groups > 1 else []
    if wanted.context in LITERT:
        from keras_roots.export.choice import timings

        # Split into more, a layer takes minutes to convert, and is the slowest anyhow.
        split = ["split"] if 1 < wanted.shape.groups <= MOST else []
        how: dict[str, Any] = {"precision": wanted.dtype, "threads": wanted.threads}
        return timings(wanted.shape, [*names, *split, *dense], **how, rounds=rounds)
    return interleaved(_calls(wanted, [*names, *dense]), rounds=rounds, per_turn=2, warmup=2)


def _calls(wanted: Measurement, names: Iterable[str]) -> dict[str, Callable]:
    rng = np.random.default_rng(0)
    shape, data_format = wanted.shape, wanted.data_format

    def tensor(*size):
        return keras.ops.convert_to_tensor(rng.normal(size=size).astype(np.float32), wanted.dtype)

    def image(height, width, channels):
        if data_format == "channels_first":
            return tensor(wanted.batch, channels, height, width)
        return tensor(wanted.batch, height, width, channels)

    same = shape.padding != ((0, 0), (0, 0))
    geometry = ways.Geometry(
        shape.strides, "same" if same else "valid", shape.dilation_rate, data_format
    )
    x, cotangent = image(*shape.input_shape), image(*shape.output_shape)
    calls = {_NOTHING: compiled(lambda x: x + 1, wanted.context, keras.ops.zeros(1))}
    for name in names:
        groups = 1 if name == _DENSE else shape.groups
        kernel = tensor(*shape.kernel_size, shape.input_shape[-1] // groups, shape.filters)
        one_pass = _pass(wanted.direction, geometry, "native" if name == _DENSE else name)
        calls[name] = compiled(one_pass, wanted.context, x, kernel, cotangent)
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


def measurements(results: Iterable[LayerTimings]) -> Measurements:
    """The results as `choice` reads them."""
    here = conditions(backend=keras.backend.backend())
    rows = tuple(result.measurement for result in results)
    return Measurements({row.context: here for row in rows}, rows)


def table(results: Iterable[LayerTimings]) -> Table:
    """A row for each lowering of each pass; the fastest has an asterisk."""
    header = ("layer", "context", "pass", "batch", "type", "lowering", "median, ms",
              "10th to 90th percentile", "G multiply-accumulates/s",
              "/ (dense / groups)")  # fmt: skip
    rows = []
    for result in results:
        measured, dense = result.measurement, result.timings.get(_DENSE)
        groups = measured.shape.groups
        best = choice.fastest(measured.milliseconds)
        macs = measured.shape.macs * measured.batch
        for name, timing in result.timings.items():
            rate = macs * (groups if name == _DENSE else 1) / timing.median / 1e9
            bound = dense.median / groups if dense and name not in (_DENSE, _NOTHING) else None
            rows.append(
                (
                    str(measured.shape),
                    measured.context,
                    measured.direction.replace("_", " "),
                    str(measured.batch),
                    _type(measured),
                    name + (" *" if name == best else ""),
                    f"{timing.median * 1e3:.3f}",
                    timing.spread_in_ms(3),
                    "" if name == _NOTHING else f"{rate:.1f}",
                    "" if bound is None else f"{timing.median / bound:.2f}",
                )
            )
    return Table(header, rows, left=6)


def _type(measured: Measurement) -> str:
    last = measured.data_format == "channels_last"
    return measured.dtype if last else f"{measured.dtype}, {measured.data_format}"
