"""What is kept for a while before it is gone: the trash, times of expiry, superseded messages.

A deleted row that may be asked back is moved into the trash, out of sight of every function, and
purged when its time is over. A message or a thread with a time of expiry is deleted, without
trash, by the first call of any function after that time. A superseded message stays where it is
and is only not searched any more.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from convex_memory.embedded import turns
from convex_memory.embedded.tables import MESSAGES, THREADS, Table

if TYPE_CHECKING:
    from convex_memory.embedded.documents import Documents, Row

SCHEMA: Final = (
    "CREATE TABLE trash (position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
    "id TEXT NOT NULL, owner TEXT NOT NULL, thread TEXT NOT NULL, with_thread INTEGER NOT NULL, "
    "sequence INTEGER NOT NULL, created REAL NOT NULL, fields TEXT NOT NULL, "
    "expires_at REAL, superseded_by TEXT, supersedes TEXT NOT NULL, purge_at REAL NOT NULL, "
    "UNIQUE (kind, id, owner))",
    "CREATE INDEX trash_by_thread ON trash (thread, owner, with_thread, position)",
    "CREATE INDEX trash_by_purge ON trash (purge_at)",
    "CREATE TABLE expiries (kind TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, "
    "PRIMARY KEY (kind, id)) WITHOUT ROWID",
    "CREATE INDEX expiries_by_time ON expiries (at)",
    "CREATE TABLE supersessions (message TEXT PRIMARY KEY, by TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX supersessions_by ON supersessions (by)",
    "ALTER TABLE removals ADD COLUMN purge_at REAL NOT NULL DEFAULT 0",
)

PURGE_ROWS: Final = 1000
"""Rows of the trash that one transaction purges, so that other writers get their turn."""
RESTORE_MS: Final = 86_400_000
"""How long the messages of a thread that was begun to be restored are kept at least: a day."""

_KINDS: Final = {MESSAGES: "message", THREADS: "thread"}


@dataclass(frozen=True, slots=True)
class Discarded:
    """One row in the trash.

    Attributes:
        position: Its place in the trash.
        owner: The resource it belongs to; empty where that is unknown.
        with_thread: Whether it went with its thread.
        sequence: The sequence it had, and gets again.
        created: Its `_creationTime`.
        fields: The row.
        expires_at: When it expires, in milliseconds since the epoch, or None.
        superseded_by: The message that took its place, or None.
        supersedes: The messages whose place it took.
    """

    position: int
    owner: str
    with_thread: bool
    sequence: int
    created: float
    fields: dict[str, Any]
    expires_at: float | None
    superseded_by: str | None
    supersedes: tuple[str, ...]


# --- The trash


def discard(
    documents: Documents,
    table: Table,
    row: Row,
    purge_at: float,
    *,
    owner: str,
    with_thread: bool = False,
) -> None:
    """Move a message or a thread into the trash, in place of what its owner had there by this id.

    Args:
        documents: The transaction.
        table: `MESSAGES` or `THREADS`.
        row: The row.
        purge_at: When it is gone for good, in milliseconds since the epoch; it is sooner where
            the row expires sooner.
        owner: The resource that may ask it back; of a message that goes with its thread, that
            of the thread.
        with_thread: Whether it is a message that goes, and comes back, with its thread.
    """
    record_id = row.fields["id"]
    connection = documents.connection
    is_message = table is MESSAGES
    expires_at = expiry(connection, table, record_id)
    connection.execute(
        "INSERT OR REPLACE INTO trash (kind, id, owner, thread, with_thread, sequence, created, "
        "fields, expires_at, superseded_by, supersedes, purge_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            _KINDS[table],
            record_id,
            owner,
            row.fields["thread_id"] if is_message else record_id,
            with_thread,
            row.sequence,
            row.created,
            json.dumps(row.fields, ensure_ascii=False, separators=(",", ":")),
            expires_at,
            superseded_by(connection, record_id) if is_message else None,
            json.dumps(superseded(connection, record_id) if is_message else []),
            purge_at if expires_at is None else min(purge_at, expires_at),
        ),
    )
    documents.delete(table, row)


def discarded(
    documents: Documents, table: Table, record_id: str, scope: str | None
) -> Discarded | None:
    """Return a message or a thread that can be restored, or None.

    Args:
        documents: The transaction.
        table: `MESSAGES` or `THREADS`.
        record_id: Its id.
        scope: Whose it must be; None takes what was deleted last.
    """
    found = documents.connection.execute(
        f"{_SELECT_TRASH} WHERE kind = ? AND id = ? AND owner = coalesce(?, owner) "
        "AND purge_at > ? ORDER BY position DESC LIMIT 1",
        (_KINDS[table], record_id, scope, documents.now_ms()),
    ).fetchone()
    return None if found is None else _discarded(found)


def discarded_with_thread(
    documents: Documents, thread_id: str, owner: str, limit: int
) -> list[Discarded]:
    """Return messages that went with their thread, in the order in which they went."""
    rows = documents.connection.execute(
        f"{_SELECT_TRASH} WHERE thread = ? AND owner = ? AND with_thread = 1 AND purge_at > ? "
        "ORDER BY position LIMIT ?",
        (thread_id, owner, documents.now_ms(), limit),
    )
    return [_discarded(row) for row in rows.fetchall()]


def put_back(documents: Documents, table: Table, item: Discarded) -> Row:
    """Move a row from the trash back to where it was, with the `_id` it had."""
    connection, record_id = documents.connection, item.fields["id"]
    # Another that has just come back may have noted that it superseded this one, or the reverse.
    item = _again(documents, item)
    drop(documents, item)
    if item.expires_at is not None:
        set_expiry(connection, table, record_id, item.expires_at)
    if item.superseded_by is not None:
        _superseded_again(documents, item, item.superseded_by)
    row = documents.put_back(table, item.sequence, item.created, item.fields)
    if table is MESSAGES:
        turns.changed(connection, item.sequence)
    for old_id in item.supersedes:
        _supersede_again(documents, item, old_id)
    return row


def _superseded_again(documents: Documents, item: Discarded, successor_id: str) -> None:
    successor = documents.first(MESSAGES, id=successor_id)
    if successor is None:
        # It may be in the trash too, and come back later.
        documents.connection.execute(
            "UPDATE trash SET supersedes = json_insert(supersedes, '$[#]', ?) "
            "WHERE kind = 'message' AND id = ? AND owner = ?",
            (item.fields["id"], successor_id, item.owner),
        )
    elif _belong_together(successor, item):
        supersede(documents, item.fields["id"], successor_id)


def _supersede_again(documents: Documents, item: Discarded, old_id: str) -> None:
    connection = documents.connection
    old = documents.first(MESSAGES, id=old_id)
    if old is None:
        connection.execute(
            "UPDATE trash SET superseded_by = coalesce(superseded_by, ?) "
            "WHERE kind = 'message' AND id = ? AND owner = ?",
            (item.fields["id"], old_id, item.owner),
        )
    elif _belong_together(old, item) and superseded_by(connection, old_id) is None:
        supersede(documents, old_id, item.fields["id"])


def _belong_together(message: Row, item: Discarded) -> bool:
    # An id may be another's by now.
    return bool(message.fields.get("resourceId") == item.fields.get("resourceId"))


def _again(documents: Documents, item: Discarded) -> Discarded:
    row = documents.connection.execute(
        f"{_SELECT_TRASH} WHERE position = ?", (item.position,)
    ).fetchone()
    return item if row is None else _discarded(row)


def keep_for_restoring(documents: Documents, thread_id: str, owner: str) -> None:
    """Keep the messages of a thread that is being restored until that can be finished."""
    documents.connection.execute(
        "UPDATE trash SET purge_at = min(max(purge_at, ?), coalesce(expires_at, 1e18)) "
        "WHERE thread = ? AND owner = ? AND with_thread = 1",
        (documents.now_ms() + RESTORE_MS, thread_id, owner),
    )


def drop(documents: Documents, item: Discarded) -> None:
    """Take a row out of the trash, for good unless it is put back."""
    documents.will_write()
    documents.connection.execute("DELETE FROM trash WHERE position = ?", (item.position,))


def drop_thread(
    documents: Documents, thread_id: str, owner: str, *, with_thread: bool = False
) -> None:
    """Delete what the trash holds of a thread, or only the thread with what went with it."""
    documents.will_write()
    documents.connection.execute(
        "DELETE FROM trash WHERE thread = ? AND owner = ?"
        + (" AND (with_thread = 1 OR kind = 'thread')" if with_thread else ""),
        (thread_id, owner),
    )


def drop_all(documents: Documents, table: Table) -> None:
    """Delete what the trash holds of a table that is emptied."""
    if table in _KINDS:
        documents.will_write()
        documents.connection.execute("DELETE FROM trash WHERE kind = ?", (_KINDS[table],))
    if table is MESSAGES:
        documents.connection.execute("UPDATE removals SET purge_at = 0")


def purge(documents: Documents) -> bool:
    """Delete a batch of what has been in the trash long enough; say whether there was any."""
    connection, now = documents.connection, documents.now_ms()
    # Looking first: a deletion, even of nothing, takes the write lock.
    if connection.execute("SELECT 1 FROM trash WHERE purge_at <= ? LIMIT 1", (now,)).fetchone():
        documents.will_write()
        connection.execute(
            "DELETE FROM trash WHERE position IN "
            "(SELECT position FROM trash WHERE purge_at <= ? ORDER BY purge_at LIMIT ?)",
            (now, PURGE_ROWS),
        )
        return True
    return False


_SELECT_TRASH: Final = (
    "SELECT position, owner, with_thread, sequence, created, fields, expires_at, superseded_by, "
    "supersedes FROM trash"
)


def _discarded(row: Any) -> Discarded:
    return Discarded(
        position=row[0],
        owner=row[1],
        with_thread=bool(row[2]),
        sequence=row[3],
        created=row[4],
        fields=json.loads(row[5]),
        expires_at=row[6],
        superseded_by=row[7],
        supersedes=tuple(json.loads(row[8])),
    )


# --- Messages of a removed thread, which wait to be removed


def waits(documents: Documents, message: Row) -> bool:
    """Whether the message's thread was removed, and the message waits to be."""
    row = _removal(documents, message)
    return row is not None and bool(message.sequence <= row[0])


def waiting_left_out(documents: Documents) -> str:
    """Return the SQL condition that leaves out messages which wait to be removed."""
    if documents.connection.execute("SELECT 1 FROM removals LIMIT 1").fetchone() is None:
        return ""
    return '"_sequence" > coalesce((SELECT upto FROM removals WHERE thread = "thread_id"), 0)'


def take_away(documents: Documents, message: Row) -> None:
    """Do to a message that waits what is to be done with it: delete it, or keep it in the trash."""
    row = _removal(documents, message)
    if row is not None and row[2]:
        discard(documents, MESSAGES, message, row[2], owner=row[1], with_thread=True)
    else:
        documents.delete(MESSAGES, message)


def _removal(documents: Documents, message: Row) -> tuple[int, str, float] | None:
    row: tuple[int, str, float] | None = documents.connection.execute(
        "SELECT upto, resource, purge_at FROM removals WHERE thread = ?",
        (message.fields["thread_id"],),
    ).fetchone()
    return row


# --- Expiry


def expiry(connection: sqlite3.Connection, table: Table, record_id: str) -> float | None:
    """Return when a message or a thread expires, in milliseconds since the epoch, or None."""
    row = connection.execute(
        "SELECT at FROM expiries WHERE kind = ? AND id = ?", (_KINDS[table], record_id)
    ).fetchone()
    return None if row is None else float(row[0])


def set_expiry(
    connection: sqlite3.Connection, table: Table, record_id: str, at: float | None
) -> None:
    """Say when a message or a thread expires; None has it stay."""
    if at is None:
        connection.execute(
            "DELETE FROM expiries WHERE kind = ? AND id = ?", (_KINDS[table], record_id)
        )
    else:
        connection.execute(
            "INSERT OR REPLACE INTO expiries VALUES (?, ?, ?)", (_KINDS[table], record_id, at)
        )


def due(documents: Documents) -> Iterator[tuple[Table, str]]:
    """Yield what has expired by now."""
    rows = documents.connection.execute(
        "SELECT kind, id FROM expiries WHERE at <= ? ORDER BY at", (documents.now_ms(),)
    ).fetchall()
    for kind, record_id in rows:
        yield (MESSAGES if kind == "message" else THREADS), record_id


# --- Superseded messages


def supersede(documents: Documents, old_id: str, new_id: str) -> bool:
    """Have a message take the place of another in what is searched.

    Returns:
        False, and nothing changed, where that would go round in a circle.
    """
    connection = documents.connection
    successor: str | None = new_id
    while successor is not None:
        if successor == old_id:
            return False
        successor = superseded_by(connection, successor)
    documents.will_write()
    connection.execute("INSERT OR REPLACE INTO supersessions VALUES (?, ?)", (old_id, new_id))
    _search_again(documents, old_id)
    return True


def superseded_by(connection: sqlite3.Connection, message_id: str) -> str | None:
    """Return the message that took the place of this one, or None."""
    row = connection.execute(
        "SELECT by FROM supersessions WHERE message = ?", (message_id,)
    ).fetchone()
    return None if row is None else str(row[0])


def superseded(connection: sqlite3.Connection, new_id: str) -> list[str]:
    """Return the messages whose place this one took."""
    rows = connection.execute("SELECT message FROM supersessions WHERE by = ?", (new_id,))
    return [row[0] for row in rows.fetchall()]


def forget(documents: Documents, table: Table, record_id: str) -> None:
    """Forget what is noted of a row that was deleted; what it superseded is searched again."""
    connection = documents.connection
    set_expiry(connection, table, record_id, None)
    if table is not MESSAGES:
        return
    connection.execute("DELETE FROM supersessions WHERE message = ?", (record_id,))
    old_ids = superseded(connection, record_id)
    connection.execute("DELETE FROM supersessions WHERE by = ?", (record_id,))
    for old_id in old_ids:
        _search_again(documents, old_id)


def _search_again(documents: Documents, message_id: str) -> None:
    message = documents.first(MESSAGES, id=message_id)
    if message is not None:
        documents.searchable(message_id)
        turns.changed(documents.connection, message.sequence)
