"""The plans that meet budgets, and which of them are Pareto-optimal."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from keras_roots.planning.budget import Budget
from keras_roots.planning.candidates import Candidate, enumerate_candidates
from keras_roots.planning.latency import Measured, Savings, Timing, measured, savings
from keras_roots.planning.networks import Degrees, Network
from keras_roots.planning.pareto import pareto
from keras_roots.reporting import silent

# Predicted latencies are told apart if they differ by so much of the dense network's.
RESOLUTION = 0.01


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What is known of the plans of a network, and which meet the budgets.

    Attributes:
        network: of which they are.
        budgets: as given.
        limits: the same, relative to the dense network, by quantity.
        plans: all, whether or not they meet the budgets.
        within: those that do, most weights kept first.
        optimal: those of `within` than which no other is as good in
            everything that is known, and better in something.
        restriction: see `Candidates`.
        savings: what latency is predicted from, or None.
        measured: what was measured, by degrees.
    """

    network: Network
    budgets: tuple[Budget, ...]
    limits: Mapping[str, float]
    plans: tuple[Candidate, ...]
    within: tuple[Candidate, ...]
    optimal: frozenset[Degrees]
    restriction: str | None
    savings: Savings | None = None
    measured: Mapping[Degrees, Measured] = dataclasses.field(default_factory=dict)

    @property
    def best(self) -> tuple[Candidate, ...]:
        """The Pareto-optimal plans within the budgets, most weights kept first."""
        return tuple(plan for plan in self.within if plan.degrees in self.optimal)

    @property
    def named(self) -> tuple[Candidate, ...]:
        """Those within the budgets that the paper has a name for."""
        return tuple(plan for plan in self.within if plan.topology is not None)

    def over_budget(self) -> list[Degrees]:
        """Plans that were predicted to meet a budget of latency, and were measured not to."""
        limit = self.limits.get("latency")
        if limit is None:
            return []
        return [degrees for degrees, each in self.measured.items() if each.ratio.value > limit]

    def errors(self) -> dict[Degrees, float]:
        """Of the predictions, relative to what was measured."""
        return {
            plan.degrees: plan.latency / self.measured[plan.degrees].ratio.value - 1
            for plan in self.plans
            if plan.degrees in self.measured and plan.latency is not None
        }


def recommend(
    network: Network,
    budgets: Sequence[Budget],
    *,
    families: Iterable[str] = ("any",),
    timing: Timing | None = None,
    measure: int = 3,
    report: Callable[[str], object] = silent,
) -> Recommendation:
    """Finds the plans that meet all budgets.

    Args:
        network: of `networks.of_name` or `networks.of_model`.
        budgets: of `budget.parse`.
        families: see `enumerate_candidates`.
        timing: how latency is measured; None for not at all.
        measure: so many of the best plans, and of those that have a name, are
            measured as they are.
        report: takes lines of progress.

    Raises:
        ValueError: an argument is not as above; no plan meets the budgets,
            and which comes closest; a budget is more than the dense network
            needs.
        ModuleNotFoundError: the runtime is not installed.
        RuntimeError: it does not run the network as Keras does.
    """
    if measure < 0:
        raise ValueError(f"Expected so many plans to measure: 0 or more. Received: {measure}")
    if timing is None and any(budget.quantity == "latency" for budget in budgets):
        raise ValueError(
            "A budget of latency needs latency to be measured. Give a runtime: timing=... "
            "of litert or tensorflow (a `Timing`)"
        )
    if timing is not None:
        timing.check()
    dense = {"macs": float(network.macs), "parameters": float(network.parameters)}
    limits = {
        budget.quantity: budget.share(dense[budget.quantity])
        for budget in budgets
        if budget.quantity in dense
    }
    found = enumerate_candidates(network, families)
    plans = sorted(found.plans, key=_least_grouped_first)
    within = _within(network, plans, limits, budgets)
    known = None
    if timing is not None:
        known = savings(network, [plan.degrees for plan in within], timing, report)
        plans = [dataclasses.replace(plan, latency=known.predicted(plan.degrees)) for plan in plans]
        for budget in budgets:
            if budget.quantity == "latency":
                limits["latency"] = budget.share(known.dense)
        within = _within(network, plans, limits, budgets)
    optimal = pareto(np.array([_criteria(plan) for plan in within]))
    recommendation = Recommendation(
        network=network,
        budgets=tuple(budgets),
        limits=limits,
        plans=tuple(plans),
        within=tuple(within),
        optimal=frozenset(p.degrees for p, is_ in zip(within, optimal, strict=True) if is_),
        restriction=found.restriction,
        savings=known,
    )
    if timing is None:
        return recommendation
    chosen = [*recommendation.best[:measure], *recommendation.named[:measure]]
    degrees = list(dict.fromkeys(plan.degrees for plan in chosen))
    return dataclasses.replace(recommendation, measured=measured(network, degrees, timing, report))


def shares(network: Network, plan: Candidate) -> dict[str, float | None]:
    """Each quantity of a plan, relative to the dense network; latency as predicted."""
    return {
        "macs": plan.macs / network.macs,
        "parameters": plan.parameters / network.parameters,
        "latency": plan.latency,
    }


def _least_grouped_first(plan: Candidate) -> tuple:
    return (-plan.weights, plan.macs, max(plan.degrees), plan.degrees)


def _criteria(plan: Candidate) -> tuple[float, ...]:
    """Of which less is better."""
    known = (float(plan.macs), -float(plan.weights))
    return known if plan.latency is None else (*known, round(plan.latency / RESOLUTION))


def _within(
    network: Network,
    plans: Sequence[Candidate],
    limits: Mapping[str, float],
    budgets: Sequence[Budget],
) -> list[Candidate]:
    def excess(plan: Candidate) -> float:
        """The largest of its quantities relative to their budgets; those unknown are beyond."""
        values = shares(network, plan)
        ratios = []
        for quantity, limit in limits.items():
            value = values[quantity]
            ratios.append(float("inf") if value is None else value / limit)
        return max(ratios, default=0.0)

    # What is equal to its budget is within it, after the rounding of two divisions, too.
    found = [plan for plan in plans if excess(plan) <= 1 + 1e-12]
    if not found:
        closest = min(plans, key=excess)
        values = shares(network, closest)
        numbers = ", ".join(f"{name} {values[name]:.3f}" for name in limits)
        raise ValueError(
            f"No plan of '{network.name}' meets {', '.join(budget.text for budget in budgets)}. "
            f"The closest is root={closest.root}, with {numbers} of the dense network's"
        )
    return found
