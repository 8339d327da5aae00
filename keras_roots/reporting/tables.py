"""A table as plain text, as Markdown, and as CSV; and rows of values as CSV."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keras_roots.reporting.files import write_text


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        header: a name for each column.
        rows: as many cells each.
        left: so many columns, from the first, are text and flush left; the
            others are numbers and flush right.
        footer: rows that sum up the others, set off in plain text.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    footer: Sequence[Sequence[str]] = ()

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]], *, left: int = 1) -> "Table":
        """One of a row or more, each of the same cells by the columns' names."""
        return cls(list(rows[0]), [list(row.values()) for row in rows], left)

    def _all_rows(self) -> list[Sequence[str]]:
        return [*self.rows, *self.footer]

    def _padded(self) -> list[list[str]]:
        rows = [self.header, *self._all_rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            [
                cell.ljust(width) if place < self.left else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            for row in rows
        ]

    def text(self) -> str:
        """For a terminal; columns two spaces apart."""
        padded = self._padded()
        rule = "-" * len("  ".join(padded[0]))
        lines = ["  ".join(row).rstrip() for row in padded]
        body = lines[1 : 1 + len(self.rows)]
        footer = [rule, *lines[1 + len(self.rows) :]] if self.footer else []
        return "\n".join([lines[0], rule, *body, *footer])

    def markdown(self) -> str:
        header, *rows = self._padded()
        rule = [
            "-" * (len(cell) + 2) if place < self.left else "-" * (len(cell) + 1) + ":"
            for place, cell in enumerate(header)
        ]
        lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
        return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])

    def csv(self) -> str:
        """As RFC 4180 has it; numbers, of the columns that are numbers, without separators."""
        rows = ([*row[: self.left], *map(_plain_number, row[self.left :])]
                for row in self._all_rows())  # fmt: skip
        return _csv(self.header, rows)


def csv_text(rows: Sequence[Mapping[str, object]], names: Iterable[str] = ()) -> str:
    """Rows of the same columns; None is an empty cell, and a float has all its digits.

    Args:
        rows: values by the columns' names.
        names: the columns; by default those of the first row.
    """
    header = list(names) or list(rows[0])
    return _csv(header, ([row[name] for name in header] for row in rows))


def write_csv(
    path: str | os.PathLike, rows: Sequence[Mapping[str, object]], names: Iterable[str] = ()
) -> None:
    """Writes `csv_text` to a file, whole or not at all."""
    write_text(path, csv_text(rows, names))


def read_csv(path: str | os.PathLike) -> list[dict[str, str]]:
    """The rows of a file, as text by the columns' names; None where a row has too few cells.

    Raises:
        ValueError: it is no such file.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


def _plain_number(cell: str) -> str:
    plain = cell.replace(",", "")
    try:
        float(plain)
    except ValueError:
        return cell
    return plain
