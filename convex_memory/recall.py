"""Search over messages: what was said about something, and what stood around it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from convex_memory.records import Message
from convex_memory.store import MemoryStore
from convex_memory.values import Value

LEXICAL: Final = "lexical"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledMessage:
    """A message that matches, with its neighbours in the thread.

    Attributes:
        message: What matched.
        score: Higher matches better; comparable within one answer only.
        reasons: Each part of the score by its name.
        before: Its neighbours before it, oldest first.
        after: Its neighbours after it, oldest first.
    """

    message: Message
    score: float
    reasons: Mapping[str, float]
    before: tuple[Message, ...] = ()
    after: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """The answer to a search.

    Attributes:
        hits: Best first.
        cursor: Where to go on; None when there are no more.
        exhausted: Whether these are all there is to find.
        searched: How was searched: `lexical` by words, `semantic` by meaning.
        pending: Messages that could not be found by meaning yet.
    """

    hits: list[RecalledMessage]
    cursor: str | None
    exhausted: bool
    searched: tuple[str, ...]
    pending: int


class Recall:
    """Search over the messages of a store.

    Args:
        memory: The memory domain of the store.
    """

    def __init__(self, memory: MemoryStore) -> None:
        self._memory = memory

    async def search(
        self,
        query: str,
        *,
        limit: int,
        resource_id: str | None = None,
        thread_id: str | None = None,
        role: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        metadata: Mapping[str, Value] | None = None,
        neighbours: int = 0,
        cursor: str | None = None,
    ) -> Recalled:
        """Return the messages that match `query` best.

        Args:
            query: What to look for, in words.
            limit: Hits to return, 1 to 100.
            resource_id: Whose messages; None searches everybody's.
            thread_id: Only messages of this thread.
            role: Only messages of this role.
            since: Only messages created then or later.
            until: Only messages created earlier than then.
            metadata: Members that the message's metadata must equal.
            neighbours: Messages before and after each hit to bring along, 0 to 50.
            cursor: Where the answer before ended; None starts with the best.

        Raises:
            InvalidArgument: An argument is out of range.
            LimitExceeded: The query is too long.
        """
        found = await self._memory.search_messages(
            query=query,
            limit=limit,
            resource_id=resource_id,
            thread_id=thread_id,
            role=role,
            since=since,
            until=until,
            metadata=metadata,
            cursor=cursor,
        )
        hits = await asyncio.gather(
            *(
                self._with_neighbours(hit.message, hit.score, neighbours, resource_id)
                for hit in found.hits
            )
        )
        return Recalled(
            hits=hits,
            cursor=found.cursor,
            exhausted=found.exhausted,
            searched=(LEXICAL,),
            pending=0,
        )

    async def _with_neighbours(
        self, message: Message, score: float, neighbours: int, resource_id: str | None
    ) -> RecalledMessage:
        before: tuple[Message, ...] = ()
        after: tuple[Message, ...] = ()
        if neighbours:
            around = await self._memory.messages_around(
                message_id=message.id,
                before=neighbours,
                after=neighbours,
                resource_id=resource_id,
            )
            before = tuple(around.messages[: around.index])
            after = tuple(around.messages[around.index + 1 :])
        return RecalledMessage(
            message=message, score=score, reasons={LEXICAL: score}, before=before, after=after
        )
