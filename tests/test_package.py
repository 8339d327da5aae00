"""What an installation and an import bring with them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import keras_roots

ROOT = Path(keras_roots.__file__).parents[1]


def test_import_adds_this_package_only():
    program = """
import sys
import keras
before = set(sys.modules)
import keras_roots
added = {name for name in set(sys.modules) - before if name.partition(".")[0] != "keras_roots"}
sys.exit(", ".join(sorted(added)) or 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_exist():
    assert all(hasattr(keras_roots, name) for name in keras_roots.__all__)
    assert len(keras_roots.__all__) == len(set(keras_roots.__all__))


@pytest.mark.slow
def test_the_wheel_holds_the_whole_package(tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", tmp_path, ROOT),
        ],
        check=True,
    )
    (wheel,) = tmp_path.iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "keras_roots").rglob("*.py")}
    assert sources <= names
    assert "keras_roots/py.typed" in names
    assert not any(name.startswith(("tests", "examples")) for name in names)
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert b"keras-roots = keras_roots.cli:main" in zipfile.ZipFile(wheel).read(entry_points)
