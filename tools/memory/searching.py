"""Searching messages across threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from convex_memory.limits import SEARCH_QUERY_CHARS_MAX, SEARCH_RESULTS_MAX
from convex_memory.recall import Recalled, RecalledMessage
from convex_memory.records import Message
from tools.adapters import Adapters
from tools.arguments import Id
from tools.budget import CHARS_DEFAULT, Budget, MaxChars, ShownMessage
from tools.memory.toolset import Metadata, Role, Time, memory
from tools.toolset import Answer, Arguments, Progress


class SearchMemoryArguments(Arguments):
    """Arguments of `search_memory`."""

    query: Annotated[str, Field(min_length=1, max_length=SEARCH_QUERY_CHARS_MAX)]
    limit: Annotated[int, Field(ge=1, le=SEARCH_RESULTS_MAX)] = 10
    thread_id: Id | None = None
    role: Role | None = None
    since: Time | None = None
    until: Time | None = None
    metadata: Annotated[Metadata | None, Field(description="Members that must be equal.")] = None
    neighbours: Annotated[
        int, Field(ge=0, le=5, description="Messages before and after each hit.")
    ] = 0
    max_chars: MaxChars = CHARS_DEFAULT
    cursor: str | None = None


class SearchHitShown(Answer):
    """One message found."""

    message_id: str
    thread_id: str
    role: str
    content: str
    created_at: str
    score: float
    reasons: dict[str, float]
    metadata: dict[str, object] | None = None
    cut: bool | None = None
    chars: int | None = None
    metadata_chars: int | None = None
    expires_at: str | None = None
    before: list[ShownMessage] | None = None
    after: list[ShownMessage] | None = None


class SearchedMemory(Answer):
    """Messages found, best first."""

    hits: list[SearchHitShown]
    exhausted: bool
    searched: list[str]
    pending: int
    next_cursor: str | None
    note: Annotated[str | None, Field(description="Why meaning was not searched.")] = None


@memory.tool("Search memory", reads=True)
async def search_memory(
    arguments: SearchMemoryArguments, adapters: Adapters, progress: Progress
) -> SearchedMemory:
    """Find what was said, across all threads. Use it before answering anything about the past."""
    recalled = await adapters.recall.search(
        arguments.query,
        limit=arguments.limit,
        resource_id=adapters.resource_id,
        thread_id=arguments.thread_id,
        role=arguments.role,
        since=arguments.since,
        until=arguments.until,
        metadata=arguments.metadata,
        neighbours=arguments.neighbours,
        cursor=arguments.cursor,
    )
    return SearchedMemory(
        hits=_shown_hits(recalled, arguments.max_chars),
        exhausted=recalled.exhausted,
        searched=list(recalled.searched),
        pending=recalled.pending,
        next_cursor=recalled.cursor,
        note=recalled.note,
    )


def _shown_hits(recalled: Recalled, max_chars: int) -> list[SearchHitShown]:
    budget = Budget(max_chars, len(recalled.hits))
    hits = []
    for hit in recalled.hits:
        shown = budget.show(hit.message, mark=hit.marks.get(hit.message.id))
        hits.append(
            SearchHitShown(
                message_id=shown.id,
                thread_id=hit.message.thread_id,
                role=shown.role,
                content=shown.content,
                created_at=shown.created_at,
                score=round(hit.score, 4),
                reasons={name: round(part, 4) for name, part in hit.reasons.items()},
                metadata=shown.metadata,
                cut=shown.cut,
                chars=shown.chars,
                metadata_chars=shown.metadata_chars,
                expires_at=shown.expires_at,
                before=_shown_beside(hit.before, hit, budget),
                after=_shown_beside(hit.after, hit, budget),
            )
        )
    return hits


def _shown_beside(
    messages: Sequence[Message], hit: RecalledMessage, budget: Budget
) -> list[ShownMessage] | None:
    shown = [
        budget.show(message, mark=hit.marks.get(message.id))
        for message in messages
        if budget.left > 0
    ]
    return shown or None
