"""Timing several candidates against each other in one run.

The candidates take turns, so that a machine whose speed drifts (as every
shared one does) is as fast for one as for the other; the order of the turns
rotates. Quote medians and ratios.
"""

import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from keras_roots.reporting import numbers, silent

_Name = TypeVar("_Name")
# The vector instructions by which oneDNN and XNNPACK choose their kernels, as Linux names them.
_FLAGS = (
    *("avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8"),
    *("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


@dataclasses.dataclass(frozen=True)
class Timings:
    """Wall-clock times of one candidate, in seconds, in the order measured."""

    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.seconds, percent))

    @property
    def median(self) -> float:
        return self.percentile(50)

    def in_ms(self, decimals: int) -> str:
        """For people: the median, and its 10th and 90th percentiles, "1.20 (1.10 to 1.34)"."""
        return f"{self.median * 1e3:.{decimals}f} ({self.spread_in_ms(decimals)})"

    def spread_in_ms(self, decimals: int) -> str:
        """The 10th to the 90th percentile, "1.10 to 1.34"."""
        ends = (1e3 * self.percentile(percent) for percent in (10, 90))
        return numbers.interval(ends, f".{decimals}f")

    def columns(self) -> dict[str, str]:
        """For a file: median_ms, p10_ms and p90_ms."""
        names = {"median_ms": 50, "p10_ms": 10, "p90_ms": 90}
        return {name: f"{self.percentile(p) * 1e3:.4f}" for name, p in names.items()}


def turns(names: Iterable[_Name], rounds: int) -> Iterator[list[_Name]]:
    """Whose turn it is, round by round; who begins moves on from one to the next."""
    names = list(names)
    for done in range(rounds):
        first = done % len(names)
        yield names[first:] + names[:first]


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    per_turn: int = 1,
    warmup: int = 1,
    untimed_per_turn: int = 0,
    report: Callable[[str], object] = silent,
) -> dict[str, Timings]:
    """Times callables in turns.

    Args:
        candidates: what to call, by name.
        rounds: how often each gets its turn.
        per_turn: timed calls in a turn.
        warmup: untimed calls of each before the first round.
        untimed_per_turn: untimed calls at the beginning of each turn, which
            bring the candidate's data back into the caches.
        report: takes a line after each round.

    Returns:
        rounds x per_turn timings for each candidate.

    Raises:
        ValueError: fewer than one round or timed call.
    """
    if rounds < 1 or per_turn < 1:
        raise ValueError(
            f"Expected rounds and per_turn of 1 or more. Received: {rounds} and {per_turn}"
        )
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        for _ in range(warmup):
            call()
    for done, order in enumerate(turns(candidates, rounds), 1):
        for name in order:
            call = candidates[name]
            for _ in range(untimed_per_turn):
                call()
            for _ in range(per_turn):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
        report(f"round {done} of {rounds}")
    return {name: Timings(tuple(times)) for name, times in seconds.items()}


def conditions(**more: object) -> dict[str, object]:
    """What a figure holds for: machine, versions, and what the caller adds.

    Every figure that is written or printed gets them from here. "flags" are
    the processor's vector instructions, "unknown" where Linux does not tell
    them; "cores_allowed" those of the "cores" that this process may use.
    """
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "flags": " ".join(processor_flags()) or "unknown",
        "cores": os.cpu_count(),
        "cores_allowed": cores_allowed(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions(),
        **more,
    }


def versions() -> dict[str, str]:
    """Of the packages that a figure or a file depends on, where they are installed."""
    found = {}
    for package in ("keras_roots", "tensorflow", "keras", "ai-edge-litert", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor_flags(cpuinfo: str | os.PathLike = "/proc/cpuinfo") -> list[str]:
    """The vector instructions that matter here, or none where that file is not."""
    if not Path(cpuinfo).is_file():
        return []
    for line in Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return [flag for flag in _FLAGS if flag in values.split()]
    return []


def cores_allowed() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment_of_cpu() -> dict[str, str]:
    """This process's environment for another one that is to see no GPU."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def describe(conditions: Mapping[str, object]) -> str:
    """Conditions in a line."""
    return ", ".join(f"{key} {value}" for key, value in conditions.items())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
