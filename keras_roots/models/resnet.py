"""ResNet-50, dense and with filter groups.

Source: He et al., "Deep Residual Learning for Image Recognition",
arXiv:1512.03385: the original ("v1"), whose strides are in the first 1x1
convolution of a stage and in its projection. Groups as in Ioannou et al.,
arXiv:1605.06489, Table 2.

Layer names are those of `keras.applications.ResNet50`. Unlike there, and as
in the authors' files, a convolution that batch normalisation follows has no
bias, except the first.

Deviation: the classifier is drawn by Keras's default (Glorot); the paper's
initialiser is for what a ReLU follows.
"""

import functools
import os
from collections.abc import Callable

import keras

from keras_roots.layers import batch_normalization, convolution, root_module
from keras_roots.models.application import assemble
from keras_roots.topology import RootLike, as_topology

_STAGE_FILTERS = (64, 128, 256, 512)
_STAGE_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4


def RootResNet50(
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor=None,
    input_shape: tuple | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = None,
    *,
    root: RootLike = 16,
) -> keras.Model:
    """ResNet-50 whose 3x3 convolutions are in filter groups.

    Args:
        include_top: whether to have global average pooling and the classifier.
        weights: None (random), or a file that `model.save_weights` or
            `model.save` wrote.
        input_tensor: Keras tensor to build upon, instead of a new input.
        input_shape: (height, width, channels), or channels first if that is
            Keras's image data format; (224, 224, 3) by default, 32x32 at
            least. Height and width may be None.
        pooling: without a top: None, "avg" or "max".
        classes: number of classes.
        classifier_activation: of the top; None for logits.
        name: name of the model; `resnet50` or, say, `resnet50_root-16` by
            default.
        root: r for root-r (groups r, r/2, r/4, r/8 in the four stages; 1 is
            the dense original), a topology such as `keras_roots.column(8)`,
            or four degrees.

    Returns:
        A model from images [batch, height, width, channels] to class scores
        [batch, classes], or to feature maps [batch, height / 32, width / 32,
        2048].

    Raises:
        ValueError: an argument is not as above, or the degrees do not divide
            the channels.
        FileNotFoundError: `weights` names no file.
    """
    topology = as_topology(root)
    groups = topology.degrees(len(_STAGE_FILTERS))

    return assemble(
        functools.partial(_features, groups=groups),
        _top,
        default_size=224,
        minimum_size=32,
        include_top=include_top,
        weights=weights,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name or ("resnet50" if set(groups) == {1} else f"resnet50_{topology}"),
    )


def _features(x, groups):
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = convolution(64, 7, strides=2, name="conv1_conv")(x)
    x = batch_normalization("conv1_bn")(x)
    x = keras.layers.Activation("relu", name="conv1_relu")(x)
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    stages = zip(_STAGE_FILTERS, _STAGE_BLOCKS, groups, strict=True)
    for stage, (filters, blocks, g) in enumerate(stages, start=2):
        for block in range(1, blocks + 1):
            first = block == 1
            x = _bottleneck(
                x,
                filters,
                groups=g,
                strides=2 if first and stage > 2 else 1,
                projection=first,
                name=f"conv{stage}_block{block}",
            )
    return x


def _bottleneck(x, filters: int, *, groups: int, strides: int, projection: bool, name: str):
    shortcut = x
    if projection:
        shortcut = convolution(
            _EXPANSION * filters, 1, strides=strides, use_bias=False, name=f"{name}_0_conv"
        )(x)
        shortcut = batch_normalization(f"{name}_0_bn")(shortcut)
    x = convolution(filters, 1, strides=strides, use_bias=False, name=f"{name}_1_conv")(x)
    x = batch_normalization(f"{name}_1_bn")(x)
    x = keras.layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = root_module(
        filters,
        3,
        groups=groups,
        pointwise_filters=_EXPANSION * filters,
        use_bias=False,
        name=f"{name}_2",
        pointwise_name=f"{name}_3",
    )(x)
    x = batch_normalization(f"{name}_3_bn")(x)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_out")(x)


def _top(x, classes: int, activation):
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.Dense(classes, activation=activation, name="predictions")(x)
