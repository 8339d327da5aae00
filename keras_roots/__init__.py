"""Convolutional networks with hierarchical filter groups, for Keras 3.

Source: Ioannou, Robertson, Cipolla and Criminisi, "Deep Roots: Improving CNN
Efficiency with Hierarchical Filter Groups", arXiv:1605.06489.
"""

import importlib.metadata

from keras_roots import layers, lowering, topology
from keras_roots.cost import Cost, LayerCost, cost
from keras_roots.layers import initializers, optimizers
from keras_roots.models import (
    RootAlexNet,
    RootGoogLeNet,
    RootNIN,
    RootNINImageNet,
    RootResNet50,
    RootResNet50V2,
    RootResNet101,
    RootResNet101V2,
    RootResNet152,
    RootResNet152V2,
    RootResNet200,
    RootVGG11,
    RootVGG13,
    RootVGG16,
    RootVGG19,
    build,
    endpoints,
    list_models,
)
from keras_roots.rootify import Plan, plan, rootify
from keras_roots.surgery import auxiliary_heads
from keras_roots.surgery.auxiliary_heads import without_auxiliary_heads
from keras_roots.surgery.stock import to_stock
from keras_roots.surgery.transfer import transfer_weights
from keras_roots.topology import Topology, column, root, tree

try:
    __version__ = importlib.metadata.version("keras_roots")
except importlib.metadata.PackageNotFoundError:  # Run from a source tree that is not installed.
    __version__ = "0+unknown"

__all__ = [
    "Cost",
    "LayerCost",
    "Plan",
    "RootAlexNet",
    "RootGoogLeNet",
    "RootNIN",
    "RootNINImageNet",
    "RootResNet50",
    "RootResNet50V2",
    "RootResNet101",
    "RootResNet101V2",
    "RootResNet152",
    "RootResNet152V2",
    "RootResNet200",
    "RootVGG11",
    "RootVGG13",
    "RootVGG16",
    "RootVGG19",
    "Topology",
    "auxiliary_heads",
    "build",
    "column",
    "cost",
    "endpoints",
    "initializers",
    "layers",
    "list_models",
    "lowering",
    "optimizers",
    "plan",
    "root",
    "rootify",
    "to_stock",
    "topology",
    "transfer_weights",
    "tree",
    "without_auxiliary_heads",
]
