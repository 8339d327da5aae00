"""The rooms of the package, and who may import from whom."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import keras_roots

PACKAGE = Path(keras_roots.__file__).parent
# Each imports from those before it only, at whatever depth of its code.
FLOORS = (
    *("topology", "requirements", "reporting", "timing", "lowering", "layers", "surgery"),
    *("models", "cost", "paper", "rootify", "data", "training", "export", "classify"),
    *("compression", "benchmark", "planning", "analysis", "sweep", "cli", "__main__"),
)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The room that each import of this package takes from, and what."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_roots"):
            rooms = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            yield from ((room, f"line {node.lineno}: {node.module}") for room in rooms)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, *rooms = alias.name.split(".")
                if package == "keras_roots":  # The whole package has no floor.
                    yield "".join(rooms[:1]), f"line {node.lineno}: {alias.name}"


def test_every_module_stands_in_a_room():
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__init__", "__pycache__", "py"} == set(FLOORS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {
        *("__init__", "__main__", "topology", "requirements")
    }


@pytest.mark.parametrize("room", FLOORS)
def test_imports_go_to_lower_floors_only(room):
    below = FLOORS[: FLOORS.index(room) + 1]
    paths = [PACKAGE / f"{room}.py", *(PACKAGE / room).rglob("*.py")]
    wrong = [
        f"{path.relative_to(PACKAGE)}, {where}"
        for path in paths
        if path.is_file()
        for imported, where in imports(path)
        if imported not in below
    ]
    assert not wrong


# What others use of these, their `__init__` lists. Of those above, it lists what users use.
LISTED = FLOORS[2 : FLOORS.index("classify") + 1]


@pytest.mark.parametrize("room", [room for room in LISTED if room not in ("training", "export")])
def test_a_room_is_used_by_the_names_that_it_lists(room):
    listed = importlib.import_module(f"keras_roots.{room}").__all__
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if room in path.relative_to(PACKAGE).parts or path == PACKAGE / "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(
                f"keras_roots.{room}."
            ):
                names = {alias.name for alias in node.names} - set(listed)
                if names or node.module != f"keras_roots.{room}":
                    wrong.append(f"{path.relative_to(PACKAGE)}, line {node.lineno}")
    assert not wrong
