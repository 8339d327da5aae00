"""`keras-roots cost`: parameters and multiply-accumulates, as tables and as a plot."""

import argparse

from keras_roots.cli.models import dense_and_grouped
from keras_roots.cli.options import add_model, add_root, require_outputs, show, write


def add(commands) -> None:
    command = commands.add_parser(
        "cost",
        help="parameters and multiply-accumulates, by layer and by stage",
        description="Prints the parameters and multiply-accumulates (MACs) of a network for one "
        "image, by layer, by stage and in total; with --root, dense and grouped side by side.",
    )
    add_model(command)
    add_root(command, default="1")
    command.choice(
        "--convention",
        ("plain", "paper"),
        "plain: all parameters, and the kernels' multiply-accumulates; paper: the rule of the "
        "published tables, without batch normalisation and with biases",
        default="plain",
    )
    command.shared("--image-size", "--classes", "--set")
    command.choice(
        "--by",
        ("layer", "stage", "total"),
        "print this table only (default: by layer and by stage)",
    )
    command.shared("--format")
    command.option("--plot", "FILE", "write bars by layer to a .png, .pdf or .svg as well")
    command.set_defaults(run=_cost)


def _cost(arguments: argparse.Namespace) -> None:
    from keras_roots.cost import cost, report

    require_outputs(plot=arguments.plot)
    dense, grouped, input_shape = dense_and_grouped(arguments)
    counted = cost(dense, arguments.convention, input_shape)
    beside = None if grouped is None else cost(grouped, arguments.convention, input_shape)
    tables = {"layer": report.by_layer, "stage": report.by_stage, "total": report.total}
    names = [arguments.by] if arguments.by else ["layer", "stage"]
    uncounted = (
        f"{each.model}: not counted, for want of a rule: {', '.join(each.uncounted)}"
        for each in (counted, beside)
        if each is not None and each.uncounted
    )
    show(arguments, *(tables[name](counted, beside) for name in names), *uncounted)
    write(arguments.plot, report.plot, counted, beside)
