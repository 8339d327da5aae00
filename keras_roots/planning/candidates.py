"""All plans of a network, with their cost: a degree for each level."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator

from keras_roots import topology
from keras_roots.planning.networks import Degrees, Network

FAMILIES = ("root", "column", "tree", "any")
# More combinations than these are not all listed.
MOST = 100_000
_NAMED = {"root": topology.root, "column": topology.column, "tree": topology.tree}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A plan: a degree for each level, at least one of which is more than 1.

    Attributes:
        degrees: level by level.
        topology: the paper's name for them, such as "root-16", or None.
        parameters, macs: as of `keras_roots.cost`, plain convention.
        weights: that remain in the convolutions of the levels.
        latency: predicted, relative to the dense network; None if unknown.
    """

    degrees: Degrees
    topology: str | None
    parameters: int
    macs: int
    weights: int
    latency: float | None = None

    @property
    def root(self) -> str:
        """The degrees as `topology.parse` takes them."""
        return ",".join(map(str, self.degrees))


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Plans of a network.

    Attributes:
        plans: without the dense network.
        restriction: what was left out because there are too many, in words.
    """

    plans: tuple[Candidate, ...]
    restriction: str | None


def enumerate_candidates(
    network: Network, families: Iterable[str] = ("any",), most: int = MOST
) -> Candidates:
    """Every plan, or those of some families of topologies.

    Args:
        network: of `networks.of_name` or `of_model`.
        families: of `FAMILIES`; "any" has all combinations of degrees. Where
            those are more than `most`, it has those that never rise or never
            fall with depth; where these are too many, too, those of the
            paper's three families.

    Raises:
        ValueError: an unknown family; or a network that has no plan in these.
    """
    families = list(families)
    for family in families:
        if family not in FAMILIES:
            raise ValueError(f"Expected families of: {', '.join(FAMILIES)}. Received: {family!r}")
    names = named(network)
    restriction = None
    found = [degrees for degrees, name in names.items() if name.partition("-")[0] in families]
    if "any" in families:
        more, restriction = _combinations(network, most)
        found = list(dict.fromkeys([*found, *more, *names]))
    plans = [
        Candidate(
            degrees, names.get(degrees), *network.cost(degrees), network.weights_kept(degrees)
        )
        for degrees in found
        if degrees != network.dense
    ]
    if not plans:
        raise ValueError(
            f"'{network.name}' has no {' or '.join(families)} topology that divides its channels: "
            f"{describe_degrees(network)}"
        )
    return Candidates(tuple(plans), restriction)


def named(network: Network) -> dict[Degrees, str]:
    """The degrees that the paper has a name for: of two names the first of root, column, tree."""
    names: dict[Degrees, str] = {}
    highest = max(max(level.degrees) for level in network.levels) << len(network.levels)
    for make in _NAMED.values():
        degree = 2
        while degree <= highest:
            wanted = make(degree)
            # At a level that has nothing to group any degree is the same.
            degrees = tuple(
                wanted.groups(number) if level.layers else 1
                for number, level in enumerate(network.levels)
            )
            allowed = all(
                d in level.degrees for d, level in zip(degrees, network.levels, strict=True)
            )
            if allowed and degrees != network.dense:
                names.setdefault(degrees, str(wanted))
            degree *= 2
    return names


def describe_degrees(network: Network) -> str:
    """Such as "level 0: 1 to 64; level 1: 1 to 128"."""
    return "; ".join(
        f"level {number}: {'1' if len(level.degrees) == 1 else f'1 to {level.degrees[-1]}'}"
        for number, level in enumerate(network.levels)
    )


def _combinations(network: Network, most: int) -> tuple[list[Degrees], str | None]:
    choices = [level.degrees for level in network.levels]
    total = math.prod(map(len, choices))
    if total <= most:
        return list(itertools.product(*choices)), None
    occupied = [
        degrees for level, degrees in zip(network.levels, choices, strict=True) if level.layers
    ]
    falling = _never_rising(occupied)
    rising = (degrees[::-1] for degrees in _never_rising(occupied[::-1]))
    # No more than are needed to see that they are too many.
    short = list(dict.fromkeys(itertools.islice(itertools.chain(falling, rising), 2 * most)))
    if len(short) <= most:
        places = [number for number, level in enumerate(network.levels) if level.layers]
        full = []
        for degrees in short:
            row = [1] * len(choices)
            for place, degree in zip(places, degrees, strict=True):
                row[place] = degree
            full.append(tuple(row))
        return full, f"of {total:,} combinations, those that never rise or never fall with depth"
    return [], f"of {total:,} combinations, those of the root, column and tree topologies only"


def _never_rising(choices: list[Degrees], below: float = math.inf) -> Iterator[Degrees]:
    if not choices:
        yield ()
        return
    for degree in choices[0]:
        if degree <= below:
            for others in _never_rising(choices[1:], degree):
                yield (degree, *others)
