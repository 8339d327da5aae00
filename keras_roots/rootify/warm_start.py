"""Weights for filter groups out of a dense model's: the blocks that remain.

A grouped kernel is the dense kernel with everything outside of g diagonal
blocks set to zero. Which channels meet in a block is a matter of their order,
and often the order is free: where a convolution's output reaches other
kernels only through layers that treat every channel alike (normalisation,
activation, pooling), its filters can be permuted, and those kernels' inputs
with them, and the model computes what it did. `permuted_weights` does so, so
that the blocks hold as much of the kernels' squared weight as a local search
finds: in turns, the best partition of the outputs for that of the inputs (an
assignment problem, which SciPy solves), and the reverse.

Not of the paper, whose networks are trained from random weights.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_roots.layers import Conv2D, FusedBatchNormalization, GroupedConv2D
from keras_roots.surgery import graph

_RESTARTS = 3
_SEED = 0


@dataclasses.dataclass
class Share:
    """How much of the dense kernels' squared weight their blocks hold."""

    kept: float = 0.0
    total: float = 0.0

    @property
    def share(self) -> float:
        return self.kept / self.total if self.total else 1.0


def set_block_diagonal(
    source: keras.layers.Conv2D,
    target: keras.layers.Conv2D,
    weights: list[np.ndarray] | None,
    share: Share,
) -> None:
    """Gives a grouped convolution the diagonal blocks of a dense one's kernel.

    Args:
        source: the dense one.
        target: the same with filter groups.
        weights: dense weights instead of the source's, kernel first.
        share: is added to.
    """
    kernel, *others = source.get_weights() if weights is None else weights
    inputs, outputs = (
        np.split(np.arange(size), target.groups) for size in (kernel.shape[2], kernel.shape[3])
    )
    blocks = [kernel[:, :, i][:, :, :, o] for i, o in zip(inputs, outputs, strict=True)]
    grouped = np.concatenate(blocks, axis=-1)
    share.kept += float(np.square(grouped, dtype=np.float64).sum())
    share.total += float(np.square(kernel, dtype=np.float64).sum())
    target.set_weights([grouped, *others])


def permuted_weights(model: keras.Model, groups: Mapping[int, int]) -> dict[int, list[np.ndarray]]:
    """The model's weights with channels permuted for the groups to come.

    Args:
        model: functional or Sequential.
        groups: filter groups of the convolutions that will have some, by the
            layer's `id`.

    Returns:
        New weights of each layer whose weights change, by its `id`. With all
        of them set, the model computes what it did before.
    """
    traced = graph.trace(model)
    spaces = _Spaces(traced)
    orders: dict[int, np.ndarray] = {}
    rng = np.random.default_rng(_SEED)
    for call in traced.calls:
        if id(call.layer) not in groups or spaces.kind(call) != "mixes":
            continue
        given, made = spaces.of(call.inputs[0]), spaces.of(call.outputs[0])
        if given == made:  # A residual around this one layer: both sides would have to agree.
            continue
        energy = np.square(call.layer.get_weights()[0], dtype=np.float64).sum(axis=(0, 1))
        degree = groups[id(call.layer)]
        labels = []
        for axis, space in enumerate((given, made)):
            size = energy.shape[axis]
            natural = np.repeat(np.arange(degree), size // degree)
            decided = space in orders or space in spaces.fixed
            if space in orders:
                label = np.empty(size, int)
                label[orders[space]] = natural
            else:
                label = natural
            labels.append((label, decided))
        for space, label in zip((given, made), _partition(energy, labels, rng), strict=True):
            if space not in spaces.fixed:
                orders.setdefault(space, np.argsort(label, kind="stable"))
    return _apply(traced, spaces, orders)


def _partition(energy: np.ndarray, labels: list[tuple[np.ndarray, bool]], rng) -> list[np.ndarray]:
    """Labels of inputs and outputs whose equal pairs hold the most; decided ones stay."""
    (inputs, inputs_decided), (outputs, outputs_decided) = labels
    if inputs_decided and outputs_decided:
        return [inputs, outputs]
    degree = int(inputs.max()) + 1
    one_hot = np.eye(degree)
    if inputs_decided:
        return [inputs, _assign(energy.T @ one_hot[inputs])]
    if outputs_decided:
        return [_assign(energy @ one_hot[outputs]), outputs]
    best: tuple[float, list[np.ndarray]] = (-1.0, [])
    # The first start is the order as it is, so that the result is no worse than that.
    for start in [inputs, *(rng.permutation(inputs) for _ in range(_RESTARTS))]:
        left, held = start, -1.0
        while True:
            right = _assign(energy.T @ one_hot[left])
            left_again = _assign(energy @ one_hot[right])
            now = float((energy * (left_again[:, None] == right[None, :])).sum())
            if now <= held * (1 + 1e-9):
                break
            left, held, found = left_again, now, [left_again, right]
        if held > best[0]:
            best = (held, found)
    return best[1]


def _assign(score: np.ndarray) -> np.ndarray:
    """A group for each row, of equal numbers of rows, so that the sum of scores is largest."""
    from scipy.optimize import linear_sum_assignment

    rows, degree = score.shape
    _, places = linear_sum_assignment(np.repeat(score, rows // degree, axis=1), maximize=True)
    return places // (rows // degree)


_CHANNELWISE = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
)


class _Spaces:
    """Which tensors' channels must have one order, and where that is fixed.

    A *space* is a set of tensors that layers connect channel by channel.
    """

    def __init__(self, traced: graph.Graph):
        self._parents: dict[int, int] = {}
        self._calls = Counter(id(call.layer) for call in traced.calls)
        ends = [*traced.inputs, *traced.outputs]
        for call in traced.calls:
            kind = self.kind(call)
            if kind == "opaque":
                ends += [*call.inputs, *call.outputs]
            elif kind == "channelwise":
                for number in (*call.inputs, *call.outputs):
                    self._parents[self.of(number)] = self.of(call.outputs[0])
        self.fixed = {self.of(number) for number in ends}

    def of(self, number: int) -> int:
        """The space of a tensor."""
        while self._parents.get(number, number) != number:
            number = self._parents[number]
        return number

    def kind(self, call: graph.Call) -> str:
        """ "mixes" (by a kernel), "channelwise" or "opaque"."""
        layer = call.layer
        if getattr(layer, "weights", ()) and self._calls[id(layer)] > 1:
            return "opaque"
        if not _is_channelwise(getattr(layer, "activation", None)):
            return "opaque"
        if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
            return "opaque"
        if type(layer) in (keras.layers.Conv2D, Conv2D, GroupedConv2D):
            return "mixes" if layer.groups == 1 else "opaque"
        if type(layer) is keras.layers.Dense:
            return "mixes" if len(call.input_shapes[0]) == 2 else "opaque"
        if type(layer) in (keras.layers.BatchNormalization, FusedBatchNormalization):
            channels = call.input_shapes[0][layer.axis]
            axes = (layer.axis % 4 == 3) == _channels_last(layer)
            return (
                "channelwise" if channels and axes and len(call.input_shapes[0]) == 4 else "opaque"
            )
        if type(layer) is keras.layers.DepthwiseConv2D:
            return "channelwise" if layer.depth_multiplier == 1 else "opaque"
        if type(layer) in _CHANNELWISE:
            channels = {_channels(layer, shape) for shape in call.input_shapes}
            return "channelwise" if len(channels) == 1 and None not in channels else "opaque"
        return "opaque"


def _is_channelwise(activation: Any) -> bool:
    """Keras's own activations are: a permutation of channels passes through them."""
    if activation is None:
        return True
    # GLU multiplies one half of the channels by the other.
    return activation.__module__.startswith("keras.") and activation.__name__ != "glu"


def _channels_last(layer: Any) -> bool:
    data_format = getattr(layer, "data_format", None) or keras.config.image_data_format()
    return data_format == "channels_last"


def _channels(layer: Any, shape: tuple) -> int | None:
    return shape[1] if len(shape) == 4 and not _channels_last(layer) else shape[-1]


def _apply(
    traced: graph.Graph, spaces: _Spaces, orders: Mapping[int, np.ndarray]
) -> dict[int, list[np.ndarray]]:
    permuted = {}
    for call in traced.calls:
        kind = spaces.kind(call)
        if kind == "opaque" or not getattr(call.layer, "weights", ()):
            continue
        given, made = (orders.get(spaces.of(n)) for n in (call.inputs[0], call.outputs[0]))
        if given is None and made is None:
            continue
        weights = call.layer.get_weights()
        depthwise = isinstance(call.layer, keras.layers.DepthwiseConv2D)
        for place, weight in enumerate(weights):
            if weight.ndim > 1 and given is not None:
                weight = weight.take(given, axis=-2)
            if made is not None and not (depthwise and weight.ndim > 1):
                weight = weight.take(made, axis=-1)
            weights[place] = weight
        permuted[id(call.layer)] = weights
    return permuted
