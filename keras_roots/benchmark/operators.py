"""Where the time of a TFLite file goes: each distinct operator alone, beside the whole."""

import collections
import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.benchmark.measured import require_file, require_positive
from keras_roots.export.flatbuffer import operators
from keras_roots.export.interpreter import make_interpreter
from keras_roots.reporting import Table, silent
from keras_roots.requirements import require_extras
from keras_roots.timing import Timings, interleaved


@dataclasses.dataclass(frozen=True)
class Profile:
    """Timings of a file's operators.

    Attributes:
        calls: how many operators there are of each label, in order.
        timings: of one of them, alone.
        whole: of the file; not quite their sum, as XNNPACK fuses some.
    """

    calls: dict[str, int]
    timings: dict[str, Timings]
    whole: Timings

    def table(self) -> Table:
        """A row for each distinct operator, the most expensive first."""
        totals = {label: self.timings[label].median * n for label, n in self.calls.items()}
        rows = [
            (
                label,
                str(self.calls[label]),
                f"{self.timings[label].median * 1e3:.3f}",
                f"{total * 1e3:.3f}",
                f"{100 * total / self.whole.median:.1f}",
            )
            for label, total in sorted(totals.items(), key=lambda item: -item[1])
        ]
        whole = self.whole.median
        footer = [
            ("sum", str(sum(self.calls.values())), "", *_sum(sum(totals.values()), whole)),
            ("the file", "", "", *_sum(whole, whole)),
        ]
        header = ("operator", "calls", "ms each", "ms in all", "% of the file")
        return Table(header, rows, footer=footer)


def _sum(seconds: float, whole: float) -> tuple[str, str]:
    return f"{seconds * 1e3:.3f}", f"{100 * seconds / whole:.1f}"


def profile(file: str | os.PathLike, *, threads: int = 1, rounds: int = 10) -> Profile:
    """Times a TFLite file and each of its distinct operators, interleaved, on random input.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TFLite file, or an argument is not as above.
    """
    require_extras("The benchmark", {"ai_edge_litert": "litert"})
    require_file(file)
    require_positive(threads=threads, rounds=rounds)
    content = Path(file).read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(f"'{file}' is no TFLite file.")
    calls: collections.Counter[str] = collections.Counter()
    files = {}
    try:
        found = list(operators(content, cut=True))
    except Exception as error:  # Whatever a parser of bytes stumbles on.
        raise ValueError(f"'{file}' cannot be read as a TFLite file: {error}") from error
    for operator in found:
        calls[operator.label] += 1
        files[operator.label] = operator.file
    timings = in_turns({**files, "": content}, threads=threads, rounds=rounds)
    return Profile(dict(calls), timings, timings.pop(""))


def in_turns(
    files: Mapping[Any, bytes],
    *,
    threads: int,
    rounds: int,
    others: Mapping[Any, Callable[[], object]] | None = None,
    report: Callable[[str], object] = silent,
) -> dict[Any, Timings]:
    """Times TFLite files on random input, and `others` beside them.

    A turn is one untimed inference and three timed.
    """
    candidates: dict[Any, Callable[[], object]] = {
        name: random_inference(content, threads) for name, content in files.items()
    }
    return interleaved(
        {**candidates, **(others or {})},
        rounds=rounds,
        per_turn=3,
        warmup=2,
        untimed_per_turn=1,
        report=report,
    )


def random_inference(content: bytes, threads: int) -> Callable[[], object]:
    """A function that runs a file on random input."""
    interpreter = make_interpreter(content, threads)
    rng = np.random.default_rng(0)
    for given in interpreter.get_input_details():
        if given["dtype"] == np.float32:
            values = rng.normal(size=given["shape"])
        elif given["dtype"] == np.int8:
            values = rng.integers(-100, 100, size=given["shape"])
        else:  # Indices, mostly.
            values = np.zeros(given["shape"])
        interpreter.set_tensor(given["index"], values.astype(given["dtype"]))
    return interpreter.invoke
