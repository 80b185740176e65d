"""Exact nearest neighbours: every vector of an index against the query, in float32.

This is the interface a faster index stands behind: callers name the rows they search by table
and scope, and get sequences with cosine scores, best first, equal scores in creation order.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.tables import Table

if TYPE_CHECKING:
    import numpy

_BLOCK_ROWS: Final = 1024
"""Rows scored at a time: few enough to stay in cache, enough to keep numpy busy."""
_SMALL: Final = 1e-30
_LARGE: Final = 1e30
"""Magnitudes that float32 holds with room to spare."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows to search.

    Attributes:
        table: The table.
        key: The column that names the index.
        name: The index's name.
        document: The column with the metadata a filter looks at, as JSON text.
    """

    table: Table
    key: str
    name: str
    document: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One row and its cosine similarity in [-1, 1]; -1 where there is none."""

    sequence: int
    score: float


def nearest(
    documents: Documents,
    scope: Scope,
    query: list[float],
    limit: int,
    *,
    keep: Callable[[Any], bool] | None = None,
    comparable_only: bool = False,
) -> list[Scored]:
    """Return the `limit` rows most similar to `query`.

    Args:
        documents: The snapshot to search.
        scope: Where.
        query: The vector, of the index's dimension.
        limit: Most rows to return.
        keep: Given a row's document column, whether the row takes part.
        comparable_only: Leave out rows of another length or without direction (zero); without
            it they score -1, as the peer's scan has it.
    """
    import numpy as np

    target = _in_reach(np.asarray(query, dtype=np.float64)).astype(np.float32)
    # The norm in float64: squares of large float32 coordinates overflow float32.
    norm = float(np.linalg.norm(target.astype(np.float64)))
    unit = (target / np.float32(norm)) if norm > 0 else target
    sequences: list[np.ndarray[Any, Any]] = []
    scores: list[np.ndarray[Any, Any]] = []
    for block_sequences, blobs in _blocks(documents.connection, scope, keep):
        matrix, comparable = _unit_rows(blobs, len(query))
        block_scores = np.full(len(blobs), -1.0, dtype=np.float32)
        if norm > 0:
            # Not BLAS: its last bit depends on a row's place, and equal rows must score equal.
            block_scores[comparable] = np.einsum("ij,j->i", matrix, unit)
        if comparable_only:
            wanted = comparable if norm > 0 else np.zeros(len(blobs), dtype=bool)
            block_sequences, block_scores = block_sequences[wanted], block_scores[wanted]
        sequences.append(block_sequences)
        scores.append(block_scores)
    if not scores:
        return []
    every_score, every_sequence = np.concatenate(scores), np.concatenate(sequences)
    order = np.lexsort((every_sequence, -every_score))[:limit]
    return [Scored(int(every_sequence[at]), float(every_score[at])) for at in order]


def _blocks(
    connection: sqlite3.Connection, scope: Scope, keep: Callable[[Any], bool] | None
) -> Iterator[tuple[numpy.ndarray[Any, Any], list[bytes]]]:
    import numpy as np

    document = f'"{scope.document}"' if keep else "1"
    cursor = connection.execute(
        f'SELECT "_sequence", "embedding", {document} FROM "{scope.table.name}" '
        f'WHERE "{scope.key}" = ? ORDER BY "_sequence"',
        (scope.name,),
    )
    while rows := cursor.fetchmany(_BLOCK_ROWS):
        if keep is not None:
            rows = [row for row in rows if keep(row[2])]
        if rows:
            yield np.asarray([row[0] for row in rows], dtype=np.int64), [row[1] for row in rows]


def _unit_rows(
    blobs: list[bytes], dimension: int
) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
    """Return the comparable rows as unit vectors, and which rows those are."""
    import numpy as np

    length32 = dimension * 4 + 1
    if all(len(blob) == length32 and blob[-1:] == b"f" for blob in blobs):
        raw = np.frombuffer(b"".join(blobs), dtype=np.uint8).reshape(len(blobs), length32)
        rows = np.ascontiguousarray(raw[:, :-1]).view(np.float32)
        comparable = np.ones(len(blobs), dtype=bool)
    else:
        vectors = [
            np.frombuffer(
                blob,
                dtype=np.dtype(chr(blob[-1])),
                count=len(blob) // (4 if blob[-1:] == b"f" else 8),
            )
            for blob in blobs
        ]
        comparable = np.asarray([len(vector) == dimension for vector in vectors])
        rows = np.zeros((int(comparable.sum()), dimension), dtype=np.float64)
        for at, vector in enumerate(v for v in vectors if len(v) == dimension):
            rows[at] = _in_reach(vector)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    directed = norms > 0
    comparable[np.flatnonzero(comparable)[~directed]] = False
    units = (rows[directed] / norms[directed][:, None]).astype(np.float32)
    return units, comparable


def _in_reach(vector: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """Scale a vector that float32, or the square of a float64, cannot hold.

    Only its direction counts.
    """
    largest = float(abs(vector).max(initial=0))
    return vector if largest == 0 or _SMALL < largest < _LARGE else vector / largest


def is_finite_vector(values: Any) -> bool:
    """Whether `values` is a list of finite numbers."""
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )
