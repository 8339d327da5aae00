"""A tiny network of each family and form: one block or module a stage, few filters, few pixels.

They are made by the package's own builders, with smaller tables; and beside
them, a network of stock Keras layers that `rootify` gave its groups.
"""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from keras_roots import models
from keras_roots.models import googlenet, resnet, vgg
from keras_roots.models.application import factory, shape_of_size
from tests.sample_models import quietly, randomized, with_statistics

CLASSES = 10
_SMALLER_TABLES = (
    (resnet, "_STAGE_FILTERS", (8, 16, 32, 64)),
    (vgg, "_BLOCK_FILTERS", (8, 16, 32, 64, 64)),
    (
        googlenet,
        "_MODULES",
        {
            name: tuple(filters // 4 for filters in googlenet._MODULES[name])
            for name in ("3a", "4a", "5a")
        },
    ),
)


def _eighth(blocks):
    """Of the filters of a Network in Network."""
    return tuple(
        (*geometry, filters // 8, tuple(n // 8 for n in pointwise), pooling)
        for *geometry, filters, pointwise, pooling in blocks
    )


def _tiny(name, size=32, features=None, **options):
    """The row of a network, some arguments of its `features` replaced, with a top of one layer."""
    row = models.network(name)
    row = dataclasses.replace(row, features=functools.partial(row.features, **(features or {})))
    build = factory("Tiny", row, __name__)
    top = {"include_top": False, "pooling": "avg"}  # AlexNet's and VGG's are of 4,096 units.
    model = build(input_shape=shape_of_size(size, 3), root=4, **top, **options)
    scores = keras.layers.Dense(CLASSES, name="scores")(model.output)
    return keras.Model(model.input, scores, name=name)


def _rootified():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    for number in (1, 2):
        y = keras.layers.Conv2D(16, 3, padding="same", name=f"spatial{number}")(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        x = keras.layers.Add()([x, keras.layers.Conv2D(16, 1, name=f"mix{number}")(y)])
        x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.Model(inputs, keras.layers.Dense(CLASSES)(x), name="rootified")
    return quietly(dense, 4, weights="random")


_BLOCKS = {"blocks": (1, 1, 1, 1)}
_BUILDERS = {
    "resnet": lambda: _tiny("resnet50", features=_BLOCKS),
    "resnet-v1.5": lambda: _tiny("resnet50", features=_BLOCKS, stride_in_1x1=False),
    "resnet-preactivation": lambda: _tiny("resnet50v2", features=_BLOCKS),
    "googlenet-szegedy": lambda: _tiny("googlenet"),
    "googlenet-deep-roots": lambda: _tiny("googlenet", geometry="deep-roots"),
    "nin": lambda: _tiny("nin", features={"blocks": _eighth(models.nin._CIFAR)}),
    "nin-imagenet": lambda: _tiny(
        "nin_imagenet",
        size=SIZES["nin-imagenet"],
        features={"blocks": _eighth(models.nin._IMAGENET)},
    ),
    "alexnet": lambda: _tiny("alexnet", size=SIZES["alexnet"]),
    "vgg": lambda: _tiny("vgg11", features={"convolutions": (1,) * 5}),
    "rootified": _rootified,
}
NAMES = tuple(_BUILDERS)


SIZES = {"nin-imagenet": 59, "alexnet": 67}  # The least that they take; others have 32.


def fresh(name):
    """The network with weights as its layers draw them."""
    with pytest.MonkeyPatch.context() as patch:
        for module, table, smaller in _SMALLER_TABLES:
            patch.setattr(module, table, smaller)
        return _BUILDERS[name]()


@functools.cache
def built(name):
    """The network with random weights, in inference; not to be changed."""
    keras.utils.set_random_seed(0)
    return with_statistics(randomized(fresh(name)), images(name))


@functools.cache
def images(name):
    """[32, height, width, 3]: as many as a calibration takes without a warning."""
    size = SIZES.get(name, 32)
    return np.random.default_rng(0).normal(size=(32, size, size, 3)).astype(np.float32)


@functools.cache
def scores(name):
    """What Keras makes of the images."""
    return np.asarray(built(name)(images(name), training=False))


def groups(name):
    """Of its grouped convolutions, in order."""
    found = [getattr(layer, "groups", 1) for layer in built(name).layers]
    return [each for each in found if each > 1]
