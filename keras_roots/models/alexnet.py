"""AlexNet, dense and with filter groups.

Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NIPS 2012, in the sizes of Caffe's reference
model: images of 227x227, pooling before local response normalisation. It is
another network than torchvision's "AlexNet".

The original has two groups in conv2, conv4 and conv5, and none in conv3:
`RootAlexNet(root=keras_roots.column(2), dense_conv3=True)`. Ioannou et al.,
arXiv:1605.06489, compare it with the same network without groups
(`root=1`) and with four.
"""

import keras

from keras_roots.layers import LocalResponseNormalization, convolution
from keras_roots.models.application import Network, Option, dense_classifier, factory


def _features(x, groups, dense_conv3: bool):
    first, second = groups
    table = (
        # Name, filters, kernel size, strides, padding, groups, pooling and normalisation after it.
        ("conv1", 96, 11, 4, "valid", 1, True, True),
        ("conv2", 256, 5, 1, "same", first, True, True),
        ("conv3", 384, 3, 1, "same", 1 if dense_conv3 else second, False, False),
        ("conv4", 384, 3, 1, "same", second, False, False),
        ("conv5", 256, 3, 1, "same", second, True, False),
    )
    for name, filters, kernel_size, strides, padding, g, pooled, normalized in table:
        x = convolution(
            filters,
            kernel_size,
            groups=g,
            strides=strides,
            padding=padding,
            activation="relu",
            name=name,
        )(x)
        if pooled:
            x = keras.layers.MaxPooling2D(3, strides=2, name=name.replace("conv", "pool"))(x)
        if normalized:
            x = LocalResponseNormalization(name=name.replace("conv", "norm"))(x)
    return x


def _top(x, classes: int, activation, **_):
    return dense_classifier(x, ("fc6", "fc7"), classes, activation)


NETWORKS = (
    Network(
        name="alexnet",
        title="AlexNet",
        about="Five convolutions and three dense layers. The original, of two groups, is "
        "root=keras_roots.column(2) with dense_conv3=True.",
        features=_features,
        top=_top,
        levels=("conv2, 96 to 256 channels", "conv3, conv4 and conv5, 256 to 384 channels"),
        endpoints={"C2": "conv1", "C3": "conv2", "C4": "conv5", "C5": "pool5"},
        root=4,
        image_size=227,
        minimum_size=67,  # The least of which the poolings leave a pixel.
        options={
            "dense_conv3": Option(
                False,
                "whether conv3 has no filter groups, so that it mixes those of conv2, as in the "
                "original.",
            )
        },
        any_size=lambda **_: False,
    ),
)

RootAlexNet = factory("RootAlexNet", NETWORKS[0], __name__)
