"""The rounding of kernels in quantisation-aware training, in fewer milliseconds.

TensorFlow's operator for a range of each channel goes through a kernel channel
by channel, on one core: of ResNet-50's kernels it takes about as long as all
of a train step. While a network trains, a channel's range is that of its
present weights, symmetric about 0, so that nothing is cut off: then the
rounding is a division, a rounding and a product, and its gradient the identity.
What is converted to TFLite keeps the operator, which says the ranges.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from keras_roots.surgery import replaced


@contextlib.contextmanager
def fast_rounding() -> Iterator[None]:
    """What is traced inside, for training, rounds kernels so."""
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    as_it_is = quant_ops.LastValueQuantize

    def last_value_quantize(inputs, min_var, max_var, **how):
        plain = how.get("per_channel") and how.get("symmetric") and how.get("narrow_range")
        if not plain or not how.get("is_training") or len(inputs.shape) not in (2, 4):
            return as_it_is(inputs, min_var, max_var, **how)
        return _rounded_kernel(inputs, min_var, max_var, how.get("num_bits", 8))

    with replaced(quant_ops, LastValueQuantize=last_value_quantize):
        yield


def _rounded_kernel(kernel: Any, min_var: Any, max_var: Any, bits: int) -> Any:
    """The kernel rounded to integers of so many bits, a scale for each of the last axis."""
    import tensorflow as tf

    kernel = tf.convert_to_tensor(kernel)
    largest = tf.stop_gradient(
        tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))
    )
    levels = 2 ** (bits - 1) - 1

    @tf.custom_gradient
    def rounded(kernel, largest):
        scale = largest / levels
        inverse = tf.math.divide_no_nan(1.0, scale)
        return tf.round(kernel * inverse) * scale, lambda gradient: (gradient, None)

    # As the operator would find them, for the file.
    with tf.control_dependencies([min_var.assign(-largest), max_var.assign(largest)]):
        return rounded(kernel, largest)
