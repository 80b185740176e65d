"""Conversations as assistants use them, over our own functions (`docs/functions.md`).

Mastra's contract reads whole threads and spends several calls where an assistant wants one
page, one search or one save. On a deployment that has only Mastra's functions all of these work
by those (`store.wire`): reads read whole threads, writes take several calls. All of them raise
`NotFound` for what belongs to another resource than the one named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal, cast

from convex_memory.errors import InvalidResponse
from convex_memory.records import Message, Thread, instant_in, iso_text
from convex_memory.store.answers import (
    CountedThread,
    EmbeddingState,
    MarkedMessages,
    MessageSlice,
    SaveReceipt,
    SearchHit,
    SearchSlice,
    Surroundings,
    ThreadSlice,
)
from convex_memory.store.domain import optional_text, text, whole
from convex_memory.store.forgetting import (
    ForgettingDomain,
    Instant,
    epoch_ms,
    marks_in,
    optional_ms,
)
from convex_memory.store.messages import SAVE_MESSAGES, MessageStore
from convex_memory.store.storage import rows_in
from convex_memory.store.threads import UPDATE_THREAD, ThreadStore
from convex_memory.store.unset import UNSET, Unset
from convex_memory.values import Value

PAGE_MESSAGES: Final = "memory/messages:page"
MESSAGES_AROUND: Final = "memory/messages:around"
GET_MESSAGES: Final = "memory/messages:get"
GET_THREAD: Final = "memory/threads:get"
LIST_THREADS: Final = "memory/threads:list"
SEARCH_MESSAGES: Final = "memory/search:messages"

Age = Literal["newest", "oldest"]


class ConversationStore(ThreadStore, MessageStore, ForgettingDomain):
    """Threads and messages a page at a time, within one resource, in one transaction."""

    async def save_conversation(
        self,
        *,
        thread: Thread | None,
        messages: Sequence[Message],
        on_existing: Literal["keep", "replace"] = "keep",
        expires_at: Mapping[str, Instant] | None = None,
        supersedes: Mapping[str, str] | None = None,
        thread_expires_at: Instant | None = None,
    ) -> list[SaveReceipt]:
        """Store messages, and their thread when it is new, in one transaction.

        Sending the same messages again changes nothing, so a caller who got no answer may
        simply repeat the call. Over Mastra's functions alone the messages are stored all or
        none, and then their thread.

        Args:
            thread: Created if there is none with this id, with its title and metadata; one
                that exists is left as it is. None takes threads as they are.
            messages: 1 to 100, in the order they were said.
            on_existing: For an id that is stored already: `keep` accepts the same message and
                refuses a different one, `replace` overwrites.
            expires_at: Id of one of these messages → when it is gone.
            supersedes: Id of one of these messages → a message of the same resource whose place
                it takes: that one stays in its thread and is not searched any more.
            thread_expires_at: When the thread is gone with its messages.

        Returns:
            One receipt a message, in the order given.

        Raises:
            NotFound: The thread belongs to another resource, or there is no message to supersede.
            Conflict: A message id is stored with another thread, role or content.
            InvalidArgument: A message or the metadata cannot be stored.
            FunctionNotDeployed: Something expires or supersedes, and the deployment has only
                Mastra's functions.
        """
        if expires_at or supersedes or thread_expires_at is not None:
            await self._require_forgetting()
        named = [m if m.id else replace(m, id=self._new_id()) for m in messages]
        answer = await self._ask(
            "mutation",
            SAVE_MESSAGES,
            retry=True,
            messages=[message.to_row() for message in named],
            thread=None if thread is None else _new_thread(thread, thread_expires_at),
            onExisting=on_existing,
            expiries=[[id, epoch_ms(at, "expires_at")] for id, at in (expires_at or {}).items()]
            or None,
            supersedes=[[new, old] for new, old in (supersedes or {}).items()] or None,
            now=self._now_text(),
        )
        return [_receipt(result) for result in rows_in(answer.get("results"))]

    async def page_messages(
        self,
        *,
        thread_id: str,
        limit: int,
        order: Age = "newest",
        cursor: str | None = None,
        role: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        resource_id: str | None = None,
        chars_max: int | None = None,
    ) -> MessageSlice:
        """Return one page of a thread, reading no more than that.

        Over Mastra's functions alone the whole thread is read.

        Args:
            thread_id: The thread.
            limit: Messages on the page, 1 to 200.
            order: Which end to start from; the page comes in that order.
            cursor: Where the answer before ended; None starts at the end named by `order`.
            role: Only messages of this role.
            since: Only messages created then or later.
            until: Only messages created earlier than then.
            resource_id: Whose thread it must be.
            chars_max: Ends the page once the stored contents on it reach this many
                characters; one message at least is returned.

        Raises:
            NotFound: There is no such thread.
            InvalidArgument: The limit, the cursor or a date is not valid.
            LimitExceeded: The thread is more than Mastra's functions return, and there are no
                others.
        """
        answer = await self._ask(
            "query",
            PAGE_MESSAGES,
            threadId=thread_id,
            limit=limit,
            order=order,
            cursor=cursor,
            role=role,
            since=_bound(since, "since"),
            until=_bound(until, "until"),
            resourceId=resource_id,
            charsMax=chars_max,
        )
        return MessageSlice(
            thread=Thread.from_row(answer.get("thread")),
            messages=_messages(answer),
            cursor=optional_text(answer, "cursor"),
            marks=marks_in(answer),
        )

    async def messages_around(
        self,
        *,
        message_id: str,
        before: int,
        after: int,
        thread_id: str | None = None,
        resource_id: str | None = None,
    ) -> Surroundings:
        """Return a message with its neighbours in its thread.

        Args:
            message_id: The message.
            before: How many messages before it, 0 to 50.
            after: How many messages after it, 0 to 50.
            thread_id: The thread it must be in.
            resource_id: Whose message it must be.

        Raises:
            NotFound: There is no such message.
            InvalidArgument: `before` or `after` is out of range.
        """
        answer = await self._ask(
            "query",
            MESSAGES_AROUND,
            messageId=message_id,
            before=before,
            after=after,
            threadId=thread_id,
            resourceId=resource_id,
        )
        thread = answer.get("thread")
        return Surroundings(
            thread=None if thread is None else Thread.from_row(thread),
            messages=_messages(answer),
            index=whole(answer, "index"),
            marks=marks_in(answer),
        )

    async def get_messages(
        self, *, ids: Sequence[str], resource_id: str | None = None
    ) -> list[Message]:
        """Return messages by id, in the order asked for; absent ones are left out.

        Args:
            ids: At most 100.
            resource_id: Whose messages; those of others count as absent.
        """
        return (await self.get_marked_messages(ids=ids, resource_id=resource_id)).messages

    async def get_marked_messages(
        self, *, ids: Sequence[str], resource_id: str | None = None
    ) -> MarkedMessages:
        """Return messages as `get_messages` does, and what is noted of them."""
        if not ids:
            return MarkedMessages(messages=[])
        answer = await self._ask("query", GET_MESSAGES, ids=list(ids), resourceId=resource_id)
        return MarkedMessages(messages=_messages(answer), marks=marks_in(answer))

    async def get_thread_with_count(
        self, *, thread_id: str, resource_id: str | None = None
    ) -> CountedThread | None:
        """Return a thread and how many messages it holds, or None when there is none."""
        answer = await self._ask("query", GET_THREAD, threadId=thread_id, resourceId=resource_id)
        thread = answer.get("thread")
        if thread is None:
            return None
        return CountedThread(thread=Thread.from_row(thread), messages=whole(answer, "messages"))

    async def page_threads(
        self,
        *,
        limit: int,
        resource_id: str | None = None,
        order: Age = "newest",
        by: Literal["updated_at", "created_at"] = "updated_at",
        cursor: str | None = None,
    ) -> ThreadSlice:
        """Return one page of threads, reading no more than that.

        Over Mastra's functions alone all threads of the resource are read.

        Args:
            limit: Threads on the page, 1 to 200.
            resource_id: Whose threads; None lists everybody's.
            order: Which end to start from; the page comes in that order.
            by: The date to sort by.
            cursor: Where the answer before ended; None starts at the end named by `order`.

        Raises:
            InvalidArgument: The limit or the cursor is not valid.
        """
        answer = await self._ask(
            "query",
            LIST_THREADS,
            limit=limit,
            resourceId=resource_id,
            order=order,
            by="createdAt" if by == "created_at" else "updatedAt",
            cursor=cursor,
        )
        return ThreadSlice(
            threads=[Thread.from_row(row) for row in rows_in(answer.get("threads"))],
            cursor=optional_text(answer, "cursor"),
        )

    async def patch_thread(
        self,
        *,
        thread_id: str,
        resource_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Value] | None = None,
        expires_at: Instant | Unset | None = UNSET,
    ) -> Thread:
        """Change a thread's title, members of its metadata, its expiry, in one transaction.

        Over Mastra's functions alone a title or members that are set are one call, after a look
        at the thread; removing members writes the metadata whole, as it was read.

        Args:
            thread_id: The thread.
            resource_id: Whose thread it must be.
            title: The new title, empty for none; None leaves it as it is.
            metadata: Members to set; a member that is None is removed.
            expires_at: When it is gone with its messages; None has it stay.

        Returns:
            The thread after the change.

        Raises:
            NotFound: There is no such thread.
            InvalidArgument: The metadata cannot be stored.
            FunctionNotDeployed: `expires_at` is given, and the deployment has only Mastra's
                functions.
        """
        if expires_at is not UNSET:
            await self._require_forgetting()
        answer = await self._ask(
            "mutation",
            UPDATE_THREAD,
            threadId=thread_id,
            resourceId=resource_id,
            title=title,
            metadata=metadata,
            expiresAt=optional_ms(expires_at),
            nulls=() if expires_at is UNSET else ("expiresAt",),
            now=self._now_text(),
        )
        return Thread.from_row(answer.get("thread"))

    async def search_messages(
        self,
        *,
        query: str,
        limit: int,
        resource_id: str | None = None,
        thread_id: str | None = None,
        role: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        metadata: Mapping[str, Value] | None = None,
        cursor: str | None = None,
    ) -> SearchSlice:
        """Return the messages whose words match best.

        Over Mastra's functions alone the messages are read and ranked here: all of them where one
        call returns them, else 10,000 in the threads last written to, and `exhausted` is false.

        Args:
            query: What to look for; any of its words may match.
            limit: Hits to return, 1 to 100.
            resource_id: Whose messages; None searches everybody's.
            thread_id: Only messages of this thread.
            role: Only messages of this role.
            since: Only messages created then or later.
            until: Only messages created earlier than then.
            metadata: A filter on the metadata of the messages.
            cursor: Where the answer before ended; None starts with the best.

        Raises:
            InvalidArgument: An argument is out of range or the filter is not valid.
        """
        answer = await self._ask(
            "query",
            SEARCH_MESSAGES,
            query=query,
            limit=limit,
            resourceId=resource_id,
            threadId=thread_id,
            role=role,
            since=_bound(since, "since"),
            until=_bound(until, "until"),
            metadata=metadata,
            cursor=cursor,
        )
        return SearchSlice(
            hits=[_hit(hit) for hit in rows_in(answer.get("hits"))],
            cursor=optional_text(answer, "cursor"),
            exhausted=bool(answer.get("exhausted")),
            marks=marks_in(answer),
        )


def _new_thread(thread: Thread, expires_at: Instant | None) -> dict[str, Value]:
    row = thread.to_row()
    given = {name: row[name] for name in ("id", "resourceId", "title", "metadata") if row[name]}
    if expires_at is not None:
        given["expiresAt"] = epoch_ms(expires_at, "thread_expires_at")
    return given


def _bound(instant: datetime | str | None, where: str) -> str | None:
    return None if instant is None else iso_text(instant, where)


def _messages(answer: Mapping[str, Value]) -> list[Message]:
    return [Message.from_row(row) for row in rows_in(answer.get("messages"))]


def _receipt(result: Value) -> SaveReceipt:
    if not isinstance(result, Mapping):
        raise InvalidResponse("The deployment answered with something that is not a receipt.")
    status = text(result, "status")
    if status not in ("stored", "unchanged", "replaced"):
        raise InvalidResponse("The deployment answered with a receipt of an unknown status.")
    return SaveReceipt(
        id=text(result, "id"),
        status=cast(Literal["stored", "unchanged", "replaced"], status),
        created_at=instant_in(result, "createdAt", "receipt"),
        embedding=_embedding(result.get("embedding")),
    )


def _embedding(state: Value) -> EmbeddingState:
    # A deployment whose functions are older does not say.
    return cast(EmbeddingState, state) if state in ("embedded", "pending") else "off"


def _hit(hit: Value) -> SearchHit:
    score = hit.get("score") if isinstance(hit, Mapping) else None
    if not isinstance(hit, Mapping) or not isinstance(score, int | float):
        raise InvalidResponse("The deployment answered with something that is not a search hit.")
    return SearchHit(
        message=Message.from_row(hit.get("message")),
        score=float(score),
        near=hit.get("near") is True,
    )
