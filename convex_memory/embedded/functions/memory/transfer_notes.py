"""What is noted of rows beside them, and moves with them.

| table                   | notes                                                                |
|-------------------------|----------------------------------------------------------------------|
| `mastra_messages`       | `expiresAt`, `threadExpiresAt` (milliseconds), `supersededBy` (id)    |
| `mastra_threads`        | `expiresAt`                                                          |
| `mastra_vector_indexes` | `embedder`, which makes its vectors of texts; `ofMessages`           |
| `mastra_vectors`        | `embedder`; `text`, from which the vector was made                   |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from convex_memory.embedded import embedding_queue, forgetting
from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.embedding_queue import Binding
from convex_memory.embedded.tables import MESSAGES, THREADS, VECTOR_INDEXES, VECTORS, Table
from convex_memory.errors import InvalidArgument
from convex_memory.limits import EMBED_TEXT_CHARS_MAX

Notes = Mapping[str, Any]

_KINDS: Final[Mapping[Table, Mapping[str, type | tuple[type, ...]]]] = {
    MESSAGES: {"expiresAt": (int, float), "threadExpiresAt": (int, float), "supersededBy": str},
    THREADS: {"expiresAt": (int, float)},
    VECTOR_INDEXES: {"embedder": str, "ofMessages": bool},
    VECTORS: {"embedder": str, "text": str},
}
NAMES: Final = tuple(dict.fromkeys(name for kinds in _KINDS.values() for name in kinds))


def checked(table: Table, notes: Notes) -> Notes:
    """Return notes that a row of this table may have.

    Raises:
        InvalidArgument: One is not known, or not of its type.
    """
    kinds = _KINDS.get(table, {})
    for name, value in notes.items():
        kind = kinds.get(name)
        if kind is None or not isinstance(value, kind) or (kind is not bool and value is True):
            raise InvalidArgument(f"The note {name} of a row of {table.name} is none, or wrong.")
    if len(notes.get("text", "")) > EMBED_TEXT_CHARS_MAX:
        raise InvalidArgument(f"A text has at most {EMBED_TEXT_CHARS_MAX:,} characters.")
    return notes


def is_over(notes: Notes, now: float) -> bool:
    """Whether a row has expired, or the thread it is in."""
    return any(notes.get(name, now + 1) <= now for name in ("expiresAt", "threadExpiresAt"))


class NoteReader:
    """Reads what is noted of rows; what many have in common, once.

    Args:
        documents: The transaction, in which nothing is written meanwhile that it has read.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._bindings: dict[str, Binding | None] = {}
        self._thread_expiries: dict[str, float | None] = {}
        self._retired = frozenset(embedding_queue.retired_indexes(documents.connection))
        expiries, supersessions = documents.connection.execute(
            "SELECT EXISTS (SELECT 1 FROM expiries), EXISTS (SELECT 1 FROM supersessions)"
        ).fetchone()
        self._has_marks = bool(expiries or supersessions)

    def of(self, table: Table, row: Row) -> Record:
        """Return what is noted of a row."""
        if table is VECTORS:
            return self._of_vector(row)
        if table is VECTOR_INDEXES:
            return self._of_index(row)
        if not self._has_marks or table not in (MESSAGES, THREADS):
            return {}
        return self._of_message(row) if table is MESSAGES else self._of_thread(row)

    def bound(self, index_name: str) -> Binding | None:
        """Return what an index is bound to, or None."""
        if index_name not in self._bindings:
            found = embedding_queue.binding(self._documents.connection, index_name)
            self._bindings[index_name] = None if index_name in self._retired else found
        return self._bindings[index_name]

    def is_stale(self, vector: Row) -> bool:
        """Whether an earlier embedder made a vector, so that it waits to be made anew."""
        name = vector.fields["indexName"]
        bound = self.bound(name)
        return name in self._retired or (bound is not None and vector.sequence <= bound.after)

    def _of_message(self, row: Row) -> Record:
        connection, thread_id = self._documents.connection, row.fields["thread_id"]
        if thread_id not in self._thread_expiries:
            at = forgetting.expiry(connection, THREADS, thread_id)
            self._thread_expiries[thread_id] = at
        return _given(
            expiresAt=forgetting.expiry(connection, MESSAGES, row.fields["id"]),
            threadExpiresAt=self._thread_expiries[thread_id],
            supersededBy=forgetting.superseded_by(connection, row.fields["id"]),
        )

    def _of_thread(self, row: Row) -> Record:
        at = forgetting.expiry(self._documents.connection, THREADS, row.fields["id"])
        return _given(expiresAt=at)

    def _of_index(self, row: Row) -> Record:
        bound = self.bound(row.fields["indexName"])
        if bound is None:
            return {}
        return {"embedder": bound.embedder, "ofMessages": bound.of_messages}

    def _of_vector(self, row: Row) -> Record:
        bound = self.bound(row.fields["indexName"])
        if bound is None:
            return {}
        connection, name = self._documents.connection, row.fields["indexName"]
        text = embedding_queue.kept_text(connection, name, row.fields["id"])
        return _given(embedder=bound.embedder, text=text)


def _given(**notes: Any) -> Record:
    return {name: value for name, value in notes.items() if value is not None}


# --- Writing


def mark_message(documents: Documents, message_id: str, notes: Notes) -> None:
    """Note of a message what is said, and nothing else."""
    connection = documents.connection
    forgetting.set_expiry(connection, MESSAGES, message_id, notes.get("expiresAt"))
    successor, there = notes.get("supersededBy"), forgetting.superseded_by(connection, message_id)
    if successor == there:
        return
    if successor is not None:
        forgetting.supersede(documents, message_id, successor)
        return
    connection.execute("DELETE FROM supersessions WHERE message = ?", (message_id,))
    documents.searchable(message_id)


def mark_thread(documents: Documents, thread_id: str, notes: Notes) -> None:
    """Note of a thread what is said, and nothing else."""
    forgetting.set_expiry(documents.connection, THREADS, thread_id, notes.get("expiresAt"))


def bind_index(documents: Documents, name: str, dimension: int, notes: Notes) -> None:
    """Bind an index without vectors to the embedder of those that are to come."""
    of_messages = bool(notes.get("ofMessages"))
    connection = documents.connection
    bound = embedding_queue.bind(
        connection, Binding(name, notes["embedder"], dimension, of_messages)
    )
    embedding_queue.enqueue_all(connection, bound)
    # No vector of it is there yet, so none can be one of an earlier embedder.
    connection.execute("UPDATE bound_indexes SET after = 0 WHERE name = ?", (name,))


def vector_arrived(documents: Documents, bound: Binding, record_id: str, text: str | None) -> None:
    """Note that a vector need not be made any more, and the text that it was made from."""
    connection = documents.connection
    if text is not None and not bound.of_messages:
        embedding_queue.keep_text(connection, bound.name, record_id, text)
    embedding_queue.dequeue(connection, bound.name, record_id)


def message_arrived(documents: Documents, message_id: str) -> None:
    """Note that a message need not be embedded whose vector has come before it."""
    bound = embedding_queue.message_binding(documents.connection)
    if bound is None:
        return
    vector = documents.first(VECTORS, indexName=bound.name, id=message_id)
    if vector is not None and vector.sequence > bound.after:
        embedding_queue.dequeue(documents.connection, bound.name, message_id)
