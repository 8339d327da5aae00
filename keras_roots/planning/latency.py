"""Latency of plans on this machine: predicted from one level at a time, and measured.

Measured are, level by level, the dense network and those in which that level
alone has each of its degrees, in turns (`keras_roots.benchmark.networks`). The
prediction for a plan is the dense network's latency less what each of its
levels saves alone. It is wrong where levels are not independent, as where one
stays in the caches only if another is small; so the plans that are recommended
are measured as they are, again in turns with the dense network.

One image, float32, on the processor, random weights. Of each turn the quicker
half of its inferences counts: a prediction adds differences up, and those that
another process interrupts take several times as long.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.benchmark import artifacts
from keras_roots.benchmark import candidates as benchmarked
from keras_roots.benchmark import networks as benchmark
from keras_roots.benchmark.networks_plan import Plan
from keras_roots.benchmark.records import Record, Results, Session
from keras_roots.planning.networks import Degrees, Network
from keras_roots.reporting import silent
from keras_roots.surgery import without_auxiliary_heads
from keras_roots.timing import Ratio, Rounds, cores_allowed, ratio_of_medians


@dataclasses.dataclass(frozen=True)
class Timing:
    """How latency is measured.

    Attributes:
        runtime: of `keras_roots.benchmark.artifacts.RUNTIMES`.
        threads: of it.
        rounds: turns of each network; of fewer than 6 no interval is known.
        per_turn: timed inferences in a turn.
    """

    runtime: str = "litert"
    threads: int = 1
    rounds: int = 12
    per_turn: int = 10

    def check(self) -> None:
        """Raises a ValueError or ModuleNotFoundError for what cannot be measured so."""
        artifacts.require_runtime(self.runtime)
        if not 1 <= self.threads <= cores_allowed():
            raise ValueError(
                f"Expected threads of 1 to {cores_allowed()}, the cores here. Received: "
                f"{self.threads}"
            )
        if self.rounds < 1 or self.per_turn < 1:
            raise ValueError(
                f"Expected rounds and inferences of a turn of 1 or more. Received: {self.rounds} "
                f"and {self.per_turn}"
            )


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one plan.

    Attributes:
        ratio: to the dense network beside it.
        seconds: of an inference.
    """

    ratio: Ratio
    seconds: float


@dataclasses.dataclass(frozen=True)
class Savings:
    """What was measured of one level at a time.

    Attributes:
        dense: of an inference of the dense network, in seconds.
        ratios: by level and degree, of the network to the dense one.
        conditions: what it holds for.
        busy: the most cores that other processes kept busy meanwhile, or None.
    """

    dense: float
    ratios: tuple[Mapping[int, Ratio], ...]
    conditions: Mapping[str, Any]
    busy: float | None

    def predicted(self, degrees: Degrees) -> float | None:
        """Relative to the dense network; None if a degree was not measured."""
        if any(d not in each for d, each in zip(degrees, self.ratios, strict=True)):
            return None
        return 1 - sum(1 - each[d].value for d, each in zip(degrees, self.ratios, strict=True))


def savings(
    network: Network,
    plans: Iterable[Degrees],
    timing: Timing,
    report: Callable[[str], object] = silent,
) -> Savings:
    """Measures every degree of these plans, one level at a time.

    Raises:
        ValueError: the network is not from one image of a fixed size to one output.
        RuntimeError: it cannot be run, or not as Keras does.
    """
    wanted = [sorted(set(of_level)) for of_level in zip(*plans, strict=True)]
    groups: dict[str, list[Degrees]] = {}
    for number, of_level in enumerate(wanted):
        alone = [_alone(network, number, degree) for degree in of_level if degree > 1]
        if alone:
            groups[f"{network.name}, level {number}"] = alone
    count = sum(map(len, groups.values()))
    report(f"{network.name}: timing the dense network and {count} with one level grouped")
    results = _measure(network, groups, timing, report)
    ratios = [{1: Ratio(1.0, 1.0, 1.0)} for _ in wanted]
    dense: list[Record] = []
    for session in results.sessions:
        reference, *others = results.of(session)
        dense.append(reference)
        for degrees, record in zip(groups[session.network], others, strict=True):
            (number,) = (place for place, degree in enumerate(degrees) if degree > 1)
            ratios[number][degrees[number]] = _ratio(record, reference)
    busy = [record.busy for record in results.records if record.busy is not None]
    return Savings(
        float(np.median([_seconds(record) for record in dense])),
        tuple(ratios),
        results.conditions,
        max(busy, default=None),
    )


def measured(
    network: Network,
    plans: Sequence[Degrees],
    timing: Timing,
    report: Callable[[str], object] = silent,
) -> dict[Degrees, Measured]:
    """Measures plans as they are, in turns with the dense network; errors as of `savings`."""
    if not plans:
        return {}
    results = _measure(network, {network.name: list(plans)}, timing, report)
    reference, *records = results.records
    return {
        degrees: Measured(_ratio(record, reference), _seconds(record))
        for degrees, record in zip(plans, records, strict=True)
    }


def _quicker(record: Record) -> Rounds:
    """Half of the times of each turn."""
    return [sorted(turn)[: (len(turn) + 1) // 2] for turn in record.seconds]


def _seconds(record: Record) -> float:
    return float(np.median(_quicker(record)))


def _ratio(record: Record, reference: Record) -> Ratio:
    return ratio_of_medians(_quicker(record), _quicker(reference), paired=True)


def _measure(
    network: Network,
    groups: Mapping[str, Sequence[Degrees]],
    timing: Timing,
    report: Callable[[str], object],
) -> Results:
    """A session for each group, the dense network first in it."""
    shape = _image_shape(network)

    def candidate(degrees: Degrees) -> benchmarked.Candidate:
        is_dense = degrees == network.dense
        return benchmarked.Candidate(
            network=network.name,
            topology="dense" if is_dense else "degrees-" + "-".join(map(str, degrees)),
            weights=benchmarked.RANDOM,
            input_shape=shape,
            make=functools.partial(_model, network, degrees),
        )

    sessions = {
        Session(name, timing.runtime, "cpu", "float32", timing.threads, 1): tuple(
            map(candidate, [network.dense, *group])
        )
        for name, group in groups.items()
    }
    plan = Plan(sessions, timing.rounds, timing.per_turn, None, {}, None)
    with tempfile.TemporaryDirectory(prefix="keras-roots-") as folder:
        return benchmark.measure(plan, Path(folder) / "latency.json", report=report)


def _model(network: Network, degrees: Degrees) -> keras.Model:
    keras.utils.set_random_seed(0)
    return without_auxiliary_heads(network.make(degrees))


def _image_shape(network: Network) -> tuple[int, ...]:
    model = _model(network, network.dense)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or None in shapes[0] or len(model.outputs) != 1:
        raise ValueError(
            "Latency is measured of models from one image of a fixed size to one output. "
            f"Received: '{network.name}', with inputs of {', '.join(map(str, shapes))} and "
            f"{len(model.outputs)} outputs"
        )
    return shapes[0]


def _alone(network: Network, number: int, degree: int) -> Degrees:
    """The degrees with which one level is grouped, and no other."""
    degrees = list(network.dense)
    degrees[number] = degree
    return tuple(degrees)
