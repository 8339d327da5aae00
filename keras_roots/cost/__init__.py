"""Parameters and multiply-accumulates of any model, layer by layer."""

from keras_roots.cost import report
from keras_roots.cost.count import Convention, Cost, LayerCost, StageCost, cost, shape_text

__all__ = [
    "Convention",
    "Cost",
    "LayerCost",
    "StageCost",
    "cost",
    "report",
    "shape_text",
]
