"""`memory/search:messages`: full-text search over messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from convex_memory.conditions import equal
from convex_memory.embedded import search_text
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    text_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import read_cursor, write_cursor
from convex_memory.embedded.tables import MESSAGES
from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import SEARCH_QUERY_CHARS_MAX, SEARCH_RESULTS_MAX
from convex_memory.values import Value

_CONDITIONS: Final[Mapping[str, str]] = {
    "resourceId": (
        "(m.resourceId = :resourceId OR (m.resourceId IS NULL AND EXISTS (SELECT 1 FROM "
        "mastra_threads t WHERE t.id = m.thread_id AND t.resourceId = :resourceId)))"
    ),
    "threadId": "m.thread_id = :threadId",
    "role": "m.role = :role",
    "since": "m.createdAt >= :since",
    "until": "m.createdAt < :until",
}


def messages(documents: Documents, args: Args) -> Value:
    """Return the messages that match a query best, a page at a time."""
    allow_only(
        args, "query", "limit", "resourceId", "threadId", "role", "since", "until", "metadata",
        "cursor",
    )  # fmt: skip
    limit = whole_argument(args, "limit", 1, SEARCH_RESULTS_MAX)
    expression = _expression(args)
    question = f"search:{expression}"
    position = read_cursor(args, question, (int,))
    skip = position[0] if position else 0
    if expression is None:
        return {"hits": [], "cursor": None, "exhausted": True}
    hits: list[Value] = []
    more = False
    for place, (sequence, score) in enumerate(_matches(documents, expression, args)):
        if place < skip:
            continue
        if len(hits) == limit:
            more = True
            break
        row = documents.at(MESSAGES, sequence)
        if row is not None:
            hits.append({"message": documents.doc(MESSAGES, row), "score": score})
    cursor = write_cursor(question, skip + limit) if more else None
    return {"hits": hits, "cursor": cursor, "exhausted": not more}


def _expression(args: Args) -> str | None:
    query = text_argument(args, "query")
    if len(query) > SEARCH_QUERY_CHARS_MAX:
        raise LimitExceeded(
            f"query has {len(query):,} characters; at most {SEARCH_QUERY_CHARS_MAX:,} are searched "
            "for. Ask with the words that matter."
        )
    return search_text.match_expression(query)


def _matches(documents: Documents, expression: str, args: Args) -> Iterator[tuple[int, float]]:
    values = {name: text_argument(args, name, optional=True) for name in _CONDITIONS}
    conditions = [_CONDITIONS[name] for name, value in values.items() if value is not None]
    wanted = args.get("metadata") or {}
    if not isinstance(wanted, Mapping):
        raise InvalidArgument("metadata must be an object of the values to match.")
    rows = documents.connection.execute(
        f"SELECT m._sequence, bm25(message_text) AS rank, {'m.content' if wanted else 'NULL'} "
        "FROM message_text JOIN mastra_messages m ON m._sequence = message_text.rowid "
        "WHERE message_text MATCH :expression AND NOT EXISTS (SELECT 1 FROM removals r "
        "WHERE r.thread = m.thread_id AND m._sequence <= r.upto) "
        f"{''.join(f'AND {condition} ' for condition in conditions)}"
        "ORDER BY rank, m._sequence DESC",
        {**values, "expression": expression},
    )
    for sequence, rank, content in rows:
        if not wanted or _has_metadata(content, wanted):
            # FTS5 ranks best as most negative.
            yield sequence, -rank


def _has_metadata(content: str, wanted: Mapping[str, Any]) -> bool:
    try:
        metadata = json.loads(content)["metadata"]
    except (ValueError, TypeError, KeyError):
        return False
    return isinstance(metadata, Mapping) and all(
        name in metadata and equal(metadata[name], value) for name, value in wanted.items()
    )
