"""Clustering: the weights of each kernel take a few values only, its centroids.

Source: Han et al., "Deep Compression", arXiv:1510.00149, section 3, as
tensorflow-model-optimization has it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fine_tuning import FineTuning, fine_tune
from keras_roots.compression.legacy import forgotten, libraries, require
from keras_roots.compression.selection import DEFAULT, compressed
from keras_roots.reporting import silent

# The values of an int8 kernel.
MOST_CLUSTERS = 255


def check(clusters: int, *, preserve_sparsity: bool = False) -> None:
    """Raises a ValueError unless it is a number of clusters, of which one may be zero."""
    least = 3 if preserve_sparsity else 2
    if not isinstance(clusters, int) or not least <= clusters <= MOST_CLUSTERS:
        raise ValueError(
            f"Expected a number of clusters from {least} to {MOST_CLUSTERS}, the values that a "
            f"kernel's weights have{', zero one of them' if preserve_sparsity else ''}. Received: "
            f"{clusters!r}"
        )


def cluster(
    model: keras.Model,
    tuning: FineTuning,
    *,
    clusters: int = 16,
    preserve_sparsity: bool = False,
    skip: str | Sequence[str] = DEFAULT,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> keras.Model:
    """Gives each kernel so many values at most, and fine-tunes these.

    Args:
        model, tuning, skip, folder, report: as of `pruning.prune`. Kernels of
            no more weights than clusters are left alone, too.
        clusters: number of values. They are those of the whole kernel, zero
            included.
        preserve_sparsity: weights that are 0, as of a pruned model, stay 0.

    Returns:
        A copy of the model with these weights.

    Raises:
        ValueError, ModuleNotFoundError, DivergedError, Interrupted: as of
            `pruning.prune`; or there are no zeros to preserve.
        RuntimeError: a kernel has more values than it should.
    """
    require("Clustering")
    check(clusters, preserve_sparsity=preserve_sparsity)
    tuning.check_fits(model)
    with forgotten():
        bridge = to_legacy(model, scores=True)
        wanted = {
            name: path
            for name, path in compressed(bridge, skip).items()
            if int(np.prod(bridge.legacy.get_layer(name).kernel.shape)) > clusters
        }
        zeros = {name: bridge.legacy.get_layer(name).kernel.numpy() == 0 for name in wanted}
        if preserve_sparsity and not any(mask.any() for mask in zeros.values()):
            raise ValueError(f"'{model.name}' has no zeros to preserve. Prune it first.")
        keeping = {name for name in wanted if preserve_sparsity and zeros[name].any()}
        clustering = with_centroids(bridge.legacy, set(wanted), clusters, keeping)
        fine_tune(clustering, tuning, title="Clustering", folder=folder, report=report)
        stripped = libraries().tfmot.clustering.keras.strip_clustering(clustering)
        for name, path in wanted.items():
            kernel = stripped.get_layer(name).kernel
            _check_clustered(path, kernel.numpy(), clusters)
            if preserve_sparsity:
                kernel.assign(np.where(zeros[name], 0.0, kernel.numpy()))
        return bridge.back(stripped)


def with_centroids(model: Any, names: set[str], clusters: int, keeping: set[str]) -> Any:
    """The tf-keras model in which these layers are clustered as it is trained.

    Args:
        keeping: those whose zeros stay.
    """
    # Not among what tensorflow-model-optimization lists, but documented: it preserves sparsity.
    from tensorflow_model_optimization.python.core.clustering.keras import cluster_config
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import (
        cluster as experimental,
    )

    begin = cluster_config.CentroidInitialization.KMEANS_PLUS_PLUS
    # The mean of its weights' gradients: their sum is of thousands, too far a step.
    follow = cluster_config.GradientAggregation.AVG

    def wrap(layer: Any) -> Any:
        if layer.name not in names:
            return layer
        return experimental.cluster_weights(
            layer,
            clusters,
            begin,
            preserve_sparsity=layer.name in keeping,
            cluster_gradient_aggregation=follow,
        )

    frozen = [layer for layer in model.layers if layer.name in names and not layer.trainable]
    for layer in frozen:
        layer.trainable = True  # Others it refuses.
    clustering = libraries().keras.models.clone_model(model, clone_function=wrap)
    for layer in frozen:
        layer.trainable = False
    return clustering


def _check_clustered(name: str, kernel: np.ndarray, clusters: int) -> None:
    """Raises a RuntimeError if a kernel has more values than clusters."""
    values = len(np.unique(kernel))
    if values > clusters:
        raise RuntimeError(
            f"The kernel of '{name}' has {values:,} values after clustering, where {clusters} were "
            "asked for: tensorflow-model-optimization did not cluster it."
        )
