"""Where rows that move in go: known by their keys, and never against what holds rows together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from convex_memory.embedded import embedding_queue, forgetting
from convex_memory.embedded.documents import REMOVED, Documents, Record, Row
from convex_memory.embedded.functions.memory.rows import is_removed
from convex_memory.embedded.functions.memory.transfer_native import (
    NativeTable,
    established,
    mismatch,
)
from convex_memory.embedded.functions.memory.transfer_notes import (
    NoteReader,
    Notes,
    bind_index,
    is_over,
    mark_message,
    mark_thread,
    message_arrived,
    vector_arrived,
)
from convex_memory.embedded.tables import (
    CACHE,
    CACHE_LIST_ITEMS,
    DOCUMENTS,
    MESSAGES,
    NATIVE_VECTORS,
    TABLES,
    THREADS,
    VECTOR_INDEXES,
    VECTORS,
    WORKFLOW_SNAPSHOTS,
    Table,
)
from convex_memory.embedded.vector_index import is_finite_vector
from convex_memory.errors import Conflict, InvalidArgument
from convex_memory.limits import CASCADE_DELETE_ROWS
from convex_memory.row_text import same

Outcome = Literal["stored", "replaced", "unchanged", "kept", "dropped"]
"""What became of a row: dropped is what is dead already, an expired value for instance."""

_KEYS: Final[Mapping[Table, tuple[str, ...]]] = {
    WORKFLOW_SNAPSHOTS: ("workflow_name", "run_id"),
    VECTORS: ("indexName", "id"),
    DOCUMENTS: ("table", "primaryKey"),
    CACHE: ("key",),
    CACHE_LIST_ITEMS: ("key", "index"),
}
"""The fields by which a row is known, where that is not its `id`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do with rows that are there already, and whether to do anything at all."""

    replace: bool
    dry_run: bool


class Target:
    """Where the rows of one table go, within one call.

    Args:
        table: The table.
        documents: The transaction.
        policy: What to do with rows that are there.
    """

    def __init__(self, table: Table, documents: Documents, policy: Policy) -> None:
        self.table = table
        self.documents = documents
        self.policy = policy

    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        """Store one row with what is noted of it; None when it has to wait for another call.

        Raises:
            InvalidArgument: The row breaks the table's declaration.
            LimitExceeded: It is larger or deeper than a document may be.
            Conflict: It contradicts the one there in what holds other rows together.
        """
        found = self.find(fields)
        if found is None:
            if not self.policy.dry_run:
                self.store(fields, notes)
            return "stored"
        self.refuse(found, fields)
        if same(found.fields, fields) and self.has_notes(found, notes):
            return "unchanged"
        if not self.policy.replace:
            return "kept"
        return "replaced" if self.policy.dry_run else self.replace(found, fields, notes)

    def find(self, fields: Record) -> Row | None:
        """Return the row with the same key, or None."""
        return self.documents.first(self.table, **self.key_of(fields))

    def key_of(self, fields: Record) -> Record:
        """Return the fields by which a row is known.

        Raises:
            InvalidArgument: One of them is missing.
        """
        names = _KEYS.get(self.table, ("id",))
        for name in names:
            if name not in fields:
                raise InvalidArgument(f"A row of {self.table.name} needs the field {name}.")
        return {name: fields[name] for name in names}

    def refuse(self, found: Row, fields: Record) -> None:
        """Raise `Conflict` where neither of the two rows can be had without harm."""

    def has_notes(self, found: Row, notes: Notes) -> bool:
        """Whether exactly this is noted of the row there."""
        return True

    def store(self, fields: Record, notes: Notes) -> None:
        """Add a row whose key is new."""
        self.documents.insert(self.table, fields)

    def replace(self, found: Row, fields: Record, notes: Notes) -> Outcome | None:
        """Make the row there what the new one is."""
        gone = {name: REMOVED for name in found.fields if name not in fields}
        self.documents.patch(self.table, found, {**gone, **fields})
        return "replaced"


class _Threads(Target):
    def __init__(self, table: Table, documents: Documents, policy: Policy) -> None:
        super().__init__(table, documents, policy)
        self._notes = NoteReader(documents)

    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        if is_over(notes, self.documents.now_ms()):
            return "dropped"
        return super().restore(fields, notes)

    def refuse(self, found: Row, fields: Record) -> None:
        if found.fields["resourceId"] != fields.get("resourceId"):
            raise Conflict(
                f"Thread {fields['id']!a} is there already and belongs to another resource; their "
                "messages would be mixed. Delete it there first, or leave this one out."
            )

    def has_notes(self, found: Row, notes: Notes) -> bool:
        return self._notes.of(self.table, found) == notes

    def store(self, fields: Record, notes: Notes) -> None:
        super().store(fields, notes)
        mark_thread(self.documents, fields["id"], notes)

    def replace(self, found: Row, fields: Record, notes: Notes) -> Outcome | None:
        mark_thread(self.documents, fields["id"], notes)
        return super().replace(found, fields, notes)


class _Messages(Target):
    def __init__(self, table: Table, documents: Documents, policy: Policy) -> None:
        super().__init__(table, documents, policy)
        self._notes = NoteReader(documents)

    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        if is_over(notes, self.documents.now_ms()):
            return "dropped"
        return super().restore(fields, notes)

    def find(self, fields: Record) -> Row | None:
        row = super().find(fields)
        if row is None or not is_removed(self.documents, row):
            return row
        # Its thread is gone, and it only waits to be.
        if not self.policy.dry_run:
            forgetting.take_away(self.documents, row)
        return None

    def has_notes(self, found: Row, notes: Notes) -> bool:
        return _of_message(self._notes.of(self.table, found)) == _of_message(notes)

    def store(self, fields: Record, notes: Notes) -> None:
        # Before it is there, so that what is superseded is never searched.
        mark_message(self.documents, fields["id"], notes)
        super().store(fields, notes)
        message_arrived(self.documents, fields["id"])

    def replace(self, found: Row, fields: Record, notes: Notes) -> Outcome | None:
        mark_message(self.documents, fields["id"], notes)
        return super().replace(found, fields, notes)


def _of_message(notes: Notes) -> Record:
    """What is noted of a message itself, and not of its thread."""
    return {name: value for name, value in notes.items() if name != "threadExpiresAt"}


class _VectorIndexes(Target):
    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        name, documents = str(fields.get("indexName")), self.documents
        bound = NoteReader(documents).bound(name)
        own = embedding_queue.message_binding(documents.connection)
        if notes.get("ofMessages") and own is not None and own.name != name:
            # The messages here have vectors of their own; these are ordinary ones to them.
            notes = {}
        embedder = notes.get("embedder")
        if bound is not None and bound.embedder != embedder:
            raise _other_embedder(name, bound.embedder)
        is_new = bound is None and embedder is not None
        if is_new and documents.first(VECTORS, indexName=name) is not None:
            raise _other_embedder(name, None)
        outcome = super().restore(fields, notes)
        if is_new and not self.policy.dry_run:
            bind_index(documents, name, int(number_in(fields, "dimension")), notes)
        return outcome

    def refuse(self, found: Row, fields: Record) -> None:
        here, new = found.fields["dimension"], fields.get("dimension")
        if here != new:
            raise Conflict(
                f"Vector index {fields['id']!a} is there already with {here:g} dimensions, not "
                f"{new}; their vectors cannot be compared. Delete it there first, or leave this "
                "one and its vectors out."
            )


def _other_embedder(name: str, here: str | None) -> Conflict:
    there = "come from callers" if here is None else f"were made of texts by {here}"
    return Conflict(
        f"Vector index {name!a} is there already, and its vectors {there}, unlike those that are "
        "to be stored; they cannot be compared. Delete it there first, or leave this one out."
    )


class _Vectors(Target):
    def __init__(self, table: Table, documents: Documents, policy: Policy) -> None:
        super().__init__(table, documents, policy)
        self._notes = NoteReader(documents)

    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        bound = self._notes.bound(str(self.key_of(fields)["indexName"]))
        if bound is not None and bound.embedder != notes.get("embedder"):
            raise _other_embedder(bound.name, bound.embedder)
        if bound is not None and bound.of_messages and self._is_of_another(fields):
            return "dropped"
        return super().restore(fields, notes if bound is not None else {})

    def find(self, fields: Record) -> Row | None:
        row = super().find(fields)
        if row is None or not self._notes.is_stale(row):
            return row
        if not self.policy.dry_run:
            self.documents.delete(VECTORS, row)
        return None

    def has_notes(self, found: Row, notes: Notes) -> bool:
        return self._notes.of(self.table, found) == notes

    def store(self, fields: Record, notes: Notes) -> None:
        super().store(fields, notes)
        self._arrived(fields, notes)

    def replace(self, found: Row, fields: Record, notes: Notes) -> Outcome | None:
        outcome = super().replace(found, fields, notes)
        self._arrived(fields, notes)
        return outcome

    def _arrived(self, fields: Record, notes: Notes) -> None:
        bound = self._notes.bound(fields["indexName"])
        if bound is not None:
            vector_arrived(self.documents, bound, fields["id"], notes.get("text"))

    def _is_of_another(self, fields: Record) -> bool:
        """Whether the message here under this id is not the one that the vector was made from."""
        message = self.documents.first(MESSAGES, id=fields["id"])
        metadata = fields.get("metadata")
        if message is None or not isinstance(metadata, Mapping):
            return False
        return bool(metadata.get("created_at") not in (None, message.fields["createdAt"]))


class _Cache(Target):
    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        if is_dead(self.documents, fields):
            return "dropped"
        found = self.find(fields)
        if found is not None and not is_dead(self.documents, found.fields):
            return super().restore(fields, notes)
        # Items that are left of what was there must not become those of the new row.
        if self.policy.dry_run:
            return "stored"
        if not self._make_room(fields["key"], 0):
            return None
        if found is None:
            self.store(fields, notes)
        else:
            super().replace(found, fields, notes)
        return "stored"

    def replace(self, found: Row, fields: Record, notes: Notes) -> Outcome | None:
        length = number_in(fields, "counter") if fields.get("kind") == "list" else 0
        if not self._make_room(fields["key"], length):
            # Nobody sees half a list: until the rest is gone there is none.
            self.documents.patch(CACHE, found, {"kind": "deleted", "expiresAt": 0})
            return None
        return super().replace(found, fields, notes)

    def _make_room(self, key: str, length: float) -> bool:
        """Remove items from a position on, some at a time; say whether all of them are gone."""
        items = list(
            self.documents.scan(
                CACHE_LIST_ITEMS,
                {"key": key},
                order=("index",),
                where='"index" >= ?',
                bound=(length,),
                limit=CASCADE_DELETE_ROWS + 1,
            )
        )
        for item in items[:CASCADE_DELETE_ROWS]:
            self.documents.delete(CACHE_LIST_ITEMS, item)
        return len(items) <= CASCADE_DELETE_ROWS


class _CacheItems(Target):
    def __init__(self, table: Table, documents: Documents, policy: Policy) -> None:
        super().__init__(table, documents, policy)
        self._lengths: dict[str, float | None] = {}

    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        key = str(self.key_of(fields)["key"])
        if key not in self._lengths:
            self._lengths[key] = list_length(self.documents, key)
        length = self._lengths[key]
        if length is None or number_in(fields, "index") >= length:
            # An item beyond its list would come back as one of the next that are pushed.
            would_fit = self.policy.dry_run and (length is None or self.policy.replace)
            return "stored" if would_fit else "dropped"
        return super().restore(fields, notes)


class _NativeRows(Target):
    def __init__(self, native: NativeTable, documents: Documents, policy: Policy) -> None:
        super().__init__(NATIVE_VECTORS, documents, policy)
        self._native = native

    def restore(self, fields: Record, notes: Notes) -> Outcome | None:
        native = self._native
        record = dict(fields)
        vector = record.pop(native.vector_field, None)
        record_id = record.get(native.id_field)
        if not isinstance(record_id, str):
            raise InvalidArgument(f"A row of {native.name} needs text in {native.id_field}.")
        if not is_finite_vector(vector):
            raise InvalidArgument(
                f"A row of {native.name} needs an array of finite numbers in {native.vector_field}."
            )
        if len(vector) != native.dimension:
            raise mismatch(native.name, native.dimension, len(vector))
        row = {
            "table": native.name,
            "recordId": record_id,
            "record": record,
            "embedding": [float(number) for number in vector],
        }
        return super().restore(row, notes)

    def key_of(self, fields: Record) -> Record:
        return {"table": fields["table"], "recordId": fields["recordId"]}


_KINDS: Final[Mapping[Table, type[Target]]] = {
    THREADS: _Threads,
    MESSAGES: _Messages,
    VECTOR_INDEXES: _VectorIndexes,
    VECTORS: _Vectors,
    CACHE: _Cache,
    CACHE_LIST_ITEMS: _CacheItems,
}


def target_named(documents: Documents, name: str, native: Any, policy: Policy) -> Target:
    """Return where the rows of a table go.

    Args:
        documents: The transaction.
        name: The table.
        native: What is said of a native vector table: its dimension, id and vector field.
        policy: How rows are stored.

    Raises:
        NotFound: There is no such table, and none can be made.
        InvalidArgument: The native vector table there has other fields, or `native` is wrong.
        DimensionMismatch: It has another dimension.
    """
    table = TABLES.get(name)
    if table is not None and table is not NATIVE_VECTORS:
        return _KINDS.get(table, Target)(table, documents, policy)
    found = established(documents, name, native, dry_run=policy.dry_run)
    return _NativeRows(found, documents, policy)


# --- The cache


def is_dead(documents: Documents, fields: Record) -> bool:
    """Whether a row of the cache is as if it were not there: expired, or being removed."""
    expires_at = fields.get("expiresAt")
    is_expired = isinstance(expires_at, int | float) and expires_at <= documents.now_ms()
    return fields.get("kind") == "deleted" or is_expired


def list_length(documents: Documents, key: str) -> float | None:
    """Return how many items the list of a key has, or None when there is no such list."""
    row = documents.first(CACHE, key=key)
    if row is None or row.fields["kind"] != "list" or is_dead(documents, row.fields):
        return None
    return number_in(row.fields, "counter")


def number_in(fields: Record, name: str) -> float:
    """Return a number of a row; 0 when it is absent, or no number."""
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
