"""`keras-roots`: each command parses its arguments and makes one library call.

Exit codes: 0 done, 1 a result that is not right, 2 a mistake in the arguments
or in what they name, 130 interrupted.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from keras_roots.cli import (
    analyze,
    arrays,
    benchmark,
    compress,
    cost,
    demo,
    evaluate,
    export,
    lowerings,
    plan,
    predict,
    reproduce,
    sensitivity,
)
from keras_roots.cli.options import Parser

# In the order in which the help lists them.
_COMMANDS = (
    *(demo, cost, plan, reproduce, arrays, evaluate, sensitivity, analyze, predict, export),
    *(compress, lowerings, benchmark),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        print(f"keras-roots: {_in_options(error, arguments)}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    except KeyboardInterrupt:
        print("keras-roots: interrupted; files already written are whole", file=sys.stderr)
        return 130


# Options whose names are not those of the library's arguments.
_OPTIONS = {
    "clusters": "cluster",
    "devices": "device",
    "image_shape": "image_size",
    "inside": "embed_preprocessing",
    "pairs": "pair",
    "sparsity": "prune",
    "timing": "latency",
}
_ARGUMENT = re.compile(r"\b(?<!-)(\w+)=(\.\.\.|\['?(?:\w+)'?\]|'[^']*'|\w+(?:[,-]\w+)*)")


def _in_options(error: Exception, arguments: argparse.Namespace) -> str:
    """An error in a line, where arguments of the library are the options of this command.

    The library writes them as name=value: `overwrite=True` is `--overwrite` here, and
    `image_size=...`, where the value is left open, `--image-size`.
    """

    def option(found: re.Match) -> str:
        name, value = _OPTIONS.get(found[1], found[1]), found[2].strip("[]'")
        budgets = getattr(arguments, "budget", [])  # NAME=LIMIT, as they were given.
        if not hasattr(arguments, name) or any(found[0] in text for text in budgets):
            return found[0]
        flag = f"--{name.replace('_', '-')}"
        return flag if value in ("True", "...") else f"{flag} {value}"

    return _ARGUMENT.sub(option, " ".join(str(error).split()))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="keras-roots",
        description="Convolutional networks with hierarchical filter groups, for Keras 3.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
