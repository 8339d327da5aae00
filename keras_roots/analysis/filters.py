"""The filters of the first convolution, and which filter group of a later layer reads each.

Where nothing but normalisation, activations, pooling and the like lies between the convolution on
the image and the first grouped one, each filter is read by one group, and the order is exact. Where
1x1 convolutions do (as in Network in Network), every group reads something of every filter; then a
filter is counted to the group that reads most of it: with the largest sum of squared net weights.
The net weight from a filter to a channel is that of all paths together, the product of the kernels
and of the scales of batch normalisation, as if the activations on the way were linear. (The product
of absolute weights tells nothing: of some hundred paths, each sum is about the same.)
"""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_roots.surgery import graph, strides

_layers = keras.layers
# These leave each channel what it is, or take it away altogether.
_BY_CHANNEL: tuple[type, ...] = (
    _layers.Activation,
    _layers.ReLU,
    _layers.LeakyReLU,
    _layers.ELU,
    _layers.PReLU,
    _layers.Dropout,
    _layers.SpatialDropout2D,
    _layers.GaussianNoise,
    _layers.ZeroPadding2D,
    _layers.Cropping2D,
    _layers.UpSampling2D,
    _layers.Rescaling,
    _layers.Identity,
    _layers.MaxPooling2D,
    _layers.AveragePooling2D,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Filters:
    """The kernels of a convolution on the image.

    Attributes:
        layer: its path.
        kernels: float32 [height, width, channels, filters].
        reader: the path of the first convolution with filter groups that reads them, or None.
        strength: float64 [filters, groups of the reader]: the share of each group in what is read
            of each filter, by squared net weights; a filter's add up to 1, or are all 0 where
            nobody reads it. [filters, 0] without a reader.
    """

    layer: str
    kernels: np.ndarray
    reader: str | None
    strength: np.ndarray

    @property
    def groups(self) -> int:
        """Of the reader; 0 if there is none."""
        return self.strength.shape[1]

    @property
    def is_exact(self) -> bool:
        """Whether each filter is read by one group alone."""
        return bool((np.count_nonzero(self.strength, axis=1) <= 1).all())

    @property
    def group(self) -> np.ndarray:
        """Which group reads most of each filter, int64 [filters]; -1 where none reads it."""
        if not self.groups:
            return np.full(len(self.strength), -1)
        return np.where(self.strength.any(axis=1), self.strength.argmax(axis=1), -1)

    def rows(self) -> dict[str, list[int]]:
        """The filters of each group, by its number, those that it reads most of first.

        Of equals in their order. Those that no group reads are the last row, "none", which is the
        only one without a reader.
        """
        most = self.strength.max(axis=1, initial=0)
        order = np.argsort(-most, kind="stable")
        rows = {str(g): [int(n) for n in order if self.group[n] == g] for g in range(self.groups)}
        unread = [int(n) for n in order if self.group[n] < 0]
        return {**rows, "none": unread} if unread else rows

    def order(self) -> str:
        """What a row is, in words."""
        if self.reader is None:
            return (
                "in their order: no filter groups read them, directly or through 1x1 convolutions"
            )
        rows = f"a row for what each of the {self.groups} groups of {self.reader} reads"
        if self.is_exact:
            return rows
        most = self.strength.max(axis=1).mean()
        return (
            f"{rows} most of, through 1x1 convolutions: {most:.0%} of a filter on average "
            f"({1 / self.groups:.0%} if all read alike)"
        )


def first_filters(model: keras.Model) -> Filters:
    """The filters of the first convolution on the image.

    Raises:
        ValueError: the model has no two-dimensional convolution on its image.
    """
    for call, on_image, _ in strides.sites(model):
        if on_image and isinstance(call.layer, _layers.Conv2D):
            break
    else:
        raise ValueError(f"'{model.name}' has no two-dimensional convolution on its image.")
    kernels = _numpy(call.layer.kernel)
    reader, strength = _reader(graph.trace(model), call, kernels.shape[-1])
    return Filters(call.path, kernels, reader, strength)


def _reader(traced: graph.Graph, first: graph.Call, filters: int) -> tuple[str | None, np.ndarray]:
    """The path of the first grouped convolution behind a call, and what its groups read."""
    # The net weight from each filter to each channel of a tensor: [filters, channels].
    net = {first.outputs[0]: np.eye(filters)}
    for call in traced.calls[traced.calls.index(first) + 1 :]:
        given = [net.get(number) for number in call.inputs]
        known = [each for each in given if each is not None]
        if not known:
            continue
        layer = call.layer
        if isinstance(layer, _layers.Conv2D) and 1 < layer.groups < _channels(layer):
            read = np.square(known[0]).reshape(filters, layer.groups, -1).sum(axis=2)
            total = read.sum(axis=1, keepdims=True)
            return call.path, np.divide(read, total, out=np.zeros_like(read), where=total > 0)
        made = _after(call, given, known)
        if made is not None:
            net.update(dict.fromkeys(call.outputs, made))
    return None, np.zeros((filters, 0))


def _after(
    call: graph.Call, given: list[np.ndarray | None], known: list[np.ndarray]
) -> np.ndarray | None:
    """The net weights to the output of a call; None where they cannot be told."""
    layer, first = call.layer, known[0]
    if isinstance(layer, _layers.Conv2D) and set(layer.kernel_size) == {1} and layer.groups == 1:
        return first @ _numpy(layer.kernel)[0, 0]
    if isinstance(layer, _layers.BatchNormalization):
        return first * _scale(layer)
    if isinstance(layer, _BY_CHANNEL):
        return first
    if isinstance(layer, _layers.Concatenate):
        return _concatenated(call, given, len(first))
    if isinstance(layer, _layers.Add) and len({each.shape for each in known}) == 1:
        return np.sum(known, axis=0)
    return None


def _concatenated(
    call: graph.Call, given: list[np.ndarray | None], filters: int
) -> np.ndarray | None:
    axis = call.layer.axis
    parts = []
    for each, shape in zip(given, call.input_shapes, strict=True):
        if each is not None and each.shape[1] != shape[axis]:
            return None  # Of another axis than the channels'.
        parts.append(np.zeros((filters, shape[axis])) if each is None else each)
    return np.hstack(parts)


def _scale(layer: Any) -> np.ndarray:
    scale = 1 / np.sqrt(_numpy(layer.moving_variance) + layer.epsilon)
    return scale * _numpy(layer.gamma) if layer.scale else scale


def _channels(layer: Any) -> int:
    return layer.kernel.shape[-2] * layer.groups


def _numpy(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
