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


class _Parser(argparse.ArgumentParser):
    """One whose mistakes are one line, as all of this program's are."""

    def error(self, message):
        self.exit(2, f"keras-roots: {message} (see `{self.prog} --help`)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"keras-roots: {_in_options(error, arguments)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"keras-roots: {_in_options(error, arguments)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keras-roots: interrupted; files already written are whole", file=sys.stderr)
        return 130


# Options whose names are not those of the library's arguments.
_OPTIONS = {
    "clusters": "cluster",
    "devices": "device",
    "image_shape": "image_size",
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
        if not hasattr(arguments, name):
            return found[0]
        flag = f"--{name.replace('_', '-')}"
        return flag if value in ("True", "...") else f"{flag} {value}"

    return _ARGUMENT.sub(option, " ".join(str(error).split()))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="keras-roots",
        description="Convolutional networks with hierarchical filter groups, for Keras 3.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo.add(commands)
    cost.add(commands)
    plan.add(commands)
    reproduce.add(commands)
    arrays.add(commands)
    evaluate.add(commands)
    sensitivity.add(commands)
    analyze.add(commands)
    predict.add(commands)
    export.add(commands)
    compress.add(commands)
    lowerings.add(commands)
    benchmark.add(commands)
    return parser
