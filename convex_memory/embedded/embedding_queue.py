"""What waits to be embedded: a queue in the database, shared by all processes.

An index whose vectors the server makes from texts is *bound* to an embedder: its vectors mean
nothing to another. One bound index holds the vectors of messages. A row of the queue is one
text whose vector is missing or out of date; its position is new whenever the text changes, so
that a vector made of an older text is known by its ticket and dropped.

A row is claimed for a while by the worker that embeds it. A worker that dies leaves its claim to
run out, and the row to another; the row goes in the transaction that stores its vector.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from convex_memory.embedded.tables import MESSAGES, VECTORS

if TYPE_CHECKING:
    from convex_memory.embedded.documents import Documents, Row

COUNTED_MAX: Final = 10_000
"""Waiting texts that are looked at to count those of one resource."""

SCHEMA: Final = (
    "CREATE TABLE bound_indexes (name TEXT PRIMARY KEY, embedder TEXT NOT NULL, "
    "dimension INTEGER NOT NULL, of_messages INTEGER NOT NULL, after INTEGER NOT NULL) "
    "WITHOUT ROWID",
    "CREATE INDEX bound_indexes_by_use ON bound_indexes (of_messages)",
    "CREATE TABLE kept_texts (index_name TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL, "
    "UNIQUE (index_name, id))",
    "CREATE TABLE embedding_queue (position INTEGER PRIMARY KEY AUTOINCREMENT, "
    "index_name TEXT NOT NULL, id TEXT NOT NULL, message INTEGER, "
    "claimed_until REAL NOT NULL DEFAULT 0, UNIQUE (index_name, id))",
)

_NOT_MESSAGES, _MESSAGES, _RETIRED = 0, 1, 2
"""Whether an index holds vectors of messages; a retired one is emptied as they are made anew."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An index and the embedder that made its vectors.

    Attributes:
        name: The index.
        embedder: The embedder's id.
        dimension: The length of its vectors.
        of_messages: Whether its vectors are those of messages.
        after: Vectors up to this sequence were made by an earlier embedder: they are not
            comparable, and wait to be made anew.
    """

    name: str
    embedder: str
    dimension: int
    of_messages: bool = False
    after: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row of the queue.

    Attributes:
        ticket: Its position; another one when its text has changed meanwhile.
        index_name: The index its vector belongs to.
        id: The vector's id; that of the message, where it is one.
        message: The sequence of the message, or None for a kept text.
    """

    ticket: int
    index_name: str
    id: str
    message: int | None


# --- Bindings


def binding(connection: sqlite3.Connection, index_name: str) -> Binding | None:
    """Return what an index is bound to, or None when its vectors come from callers."""
    return _binding(connection, "name = ?", index_name)


def message_binding(connection: sqlite3.Connection) -> Binding | None:
    """Return the index of the vectors of messages, or None when there is none."""
    return _binding(connection, "of_messages = ?", _MESSAGES)


def _binding(connection: sqlite3.Connection, where: str, value: Any) -> Binding | None:
    row = connection.execute(
        f"SELECT name, embedder, dimension, of_messages, after FROM bound_indexes WHERE {where}",
        (value,),
    ).fetchone()
    return None if row is None else Binding(row[0], row[1], row[2], row[3] == _MESSAGES, row[4])


def bind(connection: sqlite3.Connection, to: Binding) -> Binding:
    """Bind an index; an index of messages takes the place of the one there was.

    Vectors that the index already holds are those of another embedder from now on.
    """
    if to.of_messages:
        connection.execute(
            "UPDATE bound_indexes SET of_messages = ? WHERE of_messages = ?", (_RETIRED, _MESSAGES)
        )
    newest = connection.execute(f"SELECT coalesce(max(_sequence), 0) FROM {VECTORS.name}")
    bound = replace(to, after=int(newest.fetchone()[0]))
    connection.execute(
        "INSERT OR REPLACE INTO bound_indexes VALUES (?, ?, ?, ?, ?)",
        (
            bound.name,
            bound.embedder,
            bound.dimension,
            _MESSAGES if bound.of_messages else _NOT_MESSAGES,
            bound.after,
        ),
    )
    return bound


def unbind(connection: sqlite3.Connection, index_name: str) -> None:
    """Forget the binding, the texts and the queue of an index that is deleted or emptied."""
    connection.execute("DELETE FROM bound_indexes WHERE name = ?", (index_name,))
    connection.execute("DELETE FROM kept_texts WHERE index_name = ?", (index_name,))
    connection.execute("DELETE FROM embedding_queue WHERE index_name = ?", (index_name,))


def forget_retired(connection: sqlite3.Connection) -> None:
    """Forget the indexes that held vectors of messages before: every message has its new one."""
    for name in retired_indexes(connection):
        unbind(connection, name)


def retired_indexes(connection: sqlite3.Connection) -> list[str]:
    """Return the indexes that held vectors of messages before, and may still."""
    rows = connection.execute("SELECT name FROM bound_indexes WHERE of_messages = ?", (_RETIRED,))
    return [row[0] for row in rows]


# --- The queue


def enqueue(
    connection: sqlite3.Connection, index_name: str, id: str, message: int | None = None
) -> None:
    """Have a text embedded; whatever waits under this id is out of date."""
    connection.execute(
        "INSERT OR REPLACE INTO embedding_queue (index_name, id, message) VALUES (?, ?, ?)",
        (index_name, id, message),
    )


def dequeue(connection: sqlite3.Connection, index_name: str, id: str) -> None:
    """Take a text out of the queue."""
    connection.execute(
        "DELETE FROM embedding_queue WHERE index_name = ? AND id = ?", (index_name, id)
    )


def enqueue_all(connection: sqlite3.Connection, to: Binding) -> None:
    """Have every message, or every kept text of an index, embedded."""
    source = (
        f"SELECT ?, id, _sequence FROM {MESSAGES.name} "
        "WHERE id NOT IN (SELECT message FROM supersessions) ORDER BY _sequence"
        if to.of_messages
        else "SELECT index_name, id, NULL FROM kept_texts WHERE index_name = ? ORDER BY rowid"
    )
    connection.execute(
        f"INSERT OR REPLACE INTO embedding_queue (index_name, id, message) {source}", (to.name,)
    )


def claim(
    connection: sqlite3.Connection, embedder: str, now: float, until: float
) -> Iterator[Waiting]:
    """Claim what waits for an embedder, newest first, one row for each that is taken."""
    rows = connection.execute(
        "SELECT q.position, q.index_name, q.id, q.message FROM embedding_queue q "
        "JOIN bound_indexes b ON b.name = q.index_name AND b.embedder = ? "
        "WHERE q.claimed_until <= ? ORDER BY q.position DESC",
        (embedder, now),
    )
    for row in rows:
        connection.execute(
            "UPDATE embedding_queue SET claimed_until = ? WHERE position = ?", (until, row[0])
        )
        yield Waiting(*row)


def release(connection: sqlite3.Connection, ticket: int) -> None:
    """Give a claimed row back at once."""
    connection.execute("UPDATE embedding_queue SET claimed_until = 0 WHERE position = ?", (ticket,))


def settle(connection: sqlite3.Connection, ticket: int) -> Waiting | None:
    """Take a row out of the queue by its ticket; None when it has another by now, or is gone."""
    row = connection.execute(
        "SELECT position, index_name, id, message FROM embedding_queue WHERE position = ?",
        (ticket,),
    ).fetchone()
    if row is None:
        return None
    connection.execute("DELETE FROM embedding_queue WHERE position = ?", (ticket,))
    return Waiting(*row)


def waiting(connection: sqlite3.Connection, index_name: str, resource: str | None = None) -> int:
    """Count the texts of an index that wait, or the messages of one resource that do.

    Of a resource's it counts those among the newest `COUNTED_MAX` that wait.
    """
    if resource is None:
        sql = "SELECT count(*) FROM embedding_queue WHERE index_name = ?"
        row = connection.execute(sql, (index_name,)).fetchone()
    else:
        row = connection.execute(
            "SELECT count(*) FROM (SELECT message FROM embedding_queue WHERE index_name = ? "
            f"ORDER BY position DESC LIMIT {COUNTED_MAX}) q "
            f"JOIN {MESSAGES.name} m ON m._sequence = q.message WHERE m.resourceId = ?",
            (index_name, resource),
        ).fetchone()
    return int(row[0])


def waiting_for(connection: sqlite3.Connection, embedder: str) -> int:
    """Count the texts of all indexes of an embedder that wait."""
    names = connection.execute("SELECT name FROM bound_indexes WHERE embedder = ?", (embedder,))
    return sum(waiting(connection, row[0]) for row in names.fetchall())


def is_waiting(connection: sqlite3.Connection, index_name: str, id: str) -> bool:
    """Whether a text has not got its vector yet."""
    return bool(
        connection.execute(
            "SELECT 1 FROM embedding_queue WHERE index_name = ? AND id = ?", (index_name, id)
        ).fetchone()
    )


# --- Kept texts


def keep_text(connection: sqlite3.Connection, index_name: str, id: str, text: str) -> None:
    """Keep the text a vector is made from, in place of the one before."""
    connection.execute(
        "INSERT INTO kept_texts (index_name, id, text) VALUES (?, ?, ?) "
        "ON CONFLICT (index_name, id) DO UPDATE SET text = excluded.text",
        (index_name, id, text),
    )


def kept_text(connection: sqlite3.Connection, index_name: str, id: str) -> str | None:
    """Return the text a vector was made from, or None."""
    row = connection.execute(
        "SELECT text FROM kept_texts WHERE index_name = ? AND id = ?", (index_name, id)
    ).fetchone()
    return None if row is None else str(row[0])


def forget_text(connection: sqlite3.Connection, index_name: str, id: str) -> None:
    """Forget the text of a vector that is gone, or was replaced by one of other origin."""
    connection.execute("DELETE FROM kept_texts WHERE index_name = ? AND id = ?", (index_name, id))
    dequeue(connection, index_name, id)


# --- Following the rows


def follow_message(documents: Documents, row: Row, kind: str, before: Row | None) -> None:
    """Bring queue and vectors in step with a message just inserted, updated or deleted."""
    connection = documents.connection
    bound = message_binding(connection)
    if bound is None:
        return
    record_id = row.fields["id"]
    if before is not None and all(
        before.fields.get(name) == row.fields.get(name) for name in _EMBEDDED_FIELDS
    ):
        return
    if kind != "insert":
        # What a message said before is not found any more, even while its new vector is made.
        stale = record_id if before is None else before.fields["id"]
        dequeue(connection, bound.name, stale)
        for name in (bound.name, *retired_indexes(connection)):
            vector = documents.first(VECTORS, indexName=name, id=stale)
            if vector is not None:
                documents.delete(VECTORS, vector)
    if kind != "delete":
        enqueue(connection, bound.name, record_id, row.sequence)


_EMBEDDED_FIELDS: Final = ("id", "content", "thread_id", "resourceId", "role", "createdAt")
"""The fields of a message that its vector is made from, or that stand beside it."""


def follow_vector(connection: sqlite3.Connection, row: Row, before: Row | None) -> None:
    """Forget the text of a vector that is deleted, or replaced by one of other origin."""
    if before is not None and before.fields["embedding"] == row.fields["embedding"]:
        return
    bound = binding(connection, row.fields["indexName"])
    if bound is not None and not bound.of_messages:
        forget_text(connection, bound.name, row.fields["id"])
