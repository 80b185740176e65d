"""Rows of a file as calls take them: of one table, so many and so large at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from convex_memory.limits import TRANSFER_BYTES_MAX, TRANSFER_ROWS_MAX
from convex_memory.moving.export_file import RowLine


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table that stand on consecutive lines.

    Attributes:
        table: The table.
        first_line: The line of the first row.
        texts: The rows.
        notes: What is noted of some of them, by position.
    """

    table: str
    first_line: int
    texts: list[str]
    notes: Mapping[int, str] = field(default_factory=dict)

    @property
    def last_line(self) -> int:
        """The line of the last row."""
        return self.first_line + len(self.texts) - 1


def batches(rows: Iterator[RowLine]) -> Iterator[Batch]:
    """Gather rows, in their order, into what one call takes."""
    table, first_line, size = "", 0, 0
    texts: list[str] = []
    notes: dict[int, str] = {}
    for row in rows:
        row_size = len(row.text) + len(row.notes or "")
        is_full = len(texts) >= TRANSFER_ROWS_MAX or size + row_size > TRANSFER_BYTES_MAX
        goes_on = row.table == table and row.line == first_line + len(texts)
        if texts and (is_full or not goes_on):
            yield Batch(table, first_line, texts, notes)
            texts, notes, size = [], {}, 0
        if not texts:
            table, first_line = row.table, row.line
        if row.notes is not None:
            notes[len(texts)] = row.notes
        texts.append(row.text)
        size += row_size
    if texts:
        yield Batch(table, first_line, texts, notes)
