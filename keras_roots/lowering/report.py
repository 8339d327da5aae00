"""Which lowering each layer of a model or a file gets, in words."""

import dataclasses
from collections.abc import Mapping, Sequence

from keras_roots.lowering.contexts import Choice
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.reporting.tables import Table


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What one layer gets.

    Attributes:
        layer: its path, see `keras_roots.surgery.graph.Call`.
        shape: its shape.
        choices: for each direction of `passes.DIRECTIONS`; in a file, for
            "forward".
    """

    layer: str
    shape: LayerShape
    choices: Mapping[str, Choice]

    @property
    def lowering(self) -> str:
        """Of the forward pass."""
        return self.choices["forward"].lowering

    @property
    def reason(self) -> str:
        """Why the forward pass gets it."""
        return self.choices["forward"].reason


def table(explanations: Sequence[Explanation]) -> Table:
    """A row for each pass, where there are several; layers of one shape and choice share theirs."""
    rows: dict[tuple[str, ...], list[str]] = {}
    several = any(len(each.choices) > 1 for each in explanations)
    for each in explanations:
        for direction, chosen in each.choices.items():
            words = (direction.replace("_", " "),) if several else ()
            key = (str(each.shape), *words, chosen.lowering, chosen.reason)
            rows.setdefault(key, []).append(each.layer)
    header = ("layer", "shape", *(("pass",) if several else ()), "lowering", "why")
    return Table(
        header,
        [
            (names[0] + (f" and {len(names) - 1} more" if names[1:] else ""), *row)
            for row, names in rows.items()
        ],
        left=len(header),
    )
