"""Threads: list, change, copy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from convex_memory.errors import InvalidArgument
from convex_memory.limits import PAGE_THREADS_MAX
from convex_memory.store import UNSET, CloneOptions
from tools.adapters import Adapters
from tools.arguments import Id
from tools.budget import CHARS_DEFAULT, Budget
from tools.memory.toolset import (
    ChangedExpiry,
    Merged,
    ShownThread,
    changed_expiry,
    memory,
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
    metadata: Merged = None
    expires_at: ChangedExpiry = None


class UpdatedThread(Answer):
    """The thread after the change."""

    thread: ShownThread
    expires_at: Annotated[str | None, Field(description="As it was set just now.")] = None


@memory.tool("Update a thread", repeatable=True)
async def update_thread(
    arguments: UpdateThreadArguments, adapters: Adapters, progress: Progress
) -> UpdatedThread:
    """Change a conversation's title, metadata or expiry."""
    expires_at = changed_expiry(arguments.expires_at)
    if arguments.title is None and arguments.metadata is None and expires_at is UNSET:
        raise InvalidArgument("Give a title, metadata or expires_at to change.")
    thread = await adapters.store.memory.patch_thread(
        thread_id=arguments.thread_id,
        resource_id=adapters.resource_id,
        title=arguments.title,
        metadata=arguments.metadata,
        expires_at=expires_at,
    )
    return UpdatedThread(
        thread=shown_thread(thread),
        expires_at=expires_at if isinstance(expires_at, str) else None,
    )


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


@memory.tool("Clone a thread", long=True)
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
