"""What a sweep trains: one configuration, networks, seeds; and what tells it from another."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from keras_roots import topology
from keras_roots.training.config import Config, replaced

DENSE = "dense"
# The paper's, of NIN on CIFAR-10.
PAPER = (DENSE, *(f"{kind}-{r}" for kind in ("root", "column", "tree") for r in (2, 4, 8, 16)))
# The fields of a configuration that a sweep varies.
VARIED = ("root", "seed")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        network: "dense", or a topology such as "root-8".
        config: with its `root` and `seed`.
    """

    network: str
    config: Config

    @property
    def name(self) -> str:
        """Of the run, and of its folder."""
        return f"{self.network}-seed-{self.config.seed}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Networks that are trained alike.

    Attributes:
        base: the configuration of all; its `root` and `seed` mean nothing.
        networks: "dense", or topologies as `keras_roots.topology.parse` takes
            them.
        seeds: of which each network is trained once.

    Raises:
        ValueError: one of them is none, or is there twice; or `base` is to end early.
    """

    base: Config
    networks: tuple[str, ...]
    seeds: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "networks", tuple(map(_network, self.networks)))
        object.__setattr__(self, "seeds", tuple(self.seeds))
        for what, values in (("network", self.networks), ("seed", self.seeds)):
            if not values:
                raise ValueError(f"Expected one {what} or more. Received: none")
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"Expected each {what} once. Received: {twice[0]} twice")
        if self.base.max_steps:
            raise ValueError(
                "max_steps is to try a single run, and a sweep compares whole ones. Received: "
                f"max_steps={self.base.max_steps}"
            )
        _ = self.runs  # Raises if a seed is none.

    @property
    def runs(self) -> tuple[Run, ...]:
        """All networks with the first seed, then with the second, and so on."""
        name = self.base.name or self.base.model
        return tuple(
            Run(
                network,
                replaced(
                    self.base,
                    {
                        "root": str(topology.parse(network)),
                        "seed": seed,
                        "name": f"{name}, {network}, seed {seed}",
                    },
                ),
            )
            for seed in self.seeds
            for network in self.networks
        )

    def common(self) -> dict[str, Any]:
        """The fields of the configuration that all runs share and that their results depend on."""
        how_only = {f.name for f in dataclasses.fields(Config) if f.metadata["how_only"]}
        return {
            name: value
            for name, value in self.base.as_dict().items()
            if name not in how_only and name not in VARIED
        }


def identity(common: Mapping[str, Any], data: Mapping[str, Any], backend: str) -> str:
    """Eight hexadecimal digits, the same for results that may stand in one table.

    Args:
        common: of `Experiment.common`.
        data: fingerprint of the data.
        backend: of Keras.
    """
    text = json.dumps([dict(common), dict(data), backend], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _network(text: str) -> str:
    parsed = str(topology.parse(text))
    return DENSE if parsed == "root-1" else parsed


def parsed_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """As `Experiment` takes them, where "paper" stands for all of the paper's.

    Raises:
        ValueError: one is neither.
    """
    found: list[str] = []
    for text in texts:
        found += PAPER if text == "paper" else [_network(text)]
    return tuple(dict.fromkeys(found))
