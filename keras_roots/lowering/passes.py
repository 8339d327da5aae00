"""A convolution whose passes are each computed in their own way."""

import dataclasses

import keras

from keras_roots.lowering import ways
from keras_roots.lowering.ways import Geometry, Lowering

DIRECTIONS = ("forward", "input_gradient", "kernel_gradient")
_HALF = ("float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The lowering of each pass.

    Attributes:
        forward, input_gradient, kernel_gradient: lowerings.
        own_bias_gradient: keep the bias's gradient apart from the kernel's.
            oneDNN's kernel that computes both takes longer than two that
            compute one each.
        plain: compute half precision in float32, and round, where the sums
            would be of half precision too; and channels first as last.
            TensorFlow's CPU kernels, but oneDNN's, know no other.
    """

    forward: Lowering
    input_gradient: Lowering
    kernel_gradient: Lowering
    own_bias_gradient: bool = False
    plain: bool = False

    @classmethod
    def of(cls, lowering: Lowering, **more) -> "Plan":
        """One lowering for all."""
        return cls(lowering, lowering, lowering, **more)

    @property
    def uniform(self) -> bool:
        """Whether the gradients are those that differentiation finds by itself."""
        return self.forward == self.input_gradient == self.kernel_gradient


def convolution(inputs, kernel, bias, geometry: Geometry, plan: Plan, *, training: bool):
    """A convolution, and its gradients, as `plan` says.

    Args:
        inputs: [batch, height, width, channels], or channels first.
        kernel: [height, width, channels / groups, filters].
        bias: [filters], or None.
        geometry: the rest of it.
        plan: a lowering for each pass.
        training: whether gradients are to be as planned. Where they are not,
            what is traced is free of custom gradients, which files cannot
            hold; differentiation then follows the forward lowering.

    Returns:
        [batch, new height, new width, filters], in the inputs' format and type.
    """
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    if plan.plain and (dtype in _HALF or geometry.data_format == "channels_first"):
        return _plainly(inputs, kernel, bias, geometry, plan, training, dtype)
    if not training or (plan.uniform and not (plan.own_bias_gradient and bias is not None)):
        return _biased(ways.convolve(inputs, kernel, geometry, plan.forward), bias, geometry)

    def convolved(inputs, kernel, *bias):
        outputs = ways.convolve(inputs, kernel, geometry, plan.forward)

        def gradients(cotangent):
            found = (
                input_gradient(cotangent, inputs, kernel, geometry, plan.input_gradient),
                kernel_gradient(cotangent, inputs, kernel, geometry, plan.kernel_gradient),
            )
            return (*found, _bias_gradient(cotangent, geometry)) if bias else found

        return _biased(outputs, bias[0] if bias else None, geometry), gradients

    operands = (inputs, kernel) if bias is None else (inputs, kernel, bias)
    return keras.ops.custom_gradient(convolved)(*map(_read, operands))


def _read(value):
    """A tensor; Keras's `convert_to_tensor` leaves TensorFlow's variables what they are."""
    value = keras.ops.convert_to_tensor(value)
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    return tf.convert_to_tensor(value)


def _plainly(inputs, kernel, bias, geometry: Geometry, plan: Plan, training: bool, dtype: str):
    if dtype in _HALF:
        inputs, kernel = (keras.ops.cast(value, "float32") for value in (inputs, kernel))
        bias = None if bias is None else keras.ops.cast(bias, "float32")
    first = geometry.data_format == "channels_first"
    if first:
        inputs = keras.ops.transpose(inputs, (0, 2, 3, 1))
        geometry = dataclasses.replace(geometry, data_format="channels_last")
    outputs = convolution(inputs, kernel, bias, geometry, plan, training=training)
    if first:
        outputs = keras.ops.transpose(outputs, (0, 3, 1, 2))
    return keras.ops.cast(outputs, dtype)


def _biased(outputs, bias, geometry: Geometry):
    if bias is None:
        return outputs
    shape = [1, 1, 1, 1]
    shape[geometry.channel_axis] = -1
    # Which Keras makes TensorFlow's BiasAdd.
    return keras.ops.add(outputs, keras.ops.reshape(bias, shape))


def input_gradient(cotangent, inputs, kernel, geometry: Geometry, lowering: Lowering):
    """The gradient of sum(outputs * cotangent) by the inputs, of which only the shape is read."""
    if lowering == "taps":
        # Of stride 1, it is such a convolution itself. Differentiation would add up padded images.
        groups = inputs.shape[-1] // kernel.shape[-2]
        padding = tuple(
            (span - before, size - length + before)
            for size, length, span, before in zip(
                inputs.shape[1:3],
                cotangent.shape[1:3],
                [
                    (n - 1) * d
                    for n, d in zip(kernel.shape[:2], geometry.dilation_rate, strict=True)
                ],
                _before(inputs, kernel, geometry),
                strict=True,
            )
        )
        return ways.taps(
            cotangent,
            ways.transposed(kernel, groups),
            padding,
            dilation_rate=geometry.dilation_rate,
        )
    return _vector_jacobian_product(
        lambda x: ways.convolve(x, kernel, geometry, lowering), inputs, cotangent
    )


def _before(inputs, kernel, geometry: Geometry) -> tuple[int, int]:
    """Zeros above and to the left of the image."""
    if geometry.padding == "valid":
        return 0, 0
    (top, _), (left, _) = ways.same_padding(
        inputs.shape[1:3], kernel.shape[:2], geometry.strides, geometry.dilation_rate
    )
    return top, left


def kernel_gradient(cotangent, inputs, kernel, geometry: Geometry, lowering: Lowering):
    """The gradient of sum(outputs * cotangent) by the kernel, of which only the shape is read."""
    return _vector_jacobian_product(
        lambda weights: ways.convolve(inputs, weights, geometry, lowering), kernel, cotangent
    )


def _bias_gradient(cotangent, geometry: Geometry):
    axes = (0, 1, 2) if geometry.data_format == "channels_last" else (0, 2, 3)
    if keras.backend.backend() != "tensorflow" or geometry.data_format != "channels_last":
        return keras.ops.sum(cotangent, axis=axes)
    import tensorflow as tf

    # Another shape than the kernel's gradient takes, or TensorFlow fuses them.
    rows = tf.reshape(cotangent, (-1, cotangent.shape[-1]))
    return tf.raw_ops.BiasAddGrad(out_backprop=rows)


def _vector_jacobian_product(function, at, cotangent):
    """The gradient at `at`; the function's own value is dropped where a graph is traced."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.vjp(function, at)[1](cotangent)[0]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(at)
        outputs = function(at)
    return tape.gradient(outputs, at, output_gradients=cotangent)
