"""What `benchmark networks` measured: records with their conditions, as JSON and CSV."""

import dataclasses
import functools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots import reporting
from keras_roots.benchmark.measured import require_file
from keras_roots.timing import Ratio, ratio_of_medians

FORMAT = 1
FILES = "files"
# Cores that others may keep busy before it is said.
QUIET = 0.5


@dataclasses.dataclass(frozen=True)
class Session:
    """What runs in turns: all topologies of one network, in one way.

    Attributes:
        network: a registry name; `FILES` of those that were given as files.
        runtime: of `artifacts.RUNTIMES`.
        device: "cpu" or "gpu".
        precision: of `export_tflite`; "as it is" of TFLite files that were given.
        threads: on a CPU; None on a GPU.
        batch: images of one inference.
    """

    network: str
    runtime: str
    device: str
    precision: str
    threads: int | None
    batch: int

    def words(self) -> dict[str, str]:
        """How it ran, by attribute, for people."""
        found = {
            "runtime": self.runtime,
            "device": self.device.upper(),
            "precision": self.precision,
            "batch": f"batch {self.batch}",
        }
        if self.threads is not None:
            found["threads"] = reporting.numbers.counted(self.threads, "thread")
        return found

    def __str__(self) -> str:
        return f"{self.network}: {', '.join(self.words().values())}"


def names(sessions: Sequence[Session]) -> tuple[str, dict[Session, str]]:
    """A title of what one network's sessions share, and what tells each from others but device."""
    words = {session: session.words() for session in sessions}
    common = {}
    for attribute in ("runtime", "precision", "batch", "threads"):
        found = {each[attribute] for each in words.values() if attribute in each}
        if len(found) == 1:
            common[attribute] = found.pop()
    network = sessions[0].network
    return f"{network}: {', '.join(common.values())}" if common else network, {
        session: " ".join(
            word for name, word in each.items() if name not in common and name != "device"
        )
        for session, each in words.items()
    }


@dataclasses.dataclass(frozen=True)
class Record:
    """What was measured of one candidate of a session. Times are of a whole batch.

    Attributes:
        session: with what it took turns.
        topology: "dense", such as "root-16", or the file that was given.
        weights: "random", or the hash of the file that they are of.
        parameters: of `keras_roots.cost`, plain convention; None of a TFLite
            file that was given.
        macs: multiply-accumulates for one image; None likewise.
        load_s: of reading the artifact and making it ready, in seconds.
        compile_s: of the first inference, in seconds, with compilation where
            the runtime does it then.
        memory_mib: largest resident memory less that before the artifact was
            loaded; on a GPU the largest that it allocated there.
        load: processes that ran in the minute before the session; None where
            the system does not tell.
        busy: cores that others kept busy in the half second before; likewise.
        measured: when the session began.
        seconds: of each inference, round by round.
    """

    session: Session
    topology: str
    weights: str
    parameters: int | None
    macs: int | None
    load_s: float
    compile_s: float
    memory_mib: float | None
    load: float | None
    busy: float | None
    measured: str
    seconds: tuple[tuple[float, ...], ...]

    @property
    def n(self) -> int:
        """Timed inferences."""
        return sum(map(len, self.seconds))

    def percentile(self, percent: float) -> float:
        """Of the time of an inference, in ms."""
        return float(1e3 * np.percentile(np.ravel(self.seconds), percent))

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def spread(self) -> float:
        """From the 10th to the 90th percentile, relative to the median."""
        return (self.percentile(90) - self.percentile(10)) / self.p50

    def times(self) -> dict[str, float]:
        """Percentiles and minimum of an inference, in ms."""
        names = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "min_ms": 0}
        return {name: self.percentile(percent) for name, percent in names.items()}


class Results:
    """Records of one run, in the order of measurement; a session's first is its reference."""

    def __init__(self, conditions: Mapping[str, Any], records: Iterable[Record]):
        self.conditions = dict(conditions)
        self.records = tuple(records)
        self.ratio = functools.cache(self._ratio)

    def differing(self, conditions: Mapping[str, Any]) -> list[str]:
        """The names of the conditions that are others, but for the date."""
        names = [name for name in {**self.conditions, **conditions} if name != "date"]
        return [name for name in names if self.conditions.get(name) != conditions.get(name)]

    @property
    def sessions(self) -> list[Session]:
        return list(dict.fromkeys(record.session for record in self.records))

    def names(self) -> list[tuple[str, str]]:
        """The networks and topologies."""
        return list(dict.fromkeys((each.session.network, each.topology) for each in self.records))

    def by_network(self) -> dict[str, "Results"]:
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.session.network, []).append(record)
        return {network: Results(self.conditions, records) for network, records in found.items()}

    def by_topology(self) -> dict[str, dict[Session, Record]]:
        """Of one network, the records of each topology; its counts are the same in all."""
        found: dict[str, dict[Session, Record]] = {}
        for record in self.records:
            found.setdefault(record.topology, {})[record.session] = record
        return found

    @property
    def reference_name(self) -> str:
        """What others of one network are relative to."""
        return "first" if self.records[0].session.network == FILES else "dense"

    def of(self, session: Session) -> list[Record]:
        return [record for record in self.records if record.session == session]

    def reference(self, record: Record) -> Record:
        """The dense network of the same session, or its first file."""
        return self.of(record.session)[0]

    def _ratio(self, record: Record) -> Ratio:
        """Of its time to its reference's."""
        reference = self.reference(record)
        return ratio_of_medians(record.seconds, reference.seconds, paired=True)

    def with_session(self, records: Sequence[Record]) -> "Results":
        """These in place of those of the same session."""
        others = [each for each in self.records if each.session != records[0].session]
        return Results(self.conditions, [*others, *records])


def write_json(path: str | os.PathLike, results: Results) -> None:
    content = {
        "format": FORMAT,
        "conditions": results.conditions,
        "records": [
            {**_row(results, record), "seconds": record.seconds} for record in results.records
        ],
    }
    reporting.write_json(path, content, indent=1)


def write_csv(path: str | os.PathLike, results: Results) -> None:
    """A row for each record, with the conditions."""
    rows = [{**_row(results, record), **results.conditions} for record in results.records]
    reporting.write_csv(path, rows)


def _row(results: Results, record: Record) -> dict[str, Any]:
    """All of a record but its single times, and what follows from these."""
    fields = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name not in ("session", "seconds")
    }
    ratio = results.ratio(record)
    return {
        **dataclasses.asdict(record.session),
        **fields,
        "n": record.n,
        **record.times(),
        "ratio_to_dense": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
    }


def read(path: str | os.PathLike) -> Results:
    """What `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    require_file(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        if not isinstance(content.get("conditions"), dict):
            raise ValueError("it has no conditions")
        if not isinstance(content.get("records"), list) or not content["records"]:
            raise ValueError("it has no records")
        results = Results(content["conditions"], [_record(row) for row in content["records"]])
        for session in results.sessions:
            if len({len(record.seconds) for record in results.of(session)}) > 1:
                raise ValueError(f"its records of {session} have not as many rounds")
        return results
    except ValueError as error:  # Of JSON and of Unicode, too.
        raise ValueError(f"'{path}' is no JSON file of benchmark networks: {error}") from error


def _record(row: Any) -> Record:
    if not isinstance(row, dict):
        raise ValueError("a record is no object")
    session = reporting.checked(Session, row)
    return reporting.checked(Record, row, session=session, seconds=_seconds(row.get("seconds")))


def _seconds(rounds: Any) -> tuple[tuple[float, ...], ...]:
    """Times round by round, of as many in each."""
    if not isinstance(rounds, list) or not rounds or not all(isinstance(r, list) for r in rounds):
        raise ValueError("a record has no seconds")
    numbers = [number for each in rounds for number in each]
    if (
        len({len(each) for each in rounds}) != 1
        or not numbers
        or not all(isinstance(n, float) and math.isfinite(n) and n > 0 for n in numbers)
    ):
        raise ValueError("a record's seconds are no positive numbers, as many in each round")
    return tuple(tuple(each) for each in rounds)
