"""Accuracies to set beside latencies: of a file, or those that the paper reports."""

import dataclasses
import os
from collections.abc import Iterable, Mapping

from keras_roots import topology
from keras_roots.benchmark.measured import name_of, require_file
from keras_roots.benchmark.records import Record
from keras_roots.paper import results as paper_results
from keras_roots.reporting import read_csv

PAPER = "paper"


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """Accuracies, 0-1.

    Attributes:
        source: where they are from, in words.
        rows: top-1 and top-5 (None if it is not known) by network and
            topology, as of a `records.Record`.
    """

    source: str
    rows: Mapping[tuple[str, str], tuple[float, float | None]]

    def top1(self, record: Record) -> float | None:
        return self.rows.get((record.session.network, record.topology), (None, None))[0]

    def top5(self, record: Record) -> float | None:
        return self.rows.get((record.session.network, record.topology), (None, None))[1]

    def require_some(self, candidates: Iterable[tuple[str, str]]) -> None:
        """Raises a ValueError if there is none of these networks and topologies."""
        candidates = list(candidates)
        if not any(each in self.rows for each in candidates):
            wanted = ", ".join(" ".join(each) for each in candidates)
            raise ValueError(f"There is no accuracy of {wanted}: they are {self.source}.")


def accuracies(source: str) -> Accuracies:
    """Those of the paper ("paper"), or of a CSV file: network, topology, top1 and maybe top5.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    if source == PAPER:
        return Accuracies(
            "published by the paper, not measured here",
            {
                (network, name): (result.top1, result.top5)
                for network, results in paper_results.RESULTS.items()
                for name, result in results.items()
            },
        )
    return Accuracies(f"of '{source}'", _read(source))


def _read(path: str | os.PathLike) -> dict[tuple[str, str], tuple[float, float | None]]:
    require_file(path, "file of accuracies")
    rows: dict[tuple[str, str], tuple[float, float | None]] = {}
    try:
        for row in read_csv(path) or [{}]:
            if not {"network", "topology", "top1"} <= set(row):
                raise ValueError("expected columns network, topology, top1 and maybe top5")
            key = (row["network"], _topology(row["topology"]))
            if key in rows:
                raise ValueError(f"{' '.join(key)} is there twice")
            top5 = _share(row["top5"]) if row.get("top5") else None
            rows[key] = (_share(row["top1"]), top5)
    except ValueError as error:
        raise ValueError(f"'{path}' is no CSV file of accuracies: {error}") from error
    return rows


def _topology(text: str | None) -> str:
    """As records name it; "1" and "root-1" are dense."""
    try:
        return name_of(topology.parse(text or ""))
    except ValueError:  # "dense" itself, or the name of a file.
        return text or ""


def _share(text: str | None) -> float:
    value = float(text or "nothing")
    if not 0 <= value <= 1:
        raise ValueError(f"expected an accuracy of 0 to 1; received {text}")
    return value
