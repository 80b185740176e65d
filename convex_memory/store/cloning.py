"""Copies of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from convex_memory.errors import Conflict, InvalidArgument, InvalidResponse, NotFound
from convex_memory.records import Thread, checked_metadata, iso_text
from convex_memory.store.answers import ThreadClone
from convex_memory.store.messages import MessageStore
from convex_memory.store.storage import rows_in
from convex_memory.store.threads import ThreadStore
from convex_memory.values import Value

CLONE_THREAD: Final = "memory/threads:clone"
_ID: Final = "MASTRA_STORAGE_CONVEX_CLONE_THREAD_"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneOptions:
    """Which messages a clone takes along; all of them by default.

    Attributes:
        message_limit: Only the last so many, counted after the other conditions; 1 or more.
        message_ids: Only these; empty means no such condition.
        start: Only messages created then or later.
        end: Only messages created then or earlier.
    """

    message_limit: int | None = None
    message_ids: Sequence[str] = ()
    start: datetime | str | None = None
    end: datetime | str | None = None


class CloningStore(ThreadStore, MessageStore):
    """Copies of threads."""

    async def clone_thread(
        self,
        *,
        source_thread_id: str,
        new_thread_id: str | None = None,
        resource_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Value] | None = None,
        options: CloneOptions | None = None,
        source_resource_id: str | None = None,
    ) -> ThreadClone:
        """Copy a thread and its messages, under new message ids.

        One transaction where the deployment has our functions. Over Mastra's alone messages are
        copied before the new thread appears, so that nobody finds it half full.

        Args:
            source_thread_id: The thread to copy.
            new_thread_id: The copy's id; a random one when omitted.
            resource_id: Whose the copy is; the source's by default.
            title: The copy's title; by default `Clone of …`, or none when the source has none.
            metadata: The copy's metadata. A member `clone` is added: `{sourceThreadId,
                clonedAt, lastMessageId}`, the last only when a message was copied.
            options: Which messages to take along.
            source_resource_id: Whose thread the source must be; others count as absent.

        Raises:
            NotFound: There is no source thread.
            Conflict: The new id is taken.
            InvalidArgument: The metadata or the options are not valid.
            LimitExceeded: The source holds too many messages for one copy.
        """
        chosen = options or CloneOptions()
        if chosen.message_limit is not None and chosen.message_limit < 1:
            raise InvalidArgument("message_limit must be 1 or more; leave it out to copy all.")
        checked_metadata(metadata or {})
        new_id = new_thread_id or self._new_id()
        try:
            answer = await self._ask(
                "mutation",
                CLONE_THREAD,
                threadId=source_thread_id,
                resourceId=source_resource_id,
                newThreadId=new_id,
                newResourceId=resource_id,
                title=title,
                metadata=metadata,
                messageLimit=chosen.message_limit,
                messageIds=list(chosen.message_ids) or None,
                since=None if chosen.start is None else iso_text(chosen.start, "start"),
                until=None if chosen.end is None else iso_text(chosen.end, "end"),
                now=self._now_text(),
            )
        except NotFound as error:
            raise _no_source(source_thread_id) from error
        except Conflict as error:
            raise _taken(new_id) from error
        return ThreadClone(
            thread=Thread.from_row(answer.get("thread")),
            messages=await self._thread(new_id),
            message_ids=_pairs(answer.get("messageIds")),
        )


def _pairs(value: Value) -> dict[str, str]:
    """Read `[[old, new], …]`: ids need not be names that an object may have."""
    pairs: dict[str, str] = {}
    for pair in rows_in(value):
        match pair:
            case [str(old), str(new)]:
                pairs[old] = new
            case _:
                raise InvalidResponse(f"{CLONE_THREAD} answered with messageIds not in pairs.")
    return pairs


def _no_source(thread_id: str) -> NotFound:
    return NotFound(f"Source thread with id {thread_id} not found", id=f"{_ID}SOURCE_NOT_FOUND")


def _taken(thread_id: str) -> Conflict:
    return Conflict(f"Thread with id {thread_id} already exists", id=f"{_ID}THREAD_EXISTS")
