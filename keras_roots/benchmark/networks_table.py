"""What `benchmark networks` measured, as tables like the paper's Table 1."""

from collections.abc import Iterable, Sequence

from keras_roots.benchmark.accuracies import Accuracies
from keras_roots.benchmark.measured import Column, of_columns
from keras_roots.benchmark.records import QUIET, Record, Results, names
from keras_roots.paper import results as paper_results
from keras_roots.reporting import Table, numbers
from keras_roots.timing import FEWEST_ROUNDS, NOISY, WIDEST

NOT_MEASURED = "not measured"


def tables(
    results: Results, accuracies: Accuracies | None = None, *, beside_paper: bool = False
) -> list[tuple[str, Table]]:
    """For each network its title, and a row for each topology."""
    found = results.by_network().items()
    return [_table(network, each, accuracies, beside_paper) for network, each in found]


def _table(
    network: str, results: Results, accuracies: Accuracies | None, beside_paper: bool
) -> tuple[str, Table]:
    rows, first = results.by_topology(), results.reference_name
    records = [next(iter(each.values())) for each in rows.values()]
    columns: list[Column] = [
        ("network", list(rows)),
        _counts("multiply-accumulates", [record.macs for record in records], first),
        _counts("parameters", [record.parameters for record in records], first),
    ]
    if accuracies is not None:
        for title, of in (("top-1", accuracies.top1), ("top-5", accuracies.top5)):
            cells = _shown([of(record) for record in records], ".3f")
            columns += [(title, cells)] if any(cells) else []
    title, labels = names(results.sessions)
    for device in ("cpu", "gpu"):
        here = [session for session in results.sessions if session.device == device]
        for session in here:
            label = f": {labels[session]}" if labels[session] else ""
            found = [each.get(session) for each in rows.values()]
            columns.append(
                (f"{device.upper()}, ms{label}", ["" if r is None else _ms(r) for r in found])
            )
            columns.append((f"/ {first}", [_ratio(results, record) for record in found]))
        if not here:
            columns.append((f"{device.upper()}, ms", [NOT_MEASURED] * len(rows)))
    if beside_paper:
        columns += _paper(network, list(rows))
    return title, of_columns(columns)


def _shown(values: Iterable[float | None], spec: str) -> list[str]:
    return ["" if value is None else f"{value:{spec}}" for value in values]


def _counts(quantity: str, values: Sequence[int | None], first: str) -> tuple[str, list[str]]:
    """A column of large numbers in one unit, each with its ratio to the `first` one."""
    largest = max((value for value in values if value is not None), default=0)
    exponent = 9 if largest >= 1e9 else 6
    cells = []
    for value in values:
        if value is None:
            cells.append("")
        elif value == values[0] or not values[0]:
            cells.append(f"{value / 10**exponent:.2f}")
        else:
            cells.append(f"{value / 10**exponent:.2f} ({value / values[0]:.2f})")
    return f"{quantity}, x10^{exponent} (/ {first})", cells


def _ms(record: Record) -> str:
    return numbers.significant(record.p50, noisy=record.spread > NOISY)


def _ratio(results: Results, record: Record | None) -> str:
    if record is None:
        return ""
    return "1" if record is results.reference(record) else str(results.ratio(record))


def _paper(network: str, topologies: Sequence[str]) -> list[Column]:
    """Columns of the paper's figures, with ratios to its original."""
    published = paper_results.RESULTS.get(network, {})

    def values(name: str) -> list[float | None]:
        return [getattr(published.get(topology), name, None) for topology in topologies]

    columns: list[Column] = [
        ("paper: top-1", _shown(values("top1"), ".3f")),
        ("paper: top-5", _shown(values("top5"), ".3f")),
    ]
    for title, name in (("CPU, ms", "cpu_ms"), ("GPU, ms", "gpu_ms")):
        original = getattr(published.get("dense"), name, None)
        ratios = [v / original if v and original else None for v in values(name)]
        columns.append((f"paper: {title}", _shown(values(name), ".3g")))
        columns.append(("/ original", _shown(ratios, ".2f")))
    return [(title, cells) for title, cells in columns if any(cells)]


def notes(
    results: Results, accuracies: Accuracies | None = None, *, beside_paper: bool = False
) -> list[str]:
    """What a reader of the tables has to know."""
    counts = sorted({record.n for record in results.records})
    found = [
        f"ms: the median of {' or '.join(map(str, counts))} inferences, each of a whole batch; "
        f"after ~, its 10th to 90th percentile is wider than {NOISY:.0%} of it.",
        "/ dense: the ratio of medians, where its 95% interval (bootstrap of rounds, in which all "
        f"take turns) is {WIDEST:.0%} or less to either side; 'too noisy' and the interval where "
        f"it is more; nothing of fewer than {FEWEST_ROUNDS} rounds. It is of this run: another "
        "start of the processes may differ by a few per cent.",
    ]
    if accuracies is not None:
        found.append(f"Accuracies are {accuracies.source}.")
    if beside_paper:
        found.append(f"The paper's ms are of {paper_results.CONDITIONS}; compare ratios.")
        networks = dict.fromkeys(session.network for session in results.sessions)
        found += [
            f"{network}: {paper_results.FORMS[network]}."
            for network in networks
            if network in paper_results.FORMS
        ]
        missing = [network for network in networks if network not in paper_results.RESULTS]
        if missing:
            found.append(f"The paper has no figures of {', '.join(missing)}.")
    for session in results.sessions:
        busy = results.of(session)[0].busy
        if busy is not None and busy > QUIET:
            found.append(f"Before {session}, other processes kept {busy:.1f} cores busy.")
    return found


def details(results: Results) -> Table:
    """A row for each record: all percentiles, loading, compiling and memory."""
    header = ("network", "topology", "how", "load, ms", "first inference, ms", "p50, ms", "p90",
              "p99", "minimum", "inferences", "memory, MiB")  # fmt: skip
    rows = []
    for record in results.records:
        session, memory = record.session, record.memory_mib
        times = (1e3 * record.load_s, 1e3 * record.compile_s, *record.times().values())
        rows.append(
            (
                *(session.network, record.topology, ", ".join(session.words().values())),
                *map(numbers.significant, times),
                *(str(record.n), "" if memory is None else f"{memory:.0f}"),
            )
        )
    return Table(header, rows, left=3)
