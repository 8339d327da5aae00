import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_roots
from keras_roots.training import program
from tests import sample_images

ROOT = Path(keras_roots.__file__).parents[1]


def run(*arguments, example="train_digits.py"):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / example, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--root=3", "power of two"),
        pytest.param("--output=missing/digits.keras", "existing folder", marks=pytest.mark.slow),
    ],
)
def test_a_mistake_is_exit_code_2_without_a_traceback(flag, message):
    result = run(flag)
    assert result.returncode == 2
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_train_digits(tmp_path):
    path = tmp_path / "digits.keras"
    result = run("--epochs=1", f"--output={path}")
    assert result.returncode == 0, result.stderr
    assert keras.models.load_model(path).output_shape == (None, 10)


@pytest.mark.slow
def test_rootify_application_that_has_nothing_to_group():
    result = run("--network=MobileNet", "--root=2", example="rootify_application.py")
    assert result.returncode == 2
    assert "nothing to group" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_rootify_application(tmp_path):
    path = tmp_path / "rooted.keras"
    arguments = ["--network=EfficientNetV2B0", "--root=8", "--keep=block1a_*", f"--output={path}"]
    result = run(*arguments, example="rootify_application.py")
    assert result.returncode == 0, result.stderr
    assert "block2a_expand_conv" in result.stdout
    assert keras.models.load_model(path).get_layer("block2a_expand_conv").groups > 1


CONFIGS = ROOT / "examples" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_says_what_it_has_reached(name):
    config = program.load(name, CONFIGS, NAMES)
    network = keras_roots.models.network(config.model)
    assert len(config.factory_options().keys() - network.options.keys()) == 0
    assert config.reached.startswith(("not measured", "measured"))
    documentation = (CONFIGS / f"{name}.py").read_text()
    assert f"--config={name}" in documentation or "train_cifar10.py" in documentation
    assert "\nReached:" in documentation


def test_configurations_that_are_not_there(tmp_path):
    for name, message in (
        ("resnet51", "no configuration 'resnet51'.*googlenet_root8"),
        ("../configs/resnet50_root16", "no configuration"),
        (str(tmp_path / "config.json"), "no configuration file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            program.load(name, CONFIGS, NAMES)
    (tmp_path / "config.json").write_text('{"epochs": -1}')
    with pytest.raises(ValueError, match="config.json' is no configuration: Expected epochs"):
        program.load(str(tmp_path / "config.json"), CONFIGS, NAMES)


def test_a_training_program_takes_every_field_as_a_flag(tmp_path):
    data = sample_images.digit_folders(tmp_path / "digits", train=4, validation=2)
    flags = ("--dataset=folders", "--classes=3", "--batch_size=6", f"--data_dir={data}")
    flags += ("--epochs=8", "--mean=60,60,60", "--nomirror", "--schedule=inverse", "--root=4,2")
    workdir = tmp_path / "run"
    result = run(*flags, f"--workdir={workdir}", "--dry_run", example="train_cifar10.py")
    assert result.returncode == 0, result.stderr
    assert "12 images to train on, 6 held out" in result.stdout
    assert "Updates: 16 (2.0 an epoch) of 6 images" in result.stdout
    assert "inverse" in result.stdout
    assert "nin_degrees-4-2" in result.stdout
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param(
            "--mean=1,a,2",
            "Expected --mean as numbers separated by commas. Received: '1,a,2'",
            marks=pytest.mark.slow,
        ),
        ("--epoch=3", "Unknown command line flag 'epoch'. Did you mean: epochs ?"),
    ],
)
def test_a_mistake_to_a_training_program_is_one_line_and_exit_code_2(tmp_path, flag, message):
    flags = ("--data_dir=missing", f"--workdir={tmp_path / 'run'}", flag)
    result = run(*flags, example="train_imagenet.py")
    assert result.returncode == 2
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("train_imagenet.py: ")
    assert message in line
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_help_is_no_mistake():
    result = run("--help", example="train_imagenet.py")
    assert result.returncode == 0
    for part in ("--strategy: <none|mirrored|multi_worker>", "export TF_CONFIG", "Exit codes"):
        assert part in result.stdout


@pytest.mark.slow
def test_compress_digits(tmp_path):
    arguments = [f"--output={tmp_path}", "--examples=64", "--epochs=1", "--tuning_epochs=1"]
    result = run(*arguments, "--nosweep", example="compress_digits.py")
    assert result.returncode == 0, result.stderr
    assert "root-8   pruned, clustered  int8, QAT" in result.stdout
    assert (tmp_path / "compressed" / "results.png").exists()
    mistaken = run(f"--output={tmp_path}", "--sparsity=2", example="compress_digits.py")
    assert mistaken.returncode == 2
    assert "Expected a sparsity above 0 and below 1" in mistaken.stdout + mistaken.stderr
    assert "Traceback" not in mistaken.stderr
