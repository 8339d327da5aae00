"""The fastest lowering on the machine at hand: measured once, and kept.

Results hold for a machine and a version of the runtime; the user's cache folder
keeps those of the machine at hand.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from keras_roots.lowering import choice, measured
from keras_roots.lowering.contexts import CONTEXTS, Choice
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.measured import Measurement, Measurements
from keras_roots.lowering.ways import Lowering
from keras_roots.timing import Timings, conditions

# Times the lowerings of a layer in turns.
Timer = Callable[[LayerShape, Sequence[Lowering]], Mapping[str, Timings]]

# What must be equal for a measurement to hold.
_MACHINE = (
    *("processor", "flags", "cores", "system"),
    *("ai-edge-litert", "tensorflow", "keras_roots"),
)
_CACHE_FILE = "lowerings.json"


def of_this_machine(there: Mapping[str, object]) -> bool:
    """Whether measurements under these conditions hold here and now."""
    here = conditions()
    return all(there.get(key) == here.get(key) for key in _MACHINE)


def cache_file() -> Path:
    """Where the measurements of this machine are kept; XDG_CACHE_HOME moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "keras_roots" / _CACHE_FILE


def tuned(
    shapes: Iterable[LayerShape],
    context: str,
    timer: Timer,
    *,
    threads: int | None,
    report: Callable[[str], object],
) -> dict[LayerShape, Choice]:
    """The lowerings of forward passes of one image, by measurements on this machine.

    They are taken from the cache, or made and kept there.

    Args:
        shapes: of the layers.
        context: of `contexts.CONTEXTS`, of one type.
        timer: measures there.
        threads: with which it does.
        report: takes a line for each layer that is measured, and for a cache
            that is of no use.
    """
    path = cache_file()
    known = _cached(path, context, report)
    dtype = CONTEXTS[context].dtype or "float32"
    shapes = list(dict.fromkeys(shapes))
    kept, found = True, {}
    for number, shape in enumerate(shapes, 1):
        if (settled := CONTEXTS[context].settled(shape, "forward")) is not None:
            found[shape] = settled
            continue
        names = choice.candidates(shape, context)
        wanted = Measurement(context, "forward", 1, threads, dtype, "channels_last", shape, {})
        row = known.find(wanted)
        if row is None or not set(names) <= set(row.milliseconds):
            report(f"measuring layer {number} of {len(shapes)}: {shape}, {context}")
            row = wanted.with_times(timer(shape, names), names)
            known = known.updated(row, conditions())
            kept = kept and _keep(known, path, report)
        found[shape] = choice.by_times(row.milliseconds, "measured on this machine")
    return found


def _keep(known: Measurements, path: Path, report: Callable[[str], object]) -> bool:
    """Writes the cache after each layer, for the measurements take long; says so if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known.write(path)
    except OSError as error:
        report(f"the measurements cannot be kept in '{path}': {error.strerror}")
        return False
    return True


def _cached(path: Path, context: str, report: Callable[[str], object]) -> Measurements:
    try:
        found = measured.read(path)
    except FileNotFoundError:
        return Measurements({}, ())
    except (OSError, ValueError) as error:
        report(f"the cache of measurements is not used, and measured anew: {error}")
        return Measurements({}, ())
    if context in found.conditions and not of_this_machine(found.conditions[context]):
        report(f"the measurements in '{path}' are of another machine or version, and are made anew")
        return Measurements(
            {name: each for name, each in found.conditions.items() if name != context},
            tuple(row for row in found.rows if row.context != context),
        )
    return found
