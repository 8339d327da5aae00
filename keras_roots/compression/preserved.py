"""What of pruning and clustering is in a kernel, and whether it still is after more training."""

from typing import Literal

import keras
import numpy as np

from keras_roots.compression.clustering import MOST_CLUSTERS

Preserve = Literal["nothing", "sparsity", "clusters", "both"]
PRESERVE: tuple[Preserve, ...] = ("nothing", "sparsity", "clusters", "both")
# A kernel of so many zeros has been pruned; a few there may be by chance.
_PRUNED = 0.01


def keeping_of(model: keras.Model, before: dict[str, np.ndarray], preserve: Preserve) -> set[str]:
    """The layers in which there is what is to be preserved.

    Raises:
        ValueError: there are none.
    """
    found = {name: kept_of(kernel, preserve) for name, kernel in before.items()}
    if preserve in ("sparsity", "both") and not {"sparsity", "both"} & set(found.values()):
        raise ValueError(f"'{model.name}' has no zeros to preserve. Prune it first.")
    if preserve in ("clusters", "both") and not {"clusters", "both"} & set(found.values()):
        raise ValueError(f"'{model.name}' has no clusters to preserve. Cluster it first.")
    return {name for name, what in found.items() if what != "nothing"}


def kept_of(kernel: np.ndarray, preserve: Preserve) -> Preserve:
    """What there is in a kernel of what is to be preserved."""
    weights = kernel[kernel != 0]
    is_pruned = preserve in ("sparsity", "both") and weights.size <= (1 - _PRUNED) * kernel.size
    # Those of few weights have few values in any case.
    is_clustered = preserve in ("clusters", "both") and (
        len(np.unique(weights)) < weights.size and len(np.unique(kernel)) <= MOST_CLUSTERS
    )
    if is_pruned and is_clustered:
        return "both"
    return "sparsity" if is_pruned else "clusters" if is_clustered else "nothing"


def check_preserved(
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    preserve: Preserve,
    keeping: set[str],
) -> None:
    """Raises a RuntimeError unless zeros are zeros still, and clusters no more."""
    for name in sorted(keeping):
        kernel = before[name]
        what = kept_of(kernel, preserve)
        if what in ("sparsity", "both"):
            lost = int(np.sum((kernel == 0) & (after[name] != 0)))
            if lost:
                raise RuntimeError(f"{lost:,} zeros of '{name}' were not preserved.")
        if what in ("clusters", "both"):
            clusters, found = len(np.unique(kernel)), len(np.unique(after[name]))
            if found > clusters:
                raise RuntimeError(
                    f"The kernel of '{name}' has {found} values, where it had {clusters} clusters: "
                    "they were not preserved."
                )
