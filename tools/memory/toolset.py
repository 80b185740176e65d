"""The toolset itself, and what several of its tools take and show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, JsonValue

from convex_memory.errors import InvalidArgument, NotFound
from convex_memory.limits import VALUE_NESTING_MAX
from convex_memory.records import Thread, iso_text
from convex_memory.store import UNSET, Unset
from tools.budget import CHARS_DEFAULT, Budget
from tools.toolset import Answer, Toolset

memory = Toolset("memory")

NEVER: Final = "never"
"""The time of expiry of what stays."""


def _not_too_deep(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    # A message's metadata is stored as JSON text, which has no limit of its own; but what is
    # deeper could not be sent back in an answer that every client can read.
    level: list[JsonValue] = [metadata]
    for _ in range(VALUE_NESTING_MAX):
        level = [item for value in level for item in _members(value)]
        if not level:
            return metadata
    raise ValueError(
        f"nested too deeply; it holds {VALUE_NESTING_MAX} levels of arrays and objects. Store deep "
        "JSON as text"
    )


def _members(value: JsonValue) -> list[JsonValue]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


Role = Literal["user", "assistant", "system", "tool"]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_not_too_deep)]
Merged = Annotated[Metadata | None, Field(description="Merged; a null member is removed.")]
Time = Annotated[str, Field(description="ISO 8601; UTC if no zone.")]
Expiry = Annotated[str, Field(description="ISO 8601: gone from then on.")]
ChangedExpiry = Annotated[
    str | None, Field(description=f"ISO 8601: gone from then on; {NEVER}: stays.")
]


class ShownThread(Answer):
    """One thread as an assistant sees it."""

    id: str
    title: str
    created_at: str
    updated_at: str
    metadata: dict[str, object] | None = None
    metadata_chars: Annotated[
        int | None, Field(description="metadata was left out, being so long.")
    ] = None


def shown_thread(thread: Thread, budget: Budget | None = None) -> ShownThread:
    """Return a thread as an assistant sees it, its metadata within the budget."""
    # The thread's working memory stands in its metadata; it has a tool of its own.
    metadata = {name: value for name, value in thread.metadata.items() if name != "workingMemory"}
    return ShownThread(
        id=thread.id,
        title=thread.title,
        created_at=iso_text(thread.created_at),
        updated_at=iso_text(thread.updated_at),
        **(budget or Budget(CHARS_DEFAULT, 1)).metadata(metadata),
    )


def expiry_of(given: str | None) -> str | None:
    """Return a time of expiry as the store takes it, or None where none is given.

    Raises:
        InvalidArgument: It is no time, or past.
    """
    if given is None:
        return None
    text = iso_text(given, "expires_at")
    if datetime.fromisoformat(text) <= datetime.now(UTC):
        raise InvalidArgument(
            f"expires_at must be in the future, not {text}. To delete now, use delete_messages or "
            "delete_thread."
        )
    return text


def changed_expiry(given: str | None) -> str | Unset | None:
    """Return a change of the time of expiry as the store takes it; `NEVER` takes it away."""
    if given is None:
        return UNSET
    return None if given.strip().lower() == NEVER else expiry_of(given)


def no_thread(thread_id: str) -> NotFound:
    """Return the refusal for a thread that does not exist."""
    return NotFound(f"There is no thread {thread_id!a}. list_threads shows those there are.")
