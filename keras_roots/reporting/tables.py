"""A table as plain text, as Markdown, and as CSV."""

import csv
import dataclasses
import io
from collections.abc import Sequence


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
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.header)
        for row in self._all_rows():
            writer.writerow([*row[: self.left], *map(_plain_number, row[self.left :])])
        return file.getvalue()


def _plain_number(cell: str) -> str:
    plain = cell.replace(",", "")
    try:
        float(plain)
    except ValueError:
        return cell
    return plain
