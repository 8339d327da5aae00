"""The convolution, dense or in filter groups.

Source: Ioannou et al., arXiv:1605.06489, section 3.
"""

from collections.abc import Callable

import keras

from keras_roots.layers.initializers import CompoundHeNormal
from keras_roots.lowering import LayerShape, Padding, choice, passes, same_padding, ways
from keras_roots.topology import filter_groups


@keras.saving.register_keras_serializable(package="keras_roots")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that is fast to train on CPUs, with filter groups above all.

    The same arguments but one, the same weights, weight names and results;
    only how they are computed differs (see `keras_roots.lowering`): the kernel
    gradients of 1x1 convolutions, bias gradients, and all of grouped
    convolutions. What Keras computes as fast is left to it.

    Args:
        *args, **kwargs: those of `keras.layers.Conv2D`.
        lowering: "auto", or one of `keras_roots.lowering.ways` for all passes:
            "native", "split", "taps", "product", "packed-N", "packed-N-split".

    Input shape: [batch, height, width, channels] (channels_last), or
    [batch, channels, height, width]. Output shape: as Conv2D's.

    Raises:
        ValueError: unknown `lowering`, or one that the layer does not allow.
    """

    def __init__(self, *args, lowering: str = "auto", **kwargs):
        super().__init__(*args, **kwargs)
        if lowering != "auto":
            ways.check(lowering, self.groups)
        self.lowering = lowering

    def shape_on(self, input_shape) -> LayerShape:
        """What the layer's speed depends on, for an input shape, batch included."""
        return shape_of(self, input_shape)

    def call(self, inputs, training=None):
        geometry = ways.Geometry(
            tuple(self.strides), self.padding, tuple(self.dilation_rate), self.data_format
        )
        plan = choice.plan(inputs, self.shape_on(inputs.shape), geometry, self.lowering)
        if plan is None:
            return super().call(inputs)
        # TensorFlow's grouped convolution says nothing of an input smaller than the kernel, and
        # returns values.
        outputs_shape = self.compute_output_shape(tuple(inputs.shape))
        if any(n is not None and n < 1 for n in outputs_shape[1:]):
            raise ValueError(
                f"The output of layer '{self.name}' would be empty: its input, of shape "
                f"{tuple(inputs.shape)}, is smaller than its kernel, {self.kernel_size}."
            )
        bias = self.bias if self.use_bias else None
        outputs = passes.convolution(
            inputs, self.kernel, bias, geometry, plan, training=bool(training)
        )
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self):
        config = super().get_config()
        return config if self.lowering == "auto" else {**config, "lowering": self.lowering}


@keras.saving.register_keras_serializable(package="keras_roots")
class GroupedConv2D(Conv2D):
    """The same, by the name that networks with filter groups know their grouped layers by."""


def shape_of(layer, input_shape) -> LayerShape:
    """What the speed of a layer with Conv2D's attributes depends on, for an input shape."""
    channels_last = layer.data_format == "channels_last"
    size = tuple(input_shape[1:3] if channels_last else input_shape[2:])
    padding: Padding = ((0, 0), (0, 0))
    if layer.padding == "same" and None not in size:
        padding = same_padding(size, layer.kernel_size, layer.strides, layer.dilation_rate)
    return LayerShape(
        input_shape=(*size, input_shape[-1 if channels_last else 1]),
        filters=layer.filters,
        kernel_size=tuple(layer.kernel_size),
        strides=tuple(layer.strides),
        dilation_rate=tuple(layer.dilation_rate),
        padding=padding,
        groups=layer.groups,
    )


def convolution(
    filters: int, kernel_size, *, groups: int = 1, name: str | None = None, **kwargs
) -> Callable:
    """A convolution as the networks of the paper have it.

    Args:
        filters: number of filters, over all groups.
        kernel_size: an integer or two, in pixels.
        groups: number of filter groups.
        name: name of the layer.
        **kwargs: the other arguments of `keras.layers.Conv2D`. The kernel is
            drawn by `CompoundHeNormal` unless `kernel_initializer` is given.

    Returns:
        A function from tensor to tensor. Its layer is a `GroupedConv2D` where
        there are groups, and else a `Conv2D` of this module.

    Raises:
        ValueError: when called, if `groups` does not divide the channels.
    """
    kwargs = {"kernel_initializer": CompoundHeNormal(), **kwargs}

    def apply(x):
        data_format = kwargs.get("data_format") or keras.config.image_data_format()
        channels = x.shape[-1 if data_format == "channels_last" else 1]
        filter_groups(channels, filters, groups, layer=name or "conv2d")
        layer = GroupedConv2D if groups > 1 else Conv2D
        return layer(filters, kernel_size, groups=groups, name=name, **kwargs)(x)

    return apply
