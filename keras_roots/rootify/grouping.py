"""Filter groups for any functional or Sequential Keras model.

`plan` decides which convolutions are grouped, and says why the others are
not; `rootify` builds the same model with those filter groups.

The rule is that of Ioannou et al., arXiv:1605.06489: spatial convolutions
(kernels larger than 1x1) are grouped, the first on the image is not, and the
number of groups is that of the layer's *level*, a level being what lies
between two sub-samplings. Here a level is one output stride, so that the
decoder of an encoder-decoder network has the degrees of its encoder. A
strided convolution belongs to the level of its output, and level 0 is the
first that has a convolution to group. So `rootify(build(name, root=1), r)`
has the groups of `build(name, root=r)`.

Deviation: the networks of the paper follow a grouped convolution by a 1x1
that mixes its groups; any other model has there whatever it has.
"""

import dataclasses
import difflib
import fnmatch
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Literal

import keras

from keras_roots.cost import cost
from keras_roots.layers import Conv2D, GroupedConv2D
from keras_roots.reporting import Table
from keras_roots.surgery import (
    clone,
    convolutions,
    copy_adapted_state,
    copy_state,
    plain_copy,
    stride_text,
)
from keras_roots.topology import (
    RootLike,
    Topology,
    as_topology,
    filter_groups,
    working_degrees,
)

Weights = Literal["random", "block-diagonal", "permuted"]
_WEIGHTS = ("random", "block-diagonal", "permuted")


@dataclasses.dataclass(frozen=True)
class PlannedLayer:
    """What is to become of one convolution.

    Attributes:
        name: the layer's path in the model, nested models separated by "/".
        kernel_size: (height, width), or None if it is no `Conv2D`.
        channels, filters: of its input and output; 0 if it is no `Conv2D`.
        output_stride: pixels of the image to one of its output, such as "8".
        level: counted from 0, where there is something to group; else None.
        groups: its filter groups to be; 1 if it stays as it is.
        reason: why it stays as it is, in words; None if it is grouped.
    """

    name: str
    kernel_size: tuple[int, int] | None
    channels: int
    filters: int
    output_stride: str
    level: int | None
    groups: int
    reason: str | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which convolutions of a model are to be grouped, and how.

    Attributes:
        model: the model's name.
        topology: the degrees by level.
        layers: all its convolutions, in order.
    """

    model: str
    topology: Topology
    layers: tuple[PlannedLayer, ...]

    @property
    def grouped(self) -> tuple[PlannedLayer, ...]:
        return tuple(layer for layer in self.layers if layer.reason is None)

    @property
    def skipped(self) -> tuple[PlannedLayer, ...]:
        return tuple(layer for layer in self.layers if layer.reason is not None)

    def __str__(self) -> str:
        """A table of what is grouped, and a list of what is not and why."""
        header = ("layer", "kernel", "channels", "filters", "output stride", "groups")
        rows = [
            (
                layer.name,
                "x".join(map(str, layer.kernel_size or ())),
                str(layer.channels),
                str(layer.filters),
                layer.output_stride,
                str(layer.groups),
            )
            for layer in self.grouped
        ]
        lines = [Table(header, rows, left=1).text()] if rows else []
        by_reason: dict[str, list[str]] = {}
        for layer in self.skipped:
            by_reason.setdefault(str(layer.reason), []).append(layer.name)
        if by_reason:
            lines.append("\nNot grouped:")
        for reason, names in by_reason.items():
            # Of a network's many pointwise convolutions nobody asks.
            listed = "" if reason == "1x1" else f": {', '.join(names)}"
            text = f"{len(names)} {reason}{listed}"
            lines.append(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    "))
        return "\n".join(lines)


def plan(
    model: keras.Model,
    root: RootLike = 16,
    *,
    keep: Iterable[str] | None = None,
    degrees: Mapping[str, int] | None = None,
) -> Plan:
    """Decides which convolutions of a model are grouped; builds nothing.

    The arguments and errors are those of `rootify`.
    """
    return _plan(model, root, keep, degrees)[0]


def rootify(
    model: keras.Model,
    root: RootLike = 16,
    *,
    keep: Iterable[str] | None = None,
    degrees: Mapping[str, int] | None = None,
    weights: Weights = "random",
    report: Callable[[str], object] | None = print,
) -> keras.Model:
    """The same model with filter groups in its spatial convolutions.

    Graph, names, inputs and outputs are the model's; each grouped layer is a
    `keras_roots.layers.GroupedConv2D` (or of the model's own subclass of
    Conv2D, where `degrees` names it). A convolution that is 1x1, depthwise,
    transposed, grouped already, or the first on the image is left as it is,
    and one whose channels the degree does not divide: that is reported. A
    subclass of `keras.Model` that makes its own inputs becomes a plain model.

    Args:
        model: functional or Sequential, built. Models in it are entered;
            layers that hold layers of their own are not.
        root: r for root-r (r groups at the first level, halved with every
            sub-sampling), a topology such as `keras_roots.column(8)`, or a
            degree for each level.
        keep: names of layers to leave as they are. A name may be a path
            ("backbone/conv2") or a pattern ("conv5_*").
        degrees: groups of single layers, by name, path or pattern, instead of
            their level's. 1 leaves a layer as it is.
        weights: "random" draws every layer anew by its own initialiser, as
            the paper trains; what preprocessing layers have learned stays.
            "block-diagonal" copies all weights, of a grouped kernel the blocks
            that remain. "permuted" first permutes channels, where that
            leaves the model's outputs as they are, so that those blocks hold
            the most weight (sum of squares).
        report: takes the report, as text: what was grouped, what not and why,
            what it saved; and, if weights are drawn, which of them are of
            layers that are not trainable. None for none.

    Returns:
        The new model, not compiled. `model` is left as it is.

    Raises:
        ValueError: the model is of another kind, has nothing to group, or has
            a layer that cannot be copied; a name or a degree fits no layer.
        ModuleNotFoundError: "permuted" needs SciPy.
    """
    if weights not in _WEIGHTS:
        near = difflib.get_close_matches(str(weights), _WEIGHTS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Expected weights as one of {', '.join(map(repr, _WEIGHTS))}. "
            f"Received: {weights!r}.{hint}"
        )
    if weights == "permuted":
        from keras_roots.requirements import require_extras

        require_extras("weights='permuted'", {"scipy": "rootify"})
    planned, groups = _plan(model, root, keep, degrees)

    def copy_layer(layer: keras.Layer) -> keras.Layer:
        if id(layer) not in groups:
            return plain_copy(layer)
        own_class = type(layer) not in (keras.layers.Conv2D, Conv2D, GroupedConv2D)
        layer_class = type(layer) if own_class else GroupedConv2D
        return layer_class.from_config({**layer.get_config(), "groups": groups[id(layer)]})

    rooted, pairs = clone(model, copy_layer)
    kept = None
    if weights == "random":
        for source, target in pairs:
            copy_adapted_state(source, target)
    else:
        from keras_roots.rootify import warm_start

        permuted = warm_start.permuted_weights(model, groups) if weights == "permuted" else {}
        kept = warm_start.Share()
        for source, target in pairs:
            if id(source) in groups:
                warm_start.set_block_diagonal(source, target, permuted.get(id(source)), kept)
            elif id(source) in permuted:
                target.set_weights(permuted[id(source)])
            else:
                copy_state(source, target)
    if report is not None:
        report(_report(planned, model, rooted))
        if kept is not None:
            report(f"The blocks keep {kept.share:.0%} of the dense kernels' squared weight.")
        elif frozen := [source.name for source, _ in pairs if _is_frozen(source)]:
            more = f" and {len(frozen) - 5} more" if len(frozen) > 5 else ""
            report(
                f"Drawn anew and yet not trainable: {', '.join(frozen[:5])}{more}. Set "
                "trainable=True, or take weights='block-diagonal'."
            )
    return rooted


def _is_frozen(layer: keras.Layer) -> bool:
    return bool(layer.weights) and not layer.trainable and not hasattr(layer, "adapt")


def _plan(
    model: keras.Model,
    root: RootLike,
    keep: Iterable[str] | None,
    degrees: Mapping[str, int] | None,
) -> tuple[Plan, dict[int, int]]:
    """The plan, and the groups of each layer that is grouped by its `id`."""
    topology = as_topology(root)
    if degrees is not None and not isinstance(degrees, Mapping):
        raise ValueError(
            f"Expected degrees as a mapping, such as {{'conv2': 4}}. Received: {degrees!r}"
        )
    degrees = dict(degrees or {})
    keep = [keep] if isinstance(keep, str) else keep or ()
    if not isinstance(keep, Iterable):
        raise ValueError(f"Expected keep as names of layers. Received: {keep!r}")
    found = convolutions.find(model)
    paths = [convolution.path for convolution in found]
    kept = {path for pattern in keep for path in _matching(pattern, paths, "keep")}
    explicit: dict[str, int] = {}
    for pattern, degree in degrees.items():
        explicit |= dict.fromkeys(_matching(pattern, paths, "degrees"), degree)
    both = sorted(kept & set(explicit))
    if both:
        raise ValueError(f"Layer '{both[0]}' is named in keep and in degrees.")

    levels = levels_of(found)
    if levels:
        topology.degrees(len(levels))  # Raises if explicit degrees are not as many.

    layers, groups = [], {}
    for convolution in found:
        level = levels.get(convolution.area)
        wanted = 1 if level is None else topology.groups(level)
        if convolution.path in explicit:
            wanted = explicit[convolution.path]
            _check_explicit(convolution, wanted)
            reason = "kept, as asked" if wanted == 1 else None
        else:
            kept_too = convolution.path in kept
            reason = "kept, as asked" if kept_too else _reason(convolution, level, wanted)
        if reason is None:
            groups[id(convolution.layer)] = int(wanted)
        is_conv2d = isinstance(convolution.layer, keras.layers.Conv2D)
        layers.append(
            PlannedLayer(
                name=convolution.path,
                kernel_size=convolution.layer.kernel_size if is_conv2d else None,
                channels=convolution.channels,
                filters=convolution.filters,
                output_stride=stride_text(convolution.stride),
                level=level if convolution.obstacle is None else None,
                groups=int(wanted) if reason is None else 1,
                reason=reason,
            )
        )
    planned = Plan(model.name, topology, tuple(layers))
    if not groups:
        raise ValueError(_nothing_to_group(planned))
    return planned, groups


def levels_of(found: Iterable[convolutions.Convolution]) -> dict[Fraction, int]:
    """The level of each resolution, by its area, from the first that has something to group."""
    # Where channels and filters have no divisor in common there is nothing to group.
    candidates = [
        convolution
        for convolution in found
        if convolution.obstacle in (None, convolutions.GROUPED_ALREADY)
        and convolution.area
        and math.gcd(convolution.channels, convolution.filters) > 1
    ]
    first = min((convolution.area for convolution in candidates), default=Fraction(0))
    passed = {area for convolution in candidates for area in convolution.passed if area >= first}
    return {area: level for level, area in enumerate(sorted(passed))}


def _reason(convolution: convolutions.Convolution, level: int | None, degree: int) -> str | None:
    """Why the rule leaves a convolution as it is; None if it is grouped."""
    if convolution.obstacle is not None:
        return convolution.obstacle
    channels, filters = convolution.channels, convolution.filters
    of_channels = f"of {channels} channels and {filters} filters, which"
    if math.gcd(channels, filters) == 1:
        return f"{of_channels} have no common divisor"
    if level is None:
        return "without a known output stride"
    if type(convolution.layer) not in (keras.layers.Conv2D, Conv2D, GroupedConv2D):
        return f"of a class of its own ({type(convolution.layer).__name__})"
    if degree == 1:
        return "at a level of degree 1"
    if channels % degree or filters % degree:
        working = ", ".join(map(str, working_degrees(channels, filters)))
        return f"{of_channels} {degree} does not divide ({working} would)"
    return None


def _matching(pattern: str, paths: list[str], argument: str) -> list[str]:
    """The convolutions that a name, path or pattern means."""
    names = {path: path.rpartition("/")[2] for path in paths}
    if not isinstance(pattern, str):
        raise ValueError(f"Expected names of layers in {argument}. Received: {pattern!r}")
    # A name may hold characters that are a pattern's.
    found = [path for path, name in names.items() if pattern in (path, name)] or [
        path
        for path, name in names.items()
        if fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern)
    ]
    if not found:
        near = difflib.get_close_matches(pattern, [*paths, *names.values()], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"No convolution of the model is called {pattern!r} ({argument}).{hint}")
    return found


def _check_explicit(convolution: convolutions.Convolution, degree: int) -> None:
    # The other obstacles are the rule's, which the user overrides.
    obstacle = None if convolution.obstacle in convolutions.BY_RULE else convolution.obstacle
    if isinstance(convolution.layer, keras.layers.Conv2D) and convolution.layer.groups > 1:
        obstacle = convolutions.GROUPED_ALREADY
    if obstacle is not None:
        raise ValueError(
            f"Layer '{convolution.path}' cannot be given filter groups: it is {obstacle}."
        )
    filter_groups(convolution.channels, convolution.filters, degree, layer=convolution.path)


def _nothing_to_group(planned: Plan) -> str:
    reasons: dict[str, int] = {}
    for layer in planned.skipped:
        reasons[str(layer.reason)] = reasons.get(str(layer.reason), 0) + 1
    if not reasons:
        return f"'{planned.model}' has no convolution, and so nothing to group."
    counts = "; ".join(f"{count} {reason}" for reason, count in reasons.items())
    advice = ""
    if set(planned.topology.first_degrees) == {1}:
        advice = " Degree 1 is the dense network; give root=2 or more."
    return (
        f"'{planned.model}' has nothing to group with {planned.topology}. Its convolutions are: "
        f"{counts}.{advice}"
    )


def _report(planned: Plan, model: keras.Model, rooted: keras.Model) -> str:
    before, after = model.count_params(), rooted.count_params()
    lines = [
        f"{planned.model} with {planned.topology}: {len(planned.grouped)} of "
        f"{len(planned.layers)} convolutions grouped\n",
        str(planned),
        "",
        f"Parameters: {before:,} to {after:,} ({after / before - 1:+.0%})",
    ]
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        lines.append("Multiply-accumulates: depend on the input size, which the model leaves open")
    else:
        dense, grouped = cost(model), cost(rooted)
        lines.append(
            f"Multiply-accumulates: {dense.macs:,} to {grouped.macs:,} "
            f"({grouped.macs / dense.macs - 1:+.0%})"
        )
        if dense.uncounted:
            lines.append(f"Not counted, for want of a rule: {', '.join(dense.uncounted)}")
    if type(rooted) is not type(model):
        lines.append(
            f"It is a {type(rooted).__name__} model, and no {type(model).__name__}, whose "
            "constructor takes no inputs and outputs."
        )
    return "\n".join(lines)
