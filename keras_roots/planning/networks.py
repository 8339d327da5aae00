"""A network of which a plan is to be chosen: its levels, and what a degree saves at each.

A kernel in g groups has 1/g of the dense one's weights and
multiply-accumulates, and nothing else of the network changes. So a plan's cost
is the dense network's less what each level saves; no plan has to be built.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_roots.cost import cost
from keras_roots.models import build
from keras_roots.rootify import PlannedLayer, levels_of, plan, rootify
from keras_roots.surgery import convolutions
from keras_roots.topology import column

Degrees = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Level:
    """What can be grouped between two sub-samplings.

    Attributes:
        layers: its convolutions that 2 groups divide; of a level that the
            network only passes through, none.
        degrees: the powers of two that divide the channels and the filters of
            every one of them, 1 first.
        weights: of their dense kernels, together.
        macs: multiply-accumulates of their dense kernels, together.
    """

    layers: tuple[PlannedLayer, ...]
    degrees: Degrees
    weights: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Network:
    """A dense network and its levels.

    Attributes:
        name: of a registry network, or of the model.
        levels: from the first that has something to group.
        parameters, macs: of the dense network (plain convention, one image).
        never_grouped: its other convolutions, each with its reason.
        make: builds it with a degree for each level; all 1 is the dense one.
        call: Python that does so, for people.
        registry_name: of a network of the registry, else None.
    """

    name: str
    levels: tuple[Level, ...]
    parameters: int
    macs: int
    never_grouped: tuple[PlannedLayer, ...]
    make: Callable[[Degrees], keras.Model]
    call: Callable[[Degrees], str]
    registry_name: str | None = None

    @property
    def weights(self) -> int:
        """Of the dense kernels of all levels: what groups take from."""
        return sum(level.weights for level in self.levels)

    @property
    def dense(self) -> Degrees:
        return (1,) * len(self.levels)

    def weights_kept(self, degrees: Degrees) -> int:
        """Weights that remain in the convolutions of the levels."""
        return sum(
            level.weights // degree for level, degree in zip(self.levels, degrees, strict=True)
        )

    def cost(self, degrees: Degrees) -> tuple[int, int]:
        """Parameters and multiply-accumulates: those of `keras_roots.cost` of `make(degrees)`."""
        saved = sum(
            level.macs - level.macs // degree
            for level, degree in zip(self.levels, degrees, strict=True)
        )
        parameters = self.parameters - self.weights + self.weights_kept(degrees)
        return parameters, self.macs - saved


def of_name(name: str, *, max_degree: int | None = None, **options: Any) -> Network:
    """A network of the registry.

    Args:
        name: one of `keras_roots.list_models()`.
        max_degree: the largest degree to consider; by default what the
            channels allow.
        **options: other arguments of its factory.

    Raises:
        ValueError: see `keras_roots.build`; or max_degree is less than 2.
    """
    dense = build(name, root=1, **options)
    with keras.StatelessScope():  # Its variables' values are not wanted.
        layers = build(name, root=column(2), **options).layers
        grouped = {layer.name for layer in layers if getattr(layer, "groups", 1) > 1}
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    return _network(
        dense,
        grouped,
        max_degree,
        name=name,
        make=lambda degrees: build(name, root=degrees, **options),
        call=lambda degrees: f'keras_roots.build("{name}", root={degrees}{arguments})',
        registry_name=name,
    )


def of_model(
    model: keras.Model, *, max_degree: int | None = None, expression: str = "model"
) -> Network:
    """Any model that `keras_roots.rootify` takes, its input size fixed.

    Args:
        model: functional or Sequential, dense.
        max_degree: see `of_name`.
        expression: Python of which it is the value, for people.

    Raises:
        ValueError: it is of another kind, or has nothing that 2 groups divide;
            or max_degree is less than 2.
    """

    def make(degrees: Degrees) -> keras.Model:
        return model if set(degrees) == {1} else rootify(model, degrees, report=None)

    return _network(
        model,
        None,
        max_degree,
        name=model.name,
        make=make,
        call=lambda degrees: f"keras_roots.rootify({expression}, {degrees})",
    )


def _network(
    model: keras.Model, grouped: set[str] | None, max_degree: int | None, **about: Any
) -> Network:
    """Of a dense model, and the names of what its factory groups; None for what the rule does."""
    if max_degree is not None and max_degree < 2:
        raise ValueError(f"Expected a largest degree of 2 or more. Received: {max_degree}")
    planned = plan(model, column(2))
    eligible = [layer for layer in planned.grouped if grouped is None or layer.name in grouped]
    counted = cost(model)
    macs = {layer.name: layer.macs or 0 for layer in counted.layers}
    levels = tuple(
        _level([layer for layer in eligible if layer.level == number], macs, max_degree)
        for number in range(len(levels_of(convolutions.find(model))))
    )
    names = {layer.name for layer in eligible}
    never = tuple(
        layer if layer.reason else dataclasses.replace(layer, reason="left dense by its factory")
        for layer in planned.layers
        if layer.name not in names
    )
    return Network(
        levels=levels, parameters=counted.parameters, macs=counted.macs, never_grouped=never,
        **about,
    )  # fmt: skip


def _level(layers: list[PlannedLayer], macs: Mapping[str, int], max_degree: int | None) -> Level:
    common = math.gcd(*(n for layer in layers for n in (layer.channels, layer.filters)))
    degrees = [1]
    while layers and common % (2 * degrees[-1]) == 0 and 2 * degrees[-1] <= (max_degree or common):
        degrees.append(2 * degrees[-1])
    return Level(
        layers=tuple(layers),
        degrees=tuple(degrees),
        weights=sum(
            math.prod(layer.kernel_size or ()) * layer.channels * layer.filters for layer in layers
        ),
        macs=sum(macs[layer.name] for layer in layers),
    )
