"""Budgets: macs=0.6, parameters=19M, latency=40ms."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping

QUANTITIES = ("macs", "parameters", "latency")
_COUNTS = {"K": 1e3, "M": 1e6, "G": 1e9}
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_EXAMPLES = "macs=0.6, parameters=19M or latency=40ms"


@dataclasses.dataclass(frozen=True)
class Budget:
    """At most so much of something.

    Attributes:
        quantity: of `QUANTITIES`.
        limit: relative to the dense network; or a number, or seconds.
        relative: which of the two.
        text: as it was given, such as "macs=0.6".
    """

    quantity: str
    limit: float
    relative: bool
    text: str

    def share(self, dense: float) -> float:
        """The limit relative to the dense network, of which the quantity is given.

        Raises:
            ValueError: that is within the limit already.
        """
        if self.relative:
            return self.limit
        if self.limit > dense:
            amount = f"{dense * 1e3:.3g}ms" if self.quantity == "latency" else f"{dense:,.0f}"
            raise ValueError(
                f"The budget {self.text} is more than the dense network's {self.quantity}, "
                f"{amount}: no filter groups are needed"
            )
        return self.limit / dense


def parse(texts: str | Iterable[str]) -> tuple[Budget, ...]:
    """Budgets from text.

    Args:
        texts: such as "macs=0.6", "parameters=19M,latency=40ms", or several.
            A number is relative to the dense network, from 0 to 1. With a
            unit it is absolute: K, M, G of macs and parameters; s, ms, us of
            latency.

    Raises:
        ValueError: anything else, or two of one quantity.
    """
    texts = [texts] if isinstance(texts, str) else texts
    found: dict[str, Budget] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        budget = _one(part)
        if budget.quantity in found:
            raise ValueError(
                f"Expected one budget of {budget.quantity}. Received: "
                f"{found[budget.quantity].text} and {part}"
            )
        found[budget.quantity] = budget
    if not found:
        raise ValueError(f"Expected a budget, such as {_EXAMPLES}. Received: none")
    return tuple(found.values())


def _one(text: str) -> Budget:
    name, _, value = text.partition("=")
    if name not in QUANTITIES:
        near = difflib.get_close_matches(name, QUANTITIES, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"Expected a budget of {', '.join(QUANTITIES)}, such as {_EXAMPLES}. Received: "
            f"{text!r}.{hint}"
        )
    units: Mapping[str, float] = _TIMES if name == "latency" else _COUNTS
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?([A-Za-z]*)", value)
    if match is None or (match[2] and match[2] not in units):
        raise ValueError(
            f"Expected a budget of {name} as a number from 0 to 1, relative to the dense network, "
            f"or a number and one of {', '.join(units)}. Received: {text!r}"
        )
    number = float(match[1])
    if number == 0:
        raise ValueError(f"Expected a budget of more than 0. Received: {text!r}")
    if match[2]:
        return Budget(name, number * units[match[2]], False, text)
    if number > 1:
        raise ValueError(
            f"A budget without a unit is relative to the dense network, and {text!r} is more than "
            f"that. Give a number from 0 to 1, or a unit: {', '.join(units)}"
        )
    return Budget(name, number, True, text)
