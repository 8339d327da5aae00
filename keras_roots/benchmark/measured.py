"""What every benchmark shares: checks, what networks are timed with, and what came out, as columns.

Networks of one kind are timed in turns, dense and with filter groups, each in several *forms*:
stock Keras's and ours, or others. A `Run` is what was found of them.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import keras
import numpy as np

from keras_roots import reporting
from keras_roots.export import calibration as photographs
from keras_roots.models import shape_of_size
from keras_roots.reporting import Table
from keras_roots.requirements import require_extras, require_tensorflow
from keras_roots.timing import Timings
from keras_roots.topology import RootLike, Topology, as_topology

DENSE = as_topology(1)
STOCK = "stock"
SPREAD = "(10th to 90th percentile)"
Column = tuple[str, Sequence[str]]
_CALIBRATION_IMAGES = 32
_Given = TypeVar("_Given")


def require_positive(**arguments: int | Iterable[int] | None) -> None:
    """Raises a ValueError unless each is 1 or more, as are all of several numbers; None is fine."""
    for name, given in arguments.items():
        given_numbers = list(given) if isinstance(given, Iterable) else [given]
        least = min((1 if each is None else each for each in given_numbers), default=None)
        if least is None or least < 1:
            received = "none" if least is None else least
            raise ValueError(f"Expected {name} of 1 or more. Received: {received}")


def require_one_of(name: str, given: _Given, known: Iterable[_Given]) -> None:
    known = list(known)
    if given not in known:
        raise ValueError(
            f"Expected {name} as one of: {', '.join(map(str, known))}. Received: {given!r}"
        )


def require_file(path: str | os.PathLike, kind: str = "file") -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no {kind} '{path}'.")


def require_litert(what: str = "The benchmark") -> None:
    require_tensorflow(what)
    require_extras(what, {"ai_edge_litert": "litert"})


def name_of(topology: Topology) -> str:
    return "dense" if topology == DENSE else str(topology)


def with_dense(roots: Iterable[RootLike]) -> list[Topology]:
    """The dense network's topology and these, each once."""
    return list(dict.fromkeys([DENSE, *map(as_topology, roots)]))


def sized(options: Mapping[str, Any] | None, image_size: int | None) -> dict[str, Any]:
    """Options of a network's factory with the size of its images, unless it is the network's."""
    size = {} if image_size is None else {"input_shape": shape_of_size(image_size, 3)}
    return {**(options or {}), **size}


def random_images(count: int, shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def calibration_images(folder: str | None, shape: Sequence[int]) -> np.ndarray:
    """Images of this shape that integers' ranges are taken from; random ones without a folder."""
    if folder is None:
        return random_images(_CALIBRATION_IMAGES, shape)
    return photographs.load_images(folder, tuple(shape), _CALIBRATION_IMAGES, "torch")


@contextlib.contextmanager
def configured(setting: str, value: Any) -> Iterator[None]:
    """A setting of `keras.config`, such as "image_data_format", for a while."""
    set_to = getattr(keras.config, f"set_{setting}")
    before = getattr(keras.config, setting)()
    set_to(value)
    try:
        yield
    finally:
        set_to(before)


def of_columns(columns: Sequence[Column]) -> Table:
    """A table of columns: the name of each, and its cells."""
    names, cells = zip(*columns, strict=True)
    return Table(names, list(zip(*cells, strict=True)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Networks that were timed in turns.

    Attributes:
        network: a registry name.
        macs: multiply-accumulates of each network.
        timings: by topology and form.
        bounds: the proportional bounds, in seconds, by topology and form.
        macs_per_second: of a product of two large matrices.
        counted: what a timing is of, in the plural.
    """

    counted: ClassVar[str]
    network: str
    macs: Mapping[Topology, int]
    timings: Mapping[tuple[Topology, str], Timings]
    bounds: Mapping[tuple[Topology, str], float]
    macs_per_second: float

    def labels(self, topology: Topology, form: str) -> dict[str, object]:
        """The first columns of a file."""
        return {"network": self.network, "topology": topology, "form": form}

    def more(self, _form: str) -> dict[str, object]:
        """Columns of a file beside the bound."""
        return {}

    def median(self, topology: Topology, form: str) -> float:
        return self.timings[topology, form].median

    def product(self) -> str:
        return f"A large matrix product: {self.macs_per_second / 1e9:.1f} G MACs/s"

    def counts(self) -> list[Column]:
        """The columns that begin its table."""
        return [
            ("network", [name_of(topology) for topology in self.macs]),
            ("MACs / dense", [f"{macs / self.macs[DENSE]:.3f}" for macs in self.macs.values()]),
        ]

    def cells(self, form: str, shown: Callable[[Topology, Timings], str]) -> list[str]:
        """One for each topology, empty where it was not timed in this form."""
        found = {topology: self.timings.get((topology, form)) for topology in self.macs}
        return ["" if each is None else shown(name, each) for name, each in found.items()]

    def milliseconds(self, form: str, decimals: int) -> Column:
        """Medians and spreads."""
        return f"{form}, ms {SPREAD}", self.cells(form, lambda _, each: each.in_ms(decimals))

    def medians(self, form: str) -> Column:
        return f"{form}, ms", self.cells(form, lambda _, each: f"{each.median * 1e3:.2f}")

    def to_dense(self, form: str, of: str) -> list[str]:
        """Ratios to the dense network in the form `of`; empty if that was not timed."""
        dense = self.timings.get((DENSE, of))
        return self.cells(
            form, lambda _, each: "" if dense is None else f"{each.median / dense.median:.3f}"
        )

    def to_bounds(self, form: str) -> list[str]:
        return self.cells(form, lambda name, each: f"{each.median / self.bounds[name, form]:.3f}")


def write_csv(path: str | os.PathLike, runs: Iterable[Run], conditions: Mapping[str, Any]) -> None:
    """A row for each form of each network, with the conditions, for other programs."""
    reporting.write_csv(
        path,
        [
            {
                **run.labels(topology, form),
                "macs": run.macs[topology],
                **timings.columns(),
                run.counted: len(timings.seconds),
                "bound_ms": milliseconds(run.bounds.get((topology, form))),
                **run.more(form),
                "product_macs_per_second": f"{run.macs_per_second:.4g}",
                **conditions,
            }
            for run in runs
            for (topology, form), timings in run.timings.items()
        ],
    )


def milliseconds(seconds: float | None) -> str | None:
    """For a file."""
    return None if seconds is None else f"{seconds * 1e3:.4f}"
