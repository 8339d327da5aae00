"""Network in Network for 32x32 images, dense and with filter groups.

Source: Lin, Chen and Yan, "Network In Network", arXiv:1312.4400, in the form
that Ioannou et al., arXiv:1605.06489, group: batch normalisation after every
convolution, no dropout, and "same" padding (maps of 32, 16 and 8 pixels).

Deviation: no ReLU stands between the last batch normalisation and the global
average, so that `classifier_activation=None` gives logits of either sign.
"""

import os
from collections.abc import Callable

import keras

from keras_roots.layers import batch_normalization, convolution, root_module
from keras_roots.models.application import assemble
from keras_roots.topology import RootLike, as_topology

# (kernel size, filters, filters of each 1x1, pooling) block by block; the classifier is one more
# 1x1 at the end. Blocks 2 and 3 are levels 0 and 1.
_BLOCKS = (
    (5, 192, (160, 96), keras.layers.MaxPooling2D),
    (5, 192, (192, 192), keras.layers.AveragePooling2D),
    (3, 192, (192,), None),
)


def RootNIN(
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor=None,
    input_shape: tuple | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = None,
    *,
    root: RootLike = 8,
) -> keras.Model:
    """Network in Network with filter groups in its second and third block.

    Args:
        include_top: whether to have the classifier: the last 1x1 convolution
            (a filter for each class) and the global average.
        weights: None (random), or a file that `model.save_weights` or
            `model.save` wrote.
        input_tensor: Keras tensor to build upon, instead of a new input.
        input_shape: (height, width, channels), or channels first if that is
            Keras's image data format; (32, 32, 3) by default, 8x8 at least.
            Height and width may be None.
        pooling: without a top: None, "avg" or "max".
        classes: number of classes.
        classifier_activation: of the top; None for logits.
        name: name of the model; `nin` or, say, `nin_root-8` by default.
        root: r for root-r (groups r and r/2; 1 is the dense original), a
            topology such as `keras_roots.tree(4)`, or two degrees.

    Returns:
        A model from images [batch, height, width, channels] to class scores
        [batch, classes], or to feature maps [batch, height / 4, width / 4,
        192].

    Raises:
        ValueError: an argument is not as above, or the degrees do not divide
            the channels.
        FileNotFoundError: `weights` names no file.
    """
    topology = as_topology(root)
    groups = (1, *topology.degrees(len(_BLOCKS) - 1))

    def features(x):
        for number, (block, g) in enumerate(zip(_BLOCKS, groups, strict=True), start=1):
            kernel_size, filters, (first, *others), pooling = block
            x = root_module(
                filters,
                kernel_size,
                groups=g,
                pointwise_filters=first,
                name=f"conv{number}_1",
                pointwise_name=f"conv{number}_2",
            )(x)
            x = _normalized_relu(x, f"conv{number}_2")
            for place, pointwise_filters in enumerate(others, start=3):
                x = convolution(pointwise_filters, 1, name=f"conv{number}_{place}_conv")(x)
                x = _normalized_relu(x, f"conv{number}_{place}")
            if pooling is not None:
                x = pooling(3, strides=2, padding="same", name=f"pool{number}")(x)
        return x

    def top(x, classes, activation):
        x = convolution(classes, 1, name="conv3_3_conv")(x)
        x = batch_normalization("conv3_3_bn")(x)
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        return keras.layers.Activation(activation, name="predictions")(x)

    return assemble(
        features,
        top,
        default_size=32,
        minimum_size=8,
        include_top=include_top,
        weights=weights,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name or ("nin" if set(groups) == {1} else f"nin_{topology}"),
    )


def _normalized_relu(x, prefix: str):
    x = batch_normalization(f"{prefix}_bn")(x)
    return keras.layers.Activation("relu", name=f"{prefix}_relu")(x)
