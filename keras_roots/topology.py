"""Filter-group topologies, as pure arithmetic.

A network is cut into *levels*, a level being what lies between two
sub-samplings. A topology gives each level its *degree*: the number of groups
into which its spatial convolutions are cut. Level 0 is the first level that
has a convolution to group (the convolution on the image never is).

* root: the degree halves from level to level (root-16: 16, 8, 4, 2, 1, ...);
* column: it stays the same (column-8: 8, 8, 8, ...);
* tree: it doubles (tree-4: 4, 8, 16, ...);
* explicit degrees, one for each level: (16, 8, 4, 2).

Source: Ioannou, Robertson, Cipolla and Criminisi, "Deep Roots: Improving CNN
Efficiency with Hierarchical Filter Groups", arXiv:1605.06489.

Nothing here imports Keras or TensorFlow.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

Kind = Literal["root", "column", "tree", "explicit"]


@dataclasses.dataclass(frozen=True)
class Topology:
    """How the number of filter groups changes with depth.

    Made by `root`, `column`, `tree` and `as_topology`, which check their
    arguments.

    Attributes:
        kind: "root", "column", "tree" or "explicit".
        first_degrees: the degree of level 0; all degrees when explicit.
    """

    kind: Kind
    first_degrees: tuple[int, ...]

    def groups(self, level: int) -> int:
        """Number of groups at `level` (0 is the first), at least 1.

        Raises:
            ValueError: `level` is negative, or beyond the explicit degrees.
        """
        if level < 0:
            raise ValueError(f"A level is counted from 0. Received: level={level}")
        if self.kind == "explicit":
            if level >= len(self.first_degrees):
                raise ValueError(
                    f"The degrees {self.first_degrees} are for {len(self.first_degrees)} levels, "
                    f"and level {level} (counted from 0) has none. Give one degree for each level."
                )
            return self.first_degrees[level]
        (degree,) = self.first_degrees
        if self.kind == "root":
            return max(1, degree >> level)
        return degree if self.kind == "column" else degree << level

    def degrees(self, levels: int) -> tuple[int, ...]:
        """The degrees of a network of so many levels, first level first.

        Raises:
            ValueError: explicit degrees are not exactly `levels` many.
        """
        if self.kind == "explicit" and len(self.first_degrees) != levels:
            raise ValueError(
                f"Expected one degree for each of the network's {levels} levels. "
                f"Received {len(self.first_degrees)}: {self.first_degrees}"
            )
        return tuple(self.groups(level) for level in range(levels))

    def __str__(self) -> str:
        if self.kind == "explicit":
            return "degrees-" + "-".join(map(str, self.first_degrees))
        return f"{self.kind}-{self.first_degrees[0]}"


RootLike: TypeAlias = int | Sequence[int] | Topology


def root(degree: int) -> Topology:
    """The paper's topology: `degree` groups at first, halved at every level.

    Args:
        degree: a power of two, so that it can be halved; 1 is the dense network.
    """
    degree = _degree(degree, "root")
    if degree & (degree - 1):
        below = 1 << (degree.bit_length() - 1)
        raise ValueError(
            "A root degree is halved at every sub-sampling, so it must be a power of two: "
            f"1, 2, 4, 8, 16, ... Received: {degree}. Take root={below} or root={2 * below}, "
            "or give the degree of each level explicitly, such as (3, 1)."
        )
    return Topology("root", (degree,))


def column(degree: int) -> Topology:
    """The same number of groups at every level."""
    return Topology("column", (_degree(degree, "column"),))


def tree(degree: int) -> Topology:
    """`degree` groups at first, doubled at every level."""
    return Topology("tree", (_degree(degree, "tree"),))


def as_topology(value: RootLike) -> Topology:
    """A topology from what the factories accept as `root`.

    Args:
        value: an integer r (root-r; 1 is dense), a `Topology`, or a list or
            tuple of degrees, one for each level.

    Raises:
        ValueError: anything else, or a degree that is not a positive integer.
    """
    if isinstance(value, Topology):
        return value
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("Expected at least one degree. Received: no degrees")
        return Topology("explicit", tuple(_degree(degree, "explicit") for degree in value))
    return root(value)  # type: ignore[arg-type]


def parse(text: str) -> Topology:
    """A topology from text: "16" and "root-16", "column-8", "tree-4", or degrees, "16,8,4,2".

    "dense" is root-1, and "degrees-16-8-4-2", as explicit degrees call themselves, those degrees.

    Raises:
        ValueError: anything else.
    """
    match = re.fullmatch(r"(?:(root|column|tree)-)?(-?\d+)", text)
    if match:
        make = {"column": column, "tree": tree}.get(match[1], root)
        return make(int(match[2]))
    if text == "dense":
        return root(1)
    if re.fullmatch(r"\d+(,\d+)+|degrees(-\d+)+", text):
        return as_topology([int(degree) for degree in re.findall(r"\d+", text)])
    raise ValueError(
        f"expected 16, column-8, tree-4 or degrees such as 16,8,4,2; received {text!r}"
    )


def _degree(value: object, kind: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        degree = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"Expected a positive integer as {kind} degree, such as 16 (or a Topology such as "
            "keras_roots.root(16), or a list of degrees, one for each level). "
            f"Received: {value!r} (of type {type(value).__name__})"
        ) from None
    if degree < 1:
        raise ValueError(
            f"A degree is the number of filter groups, at least 1 (1 is dense). Received: {degree}"
        )
    return degree


@dataclasses.dataclass(frozen=True)
class FilterGroups:
    """What a degree does to one convolution.

    Attributes:
        groups: number of filter groups.
        channels_per_group: input channels that each filter sees.
        filters_per_group: filters, and so output channels, of each group.
    """

    groups: int
    channels_per_group: int
    filters_per_group: int

    def kernel_shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(height, width, input channels per group, filters), as Keras stores it."""
        return (height, width, self.channels_per_group, self.groups * self.filters_per_group)


def working_degrees(channels: int, filters: int) -> list[int]:
    """Every number of groups that divides both the channels and the filters."""
    common = math.gcd(channels, filters)
    return [g for g in range(1, common + 1) if common % g == 0]


class IndivisibleError(ValueError):
    """The number of groups does not divide the channels of a layer."""


def filter_groups(channels: int, filters: int, groups: int, layer: str) -> FilterGroups:
    """Cuts a convolution of `channels` inputs and `filters` outputs in groups.

    Args:
        layer: the layer's name, for the error.

    Raises:
        IndivisibleError: a ValueError: `groups` does not divide both; it
            names the layer, its channels and the degrees that would work.
    """
    groups = _degree(groups, "explicit")
    if channels % groups or filters % groups:
        raise IndivisibleError(
            f"{groups} filter groups do not divide the channels of layer '{layer}', which has "
            f"{channels} input channels and {filters} filters. Degrees that would work there: "
            f"{', '.join(map(str, working_degrees(channels, filters)))}."
        )
    return FilterGroups(groups, channels // groups, filters // groups)
