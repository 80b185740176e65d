"""Rows of the deployment's tables, as one transaction reads and writes them."""

from __future__ import annotations

import base64
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import mul
from time import perf_counter
from typing import Any, Final, Literal

from convex_memory.embedded import embedding_queue, forgetting, search_text
from convex_memory.embedded.rows import Record as Record
from convex_memory.embedded.rows import Row as Row
from convex_memory.embedded.rows import (
    checked_columns,
    column_value,
    decoder,
    insert_statement,
    put_back_statement,
    select_statement,
    update_statement,
)
from convex_memory.embedded.tables import MESSAGES, THREADS, VECTORS, Table
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.values import Value


class _Removed:
    """Marks a field that a patch takes away."""

    def __repr__(self) -> str:
        return "REMOVED"


REMOVED: Final = _Removed()

_CROCKFORD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz"
)


class NeedsWrite(Exception):
    """A read found that it has to write; the engine runs it again on the writer."""


class TakesLong(Exception):
    """A read on an event loop needs more time; the engine runs it again in a thread."""


class Documents:
    """Every table, inside one transaction.

    Args:
        connection: The connection that holds the transaction.
        salt: Eight random bytes of this deployment, part of every `_id`.
        now_ms: The clock, in milliseconds since the epoch.
        create_time: Gives the `_creationTime` of the next new row, in milliseconds.
        writable: Whether this transaction may write; if not, a write raises `NeedsWrite`.
        vectors: The vector indexes of this database, where they outlive the transaction.
        until: When a read has to end, on the clock of `time.perf_counter`; after that, the next
            row raises `TakesLong`.
    """

    __slots__ = ("_create_time", "_salt", "_until", "connection", "now_ms", "vectors", "writable")

    def __init__(
        self,
        connection: sqlite3.Connection,
        salt: bytes,
        now_ms: Callable[[], float],
        create_time: Callable[[], float],
        *,
        writable: bool,
        vectors: VectorIndexes | None = None,
        until: float = math.inf,
    ) -> None:
        self.vectors = vectors or VectorIndexes()
        self.connection = connection
        self.writable = writable
        self.now_ms = now_ms
        self._salt = salt
        self._create_time = create_time
        self._until = until

    # --- Reading

    def first(self, table: Table, /, **equals: Value) -> Row | None:
        """Return the oldest row whose fields equal those given, or None."""
        return next(self.scan(table, equals, limit=1), None)

    def scan(
        self,
        table: Table,
        equals: Mapping[str, Value],
        *,
        order: Sequence[str] = (),
        descending: bool = False,
        where: str = "",
        bound: Sequence[Any] = (),
        limit: int | None = None,
    ) -> Iterator[Row]:
        """Yield rows in the order of `order`, then of creation.

        Args:
            table: Where to look.
            equals: Fields that must equal these values, in the order of the index meant.
                `None` matches an explicit null, not a missing field.
            order: Further fields of that index to sort by.
            descending: Turns the whole order around.
            where: More SQL over the columns, each quoted, with `?` for values.
            bound: The values of `where`.
            limit: Most rows to yield.
        """
        conditions = [f'"{name}" = ?' for name in equals]
        if where:
            conditions.append(where)
        direction = " DESC" if descending else ""
        keys = ", ".join(f'"{name}"{direction}' for name in (*order, "_sequence"))
        sql = (
            f"{select_statement(table)}"
            f"{' WHERE ' + ' AND '.join(conditions) if conditions else ''}"
            f" ORDER BY {keys}{' LIMIT ?' if limit is not None else ''}"
        )
        values = [column_value(table.fields[name], value) for name, value in equals.items()]
        cursor = self.connection.execute(
            sql, (*values, *bound, *((limit,) if limit is not None else ()))
        )
        decode = decoder(table)
        for columns in cursor:
            yield decode(columns)
            if perf_counter() > self._until:
                raise TakesLong

    def at(self, table: Table, sequence: int) -> Row | None:
        """Return the row with this sequence, or None."""
        return next(self.scan(table, {}, where='"_sequence" = ?', bound=(sequence,)), None)

    def count(self, table: Table, equals: Mapping[str, Value], limit: int | None = None) -> int:
        """Count rows whose fields equal those given, looking at `limit` of them at most."""
        where = " AND ".join(f'"{name}" = ?' for name in equals) or "1"
        values = [column_value(table.fields[name], value) for name, value in equals.items()]
        rows = f'"{table.name}" WHERE {where}'
        sql = f"SELECT count(*) FROM {rows}"
        if limit is not None:
            sql = f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT ?)"
            values.append(limit)
        return int(self.connection.execute(sql, values).fetchone()[0])

    def doc(self, table: Table, row: Row) -> Record:
        """Return the row as a Doc of the wire protocol, with `_id` and `_creationTime`."""
        return {
            **row.fields,
            "_id": self.id_of(table, row.sequence),
            "_creationTime": row.created,
        }

    def id_of(self, table: Table, sequence: int) -> str:
        """Return the `_id` of a row: 31 characters of base32, as Convex's ids are."""
        body = bytes([table.number]) + self._salt + sequence.to_bytes(8, "big")
        raw = base64.b32encode(body + _fletcher16(body))
        return raw.translate(_CROCKFORD, b"=").decode()

    def sequence_of(self, table: Table, document_id: str) -> int | None:
        """Return the sequence inside an `_id` of this deployment and table, or None."""
        try:
            raw = document_id.encode("ascii").translate(_CROCKFORD_BACK)
            body = base64.b32decode(raw + b"=" * (-len(raw) % 8))
        except ValueError:
            return None
        sequence = int.from_bytes(body[9:17], "big")
        # Written again and compared: every id has one spelling, and a checksum.
        return sequence if self.id_of(table, sequence) == document_id else None

    # --- Writing

    def will_write(self) -> None:
        """Raise `NeedsWrite` where this transaction may only read."""
        if not self.writable:
            raise NeedsWrite

    def insert(self, table: Table, record: Record) -> Row:
        """Add a row.

        Raises:
            InvalidArgument: The record breaks the table's declaration.
            LimitExceeded: It is larger or deeper than a document may be.
        """
        self.will_write()
        columns = checked_columns(table, record)
        created = self._create_time()
        cursor = self.connection.execute(insert_statement(table), (created, *columns))
        row = Row(int(cursor.lastrowid or 0), created, record)
        self._wrote(table, row, "insert")
        return row

    def patch(self, table: Table, row: Row, changes: Record) -> Row:
        """Replace the fields named in `changes`; a `REMOVED` value takes the field away.

        `_id` and `_creationTime` are accepted when they equal the stored ones.

        Raises:
            InvalidArgument: The result breaks the table's declaration, or a system field
                would change.
            LimitExceeded: The result is larger or deeper than a document may be.
        """
        self.will_write()
        fields = dict(row.fields)
        for name, value in changes.items():
            if name == "_id" and value == self.id_of(table, row.sequence):
                continue
            if name == "_creationTime" and value == row.created:
                continue
            if value is REMOVED:
                fields.pop(name, None)
            else:
                fields[name] = value
        columns = checked_columns(table, fields)
        self.connection.execute(update_statement(table), (*columns, row.sequence))
        changed = Row(row.sequence, row.created, fields)
        self._wrote(table, changed, "update", row)
        return changed

    def delete(self, table: Table, row: Row) -> None:
        """Remove a row."""
        self.will_write()
        self.connection.execute(
            f'DELETE FROM "{table.name}" WHERE "_sequence" = ?',
            (row.sequence,),
        )
        self._wrote(table, row, "delete")

    def upsert(self, table: Table, record: Record, found: Row | None) -> Row:
        """Patch `found` with the record, or insert the record when there is none."""
        return self.insert(table, record) if found is None else self.patch(table, found, record)

    def put_back(self, table: Table, sequence: int, created: float, record: Record) -> Row:
        """Add a row that was there before, in the place it had, with the `_id` it had."""
        self.will_write()
        columns = checked_columns(table, record)
        self.connection.execute(put_back_statement(table), (sequence, created, *columns))
        row = Row(sequence, created, record)
        self._wrote(table, row, "insert")
        return row

    def searchable(self, message_id: str) -> None:
        """Bring what is searched in step with a message that is superseded, or no longer is."""
        row = self.first(MESSAGES, id=message_id)
        if row is not None:
            self._follow_message(row, "delete", None)
            self._follow_message(row, "insert", None)

    def _follow_message(
        self, row: Row, kind: Literal["insert", "update", "delete"], before: Row | None
    ) -> None:
        if kind != "delete" and forgetting.superseded_by(self.connection, row.fields["id"]):
            return
        search_text.follow(self.connection, row.sequence, row.fields, kind, before)
        embedding_queue.follow_message(self, row, kind, before)

    def _wrote(
        self,
        table: Table,
        row: Row,
        kind: Literal["insert", "update", "delete"],
        before: Row | None = None,
    ) -> None:
        if table is MESSAGES:
            self._follow_message(row, kind, before)
        elif table is VECTORS and kind != "insert":
            embedding_queue.follow_vector(self.connection, row, before)
        if kind == "delete" and table in (MESSAGES, THREADS):
            forgetting.forget(self, table, row.fields["id"])
        if not table.followed:
            return
        rows = [row]
        if before is not None and table.thread_field is not None:
            moved = before.fields.get(table.thread_field) != row.fields.get(table.thread_field)
            rows = [before, row] if moved else rows
        self.connection.executemany(
            "INSERT INTO changes (at, table_name, id, kind, thread, resource) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    row.created,
                    table.name,
                    each.fields.get("id"),
                    kind,
                    each.fields.get(table.thread_field) if table.thread_field else None,
                    each.fields.get(table.resource_field) if table.resource_field else None,
                )
                for each in rows
            ],
        )


_CROCKFORD_BACK = bytes.maketrans(
    b"0123456789abcdefghjkmnpqrstvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)


def _fletcher16(body: bytes) -> bytes:
    # `high` is the sum of all that `low` has been: each byte as often as bytes are left.
    high = sum(map(mul, body, range(len(body), 0, -1)))
    return bytes((sum(body) % 255, high % 255))
