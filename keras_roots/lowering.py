"""How a grouped convolution is computed on TensorFlow.

Stock Keras compiles each grouped convolution with XLA, whatever the device;
on a CPU the gradient of that code is very slow. Two lowerings take its place,
each exactly the same function:

* native: one `tf.nn.convolution`, which finds the number of groups in the
  kernel's shape. The fastest outside XLA, and the only one that converts to a
  single TFLite operator. TensorFlow's CPU kernels have its gradient only
  with oneDNN and not for every type.
* split: a dense convolution for each group, concatenated. Works wherever a
  dense convolution does, and is what XLA compiles well on a CPU. Half
  precision is computed in float32 and rounded, by whichever lowering that takes.

`choose` decides, once per traced call, and `forced` overrides it.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Literal

import tensorflow as tf

Lowering = Literal["native", "split"]
_FORMATS = {"channels_last": "NHWC", "channels_first": "NCHW"}
_forced: contextvars.ContextVar[Lowering | None] = contextvars.ContextVar(
    "keras_roots_lowering", default=None
)


@contextlib.contextmanager
def forced(lowering: Lowering) -> Iterator[None]:
    """Every grouped convolution traced inside this block takes `lowering`.

    For export, where what runs the graph is not what traced it.
    """
    if lowering not in ("native", "split"):
        raise ValueError(f"Expected lowering='native' or 'split'. Received: {lowering!r}")
    token = _forced.set(lowering)
    try:
        yield
    finally:
        _forced.reset(token)


def grouped_convolution(inputs, kernel, strides, padding, dilation_rate, data_format):
    """A grouped 2D convolution.

    Args:
        inputs: [batch, height, width, channels], or channels first.
        kernel: [height, width, channels / groups, filters].
        strides, dilation_rate: two integers each.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".

    Returns:
        [batch, new height, new width, filters], in the inputs' format and type.
    """
    lowering = choose(inputs, data_format)
    if lowering == "split" and inputs.dtype in (tf.float16, tf.bfloat16):
        # TensorFlow's dense kernels for the CPU would sum in half precision too.
        outputs = grouped_convolution(
            tf.cast(inputs, tf.float32),
            tf.cast(kernel, tf.float32),
            strides,
            padding,
            dilation_rate,
            data_format,
        )
        return tf.cast(outputs, inputs.dtype)
    # TensorFlow's CPU kernels know channels_first in oneDNN's types only.
    transposed = data_format == "channels_first" and lowering == "split"
    if transposed:
        inputs, data_format = tf.transpose(inputs, (0, 2, 3, 1)), "channels_last"
    convolve = {"native": _native, "split": _split}[lowering]
    outputs = convolve(inputs, kernel, strides, padding, dilation_rate, data_format)
    return tf.transpose(outputs, (0, 3, 1, 2)) if transposed else outputs


def choose(inputs, data_format: str) -> Lowering:
    """The lowering for a call in the present context, with its reason.

    * what `forced` says, if it was said;
    * native on an accelerator, as cuDNN has all of it (nothing was measured
      there yet);
    * split inside an XLA compilation on a CPU, where native is slow;
    * native on a CPU where TensorFlow can differentiate it, else split.
    """
    lowering = _forced.get()
    if lowering is not None:
        return lowering
    if _device_type(inputs) != "CPU":
        return "native"
    if _inside_xla():
        return "split"
    return "native" if _native_differentiable_on_cpu(inputs.dtype, data_format) else "split"


def _native(inputs, kernel, strides, padding, dilation_rate, data_format):
    return tf.nn.convolution(
        inputs,
        kernel,
        strides,
        padding.upper(),
        data_format=_FORMATS[data_format],
        dilations=dilation_rate,
    )


def _split(inputs, kernel, strides, padding, dilation_rate, data_format):
    axis = -1 if data_format == "channels_last" else 1
    groups = inputs.shape[axis] // kernel.shape[-2]
    outputs = [
        _native(x, k, strides, padding, dilation_rate, data_format)
        for x, k in zip(
            tf.split(inputs, groups, axis=axis), tf.split(kernel, groups, axis=-1), strict=True
        )
    ]
    return tf.concat(outputs, axis=axis)


def _device_type(inputs) -> str:
    """The type of device that will compute: "CPU", "GPU" or another."""
    if tf.executing_eagerly():
        return tf.DeviceSpec.from_string(inputs.device).device_type or "CPU"
    # An operation made here carries the device scope that the convolution will be under.
    scope = tf.DeviceSpec.from_string(tf.no_op().device).device_type
    if scope:
        return scope
    kinds = [kind for kind in ("TPU", "GPU") if tf.config.list_logical_devices(kind)]
    return kinds[0] if kinds else "CPU"


def _inside_xla() -> bool:
    """Whether the graph being traced will be compiled by XLA."""
    try:
        from tensorflow.python.framework import ops
        from tensorflow.python.ops import control_flow_util

        return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())
    except (ImportError, AttributeError):
        # Private to TensorFlow. Without it native is taken: slower under XLA, never wrong.
        return False


@functools.cache
def _native_differentiable_on_cpu(dtype: tf.DType, data_format: str) -> bool:
    """Tries it: a small grouped convolution and its gradients.

    That depends on oneDNN (in the build, switched on, and for this type on
    this processor), which TensorFlow says nowhere in public.
    """
    # No smaller: a 1x1 convolution takes another path in TensorFlow, and works where this fails.
    channels_last = data_format == "channels_last"
    inputs_shape, outputs_shape = (
        ([1, 5, 5, 4], [1, 3, 3, 4]) if channels_last else ([1, 4, 5, 5], [1, 4, 3, 3])
    )
    # A gradient tape would record nothing here, so the gradients' operations are called themselves.
    with tf.init_scope(), tf.device("/CPU:0"):
        inputs, outputs = tf.ones(inputs_shape, dtype), tf.ones(outputs_shape, dtype)
        kernel = tf.ones([3, 3, 2, 4], dtype)
        options = {
            "out_backprop": outputs,
            "strides": [1] * 4,
            "padding": "VALID",
            "data_format": _FORMATS[data_format],
        }
        try:
            _native(inputs, kernel, (1, 1), "valid", (1, 1), data_format)
            tf.raw_ops.Conv2DBackpropInput(input_sizes=inputs_shape, filter=kernel, **options)
            tf.raw_ops.Conv2DBackpropFilter(input=inputs, filter_sizes=kernel.shape, **options)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True
