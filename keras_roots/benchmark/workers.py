"""The processes that time candidates for `benchmark networks`: see `worker`."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from keras_roots.benchmark.artifacts import Artifact
from keras_roots.benchmark.records import Session
from keras_roots.timing import environment_of

_PROGRAM = Path(__file__).with_name("worker.py")
WARMUP = 3  # Untimed inferences after the first.


class Worker:
    """A process that has its artifact loaded and waits for its turns.

    Attributes:
        load_s, compile_s: as of a `records.Record`.
    """

    def __init__(self, name: str, process: subprocess.Popen, errors: TextIO):
        self.name, self._process, self._errors = name, process, errors
        self._requests: Any = process.stdin
        self._answers: Any = process.stdout
        ready = self._answer()
        self.load_s, self.compile_s = ready["load_s"], ready["compile_s"]

    def run(self, count: int) -> tuple[float, ...]:
        """Seconds of so many inferences, after one untimed.

        Raises:
            RuntimeError: the process died.
        """
        self._say(f"run {count}")
        return tuple(self._answer()["seconds"])

    def end(self) -> float | None:
        """Lets it quit, and returns its memory in MiB; None where that is unknown."""
        self._say("end")
        found = self._answer()["memory_bytes"]
        self._process.wait()
        return None if found is None else found / 2**20

    def _say(self, line: str) -> None:
        try:
            self._requests.write(f"{line}\n")
            self._requests.flush()
        except OSError:  # It died between two turns; why, its answer will say.
            return

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        lines = [each.strip() for each in self._errors if each.strip()]
        reason = lines[-1] if code > 0 and lines else f"exit code {code}"
        raise RuntimeError(f"The process that times {self.name} died: {reason}")


@contextlib.contextmanager
def started(name: str, session: Session, artifact: Artifact, outputs: Path) -> Iterator[Worker]:
    """A worker, ready; however this is left, its process is gone.

    Args:
        name: of what it times, for errors.
        session: what it runs in.
        artifact: what it runs, on its images, repeated to fill the batch.
        outputs: the .npy file to write what came out to.

    Raises:
        RuntimeError: it died before it was ready.
    """
    specification = {
        **dataclasses.asdict(session),
        "artifact": artifact.path,
        "images": artifact.images,
        "outputs": str(outputs),
        # LiteRT has as many threads as it is told; the others as there are cores.
        "cores": None if session.runtime == "litert" else session.threads,
        "warmup": WARMUP,
    }
    log = outputs.with_suffix(".log")
    with log.open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(_PROGRAM), json.dumps(specification)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=environment_of(session.device),
            start_new_session=True,  # Interrupted from the keyboard, it is left to us to end it.
        )
        try:
            yield Worker(name, process, errors)
        finally:
            process.kill()
            process.communicate()  # Waits, and closes its pipes.
