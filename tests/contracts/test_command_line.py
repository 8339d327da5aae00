"""Scripts that call the commands go on working: their options, and what they exit with."""

import pytest

from keras_roots.cli import main
from tests.contracts import command_line, frozen


def test_commands_and_their_options():
    frozen.check(command_line.COMMANDS, command_line.commands(), "command_line")


def test_flags_of_the_examples():
    frozen.check(command_line.FLAGS, command_line.flags_of_examples(), "command_line")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "cost",
        "demo",
        "plan",
        "reproduce",
        "export",
        "compress",
        "benchmark",
        "benchmark networks",
    ],
)
def test_help_is_exit_code_0(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--help"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: keras-roots {command}".rstrip())


def test_done_is_exit_code_0(capsys):
    assert main(["cost", "nin", "--by", "total", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("972658,222486528")


def test_a_result_that_is_not_right_is_exit_code_1(tmp_path, capsys):
    """A file that rounds its activations to 8 bits cannot agree with the model so closely."""
    output = tmp_path / "a.tflite"
    options = ["--precision", "dynamic", "--tolerance", "1e-9", "--verification-images", "1"]
    assert main(["export", "nin", "--root", "8", *options, "-o", str(output)]) == 1
    *_, last, end = capsys.readouterr().err.split("\n")
    assert (last.startswith("keras-roots: "), end) == (True, "")
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["benchmark"],
        ["benchmark", "speed"],
        ["cost"],
        ["cost", "nin", "--color", "red"],
        ["cost", "nin", "--root", "3"],
        ["cost", "nin", "--root", "none"],
        ["cost", "nin", "--image-size", "large"],
        ["cost", "nin", "--format", "html"],
        ["export", "nin"],
    ],
)
def test_a_command_line_that_cannot_be_parsed_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "--help" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        "cost resnet51",
        "cost missing.keras",
        "cost nin --root 64",
        "cost nin --set geometry=szegedy",
        "plan nin --budget macs=much",
        "plan missing.keras --budget macs=0.5",
        "reproduce table9",
        "arrays mnist folder",
        "evaluate missing.keras --data cifar10",
        "evaluate missing.tflite --data missing",
        "predict missing.keras photo.jpg",
        "sensitivity missing.keras --data missing",
        "analyze missing.keras --data missing --output found",
        "compress missing.keras --prune 0.5 --data missing -o found",
        "export nin -o file.bin",
        "export missing.keras -o file.tflite",
        "lowerings missing.keras",
        "demo --root 64",
        "benchmark steps vgg",
        "benchmark operators missing.tflite",
        "benchmark plot missing.csv -o a.png",
        "benchmark figure missing.json -o a.png",
        "benchmark compare missing.json missing.json",
        "benchmark networks nin --runtime abacus -o a.json",
        "benchmark input missing",
    ],
)
def test_what_is_not_there_is_exit_code_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    one_line(capsys)
    assert not list(tmp_path.iterdir())


def one_line(capsys) -> str:
    """The one line on the standard error; nothing was printed as a result."""
    captured = capsys.readouterr()
    assert captured.err.startswith("keras-roots: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    return captured.err
