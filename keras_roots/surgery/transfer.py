"""Weights from keras.applications into the dense networks of this package."""

import keras
import numpy as np


def transfer_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies weights between two models whose layers have the same names.

    `target` then computes what `source` does. Where a convolution of
    `keras.applications` has a bias and ours has none, because batch
    normalisation follows, the bias is subtracted from the moving mean.

    Args:
        source: such as `keras.applications.ResNet50(weights=...)`.
        target: such as `RootResNet50(root=1)`; its weights are overwritten.

    Raises:
        ValueError: a layer of one is missing in the other (but for a top that
            `source` has on top), has other shapes, or a bias has no batch
            normalisation to go to. `target` is then as it was.
    """
    theirs = {layer.name: layer for layer in source.layers}
    new_weights: dict[str, list[np.ndarray]] = {}
    folded: dict[str, np.ndarray] = {}
    for layer in target.layers:
        if not layer.weights:
            continue
        if layer.name not in theirs:
            raise ValueError(
                f"'{source.name}' has no layer '{layer.name}', as '{target.name}' has. Expected "
                "models of the same architecture, such as keras.applications.ResNet50 and "
                "RootResNet50(root=1)."
            )
        weights = theirs[layer.name].get_weights()
        if len(weights) == 2 and len(layer.weights) == 1:
            kernel, bias = weights
            weights = [kernel]
            folded[layer.name.removesuffix("_conv") + "_bn"] = bias
        shapes = [weight.shape for weight in weights]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if shapes != expected:
            raise ValueError(
                f"The weights of layer '{layer.name}' are of other shapes in '{source.name}'. "
                f"Expected {expected}, received {shapes}. Only a dense network (root=1) of the "
                "same number of classes takes them."
            )
        new_weights[layer.name] = weights
    names = [layer.name for layer in source.layers]
    used = names[: max((names.index(name) for name in new_weights), default=-1) + 1]
    for name in used:
        if theirs[name].weights and name not in new_weights:
            raise ValueError(
                f"'{target.name}' has no layer '{name}', as '{source.name}' has, so it would not "
                "compute the same. Expected models of the same architecture, such as "
                "keras.applications.ResNet50 and RootResNet50(root=1)."
            )
    for name, bias in folded.items():
        normalization = target.get_layer(name) if name in new_weights else None
        if not isinstance(normalization, keras.layers.BatchNormalization):
            raise ValueError(
                f"'{source.name}' has a bias that '{target.name}' has not, and no batch "
                f"normalisation '{name}' in which it could be folded."
            )
        place = [w is normalization.moving_mean for w in normalization.weights].index(True)
        new_weights[name][place] = new_weights[name][place] - bias
    for name, weights in new_weights.items():
        target.get_layer(name).set_weights(weights)
