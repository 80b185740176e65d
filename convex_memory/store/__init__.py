"""`ConvexStore`: a deployment's storage, one object per domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.errors import ConfigurationError
from convex_memory.store.answers import (
    Change,
    ChangedMessage,
    ChangeSlice,
    CountedThread,
    MarkedMessages,
    MessageMark,
    MessagePage,
    MessageRemoval,
    MessageSlice,
    PerPage,
    RestoredThread,
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
from convex_memory.store.background_task_records import (
    BackgroundTask,
    TaskFilter,
    TaskList,
    TaskStatus,
)
from convex_memory.store.background_tasks import BackgroundTaskStore
from convex_memory.store.channel_records import (
    ChannelConfig,
    ChannelInstallation,
    InstallationStatus,
)
from convex_memory.store.channels import ChannelStore
from convex_memory.store.cloning import CloneOptions
from convex_memory.store.domain import MemoryDomain, random_id
from convex_memory.store.memory import MemoryStore
from convex_memory.store.messages import MessageUpdate
from convex_memory.store.observation_chunks import (
    ActivatedChunk,
    Activation,
    ExtractionFailure,
    ObservationChunk,
)
from convex_memory.store.observation_records import (
    ObservationalMemory,
    ObservationOrigin,
    ObservationScope,
)
from convex_memory.store.observations import ObservationStore
from convex_memory.store.schedule_records import Schedule, ScheduleStatus, ScheduleTrigger
from convex_memory.store.schedules import ScheduleStore
from convex_memory.store.score_records import Score, ScoreFilter, ScorePage
from convex_memory.store.scores import ScoreStore
from convex_memory.store.searching import Candidates, SearchScope
from convex_memory.store.selection import (
    DateRange,
    Include,
    MessageFilter,
    OrderBy,
    ThreadFilter,
)
from convex_memory.store.storage import StorageFunction
from convex_memory.store.unset import UNSET, Unset
from convex_memory.store.workflow_records import WorkflowRun, WorkflowRuns
from convex_memory.store.workflows import WorkflowStore

Domain = TypeVar("Domain", bound=MemoryDomain)

__all__ = [
    "ConvexStore",
    "MemoryStore",
    "Candidates",
    "SearchScope",
    "StorageFunction",
    # The other domains
    "BackgroundTaskStore",
    "ChannelStore",
    "ObservationStore",
    "ScheduleStore",
    "ScoreStore",
    "WorkflowStore",
    # What they keep
    "BackgroundTask",
    "ChannelConfig",
    "ChannelInstallation",
    "ExtractionFailure",
    "InstallationStatus",
    "ObservationChunk",
    "ObservationOrigin",
    "ObservationScope",
    "ObservationalMemory",
    "Schedule",
    "ScheduleStatus",
    "ScheduleTrigger",
    "Score",
    "TaskStatus",
    "WorkflowRun",
    # What is asked for
    "CloneOptions",
    "DateRange",
    "Include",
    "MessageFilter",
    "MessageUpdate",
    "OrderBy",
    "PerPage",
    "ScoreFilter",
    "TaskFilter",
    "ThreadFilter",
    "UNSET",
    "Unset",
    # What is answered
    "ActivatedChunk",
    "Activation",
    "Change",
    "ChangeSlice",
    "ChangedMessage",
    "CountedThread",
    "MarkedMessages",
    "MessageMark",
    "MessagePage",
    "MessageRemoval",
    "MessageSlice",
    "RestoredThread",
    "SaveReceipt",
    "ScorePage",
    "SearchHit",
    "SearchSlice",
    "Stats",
    "Surroundings",
    "TaskList",
    "ThreadClone",
    "ThreadPage",
    "ThreadRemoval",
    "ThreadSlice",
    "WorkflowRuns",
    "WorkingMemory",
]


class ConvexStore:
    """The storage adapter: Mastra's storage contract over a deployment's functions.

    Args:
        deployment: Where the functions run; the caller closes it.
        id: Names this store among others of an application.
        storage_function: The path of the storage function.
        capabilities: What is known of the deployment's functions, to share the question
            between adapters.
        now_ms: The clock that stamps writes, in milliseconds since the epoch; the system's
            by default.
        new_id: Makes ids for records that come without one; random UUIDs by default.

    Attributes:
        id: As given.
        memory: Threads, messages, resources, working memory.
        workflows: Snapshots of workflow runs.
        schedules: What fires when, and the history of fires.
        background_tasks: Calls of tools that run on their own.
        scores: What evaluations said.
        channels: Where agents are installed.
        observations: Observational memory, which is part of `memory`.
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
        capabilities: Capabilities | None = None,
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
        known = capabilities or Capabilities(deployment)

        def domain(store: type[Domain]) -> Domain:
            return store(
                deployment,
                storage_function=storage_function,
                capabilities=known,
                now_ms=now_ms,
                new_id=new_id,
            )

        self.memory = domain(MemoryStore)
        self.workflows = domain(WorkflowStore)
        self.schedules = domain(ScheduleStore)
        self.background_tasks = domain(BackgroundTaskStore)
        self.scores = domain(ScoreStore)
        self.channels = domain(ChannelStore)
        self.observations: ObservationStore = self.memory
        self.stores: Mapping[str, MemoryDomain] = {
            "memory": self.memory,
            "workflows": self.workflows,
            "schedules": self.schedules,
            "backgroundTasks": self.background_tasks,
            "scores": self.scores,
            "channels": self.channels,
        }

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    def get_store(self, name: str) -> MemoryDomain | None:
        """Return a domain by name, or None when this store has no such domain."""
        return self.stores.get(name)
