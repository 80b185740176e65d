"""Forgetting and changing: messages edited, deleted for a while and brought back, gone at a time.

What is deleted until a time can be restored before it. On a deployment that has only Mastra's
functions a deletion is for good, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from convex_memory.capabilities import DEPLOY
from convex_memory.errors import FunctionNotDeployed, InvalidArgument, InvalidResponse, NotFound
from convex_memory.records import Message, Thread, iso_text
from convex_memory.store.answers import (
    ChangedMessage,
    Marks,
    MessageMark,
    MessageRemoval,
    RestoredThread,
    ThreadRemoval,
)
from convex_memory.store.domain import MemoryDomain, optional_text, text, whole
from convex_memory.store.storage import rows_in
from convex_memory.store.threads import ThreadStore
from convex_memory.store.unset import UNSET, Unset
from convex_memory.values import Value

UPDATE_MESSAGE: Final = "memory/messages:update"
REMOVE_MESSAGES: Final = "memory/messages:remove"
RESTORE_MESSAGES: Final = "memory/messages:restore"
RESTORE_THREAD: Final = "memory/threads:restore"
SWEEP: Final = "memory/forgetting:sweep"

Instant: TypeAlias = "datetime | str"
"""An aware datetime, or ISO-8601 text; text without a zone is read as UTC."""


class ForgettingDomain(MemoryDomain):
    """Knows whether the deployment forgets at a time."""

    async def _can_restore(self) -> bool:
        return await self._capabilities.has(RESTORE_THREAD)

    async def _require_forgetting(self) -> None:
        if not await self._can_restore():
            raise FunctionNotDeployed(
                "This deployment has no functions that let a message or a thread expire, or a "
                f"message supersede another. {DEPLOY}"
            )


class ForgettingStore(ThreadStore, ForgettingDomain):
    """Changing and deleting what was said, for good or for a while."""

    async def update_message(
        self,
        *,
        message_id: str,
        text: str | None = None,
        metadata: Mapping[str, Value] | None = None,
        expires_at: Instant | Unset | None = UNSET,
        thread_id: str | None = None,
        resource_id: str | None = None,
    ) -> ChangedMessage:
        """Change what a message says, members of its metadata, or when it expires.

        Over Mastra's functions alone the message is read and then written, without `expires_at`.

        Args:
            message_id: The message.
            text: All that it says from now on; None leaves what it says.
            metadata: Members to set; a member that is None is removed.
            expires_at: When it is gone; None has it stay.
            thread_id: The thread it must be in.
            resource_id: Whose message it must be.

        Raises:
            NotFound: There is no such message.
            InvalidArgument: Nothing to change is given, or it cannot be stored.
            FunctionNotDeployed: `expires_at` is given, and the deployment has only Mastra's
                functions.
        """
        if expires_at is not UNSET:
            await self._require_forgetting()
        answer = await self._ask(
            "mutation",
            UPDATE_MESSAGE,
            retry=True,
            messageId=message_id,
            threadId=thread_id,
            resourceId=resource_id,
            text=text,
            metadata=metadata,
            expiresAt=optional_ms(expires_at),
            nulls=() if expires_at is UNSET else ("expiresAt",),
            now=self._now_text(),
        )
        message = Message.from_row(answer.get("message"))
        return ChangedMessage(message=message, mark=marks_in(answer).get(message.id, MessageMark()))

    async def remove_messages(
        self,
        *,
        ids: Sequence[str],
        thread_id: str | None = None,
        resource_id: str | None = None,
        purge_at: Instant | None = None,
    ) -> MessageRemoval:
        """Delete messages by id.

        Args:
            ids: At most 100.
            thread_id: The thread they must be in.
            resource_id: Whose messages; those of others count as absent.
            purge_at: Until when they can be restored; None deletes for good, also what was
                deleted before and could have been restored.

        Returns:
            The ids of those that were there.
        """
        restorable = purge_at is not None and await self._can_restore()
        if not ids:
            return MessageRemoval(ids=[], restorable=restorable)
        answer = await self._ask(
            "mutation",
            REMOVE_MESSAGES,
            ids=list(ids),
            threadId=thread_id,
            resourceId=resource_id,
            purgeAt=epoch_ms(purge_at, "purge_at") if restorable and purge_at else None,
        )
        return MessageRemoval(ids=_ids(answer.get("removed")), restorable=restorable)

    async def restore_messages(
        self, *, ids: Sequence[str], resource_id: str | None = None
    ) -> list[str]:
        """Bring back deleted messages and return the ids of those that came.

        Those stay away that were deleted for good or too long ago, whose id has been used anew,
        or whose thread is gone.

        Args:
            ids: At most 100.
            resource_id: Whose messages; those of others count as absent.

        Raises:
            FunctionNotDeployed: The deployment has only Mastra's functions.
        """
        if not ids:
            return []
        answer = await self._ask(
            "mutation", RESTORE_MESSAGES, ids=list(ids), resourceId=resource_id
        )
        return _ids(answer.get("restored"))

    async def remove_thread(
        self,
        *,
        thread_id: str,
        resource_id: str | None = None,
        purge_at: Instant | None = None,
    ) -> ThreadRemoval:
        """Delete a thread and all its messages, in batches.

        The thread itself goes with the first batch, so nobody finds half of it. Over Mastra's
        functions alone it goes last: where a removal ended early, another one goes on.

        Args:
            thread_id: The thread.
            resource_id: Whose thread it must be; one of another's counts as absent.
            purge_at: Until when it can be restored; None deletes it for good, also when it was
                deleted before and could have been restored.
        """
        restorable = purge_at is not None and await self._can_restore()
        until = epoch_ms(purge_at, "purge_at") if restorable and purge_at is not None else None
        found, messages = await self._remove_thread(thread_id, resource_id, until)
        return ThreadRemoval(found=found, messages=messages, restorable=restorable)

    async def restore_thread(
        self, *, thread_id: str, resource_id: str | None = None
    ) -> RestoredThread:
        """Bring back a deleted thread with the messages that went with it, in batches.

        Args:
            thread_id: The thread.
            resource_id: Whose thread it must be; one of another's counts as absent.

        Raises:
            NotFound: There is no such thread to restore.
            Conflict: A thread of this id has been begun since.
            FunctionNotDeployed: The deployment has only Mastra's functions.
        """
        thread: Value = None
        messages = 0
        while True:
            answer = await self._ask(
                "mutation", RESTORE_THREAD, threadId=thread_id, resourceId=resource_id
            )
            messages += whole(answer, "restoredMessages")
            thread = answer.get("thread") if answer.get("found") else thread
            if not answer.get("hasMore"):
                break
        if thread is None:
            raise NotFound(
                f"There is no deleted thread {thread_id!a} to restore: it was deleted for good, "
                "or too long ago, or it is still there."
            )
        return RestoredThread(thread=Thread.from_row(thread), messages=messages)

    async def sweep(self) -> bool:
        """Have the deployment delete a batch of what is due for good; say whether there was any.

        It is False, too, where the deployment has nothing to sweep with.
        """
        if not await self._capabilities.has(SWEEP):
            return False
        return bool((await self._ask("mutation", SWEEP, retry=True)).get("hasMore"))


def marks_in(answer: Mapping[str, Value]) -> Marks:
    """Return what an answer says is noted of its messages, by message id.

    Raises:
        InvalidResponse: Something in it is not a mark.
    """
    marks: dict[str, MessageMark] = {}
    for mark in rows_in(answer.get("marks") or []):
        if not isinstance(mark, Mapping):
            raise InvalidResponse("The deployment answered with something that is not a mark.")
        at = mark.get("expiresAt")
        marks[text(mark, "id")] = MessageMark(
            expires_at=None if at is None else _instant(whole(mark, "expiresAt")),
            superseded_by=optional_text(mark, "supersededBy"),
        )
    return marks


def epoch_ms(instant: Instant, where: str) -> int:
    """Return an instant in milliseconds since the epoch, as the functions take times.

    Args:
        instant: The instant, not before 1970.
        where: How to name it in an error.

    Raises:
        InvalidArgument: It is no date, has no zone, or is before 1970.
    """
    milliseconds = round(datetime.fromisoformat(iso_text(instant, where)).timestamp() * 1000)
    if milliseconds < 0:
        raise InvalidArgument(f"{where} must not be before 1970.")
    return milliseconds


def optional_ms(expires_at: Instant | Unset | None) -> int | None:
    """Return a time of expiry as the functions take it; None where there is none."""
    if expires_at is None or isinstance(expires_at, Unset):
        return None
    return epoch_ms(expires_at, "expires_at")


def _instant(milliseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        # A time that no calendar here has room for: never, as far as anybody can tell.
        return datetime.max.replace(tzinfo=UTC)


def _ids(value: Value) -> list[str]:
    return [each for each in rows_in(value) if isinstance(each, str)]
