"""What the tests of observational memory talk about."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from convex_memory.store import Activation, MemoryStore, ObservationalMemory, ObservationChunk
from tests.contract.conversations import at

OBSERVATIONS: Final = "mastra_observational_memory"

NOTHING: Final = Activation(
    chunks_activated=0,
    message_tokens_activated=0,
    observation_tokens_activated=0,
    messages_activated=0,
    activated_cycle_ids=[],
    activated_message_ids=[],
    observations=None,
    per_chunk=[],
    suggested_continuation=None,
    current_task=None,
)
"""What a swap answers that activated nothing."""


async def begun(
    memory: MemoryStore,
    resource_id: str,
    *,
    thread_id: str | None = None,
    timezone: str | None = None,
    **config: Any,
) -> ObservationalMemory:
    """Begin a memory."""
    return await memory.initialize_observational_memory(
        thread_id=thread_id,
        resource_id=resource_id,
        scope="thread" if thread_id else "resource",
        config=config,
        observed_timezone=timezone,
    )


class Observer:
    """Works on one memory at a time; each it begins is another resource's."""

    def __init__(self, memory: MemoryStore, namespace: str) -> None:
        self._memory = memory
        self._namespace = namespace
        self._begun = 0
        self._seconds = count(1)
        self._id = ""

    @property
    def resource_id(self) -> str:
        return f"{self._namespace}-r{self._begun}"

    async def begin(self, *, timezone: str | None = None, **config: Any) -> ObservationalMemory:
        """Begin another memory, and work on that from now on."""
        self._begun += 1
        self._seconds = count(1)
        record = await begun(self._memory, self.resource_id, timezone=timezone, **config)
        self._id = record.id
        return record

    async def read(self) -> ObservationalMemory:
        """The newest generation."""
        found = await self._memory.get_observational_memory(
            thread_id=None, resource_id=self.resource_id
        )
        assert found is not None
        return found

    def chunk(self, name: str, message_tokens: float, **members: Any) -> ObservationChunk:
        """A chunk of the cycle `name`, observed a second after the last one."""
        given: dict[str, Any] = {"message_ids": [f"m-{name}"], "token_count": 10, **members}
        return ObservationChunk(
            cycle_id=name,
            observations=f"observed {name}",
            message_tokens=message_tokens,
            last_observed_at=at(next(self._seconds)),
            **given,
        )

    async def append(self, name: str, message_tokens: float, **members: Any) -> ObservationChunk:
        """Buffer a chunk."""
        return await self._memory.update_buffered_observations(
            id=self._id, chunk=self.chunk(name, message_tokens, **members)
        )

    async def swap(
        self, *, ratio: float = 1, threshold: float = 1000, pending: float = 1000, **options: Any
    ) -> Activation:
        """Swap; by default all that there is when it is small."""
        return await self._memory.swap_buffered_to_active(
            id=self._id,
            activation_ratio=ratio,
            message_tokens_threshold=threshold,
            current_pending_tokens=pending,
            **options,
        )
