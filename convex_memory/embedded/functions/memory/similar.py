"""The vectors of messages: which are most similar to one, and how similar given ones are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.embedding_queue import Binding
from convex_memory.embedded.functions.memory.vectors import vector_argument
from convex_memory.embedded.tables import VECTORS
from convex_memory.embedded.vector_index import Scope, nearest, wanted_by
from convex_memory.filters import Filter

if TYPE_CHECKING:
    from numpy.typing import NDArray


def query_vector(values: Any, bound: Binding) -> list[float]:
    """Return a vector argument of the dimension that messages have.

    Raises:
        InvalidArgument: It is no array of finite numbers.
        DimensionMismatch: It has another length.
    """
    return vector_argument(
        values, "vector", {"indexName": bound.name, "dimension": bound.dimension}
    )


def most_similar(
    documents: Documents, bound: Binding, vector: list[float], limit: int, wanted: Filter
) -> list[tuple[str, float]]:
    """Return the ids of the messages nearest to a vector with their cosine, best first."""
    scope = Scope(VECTORS, "indexName", bound.name, "metadata", after=bound.after)
    found = nearest(documents, scope, vector, limit, wanted=wanted_by(wanted))
    ids = dict(
        documents.connection.execute(
            "SELECT v._sequence, v.id FROM json_each(?) s "
            "JOIN mastra_vectors v ON v._sequence = s.value",
            (json.dumps([each.sequence for each in found]),),
        ).fetchall()
    )
    return [(ids[each.sequence], each.score) for each in found]


def similarities(
    documents: Documents, bound: Binding, vector: list[float], ids: Sequence[Any]
) -> list[list[Any]]:
    """Return `[id, cosine]` for those of the messages that have a vector."""
    import numpy as np

    texts = [each for each in ids if isinstance(each, str)]
    rows = documents.connection.execute(
        "SELECT v.id, v.embedding FROM json_each(?) s CROSS JOIN mastra_vectors v "
        "ON v.indexName = ? AND v.id = s.value WHERE +v._sequence > ?",
        (json.dumps(texts), bound.name, bound.after),
    ).fetchall()
    if not rows:
        return []
    matrix = np.stack([_numbers(blob) for _, blob in rows]).astype(np.float64)
    target = np.asarray(vector, dtype=np.float64)
    norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(target)
    cosines = np.divide(matrix @ target, norms, out=np.zeros(len(rows)), where=norms > 0)
    return [[record_id, float(score)] for (record_id, _), score in zip(rows, cosines, strict=True)]


def _numbers(blob: bytes) -> NDArray[Any]:
    import numpy as np

    kind = np.dtype(chr(blob[-1]))
    return np.frombuffer(blob, dtype=kind, count=len(blob) // kind.itemsize)
