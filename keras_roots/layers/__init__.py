"""Layers, an initialiser and an optimiser: each the same function as Keras's, and faster."""

from keras_roots.layers import initializers, normalization, optimizers
from keras_roots.layers.convolution import (
    Conv2D,
    GroupedConv2D,
    convolution,
    shape_of,
)
from keras_roots.layers.initializers import CompoundHeNormal
from keras_roots.layers.normalization import FusedBatchNormalization, LocalResponseNormalization
from keras_roots.layers.optimizers import SGD
from keras_roots.layers.root_module import batch_normalization, root_module

__all__ = [
    "SGD",
    "CompoundHeNormal",
    "Conv2D",
    "FusedBatchNormalization",
    "GroupedConv2D",
    "LocalResponseNormalization",
    "batch_normalization",
    "convolution",
    "initializers",
    "normalization",
    "optimizers",
    "root_module",
    "shape_of",
]
