"""What is recommended, as tables and in words."""

import os
from collections.abc import Iterable

from keras_roots import reporting
from keras_roots.benchmark.records import QUIET
from keras_roots.paper.results import FORMS, RESULTS
from keras_roots.planning.candidates import Candidate
from keras_roots.planning.recommendation import RESOLUTION, Recommendation, shares
from keras_roots.reporting import Table
from keras_roots.timing.measure import describe
from keras_roots.timing.ratios import WIDEST

_OPTIMAL = "*"


def levels(found: Recommendation) -> Table:
    """A row for each level: what its degree is of."""
    network = found.network
    rows = []
    for number, level in enumerate(network.levels):
        strides = dict.fromkeys(layer.output_stride for layer in level.layers)
        degrees = "1" if len(level.degrees) == 1 else f"1 to {level.degrees[-1]}"
        rows.append(
            {
                "level": str(number),
                "output stride": ", ".join(strides),
                "degrees": degrees,
                "convolutions": str(len(level.layers)),
                "of their weights": f"{level.weights / network.weights:.3f}",
                "of all MACs": f"{level.macs / network.macs:.3f}",
            }
        )
    return Table.of(rows, left=3)


def plans(found: Recommendation, shown: Iterable[Candidate], *, paper: bool = False) -> Table:
    """A row for each plan.

    Args:
        found: of `recommend`.
        shown: some of its plans.
        paper: whether to have the accuracy that the paper reports of them.
    """
    network = found.network
    reported = RESULTS.get(network.registry_name or "", {}) if paper else {}
    header = ["--root", "topology", "Pareto", "weights kept", "parameters", "/ dense", "MACs",
              "/ dense"]  # fmt: skip
    if found.savings is not None:
        header += ["ms, predicted", "/ dense", "ms, measured", "/ dense"]
    if reported:
        header.append("top-1, %: the paper reports")
    rows = []
    for plan in shown:
        share = shares(network, plan)
        row = [
            plan.root,
            plan.topology or "",
            _OPTIMAL if plan.degrees in found.optimal else "",
            f"{plan.weights / network.weights:.3f}",
            f"{plan.parameters:,}",
            f"{share['parameters']:.3f}",
            f"{plan.macs:,}",
            f"{share['macs']:.3f}",
            *_latencies(found, plan),
        ]
        if reported:
            result = reported.get(plan.topology or "")
            row.append("" if result is None else f"{100 * result.top1:.2f}")
        rows.append(row)
    return Table(header, rows, left=3)


def _latencies(found: Recommendation, plan: Candidate) -> list[str]:
    if found.savings is None:
        return []
    if plan.latency is None:
        cells = ["", ""]
    else:
        cells = [f"{1e3 * found.savings.dense * plan.latency:.3g}", f"{plan.latency:.3f}"]
    measured = found.measured.get(plan.degrees)
    if measured is None:
        return [*cells, "", ""]
    ratio = measured.ratio
    interval = "" if ratio.low is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return [*cells, f"{1e3 * measured.seconds:.3g}", f"{ratio.value:.3f}{interval}"]


def summary(found: Recommendation) -> str:
    """What the plans are of, and how many there are."""
    network = found.network
    lines = [
        f"{network.name}, dense: {network.parameters:,} parameters, {network.macs:,} "
        f"multiply-accumulates (MACs) of an image, {network.weights:,} weights in convolutions "
        "that can be grouped"
    ]
    if found.savings is not None:
        lines[0] += f", {1e3 * found.savings.dense:.3g} ms"
    reasons: dict[str, list[str]] = {}
    for layer in network.never_grouped:
        reasons.setdefault(str(layer.reason), []).append(layer.name)
    if reasons:
        # Of a network's many pointwise convolutions nobody asks.
        each = (
            f"{len(names)} {reason}"
            + ("" if reason == "1x1" or len(names) > 3 else f" ({', '.join(names)})")
            for reason, names in reasons.items()
        )
        lines.append(f"Dense in every plan: {'; '.join(each)}.")
    budgets = " and ".join(budget.text for budget in found.budgets)
    lines.append(
        f"{len(found.plans):,} plans; {len(found.within):,} meet {budgets}, "
        f"{len(found.best):,} of these Pareto-optimal."
        + (f" Listed were, {found.restriction}." if found.restriction else "")
    )
    return "\n".join(lines)


def notes(found: Recommendation) -> str:
    """What the tables mean, and what is not known."""
    known = "MACs and weights kept" if found.savings is None else "MACs, latency and weights kept"
    lines = [
        "Those that keep the most weights of the grouped convolutions come first: the least "
        f"grouped network that meets the budget. {_OPTIMAL}: no other plan is as good in {known}, "
        "and better in one of them.",
        *_of_latency(found),
        f"In Python, the first: {found.network.call(found.best[0].degrees)}",
        *_of_the_paper(found),
        "Not known: accuracy. The weights kept are a capacity, and no prediction of it. Train the "
        "plans in question on your data, each with the same schedule (keras_roots.sweep does), "
        "and compare.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _of_latency(found: Recommendation) -> list[str]:
    if found.savings is None:
        return []
    lines = [
        "Predicted latency: the dense network's, less what each level saves where it alone is "
        "grouped; differences below "
        f"{RESOLUTION:.0%} of the dense network's are taken for none. Measured: in turns with the "
        "dense network, with the ratio's 95% interval."
    ]
    ratios = [
        ratio for each in found.savings.ratios for degree, ratio in each.items() if degree > 1
    ]
    unsure = sum(not ratio.is_known for ratio in ratios)
    if unsure:
        lines.append(
            f"Predictions are made of {len(ratios)} ratios, of which {unsure} are not known to "
            f"{WIDEST:.0%}: take more rounds, or a quieter machine."
        )
    errors = found.errors()
    if errors:
        degrees = max(errors, key=lambda each: abs(errors[each]))
        lines.append(
            f"Largest error of a prediction, of {len(errors)} measured: {errors[degrees]:+.1%} "
            f"({','.join(map(str, degrees))})."
        )
    if over := found.over_budget():
        named = "; ".join(
            f"{','.join(map(str, degrees))} ({found.measured[degrees].ratio.value:.3f})"
            for degrees in over
        )
        lines.append(f"Measured to be over the budget of {found.limits['latency']:.3g}: {named}.")
    if (found.savings.busy or 0) > QUIET:
        lines.append(
            f"Other processes kept up to {found.savings.busy:.1f} cores busy: times are of both."
        )
    lines.append(f"Conditions: {describe(found.savings.conditions)}")
    return lines


def _of_the_paper(found: Recommendation) -> list[str]:
    """Its rule, and what it rests on."""
    results = RESULTS["nin"]
    numbers = ", ".join(
        f"{name} {100 * results[name].top1:.2f}"
        for name in ("dense", "root-8", "column-8", "tree-8")
    )
    lines = [
        "The paper's rule is root: degrees that halve with depth. It reports of NIN on CIFAR-10 "
        f"(top-1, %; not measured here, and not of equal cost): {numbers}."
    ]
    name = found.network.registry_name or ""
    if name in RESULTS:
        form = f"; {FORMS[name]}" if name in FORMS else ""
        dense = RESULTS[name]["dense"].top1
        lines.append(f"Of dense {name} it reports {100 * dense:.2f}{form}.")
    return lines


def write_csv(path: str | os.PathLike, found: Recommendation) -> None:
    """All plans within the budgets, as `csv_text` has them."""
    reporting.write_text(path, csv_text(found, found.within))


def csv_text(found: Recommendation, shown: Iterable[Candidate]) -> str:
    """A row for each plan, of plain numbers; with the conditions if latency was measured."""
    network, known = found.network, found.savings
    reported = RESULTS.get(network.registry_name or "", {})
    conditions = {} if known is None else dict(known.conditions)
    rows = []
    for plan in shown:
        share = shares(network, plan)
        row: dict[str, object] = {
            "network": network.name,
            "root": plan.root,
            "topology": plan.topology,
            "pareto": plan.degrees in found.optimal,
            "weights_kept": plan.weights / network.weights,
            "weights": plan.weights,
            "parameters": plan.parameters,
            "parameters_to_dense": share["parameters"],
            "macs": plan.macs,
            "macs_to_dense": share["macs"],
        }
        if known is not None:
            measured = found.measured.get(plan.degrees)
            ratio = None if measured is None else measured.ratio
            row |= {
                "dense_ms": 1e3 * known.dense,
                "latency_predicted": plan.latency,
                "latency_measured": ratio and ratio.value,
                "latency_low": ratio and ratio.low,
                "latency_high": ratio and ratio.high,
            }
        result = reported.get(plan.topology or "")
        rows.append({**row, "top1_of_the_paper": result and result.top1, **conditions})
    return reporting.csv_text(rows)
