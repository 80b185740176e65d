"""Candidates of a search: ids of messages with how well they match, by words and by meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from convex_memory.errors import InvalidResponse
from convex_memory.records import iso_text
from convex_memory.store.domain import MemoryDomain, whole
from convex_memory.store.storage import rows_in
from convex_memory.values import Value

SEARCH_MESSAGES: Final = "memory/search:messages"
SEARCH_SEMANTIC: Final = "memory/search:semantic"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScope:
    """Which messages a search may find; None asks nothing.

    Attributes:
        resource_id: Whose messages.
        thread_id: Of which thread.
        role: Of which role.
        since: Created then or later.
        until: Created earlier than then.
        metadata: Members that the message's metadata must equal.
    """

    resource_id: str | None = None
    thread_id: str | None = None
    role: str | None = None
    since: datetime | str | None = None
    until: datetime | str | None = None
    metadata: Mapping[str, Value] | None = None

    @property
    def since_text(self) -> str | None:
        """`since` as the functions take it."""
        return None if self.since is None else iso_text(self.since, "since")

    @property
    def until_text(self) -> str | None:
        """`until` as the functions take it."""
        return None if self.until is None else iso_text(self.until, "until")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Messages that match, best first.

    Attributes:
        scores: Message id → score: by words 1 for the best, by meaning the cosine.
        beside: By words: those that hold no word themselves and stand beside one that does.
        exhausted: Whether these are all.
        near: By meaning: the cosine of the messages that were asked about.
        pending: By meaning: messages that have no vector yet.
    """

    scores: Mapping[str, float]
    beside: frozenset[str]
    exhausted: bool
    near: Mapping[str, float]
    pending: int


class SearchingStore(MemoryDomain):
    """The two searches that `recall` puts together."""

    async def candidates_by_words(self, query: str, limit: int, within: SearchScope) -> Candidates:
        """Return the messages whose words match best.

        Args:
            query: What to look for.
            limit: At most so many, 1 to 256.
            within: Which messages.

        Raises:
            LimitExceeded: The query is too long.
        """
        answer = await self._ask(
            "query",
            SEARCH_MESSAGES,
            query=query,
            limit=limit,
            idsOnly=True,
            resourceId=within.resource_id,
            threadId=within.thread_id,
            role=within.role,
            since=within.since_text,
            until=within.until_text,
            metadata=within.metadata,
        )
        return Candidates(
            scores=_scores(rows_in(answer.get("hits"))),
            exhausted=bool(answer.get("exhausted")),
            beside=frozenset(_beside(rows_in(answer.get("hits")))),
            near={},
            pending=0,
        )

    async def candidates_by_meaning(
        self,
        vector: Sequence[float],
        embedder: str,
        limit: int,
        within: SearchScope,
        *,
        ids: Sequence[str] = (),
    ) -> Candidates:
        """Return the messages whose vectors are most similar to one.

        Args:
            vector: Of the dimension that messages have.
            embedder: The id of what made it.
            limit: At most so many, 1 to 256.
            within: Which messages.
            ids: At most 256 messages whose similarity is asked for too.

        Raises:
            Conflict: Messages have vectors of another embedder.
            FunctionNotDeployed: The deployment has only Mastra's functions.
        """
        answer = await self._ask(
            "action",
            SEARCH_SEMANTIC,
            vector=list(vector),
            embedder=embedder,
            limit=limit,
            ids=list(ids),
            resourceId=within.resource_id,
            threadId=within.thread_id,
            role=within.role,
            since=within.since_text,
            until=within.until_text,
            metadata=within.metadata,
        )
        near: dict[str, float] = {}
        for pair in rows_in(answer.get("scores")):
            match pair:
                case [str() as message_id, (int() | float()) as score]:
                    near[message_id] = float(score)
        return Candidates(
            scores=_scores(rows_in(answer.get("hits"))),
            exhausted=bool(answer.get("exhausted")),
            beside=frozenset(),
            near=near,
            pending=whole(answer, "pending"),
        )


def _beside(hits: Sequence[Value]) -> Iterator[str]:
    for hit in hits:
        match hit:
            case {"id": str() as message_id, "near": True}:
                yield message_id


def _scores(hits: Sequence[Value]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for hit in hits:
        match hit:
            case {"id": str() as message_id, "score": (int() | float()) as score}:
                scores[message_id] = float(score)
            case _:
                raise InvalidResponse("The deployment answered with something that is not a hit.")
    return scores
