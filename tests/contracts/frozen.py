"""Comparing what is found with what a file of `files/` says."""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

FILES = Path(__file__).parent / "files"


def check(name: str, found: Iterable[str], author: str) -> None:
    """Asserts that a file holds the lines that were found; see `compare`.

    Args:
        name: of the file.
    """
    compare((FILES / name).read_text(encoding="utf-8").splitlines(), found, author)


def compare(expected: list[str], found: Iterable[str], author: str) -> None:
    """Asserts that lines are those that were frozen.

    Args:
        expected, found: lines, without their ends.
        author: the module of this package that writes the file.
    """
    difference = list(difflib.unified_diff(expected, list(found), "frozen", "found", "", "", 0, ""))
    assert not difference, (
        "What users hold has changed. If that is meant, write it down by "
        f"`python -m tests.contracts.{author}` and say so in the commit.\n" + "\n".join(difference)
    )


def write(name: str, lines: Callable[[], Iterable[str]]) -> None:
    """Writes a file, and says where."""
    FILES.mkdir(exist_ok=True)
    text = "".join(f"{line}\n" for line in lines())
    (FILES / name).write_text(text, encoding="utf-8")
    print(f"{FILES / name}: {len(text.splitlines())} lines")
