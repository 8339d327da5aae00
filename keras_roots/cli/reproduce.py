"""`keras-roots reproduce`: the paper's tables, with our counts beside the published."""

import argparse
import textwrap

from keras_roots.cli.options import heading, show, to_stderr


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
    command.shared("--format")
    command.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from keras_roots import paper

    found = paper.reproduce(arguments.table or None, report=to_stderr)
    parts: list = []
    for each in found:
        notes = (textwrap.fill(note, 100) for note in each.notes)
        parts += [heading(arguments, each.title), each.table(), *notes]
    show(arguments, *parts, csv=paper.records(found))
    return 0 if all(each.complete for each in found) else 1
