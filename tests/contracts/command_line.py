"""Commands with their options, and the flags of examples/, as lines of text.

`python -m tests.contracts.command_line` writes files/command-line.txt and files/flags.txt.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from keras_roots import cli
from tests.contracts import frozen

COMMANDS, FLAGS = "command-line.txt", "flags.txt"
EXAMPLES = Path(__file__).parents[2] / "examples"
# Run with each program of examples/ in turn, up to where absl would parse the command line.
_FLAGS_OF_EXAMPLES = """
import pathlib, runpy, sys
from absl import app, flags

class Parsed(Exception):
    pass

def parsed(*_, **__):
    raise Parsed

app.run = parsed
values = flags.FLAGS
common = set(values)
for program in sys.argv[1:]:
    sys.argv = [program]
    try:
        runpy.run_path(program, run_name="__main__")
    except Parsed:
        pass
    for name in sorted(set(values) - common):
        if values.find_module_defining_flag(name) not in (program, "__main__"):
            continue  # Of a library.
        flag = values[name]
        kind = flag.flag_type() + (f" of {'|'.join(flag.parser.enum_values)}" if
                                   hasattr(flag.parser, "enum_values") else "")
        print(f"{pathlib.Path(program).name} --{name}: {kind} = {flag.default!r}")
    for name in set(values) - common:
        delattr(values, name)
"""


def commands() -> list[str]:
    """A line for each argument of each command, sorted."""
    return sorted(_arguments(parser()))


def flags_of_examples() -> list[str]:
    """A line for each flag of each program of examples/, of its own and of Config; sorted.

    Programs that parse no flags have none. It takes a process: absl has one set of flags.
    """
    programs = [str(path) for path in sorted(EXAMPLES.glob("*.py")) if _takes_flags(path)]
    result = subprocess.run(
        [sys.executable, "-c", _FLAGS_OF_EXAMPLES, *programs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return sorted(result.stdout.splitlines())


def _takes_flags(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return "absl" in text or "import program" in text


def parser() -> argparse.ArgumentParser:
    """The parser of `keras-roots`, from the moment that it is to parse something."""
    with mock.patch.object(argparse.ArgumentParser, "parse_args", autospec=True) as parse:
        parse.side_effect = lambda parser, _: _raise(parser)
        try:
            cli.main([])
        except _ParserError as caught:
            return caught.args[0]
    raise AssertionError("keras_roots.cli.main parsed no arguments")


class _ParserError(Exception):
    """Carries a parser out of the program that made it."""


def _raise(parser):
    raise _ParserError(parser)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield parser.prog
    positional = 0
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _arguments(command)
        elif action.option_strings:
            if not isinstance(action, argparse._HelpAction):
                yield f"{parser.prog} {_described(action)}"
        else:
            positional += 1
            yield f"{parser.prog} <{positional}> {_described(action)}"


def _described(action: argparse.Action) -> str:
    name = ", ".join(sorted(action.option_strings, reverse=True)) or action.dest
    parts = [type(action).__name__.strip("_").removesuffix("Action").lower()]
    if action.nargs is not None:
        parts.append(f"nargs={action.nargs}")
    if action.choices is not None:
        parts.append(f"choices={'|'.join(map(str, action.choices))}")
    if action.required and action.option_strings:
        parts.append("required")
    if not any(action.default is none for none in (None, False, argparse.SUPPRESS)):
        parts.append(f"default={action.default}")
    return f"{name}: {', '.join(parts)}"


if __name__ == "__main__":
    frozen.write(COMMANDS, commands)
    frozen.write(FLAGS, flags_of_examples)
