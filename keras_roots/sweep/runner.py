"""Trains the runs of an experiment, each in a process of its own, and keeps what they reach.

In the folder of a sweep:

* sweep.json: the configuration that all runs share, and the data;
* dense-seed-0/, root-8-seed-0/, ...: the work directory of each run;
* results.csv: a row for each run that has finished, written as it finishes;
* results.md, error.png, learning-curves.png: what they say together.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_roots import training
from keras_roots.reporting import duration, results_folder, write_json, write_text
from keras_roots.requirements import require_extras
from keras_roots.sweep import comparison, figures, rows
from keras_roots.sweep.experiment import VARIED, Experiment, Run, identity
from keras_roots.sweep.processes import RunProcess, prepare, share_of_cores
from keras_roots.training.config import Config, replaced
from keras_roots.training.signals import Signals
from keras_roots.training.workdir import differences_of

_SECONDS_BETWEEN_LOOKS = 0.2
_PREPARED = "sweep.json"
RESULTS = "results.csv"
_INTERRUPTED = (75, 130)


class Interrupted(training.Interrupted):
    """A signal asked for an end; the runs under way have written their state."""

    def __init__(self, number: int, done: int):
        super().__init__(number, done)
        self.args = (
            f"Interrupted ({signal.Signals(number).name}); {done} runs are done, and those under "
            "way have written their state. The same command goes on.",
        )


class RunsFailedError(RuntimeError):
    """Some runs ended without a result; the others are done."""


def run(
    base: Config,
    networks: tuple[str, ...] | list[str],
    seeds: tuple[int, ...] | list[int],
    folder: str | os.PathLike,
    *,
    jobs: int = 1,
    report: Callable[[str], object] = print,
) -> list[rows.Row]:
    """Trains each network from each seed, or goes on where an earlier call was.

    Args:
        base: the configuration of all runs; its `root` and `seed` mean nothing.
        networks: "dense", or topologies such as "root-8".
        seeds: of which each network is trained once.
        folder: of the sweep; made if there is none.
        jobs: how many runs at once, each with its share of the CPU's cores.
        report: takes each line of progress.

    Returns:
        The rows of all runs of this experiment that have finished.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: something that it
            needs is not there or not right; before any training.
        RunsFailedError: runs ended without a result, others may have finished.
        Interrupted: SIGTERM or SIGINT came; runs have written their state.
    """
    experiment = Experiment(base, tuple(networks), tuple(seeds))
    if jobs < 1:
        raise ValueError(f"Expected jobs of 1 or more. Received: {jobs}")
    sweep = Sweep(experiment, Path(folder).expanduser(), report)
    sweep.begin()
    sweep.train(jobs)
    return sweep.rows


class Sweep:
    """An experiment in its folder, checked.

    Args:
        experiment: what is trained.
        folder: where.
        report: takes each line.

    Attributes:
        prepared: see `prepare`.
        rows: of the runs that have finished, of this and other networks.

    Raises:
        ValueError: see `prepare`; or the folder is of another sweep.
        ModuleNotFoundError: an extra is not installed.
    """

    def __init__(self, experiment: Experiment, folder: Path, report: Callable[[str], object]):
        require_extras("A sweep", {"matplotlib": "plots", "scipy": "datasets"})
        self.experiment, self.folder, self._report = experiment, folder, report
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"The folder '{folder}' is a file. Give another one.")
        there = self._there()
        self._check(there, {}, "")
        self.prepared = prepare(experiment)
        self._check(there, self.prepared["data"], self.prepared["backend"])
        self.configuration = identity(
            experiment.common(), self.prepared["data"], self.prepared["backend"]
        )
        self.rows = rows.read(folder / RESULTS, self.configuration)
        self._take_finished()

    @property
    def missing(self) -> list[Run]:
        """Runs that have not finished."""
        done = {row.name for row in self.rows}
        return [run for run in self.experiment.runs if run.name not in done]

    def _there(self) -> dict[str, Any] | None:
        """The sweep that the folder is of, if it is of one."""
        path = self.folder / _PREPARED
        if not path.is_file():
            return None
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            config = replaced(Config(), there["config"])
            return {"config": config, "data": dict(there["data"]), "backend": there["backend"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"'{path}' is not as a sweep wrote it: {error!r}") from None

    def _check(self, there: dict[str, Any] | None, data: dict[str, Any], backend: str) -> None:
        """Refuses the folder of another sweep; of data and backend as far as they are known."""
        if there is None:
            return
        now = replaced(
            self.experiment.base, {name: getattr(there["config"], name) for name in VARIED}
        )
        differences = differences_of(there["config"], now, there["data"], data)
        if backend and there["backend"] != backend:
            differences["backend"] = f"{there['backend']!r} there, {backend!r} now"
        if differences:
            listed = "; ".join(f"{name}: {values}" for name, values in differences.items())
            raise ValueError(
                f"The folder '{self.folder}' belongs to another sweep. {listed}. Give another "
                "one, or the same configuration to go on."
            )

    def begin(self) -> None:
        """Makes the folder and writes what the sweep is of."""
        results_folder(self.folder, overwrite=True)
        record = {
            "config": self.experiment.base.as_dict(),
            **{name: self.prepared[name] for name in ("data", "data_name", "backend")},
            "configuration": self.configuration,
        }
        write_json(self.folder / _PREPARED, record)

    def _take_finished(self) -> None:
        """Rows of runs that ended when nobody was there to write them down."""
        for run in self.missing:
            row = self._row_of(run)
            if row is not None:
                self.rows.append(row)

    def _row_of(self, run: Run) -> rows.Row | None:
        return rows.of_run(
            run,
            self.folder / run.name,
            self.prepared["networks"][run.network],
            self.prepared["data"],
            self.configuration,
        )

    def train(self, jobs: int) -> None:
        """Trains what is missing; see `run`."""
        waiting = self.missing
        total = len(self.experiment.runs)
        self._report(f"{total} runs: {total - len(waiting)} are done, {len(waiting)} to do")
        if self.rows:
            self._write()
        free = list(range(min(jobs, max(1, len(waiting)))))
        under_way: dict[int, RunProcess] = {}
        failed: list[str] = []
        with Signals() as signals:
            try:
                while (waiting and not signals.is_set) or under_way:
                    while waiting and free and not signals.is_set:
                        slot = free.pop(0)
                        under_way[slot] = self._start(waiting.pop(0), slot, jobs)
                    if signals.received is not None:
                        for child in under_way.values():
                            child.interrupt(signals.received)
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    for slot in [slot for slot, child in under_way.items() if child.has_ended]:
                        free.append(slot)
                        self._take(under_way.pop(slot), failed)
                        self._report_left(waiting, under_way)
            finally:  # Whatever is raised, as by a full disk, no run stays behind.
                for child in under_way.values():
                    child.stop()
        if signals.received is not None:
            raise Interrupted(signals.received, len(self.rows))
        if failed:
            raise RunsFailedError(
                f"Without a result: {', '.join(failed)}. The same command tries them again."
            )

    def _start(self, run: Run, slot: int, jobs: int) -> RunProcess:
        self._report(f"Begins: {run.name}")
        cores = share_of_cores(slot, jobs)
        return RunProcess(run, self.folder / run.name, cores, self._report if jobs > 1 else None)

    def _take(self, child: RunProcess, failed: list[str]) -> None:
        run, code = child.run, child.exit_code
        row = self._row_of(run) if code == 0 else None
        if row is None:
            if code not in _INTERRUPTED:
                failed.append(run.name)
            self._report(f"Ended without a result (exit code {code}): {run.name}")
            return
        self.rows.append(row)
        self._write()
        self._report(
            f"Done: {run.name}, top-1 {100 * row.top1:.2f}% of {row.images:,} held-out images"
        )

    def _report_left(self, waiting: list[Run], under_way: dict[int, RunProcess]) -> None:
        seconds = [row.training_seconds for row in self.rows]
        count = len(waiting) + len(under_way)
        if count and seconds:
            jobs = max(1, len(under_way))
            left = duration(count * sum(seconds) / len(seconds) / jobs)
            self._report(f"{count} runs left, about {left} if they take as long as those done")

    def _write(self) -> None:
        if self.folder.is_dir():
            rows.write(self.folder / RESULTS, self.rows)
            found = self.comparison()
            write_text(self.folder / "results.md", found.markdown() + "\n")
            figures.error(found, self.folder / "error.png")
            figures.learning_curves(found, self.folder, self.folder / "learning-curves.png")

    def comparison(self) -> comparison.Comparison:
        """What the rows say together."""
        return comparison.compare(self.rows, self.experiment.base, self.prepared)
