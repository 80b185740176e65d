"""`memory/search:*`: messages found by their words, and by their meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from convex_memory.conditions import equal
from convex_memory.embedded import embedding_queue, lexical
from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    text_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import (
    in_scope,
    marks_of,
    read_cursor,
    scope_of,
    write_cursor,
)
from convex_memory.embedded.functions.memory.similar import (
    Question,
    nearest_messages,
    query_vector,
    similarities,
)
from convex_memory.embedded.tables import MESSAGES
from convex_memory.errors import Conflict, InvalidArgument, LimitExceeded
from convex_memory.filters import Filter, from_wire
from convex_memory.limits import (
    SEARCH_CANDIDATES_MAX,
    SEARCH_QUERY_CHARS_MAX,
    SEARCH_RESULTS_MAX,
    VECTOR_RESULTS_MAX,
)
from convex_memory.records import iso_text
from convex_memory.search_words import telling_words
from convex_memory.values import Value

_LOOKED_UP: Final = 256
"""Messages that are looked up at a time, best first, to see whether they are still there."""


def messages(documents: Documents, args: Args) -> Value:
    """Return the messages that match a query best, a page at a time."""
    allow_only(
        args, "query", "limit", "resourceId", "threadId", "role", "since", "until", "metadata",
        "cursor", "idsOnly",
    )  # fmt: skip
    ids_only = args.get("idsOnly") is True
    most = SEARCH_CANDIDATES_MAX if ids_only else SEARCH_RESULTS_MAX
    limit = whole_argument(args, "limit", 1, most)
    query = _query(args)
    question = f"search:{' '.join(telling_words(query))}"
    position = read_cursor(args, question, (int,))
    skip = position[0] if position else 0
    found = list(islice(_matches(documents, query, args), skip, skip + limit + 1))
    more, found = len(found) > limit, found[:limit]
    cursor = write_cursor(question, skip + limit) if more else None
    answer: Record = {"cursor": cursor, "exhausted": not more, "marks": []}
    if ids_only:
        return {**answer, "hits": [{"id": each.id, **each.parts()} for each in found]}
    hits = [(documents.at(MESSAGES, each.sequence), each) for each in found]
    rows = [row for row, _ in hits if row is not None]
    return {
        **answer,
        "hits": [
            {"message": documents.doc(MESSAGES, row), **each.parts()}
            for row, each in hits
            if row is not None
        ],
        "marks": marks_of(documents, rows),
    }


def semantic(documents: Documents, args: Args) -> Value:
    """Return the messages whose vectors are most similar to one, and how similar others are."""
    allow_only(
        args, "vector", "embedder", "limit", "ids", "resourceId", "threadId", "role", "since",
        "until", "metadata",
    )  # fmt: skip
    limit = whole_argument(args, "limit", 1, VECTOR_RESULTS_MAX)
    embedder = text_argument(args, "embedder")
    bound = embedding_queue.message_binding(documents.connection)
    if bound is None or bound.embedder != embedder:
        raise Conflict(f"The messages of this memory are not embedded by {embedder}.")
    vector = query_vector(args.get("vector"), bound)
    ids = args.get("ids") or []
    if not isinstance(ids, list) or len(ids) > VECTOR_RESULTS_MAX:
        raise InvalidArgument(f"ids must be an array of at most {VECTOR_RESULTS_MAX} ids.")
    hits: list[Value] = []
    question = Question(bound, vector, _vector_filter(args), _conditions(args))
    for found in nearest_messages(documents, question, limit):
        visible = _seen(documents, [record_id for record_id, _ in found], args)
        hits += [
            {"id": record_id, "score": score} for record_id, score in found if record_id in visible
        ][: limit - len(hits)]
        if len(hits) >= limit:
            break
    return {
        "hits": hits,
        "scores": [list(pair) for pair in similarities(documents, bound, vector, ids)],
        "exhausted": len(hits) < limit,
        "pending": embedding_queue.waiting(documents.connection, bound.name, scope_of(args)),
    }


# --- By words


def _query(args: Args) -> str:
    query: str = text_argument(args, "query")
    if len(query) > SEARCH_QUERY_CHARS_MAX:
        raise LimitExceeded(
            f"query has {len(query):,} characters; at most {SEARCH_QUERY_CHARS_MAX:,} are searched "
            "for. Ask with the words that matter."
        )
    return query


@dataclass(frozen=True, slots=True)
class _Match:
    sequence: int
    id: str
    score: float
    near: bool

    def parts(self) -> Record:
        return {"score": self.score, "near": True} if self.near else {"score": self.score}


def _matches(documents: Documents, query: str, args: Args) -> Iterator[_Match]:
    conditions = _conditions(args)
    wanted = _metadata_wanted(args)
    found = lexical.search(documents, query, conditions)
    while batch := list(islice(found, _LOOKED_UP)):
        seen = _ids_of(documents, [each.sequence for each in batch])
        for each in batch:
            record_id = seen.get(each.sequence)
            if record_id is None:
                continue
            row = None
            if wanted or not each.is_own:
                row = documents.at(MESSAGES, each.sequence)
            if row is None or (
                has_metadata(row, wanted) and in_scope(documents, row, conditions.resource)
            ):
                yield _Match(each.sequence, record_id, each.score, each.near)


def _ids_of(documents: Documents, sequences: Sequence[int]) -> dict[int, str]:
    """Return the ids of those messages that are there and not removed, by sequence."""
    connection = documents.connection
    removed = ""
    if connection.execute("SELECT 1 FROM removals LIMIT 1").fetchone():
        removed = (
            "WHERE NOT EXISTS (SELECT 1 FROM removals r "
            "WHERE r.thread = m.thread_id AND m._sequence <= r.upto)"
        )
    rows = connection.execute(
        "SELECT m._sequence, m.id FROM json_each(?) s "
        f"JOIN mastra_messages m ON m._sequence = s.value {removed}",
        (json.dumps(sequences),),
    )
    return dict(rows.fetchall())


def _conditions(args: Args) -> lexical.Conditions:
    return lexical.Conditions(
        resource=scope_of(args),
        thread=text_argument(args, "threadId", optional=True),
        role=text_argument(args, "role", optional=True),
        since_ms=_milliseconds(args, "since"),
        until_ms=_milliseconds(args, "until"),
        metadata=_metadata_wanted(args),
    )


def _milliseconds(args: Args, name: str) -> int | None:
    given = text_argument(args, name, optional=True)
    if given is None:
        return None
    return round(datetime.fromisoformat(iso_text(given, name)).timestamp() * 1000)


# --- By meaning


def _vector_filter(args: Args) -> Filter:
    """Return what is asked of the metadata of vectors; times are looked at beside it."""
    conditions: list[Any] = [
        ["eq", field, value]
        for field, name in (
            ("resource_id", "resourceId"), ("thread_id", "threadId"), ("role", "role")
        )
        if (value := text_argument(args, name, optional=True)) is not None
    ]  # fmt: skip
    return from_wire(["and", conditions])


def _seen(documents: Documents, ids: Sequence[str], args: Args) -> set[str]:
    """Return which of those are messages that the caller may see and asks for."""
    scope, wanted = scope_of(args), _metadata_wanted(args)
    rows = documents.connection.execute(
        "SELECT m.id, m._sequence, m.resourceId FROM json_each(?) s "
        "JOIN mastra_messages m ON m.id = s.value",
        (json.dumps(ids),),
    ).fetchall()
    there = _ids_of(documents, [sequence for _, sequence, _ in rows])
    seen: set[str] = set()
    for record_id, sequence, resource in rows:
        if sequence not in there:
            continue
        row = documents.at(MESSAGES, sequence) if wanted or scope != resource else None
        if row is None or (has_metadata(row, wanted) and in_scope(documents, row, scope)):
            seen.add(record_id)
    return seen


# --- Metadata


def _metadata_wanted(args: Args) -> Mapping[str, Any]:
    wanted = args.get("metadata") or {}
    if not isinstance(wanted, Mapping):
        raise InvalidArgument("metadata must be an object of the values to match.")
    return wanted


def has_metadata(message: Row, wanted: Mapping[str, Any]) -> bool:
    """Whether a message's metadata has members equal to those wanted."""
    if not wanted:
        return True
    try:
        metadata: Record = json.loads(message.fields["content"])["metadata"]
    except (ValueError, TypeError, KeyError):
        return False
    return isinstance(metadata, Mapping) and all(
        name in metadata and equal(metadata[name], value) for name, value in wanted.items()
    )
