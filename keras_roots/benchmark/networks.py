"""Latency of networks: models x filter groups x runtimes x precision x threads x batch.

Each candidate has a process of its own, in which nothing else is loaded; those of one *session*
(one network, one way to run it) take turns, so that ratios to dense are of one run. After each
session the file of results is whole, and what is in it already is not measured again.
"""

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_roots.benchmark import artifacts, records
from keras_roots.benchmark.artifacts import Artifacts
from keras_roots.benchmark.candidates import Candidate
from keras_roots.benchmark.measured import calibration_images
from keras_roots.benchmark.networks_plan import Plan
from keras_roots.benchmark.records import Record, Results, Session
from keras_roots.benchmark.workers import Worker, started
from keras_roots.reporting import silent
from keras_roots.timing import busy_cores, load_average, turns


def resumed(plan: Plan, path: str | os.PathLike) -> Results:
    """What an earlier run left there, to go on with; nothing, if there is no file.

    Raises:
        ValueError: it is another kind of file, or was measured under other
            conditions.
    """
    conditions = plan.conditions()
    if not Path(path).exists():
        return Results(conditions, [])
    found = records.read(path)
    if differing := found.differing(conditions):
        were = ", ".join(f"{name} {found.conditions.get(name)}" for name in differing)
        now = ", ".join(f"{name} {conditions.get(name)}" for name in differing)
        raise ValueError(
            f"'{path}' was measured under other conditions: {were}. Now: {now}. Give another file."
        )
    for session, candidates in plan.sessions.items():
        there = {record.topology for record in found.of(session)}
        asked = {candidate.topology for candidate in candidates}
        if not _is_in(found, session, candidates) and not there <= asked:
            raise ValueError(
                f"'{path}' holds {', '.join(sorted(there - asked))} of {session}, of which "
                "others cannot be measured later beside. Ask for all of them, or give another file."
            )
    return found


def measure(
    plan: Plan, path: str | os.PathLike, *, report: Callable[[str], object] = silent
) -> Results:
    """Runs the sessions one after the other.

    Args:
        plan: of `networks_plan.plan`.
        path: of the results, JSON, which is written after each session; of an
            interrupted run, which then goes on.
        report: takes lines of progress.

    Returns:
        All that is in the file then, of this run or an earlier one.

    Raises:
        ValueError: see `resumed`.
        RuntimeError: a network cannot be run, or not as Keras does.
    """
    results = resumed(plan, path)
    with tempfile.TemporaryDirectory(prefix="keras-roots-") as folder:
        ranges = functools.partial(calibration_images, plan.calibration)
        made = Artifacts(Path(folder), ranges, report)
        for number, (session, candidates) in enumerate(plan.sessions.items(), 1):
            title = f"{number}/{len(plan.sessions)} {session}"
            if _is_in(results, session, candidates):
                report(f"{title}: measured already")
                continue
            report(title)
            ready = [(each, made.get(each, session)) for each in candidates]
            found = _measure(session, ready, plan, Path(folder), report)
            results = results.with_session(found)
            records.write_json(path, results)
    return results


def selected(results: Results, plan: Plan) -> Results:
    """Those records that the plan asks for, in its order."""
    return Results(
        results.conditions,
        [
            record
            for session, candidates in plan.sessions.items()
            for candidate in candidates
            for record in results.of(session)
            if record.topology == candidate.topology
        ],
    )


def _is_in(results: Results, session: Session, candidates: Sequence[Candidate]) -> bool:
    found = [(record.topology, record.weights) for record in results.of(session)]
    wanted = [(candidate.topology, candidate.weights) for candidate in candidates]
    return found[:1] == wanted[:1] and set(wanted) <= set(found)


def _measure(
    session: Session,
    ready: Sequence[tuple[Candidate, artifacts.Artifact]],
    plan: Plan,
    folder: Path,
    report: Callable[[str], object],
) -> list[Record]:
    load, busy = load_average(), busy_cores()
    if busy is not None and busy > records.QUIET:
        report(f"warning: other processes keep {busy:.1f} cores busy; times will be of both")
    began = time.strftime("%Y-%m-%dT%H:%M:%S")
    with contextlib.ExitStack() as stack:
        waiting: dict[str, Worker] = {}
        for number, (candidate, artifact) in enumerate(ready):
            outputs = folder / f"outputs-{number}.npy"
            name = f"{candidate.network} {candidate.topology} in {session.runtime}"
            worker = started(name, session, artifact, outputs)
            waiting[candidate.topology] = stack.enter_context(worker)
            artifacts.verify(np.load(outputs), artifact, session)
        seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in waiting}
        for done, order in enumerate(turns(waiting, plan.rounds), 1):
            for name in order:
                seconds[name].append(waiting[name].run(plan.per_turn))
            report(f"round {done} of {plan.rounds}")
        memory = {name: worker.end() for name, worker in waiting.items()}
    return [
        Record(
            session=session,
            topology=candidate.topology,
            weights=candidate.weights,
            parameters=candidate.parameters,
            macs=candidate.macs,
            load_s=waiting[candidate.topology].load_s,
            compile_s=waiting[candidate.topology].compile_s,
            memory_mib=memory[candidate.topology],
            load=load,
            busy=busy,
            measured=began,
            seconds=tuple(seconds[candidate.topology]),
        )
        for candidate, _ in ready
    ]
