"""Threads and single messages: list, change, copy, delete."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from convex_memory.errors import InvalidArgument
from convex_memory.limits import PAGE_THREADS_MAX
from convex_memory.store import CloneOptions
from tools.adapters import Adapters
from tools.arguments import Id
from tools.budget import CHARS_DEFAULT, Budget
from tools.memory.toolset import (
    Metadata,
    ShownThread,
    memory,
    no_thread,
    shown_thread,
)
from tools.toolset import Answer, Arguments, Progress


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
        threads=[shown_thread(thread, budget) for thread in page.threads],
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
    return UpdatedThread(thread=shown_thread(thread))


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
    return ClonedThread(thread=shown_thread(clone.thread), cloned_messages=len(clone.message_ids))


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
        raise no_thread(arguments.thread_id)
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
