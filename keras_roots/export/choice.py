"""Which lowering a layer gets in a TFLite file, and why.

LiteRT's XNNPACK computes eight (AVX2, NEON) or sixteen (AVX-512) filters of a
group at a time, and int8 eight channels; narrower groups leave lanes empty.
Merged with their neighbours (see `keras_roots.lowering.ways.pack`) they fill them.
How far it pays is a matter of measurement, not of that sentence.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

from keras_roots.export import tuning
from keras_roots.export.convert import Precision
from keras_roots.export.inference_graph import Convolution, InferenceGraph
from keras_roots.lowering import ways
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.reporting import silent

POLICIES = ("auto", "tuned", "native")
# Another lowering than native must be faster by this.
_MARGIN = 0.03
# So few has a network's first convolution.
_FEW_CHANNELS = 4
_WIDE_ENOUGH = 8
# Precisions that were not measured, and the one whose kernels theirs are.
_ALIKE: dict[Precision, Precision] = {"float16": "float32", "dynamic": "int8"}


@dataclasses.dataclass(frozen=True)
class Choice:
    """A layer's lowering.

    Attributes:
        layer: name of the layer.
        shape: its shape.
        lowering: what it gets.
        reason: why, in words.
    """

    layer: str
    shape: LayerShape
    lowering: str
    reason: str


def choose(
    graph: InferenceGraph,
    precision: Precision,
    policy: str = "auto",
    *,
    threads: int = 1,
    report: Callable[[str], object] = silent,
) -> list[Choice]:
    """Chooses the lowering of each layer that has several.

    Args:
        graph: its convolutions are the layers.
        precision: of the file.
        policy: "auto": after the measurements that this package brings, of
            the most similar layer; "tuned": after measurements on this
            machine, which are cached; "native".
        threads: with which "tuned" measures.
        report: takes lines of progress.

    Raises:
        ValueError: unknown policy.
    """
    check_policy(policy)
    layers = {step.name: step.operation for step in graph.convolutions()}
    options = {name: names for name, layer in layers.items() if len(names := candidates(layer)) > 1}
    shapes = {name: layers[name].shape for name in options}
    if policy == "native":
        return [Choice(name, shapes[name], "native", "native was asked for") for name in options]
    if precision == "int8x16":
        # Its kernels multiply one number at a time, zeros too.
        reason = "by rule: activations of 16 bits have no vector instructions"
        return [Choice(name, shapes[name], "native", reason) for name in options]
    if policy == "tuned":
        measured = tuning.tuned(
            {shapes[name]: names for name, names in options.items()},
            precision=precision,
            threads=threads,
            report=report,
        )
        return [
            _measured_choice(name, shapes[name], measured.find(precision, threads, shapes[name]))
            for name in options
        ]
    measured = tuning.read(tuning.MEASURED)
    alike = _ALIKE.get(precision, precision)
    return [_similar_choice(name, shapes[name], measured, alike) for name in options]


def check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise ValueError(
            f"Expected lowering as one of: {', '.join(POLICIES)}. Received: {policy!r}"
        )


def candidates(layer: Convolution) -> list[str]:
    """The lowerings that come into question: those that are now and then the fastest."""
    if layer.groups > 1:
        # Merging more than 16-fold has never paid.
        packed = [
            name
            for name in ways.packings(layer.groups)
            if layer.groups // ways.packed_groups(name, layer.groups) <= 16
        ]
        return ["native", *packed]
    if layer.input_shape[-1] <= _FEW_CHANNELS and ways.foldable(
        (1, *layer.input_shape), layer.kernel.shape, layer.strides, layer.dilation_rate
    ):
        return ["native", "folded"]
    return ["native"]


def _measured_choice(name: str, shape: LayerShape, row: tuning.Measurement | None) -> Choice:
    if row is None:  # Which `tuned` rules out.
        return Choice(name, shape, "native", "not measured")
    times = row.milliseconds
    best = fastest(times)
    return Choice(name, shape, best, f"{_times(times, best)}, measured on this machine")


def fastest(milliseconds: Mapping[str, float]) -> str:
    """The fastest lowering; native, unless another is faster by more than noise."""
    best = min(milliseconds, key=milliseconds.__getitem__)
    native = milliseconds["native"]
    return "native" if native <= milliseconds[best] * (1 + _MARGIN) else best


def _times(milliseconds: Mapping[str, float], best: str) -> str:
    text = f"{best} {milliseconds[best]:.3f} ms"
    return text if best == "native" else f"{text}, native {milliseconds['native']:.3f} ms"


def _similar_choice(
    name: str,
    shape: LayerShape,
    measured: tuning.Measurements,
    precision: Precision,
) -> Choice:
    similar = [
        row
        for row in measured.rows
        if row.precision == precision and row.threads == 1 and _alike(row.shape, shape)
    ]
    if not similar:
        return _choice_by_rule(name, shape, precision)

    def distance(row: tuning.Measurement) -> tuple[bool, float]:
        pixels = (math.prod(each.input_shape[:2]) for each in (row.shape, shape))
        there, here = pixels
        return row.shape.strides != shape.strides, abs(math.log(there / here))

    row = min(similar, key=distance)
    best = fastest(row.milliseconds)
    merged = _merged(best, row.shape.groups)
    # Other networks' numbers of groups are no powers of two.
    lowering = best if merged == 1 else _packed(shape.groups, math.gcd(shape.groups, merged))
    reason = f"{_times(row.milliseconds, best)}, measured with {row.shape}"
    return Choice(name, shape, lowering, reason)


def _alike(one: LayerShape, other: LayerShape) -> bool:
    """Whether the same lowering can be expected to be the fastest for both."""
    if (one.groups == 1) != (other.groups == 1) or one.kernel_size != other.kernel_size:
        return False
    if one.groups == 1:
        return (one.input_shape[-1], one.strides) == (other.input_shape[-1], other.strides)
    return one.group_widths == other.group_widths


def _choice_by_rule(name: str, shape: LayerShape, precision: Precision) -> Choice:
    """For layers unlike all that were measured."""
    if shape.groups == 1:
        lowering = "folded" if precision == "int8" else "native"
        return Choice(name, shape, lowering, "by rule: int8 multiplies eight channels at a time")
    width = min(shape.group_widths)
    if width == 1 or width >= _WIDE_ENOUGH:
        reason = (
            "by rule: one channel or filter a group"
            if width == 1
            else f"by rule: {width} a group are enough"
        )
        return Choice(name, shape, "native", reason)
    merged = next(
        (
            n
            for n in range(2, shape.groups + 1)
            if shape.groups % n == 0 and n * width >= _WIDE_ENOUGH
        ),
        1,
    )
    reason = f"by rule: groups of {_WIDE_ENOUGH} channels or more"
    return Choice(
        name,
        shape,
        _packed(shape.groups, merged),
        reason if merged > 1 else "by rule: too few channels to be packed",
    )


def _merged(lowering: str, groups: int) -> int:
    """How many groups become one."""
    return groups // ways.packed_groups(lowering, groups)


def _packed(groups: int, merged: int) -> str:
    return "native" if merged == 1 else f"packed-{groups // merged}"
