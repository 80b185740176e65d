"""Changing and forgetting: messages edited, deleted for a while or for good, and brought back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import Field

from convex_memory.errors import InvalidArgument
from convex_memory.records import utc_now
from convex_memory.store import UNSET
from tools.adapters import Adapters
from tools.arguments import Id, time_of
from tools.budget import CHARS_DEFAULT, Budget, ShownMessage
from tools.memory.toolset import (
    ChangedExpiry,
    Merged,
    ShownThread,
    changed_expiry,
    memory,
    no_thread,
    shown_thread,
)
from tools.toolset import Answer, Arguments, Progress

_IDS_MAX: Final = 100

MessageIds = Annotated[list[Id], Field(min_length=1, max_length=_IDS_MAX)]
RestorableUntil = Annotated[
    str | None, Field(description="Until then restore brings it back; null: it is gone for good.")
]


class UpdateMessageArguments(Arguments):
    """Arguments of `update_message`."""

    message_id: Id
    content: Annotated[str | None, Field(min_length=1)] = None
    metadata: Merged = None
    expires_at: ChangedExpiry = None


class UpdatedMessage(Answer):
    """The message after the change."""

    message: ShownMessage
    thread_id: str


@memory.tool("Update a message", destroys=True, repeatable=True)
async def update_message(
    arguments: UpdateMessageArguments, adapters: Adapters, progress: Progress
) -> UpdatedMessage:
    """Change a message's content, metadata or expiry."""
    expires_at = changed_expiry(arguments.expires_at)
    if arguments.content is None and arguments.metadata is None and expires_at is UNSET:
        raise InvalidArgument("Give content, metadata or expires_at to change.")
    changed = await adapters.store.memory.update_message(
        message_id=arguments.message_id,
        text=arguments.content,
        metadata=arguments.metadata,
        expires_at=expires_at,
        resource_id=adapters.resource_id,
    )
    if adapters.indexing is not None:
        adapters.indexing.wake()
    return UpdatedMessage(
        message=Budget(CHARS_DEFAULT, 1).show(changed.message, mark=changed.mark),
        thread_id=changed.message.thread_id,
    )


class DeleteThreadArguments(Arguments):
    """Arguments of `delete_thread`."""

    thread_id: Id
    permanent: bool = False


class DeletedThread(Answer):
    """What went away."""

    thread_id: str
    deleted_messages: int
    restorable_until: RestorableUntil


@memory.tool("Delete a thread", destroys=True, repeatable=True, long=True)
async def delete_thread(
    arguments: DeleteThreadArguments, adapters: Adapters, progress: Progress
) -> DeletedThread:
    """Delete a conversation with all its messages; unless permanent, restore undoes it."""
    await progress(0)
    until = _restorable_until(adapters, arguments.permanent)
    removal = await adapters.store.memory.remove_thread(
        thread_id=arguments.thread_id, resource_id=adapters.resource_id, purge_at=until
    )
    if not removal.found:
        raise no_thread(arguments.thread_id)
    return DeletedThread(
        thread_id=arguments.thread_id,
        deleted_messages=removal.messages,
        restorable_until=time_of(until) if removal.restorable else None,
    )


class DeleteMessagesArguments(Arguments):
    """Arguments of `delete_messages`."""

    message_ids: MessageIds
    permanent: bool = False


class DeletedMessages(Answer):
    """What went away."""

    deleted: list[str]
    not_found: list[str]
    restorable_until: RestorableUntil


@memory.tool("Delete messages", destroys=True, repeatable=True, long=True)
async def delete_messages(
    arguments: DeleteMessagesArguments, adapters: Adapters, progress: Progress
) -> DeletedMessages:
    """Delete single messages; unless permanent, restore undoes it."""
    until = _restorable_until(adapters, arguments.permanent)
    removal = await adapters.store.memory.remove_messages(
        ids=arguments.message_ids, resource_id=adapters.resource_id, purge_at=until
    )
    return DeletedMessages(
        deleted=removal.ids,
        not_found=_others(arguments.message_ids, removal.ids),
        restorable_until=time_of(until) if removal.restorable and removal.ids else None,
    )


class RestoreArguments(Arguments):
    """Arguments of `restore`."""

    message_ids: MessageIds | None = None
    thread_id: Id | None = None


class Restored(Answer):
    """What came back: messages, or a thread with those that went with it."""

    restored_messages: int
    restored: list[str] | None = None
    not_found: list[str] | None = None
    thread: ShownThread | None = None


@memory.tool("Restore", repeatable=True, long=True)
async def restore(arguments: RestoreArguments, adapters: Adapters, progress: Progress) -> Restored:
    """Bring back deleted messages, or a deleted thread with its messages."""
    if arguments.thread_id is not None and arguments.message_ids is None:
        await progress(0)
        back = await adapters.store.memory.restore_thread(
            thread_id=arguments.thread_id, resource_id=adapters.resource_id
        )
        answer = Restored(restored_messages=back.messages, thread=shown_thread(back.thread))
    elif arguments.message_ids is not None and arguments.thread_id is None:
        ids = await adapters.store.memory.restore_messages(
            ids=arguments.message_ids, resource_id=adapters.resource_id
        )
        answer = Restored(
            restored_messages=len(ids),
            restored=ids,
            not_found=_others(arguments.message_ids, ids),
        )
    else:
        raise InvalidArgument("Give message_ids or thread_id, one of the two.")
    if adapters.indexing is not None:
        adapters.indexing.wake()
    return answer


def _restorable_until(adapters: Adapters, permanent: bool) -> datetime | None:
    if permanent or not adapters.restorable_ms:
        return None
    try:
        return utc_now() + timedelta(milliseconds=adapters.restorable_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _others(asked: list[str], found: list[str]) -> list[str]:
    return [each for each in dict.fromkeys(asked) if each not in found]
