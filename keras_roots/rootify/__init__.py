"""Filter groups for any model: which layers, in how many groups, from which weights."""

from keras_roots.rootify import warm_start
from keras_roots.rootify.grouping import Plan, PlannedLayer, levels_of, plan, rootify

__all__ = [
    "Plan",
    "PlannedLayer",
    "levels_of",
    "plan",
    "rootify",
    "warm_start",
]
