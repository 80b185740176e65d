"""The `memory` toolset: conversations, search and working memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field, JsonValue

from convex_memory.errors import InvalidArgument, NotFound
from convex_memory.limits import (
    MESSAGE_ID_CHARS_MAX,
    NEIGHBOURS_MAX,
    PAGE_MESSAGES_MAX,
    PAGE_THREADS_MAX,
    SAVE_MESSAGES_MAX,
    SEARCH_QUERY_CHARS_MAX,
    SEARCH_RESULTS_MAX,
)
from convex_memory.recall import Recalled
from convex_memory.records import Message, Thread, iso_text
from convex_memory.store import CloneOptions, SaveReceipt
from convex_memory.text import text_content
from tools.adapters import Adapters
from tools.budget import CHARS_DEFAULT, Budget, MaxChars, ShownMessage
from tools.toolset import Answer, Arguments, Progress, Toolset

memory = Toolset("memory")

Id = Annotated[str, Field(min_length=1, max_length=MESSAGE_ID_CHARS_MAX)]
Role = Literal["user", "assistant", "system", "tool"]
Metadata = dict[str, JsonValue]
Time = Annotated[str, Field(description="ISO 8601; UTC if no zone.")]


# --- Saving


class NewMessage(Arguments):
    """One message to save."""

    role: Role
    content: Annotated[str, Field(min_length=1)]
    message_id: Annotated[
        Id | None, Field(description="Your own id: sending it twice saves once.")
    ] = None
    metadata: Metadata | None = None
    created_at: Time | None = None


class SaveMessageArguments(NewMessage):
    """Arguments of `save_message`."""

    thread_id: Annotated[Id | None, Field(description="Absent: a new thread.")] = None
    title: Annotated[str | None, Field(description="Of a new thread.")] = None


class SaveMessagesArguments(Arguments):
    """Arguments of `save_messages`."""

    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=SAVE_MESSAGES_MAX)]
    thread_id: Annotated[Id | None, Field(description="Absent: a new thread.")] = None
    title: Annotated[str | None, Field(description="Of a new thread.")] = None


class SavedMessage(Answer):
    """What became of one message."""

    message_id: str
    thread_id: str
    created_at: str
    status: Literal["stored", "unchanged"]
    embedding: Literal["embedded", "pending", "off"]


class SavedMessages(Answer):
    """What became of several messages."""

    thread_id: str
    saved: list[SavedMessage]


@memory.tool("Save a message", repeatable=True)
async def save_message(
    arguments: SaveMessageArguments, adapters: Adapters, progress: Progress
) -> SavedMessage:
    """Store one message of a conversation, word for word. Creates the thread when needed."""
    saved = await _save([arguments], arguments.thread_id, arguments.title, adapters)
    return saved.saved[0]


@memory.tool("Save messages", repeatable=True)
async def save_messages(
    arguments: SaveMessagesArguments, adapters: Adapters, progress: Progress
) -> SavedMessages:
    """Store up to 100 messages of one thread at once, in order: all of them or none."""
    await progress(0, len(arguments.messages))
    saved = await _save(arguments.messages, arguments.thread_id, arguments.title, adapters)
    await progress(len(arguments.messages), len(arguments.messages))
    return saved


async def _save(
    given: Sequence[NewMessage], thread_id: str | None, title: str | None, adapters: Adapters
) -> SavedMessages:
    thread_id = thread_id or str(uuid4())
    now = datetime.now(UTC)
    messages = [
        Message(
            id=each.message_id or str(uuid4()),
            thread_id=thread_id,
            resource_id=adapters.resource_id,
            role=each.role,
            content=text_content(each.content, metadata=each.metadata),
            created_at=now if each.created_at is None else _instant(each.created_at),
        )
        for each in given
    ]
    receipts = await adapters.store.memory.save_conversation(
        thread=Thread(id=thread_id, resource_id=adapters.resource_id, title=title or ""),
        messages=messages,
    )
    return SavedMessages(
        thread_id=thread_id, saved=[_saved(receipt, thread_id) for receipt in receipts]
    )


def _saved(receipt: SaveReceipt, thread_id: str) -> SavedMessage:
    return SavedMessage(
        message_id=receipt.id,
        thread_id=thread_id,
        created_at=iso_text(receipt.created_at),
        status="unchanged" if receipt.status == "unchanged" else "stored",
        embedding="off",
    )


# --- Recalling


class ShownThread(Answer):
    """One thread as an assistant sees it."""

    id: str
    title: str
    created_at: str
    updated_at: str
    metadata: dict[str, object] | None = None
    metadata_chars: int | None = Field(None, description="metadata was left out, being so long.")
    messages: int | None = None


class RecallThreadArguments(Arguments):
    """Arguments of `recall_thread`."""

    thread_id: Id
    limit: Annotated[int, Field(ge=1, le=PAGE_MESSAGES_MAX)] = 20
    cursor: Annotated[str | None, Field(description="next_cursor of the answer before.")] = None
    order: Annotated[
        Literal["newest", "oldest"],
        Field(description="Which end to start from; each page reads oldest to newest."),
    ] = "newest"
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
        order=arguments.order,
        cursor=arguments.cursor,
        resource_id=adapters.resource_id,
        chars_max=arguments.max_chars,
    )
    budget = Budget(arguments.max_chars, len(page.messages))
    shown = [budget.show(message) for message in page.messages]
    return RecalledThread(
        thread=_shown_thread(page.thread),
        messages=shown[::-1] if arguments.order == "newest" else shown,
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
        raise NotFound(f"There is no thread {arguments.thread_id!a}.")
    budget = Budget(arguments.max_chars, len(around.messages))
    # The message asked for comes first in the budget, whatever stands before it.
    asked = around.messages[around.index]
    shown = {asked.id: budget.show(asked, arguments.offset)}
    for message in around.messages:
        if message.id not in shown and budget.left > 0:
            shown[message.id] = budget.show(message)
    return RecalledThread(
        thread=_shown_thread(around.thread),
        messages=[shown[each.id] for each in around.messages if each.id in shown],
        next_cursor=None,
    )


async def _recall_for(
    arguments: RecallThreadArguments, query: str, adapters: Adapters
) -> RecalledThread:
    counted = await adapters.store.memory.get_thread_with_count(
        thread_id=arguments.thread_id, resource_id=adapters.resource_id
    )
    if counted is None:
        raise NotFound(
            f"There is no thread {arguments.thread_id!a}. list_threads shows those there are."
        )
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
                shown[message.id] = (place, budget.show(message))
    in_order = sorted(shown.values(), key=lambda pair: pair[0])
    return RecalledThread(
        thread=_shown_thread(counted.thread, counted.messages),
        messages=[message for _, message in in_order],
        next_cursor=recalled.cursor,
    )


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
    before: list[ShownMessage] | None = None
    after: list[ShownMessage] | None = None


class SearchedMemory(Answer):
    """Messages found, best first."""

    hits: list[SearchHitShown]
    exhausted: bool
    searched: list[str]
    pending: int
    next_cursor: str | None


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
    )


def _shown_hits(recalled: Recalled, max_chars: int) -> list[SearchHitShown]:
    budget = Budget(max_chars, len(recalled.hits))
    hits = []
    for hit in recalled.hits:
        shown = budget.show(hit.message)
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
                before=_shown_beside(hit.before, budget),
                after=_shown_beside(hit.after, budget),
            )
        )
    return hits


def _shown_beside(messages: Sequence[Message], budget: Budget) -> list[ShownMessage] | None:
    return [budget.show(message) for message in messages if budget.left > 0] or None


# --- Threads


class ListThreadsArguments(Arguments):
    """Arguments of `list_threads`."""

    limit: Annotated[int, Field(ge=1, le=PAGE_THREADS_MAX)] = 20
    order: Literal["newest", "oldest"] = "newest"
    cursor: str | None = None


class ListedThreads(Answer):
    """A page of threads."""

    threads: list[ShownThread]
    next_cursor: str | None


@memory.tool("List threads", reads=True)
async def list_threads(
    arguments: ListThreadsArguments, adapters: Adapters, progress: Progress
) -> ListedThreads:
    """List conversations by when they were last written to."""
    page = await adapters.store.memory.page_threads(
        limit=arguments.limit,
        resource_id=adapters.resource_id,
        order=arguments.order,
        cursor=arguments.cursor,
    )
    budget = Budget(CHARS_DEFAULT, len(page.threads))
    return ListedThreads(
        threads=[_shown_thread(thread, budget=budget) for thread in page.threads],
        next_cursor=page.cursor,
    )


class UpdateThreadArguments(Arguments):
    """Arguments of `update_thread`."""

    thread_id: Id
    title: str | None = None
    metadata: Annotated[Metadata | None, Field(description="Merged; a null member is removed.")] = (
        None
    )


class UpdatedThread(Answer):
    """The thread after the change."""

    thread: ShownThread


@memory.tool("Update a thread", repeatable=True)
async def update_thread(
    arguments: UpdateThreadArguments, adapters: Adapters, progress: Progress
) -> UpdatedThread:
    """Change a conversation's title or metadata."""
    if arguments.title is None and arguments.metadata is None:
        raise InvalidArgument("Give a title or metadata to change.")
    thread = await adapters.store.memory.patch_thread(
        thread_id=arguments.thread_id,
        resource_id=adapters.resource_id,
        title=arguments.title,
        metadata=arguments.metadata,
    )
    return UpdatedThread(thread=_shown_thread(thread))


class CloneThreadArguments(Arguments):
    """Arguments of `clone_thread`."""

    thread_id: Id
    title: str | None = None
    message_limit: Annotated[
        int | None, Field(ge=1, description="Copy only the newest so many.")
    ] = None


class ClonedThread(Answer):
    """The copy."""

    thread: ShownThread
    cloned_messages: int


@memory.tool("Clone a thread")
async def clone_thread(
    arguments: CloneThreadArguments, adapters: Adapters, progress: Progress
) -> ClonedThread:
    """Copy a conversation into a new thread, to go on from it in another direction."""
    clone = await adapters.store.memory.clone_thread(
        source_thread_id=arguments.thread_id,
        source_resource_id=adapters.resource_id,
        title=arguments.title,
        options=CloneOptions(message_limit=arguments.message_limit),
    )
    return ClonedThread(thread=_shown_thread(clone.thread), cloned_messages=len(clone.message_ids))


class DeleteThreadArguments(Arguments):
    """Arguments of `delete_thread`."""

    thread_id: Id


class DeletedThread(Answer):
    """What went away."""

    thread_id: str
    deleted_messages: int


@memory.tool("Delete a thread", destroys=True, repeatable=True)
async def delete_thread(
    arguments: DeleteThreadArguments, adapters: Adapters, progress: Progress
) -> DeletedThread:
    """Delete a conversation with all its messages, for good."""
    await progress(0)
    removal = await adapters.store.memory.remove_thread(
        thread_id=arguments.thread_id, resource_id=adapters.resource_id
    )
    if not removal.found:
        raise NotFound(
            f"There is no thread {arguments.thread_id!a}. list_threads shows those there are."
        )
    return DeletedThread(thread_id=arguments.thread_id, deleted_messages=removal.messages)


class DeleteMessagesArguments(Arguments):
    """Arguments of `delete_messages`."""

    message_ids: Annotated[list[Id], Field(min_length=1, max_length=100)]


class DeletedMessages(Answer):
    """What went away."""

    deleted: list[str]
    not_found: list[str]


@memory.tool("Delete messages", destroys=True, repeatable=True)
async def delete_messages(
    arguments: DeleteMessagesArguments, adapters: Adapters, progress: Progress
) -> DeletedMessages:
    """Delete single messages, for good."""
    removed = await adapters.store.memory.remove_messages(
        ids=arguments.message_ids, resource_id=adapters.resource_id
    )
    missing = [each for each in dict.fromkeys(arguments.message_ids) if each not in removed]
    return DeletedMessages(deleted=removed, not_found=missing)


# --- Working memory


class GetWorkingMemoryArguments(Arguments):
    """Arguments of `get_working_memory`."""

    thread_id: Annotated[
        Id | None, Field(description="Of one thread; absent: of the user, across threads.")
    ] = None


class ShownWorkingMemory(Answer):
    """The working memory."""

    working_memory: str | None
    updated_at: str | None


class UpdateWorkingMemoryArguments(GetWorkingMemoryArguments):
    """Arguments of `update_working_memory`."""

    content: str
    mode: Annotated[
        Literal["replace", "append", "merge"],
        Field(description="merge: both are JSON objects, null deletes a key."),
    ] = "replace"


@memory.tool("Get working memory", reads=True)
async def get_working_memory(
    arguments: GetWorkingMemoryArguments, adapters: Adapters, progress: Progress
) -> ShownWorkingMemory:
    """Read the notes kept about the user. Look here at the start of a conversation."""
    found = await adapters.store.memory.get_working_memory(
        resource_id=adapters.resource_id, thread_id=arguments.thread_id
    )
    return ShownWorkingMemory(
        working_memory=found.text,
        updated_at=None if found.updated_at is None else iso_text(found.updated_at),
    )


@memory.tool("Update working memory", destroys=True)
async def update_working_memory(
    arguments: UpdateWorkingMemoryArguments, adapters: Adapters, progress: Progress
) -> ShownWorkingMemory:
    """Write the notes kept about the user: lasting facts and preferences."""
    changed = await adapters.store.memory.update_working_memory(
        resource_id=adapters.resource_id,
        thread_id=arguments.thread_id,
        text=arguments.content,
        mode=arguments.mode,
    )
    return ShownWorkingMemory(
        working_memory=changed.text,
        updated_at=None if changed.updated_at is None else iso_text(changed.updated_at),
    )


# --- Shapes


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(iso_text(text, "created_at"))


def _shown_thread(
    thread: Thread, messages: int | None = None, budget: Budget | None = None
) -> ShownThread:
    # The thread's working memory stands in its metadata; it has a tool of its own.
    metadata = {name: value for name, value in thread.metadata.items() if name != "workingMemory"}
    optional = (budget or Budget(CHARS_DEFAULT, 1)).metadata(metadata)
    if messages is not None:
        optional["messages"] = messages
    return ShownThread(
        id=thread.id,
        title=thread.title,
        created_at=iso_text(thread.created_at),
        updated_at=iso_text(thread.updated_at),
        **optional,
    )
