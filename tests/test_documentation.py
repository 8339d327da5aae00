"""What README.md and docs/ say is true: Python runs, command lines parse, names and options exist.

The same for the command lines in the docstrings of the examples.
"""

import argparse
import ast
import contextlib
import inspect
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from absl import app, flags
from absl.testing import flagsaver

import keras_roots
from keras_roots import cli
from keras_roots.sweep.experiment import parsed_networks
from keras_roots.training import program
from keras_roots.training.flags import overlaid
from tests import processes, sample_images

ROOT = Path(keras_roots.__file__).parents[1]
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
CONFIGS = ROOT / "examples" / "configs"
PHOTO = "examples/predict_photo.py"  # The only program of ours without absl's flags.

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(r"(\w+=\w+ )?(keras-roots|make|python examples/\S+) ")
_CONTINUED = r"(?:.*\\\n)*.*"
_PROMPTED = re.compile(rf"^\$ ({_CONTINUED})", re.MULTILINE)
_IN_DOCSTRING = re.compile(rf"^ *(?:Command: +)?({_COMMAND.pattern}{_CONTINUED})", re.MULTILINE)
# How prose abbreviates a command line, and what it leaves out.
_ABBREVIATED = {"benchmark ": "keras-roots ", "ARGS=": "make demo "}
_NAMES_ONLY = re.compile(r"keras-roots (benchmark )?[\w-]+")


def line_at(text, offset):
    return text.count("\n", 0, offset) + 1


def fenced(language):
    """(page:line, text) of each block of a language."""
    for page, text in PAGES.items():
        for block in _FENCED.finditer(text):
            if block[1] == language:
                yield f"{page}:{line_at(text, block.start(2))}", block[2]


def inline():
    """(page:line, text) of what stands in backquotes, brought to one line."""
    for page, text in PAGES.items():
        prose = _FENCED.sub(lambda block: "\n" * block[0].count("\n"), text)
        for span in _INLINE.finditer(prose):
            yield f"{page}:{line_at(prose, span.start())}", " ".join(span[1].split())


def command_lines():
    """(page:line, script) of what a reader would paste into a shell."""
    yield from fenced("sh")
    for place, text in fenced("console"):
        yield from ((place, prompted) for prompted in _PROMPTED.findall(text))
    for path in EXAMPLES:
        documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        yield from ((path.name, found[1]) for found in _IN_DOCSTRING.finditer(documentation))
    before = ""
    for place, span in inline():
        for start, missing in _ABBREVIATED.items():
            span = missing + span if span.startswith(start) else span
        if span.startswith("... "):  # The command before, with other options.
            yield place, before + span.removeprefix("...")
        elif _COMMAND.match(f"{span} "):
            before = span.removesuffix(" ...")
            yield place, f"{before} --help" if _NAMES_ONLY.fullmatch(before) else before


def cases(pairs):
    return [pytest.param(value, id=place) for place, value in pairs]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a script with programs that only print their names and arguments; returns these."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("keras-roots", "make", "python"):
        (folder / name).write_text("""#!/bin/sh\nprintf '%s\\n' "${0##*/}" "$@" ''\n""")
        (folder / name).chmod(0o755)

    def run(script):
        found = subprocess.run(
            ["/bin/sh", "-euc", script],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return [call.split("\n") for call in found.stdout.removesuffix("\n\n").split("\n\n")]

    return run


@contextlib.contextmanager
def flags_of(example):
    """absl's flags with those that a program defines before it would start; removed at the end."""
    with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(example)])
        patch.setattr(app, "run", lambda main, **_: None)
        runpy.run_path(str(ROOT / example), run_name="__main__")
        yield flags.FLAGS


def understood(program_name, arguments):
    """Raises unless a program takes the arguments; does nothing that they ask for."""
    if program_name == "keras-roots":
        cli._parser().parse_args(arguments)
    elif program_name == "make":
        target, *settings = arguments
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        for setting in settings:
            assert target == "demo"
            understood("keras-roots", ["demo", *shlex.split(setting.removeprefix("ARGS="))])
    else:
        example, *arguments = arguments
        with flags_of(example) as given:
            assert given([example, *arguments]) == [example]
            if "config" in given:
                names = [path.stem for path in CONFIGS.glob("*.py")]
                overlaid(program.load(given["config"].value, CONFIGS, names))
            if "networks" in given:
                assert parsed_networks(given["networks"].value)


@pytest.mark.parametrize("script", cases(command_lines()))
def test_command_lines_are_understood(script, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, *arguments in shell(script):
        if arguments[-1:] == ["--help"]:
            with pytest.raises(SystemExit, match="^0$"):
                understood(name, arguments)
        elif arguments[:1] == [PHOTO]:
            monkeypatch.setattr(sys, "argv", arguments)
            # 2 because there are no such files; of wrong arguments it exits with its docstring.
            with pytest.raises(SystemExit, match="^2$"):
                runpy.run_path(str(ROOT / PHOTO), run_name="__main__")
        else:
            understood(name, arguments)


@pytest.fixture(scope="module")
def options():
    """All options of all programs."""

    def of_parser(parser):
        for action in parser._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    yield from of_parser(each)

    found = set(of_parser(cli._parser()))
    for path in (ROOT / "examples").glob("*.py"):
        if path != ROOT / PHOTO:
            with flags_of(path) as defined:
                found |= {f"--{name}" for name in defined}
    return found


def test_options_exist(options):
    unknown = {
        f"{place}: {word}"
        for place, span in inline()
        if span.startswith("--")
        for word in re.findall(r"--\w[\w-]*", span)
        if word not in options
    }
    assert not unknown


@pytest.mark.parametrize(
    "code", cases((place, span) for place, span in inline() if span.startswith("keras_roots."))
)
def test_names_and_arguments_exist(code):
    """Those of the public API, which are there without another import."""

    def resolved(node):
        if isinstance(node, ast.Name):
            return keras_roots
        assert isinstance(node, ast.Attribute)
        if isinstance(node.value, ast.Name):
            assert node.attr in keras_roots.__all__
        return getattr(resolved(node.value), node.attr)

    node = ast.parse(code, mode="eval").body
    if isinstance(node, ast.Call):
        named = {argument.arg: argument.value for argument in node.keywords}
        inspect.signature(resolved(node.func)).bind(*node.args, **named)
    else:
        resolved(node)


def files_of_deployment(folder):
    """What its blocks read: a model, photographs, and the same model as StableHLO."""
    sample_images.photograph_folders(folder, classes=1, train=2, validation=0)
    model = keras_roots.RootNIN(root=8, input_shape=(128, 128, 3))
    model.save(folder / "model.keras")
    images = keras_roots.export.calibration.load_images(folder / "train", (128, 128, 3), 2)
    keras_roots.export.export_stablehlo(model, folder / "model.stablehlo", images, batch=2)


FILES = {"deployment.md": files_of_deployment}


@pytest.mark.parametrize("page", sorted({place.split(":")[0] for place, _ in fenced("python")}))
def test_python_runs(page, tmp_path):
    """The blocks of a page one after the other in a fresh interpreter, as a reader would."""
    FILES.get(page, lambda _: None)(tmp_path)
    lines = [""] * (PAGES[page].count("\n") + 1)  # Each is where it stands in the page.
    for place, block in fenced("python"):
        name, first = place.split(":")
        if name == page:
            for number, line in enumerate(block.splitlines(), int(first) - 1):
                lines[number] = line
    processes.python("\n".join(lines), cwd=tmp_path, PYTHONPATH=str(ROOT))


def test_every_block_is_in_a_language_that_is_tested():
    languages = {block[1] for text in PAGES.values() for block in _FENCED.finditer(text)}
    assert languages == {"console", "python", "sh"}
    # No fence was missed.
    assert all(
        len(re.findall("^ *```", text, re.MULTILINE)) == 2 * len(_FENCED.findall(text))
        for text in PAGES.values()
    )
