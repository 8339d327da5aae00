"""`keras-roots`: each command parses its arguments and makes one library call.

Exit codes: 0 done, 1 a result that is not right, 2 a mistake in the arguments
or in what they name, 130 interrupted.
"""

import argparse
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
        print(f"keras-roots: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"keras-roots: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keras-roots: interrupted; files already written are whole", file=sys.stderr)
        return 130


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
