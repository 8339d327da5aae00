"""How much accuracy a classifier loses when the kernel of one layer is pruned or quantised.

    found = scan(model, images, labels)  # As of data.Images.in_memory.
    print(found.table().text())

The other layers stay as they are, and nothing is trained. So it says which layers to spare, not
how accurate a model will be in which all are compressed, or one that is fine-tuned afterwards.
"""

import dataclasses
import difflib
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots.compression.sensitivity_results import Row, Sensitivity
from keras_roots.reporting import Lines, silent
from keras_roots.requirements import require_tensorflow
from keras_roots.surgery import graph
from keras_roots.surgery.auxiliary_heads import without_auxiliary_heads

_BITS = (2, 8)

_layers = keras.layers
_DEPTHWISE = (-2, -1)
# Kernels by their attribute, and the axes that together are the output channels.
_KERNELS: tuple[tuple[tuple[type, ...], str, tuple[int, ...]], ...] = (
    ((_layers.Conv1D, _layers.Conv2D, _layers.Conv3D, _layers.Dense), "kernel", (-1,)),
    (
        (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose),
        "kernel",
        (-2,),
    ),
    ((_layers.DepthwiseConv1D, _layers.DepthwiseConv2D), "kernel", _DEPTHWISE),
    ((_layers.SeparableConv1D, _layers.SeparableConv2D), "depthwise_kernel", _DEPTHWISE),
    ((_layers.SeparableConv1D, _layers.SeparableConv2D), "pointwise_kernel", (-1,)),
)


@dataclasses.dataclass(frozen=True)
class _Kernel:
    """A variable, and which of its axes are together the output channels."""

    path: str
    label: str
    variable: Any
    channel_axes: tuple[int, ...]
    groups: int


@dataclasses.dataclass(frozen=True)
class _Change:
    name: str
    apply: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def scan(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    sparsities: Sequence[float] = (0.5, 0.75, 0.9),
    bits: Sequence[int] = (8, 4),
    layers: Iterable[str] | None = None,
    batch_size: int = 64,
    report: Callable[[str], object] = silent,
) -> Sensitivity:
    """Changes one kernel at a time, and counts how many images are right with it.

    The kernels are those of convolutions and Dense layers, also in nested
    models; not those of layers that are quantised, adapted by LoRA or inside of
    other layers. It takes a pass over the images for each kernel and change.

    Args:
        model: functional or Sequential, with one input of images and one
            output, [batch, classes]; auxiliary heads are left out. Whatever is
            raised, it has all its weights afterwards, bit by bit.
        images: float32 or uint8 [n, height, width, channels], as it takes them.
        labels: integers [n], from 0.
        sparsities: shares of the kernel's weights that become 0, from 0 to
            less than 1: those of the smallest magnitudes; see `pruned`.
        bits: of integers, 2 to 8, to which weights are rounded; see `quantised`.
        layers: the paths of those to change; all by default.
        batch_size: images at a time.
        report: takes a line of progress, now and then.

    Raises:
        ValueError: the model, the images or an argument are not as above.
        RuntimeError: the unchanged model's outputs are not finite.
    """
    kernels, changes = _checked(model, sparsities, bits, layers)
    model = without_auxiliary_heads(model)
    images, labels = np.asarray(images), np.asarray(labels)
    _check_images(model, images, labels)
    if batch_size < 1:
        raise ValueError(f"Expected batch_size of 1 or more. Received: {batch_size}")
    right_with = _evaluation(model, images, labels, batch_size)
    before = right_with()
    correct, total = int(before.sum()), len(kernels) * len(changes)
    report(
        f"{correct:,} of {len(labels):,} images are right; one pass for each of {len(kernels)} "
        f"kernels and {len(changes)} changes"
    )
    rows: list[Row] = []
    lines = Lines(report)
    for kernel in kernels:
        original = np.array(keras.ops.convert_to_numpy(kernel.variable))
        for change in changes:
            try:
                kernel.variable.assign(change.apply(original, kernel.channel_axes))
                after = right_with()
            finally:
                kernel.variable.assign(original)
            rows.append(
                Row(
                    layer=kernel.label,
                    groups=kernel.groups,
                    parameters=original.size,
                    change=change.name,
                    images=len(labels),
                    correct=int(after.sum()),
                    right_to_wrong=int((before & ~after).sum()),
                    wrong_to_right=int((after & ~before).sum()),
                )
            )
            left = lines.left(len(rows), total)
            lines(f"{len(rows)} of {total} passes, {left} left: {kernel.label}")
    return Sensitivity(model.name, len(labels), correct, tuple(rows))


def check(
    model: keras.Model,
    *,
    sparsities: Sequence[float] = (),
    bits: Sequence[int] = (),
    layers: Iterable[str] | None = None,
) -> None:
    """Raises the ValueError that `scan` would of these arguments, before images are read."""
    _checked(model, sparsities, bits, layers)


def pruned(kernel: np.ndarray, sparsity: float) -> np.ndarray:
    """A kernel whose `sparsity` x size weights of the smallest magnitudes are 0.

    Their number is rounded to the nearest integer; one weight at least stays.
    Of equal magnitudes those that come first in memory go first.
    """
    _check_sparsity(sparsity)
    changed = kernel.copy()
    count = min(round(sparsity * kernel.size), kernel.size - 1)
    if count < 1:
        return changed
    magnitudes = np.abs(kernel.astype(_computed(kernel))).ravel()
    largest = np.partition(magnitudes, count - 1)[count - 1]
    below = magnitudes < largest
    equal = np.flatnonzero(magnitudes == largest)[: count - int(below.sum())]
    below[equal] = True
    changed[below.reshape(kernel.shape)] = 0
    return changed


def quantised(kernel: np.ndarray, bits: int, channel_axes: Sequence[int] = (-1,)) -> np.ndarray:
    """A kernel rounded to integers of so many bits, times a scale for each output channel.

    The integers are from -(2^(bits-1) - 1) to 2^(bits-1) - 1, the largest
    magnitude of a channel being the last of them, as in int8 TFLite files.

    Args:
        channel_axes: the axes that together are the output channels.
    """
    _check_bits(bits)
    most = 2 ** (bits - 1) - 1
    channels = {axis % kernel.ndim for axis in channel_axes}
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channels)
    # In float64, in which no scale of a float32 channel is 0 but that of zeros.
    scale = np.abs(kernel.astype(np.float64)).max(axis=others, keepdims=True) / most
    levels = kernel / np.where(scale > 0, scale, 1)
    return (np.rint(levels, out=levels) * scale).astype(kernel.dtype)


def _computed(kernel: np.ndarray) -> type:
    """The type in which magnitudes are compared: NumPy has no order of bfloat16."""
    return np.float64 if kernel.dtype == np.float64 else np.float32


def _checked(
    model: keras.Model,
    sparsities: Sequence[float],
    bits: Sequence[int],
    layers: Iterable[str] | None,
) -> tuple[list[_Kernel], list[_Change]]:
    """The kernels to change and the changes, each once."""
    require_tensorflow("A sensitivity scan")
    changes = {}
    for sparsity in sparsities:
        _check_sparsity(sparsity)
        changes[f"sparsity {sparsity:.10g}"] = lambda kernel, _, s=sparsity: pruned(kernel, s)
    for count in bits:
        _check_bits(count)
        changes[f"{count} bits"] = lambda kernel, axes, b=count: quantised(kernel, b, axes)
    if not changes:
        raise ValueError("Expected one sparsity or number of bits at least. Received: none")
    kernels = _kernels(without_auxiliary_heads(model))
    if layers is not None:
        kernels = _of_layers(model, kernels, layers)
    return kernels, [_Change(*change) for change in changes.items()]


def _check_sparsity(sparsity: float) -> None:
    if not isinstance(sparsity, numbers.Real) or not 0 <= sparsity < 1:
        raise ValueError(f"Expected a sparsity from 0 to less than 1. Received: {sparsity!r}")


def _check_bits(bits: int) -> None:
    low, high = _BITS
    if not isinstance(bits, numbers.Integral) or not low <= bits <= high:
        raise ValueError(f"Expected a number of bits from {low} to {high}. Received: {bits!r}")


def _kernels(model: keras.Model) -> list[_Kernel]:
    """Each once, in the network's order."""
    found: dict[int, _Kernel] = {}
    for call in graph.trace(model).calls:
        layer = call.layer
        for kinds, attribute, axes in _KERNELS:
            if not isinstance(layer, kinds):
                continue
            variable = getattr(layer, attribute, None)
            # Of a Dense layer with LoRA it is a tensor, and of a quantised layer integers.
            if not isinstance(variable, keras.Variable) or "float" not in variable.dtype:
                continue
            part = attribute.removesuffix("kernel").rstrip("_")
            groups = 1 if part == "pointwise" else getattr(layer, "groups", 1)
            found.setdefault(
                id(variable),
                _Kernel(
                    path=call.path,
                    label=f"{call.path} ({part})" if part else call.path,
                    variable=variable,
                    channel_axes=axes,
                    groups=variable.shape[-2] if axes == _DEPTHWISE else groups,
                ),
            )
    if not found:
        raise ValueError(
            f"'{model.name}' has no convolution and no Dense layer whose kernel could be changed."
        )
    return list(found.values())


def _of_layers(
    model: keras.Model, kernels: Sequence[_Kernel], layers: Iterable[str]
) -> list[_Kernel]:
    paths = {kernel.path for kernel in kernels}
    asked = {layers} if isinstance(layers, str) else set(layers)
    for name in sorted(asked - paths):
        near = difflib.get_close_matches(name, paths, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"'{model.name}' has no layer {name!r} with the kernel of a convolution or of Dense."
            f"{hint}"
        )
    if not asked:
        raise ValueError("Expected one layer or more. Received: none")
    return [kernel for kernel in kernels if kernel.path in asked]


def _check_images(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    taken, made = (
        [tuple(tensor.shape) for tensor in tensors] for tensors in (model.inputs, model.outputs)
    )
    if [len(shape) for shape in taken] != [4] or [len(shape) for shape in made] != [2]:
        raise ValueError(
            "Expected a classifier, with one input of images and one output, [batch, classes]. "
            f"'{model.name}' has inputs of {', '.join(map(str, taken))} and outputs of "
            f"{', '.join(map(str, made))}"
        )
    expected, classes = taken[0][1:], made[0][1]
    fits = images.ndim == 4 and all(
        length in (None, given) for length, given in zip(expected, images.shape[1:], strict=True)
    )
    if not fits or images.dtype not in (np.float32, np.uint8):
        shape = ", ".join(map(str, ("n", *expected)))
        raise ValueError(
            f"Expected images as '{model.name}' takes them, [{shape}] of float32 or uint8. "
            f"Received: {list(images.shape)} of {images.dtype}"
        )
    if not len(images):
        raise ValueError("Expected one image or more. Received: none")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Expected an integer label for each of {len(images)} images. Received: "
            f"{list(labels.shape)} of {labels.dtype}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}, of the {classes} classes of "
            f"'{model.name}'. Received: {low} to {high}"
        )


def _evaluation(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, batch_size: int
) -> Callable[[], np.ndarray]:
    """A function to which images are right with the present weights, bool [n].

    Its first call raises a RuntimeError if an output is not finite; later such
    images are wrong.
    """
    import tensorflow as tf

    # With one signature for the last batch as well it is traced once.
    signature = tf.TensorSpec([None, *images.shape[1:]], images.dtype)

    @tf.function(autograph=False, input_signature=[signature])
    def scores_of(batch):
        pixels = tf.cast(batch, model.inputs[0].dtype)
        return keras.tree.flatten(model(pixels, training=False))[0]

    is_first = True

    def right() -> np.ndarray:
        nonlocal is_first
        found = np.zeros(len(labels), bool)
        for start in range(0, len(labels), batch_size):
            part = slice(start, start + batch_size)
            scores = scores_of(tf.constant(images[part])).numpy().astype(np.float32)
            is_finite = np.isfinite(scores).all(axis=1)
            if is_first and not is_finite.all():
                raise RuntimeError(
                    "The model's outputs are not finite (NaN or infinite): its weights are broken, "
                    "or the images are not preprocessed as it was trained."
                )
            found[part] = is_finite & (scores.argmax(axis=1) == labels[part])
        is_first = False
        return found

    return right
