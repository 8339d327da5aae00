"""What `benchmark networks` measured, as pictures like the paper's Figure 3.

Top-1 error over parameters, multiply-accumulates, CPU and GPU latency; where no accuracy is known,
each of these relative to the dense network.
"""

import functools
import os
from collections.abc import Callable, Sequence

from keras_roots.benchmark.accuracies import Accuracies
from keras_roots.benchmark.networks_table import NOT_MEASURED
from keras_roots.benchmark.records import Record, Results, names
from keras_roots.reporting import figures

_MARKERS = "os^Dv<>P"
# From the longest latency to the shortest, above which their axis is logarithmic.
_WIDE = 6
_MOST_NAMED = 3
_COUNTS = {"parameters": "parameters", "macs": "multiply-accumulates"}
_DEVICES = ("cpu", "gpu")
_PANELS = (*_COUNTS, *_DEVICES)


def plot(path: str | os.PathLike, results: Results, accuracies: Accuracies | None = None) -> None:
    """Four panels for each network.

    Args:
        path: *.png, *.pdf or *.svg.
        results: as `records.read` returns them.
        accuracies: without them, all is relative to the dense network.

    Raises:
        ValueError: none of the accuracies is of these networks.
    """
    of_each = results.by_network()
    if accuracies is not None:
        accuracies.require_some(results.names())
        known = {network for network, _ in accuracies.rows}  # Of others there is nothing to draw.
        of_each = {network: found for network, found in of_each.items() if network in known}
    heights = [
        3.7 if accuracies else 2 + len(each.by_topology()) * max(0.32, 0.12 * len(each.sessions))
        for each in of_each.values()
    ]
    below = str(results.conditions.get("processor", ""))
    if results.conditions.get("gpu", "none") != "none":
        below += f", {results.conditions['gpu']}"
    if accuracies is not None:
        below += f". Accuracies are {accuracies.source}"
    with figures.figure(path, (14, sum(heights) + 0.5)) as figure:
        pieces = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for piece, found in zip(pieces, of_each.values(), strict=True):
            title, labels = names(found.sessions)
            panels = dict(zip(_PANELS, piece.subplots(1, len(_PANELS), sharey=True), strict=True))
            if accuracies is None:
                _relative(panels, found, labels)
            else:
                _errors(panels, found, accuracies, labels)
            for name, axes in panels.items():
                axes.tick_params(labelsize=8)
                if name in _DEVICES and not any(name == s.device for s in labels):
                    axes.set_axis_off()
                    text = f"{name.upper()} latency: {NOT_MEASURED}"
                    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="gray")
            piece.suptitle(title, fontsize=11)
            if len(labels) > 1:
                figures.legend_below(piece, [panels[device] for device in _DEVICES])
        figure.supxlabel(below, fontsize=8)


def _first_records(results: Results) -> list[Record]:
    """One for each topology, whose counts are those of all."""
    return [next(iter(records.values())) for records in results.by_topology().values()]


def _errors(panels, results: Results, accuracies: Accuracies, labels) -> None:
    """Top-1 error over each quantity; points of one kind of topology are joined."""

    def line(
        axes, records: Sequence[Record], x: Callable[[Record], float], is_named=True, **style
    ) -> None:
        label = style.pop("label", None)
        for family in _families(records):
            known = [(record, accuracies.top1(record)) for record in family]
            points = [(x(r), 100 * (1 - top1), r.topology) for r, top1 in known if top1 is not None]
            xs, ys = [point[0] for point in points], [point[1] for point in points]
            axes.plot(xs, ys, "-", markersize=5, linewidth=1, label=label, **style)
            label = None
            for place, (left, up, topology) in enumerate(points if is_named else []):
                # Where the line is not.
                beside = ys[max(0, place - 1) : place] + ys[place + 1 : place + 2]
                below = bool(beside) and up < sum(beside) / len(beside)
                axes.annotate(
                    _short(topology),
                    (left, up),
                    (0, -13 if below else 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=style["color"],
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
                )

    records = _first_records(results)
    for name, title in _COUNTS.items():
        counted = [record for record in records if getattr(record, name) is not None]
        largest = max((getattr(record, name) for record in counted), default=0)
        unit, words = (1e9, "billions") if largest >= 1e9 else (1e6, "millions")
        x = functools.partial(_count, name, unit)
        line(panels[name], counted, x, marker="o", color="black")
        panels[name].set_xlabel(f"{title}, {words}")
    for place, (session, label) in enumerate(labels.items()):
        style = {"marker": _MARKERS[place % len(_MARKERS)], "color": f"C{place}"}
        title = f"{session.device.upper()}: {label}"
        axes, records = panels[session.device], results.of(session)
        # Of many lines names would overlap; the panels beside have them at the same heights.
        is_named = sum(other.device == session.device for other in labels) <= _MOST_NAMED
        line(axes, records, lambda record: record.p50, is_named, label=title, **style)
        for record in records:
            top1 = accuracies.top1(record)
            if top1 is not None:
                ends = record.percentile(10), record.percentile(90)
                axes.hlines(100 * (1 - top1), *ends, style["color"], linewidth=4, alpha=0.3)
    for device in _DEVICES:
        axes = panels[device]
        times = [record.p50 for s in labels if s.device == device for record in results.of(s)]
        if times and max(times) > _WIDE * min(times):
            figures.log_scale(axes, "x")
        axes.set_xlabel(f"{device.upper()} latency, ms\n(bars: 10th to 90th percentile)")
    panels["parameters"].set_ylabel("top-1 error, %")
    for axes in panels.values():
        axes.margins(x=0.12, y=0.2)


def _count(name: str, unit: float, record: Record) -> float:
    return getattr(record, name) / unit


def _families(records: Sequence[Record]) -> list[list[Record]]:
    """Root, column and tree topologies each with the dense one; files and others together."""
    kinds = list(dict.fromkeys(_kind(r) for r in records if r.topology != "dense"))
    dense = [record for record in records if record.topology == "dense"]
    return [dense + [r for r in records if _kind(r) == kind] for kind in kinds] or [dense]


def _kind(record: Record) -> str:
    return "" if record.topology == "dense" else record.topology.partition("-")[0]


def _short(topology: str) -> str:
    """As in the paper's figure; of a file, its name."""
    return topology.removeprefix("root-").rpartition("/")[2]


def _relative(panels, results: Results, labels) -> None:
    """A row for each topology; each quantity as a share of the dense network's."""
    records, first = _first_records(results), results.reference_name
    places = {record.topology: -place for place, record in enumerate(records)}
    for name, title in _COUNTS.items():
        known = [record for record in records if getattr(record, name) is not None]
        reference = getattr(known[0], name) if known else None
        for record in known if reference else ():
            share = getattr(record, name) / reference
            panels[name].plot(share, places[record.topology], "o", color="black", markersize=5)
        panels[name].set_xlabel(f"{title} / {first}")
    for number, (session, words) in enumerate(labels.items()):
        shift = 0.6 * ((number + 0.5) / len(labels) - 0.5)
        label: str | None = f"{session.device.upper()}: {words}"
        for record in results.of(session):
            ratio = results.ratio(record)
            # Of few rounds there is no interval; and it may begin above the ratio itself.
            low, high = ratio.low or ratio.value, ratio.high or ratio.value
            panels[session.device].errorbar(
                ratio.value,
                places[record.topology] - shift,
                xerr=[[max(0, ratio.value - low)], [max(0, high - ratio.value)]],
                marker=_MARKERS[number % len(_MARKERS)],
                color=f"C{number}",
                markersize=5,
                markerfacecolor=f"C{number}" if ratio.is_known else "none",
                capsize=2,
                linewidth=1,
                linestyle="none",
                label=label,
            )
            label = None
    for device in _DEVICES:
        panels[device].set_xlabel(
            f"{device.upper()} latency / {first}\n(95% interval; hollow: too noisy to tell)"
        )
    left = panels["parameters"]
    left.set_yticks(list(places.values()), [name.rpartition("/")[2] for name in places])
    left.set_ylim(min(places.values()) - 0.6, 0.6)
    for axes in panels.values():
        axes.margins(x=0.1)
        if axes.has_data():
            axes.axvline(1, color="gray", linewidth=0.8, linestyle="--")
