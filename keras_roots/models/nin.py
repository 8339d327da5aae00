"""Network in Network, for CIFAR and for ImageNet, dense and with filter groups.

Source: Lin, Chen and Yan, "Network In Network", arXiv:1312.4400, in the form
that Ioannou et al., arXiv:1605.06489, group: batch normalisation after every
convolution, and no dropout. The CIFAR form has "same" padding (maps of 32, 16
and 8 pixels); the ImageNet form has the sizes of Lin's Caffe model (maps of
54, 27, 13 and 6).

Deviation: no ReLU stands between the last batch normalisation and the global
average, so that `classifier_activation=None` gives logits of either sign.
"""

import functools
import itertools

import keras

from keras_roots.layers import batch_normalization, convolution, root_module
from keras_roots.models.application import Network, factory

# Block by block: kernel size, strides and padding of the spatial convolution, its filters, the
# filters of each 1x1, and the pooling 3x3/2 that follows: its layer and its padding. The classifier
# is one more 1x1 at the end. The blocks after the first are the levels.
_MAX, _AVERAGE = keras.layers.MaxPooling2D, keras.layers.AveragePooling2D
_CIFAR = (
    (5, 1, "same", 192, (160, 96), (_MAX, "same")),
    (5, 1, "same", 192, (192, 192), (_AVERAGE, "same")),
    (3, 1, "same", 192, (192,), None),
)
_IMAGENET = (
    (11, 4, "valid", 96, (96, 96), (_MAX, "same")),
    (5, 1, "same", 256, (256, 256), (_MAX, "valid")),
    (3, 1, "same", 384, (384, 384), (_MAX, "valid")),
    (3, 1, "same", 1024, (1024,), None),
)


def _features(x, groups, blocks):
    for number, (block, g) in enumerate(zip(blocks, (1, *groups), strict=True), start=1):
        kernel_size, strides, padding, filters, (first, *others), pooling = block
        x = root_module(
            filters,
            kernel_size,
            groups=g,
            strides=strides,
            padding=padding,
            pointwise_filters=first,
            name=f"conv{number}_1",
            pointwise_name=f"conv{number}_2",
        )(x)
        x = _normalized_relu(x, f"conv{number}_2")
        for place, pointwise_filters in enumerate(others, start=3):
            x = convolution(pointwise_filters, 1, name=f"conv{number}_{place}_conv")(x)
            x = _normalized_relu(x, f"conv{number}_{place}")
        if pooling is not None:
            layer, padding = pooling
            x = layer(3, strides=2, padding=padding, name=f"pool{number}")(x)
    return x


def _top(x, classes: int, activation, number: int):
    x = convolution(classes, 1, name=f"conv{number}_3_conv")(x)
    x = batch_normalization(f"conv{number}_3_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.Activation(activation, name="predictions")(x)


def _normalized_relu(x, prefix: str):
    x = batch_normalization(f"{prefix}_bn")(x)
    return keras.layers.Activation("relu", name=f"{prefix}_relu")(x)


def _network(name: str, title: str, blocks: tuple, first_endpoint: int, **sizes) -> Network:
    return Network(
        name=name,
        title=title,
        about=f"{len(blocks)} blocks, each of a spatial convolution and 1x1 convolutions. The "
        "classifier is the last 1x1, of a filter for each class, and the global average.",
        features=functools.partial(_features, blocks=blocks),
        top=functools.partial(_top, number=len(blocks)),
        levels=tuple(
            f"the {block[0]}x{block[0]} of block {number}, {before[4][-1]} to {block[3]} channels"
            for number, (before, block) in enumerate(itertools.pairwise(blocks), start=2)
        ),
        endpoints={
            f"C{k}": f"conv{number}_{1 + len(block[4])}_relu"
            for number, (k, block) in enumerate(enumerate(blocks, start=first_endpoint), start=1)
        },
        **sizes,
    )


NETWORKS = (
    _network(
        "nin",
        "Network in Network (CIFAR)",
        _CIFAR,
        first_endpoint=0,
        root=8,
        image_size=32,
        minimum_size=8,
        classes=10,
    ),
    _network(
        "nin_imagenet",
        "Network in Network (ImageNet)",
        _IMAGENET,
        first_endpoint=2,
        root=8,
        minimum_size=59,  # The least of which the poolings leave a pixel.
    ),
)
_BY_NAME = {network.name: network for network in NETWORKS}

RootNIN = factory("RootNIN", _BY_NAME["nin"], __name__)
RootNINImageNet = factory("RootNINImageNet", _BY_NAME["nin_imagenet"], __name__)
