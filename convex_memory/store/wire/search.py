"""`memory/search:messages` over the storage function: messages are read, and ranked here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from convex_memory.arguments import Args, text_argument, whole_argument
from convex_memory.conditions import equal
from convex_memory.cursors import read_cursor, write_cursor
from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import (
    SEARCH_CANDIDATES_MAX,
    SEARCH_QUERY_CHARS_MAX,
    SEARCH_RESULTS_MAX,
)
from convex_memory.records import Message
from convex_memory.search_words import match_expression
from convex_memory.store.wire.messages import is_wanted
from convex_memory.store.wire.ranking import ranked
from convex_memory.store.wire.rows import (
    READS_AT_ONCE,
    Row,
    Rows,
    at_once,
    position,
    scope_of,
)
from convex_memory.text import message_text
from convex_memory.values import Value

MESSAGES_MAX: Final = 10_000
"""Messages after which a search reads no further thread."""


@dataclass(frozen=True, slots=True)
class _Corpus:
    """The messages that are searched, and whether these are all there are."""

    messages: list[Row]
    complete: bool


async def messages(rows: Rows, args: Args) -> Value:
    """Return the messages that match a query best, a page at a time.

    Where the messages are more than one call returns, the threads are read newest first, until
    10,000 messages were read; then, and when a thread cannot be read, `exhausted` is false.
    """
    ids_only = args.get("idsOnly") is True
    most = SEARCH_CANDIDATES_MAX if ids_only else SEARCH_RESULTS_MAX
    limit = whole_argument(args, "limit", 1, most)
    expression = _expression(args)
    question = f"wire:search:{expression}"
    after = read_cursor(args, question, (int,))
    skipped = after[0] if after else 0
    wanted = args.get("metadata") or {}
    if not isinstance(wanted, Mapping):
        raise InvalidArgument("metadata must be an object of the values to match.")
    if expression is None:
        return {"hits": [], "cursor": None, "exhausted": True, "marks": []}
    corpus = await _corpus(rows, scope_of(args), args)
    found = [
        (row, score)
        for row, score in await asyncio.to_thread(_best, corpus.messages, expression)
        if is_wanted(row, args) and _has_metadata(row, wanted)
    ]
    hits: list[Value] = [
        {**({"id": row["id"]} if ids_only else {"message": row}), "score": score}
        for row, score in found[skipped : skipped + limit]
    ]
    more = len(found) > skipped + limit
    return {
        "hits": hits,
        "cursor": write_cursor(question, skipped + limit) if more else None,
        "exhausted": corpus.complete and not more,
        "marks": [],
    }


def _expression(args: Args) -> str | None:
    query = text_argument(args, "query")
    if len(query) > SEARCH_QUERY_CHARS_MAX:
        raise LimitExceeded(
            f"query has {len(query):,} characters; at most {SEARCH_QUERY_CHARS_MAX:,} are searched "
            "for. Ask with the words that matter."
        )
    return match_expression(query)


def _best(found: list[Row], expression: str) -> list[tuple[Row, float]]:
    # Of equal scores the message stored last comes first.
    stored = sorted(found, key=lambda row: float(row.get("_creationTime") or 0))
    texts = [message_text(row["content"]) for row in stored]
    return [(stored[place], score) for place, score in ranked(texts, expression)]


def _has_metadata(row: Row, wanted: Mapping[str, Any]) -> bool:
    if not wanted:
        return True
    metadata = Message.from_row(row).metadata
    return all(name in metadata and equal(metadata[name], value) for name, value in wanted.items())


# --- What is searched


async def _corpus(rows: Rows, scope: str | None, args: Args) -> _Corpus:
    thread_id = text_argument(args, "threadId", optional=True)
    if thread_id is not None:
        return _Corpus(await rows.in_scope(await rows.messages_in(thread_id), scope), True)
    if scope in rows.in_pieces:
        return await _newest(rows, scope)
    try:
        found = await rows.messages_of(scope)
    except LimitExceeded:
        # A call that fails for its size has read a lot: it is not tried again.
        rows.in_pieces.add(scope)
        return await _newest(rows, scope)
    return _Corpus(found + await _without_resource(rows, scope, found), True)


async def _without_resource(rows: Rows, scope: str | None, found: list[Row]) -> list[Row]:
    """Return the messages of threads of which none is stored under the resource itself.

    Old versions stored messages without a resource; whose they are, only their thread says.
    """
    if scope is None:
        return []
    known = {row.get("thread_id") for row in found}
    others = [thread["id"] for thread in await rows.threads(scope) if thread["id"] not in known]
    messages = [row for part in await at_once(rows.messages_in, others) for row in part]
    return [row for row in messages if row.get("resourceId") is None]


async def _newest(rows: Rows, scope: str | None) -> _Corpus:
    threads = sorted(
        await rows.threads(scope), key=lambda row: position(row, "updatedAt"), reverse=True
    )
    found: list[Row] = []
    failed: LimitExceeded | None = None

    async def read(thread: Row) -> list[Row] | LimitExceeded:
        try:
            return await rows.messages_in(thread["id"])
        except LimitExceeded as error:
            return error

    for start in range(0, len(threads), READS_AT_ONCE):
        if len(found) >= MESSAGES_MAX:
            return _Corpus(found, False)
        for part in await at_once(read, threads[start : start + READS_AT_ONCE]):
            if isinstance(part, LimitExceeded):
                failed = part
            else:
                found += [row for row in part if _is_of(row, scope)]
    if failed is not None and not found:
        raise failed
    return _Corpus(found, failed is None)


def _is_of(row: Row, scope: str | None) -> bool:
    return scope is None or row.get("resourceId") in (None, scope)
