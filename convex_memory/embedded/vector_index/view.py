"""An index in memory: what one moment shows of it, and how it moves on to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from convex_memory.embedded.vector_index.choosing import ColumnView
from convex_memory.embedded.vector_index.columns import Column, Mask
from convex_memory.embedded.vector_index.growing import Growing
from convex_memory.embedded.vector_index.kernel import Codes
from convex_memory.embedded.vector_index.lists import Lists
from convex_memory.embedded.vector_index.quantising import CodedRows, coded
from convex_memory.embedded.vector_index.scoring import Floats, unit_rows

Sequences = NDArray[np.int64]

RECENT_KEPT: Final = 4096
"""Changes that are remembered for readers whose moment is an earlier one."""


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """How far a transaction sees; of two moments, the later one is greater.

    Attributes:
        changed: The highest position of `vector_changes`.
        inserted: The highest sequence in the table: between two changes, it only grows.
    """

    changed: int
    inserted: int


@dataclass(frozen=True, slots=True)
class View:
    """Every row of an index at one moment, and some that are gone. Never changes.

    Attributes:
        moment: The moment.
        sequence: Of each row.
        codes: Of each row, in pieces.
        scale: As in `CodedRows`.
        error: As in `CodedRows`.
        live: Which rows are there; None for all.
        columns: Coded fields by name.
        changes: (position, sequence) of the latest changes, oldest first.
        changes_after: The position after which `changes` names every change.
        has_incomparable: Whether there may be rows without direction or of another length.
        count: How many rows are there.
        lists: How the first piece is arranged, where it is.
    """

    moment: Moment
    sequence: Sequences
    codes: tuple[Codes, ...]
    scale: Floats
    error: Floats
    live: Mask | None
    columns: Mapping[str, ColumnView]
    changes: tuple[tuple[int, int], ...]
    changes_after: int
    has_incomparable: bool
    count: int
    lists: Lists | None = None

    @property
    def size(self) -> int:
        """How many rows it holds, gone ones too."""
        return len(self.sequence)

    @property
    def dimension(self) -> int:
        """The length of the vectors that can be compared."""
        return int(self.codes[0].shape[1])

    def gathered(self, at: NDArray[np.int64]) -> Codes:
        """Return the codes of some rows, given their places in any order."""
        if len(self.codes) == 1:
            return self.codes[0][at]
        base, newer = self.codes
        in_base = at < len(base)
        if in_base.all():
            return base[at]
        codes = np.empty((len(at), self.dimension), dtype=np.int8)
        codes[in_base] = base[at[in_base]]
        codes[~in_base] = newer[at[~in_base] - len(base)]
        return codes


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows that were coded before: their sequences, and as in `CodedRows`."""

    sequence: Sequences
    codes: Codes
    scale: Floats
    error: Floats


class Rows:
    """The rows of an index, as they are read. One thread at a time.

    Args:
        dimension: The length of vectors that can be compared.
        names: The fields to code.
        room: How many rows are expected.

    Attributes:
        gone: How many rows were taken away.
        lists: How the rows of the file are arranged, where they are.
        token: What the file is known by that they are out of; None without one.
    """

    def __init__(self, dimension: int, names: Iterable[str], room: int = 0) -> None:
        self.dimension = dimension
        self.gone = 0
        self.lists: Lists | None = None
        self.token: str | None = None
        self._sequence: Growing[np.int64] = Growing(np.empty(0, dtype=np.int64))
        self._base: Codes | None = None
        self._codes: Growing[np.int8] = Growing(np.empty((0, dimension), dtype=np.int8), room)
        self._scale: Growing[np.float32] = Growing(np.empty(0, dtype=np.float32))
        self._error: Growing[np.float32] = Growing(np.empty(0, dtype=np.float32))
        self._live: Growing[np.bool_] = Growing(np.empty(0, dtype=np.bool_))
        self._columns = {name: Column(name) for name in names}
        self._has_incomparable = False

    @classmethod
    def known(cls, parts: Parts, columns: Iterable[Column], lists: Lists | None) -> Rows:
        """Return rows that were coded before; what is given is not copied."""
        rows = cls(parts.codes.shape[1], ())
        rows._sequence = Growing(parts.sequence)
        rows._base = parts.codes
        rows._scale = Growing(parts.scale)
        rows._error = Growing(parts.error)
        rows._live = Growing(np.ones(len(parts.sequence), dtype=np.bool_))
        rows._columns = {column.name: column for column in columns}
        rows._has_incomparable = not bool(parts.scale.all())
        rows.lists = lists
        return rows

    @property
    def unsaved(self) -> int:
        """How many rows are not as the sidecar has them."""
        return self._codes.size + self.gone

    @property
    def size(self) -> int:
        """How many rows there are, gone ones too."""
        return self._sequence.size

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are coded."""
        return tuple(self._columns)

    def append(
        self, sequences: Sequence[int], blobs: Sequence[bytes], documents: Sequence[Any]
    ) -> None:
        """Add rows.

        Args:
            sequences: Their sequences.
            blobs: Their stored vectors.
            documents: What their coded fields are read from.
        """
        units, comparable = unit_rows(blobs, self.dimension)
        rows = coded(units)
        if not comparable.all():
            self._has_incomparable = True
            rows = _spread(rows, comparable)
        self._sequence.append(np.asarray(sequences, dtype=np.int64))
        self._codes.append(rows.codes)
        self._scale.append(rows.scale)
        self._error.append(rows.error)
        self._live.append(np.ones(len(blobs), dtype=np.bool_))
        for column in self._columns.values():
            column.of_rows.append(np.asarray(column.numbers(documents), dtype=np.int32))

    def drop(self, sequences: Sequence[int]) -> None:
        """Take rows away; those that are not there are fine."""
        live = self._live.view()
        going = live & np.isin(self._sequence.view(), np.asarray(sequences, dtype=np.int64))
        if going.any():
            self.gone += int(going.sum())
            self._live = Growing(live & ~going)

    def add_column(self, name: str, documents: Mapping[int, Any]) -> None:
        """Code one more field, given the document of each row by sequence."""
        column = Column(name)
        of_rows = column.numbers([documents.get(at) for at in self._sequence.view().tolist()])
        column.of_rows.append(np.asarray(of_rows, dtype=np.int32))
        self._columns[name] = column

    def view(self, moment: Moment, changes: tuple[tuple[int, int], ...], after: int) -> View:
        """Return the rows as they are now."""
        codes = self._codes.view()
        return View(
            moment,
            self._sequence.view(),
            (codes,) if self._base is None else (self._base, codes),
            self._scale.view(),
            self._error.view(),
            self._live.view() if self.gone else None,
            {
                name: ColumnView(column, column.of_rows.view())
                for name, column in self._columns.items()
            },
            changes,
            after,
            self._has_incomparable,
            self.size - self.gone,
            self.lists,
        )


def _spread(rows: CodedRows, comparable: Mask) -> CodedRows:
    """Put rows where they belong, among those that cannot be compared."""
    codes = np.zeros((len(comparable), rows.codes.shape[1]), dtype=np.int8)
    scale = np.zeros(len(comparable), dtype=np.float32)
    error = np.zeros(len(comparable), dtype=np.float32)
    codes[comparable], scale[comparable], error[comparable] = rows.codes, rows.scale, rows.error
    return CodedRows(codes, scale, error)
