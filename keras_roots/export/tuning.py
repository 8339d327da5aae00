"""How fast each lowering of a layer is: measured, and kept.

A layer is timed alone, in a TFLite file of its own with the activation that
is fused into it, all its lowerings in turns. Results hold for a machine and a
version of the runtime; the user's cache folder keeps those of the machine at
hand, and `measured.json` beside this file those with which files are exported
unless other is asked for.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.export.convert import PRECISIONS, Precision, convert
from keras_roots.export.inference_graph import Convolution
from keras_roots.export.interpreter import make_interpreter
from keras_roots.lowering import measured
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.reporting.files import replacing
from keras_roots.timing.measure import Timings, conditions, interleaved

_FORMAT = 1
# What must be equal for a measurement to hold.
_MACHINE = (
    *("processor", "flags", "cores", "system"),
    *("ai-edge-litert", "tensorflow", "keras_roots"),
)
_CACHE_FILE = "lowerings.json"
MEASURED = Path(__file__).with_name("measured.json")


def random_convolution(shape: LayerShape, lowering: str, groups: int | None = None) -> Convolution:
    """One of this shape, of random weights; `groups` in place of its own."""
    rng = np.random.default_rng(0)
    channels = shape.input_shape[-1] // (groups or shape.groups)
    kernel = rng.normal(size=(*shape.kernel_size, channels, shape.filters))
    return Convolution(
        kernel=(kernel / np.sqrt(kernel[..., 0].size)).astype(np.float32),
        bias=rng.normal(size=shape.filters).astype(np.float32),
        input_shape=shape.input_shape,
        strides=shape.strides,
        dilation_rate=shape.dilation_rate,
        padding=shape.padding,
        lowering=lowering,
    )


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Median milliseconds of a layer by lowering, in one precision, with so many threads."""

    precision: Precision
    threads: int
    shape: LayerShape
    milliseconds: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Measurements of one machine.

    Attributes:
        conditions: what they hold for, see `keras_roots.timing.measure.conditions`.
        rows: in the order measured.
    """

    conditions: Mapping[str, Any]
    rows: tuple[Measurement, ...]

    def find(self, precision: Precision, threads: int, shape: LayerShape) -> Measurement | None:
        for row in self.rows:
            if (row.precision, row.threads, row.shape) == (precision, threads, shape):
                return row
        return None

    def of_this_machine(self) -> bool:
        here = conditions()
        return all(self.conditions.get(key) == here.get(key) for key in _MACHINE)

    def write(self, path: str | os.PathLike) -> None:
        """As JSON; a file that is there already is replaced at once."""
        content = {
            "format": _FORMAT,
            "conditions": dict(self.conditions),
            "measurements": [dataclasses.asdict(row) for row in self.rows],
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: str | os.PathLike) -> Measurements:
    """Reads what `Measurements.write` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file.
    """
    return Measurements(*measured.read_file(path, _FORMAT, _measurement))


def _measurement(row: Mapping[str, Any]) -> Measurement:
    shape, milliseconds = measured.shape_and_milliseconds(row)
    (precision,) = (name for name in PRECISIONS if name == row["precision"])
    return Measurement(precision, int(row["threads"]), shape, milliseconds)


def measure(
    shape: LayerShape,
    candidates: Iterable[str],
    *,
    precision: Precision,
    threads: int = 1,
    dense: bool = False,
    rounds: int = 10,
) -> dict[str, Timings]:
    """Times lowerings of one layer in LiteRT, interleaved.

    Args:
        shape: of the layer.
        candidates: lowerings.
        precision: of the file.
        threads: of the interpreter.
        dense: whether to time its dense twin as well, as "dense".
        rounds: turns of each; a turn is one untimed run and five timed ones.
    """
    layers = {name: random_convolution(shape, name) for name in candidates}
    if dense:
        layers["dense"] = random_convolution(shape, "native", groups=1)
    calls = {name: _alone(layer, precision, threads) for name, layer in layers.items()}
    return interleaved(calls, rounds=rounds, per_turn=5, warmup=3, untimed_per_turn=1)


def _alone(layer: Convolution, precision: Precision, threads: int) -> Callable[[], object]:
    import tensorflow as tf

    images = np.random.default_rng(1).normal(size=(2, *layer.input_shape)).astype(np.float32)
    content = convert(
        lambda x: tf.nn.relu(layer(x)),
        [tf.TensorSpec((1, *layer.input_shape), tf.float32, name="images")],
        name=layer.lowering,
        precision=precision,
        calibration=(images,),
        quantized_interface=True,
    )
    interpreter = make_interpreter(content, threads)
    (given,) = interpreter.get_input_details()
    image = images[:1] if precision != "int8" else np.clip(images[:1] * 32, -128, 127)
    interpreter.set_tensor(given["index"], image.astype(given["dtype"]))
    return interpreter.invoke


def cache_file() -> Path:
    """Where the measurements of this machine are kept; XDG_CACHE_HOME moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "keras_roots" / _CACHE_FILE


def tuned(
    layers: Mapping[LayerShape, Sequence[str]],
    *,
    precision: Precision,
    threads: int,
    report: Callable[[str], object],
) -> Measurements:
    """Measurements of these layers on this machine: from the cache, or made and kept there.

    Args:
        layers: the lowerings of each that are to be compared.
        precision, threads: as of `measure`.
        report: takes a line for each layer that is measured, and for a cache
            that is of no use.
    """
    path = cache_file()
    known = _cached(path, report)
    kept = True
    for number, (shape, candidates) in enumerate(layers.items(), 1):
        row = known.find(precision, threads, shape)
        if row is None or not set(candidates) <= set(row.milliseconds):
            report(f"measuring layer {number} of {len(layers)}: {shape}, {precision}")
            timings = measure(shape, candidates, precision=precision, threads=threads)
            milliseconds = {name: timing.median * 1e3 for name, timing in timings.items()}
            row = Measurement(precision, threads, shape, milliseconds)
            old = known.find(precision, threads, shape)
            rows = tuple(each for each in known.rows if each is not old)
            known = dataclasses.replace(known, rows=(*rows, row))
            kept = kept and _keep(known, path, report)
    return known


def _keep(known: Measurements, path: Path, report: Callable[[str], object]) -> bool:
    """Writes the cache after each layer, for the measurements take long; says so if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known.write(path)
    except OSError as error:
        report(f"the measurements cannot be kept in '{path}': {error.strerror}")
        return False
    return True


def _cached(path: Path, report: Callable[[str], object]) -> Measurements:
    nothing = Measurements(conditions(), ())
    try:
        found = read(path)
    except FileNotFoundError:
        return nothing
    except (OSError, ValueError) as error:
        report(f"the cache of measurements is not used, and measured anew: {error}")
        return nothing
    if not found.of_this_machine():
        report(f"the measurements in '{path}' are of another machine or version, and are made anew")
        return nothing
    return found
