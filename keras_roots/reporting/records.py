"""Rows of a file as dataclasses of numbers and text: checked when they are read."""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from keras_roots.reporting.tables import read_csv, write_csv

_Row = TypeVar("_Row")


def write_rows(path: str | os.PathLike, kind: type, rows: Sequence[Any]) -> None:
    """Writes dataclasses of one kind as CSV, a column for each attribute."""
    names = [field.name for field in dataclasses.fields(kind)]
    write_csv(path, [dataclasses.asdict(row) for row in rows], names)


def read_rows(path: str | os.PathLike, kind: type[_Row], author: str) -> list[_Row]:
    """What `write_rows` wrote; nothing, if there is no such file.

    Args:
        path: the file.
        kind: the dataclass, of attributes that are int, float or str, or may be None.
        author: who writes such files, for the error.

    Raises:
        ValueError: it is another kind of file.
    """
    if not Path(path).is_file():
        return []
    kinds = typing.get_type_hints(kind)
    try:
        return [
            kind(**{name: _of_text(text, kinds[name]) for name, text in row.items()})
            for row in read_csv(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is not as {author} wrote it: {error!r}") from None


def _of_text(text: str | None, kind: Any) -> Any:
    known, *others = _kinds(kind)
    if text == "" and types.NoneType in others:
        return None
    if text is None:
        raise ValueError("a row has too few cells")
    return known(text)


def checked(kind: type[_Row], values: Mapping[str, Any], **more: Any) -> _Row:
    """A dataclass of what JSON gave: numbers of 0 or more, and text.

    Args:
        kind: as of `read_rows`.
        values: by attribute; others among them are ignored.
        more: attributes that are of other kinds.

    Raises:
        ValueError: a value is missing, or none of its attribute's kinds.
    """
    found = {}
    for name, wanted in typing.get_type_hints(kind).items():
        if name in more:
            continue
        value, kinds = values.get(name), _kinds(wanted)
        kinds += (int,) if float in kinds else ()
        wrong = name not in values or isinstance(value, bool) or not isinstance(value, kinds)
        if wrong or (isinstance(value, (int, float)) and not 0 <= value < math.inf):
            raise ValueError(f"a record's {name} is {value!r}")
        found[name] = value
    return kind(**found, **more)


def _kinds(kind: Any) -> tuple[type, ...]:
    return typing.get_args(kind) or (kind,)
