"""Layers, an initialiser and an optimiser: each the same function as Keras's, and faster."""

from keras_roots.layers.convolution import (
    Conv2D,
    GroupedConv2D,
    convolution,
    shape_of,
)
from keras_roots.layers.normalization import FusedBatchNormalization, LocalResponseNormalization
from keras_roots.layers.root_module import batch_normalization, root_module

__all__ = [
    "Conv2D",
    "FusedBatchNormalization",
    "GroupedConv2D",
    "LocalResponseNormalization",
    "batch_normalization",
    "convolution",
    "root_module",
    "shape_of",
]
