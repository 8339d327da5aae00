"""A model with this package's classes, as one of Keras's own only."""

import math

import keras

from keras_roots.layers import CompoundHeNormal, Conv2D, FusedBatchNormalization, GroupedConv2D
from keras_roots.surgery.clone import clone, copy_state, plain_copy

_STOCK_LAYERS: dict[type[keras.Layer], type[keras.Layer]] = {
    Conv2D: keras.layers.Conv2D,
    GroupedConv2D: keras.layers.Conv2D,
    FusedBatchNormalization: keras.layers.BatchNormalization,
}


def to_stock(model: keras.Model) -> keras.Model:
    """Copies a model, with Keras's class for each of this package's.

    Keras's Conv2D for ours and for GroupedConv2D, BatchNormalization for
    FusedBatchNormalization, and an initialiser of the same distribution for
    CompoundHeNormal.

    The copy has the same names, weights and outputs, and loads where this
    package is not installed; but for AlexNet's, whose local response
    normalisation Keras has not. It is not compiled.

    Args:
        model: a functional or Sequential model, built.

    Raises:
        ValueError: the model is subclassed, or has not been built.
    """
    copy, pairs = clone(model, _stock_layer)
    for layer, stock in pairs:
        copy_state(layer, stock)
    return copy


def _stock_layer(layer: keras.Layer) -> keras.Layer:
    if type(layer) is keras.layers.Lambda:
        return plain_copy(layer)
    stock = _STOCK_LAYERS.get(type(layer), type(layer))
    config = _stock_config(layer.get_config())
    return stock.from_config(_without_lowering(config) if stock is not type(layer) else config)


def _stock_config(config):
    """Rewrites serialised objects of ours, at any depth: a wrapper's layer, an initialiser."""
    if isinstance(config, (list, tuple)):
        return type(config)(_stock_config(item) for item in config)
    if not isinstance(config, dict):
        return config
    registered_name = config.get("registered_name")
    if registered_name == keras.saving.get_registered_name(CompoundHeNormal):
        return keras.saving.serialize_keras_object(_stock_initializer(config["config"]))
    config = {key: _stock_config(value) for key, value in config.items()}
    for ours, stock in _STOCK_LAYERS.items():
        if registered_name == keras.saving.get_registered_name(ours):
            config |= {
                "module": "keras.layers",
                "class_name": stock.__name__,
                "registered_name": None,
                "config": _without_lowering(config["config"]),
            }
    return config


def _without_lowering(config):
    """Keras's convolutions have no such argument."""
    return {key: value for key, value in config.items() if key != "lowering"}


def _stock_initializer(config) -> keras.initializers.Initializer:
    seed = config["seed"]
    if config["filter_groups"] is None:
        return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=seed)
    fan_out = sum(math.prod(group) for group in config["filter_groups"])
    return keras.initializers.RandomNormal(stddev=math.sqrt(2 / fan_out), seed=seed)
