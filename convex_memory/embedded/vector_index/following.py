"""Keeping indexes in memory in step with the rows, for every thread of a process.

SQLite is the only truth. New rows are known by their sequence, which is never used twice; rows
that were changed or deleted are named in `vector_changes`, which triggers write. So two numbers
say how far a transaction sees, its `Moment`, and a reader that sees further than the index
brings it on. A reader that sees less, because its transaction began earlier, takes the index
as it is and reads the few rows that differ from its own transaction: an answer is always that
of the transaction which asks.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from convex_memory.embedded.tables import Table
from convex_memory.embedded.vector_index.changes import CHANGES_KEPT
from convex_memory.embedded.vector_index.columns import (
    CODED_FIELDS,
    COLUMNS_MAX,
    can_be_coded,
    read_document,
)
from convex_memory.embedded.vector_index.saving import Saved, Saving, is_due, saved
from convex_memory.embedded.vector_index.scope import Scope
from convex_memory.embedded.vector_index.view import RECENT_KEPT, Moment, Rows, View

_BLOCK_ROWS: Final = 1024
_DIFFERENT_MAX: Final = 1024
"""Rows that one search may read besides the index; with more, it reads its own."""
_GONE_PART: Final = 4
"""An index with more than one in so many rows gone is read anew."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An index as one transaction sees it.

    Attributes:
        view: The index, at a moment that may be another one.
        upto: Rows of a higher sequence are not seen.
        different: Sequences of the rows to read from the transaction itself, in place of what
            the index says of them.
    """

    view: View
    upto: int
    different: tuple[int, ...]


class FollowedIndex:
    """One index and the moment it shows, for every thread of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: Rows | None = None
        self._view: View | None = None
        self._is_due = False
        self._saving = Saving(self._take)

    def seen(
        self,
        connection: sqlite3.Connection,
        scope: Scope,
        dimension: int,
        fields: Sequence[str] = (),
        *,
        keep: bool,
    ) -> Seen:
        """Return the index as the connection's transaction sees it.

        Args:
            connection: In a transaction.
            scope: Which index.
            dimension: The length of the vectors that can be compared.
            fields: Members of the documents that are better coded.
            keep: Whether other transactions may use what is read: never what this one wrote,
                for it may be rolled back.
        """
        source = _Source(connection, scope)
        moment = source.moment()
        # Outside a transaction, what is read next may be of a later moment.
        keep = keep and connection.in_transaction
        view = self._view_of(dimension)
        if view is None or view.moment != moment or self._lacks(fields, view):
            with self._lock:
                view = self._view_of(dimension)
                if keep and (view is None or view.moment <= moment):
                    view = self._brought_to(moment, source, dimension, fields)
        if view is not None:
            rows = self._rows
            if self._is_due and keep and rows is not None:
                self._saving.begin(connection, scope, view, rows.token)
            if view.moment == moment:
                return Seen(view, moment.inserted, ())
            different = source.difference(view, moment)
            if different is not None:
                return Seen(view, min(moment.inserted, view.moment.inserted), different)
        _, own = _loaded(moment, source, dimension, CODED_FIELDS)
        return Seen(own, moment.inserted, ())

    def finish(self) -> None:
        """Wait for what is being written beside the work."""
        self._saving.finish()

    def _view_of(self, dimension: int) -> View | None:
        view = self._view
        return view if view is not None and view.codes[0].shape[1] == dimension else None

    def _lacks(self, fields: Sequence[str], view: View) -> bool:
        missing = [name for name in fields if name not in view.columns and can_be_coded(name)]
        return bool(missing) and len(view.columns) < COLUMNS_MAX

    def _brought_to(
        self, moment: Moment, source: _Source, dimension: int, fields: Sequence[str]
    ) -> View:
        # Out of their place meanwhile: what a failure leaves half done is not used again.
        view, self._view = self._view_of(dimension), None
        rows, self._rows = self._rows, None
        if view is not None and rows is not None and view.moment != moment:
            view = _moved_on(view, rows, moment, source)
        if view is None or rows is None:
            names = CODED_FIELDS if rows is None else rows.names
            rows, view = _loaded(moment, source, dimension, names)
        if self._lacks(fields, view):
            for name in fields:
                if self._lacks((name,), view):
                    rows.add_column(name, source.documents())
                    view = rows.view(moment, view.changes, view.changes_after)
        self._rows, self._view = rows, view
        self._is_due = is_due(rows)
        return view

    def _take(self, kept: Saved) -> None:
        """Go on with what was written to the file: its codes need no memory of our own."""
        with self._lock:
            if self._view_of(kept.rows.dimension) is not None:
                self._rows, self._view = kept.rows, kept.view()
                self._is_due = False


def _loaded(
    moment: Moment, source: _Source, dimension: int, names: Sequence[str]
) -> tuple[Rows, View]:
    """Return an index as one transaction sees it: out of its file, or of the rows themselves."""
    kept = saved(source.connection, source.scope, dimension)
    if kept is not None:
        view = _moved_on(kept.view(), kept.rows, moment, source)
        if view is not None:
            return kept.rows, view
    rows = source.read_all(dimension, names)
    return rows, rows.view(moment, (), moment.changed)


def _moved_on(view: View, rows: Rows, moment: Moment, source: _Source) -> View | None:
    """Bring rows from a view's moment to a later one; None when they are better read anew."""
    changes = source.changes_after(view.moment.changed, moment)
    if changes is None or len(changes) > max(_BLOCK_ROWS, rows.size // _GONE_PART):
        return None
    changed = sorted({sequence for _, sequence in changes if sequence <= view.moment.inserted})
    if changed:
        rows.drop(changed)
        for block in source.rows_of(changed):
            rows.append(*block)
    if rows.gone > max(_BLOCK_ROWS, rows.size // _GONE_PART):
        return None
    for block in source.rows_after(view.moment.inserted):
        rows.append(*block)
    kept = (*view.changes, *changes)
    after = view.changes_after
    if len(kept) > RECENT_KEPT:
        after = kept[-RECENT_KEPT - 1][0]
        kept = kept[-RECENT_KEPT:]
    return rows.view(moment, kept, after)


_Block = tuple[list[int], list[bytes], list[Any]]


class _Source:
    """The rows of an index, in one transaction."""

    def __init__(self, connection: sqlite3.Connection, scope: Scope) -> None:
        self.connection = connection
        self.scope = scope
        self._table: Table = scope.table
        self._select = (
            f'SELECT "_sequence", "embedding", "{scope.document}" FROM "{scope.table.name}" '
            f'WHERE "{scope.key}" = ?'
        )

    def moment(self) -> Moment:
        """Return how far the transaction sees."""
        changed, inserted = (
            self.connection.execute(f"SELECT max({number}) FROM {table}").fetchone()[0] or 0
            for number, table in (("position", "vector_changes"), ("_sequence", self._table.name))
        )
        return Moment(changed, inserted)

    def read_all(self, dimension: int, names: Sequence[str]) -> Rows:
        """Return every row."""
        # The codes of a large index are copied at no time: there is room for all of them.
        (room,) = self.connection.execute(
            f'SELECT count(*) FROM "{self._table.name}" WHERE "{self.scope.key}" = ?',
            (self.scope.name,),
        ).fetchone()
        rows = Rows(dimension, names, room)
        for block in self._blocks(f'{self._select} ORDER BY "_sequence"', ()):
            rows.append(*block)
        return rows

    def rows_after(self, sequence: int) -> Iterator[_Block]:
        """Yield the rows of a higher sequence."""
        return self._blocks(f'{self._select} AND "_sequence" > ? ORDER BY "_sequence"', (sequence,))

    def rows_of(self, sequences: Sequence[int]) -> Iterator[_Block]:
        """Yield those rows that are there."""
        return self._blocks(
            f'{self._select} AND "_sequence" IN (SELECT value FROM json_each(?)) '
            'ORDER BY "_sequence"',
            (json.dumps(sequences),),
        )

    def documents(self) -> dict[int, Any]:
        """Return the document of each row by its sequence."""
        rows = self.connection.execute(
            f'SELECT "_sequence", "{self.scope.document}" FROM "{self._table.name}" '
            f'WHERE "{self.scope.key}" = ?',
            (self.scope.name,),
        )
        return {sequence: read_document(text) for sequence, text in rows}

    def changes_after(self, position: int, moment: Moment) -> list[tuple[int, int]] | None:
        """Return (position, sequence) of later changes; None when they are not all there."""
        if position >= moment.changed:
            return []
        oldest = self.connection.execute("SELECT min(position) FROM vector_changes").fetchone()[0]
        if oldest is None or oldest > position + 1:
            return None
        rows = self.connection.execute(
            "SELECT position, sequence FROM vector_changes "
            "WHERE position > ? AND table_number = ? AND name = ? ORDER BY position LIMIT ?",
            (position, self._table.number, self.scope.name, CHANGES_KEPT),
        )
        return rows.fetchall()

    def difference(self, view: View, moment: Moment) -> tuple[int, ...] | None:
        """Return the rows that a view and a transaction may see differently; None if many."""
        if view.moment < moment:
            changes = self.changes_after(view.moment.changed, moment)
            if changes is None:
                return None
            newer = self.connection.execute(
                f'SELECT "_sequence" FROM "{self._table.name}" '
                f'WHERE "{self.scope.key}" = ? AND "_sequence" > ? LIMIT ?',
                (self.scope.name, view.moment.inserted, _DIFFERENT_MAX + 1),
            )
            different = {sequence for _, sequence in changes} | {row[0] for row in newer}
        elif moment.changed >= view.changes_after:
            different = {
                sequence for position, sequence in view.changes if position > moment.changed
            }
        else:
            return None
        return tuple(sorted(different)) if len(different) <= _DIFFERENT_MAX else None

    def _blocks(self, sql: str, bound: tuple[Any, ...]) -> Iterator[_Block]:
        cursor = self.connection.execute(sql, (self.scope.name, *bound))
        while rows := cursor.fetchmany(_BLOCK_ROWS):
            yield (
                [row[0] for row in rows],
                [row[1] for row in rows],
                [read_document(row[2]) for row in rows],
            )
