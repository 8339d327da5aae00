"""`keras-roots reproduce`: the paper's tables, with our counts beside the published."""

import argparse
import sys
import textwrap

from keras_roots.cli.options import add_format, formatted


def add(commands) -> None:
    command = commands.add_parser(
        "reproduce",
        help="the paper's tables, with our counts beside the published",
        description="Builds every network of the paper's tables, counts it, and prints the "
        "published figures beside the computed: exact, or with the reason why they differ. "
        "About a minute. Exit code 1 if one differs for no reason that is known.",
    )
    command.add_argument(
        "table",
        nargs="*",
        metavar="TABLE",
        help="resnet50, resnet200, googlenet, nin or alexnet (default: all)",
    )
    add_format(command)
    command.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from keras_roots import paper

    reproductions = paper.reproduce(
        arguments.table or None, report=lambda line: print(line, file=sys.stderr)
    )
    if arguments.format == "csv":
        print(formatted(paper.records(reproductions), "csv"))
    else:
        heading = "### {}" if arguments.format == "markdown" else "{}"
        for each in reproductions:
            print(heading.format(each.title), end="\n\n")
            print(formatted(each.table(), arguments.format), end="\n\n")
            for note in each.notes:
                print(textwrap.fill(note, 100), end="\n\n")
    return 0 if all(each.complete for each in reproductions) else 1
