"""The memory domain: threads, messages, resources, working memory, observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

from convex_memory.errors import InvalidResponse
from convex_memory.store.answers import Change, ChangeSlice, Stats
from convex_memory.store.cloning import CloningStore
from convex_memory.store.conversations import ConversationStore
from convex_memory.store.domain import optional_text, optional_whole, text, whole
from convex_memory.store.forgetting import ForgettingStore
from convex_memory.store.observations import ObservationStore
from convex_memory.store.resources import ResourceStore
from convex_memory.store.searching import SearchingStore
from convex_memory.store.storage import MESSAGES, OBSERVATIONS, RESOURCES, THREADS, rows_in
from convex_memory.values import Value

STATS: Final = "memory/meta:stats"
CHANGES: Final = "memory/changes:list"


class MemoryStore(
    ConversationStore,
    ForgettingStore,
    CloningStore,
    SearchingStore,
    ResourceStore,
    ObservationStore,
):
    """Everything an assistant remembers.

    The methods named as in Mastra's storage contract (`get_thread_by_id` … `update_resource`,
    `get_observational_memory` …) are over Mastra's functions. The others are over our own, and
    slower over Mastra's where those are missing; `changes`, and what forgets for a while or at a
    time, cannot do without.
    """

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    async def dangerously_clear_all(self) -> None:
        """Delete every thread, message, resource and observation of the deployment."""
        for table_name in (THREADS, MESSAGES, RESOURCES, OBSERVATIONS):
            await self._storage.clear(table_name)

    async def stats(self, *, resource_id: str | None = None) -> Stats:
        """Return how much the deployment, or one resource in it, holds.

        Mastra's functions alone do not count vectors, cached keys and changes: those are None.

        Raises:
            LimitExceeded: There is more than Mastra's functions return, and there are no others.
        """
        answer = await self._ask("query", STATS, resourceId=resource_id)
        return Stats(
            threads=whole(answer, "threads"),
            messages=whole(answer, "messages"),
            resources=whole(answer, "resources"),
            vector_indexes=optional_whole(answer, "vectorIndexes"),
            vectors=optional_whole(answer, "vectors"),
            cache_keys=optional_whole(answer, "cacheKeys"),
            last_change=optional_whole(answer, "lastChange"),
        )

    async def changes(
        self, *, after: int, limit: int, resource_id: str | None = None
    ) -> ChangeSlice:
        """Return what was written after a point in the deployment's history, oldest first.

        Args:
            after: A sequence that an earlier answer gave; 0 starts at the beginning.
            limit: Changes to return, 1 to 1000.
            resource_id: Only changes to rows of this resource.

        Raises:
            InvalidArgument: The limit is out of range.
            FunctionNotDeployed: The deployment has only Mastra's functions.
        """
        answer = await self._ask("query", CHANGES, after=after, limit=limit, resourceId=resource_id)
        return ChangeSlice(
            changes=[_change(change) for change in rows_in(answer.get("changes"))],
            last=whole(answer, "last"),
            first=optional_whole(answer, "first") or 0,
        )


def _change(change: Value) -> Change:
    if not isinstance(change, Mapping):
        raise InvalidResponse("The deployment answered with something that is not a change.")
    kind = text(change, "kind")
    if kind not in ("insert", "update", "delete"):
        raise InvalidResponse("The deployment answered with a change of an unknown kind.")
    return Change(
        sequence=whole(change, "sequence"),
        table=text(change, "table"),
        id=text(change, "id"),
        kind=cast(Literal["insert", "update", "delete"], kind),
        thread_id=optional_text(change, "threadId"),
        resource_id=optional_text(change, "resourceId"),
    )
