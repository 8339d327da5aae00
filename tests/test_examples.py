import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_roots

ROOT = Path(keras_roots.__file__).parents[1]


def run(*arguments, example="train_digits.py"):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / example, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_mistake_is_exit_code_2_without_a_traceback():
    for argument, message in {
        "--root=3": "power of two",
        "--output=missing/digits.keras": "existing folder",
    }.items():
        result = run(argument)
        assert result.returncode == 2
        assert message in result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_train_digits(tmp_path):
    path = tmp_path / "digits.keras"
    result = run("--epochs=1", f"--output={path}")
    assert result.returncode == 0, result.stderr
    assert keras.models.load_model(path).output_shape == (None, 10)


def test_rootify_application(tmp_path):
    path = tmp_path / "rooted.keras"
    result = run("--network=MobileNet", "--root=2", example="rootify_application.py")
    assert result.returncode == 2
    assert "nothing to group" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    arguments = ["--network=EfficientNetV2B0", "--root=8", "--keep=block1a_*", f"--output={path}"]
    result = run(*arguments, example="rootify_application.py")
    assert result.returncode == 0, result.stderr
    assert "block2a_expand_conv" in result.stdout
    assert keras.models.load_model(path).get_layer("block2a_expand_conv").groups > 1
