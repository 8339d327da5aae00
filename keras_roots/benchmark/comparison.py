"""Two files of `benchmark networks`, candidate by candidate."""

import dataclasses

from keras_roots.benchmark.records import Record, Results
from keras_roots.reporting import Table, numbers
from keras_roots.timing.ratios import NOISY, WIDEST, Ratio, ratio_of_medians


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same candidate in both.

    Attributes:
        old, new: its records.
        ratio: of the new time to the old.
        old_to_dense, new_to_dense: of each to its own run's dense network.
    """

    old: Record
    new: Record
    ratio: Ratio
    old_to_dense: Ratio
    new_to_dense: Ratio


def compare(old: Results, new: Results) -> list[Pair]:
    """All candidates that are in both.

    Raises:
        ValueError: there are none.
    """
    by_key = {(record.session, record.topology): record for record in old.records}
    pairs = []
    for record in new.records:
        before = by_key.get((record.session, record.topology))
        if before is not None:
            # Rounds of two runs have nothing to do with each other.
            ratio = ratio_of_medians(record.seconds, before.seconds, paired=False)
            pairs.append(Pair(before, record, ratio, old.ratio(before), new.ratio(record)))
    if not pairs:
        raise ValueError(
            "Expected files that have a network, its filter groups, runtime, device, precision, "
            "threads and batch in common. Received: two that have none"
        )
    return pairs


def differing_conditions(old: Results, new: Results) -> list[str]:
    """A line for each, but for the date."""
    return [
        f"{name}: {old.conditions.get(name, 'unknown')}; {new.conditions.get(name, 'unknown')}"
        for name in old.differing(new.conditions)
    ]


def table(pairs: list[Pair]) -> Table:
    rows = [
        {
            "network": pair.new.session.network,
            "topology": pair.new.topology,
            "how": ", ".join(pair.new.session.words().values()),
            "old, ms": numbers.significant(pair.old.p50, noisy=pair.old.spread > NOISY),
            "new, ms": numbers.significant(pair.new.p50, noisy=pair.new.spread > NOISY),
            "new / old": _difference(pair.ratio),
            "old / dense": str(pair.old_to_dense),
            "new / dense": str(pair.new_to_dense),
        }
        for pair in pairs
    ]
    return Table.of(rows, left=3)


def _difference(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None or not (ratio.is_one or ratio.is_known):
        return str(ratio)
    value = "no difference to tell" if ratio.is_one else f"{ratio.value:.2f}"
    return f"{value} ({numbers.interval((ratio.low, ratio.high))})"


NOTE = (
    "new / old: the ratio of medians and its 95% interval, of the spread within the two runs; how "
    "far the machine itself changed between them is in it, too. Ratios to dense are each of one "
    f"run, and survive that. 'too noisy': the interval is wider than {WIDEST:.0%} to either side."
)
