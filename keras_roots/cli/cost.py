"""`keras-roots cost`: parameters and multiply-accumulates, as tables and as a plot."""

import argparse
import sys

from keras_roots.cli.models import dense_and_grouped
from keras_roots.cli.options import (
    add_format,
    add_image_size_and_classes,
    add_root,
    add_set,
    formatted,
    require_outputs,
)


def add(commands) -> None:
    command = commands.add_parser(
        "cost",
        help="parameters and multiply-accumulates, by layer and by stage",
        description="Prints the parameters and multiply-accumulates (MACs) of a network for one "
        "image, by layer, by stage and in total; with --root, dense and grouped side by side.",
    )
    command.add_argument(
        "model",
        help="name of a network, such as resnet50, or a file that model.save wrote: model.keras",
    )
    add_root(command, default="1")
    command.add_argument(
        "--convention",
        choices=("plain", "paper"),
        default="plain",
        help="plain: all parameters, and the kernels' multiply-accumulates; paper: the rule of the "
        "published tables, without batch normalisation and with biases (default: %(default)s)",
    )
    add_image_size_and_classes(command)
    add_set(command)
    command.add_argument(
        "--by",
        choices=("layer", "stage", "total"),
        help="print this table only (default: by layer and by stage)",
    )
    add_format(command)
    command.add_argument(
        "--plot", metavar="FILE", help="write bars by layer to a .png, .pdf or .svg as well"
    )
    command.set_defaults(run=_cost)


def _cost(arguments: argparse.Namespace) -> int:
    from keras_roots.cost import cost
    from keras_roots.cost import report as cost_report

    require_outputs(plot=arguments.plot)
    size = arguments.image_size
    if size is not None and size < 1:
        raise ValueError(f"Expected --image-size of 1 or more. Received: {size}")
    dense, grouped, input_shape = dense_and_grouped(arguments, size)
    counted = cost(dense, arguments.convention, input_shape)
    beside = None if grouped is None else cost(grouped, arguments.convention, input_shape)
    tables = {"layer": cost_report.by_layer, "stage": cost_report.by_stage}
    tables["total"] = cost_report.total
    # A CSV file is one table.
    names = [arguments.by] if arguments.by else ["layer", "stage"]
    if arguments.format == "csv":
        names = names[:1]
    print("\n\n".join(formatted(tables[name](counted, beside), arguments.format) for name in names))
    for each in (counted, beside):
        if each is not None and each.uncounted and arguments.format != "csv":
            print(f"\n{each.model}: not counted, for want of a rule: {', '.join(each.uncounted)}")
    if arguments.plot is not None:
        cost_report.plot(arguments.plot, counted, beside)
        print(f"keras-roots: bars by layer are in {arguments.plot}", file=sys.stderr)
    return 0
