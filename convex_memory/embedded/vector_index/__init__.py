"""The vector index of the embedded deployment: in memory, in step with the rows, exact.

SQLite holds every vector; this is a cache of them, small and fast to scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convex_memory.embedded.vector_index.changes import forget_file
from convex_memory.embedded.vector_index.scope import Scope, Scored, is_finite_vector
from convex_memory.embedded.vector_index.wanted import Wanted, wanted_by

if TYPE_CHECKING:
    from convex_memory.embedded.documents import Documents

__all__ = [
    "Scope",
    "Scored",
    "Wanted",
    "count",
    "forget_file",
    "is_finite_vector",
    "nearest",
    "nearly_nearest",
    "wanted_by",
]


def count(documents: Documents, scope: Scope, dimension: int) -> int:
    """Return how many rows an index has that was just searched, without counting them.

    Args:
        documents: The transaction.
        scope: Which index; its `after` counts for nothing here.
        dimension: The length of its vectors.
    """
    from convex_memory.embedded.vector_index import searching

    return searching.count(documents, scope, dimension)


def nearest(
    documents: Documents,
    scope: Scope,
    query: Sequence[float],
    limit: int,
    *,
    wanted: Wanted | None = None,
    comparable_only: bool = False,
) -> list[Scored]:
    """Return the `limit` rows most similar to `query`, equal ones in creation order.

    The answer is exactly that of scoring every row that the transaction sees.

    Args:
        documents: The transaction.
        scope: Where.
        query: The vector, of the index's dimension.
        limit: Most rows to return.
        wanted: Which rows take part (`wanted_by` of a filter); None for all.
        comparable_only: Leave out rows of another length or without direction (zero); without
            it they score -1, as the peer's scan has it.
    """
    # Imported on first use: it needs numpy, and most calls search no vectors.
    from convex_memory.embedded.vector_index import searching

    return searching.nearest(
        documents, scope, query, limit, wanted=wanted, comparable_only=comparable_only
    )


def nearly_nearest(
    documents: Documents, scope: Scope, query: Sequence[float], limit: int
) -> tuple[list[Scored], bool]:
    """Return nearly the `limit` most similar rows of a large index, and whether exactly them.

    A small index is searched exactly. In one of more than `lists.ROWS_LEAST` rows, those that
    were there when its lists were made are looked at where they are likely to be near; newer
    ones all. What is returned is scored exactly and in order; deleted rows are never among it.

    Args:
        documents: The transaction.
        scope: Where.
        query: The vector, of the index's dimension.
        limit: Most rows to return.
    """
    from convex_memory.embedded.vector_index import searching

    return searching.nearly_nearest(documents, scope, query, limit)
