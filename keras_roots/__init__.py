"""Convolutional networks with hierarchical filter groups, for Keras 3.

Source: Ioannou, Robertson, Cipolla and Criminisi, "Deep Roots: Improving CNN
Efficiency with Hierarchical Filter Groups", arXiv:1605.06489.
"""

import importlib.metadata
import sys
from typing import TYPE_CHECKING

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
from keras_roots.surgery import (
    auxiliary_heads,
    explain,
    to_stock,
    transfer_weights,
    without_auxiliary_heads,
)
from keras_roots.topology import Topology, column, root, tree

if TYPE_CHECKING:  # `__getattr__` loads them.
    from keras_roots import analysis, benchmark, compression, export, planning, sweep, training

# It takes a model, and models stand above the ways in which their layers are computed.
lowering.explain = explain  # type: ignore[attr-defined]
# `from keras_roots.optimizers import SGD` names modules that stand in rooms.
for _module in (auxiliary_heads, initializers, optimizers):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module

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
    "analysis",
    "auxiliary_heads",
    "benchmark",
    "build",
    "column",
    "compression",
    "cost",
    "endpoints",
    "export",
    "initializers",
    "layers",
    "list_models",
    "lowering",
    "optimizers",
    "plan",
    "planning",
    "root",
    "rootify",
    "sweep",
    "to_stock",
    "topology",
    "training",
    "transfer_weights",
    "tree",
    "without_auxiliary_heads",
]

if not TYPE_CHECKING:  # Type checkers would take any name for one that exists.

    def __getattr__(name: str):
        """Loads a sub-package when it is first touched (PEP 562)."""
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
