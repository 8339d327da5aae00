"""Choosing a plan: which degrees, level by level, meet a budget of cost or latency.

What is known of a plan before anything is trained: its parameters and
multiply-accumulates, exactly (`networks`), and its latency on this machine,
predicted or measured (`latency`). What is not known is its *accuracy*, and
nothing here stands in for it. Cost alone would always choose the most groups;
so what is set against it is how much of the dense network a plan keeps: the
number of weights in the spatial convolutions, a capacity that costs nothing
to count, and no more than that. A plan is *Pareto-optimal* if no other has as
few multiply-accumulates, as low a latency (where that is known) and as many
of these weights, and is better in one of them.

Plans that meet a budget are listed by the weights that they keep, most first:
the least grouped network that is cheap enough. The paper (Ioannou et al.,
arXiv:1605.06489) chooses otherwise, by a rule of topology: degrees that halve
with depth (root), of which it reports that they keep accuracy better than
constant (column) and rising ones (tree). The two mostly agree in that the
degrees fall: in most networks the late layers hold the weights, and the early
ones, on large maps, as many of the multiply-accumulates.

Left out, as it tells nothing: how much of a trained dense model's squared
weight the blocks of a plan hold (`keras_roots.rootify(weights=
"block-diagonal")`). In a Network in Network trained on CIFAR-10 that is 0.501,
0.250 and 0.124 of the 5x5 in 2, 4 and 8 groups: the share of the weights.
"""

from keras_roots.planning.budget import Budget, parse
from keras_roots.planning.candidates import FAMILIES, Candidate, Candidates, enumerate_candidates
from keras_roots.planning.latency import Timing
from keras_roots.planning.networks import Level, Network, of_model, of_name
from keras_roots.planning.recommendation import Recommendation, recommend

__all__ = [
    "FAMILIES",
    "Budget",
    "Candidate",
    "Candidates",
    "Level",
    "Network",
    "Recommendation",
    "Timing",
    "enumerate_candidates",
    "of_model",
    "of_name",
    "parse",
    "recommend",
]
