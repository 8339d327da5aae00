"""How a convolution is computed: each way is exactly the same function.

* native: one convolution, which finds the number of groups in the kernel's
  shape; on TensorFlow `tf.nn.convolution`, and a single operator of TFLite.
* split: a dense convolution for each group, concatenated.
* packed-N: neighbouring groups merged into N wider ones, whose kernels are
  block-diagonal: more arithmetic, of which the zeros are in vain, but full
  SIMD lanes where a group has few channels. packed-N-split splits those.
* taps: a multiplication and an addition, element by element, for each pixel
  of the kernel and channel of a group. XLA makes one loop of them all, which
  passes over the image once: the fastest for groups of few channels.
* product: a 1x1 convolution as one product of two matrices.
* folded: a dense convolution of few channels (a network's first) as one of
  stride 1 on many: space is folded into channels. For files only.
"""

import dataclasses

import keras
import numpy as np

from keras_roots.lowering.layer_shape import same_padding

Lowering = str
_PACKED, _SPLIT = "packed-", "-split"


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a convolution passes over an image.

    Attributes:
        strides, dilation_rate: two integers each.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".
    """

    strides: tuple[int, int] = (1, 1)
    padding: str = "valid"
    dilation_rate: tuple[int, int] = (1, 1)
    data_format: str = "channels_last"

    @property
    def channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1


def convolve(inputs, kernel, geometry: Geometry, lowering: Lowering):
    """A convolution by one lowering.

    Args:
        inputs: [batch, height, width, channels], or channels first.
        kernel: [height, width, channels / groups, filters].
        geometry: the rest of it.
        lowering: one of this module's, but "folded".

    Returns:
        [batch, new height, new width, filters], in the inputs' format and type.

    Raises:
        ValueError: unknown lowering, or one that this convolution does not allow.
    """
    if lowering.startswith(_PACKED):
        groups = inputs.shape[geometry.channel_axis] // kernel.shape[-2]
        kernel = pack(kernel, groups, packed_groups(lowering, groups))
        lowering = after_packing(lowering)
    ways = {"native": _native, "split": _split, "taps": _taps, "product": _product}
    if lowering not in ways:
        raise ValueError(_expected(lowering))
    return ways[lowering](inputs, kernel, geometry)


def check(lowering: Lowering, groups: int | None = None) -> None:
    """Raises a ValueError unless it is a lowering of `convolve` (for so many groups)."""
    if lowering.startswith(_PACKED):
        if groups is None:
            _packed_number(lowering)
        else:
            packed_groups(lowering, groups)
    elif lowering not in ("native", "split", "taps", "product"):
        raise ValueError(_expected(lowering))


def packed_groups(lowering: Lowering, groups: int) -> int:
    """How many groups remain: N of "packed-N", and all of them in another lowering.

    Raises:
        ValueError: N does not divide the number of groups.
    """
    if not lowering.startswith(_PACKED):
        return groups
    number = _packed_number(lowering)
    if groups % number:
        raise ValueError(
            f"{groups} filter groups cannot be packed into {number}: expected a divisor of {groups}"
        )
    return number


def _packed_number(lowering: Lowering) -> int:
    number = lowering[len(_PACKED) :].removesuffix(_SPLIT)
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ValueError(_expected(lowering))
    return int(number)


def after_packing(lowering: Lowering) -> Lowering:
    """What computes the packed groups of a "packed-N"; another lowering is itself."""
    if not lowering.startswith(_PACKED):
        return lowering
    return "split" if lowering.endswith(_SPLIT) else "native"


def packed(groups: int, into: int, then: Lowering = "native") -> Lowering:
    """The name of the lowering that merges `groups` into fewer, or the same, and computes them."""
    if into == groups:
        return then
    return f"{_PACKED}{into}{_SPLIT if then == 'split' else ''}"


def packings(groups: int, then: Lowering = "native") -> list[Lowering]:
    """Each "packed-N" that `groups` allow, fewest groups first."""
    return [packed(groups, n, then) for n in range(1, groups) if groups % n == 0]


def _expected(lowering: object) -> str:
    return (
        "Expected lowering='native', 'split', 'taps', 'product', 'packed-N' or 'packed-N-split'. "
        f"Received: {lowering!r}"
    )


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
    blocks = keras.ops.reshape(
        kernel, (height, width, 1, channels, into, merged, filters // groups)
    )
    diagonal = keras.ops.reshape(
        keras.ops.eye(merged, dtype=blocks.dtype), (1, 1, merged, 1, 1, merged, 1)
    )
    return keras.ops.reshape(blocks * diagonal, (height, width, merged * channels, filters))


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
    import tensorflow as tf

    x = tf.nn.space_to_depth(inputs, stride) if stride > 1 else inputs
    x = tf.pad(x, [*borders, (0, 0)])
    columns = lengths[1] - 1 + blocks[1]
    x = tf.concat([x[:, n : n + lengths[0], :columns] for n in range(blocks[0])], axis=-1)
    return tf.nn.conv2d(x, kernel, 1, "VALID")


def transposed(kernel, groups: int):
    """The kernel with which a convolution's cotangent gives the gradient of its input.

    Args:
        kernel: [height, width, channels / groups, filters].

    Returns:
        [height, width, filters / groups, channels]: upside down, and
        channels and filters of each group exchanged.
    """
    height, width, channels, filters = kernel.shape
    blocks = keras.ops.reshape(kernel, (height, width, channels, groups, filters // groups))
    blocks = keras.ops.transpose(keras.ops.flip(blocks, axis=(0, 1)), (0, 1, 4, 3, 2))
    return keras.ops.reshape(blocks, (height, width, filters // groups, groups * channels))


def _native(inputs, kernel, geometry: Geometry):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        strides = geometry.strides
        if tuple(kernel.shape[:2]) == (1, 1) and strides[0] != strides[1]:
            # The gradients that TensorFlow 2.21 has of such a one on a CPU write beyond their
            # memory, or are wrong. The pixels that it reads are taken first.
            inputs, strides = _subsampled(inputs, geometry), (1, 1)
        # Keras's own compiles each grouped convolution with XLA, whatever the device.
        return tf.nn.convolution(
            inputs,
            kernel,
            strides,
            geometry.padding.upper(),
            data_format="NHWC" if geometry.data_format == "channels_last" else "NCHW",
            dilations=geometry.dilation_rate,
        )
    return keras.ops.conv(
        inputs,
        kernel,
        geometry.strides,
        geometry.padding,
        geometry.data_format,
        geometry.dilation_rate,
    )


def _split(inputs, kernel, geometry: Geometry):
    axis = geometry.channel_axis
    groups = inputs.shape[axis] // kernel.shape[-2]
    outputs = [
        _native(x, k, geometry)
        for x, k in zip(
            keras.ops.split(inputs, groups, axis=axis),
            keras.ops.split(kernel, groups, axis=-1),
            strict=True,
        )
    ]
    return keras.ops.concatenate(outputs, axis=axis)


def _taps(inputs, kernel, geometry: Geometry):
    if geometry.data_format != "channels_last":
        raise ValueError("lowering='taps' is for channels last")
    sizes = inputs.shape[1:3]
    if None in sizes:
        raise ValueError(f"lowering='taps' needs images of a known size, not {tuple(sizes)}")
    padding = ((0, 0), (0, 0))
    if geometry.padding == "same":
        padding = same_padding(sizes, kernel.shape[:2], geometry.strides, geometry.dilation_rate)
    return taps(inputs, kernel, padding, geometry.strides, geometry.dilation_rate)


def taps(inputs, kernel, padding, strides=(1, 1), dilation_rate=(1, 1)):
    """A grouped convolution as sums of shifted images, channels last.

    Args:
        inputs: [batch, height, width, channels], its size known.
        kernel: [height, width, channels / groups, filters].
        padding: zeros before and after, ((top, bottom), (left, right));
            below 0 pixels are cut off.
    """
    cuts = [slice(max(0, -a), size - max(0, -b)) for size, (a, b) in zip(
        inputs.shape[1:3], padding, strict=True)]  # fmt: skip
    x = inputs[:, cuts[0], cuts[1]]
    x = keras.ops.pad(x, [(0, 0), *((max(0, a), max(0, b)) for a, b in padding), (0, 0)])
    _, height, width, channels = x.shape
    rows, columns, group_channels, filters = kernel.shape
    groups = channels // group_channels
    down, across = (
        (size - (pixels - 1) * dilation - 1) // stride + 1
        for size, pixels, dilation, stride in zip(
            (height, width), (rows, columns), dilation_rate, strides, strict=True
        )
    )
    by_channel = keras.ops.reshape(x, (-1, height, width, groups, group_channels))
    total = None
    for channel in range(group_channels):
        # Each filter of a group reads the same channel.
        read = x if group_channels == 1 else by_channel[..., channel]
        if filters > groups:
            read = keras.ops.repeat(read, filters // groups, axis=-1)
        for i in range(rows):
            for j in range(columns):
                top, left = i * dilation_rate[0], j * dilation_rate[1]
                shifted = read[
                    :,
                    top : top + (down - 1) * strides[0] + 1 : strides[0],
                    left : left + (across - 1) * strides[1] + 1 : strides[1],
                ]
                term = shifted * kernel[i, j, channel]
                total = term if total is None else total + term
    return total


def _product(inputs, kernel, geometry: Geometry):
    if (
        tuple(kernel.shape[:2]) != (1, 1)
        or geometry.data_format != "channels_last"
        or inputs.shape[-1] != kernel.shape[-2]
    ):
        raise ValueError("lowering='product' is for 1x1 convolutions without groups, channels last")
    channels, filters = kernel.shape[-2:]
    x = _subsampled(inputs, geometry)
    outputs = keras.ops.matmul(
        keras.ops.reshape(x, (-1, channels)), keras.ops.reshape(kernel, (channels, filters))
    )
    return keras.ops.reshape(outputs, (*keras.ops.shape(x)[:-1], filters))


def _subsampled(inputs, geometry: Geometry):
    """The pixels that a 1x1 convolution reads."""
    down, across = geometry.strides
    if down == across == 1:
        return inputs
    if geometry.data_format == "channels_last":
        return inputs[:, ::down, ::across]
    return inputs[:, :, ::down, ::across]
