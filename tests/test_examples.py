import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_roots

ROOT = Path(keras_roots.__file__).parents[1]


def run(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "train_digits.py", *arguments],
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
