"""What the sub-commands of `keras-roots benchmark` share: options, and how results are printed."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from keras_roots.cli.options import formatted, print_table
from keras_roots.reporting import Table

OF_FILES = ("float32", "int8")
OF_NETWORKS = ("float32", "bfloat16", "float16")
DATA_FORMATS = ("channels_last", "channels_first")
DEFAULT = "(default: %(default)s)"


def add_kind(
    kinds, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """A sub-command, which `run` carries out and its docstring describes."""
    description = " ".join((run.__doc__ or "").split())
    command = kinds.add_parser(name, help=summary, description=description)
    command.set_defaults(run=run)
    return command


def add_model(command, example: str = "resnet50") -> None:
    command.add_argument("model", help=f"name of a network, such as {example}")


def add_number(
    command, option: str, note: str | None = None, default: int | None = None, several: bool = False
) -> None:
    """A whole number; `several` if the option may be repeated."""
    command.add_argument(
        option,
        type=int,
        action="append" if several else "store",
        default=default,
        metavar="PIXELS" if option == "--image-size" else "N",
        help=note,
    )


def add_choice(
    command,
    option: str,
    choices: Sequence[str],
    note: str = DEFAULT,
    default: str | None = None,
    several: bool = False,
) -> None:
    """One of `choices`; `several` if the option may be repeated."""
    command.add_argument(
        option, choices=choices, action="append" if several else "store", default=default, help=note
    )


def add_rounds(command, note: str, default: int = 10) -> None:
    add_number(command, "--rounds", note, default)


def add_calibration(command, precisions: str, default: str) -> None:
    command.add_argument(
        "--calibration",
        metavar="DIR",
        help=f"folder of photographs to calibrate {precisions} with, normalised as ImageNet's "
        f"(default: {default})",
    )


def add_output(command, note: str = "write all of it as CSV as well", **more) -> None:
    command.add_argument("-o", "--output", metavar="FILE", help=note, **more)


def add_plot(command) -> None:
    add_output(command, "a .png, .pdf or .svg", required=True)


def given(arguments: argparse.Namespace, *same: str, **renamed: str) -> dict[str, Any]:
    """The library's arguments for which options were given; it has its own defaults.

    Args:
        arguments: of the command line.
        same: arguments that have their option's name.
        renamed: options, by the name of the argument.
    """
    options = {**{name: name for name in same}, **renamed}
    found = {name: getattr(arguments, option) for name, option in options.items()}
    return {name: value for name, value in found.items() if value is not None}


def print_measured(arguments: argparse.Namespace, table: Table, *names: str, **more) -> None:
    """A table with the conditions below it; among these, options by their `names`."""
    from keras_roots.timing import conditions

    options = {name: getattr(arguments, name) for name in names}
    print_table(table, arguments.format, conditions(**more, **options))


def print_parts(format_: str, *parts: str | Table, csv_gap: str = "\n\n") -> None:
    """Tables, and what is said about them, which CSV leaves out; a blank line between.

    Args:
        format_: of the tables.
        parts: in order; a string is printed as it stands.
        csv_gap: what stands between two tables in CSV.
    """
    tables_only = format_ == "csv"
    shown = [
        part if isinstance(part, str) else formatted(part, format_)
        for part in parts
        if not (tables_only and isinstance(part, str))
    ]
    print((csv_gap if tables_only else "\n\n").join(shown))


def heading(format_: str, title: str) -> str:
    """What stands above one of several tables."""
    return f"### {title}" if format_ == "markdown" else title
