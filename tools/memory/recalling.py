"""Reading one thread: a page of it, the surroundings of a message, or what matters for a query."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from convex_memory.errors import InvalidArgument
from convex_memory.limits import (
    NEIGHBOURS_MAX,
    PAGE_MESSAGES_MAX,
    SEARCH_QUERY_CHARS_MAX,
    SEARCH_RESULTS_MAX,
)
from tools.adapters import Adapters
from tools.arguments import Id
from tools.budget import CHARS_DEFAULT, Budget, MaxChars, ShownMessage
from tools.memory.toolset import ShownThread, memory, no_thread, shown_thread
from tools.toolset import Answer, Arguments, Progress


class RecallThreadArguments(Arguments):
    """Arguments of `recall_thread`."""

    thread_id: Id
    limit: Annotated[int, Field(ge=1, le=PAGE_MESSAGES_MAX)] = 20
    cursor: Annotated[str | None, Field(description="next_cursor of the answer before.")] = None
    order: Annotated[
        Literal["newest", "oldest"] | None,
        Field(description="Which comes first. Absent: the newest, in reading order."),
    ] = None
    around: Annotated[
        Id | None, Field(description="A message id: it and its neighbours, limit in all.")
    ] = None
    query: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=SEARCH_QUERY_CHARS_MAX,
            description="Only what matters for this, with neighbours.",
        ),
    ] = None
    max_chars: MaxChars = CHARS_DEFAULT
    offset: Annotated[
        int, Field(ge=0, description="With around and limit 1: skip so many characters.")
    ] = 0


class RecalledThread(Answer):
    """Messages of one thread."""

    thread: ShownThread
    messages: list[ShownMessage]
    next_cursor: str | None


@memory.tool("Recall a thread", reads=True)
async def recall_thread(
    arguments: RecallThreadArguments, adapters: Adapters, progress: Progress
) -> RecalledThread:
    """Read a conversation.

    Its newest or oldest page, the surroundings of one message, or what matters for a query.
    """
    if arguments.around is not None and arguments.query is not None:
        raise InvalidArgument("Give around or query, not both.")
    if arguments.around is not None:
        return await _recall_around(arguments, arguments.around, adapters)
    if arguments.query is not None:
        return await _recall_for(arguments, arguments.query, adapters)
    page = await adapters.store.memory.page_messages(
        thread_id=arguments.thread_id,
        limit=arguments.limit,
        order=arguments.order or "newest",
        cursor=arguments.cursor,
        resource_id=adapters.resource_id,
        chars_max=arguments.max_chars,
    )
    budget = Budget(arguments.max_chars, len(page.messages))
    shown = [budget.show(message, mark=page.marks.get(message.id)) for message in page.messages]
    return RecalledThread(
        thread=shown_thread(page.thread),
        messages=shown[::-1] if arguments.order is None else shown,
        next_cursor=page.cursor,
    )


async def _recall_around(
    arguments: RecallThreadArguments, message_id: str, adapters: Adapters
) -> RecalledThread:
    beside = arguments.limit - 1
    around = await adapters.store.memory.messages_around(
        message_id=message_id,
        before=min(beside // 2, NEIGHBOURS_MAX),
        after=min(beside - beside // 2, NEIGHBOURS_MAX),
        thread_id=arguments.thread_id,
        resource_id=adapters.resource_id,
    )
    if around.thread is None:
        raise no_thread(arguments.thread_id)
    budget = Budget(arguments.max_chars, len(around.messages))
    # The message asked for comes first in the budget, whatever stands before it.
    asked = around.messages[around.index]
    marks = around.marks
    shown = {asked.id: budget.show(asked, arguments.offset, marks.get(asked.id))}
    for message in around.messages:
        if message.id not in shown and budget.left > 0:
            shown[message.id] = budget.show(message, mark=marks.get(message.id))
    return RecalledThread(
        thread=shown_thread(around.thread),
        messages=[shown[each.id] for each in around.messages if each.id in shown],
        next_cursor=None,
    )


async def _recall_for(
    arguments: RecallThreadArguments, query: str, adapters: Adapters
) -> RecalledThread:
    thread = await adapters.store.memory.get_thread_by_id(
        thread_id=arguments.thread_id, resource_id=adapters.resource_id
    )
    if thread is None:
        raise no_thread(arguments.thread_id)
    recalled = await adapters.recall.search(
        query,
        limit=min(arguments.limit, SEARCH_RESULTS_MAX),
        resource_id=adapters.resource_id,
        thread_id=arguments.thread_id,
        neighbours=1,
        cursor=arguments.cursor,
    )
    budget = Budget(arguments.max_chars, 2)
    shown: dict[str, tuple[tuple[datetime, float], ShownMessage]] = {}
    for hit in recalled.hits:
        for message in (hit.message, *hit.before, *hit.after):
            if message.id not in shown and budget.left > 0:
                place = (message.created_at, message.stored_at_ms)
                mark = hit.marks.get(message.id)
                shown[message.id] = (place, budget.show(message, mark=mark))
    in_order = sorted(shown.values(), key=lambda pair: pair[0])
    return RecalledThread(
        thread=shown_thread(thread),
        messages=[message for _, message in in_order],
        next_cursor=recalled.cursor,
    )
