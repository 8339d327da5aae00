"""`keras-roots plan`: the degrees, level by level, that meet a budget of cost or latency."""

import argparse

from keras_roots.cli.options import (
    add_format,
    add_image_size_and_classes,
    add_set,
    formatted,
    require_outputs,
    to_stderr,
)


def add(commands) -> None:
    command = commands.add_parser(
        "plan",
        help="filter groups that meet a budget of cost or latency",
        description="Lists the degrees, level by level, that meet a budget, those that keep the "
        "most weights first, with their cost and, if asked for, their latency on this machine; and "
        "which are Pareto-optimal. Of accuracy it knows nothing.",
    )
    command.add_argument(
        "model",
        help="name of a network, such as resnet50, or a file that model.save wrote: model.keras",
    )
    command.add_argument(
        "--budget",
        action="append",
        required=True,
        metavar="NAME=LIMIT",
        help="macs, parameters or latency, at most: relative to the dense network, such as "
        "macs=0.6; or so many, such as macs=2.5G, parameters=19M, latency=40ms. May be repeated, "
        "or with commas; all are met",
    )
    command.add_argument(
        "--family",
        default="any",
        metavar="F,...",
        help="topologies: root, column, tree, or any combination of degrees (default: %(default)s)",
    )
    command.add_argument(
        "--max-degree",
        type=int,
        metavar="N",
        help="the most groups of a level (default: what its channels allow)",
    )
    command.add_argument(
        "--latency",
        metavar="NAME",
        help="runtime in which to measure: litert, tensorflow, xla, jax, as of `benchmark "
        "networks`; or none (default: litert for a budget of latency, else none)",
    )
    command.add_argument("--threads", type=int, default=1, metavar="N", help="of the runtime")
    command.add_argument(
        "--rounds",
        type=int,
        default=12,
        metavar="N",
        help="turns of each network; fewer than 6 tell no intervals (default: %(default)s)",
    )
    command.add_argument(
        "--measure",
        type=int,
        default=3,
        metavar="N",
        help="so many of the plans of each table are measured as they are (default: %(default)s)",
    )
    add_image_size_and_classes(command)
    add_set(command)
    command.add_argument(
        "--limit", type=int, default=10, metavar="N", help="rows of a table (default: %(default)s)"
    )
    command.add_argument(
        "--all", action="store_true", help="list plans that are not Pareto-optimal, too"
    )
    add_format(command)
    command.add_argument(
        "--csv", metavar="FILE", help="write every plan that meets the budget as CSV as well"
    )
    command.add_argument(
        "--plot", metavar="FILE", help="draw all plans as a .png, .pdf or .svg as well"
    )
    command.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    from keras_roots import planning
    from keras_roots.planning import report
    from keras_roots.planning.plot import plot

    if arguments.limit < 1:
        raise ValueError(f"Expected --limit of 1 or more. Received: {arguments.limit}")
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
    _print(arguments, found)
    if arguments.csv is not None:
        report.write_csv(arguments.csv, found)
    if arguments.plot is not None:
        plot(arguments.plot, found)
    for path in filter(None, (arguments.csv, arguments.plot)):
        to_stderr(f"keras-roots: written: {path}")
    return 0


def _timing(arguments: argparse.Namespace, budgets):
    from keras_roots import planning

    wanted = any(budget.quantity == "latency" for budget in budgets)
    runtime = arguments.latency or ("litert" if wanted else "none")
    if runtime == "none":
        return None
    return planning.Timing(runtime, threads=arguments.threads, rounds=arguments.rounds)


def _network(arguments: argparse.Namespace):
    from keras_roots import planning
    from keras_roots.cli.models import check_factory_options, one
    from keras_roots.models.application import shape_of_size

    name, size = arguments.model, arguments.image_size
    if name.endswith(".keras"):
        model = one(argparse.Namespace(**vars(arguments), root=None, weights=None))
        expression = f"keras.models.load_model({name!r})"
        return planning.of_model(model, max_degree=arguments.max_degree, expression=expression)
    options = dict(arguments.set)
    check_factory_options(name, options)
    if size is not None:
        options["input_shape"] = shape_of_size(size, 3)
    if arguments.classes is not None:
        options["classes"] = arguments.classes
    return planning.of_name(name, max_degree=arguments.max_degree, **options)


def _print(arguments: argparse.Namespace, found) -> None:
    from keras_roots.planning import report

    best = (found.within if arguments.all else found.best)[: arguments.limit]
    named = found.named[: arguments.limit]
    if arguments.format == "csv":  # Which is one table.
        shown = dict.fromkeys([*best, *named])
        print(report.csv_text(found, shown), end="")
        return
    heading = "### " if arguments.format == "markdown" else ""
    print(f"{report.summary(found)}\n\n{formatted(report.levels(found), arguments.format)}\n")
    print(f"{heading}Plans that meet the budget\n")
    print(formatted(report.plans(found, best), arguments.format), end="\n\n")
    if named:
        print(f"{heading}Topologies of the paper that meet it\n")
        print(formatted(report.plans(found, named, paper=True), arguments.format), end="\n\n")
    print(report.notes(found))
