"""How a grouped convolution is computed: each way is exactly the same function.

* native: one `tf.nn.convolution`, which finds the number of groups in the
  kernel's shape. The fastest outside XLA, and a single operator of TFLite.
  TensorFlow's CPU kernels have its gradient only with oneDNN and not for
  every type.
* split: a dense convolution for each group, concatenated. Works wherever a
  dense convolution does, and is what XLA compiles well on a CPU. Half
  precision is computed in float32 and rounded, by whichever lowering that takes.
* packed-N: neighbouring groups merged into N wider ones, whose kernels are
  block-diagonal: more arithmetic, of which the zeros are in vain, but full
  SIMD lanes where a group has few channels.
* folded: a dense convolution of few channels (a network's first) as one of
  stride 1 on many: space is folded into channels.

Stock Keras compiles each grouped convolution with XLA, whatever the device;
on a CPU the gradient of that code is very slow. When a model runs on
TensorFlow, `choose` decides between native and split once per traced call,
and `forced` overrides it. For files, see `keras_roots.export.choice`.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

# "native", "split" or "packed-N".
Lowering = str
_PACKED = "packed-"
_FORMATS = {"channels_last": "NHWC", "channels_first": "NCHW"}
_forced: contextvars.ContextVar[Lowering | None] = contextvars.ContextVar(
    "keras_roots_lowering", default=None
)


@contextlib.contextmanager
def forced(lowering: Lowering) -> Iterator[None]:
    """Every grouped convolution traced inside this block takes `lowering`.

    For export, where what runs the graph is not what traced it.

    Args:
        lowering: "native" or "split".
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
    outputs = convolve(inputs, kernel, strides, padding, dilation_rate, data_format, lowering)
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


def convolve(inputs, kernel, strides, padding, dilation_rate, data_format, lowering: Lowering):
    """A grouped convolution by one lowering; see `grouped_convolution`.

    Raises:
        ValueError: unknown lowering, or one that these groups do not allow.
    """
    if lowering.startswith(_PACKED):
        channels = inputs.shape[-1 if data_format == "channels_last" else 1]
        groups = channels // kernel.shape[-2]
        kernel = pack(kernel, groups, packed_groups(lowering, groups))
        lowering = "native"
    ways = {"native": _native, "split": _split}
    if lowering not in ways:
        raise ValueError(_expected(lowering))
    return ways[lowering](inputs, kernel, strides, padding, dilation_rate, data_format)


def packed_groups(lowering: Lowering, groups: int) -> int:
    """How many groups remain: N of "packed-N", and all of them in another lowering.

    Raises:
        ValueError: N does not divide the number of groups.
    """
    if not lowering.startswith(_PACKED):
        return groups
    number = lowering[len(_PACKED) :]
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ValueError(_expected(lowering))
    if groups % int(number):
        raise ValueError(
            f"{groups} filter groups cannot be packed into {number}: expected a divisor of {groups}"
        )
    return int(number)


def packings(groups: int) -> list[Lowering]:
    """Each "packed-N" that `groups` allow, fewest groups first."""
    return [f"{_PACKED}{n}" for n in range(1, groups) if groups % n == 0]


def _expected(lowering: object) -> str:
    return f"Expected lowering='native', 'split' or 'packed-N'. Received: {lowering!r}"


def pack(kernel, groups: int, into: int):
    """The kernel of the same convolution in fewer, wider groups.

    Args:
        kernel: [height, width, channels / groups, filters].
        groups: filter groups that it has.
        into: filter groups of the result, a divisor.

    Returns:
        [height, width, channels / into, filters]: the kernels of groups that
        are merged lie on a block diagonal, and zeros beside it.
    """
    height, width, channels, filters = kernel.shape
    merged = groups // into
    blocks = tf.reshape(kernel, (height, width, 1, channels, into, merged, filters // groups))
    diagonal = tf.reshape(tf.eye(merged, dtype=kernel.dtype), (1, 1, merged, 1, 1, merged, 1))
    return tf.reshape(blocks * diagonal, (height, width, merged * channels, filters))


def foldable(inputs_shape, kernel_shape, strides, dilation_rate) -> bool:
    """Whether `folded` takes this convolution, [batch, height, width, channels]."""
    _, height, width, channels = inputs_shape
    stride = strides[0]
    return (
        tuple(strides) == (stride, stride)
        and kernel_shape[0] > 1
        and tuple(dilation_rate) == (1, 1)
        and kernel_shape[-2] == channels
        and height % stride == width % stride == 0
    )


def folded(inputs, kernel, stride: int, padding):
    """A dense convolution of few channels as one of stride 1 on more.

    Each block of stride x stride pixels becomes one of stride x stride x
    channels values, and then the rows of blocks under a kernel are laid side
    by side, so that all that is left of the kernel is one row of blocks.
    Kernels that multiply eight channels at a time have none to waste then:
    (1, 4, 48) for ResNet's 7x7x3.

    Args:
        inputs: [batch, height, width, channels], both divisible by `stride`.
        kernel: [height, width, channels, filters], an array.
        stride: in both directions.
        padding: zeros before and after, ((top, bottom), (left, right)).
    """
    filters = kernel.shape[-1]
    crops, borders, blocks, lengths = [], [(0, 0)], [], []
    for size, pixels, (before, after) in zip(
        inputs.shape[1:3], kernel.shape[:2], padding, strict=True
    ):
        length = (size + before + after - pixels) // stride + 1
        shift = -before % stride  # So that the first kernel begins with a block.
        rows = -(-(shift + pixels) // stride)
        first = (before + shift) // stride
        missing = length - 1 + rows - first - size // stride
        crops.append((shift, rows * stride - shift - pixels))
        borders.append((first, max(missing, 0)))
        blocks.append(rows)
        lengths.append(length)
    kernel = np.pad(kernel, [*crops, (0, 0), (0, 0)])
    kernel = kernel.reshape(blocks[0], stride, blocks[1], stride, -1, filters)
    kernel = kernel.transpose(2, 0, 1, 3, 4, 5).reshape(1, blocks[1], -1, filters)
    x = tf.nn.space_to_depth(inputs, stride) if stride > 1 else inputs
    x = tf.pad(x, [*borders, (0, 0)])
    columns = lengths[1] - 1 + blocks[1]
    x = tf.concat([x[:, n : n + lengths[0], :columns] for n in range(blocks[0])], axis=-1)
    return tf.nn.conv2d(x, kernel, 1, "VALID")


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
