"""`ConvexStore`: a deployment's storage, one object per domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.errors import ConfigurationError
from convex_memory.store.answers import (
    Change,
    ChangeSlice,
    CountedThread,
    MessagePage,
    MessageSlice,
    PerPage,
    SaveReceipt,
    SearchHit,
    SearchSlice,
    Stats,
    Surroundings,
    ThreadClone,
    ThreadPage,
    ThreadRemoval,
    ThreadSlice,
    WorkingMemory,
)
from convex_memory.store.cloning import CloneOptions
from convex_memory.store.domain import random_id
from convex_memory.store.memory import MemoryStore
from convex_memory.store.messages import MessageUpdate
from convex_memory.store.selection import (
    DateRange,
    Include,
    MessageFilter,
    OrderBy,
    ThreadFilter,
)
from convex_memory.store.storage import StorageFunction

__all__ = [
    "ConvexStore",
    "MemoryStore",
    "StorageFunction",
    # What is asked for
    "CloneOptions",
    "DateRange",
    "Include",
    "MessageFilter",
    "MessageUpdate",
    "OrderBy",
    "PerPage",
    "ThreadFilter",
    # What is answered
    "Change",
    "ChangeSlice",
    "CountedThread",
    "MessagePage",
    "MessageSlice",
    "SaveReceipt",
    "SearchHit",
    "SearchSlice",
    "Stats",
    "Surroundings",
    "ThreadClone",
    "ThreadPage",
    "ThreadRemoval",
    "ThreadSlice",
    "WorkingMemory",
]


class ConvexStore:
    """The storage adapter: Mastra's storage contract over a deployment's functions.

    Args:
        deployment: Where the functions run; the caller closes it.
        id: Names this store among others of an application.
        storage_function: The path of the storage function.
        now_ms: The clock that stamps writes, in milliseconds since the epoch; the system's
            by default.
        new_id: Makes ids for records that come without one; random UUIDs by default.

    Attributes:
        id: As given.
        memory: Threads, messages, resources, working memory.
        stores: The domains by name.

    Raises:
        ConfigurationError: The id or the function's path is blank.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        id: str = "convex-memory",
        storage_function: str = STORAGE_FUNCTION,
        now_ms: Callable[[], float] | None = None,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        if not id.strip():
            raise ConfigurationError("ConvexStore: id must be provided and cannot be empty.")
        if not storage_function.strip():
            raise ConfigurationError(
                "ConvexStore: storage_function cannot be empty; leave it out for "
                f"{STORAGE_FUNCTION}."
            )
        self.id = id
        self.memory = MemoryStore(
            deployment,
            storage_function=storage_function,
            capabilities=Capabilities(deployment),
            now_ms=now_ms,
            new_id=new_id,
        )
        self.stores: Mapping[str, MemoryStore] = {"memory": self.memory}

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    def get_store(self, name: str) -> MemoryStore | None:
        """Return a domain by name, or None when this store has no such domain."""
        return self.stores.get(name)
