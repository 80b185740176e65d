"""The vectors of messages: which are most similar to one, and how similar given ones are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from convex_memory.embedded import lexical
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.embedding_queue import Binding
from convex_memory.embedded.functions.memory.vectors import vector_argument
from convex_memory.embedded.lexical import Conditions
from convex_memory.embedded.tables import VECTORS
from convex_memory.embedded.vector_index import Scope, nearest, wanted_by
from convex_memory.filters import Filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILTERED_OUT: Final = 16
"""Messages that may be removed, or another's, before more are looked for."""
_GROWTH: Final = 8


def query_vector(values: Any, bound: Binding) -> list[float]:
    """Return a vector argument of the dimension that messages have.

    Raises:
        InvalidArgument: It is no array of finite numbers.
        DimensionMismatch: It has another length.
    """
    return vector_argument(
        values, "vector", {"indexName": bound.name, "dimension": bound.dimension}
    )


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for by meaning.

    Attributes:
        bound: The index of the vectors of messages.
        vector: What they are compared with.
        wanted: What is asked of their metadata: equalities.
        conditions: The same of the messages, and what else is asked of them.
    """

    bound: Binding
    vector: list[float]
    wanted: Filter
    conditions: Conditions


def nearest_messages(
    documents: Documents, question: Question, limit: int
) -> Iterator[list[tuple[str, float]]]:
    """Yield the ids of messages with their cosine, best first, some at a time.

    Some of them may be removed, or another's: the caller looks at each.

    Args:
        documents: The transaction.
        question: What is looked for.
        limit: How many the caller wants.
    """
    asked = limit + _FILTERED_OUT
    conditions = question.conditions
    if conditions.are_equalities:
        yield from _growing(documents, question, asked)
        return
    within, of = lexical.wanted_messages(documents, conditions)
    most = int(asked * of / max(1, len(within)))
    ids = _ids_of(documents, within)
    if len(ids) <= most:
        # To compare these few is less than to find as many among all.
        scored = similarities(documents, question.bound, question.vector, ids)
        yield sorted(scored, key=lambda pair: -pair[1])
        return
    wanted = frozenset(ids)
    for found in _growing(documents, question, most):
        yield [pair for pair in found if pair[0] in wanted]


def _growing(
    documents: Documents, question: Question, asked: int
) -> Iterator[list[tuple[str, float]]]:
    seen = 0
    while True:
        found = _most_similar(documents, question, asked)
        yield found[seen:]
        seen = len(found)
        if seen < asked:
            return
        # What is filtered out, or no message of ours, leaves room for more.
        asked *= _GROWTH


def _most_similar(documents: Documents, question: Question, limit: int) -> list[tuple[str, float]]:
    bound = question.bound
    scope = Scope(VECTORS, "indexName", bound.name, "metadata", after=bound.after)
    wanted = wanted_by(question.wanted)
    found = nearest(documents, scope, question.vector, limit, wanted=wanted)
    ids = dict(
        documents.connection.execute(
            "SELECT v._sequence, v.id FROM json_each(?) s "
            "JOIN mastra_vectors v ON v._sequence = s.value",
            (json.dumps([each.sequence for each in found]),),
        ).fetchall()
    )
    return [(ids[each.sequence], each.score) for each in found]


def _ids_of(documents: Documents, sequences: Sequence[int]) -> list[str]:
    rows = documents.connection.execute(
        "SELECT m.id FROM json_each(?) s JOIN mastra_messages m ON m._sequence = s.value",
        (json.dumps(sequences),),
    )
    return [row[0] for row in rows]


def similarities(
    documents: Documents, bound: Binding, vector: list[float], ids: Sequence[Any]
) -> list[tuple[str, float]]:
    """Return id and cosine of those of the messages that have a vector."""
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
    return [(record_id, float(score)) for (record_id, _), score in zip(rows, cosines, strict=True)]


def _numbers(blob: bytes) -> NDArray[Any]:
    import numpy as np

    kind = np.dtype(chr(blob[-1]))
    return np.frombuffer(blob, dtype=kind, count=len(blob) // kind.itemsize)
