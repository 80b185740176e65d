"""The `observations` toolset: the log that an observer keeps of a conversation or a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from convex_memory.errors import NotFound
from convex_memory.records import iso_text
from convex_memory.store.observation_records import ObservationalMemory
from tools.adapters import Adapters
from tools.arguments import Chars, Id, Limit, Offset, part_of, time_of
from tools.budget import CHARS_DEFAULT, MaxChars
from tools.toolset import Answer, Arguments, Progress, Toolset

observations = Toolset("observations")

_CHARS_PER_TOKEN = 4
"""What English text takes on the average; the count only steers when an observer reflects."""

ThreadId = Annotated[
    Id | None, Field(description="Of one thread; absent: of the user, across threads.")
]


class ObservationArguments(Arguments):
    """Arguments of `get_observations`."""

    thread_id: ThreadId = None
    max_chars: MaxChars = CHARS_DEFAULT
    offset: Offset = 0


class ShownObservations(Answer):
    """The log as it stands."""

    observations: str
    generation: Annotated[int | None, Field(description="How often it was condensed.")]
    tokens: int
    last_observed_at: str | None
    waiting: Annotated[int, Field(description="Observations made and not yet in the log.")]
    chars: Chars = None


@observations.tool("Get observations", reads=True)
async def get_observations(
    arguments: ObservationArguments, adapters: Adapters, progress: Progress
) -> ShownObservations:
    """Read what was observed about the user or in a thread: a condensed log of older messages."""
    record = await _record(adapters, arguments.thread_id)
    return _shown(record, arguments.max_chars, arguments.offset)


class UpdateObservationsArguments(Arguments):
    """Arguments of `update_observations`."""

    content: Annotated[str, Field(min_length=1, description="The whole new log.")]
    thread_id: ThreadId = None


@observations.tool("Update observations", destroys=True)
async def update_observations(
    arguments: UpdateObservationsArguments, adapters: Adapters, progress: Progress
) -> ShownObservations:
    """Write the log anew, with what was observed since."""
    memory = adapters.store.memory
    record = await _record(adapters, arguments.thread_id)
    if record is None:
        record = await memory.initialize_observational_memory(
            thread_id=arguments.thread_id,
            resource_id=adapters.resource_id,
            scope="thread" if arguments.thread_id else "resource",
            config={},
        )
    await memory.update_active_observations(
        id=record.id,
        observations=arguments.content,
        token_count=len(arguments.content) // _CHARS_PER_TOKEN,
        last_observed_at=datetime.now(UTC),
    )
    return _shown(await _record(adapters, arguments.thread_id), CHARS_DEFAULT, 0)


class HistoryArguments(Arguments):
    """Arguments of `observation_history`."""

    thread_id: ThreadId = None
    limit: Limit = 5
    max_chars: MaxChars = CHARS_DEFAULT


class Generation(Answer):
    """One generation of the log."""

    generation: int
    origin: Annotated[str, Field(description="initial, or reflection: condensed from before.")]
    created_at: str
    observations: str
    chars: Chars = None


class Generations(Answer):
    """Generations of the log, newest first."""

    generations: list[Generation]


@observations.tool("Observation history", reads=True)
async def observation_history(
    arguments: HistoryArguments, adapters: Adapters, progress: Progress
) -> Generations:
    """Read how the log was before it was condensed, newest generation first."""
    await _check_thread(adapters, arguments.thread_id)
    found = await adapters.store.memory.get_observational_memory_history(
        thread_id=arguments.thread_id, resource_id=adapters.resource_id, limit=arguments.limit
    )
    share = arguments.max_chars // max(len(found), 1)
    return Generations(generations=[_generation(record, share) for record in found])


class ThreadArguments(Arguments):
    """Arguments of `clear_observations`."""

    thread_id: ThreadId = None


class Cleared(Answer):
    """All is gone."""

    cleared: bool


@observations.tool("Clear observations", destroys=True, repeatable=True)
async def clear_observations(
    arguments: ThreadArguments, adapters: Adapters, progress: Progress
) -> Cleared:
    """Delete the log with all its generations. Messages stay."""
    await _check_thread(adapters, arguments.thread_id)
    await adapters.store.memory.clear_observational_memory(
        thread_id=arguments.thread_id, resource_id=adapters.resource_id
    )
    return Cleared(cleared=True)


async def _record(adapters: Adapters, thread_id: str | None) -> ObservationalMemory | None:
    await _check_thread(adapters, thread_id)
    return await adapters.store.memory.get_observational_memory(
        thread_id=thread_id, resource_id=adapters.resource_id
    )


async def _check_thread(adapters: Adapters, thread_id: str | None) -> None:
    if thread_id is None:
        return
    thread = await adapters.store.memory.get_thread_by_id(
        thread_id=thread_id, resource_id=adapters.resource_id
    )
    if thread is None:
        raise NotFound(f"There is no thread {thread_id!a}. list_threads shows those there are.")


def _shown(record: ObservationalMemory | None, most: int, offset: int) -> ShownObservations:
    if record is None:
        return ShownObservations(
            observations="", generation=None, tokens=0, last_observed_at=None, waiting=0
        )
    text, chars = part_of(record.active_observations, offset, most)
    return ShownObservations(
        observations=text,
        generation=record.generation_count,
        tokens=round(record.observation_token_count),
        last_observed_at=time_of(record.last_observed_at),
        waiting=len(record.buffered_observation_chunks),
        chars=chars,
    )


def _generation(record: ObservationalMemory, most: int) -> Generation:
    text, chars = part_of(record.active_observations, 0, most)
    return Generation(
        generation=record.generation_count,
        origin=record.origin_type,
        created_at=iso_text(record.created_at),
        observations=text,
        chars=chars,
    )
