"""`keras-roots plan`: the degrees, level by level, that meet a budget of cost or latency."""

import argparse

from keras_roots.cli.options import add_model, heading, require_outputs, show, to_stderr, write


def add(commands) -> None:
    command = commands.add_parser(
        "plan",
        help="filter groups that meet a budget of cost or latency",
        description="Lists the degrees, level by level, that meet a budget, those that keep the "
        "most weights first, with their cost and, if asked for, their latency on this machine; and "
        "which are Pareto-optimal. Of accuracy it knows nothing.",
    )
    add_model(command)
    command.option(
        "--budget",
        "NAME=LIMIT",
        "macs, parameters or latency, at most: relative to the dense network, such as "
        "macs=0.6; or so many, such as macs=2.5G, parameters=19M, latency=40ms. May be repeated, "
        "or with commas; all are met",
        action="append",
        required=True,
    )
    command.option(
        "--family",
        "F,...",
        "topologies: root, column, tree, or any combination of degrees",
        default="any",
    )
    command.number(
        "--max-degree", None, "the most groups of a level (default: what its channels allow)"
    )
    command.option(
        "--latency",
        "NAME",
        "runtime in which to measure: litert, tensorflow, xla, jax, as of `benchmark "
        "networks`; or none (default: litert for a budget of latency, else none)",
    )
    command.number("--threads", 1, "of the runtime")
    command.number("--rounds", 12, "turns of each network; fewer than 6 tell no intervals")
    command.number("--measure", 3, "so many of the plans of each table are measured as they are")
    command.shared("--image-size", "--classes", "--set")
    command.number("--limit", 10, "rows of a table", least=1)
    command.flag("--all", "list plans that are not Pareto-optimal, too")
    command.shared("--format")
    command.option("--csv", "FILE", "write every plan that meets the budget as CSV as well")
    command.option("--plot", "FILE", "draw all plans as a .png, .pdf or .svg as well")
    # Errors speak of the --root of other commands, which a plan is for.
    command.set_defaults(run=_plan, root=None, weights=None)


def _plan(arguments: argparse.Namespace) -> None:
    from keras_roots import planning
    from keras_roots.planning import report
    from keras_roots.planning.plot import plot

    require_outputs(arguments.csv, plot=arguments.plot)
    budgets = planning.parse(arguments.budget)
    timing = _timing(arguments, budgets)
    if timing is not None:
        timing.check()
    found = planning.recommend(
        _network(arguments),
        budgets,
        families=arguments.family.split(","),
        timing=timing,
        measure=arguments.measure,
        report=to_stderr,
    )
    best = (found.within if arguments.all else found.best)[: arguments.limit]
    named = found.named[: arguments.limit]
    of_paper = heading(arguments, "Topologies of the paper that meet it")
    show(
        arguments,
        report.summary(found),
        report.levels(found),
        heading(arguments, "Plans that meet the budget"),
        report.plans(found, best),
        *([of_paper, report.plans(found, named, paper=True)] if named else []),
        report.notes(found),
        csv=report.csv_text(found, dict.fromkeys([*best, *named])),
    )
    write(arguments.csv, report.write_csv, found)
    write(arguments.plot, plot, found)


def _timing(arguments: argparse.Namespace, budgets):
    from keras_roots import planning

    wanted = any(budget.quantity == "latency" for budget in budgets)
    runtime = arguments.latency or ("litert" if wanted else "none")
    if runtime == "none":
        return None
    return planning.Timing(runtime, threads=arguments.threads, rounds=arguments.rounds)


def _network(arguments: argparse.Namespace):
    from keras_roots import planning
    from keras_roots.cli.models import factory_options, is_file, one

    name, degree = arguments.model, arguments.max_degree
    if is_file(arguments):
        expression = f"keras.models.load_model({name!r})"
        return planning.of_model(one(arguments), max_degree=degree, expression=expression)
    return planning.of_name(name, max_degree=degree, **factory_options(arguments))
