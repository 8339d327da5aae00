"""Where convolutions are computed, and what is known of each place.

* tensorflow-cpu: TensorFlow's kernels on a CPU, which are oneDNN's;
* xla-cpu: compiled by XLA for a CPU, from TensorFlow or JAX;
* accelerator: a GPU or TPU. Nothing was measured there yet, so native, as
  cuDNN has all of it;
* litert-float32, litert-float16, litert-dynamic, litert-int8, litert-int8x16: a
  TFLite file of that precision, whose convolutions XNNPACK computes on a CPU:
  eight (AVX2, NEON) or sixteen (AVX-512) filters of a group at a time, and int8
  eight channels. Narrower groups leave lanes empty; merged with their
  neighbours (see `ways.pack`) they fill them.

How far merging pays is a matter of measurement; the rules here, read off the
measurements, are for layers unlike all that were measured.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping

from keras_roots.lowering import ways
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.ways import Lowering

# Those that Keras computes in.
KERAS = ("tensorflow-cpu", "xla-cpu", "accelerator")
# So many channels a group, and filters, `taps` reads at most; and a network's image has.
_FEW = 4
# So many channels a group are enough for a dense convolution of their own; in XNNPACK.
_ENOUGH, _ENOUGH_IN_FILES = 16, 8
# Merging more groups into one has never paid, and more operators than that take long to compile.
MOST = 16


@dataclasses.dataclass(frozen=True)
class Choice:
    """The lowering of one pass, and the reason in words."""

    lowering: Lowering
    reason: str


@dataclasses.dataclass(frozen=True)
class Context:
    """What decides about layers in one place.

    Attributes:
        candidates: from a shape and a direction to the lowerings that come
            into question: those that are now and then the fastest.
        rule: from the same to the choice for a layer unlike all that were
            measured.
        settled: from the same to the choice that is made whatever was
            measured, or None.
        threads, dtype: what is measured; None: what the runtime takes, and
            whatever is computed.
        measured_as: the context whose measurements hold here as well.
    """

    candidates: Callable[[LayerShape, str], list[Lowering]]
    rule: Callable[[LayerShape, str], Choice]
    settled: Callable[[LayerShape, str], Choice | None] = lambda _shape, _direction: None
    threads: int | None = None
    dtype: str | None = "float32"
    measured_as: str | None = None


def check(context: str, among: Collection[str] = KERAS) -> None:
    """Raises a ValueError unless it is one of these."""
    if context not in among:
        raise ValueError(f"Expected a context of: {', '.join(among)}. Received: {context!r}")


def packed_to_enough(shape: LayerShape, then: Lowering) -> Lowering:
    """Groups merged until each has 16 channels and filters, or all of them."""
    return _packed(shape, _merged_to(_ENOUGH, shape) or shape.groups, then)


def _merged_to(enough: int, shape: LayerShape) -> int | None:
    """How many groups are to become one to have so many channels and filters, if any number."""
    width, groups = min(shape.group_widths), shape.groups
    numbers = (n for n in range(1, groups + 1) if groups % n == 0 and n * width >= enough)
    return next(numbers, None)


def _packed(shape: LayerShape, merged: int, then: Lowering = "native") -> Lowering:
    return ways.packed(shape.groups, shape.groups // merged, then)


def _merged(shape: LayerShape, then: Lowering = "native") -> list[Lowering]:
    return [
        name
        for name in ways.packings(shape.groups, then)
        if shape.groups // ways.packed_groups(name, shape.groups) <= MOST
    ]


def _on_tensorflow(shape: LayerShape, direction: str) -> list[Lowering]:
    if shape.groups > 1:
        return ["native", *_merged(shape)]
    # TensorFlow fuses what follows a convolution, but not what follows a reshaped product, and
    # its strided slices are slow.
    possible = (shape.kernel_size, shape.strides) == ((1, 1), (1, 1)) and direction != "forward"
    return ["native", "product"] if possible else ["native"]


def _by_library(shape: LayerShape, direction: str, *, library: str) -> Choice:
    if shape.groups > 1:
        return Choice("native", f"by rule: {library} has it")
    product = direction == "kernel_gradient"
    return Choice("product" if product else "native", "by rule: 1x1, unlike those measured")


def _under_xla(shape: LayerShape, direction: str) -> list[Lowering]:
    if shape.groups == 1:
        return ["native", "product"] if shape.kernel_size == (1, 1) else ["native"]
    found = ["native"] if direction == "forward" else []  # Its gradient is what stock Keras has.
    if min(shape.group_widths) >= _FEW:
        found.append("split")
    found += _merged(shape, "split")
    stride_1 = shape.strides == (1, 1)
    if (
        max(shape.group_widths) <= _FEW
        and None not in shape.input_shape
        and (direction == "forward" or (direction == "input_gradient" and stride_1))
    ):
        found.append("taps")
    return found or ["split"]


def _in_a_whole_network(shape: LayerShape, direction: str) -> Choice | None:
    """A 1x1 convolution under XLA, of which the layer alone tells too little.

    A convolution's gradients read transposed copies of the images, and what
    made these is computed again for each.
    """
    if shape.groups > 1:
        return None
    if direction == "forward":
        return Choice("native", "by rule: nothing is gained otherwise")
    return Choice("product", "by rule: needs no transposed copies of the images")


def _by_xla(shape: LayerShape, direction: str) -> Choice:
    if "taps" in _under_xla(shape, direction):
        return Choice("taps", f"by rule: {max(shape.group_widths)} channels a group are few")
    reason = f"by rule: groups of {_ENOUGH} channels or more"
    return Choice(packed_to_enough(shape, "split"), reason)


def _on_accelerator(shape: LayerShape, _direction: str) -> list[Lowering]:
    if shape.groups == 1:  # A 1x1 convolution and a product are the same there.
        return ["native"]
    return ["native", *(["split"] if shape.groups <= MOST else []), *_merged(shape)]


def _in_litert(shape: LayerShape, _direction: str) -> list[Lowering]:
    if shape.groups > 1:
        return ["native", *_merged(shape)]
    kernel = (*shape.kernel_size, shape.input_shape[-1], shape.filters)
    foldable = shape.input_shape[-1] <= _FEW and ways.foldable(
        (1, *shape.input_shape), kernel, shape.strides, shape.dilation_rate
    )
    return ["native", "folded"] if foldable else ["native"]


def _by_xnnpack(shape: LayerShape, _direction: str, *, dense: Lowering) -> Choice:
    if shape.groups == 1:
        return Choice(dense, "by rule: int8 multiplies eight channels at a time")
    width = min(shape.group_widths)
    if width == 1:
        return Choice("native", "by rule: one channel or filter a group")
    if width >= _ENOUGH_IN_FILES:
        return Choice("native", f"by rule: {width} a group are enough")
    merged = _merged_to(_ENOUGH_IN_FILES, shape)
    if merged is None:
        return Choice("native", "by rule: too few channels to be packed")
    reason = f"by rule: groups of {_ENOUGH_IN_FILES} channels or more"
    return Choice(_packed(shape, merged), reason)


def _one_number_at_a_time(_shape: LayerShape, _direction: str) -> Choice:
    """LiteRT's own kernels, which multiply zeros too."""
    return Choice("native", "by rule: activations of 16 bits have no vector instructions")


def _litert(dtype: str, *, folds: bool, **more) -> Context:
    rule = functools.partial(_by_xnnpack, dense="folded" if folds else "native")
    return Context(_in_litert, rule, threads=1, dtype=dtype, **more)


CONTEXTS: Mapping[str, Context] = {
    "tensorflow-cpu": Context(_on_tensorflow, functools.partial(_by_library, library="oneDNN")),
    "xla-cpu": Context(_under_xla, _by_xla, settled=_in_a_whole_network),
    "accelerator": Context(
        _on_accelerator, functools.partial(_by_library, library="cuDNN"), dtype=None
    ),
    "litert-float32": _litert("float32", folds=False),
    "litert-float16": _litert("float16", folds=False, measured_as="litert-float32"),
    "litert-dynamic": _litert("dynamic", folds=True, measured_as="litert-int8"),
    "litert-int8": _litert("int8", folds=True),
    "litert-int8x16": _litert("int8x16", folds=False, settled=_one_number_at_a_time),
}
