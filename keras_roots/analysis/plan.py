"""What is analysed of a model, decided and checked before anything is computed."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_roots.analysis.responses import Place, Places, Responses
from keras_roots.surgery import convolutions

Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The pairs and layers that are analysed, by their paths, and what computes their responses.

    Attributes:
        model: the model.
        pairs: layers between which the covariance is taken.
        layers: those within which the correlation is taken.
        groups: of each convolution with filter groups, by path.
        image_shape: of an image, without the batch.
        responses: the function of images.
    """

    model: keras.Model
    pairs: tuple[Pair, ...]
    layers: tuple[str, ...]
    groups: dict[str, int]
    image_shape: tuple[int, ...]
    responses: Responses

    def images_needed(self) -> int:
        """The fewest images of which every layer of a pair can be whitened."""
        return max((self._needed(path) for pair in self.pairs for path in pair), default=1)

    def require(self, images: int) -> None:
        """Raises a ValueError if so many images are too few; it says how many are needed.

        A covariance has an inverse if there are more samples, images times the pixels of the
        layer's own map, than filters. (A good estimate needs many times as many.)
        """
        needed = self.images_needed()
        if images >= max(needed, 1):
            return
        path = max((p for pair in self.pairs for p in pair), key=self._needed, default="")
        if not path:
            raise ValueError(f"Expected one image or more. Received: {images}")
        height, width, filters = self.responses.shapes[path]
        raise ValueError(
            f"Too few images to whiten the {filters} filters of {path!r} of '{self.model.name}', "
            f"whose map is {height}x{width}: {needed} or more are needed. Received: {images}"
        )

    def _needed(self, path: str) -> int:
        height, width, filters = self.responses.shapes[path]
        return filters // (height * width) + 1


def plan(
    model: keras.Model,
    *,
    pairs: Iterable[Sequence[str]] | None = None,
    layers: Iterable[str] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Plan:
    """Decides what is analysed.

    Args:
        model: functional or Sequential, with one input and a convolution.
        pairs: of layers' names or paths; by default, for each two-dimensional convolution larger
            than 1x1 that has filter groups (if there are none: that could have), the layer whose
            output it reads, and it.
        layers: names or paths; by default the second of each pair.
        image_shape: of an image as the model takes it, where the model leaves it open.

    Raises:
        ValueError: the model has no convolution, none that has or could have filter groups and
            no pair is given, there is no such layer, or an argument is not as above.
    """
    places = Places(model)
    found = convolutions.find(model)
    if not found:
        raise ValueError(f"'{model.name}' has no convolution: there is nothing to analyse.")
    chosen: list[tuple[Place, Place]] = []
    if pairs is None:
        chosen = [(places.read_by(path), places.find(path)) for path in _grouped(model, found)]
    else:
        for pair in pairs:
            if isinstance(pair, str) or len(pair) != 2:
                raise ValueError(f"Expected pairs of two layers' names. Received: {pair!r}")
            first, second = (places.find(name) for name in pair)
            chosen.append((first, second))
    alone = (
        [second for _, second in chosen]
        if layers is None
        else [places.find(name) for name in layers]
    )
    wanted = [place for pair in chosen for place in pair] + alone
    if not wanted:
        raise ValueError("Expected a pair or a layer to analyse. Received: none")
    shape = _image_shape(model, image_shape)
    return Plan(
        model,
        tuple(dict.fromkeys((first.path, second.path) for first, second in chosen)),
        tuple(dict.fromkeys(place.path for place in alone)),
        {each.path: each.layer.groups for each in found if _has_groups(each)},
        shape,
        Responses(places, wanted, shape),
    )


def _has_groups(convolution: convolutions.Convolution) -> bool:
    layer: Any = convolution.layer
    return isinstance(layer, keras.layers.Conv2D) and 1 < layer.groups < convolution.channels


def _grouped(model: keras.Model, found: list[convolutions.Convolution]) -> list[str]:
    """The spatial convolutions that have filter groups; if there are none, that could have."""
    paths = [
        each.path for each in found if _has_groups(each) and set(each.layer.kernel_size) != {1}
    ]
    paths = paths or [each.path for each in found if each.obstacle is None]
    if not paths:
        raise ValueError(
            f"'{model.name}' has no convolution that has, or could have, filter groups: "
            f"{', '.join(sorted({str(each.obstacle) for each in found}))}. Give pairs=... "
            "of layers."
        )
    return paths


def _image_shape(model: keras.Model, given: Sequence[int] | None) -> tuple[int, ...]:
    inputs = model.inputs
    if len(inputs) != 1:
        raise ValueError(f"Expected a model with one input. '{model.name}' has {len(inputs)}.")
    shape = tuple(inputs[0].shape[1:])
    if given is None:
        if None in shape:
            raise ValueError(
                f"'{model.name}' leaves its image size open, {shape}: give image_shape=..."
            )
        return shape
    given = tuple(given)
    if len(given) != len(shape) or any(
        ours not in (None, theirs) for ours, theirs in zip(shape, given, strict=True)
    ):
        raise ValueError(f"'{model.name}' takes images of {shape}. Received: {given}")
    return given
