"""What an installation and an import bring with them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import keras_roots
from tests import processes

ROOT = Path(keras_roots.__file__).parents[1]


def test_what_an_import_brings():
    """In a process of its own: first what comes with it, then what comes when it is touched."""
    processes.python("""
import sys
import keras
before = set(sys.modules)
import keras_roots
added = {name for name in set(sys.modules) - before if name.partition(".")[0] != "keras_roots"}
assert not added, added

import importlib
import pkgutil
import types
eager = {name.split(".")[1] for name in sys.modules if name.startswith("keras_roots.")}
lazy = "analysis", "benchmark", "compression", "export", "planning", "sweep", "training"
assert eager.isdisjoint(lazy), eager
assert set(lazy) <= set(dir(keras_roots))
for name in lazy:
    module = getattr(keras_roots, name)
    assert isinstance(module, types.ModuleType), name
    assert module is sys.modules[f"keras_roots.{name}"]
try:
    keras_roots.nothing
except AttributeError as error:
    assert str(error) == "module 'keras_roots' has no attribute 'nothing'"
else:
    raise AssertionError

# Functions that are called like modules stay functions.
import keras_roots.cost, keras_roots.rootify

def check():
    for name in ("cost", "plan", "rootify"):
        function = getattr(keras_roots, name)
        assert isinstance(function, types.FunctionType) and function.__name__ == name, name

check()
names = [module.name for module in pkgutil.walk_packages(keras_roots.__path__, "keras_roots.")]
assert "keras_roots.cost" in names and "keras_roots.rootify" in names
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
check()
""")


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
