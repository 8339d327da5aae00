"""The processes of a sweep: one that checks, and one for each run."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_roots.sweep.experiment import Experiment, Run
from keras_roots.timing import environment_of_cpu

# What it says of itself as it starts, of all its processes the same.
_OF_TENSORFLOW = re.compile(r"[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl")


def prepare(experiment: Experiment) -> dict[str, Any]:
    """Checks the data and builds every network, in another process, before any training.

    Returns:
        "data", its fingerprint; "data_name"; "backend" of Keras; and
        "networks", by name "parameters" and "macs" by the paper's rule.

    Raises:
        ValueError: something is missing, or a network cannot be built.
    """
    first = {run.network: run for run in reversed(experiment.runs)}
    asked = {name: json.dumps(first[name].config.as_dict()) for name in experiment.networks}
    done = subprocess.run(
        [sys.executable, "-m", "keras_roots.sweep.child", "check"],
        input=json.dumps(asked),
        env=_environment(environment_of_cpu()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ValueError(lines[-1] if lines else f"The check ended with {done.returncode}.")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _environment(environment: dict[str, str]) -> dict[str, str]:
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **environment}


def share_of_cores(slot: int, jobs: int) -> list[int]:
    """The cores of one of several jobs; none if it may take all, or the system cannot tell."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    return cores[slot::jobs] or [cores[slot % len(cores)]]


class RunProcess:
    """A run under way.

    Args:
        run: the run.
        folder: its work directory.
        cores: on which it computes; none for all.
        report: takes each line of its progress, with its name before it; None
            to let it write to the terminal itself.
    """

    def __init__(
        self, run: Run, folder: Path, cores: list[int], report: Callable[[str], object] | None
    ):
        self.run, self._asked = run, False
        environment = _environment(dict(os.environ))
        if cores:
            environment["SWEEP_CORES"] = ",".join(map(str, cores))
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "keras_roots.sweep.child", "train", str(folder)],
            stdin=subprocess.PIPE,
            stdout=None if report is None else subprocess.PIPE,
            stderr=None if report is None else subprocess.STDOUT,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C reaches it once, through `interrupt`.
        )
        with self._process.stdin as stdin:  # type: ignore[union-attr]
            stdin.write(json.dumps(run.config.as_dict()))
        self._reader: threading.Thread | None = None
        if report is not None:
            self._reader = threading.Thread(target=self._forward, args=(report,), daemon=True)
            self._reader.start()

    def _forward(self, report: Callable[[str], object]) -> None:
        for line in self._process.stdout:  # type: ignore[union-attr]
            if not _OF_TENSORFLOW.match(line):
                report(f"{self.run.name}: {line.rstrip()}")

    @property
    def has_ended(self) -> bool:
        if self._process.poll() is None:
            return False
        if self._reader is not None:
            self._reader.join()
            self._process.stdout.close()  # type: ignore[union-attr]
            self._reader = None
        return True

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def interrupt(self, number: int) -> None:
        """Sends a signal, once."""
        if not self._asked:
            self._asked = True
            self._process.send_signal(number)

    def stop(self) -> None:
        """Ends it, when it has written its state."""
        self.interrupt(signal.SIGTERM)
        self._process.wait()
        _ = self.has_ended
