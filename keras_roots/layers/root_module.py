"""The root module: a spatial convolution in filter groups, and the 1x1 that mixes its groups.

Source: Ioannou et al., arXiv:1605.06489, section 3.
"""

from collections.abc import Callable

import keras

from keras_roots.layers.convolution import convolution
from keras_roots.layers.normalization import FusedBatchNormalization


def batch_normalization(name: str | None = None) -> keras.layers.Layer:
    """Batch normalisation as the networks of the paper have it.

    Epsilon is that of keras.applications, so that weights can be exchanged.
    The running averages' momentum, of which the paper says nothing, is
    fb.resnet.torch's: 0.9.
    """
    axis = -1 if keras.config.image_data_format() == "channels_last" else 1
    return FusedBatchNormalization(axis=axis, epsilon=1.001e-5, momentum=0.9, name=name)


def root_module(
    filters: int,
    kernel_size,
    *,
    groups: int,
    pointwise_filters: int | None = None,
    strides=1,
    padding: str = "same",
    use_bias: bool = True,
    activation: str = "relu",
    normalization: Callable[..., keras.layers.Layer] | None = batch_normalization,
    name: str | None = None,
    pointwise_name: str | None = None,
) -> Callable:
    """A grouped spatial convolution, and the 1x1 that mixes its groups.

    convolution (grouped) -> normalisation -> activation -> 1x1 convolution.
    What follows the 1x1 is the network's to choose.

    Args:
        filters: number of filters of the spatial convolution.
        kernel_size: its size, an integer or two.
        groups: its filter groups; 1 is dense.
        pointwise_filters: filters of the 1x1; `filters` by default.
        strides, padding: of the spatial convolution.
        use_bias: whether both convolutions have a bias.
        activation: name of the activation between them.
        normalization: makes the normalisation between them, given `name`;
            None for none.
        name: the spatial part's layers are called `{name}_conv`, `{name}_bn`
            and `{name}_relu` (after the activation).
        pointwise_name: the 1x1's layer is called `{pointwise_name}_conv`;
            `{name}_pointwise` by default.

    Returns:
        A function from tensor to tensor, [batch, height, width, channels] to
        [batch, new height, new width, pointwise_filters] (or channels first).

    Raises:
        ValueError: when called, if `groups` does not divide the channels.
    """
    if pointwise_name is None and name is not None:
        pointwise_name = f"{name}_pointwise"

    def named(prefix: str | None, suffix: str) -> str | None:
        return None if prefix is None else f"{prefix}_{suffix}"

    def apply(x):
        x = convolution(
            filters,
            kernel_size,
            groups=groups,
            strides=strides,
            padding=padding,
            use_bias=use_bias,
            name=named(name, "conv"),
        )(x)
        if normalization is not None:
            x = normalization(name=named(name, "bn"))(x)
        x = keras.layers.Activation(activation, name=named(name, activation))(x)
        return convolution(
            filters if pointwise_filters is None else pointwise_filters,
            1,
            use_bias=use_bias,
            name=named(pointwise_name, "conv"),
        )(x)

    return apply
