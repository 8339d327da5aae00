"""Costs as tables and as a plot: one network, or two of the same layers side by side."""

import os
from collections.abc import Callable

from keras_roots.cost.count import Cost, LayerCost, shape_text
from keras_roots.reporting import Table, figures, numbers

# A table's columns of numbers: their heading, and the number of a LayerCost, StageCost or Cost.
# MACs are multiply-accumulates, of one image.
_COLUMNS: tuple[tuple[str, Callable], ...] = (
    ("parameters", lambda each: each.parameters),
    ("MACs", lambda each: each.macs),
)

_LIGHT = "#b8c4d0"  # Of the wide bars, behind the others.
_AXES = {"parameters": "parameters", "MACs": "multiply-accumulates of an image"}


def by_layer(cost: Cost, beside: Cost | None = None) -> Table:
    """A row for each layer.

    Args:
        cost: of the network, or of the dense one of two.
        beside: of the same network with filter groups.
    """
    pairs = _paired_layers(cost, beside)
    rows = [
        (
            *(shown.name, shown.kind, shape_text(shown.output_shape), shown.output_stride),
            _groups(layer, other),
            *_numbers(layer, other, beside is not None),
        )
        for layer, other in pairs
        for shown in [other or layer]
        if shown is not None
    ]
    header = (
        "layer",
        "kind",
        "output",
        "output stride",
        "groups",
        *_heading(two=beside is not None),
    )
    total = ("total", "", "", "", "", *_numbers(cost, beside, beside is not None))
    return Table(header, rows, left=3, footer=[total])


def by_stage(cost: Cost, beside: Cost | None = None) -> Table:
    """A row for each output stride."""
    stages = {stage.output_stride: stage for stage in cost.stages}
    others = {stage.output_stride: stage for stage in beside.stages} if beside else {}
    rows = []
    for stride in dict.fromkeys([*stages, *others]):
        stage, other = stages.get(stride), others.get(stride)
        count = max(each.layers for each in (stage, other) if each is not None)
        label = f"output stride {stride}" if stride else "after the feature maps"
        rows.append((label, str(count), *_numbers(stage, other, beside is not None)))
    total = ("total", str(len(cost.layers)), *_numbers(cost, beside, beside is not None))
    return Table(
        ("stage", "layers", *_heading(two=beside is not None)), rows, left=1, footer=[total]
    )


def total(cost: Cost, beside: Cost | None = None) -> Table:
    """One row for each network."""
    rows = []
    for each in (cost, beside):
        if each is not None:
            texts = (numbers.change(number(each), number(cost), "+.1%") for _, number in _COLUMNS)
            rows.append((each.model, *texts))
    return Table(("network", *(heading for heading, _ in _COLUMNS)), rows, left=1)


def plot(path: str | os.PathLike, cost: Cost, beside: Cost | None = None) -> None:
    """Writes bars of multiply-accumulates and of parameters, layer by layer, as PNG, PDF or SVG.

    Layers that do no multiply-accumulates, such as normalisation, are left out.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as `reporting.figures.figure`.
    """
    pairs = [
        pair
        for pair in _paired_layers(cost, beside)
        if any(layer is not None and layer.macs for layer in pair)
    ]
    names = [(layer or other).name for layer, other in pairs]  # type: ignore[union-attr]
    places = range(len(pairs))
    # A name is legible at 0.16 inch a layer; beyond that, only every so many are written.
    width = min(max(7.0, 1.5 + 0.16 * len(pairs)), 30.0)
    step = -(-len(pairs) * 16 // int(100 * (width - 1.4)))
    with figures.figure(path, (width, 8), grid="y") as figure:
        if beside is not None:
            title = f"{cost.model} and {beside.model}, layer by layer"
            figure.suptitle(title, x=0.01, horizontalalignment="left")
        for axes, (heading, number) in zip(
            figure.subplots(2, 1, sharex=True), reversed(_COLUMNS), strict=True
        ):
            for each, column, kind, style in (
                (cost, 0, "dense" if beside else cost.model, {"color": _LIGHT}),
                (beside, 1, "grouped", {"color": figures.COLOURS["root"], "width": 0.5}),
            ):
                if each is not None:
                    heights = [number(pair[column]) or 0 if pair[column] else 0 for pair in pairs]
                    label = f"{kind}: {number(each):,}"
                    axes.bar(places, heights, label=label, **style)
            axes.set_ylabel(_AXES[heading])
            figures.abbreviated(axes.yaxis)
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
            axes.margins(x=0.01)
        axes.set_xticks(places[::step], names[::step], rotation=90, fontsize=7)


def _paired_layers(
    cost: Cost, beside: Cost | None
) -> list[tuple[LayerCost | None, LayerCost | None]]:
    """Layers of the same name; None where one network has no such layer."""
    ours = {layer.name: layer for layer in cost.layers}
    theirs = {layer.name: layer for layer in beside.layers} if beside else {}
    return [(ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])]


def _groups(layer: LayerCost | None, other: LayerCost | None) -> str:
    """The groups; of two, those of the second, which has them."""
    shown = other or layer
    return "" if shown is None or shown.groups is None else str(shown.groups)


def _heading(*, two: bool) -> list[str]:
    if not two:
        return [heading for heading, _ in _COLUMNS]
    return [
        text
        for heading, _ in _COLUMNS
        for text in (f"{heading}, dense", f"{heading}, grouped", f"{heading}, change")
    ]


def _numbers(first, second, two: bool) -> list[str]:
    """The cells of a row: one number each, or two and how much less the second is."""
    cells = []
    for _, number in _COLUMNS:
        values = [None if each is None else number(each) for each in (first, second)]
        texts = ["unknown" if value is None else f"{value:,}" for value in values]
        if not two:
            cells.append(texts[0])
            continue
        cells += [*texts, _change(*values)]
    return cells


def _change(before: int | None, after: int | None) -> str:
    if not before or after is None or before == after:
        return ""
    return f"{after / before - 1:+.0%}"
