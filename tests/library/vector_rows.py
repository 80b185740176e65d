"""What the tests of the vector index share: rows, and the answer that scoring each one gives."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.migrations import migrate
from convex_memory.embedded.tables import VECTORS
from convex_memory.embedded.vector_index import Scope, nearest, wanted_by
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.embedded.vector_index.scoring import direction, scores_of, unit_rows
from convex_memory.filters import parse

SCOPE: Final = Scope(VECTORS, "indexName", "i", "metadata")
Found = list[tuple[int, float]]


def new_database(path: Path | str = ":memory:") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, Path(path))
    return connection


def documents_of(
    connection: sqlite3.Connection, indexes: VectorIndexes, *, writable: bool = False
) -> Documents:
    return Documents(
        connection, b"saltsalt", lambda: 0, lambda: 0, writable=writable, vectors=indexes
    )


def insert(
    connection: sqlite3.Connection,
    vector: Sequence[float],
    metadata: Any = None,
    name: str = "i",
) -> int:
    record: dict[str, Any] = {"id": "x", "indexName": name, "embedding": list(vector)}
    if metadata is not None:
        record["metadata"] = metadata
    documents = documents_of(connection, VectorIndexes(), writable=True)
    return documents.insert(VECTORS, record).sequence


def patch(connection: sqlite3.Connection, sequence: int, **changes: Any) -> None:
    documents = documents_of(connection, VectorIndexes(), writable=True)
    row = documents.at(VECTORS, sequence)
    assert row is not None
    documents.patch(VECTORS, row, changes)


def delete(connection: sqlite3.Connection, sequence: int) -> None:
    documents = documents_of(connection, VectorIndexes(), writable=True)
    row = documents.at(VECTORS, sequence)
    assert row is not None
    documents.delete(VECTORS, row)


def found(
    connection: sqlite3.Connection,
    indexes: VectorIndexes,
    query: Sequence[float],
    limit: int = 10,
    *,
    filter: Mapping[str, Any] | None = None,
    comparable_only: bool = False,
    writable: bool = False,
    scope: Scope = SCOPE,
) -> Found:
    """Return what the index answers, as (sequence, score); in a transaction, as always."""
    if not connection.in_transaction:
        connection.execute("BEGIN")
        try:
            return found(
                connection, indexes, query, limit,
                filter=filter, comparable_only=comparable_only, scope=scope,
            )  # fmt: skip
        finally:
            connection.execute("ROLLBACK")
    matches = nearest(
        documents_of(connection, indexes, writable=writable),
        scope,
        query,
        limit,
        wanted=wanted_by(parse(filter)),
        comparable_only=comparable_only,
    )
    return [(each.sequence, each.score) for each in matches]


def scored_one_by_one(
    connection: sqlite3.Connection,
    query: Sequence[float],
    limit: int = 10,
    *,
    filter: Mapping[str, Any] | None = None,
    comparable_only: bool = False,
    scope: Scope = SCOPE,
) -> Found:
    """Return what there is to answer: every row looked at, and scored by itself."""
    target, wanted = direction(query), parse(filter)
    rows = connection.execute(
        "SELECT _sequence, embedding, metadata FROM mastra_vectors "
        "WHERE indexName = ? AND _sequence > ?",
        (scope.name, scope.after),
    )
    scored = []
    for sequence, blob, metadata in rows:
        if not wanted.matches(None if metadata is None else json.loads(metadata)):
            continue
        unit, comparable = unit_rows([blob], len(query))
        if target is not None and comparable[0]:
            scored.append((-float(scores_of(unit, target)[0]), sequence))
        elif not comparable_only:
            scored.append((1.0, sequence))
    return [(sequence, -score) for score, sequence in sorted(scored)[:limit]]
