import subprocess
import sys

import pytest

import keras_roots
from keras_roots.cli import main


def test_cost_prints_the_table(capsys):
    assert main(["cost", "resnet50", "--root", "16"]) == 0
    printed = capsys.readouterr().out
    expected = keras_roots.cost(keras_roots.RootResNet50(root=16))
    assert printed.strip() == str(expected)
    assert "2,434,580,480" in printed.splitlines()[-1]


def test_cost_under_the_papers_convention(capsys):
    assert main(["cost", "nin", "--root", "tree-4", "--convention", "paper"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["331,082", "115,434,890"]


def test_cost_of_other_sizes(capsys):
    arguments = ["--root", "2,1,1,1", "--image-size", "64", "--classes", "5"]
    assert main(["cost", "resnet50", *arguments]) == 0
    model = keras_roots.RootResNet50(root=(2, 1, 1, 1), input_shape=(64, 64, 3), classes=5)
    assert capsys.readouterr().out.strip() == str(keras_roots.cost(model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "resnet51"], "Did you mean 'resnet50'"),
        (["cost", "nin", "--root", "64"], "do not divide the channels of layer 'conv2_1_conv'"),
        (["cost", "nin", "--classes", "0"], "classes as a positive integer"),
        (["cost", "nin", "--image-size", "2"], "8x8 pixels or more"),
        (["demo", "--data-dir", "somewhere"], "data_dir is for cifar10 only"),
        (["demo", "--dataset", "cifar10", "--data-dir", "missing"], "no data folder 'missing'"),
        (["demo", "--root", "1"], "root=2 or more"),
        (["benchmark", "train-step", "vgg"], "Unknown model 'vgg'"),
        (["benchmark", "train-step", "nin", "--rounds", "0"], "rounds"),
        (["benchmark", "train-step", "nin", "--batch-size", "0"], "batch_size"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("keras-roots: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("3", "power of two"),
        ("0", "at least 1"),
        ("-4", "at least 1"),
        ("16,0", "at least 1"),
        ("sixteen", "expected 16, column-8"),
        ("16,x", "expected 16, column-8"),
        ("ring-4", "expected 16, column-8"),
    ],
)
def test_a_root_that_is_none(root, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["cost", "nin", f"--root={root}"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_results_folder_that_is_not_empty_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_interrupted(monkeypatch, capsys):
    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_roots.demo.run", interrupt)
    assert main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_export_that_is_wrong_is_exit_code_1(monkeypatch, capsys):
    def fail(**_):
        raise RuntimeError("the outputs differ")

    monkeypatch.setattr("keras_roots.demo.run", fail)
    assert main(["demo"]) == 1
    assert "the outputs differ" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["demo"], ["cost"], ["benchmark"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    assert "usage: keras-roots" in capsys.readouterr().out


def test_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "keras_roots", "cost", "nope"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "Unknown model 'nope'" in result.stderr
    assert "Traceback" not in result.stderr
