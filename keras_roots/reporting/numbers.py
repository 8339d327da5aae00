"""Numbers as people read them in a table or a line."""

import math
from collections.abc import Iterable


def interval(ends: Iterable[float], spec: str = ".2f") -> str:
    """Its two ends: "0.61 to 0.65"."""
    return " to ".join(f"{end:{spec}}" for end in ends)


def change(number: int, reference: int, spec: str = "+.0%") -> str:
    """A large number and how much more or less it is: "1,200 (-40%)"."""
    if number == reference:
        return f"{number:,}"
    return f"{number:,} ({number / reference - 1:{spec}})"


def counted(number: int, noun: str) -> str:
    """How many: "1 thread", "2 threads"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def significant(value: float, *, noisy: bool = False) -> str:
    """Three digits; two of what is noisy, after a mark: "12.3", "~12"."""
    digits = 2 if noisy else 3
    decimals = digits - 1 - math.floor(math.log10(value)) if value > 0 else 0
    return ("~" if noisy else "") + f"{round(value, decimals):.{max(0, decimals)}f}"
