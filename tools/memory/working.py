"""Working memory: the notes kept about a user, or about one thread."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from convex_memory.store import WorkingMemory
from tools.adapters import Adapters
from tools.arguments import Id, Offset, part_of, time_of
from tools.budget import CHARS_DEFAULT, MaxChars
from tools.memory.toolset import memory
from tools.toolset import Answer, Arguments, Progress


class GetWorkingMemoryArguments(Arguments):
    """Arguments of `get_working_memory`."""

    thread_id: Annotated[Id | None, Field(description="Absent: of the user, across threads.")] = (
        None
    )


class ReadWorkingMemoryArguments(GetWorkingMemoryArguments):
    """Arguments of `get_working_memory`."""

    max_chars: MaxChars = CHARS_DEFAULT
    offset: Offset = 0


class ShownWorkingMemory(Answer):
    """The working memory."""

    working_memory: str | None
    updated_at: str | None
    chars: Annotated[int | None, Field(description="Characters of the whole text, when cut.")] = (
        None
    )


class UpdateWorkingMemoryArguments(GetWorkingMemoryArguments):
    """Arguments of `update_working_memory`."""

    content: str
    mode: Annotated[
        Literal["replace", "append", "merge"],
        Field(description="merge: both are JSON objects, null deletes a key."),
    ] = "replace"


@memory.tool("Get working memory", reads=True)
async def get_working_memory(
    arguments: ReadWorkingMemoryArguments, adapters: Adapters, progress: Progress
) -> ShownWorkingMemory:
    """Read the notes kept about the user. Look here at the start of a conversation."""
    found = await adapters.store.memory.get_working_memory(
        resource_id=adapters.resource_id, thread_id=arguments.thread_id
    )
    return _shown_working_memory(found, arguments.max_chars, arguments.offset)


@memory.tool("Update working memory", destroys=True)
async def update_working_memory(
    arguments: UpdateWorkingMemoryArguments, adapters: Adapters, progress: Progress
) -> ShownWorkingMemory:
    """Write the notes kept about the user: lasting facts and preferences."""
    changed = await adapters.store.memory.update_working_memory(
        resource_id=adapters.resource_id,
        thread_id=arguments.thread_id,
        text=arguments.content,
        mode=arguments.mode,
    )
    return _shown_working_memory(changed, CHARS_DEFAULT, 0)


def _shown_working_memory(found: WorkingMemory, most: int, offset: int) -> ShownWorkingMemory:
    part, chars = (None, None) if found.text is None else part_of(found.text, offset, most)
    return ShownWorkingMemory(
        working_memory=part, updated_at=time_of(found.updated_at), chars=chars
    )
