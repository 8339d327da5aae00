"""How long it takes to build a network, weights drawn, beside one of keras.applications."""

import difflib
import functools
import gc
from collections.abc import Callable

import keras

from keras_roots.benchmark.measured import require_positive
from keras_roots.models import build
from keras_roots.reporting import silent
from keras_roots.timing import Timings, interleaved
from keras_roots.topology import RootLike


def building(
    model: str,
    root: RootLike,
    *,
    reference: str,
    rounds: int,
    report: Callable[[str], object] = silent,
) -> dict[str, tuple[int, Timings]]:
    """Times the building of two networks, interleaved.

    Args:
        model: a registry name.
        root: its filter groups.
        reference: a network of keras.applications, such as "ResNet152V2".
        rounds: how often each is built.
        report: see `interleaved`.

    Returns:
        The number of layers, and the timings, of each by its name.

    Raises:
        ValueError: an argument is not as above.
    """
    require_positive(rounds=rounds)
    known = [name for name in dir(keras.applications) if name[0].isupper()]
    if reference not in known:
        near = difflib.get_close_matches(reference, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"keras.applications has no network {reference!r}.{hint}")
    makers = (
        functools.partial(build, model, root=root),
        functools.partial(getattr(keras.applications, reference), weights=None),
    )

    def timed(make):
        def call():
            make()
            keras.backend.clear_session()  # Keras keeps names, and would slow down with them.

        return call

    layers, candidates = {}, {}
    for make in makers:
        built = make()
        layers[built.name] = len(built.layers)
        candidates[built.name] = timed(make)
        del built
    gc.collect()
    timings = interleaved(candidates, rounds=rounds, warmup=1, report=report)
    return {name: (layers[name], timings[name]) for name in layers}
