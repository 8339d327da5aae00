"""Errors name arguments in the library, and options on the command line."""

import argparse
import ast
import re
from pathlib import Path

import pytest

import keras_roots
from keras_roots.cli import _in_options, main
from keras_roots.reporting.files import refuse_existing

_OF_COMMAND_LINES = {"cli/", "training/program.py", "training/flags.py", "sweep/program.py"}
_OF_TFDS = "--file_format=tfrecord", "tfds build"


def test_errors_of_the_library_speak_of_no_option():
    folder = Path(keras_roots.__file__).parent
    found = []
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if any(name.startswith(each) for each in _OF_COMMAND_LINES):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                said = ast.unparse(node)
                if re.search(r"--[a-z]", said) and not any(each in said for each in _OF_TFDS):
                    found.append(f"{name}: {said}")
    assert found == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("or overwrite=True to replace it.", "or --overwrite to replace it."),
        ("open: give image_size=...", "open: give --image-size"),
        ("open: give image_shape=...", "open: give --image-size"),
        ("only: omit image_size=64", "only: omit --image-size 64"),
        ("is root=32,64, with macs", "is --root 32,64, with macs"),
        ("Received: devices=['gpu']", "Received: --device gpu"),
        ("Give jobs=2, of another function.", "Give jobs=2, of another function."),
        ("'/tmp/my-overwrite=True' and --root=4", "'/tmp/my-overwrite=True' and --root=4"),
    ],
)
def test_arguments_are_options_on_the_command_line(error, expected):
    options = argparse.Namespace(overwrite=False, image_size=None, root=None, device=None)
    assert _in_options(ValueError(error), options) == expected


def test_an_existing_file(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="or overwrite=True to replace it"):
        refuse_existing(path)
    assert main(["export", "nin", "-o", str(path)]) == 2
    assert "Give another name, or --overwrite to replace it." in capsys.readouterr().err
