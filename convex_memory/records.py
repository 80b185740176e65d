"""What a memory holds: threads, messages and resources.

Records are values: frozen, compared by content, with aware datetimes in UTC. Rows are what
travels: Mastra's field names, dates as ISO-8601 text, message content as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from convex_memory.errors import InvalidArgument, InvalidResponse
from convex_memory.limits import DOCUMENT_NESTING_MAX
from convex_memory.text import message_text, text_content
from convex_memory.values import Value, check, whole_numbers

Row: TypeAlias = Mapping[str, Value]
Content: TypeAlias = "Mapping[str, Value] | str"
"""A message's content: a format-2 object, or text as older versions stored it."""

MESSAGE_TYPE: Final = "v2"
_TEXT_IN_TEXT_MAX: Final = 4


def utc_now() -> datetime:
    """Return the present instant in UTC, to the millisecond that rows can hold."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def iso_text(instant: datetime | str, where: str = "date") -> str:
    """Return an instant as rows hold it: `2025-01-31T12:00:00.000Z`, cut to milliseconds.

    Args:
        instant: An aware datetime, or ISO-8601 text; text without a zone is read as UTC.
        where: How to name the value in an error.

    Raises:
        InvalidArgument: A datetime without a zone, or text that is not a date.
    """
    if isinstance(instant, str):
        try:
            instant = _parsed(instant)
        except ValueError as error:
            raise InvalidArgument(
                f"{where} must be an ISO-8601 date such as 2025-01-31T12:00:00.000Z."
            ) from error
    if instant.tzinfo is None:
        raise InvalidArgument(f"{where} must have a time zone; use datetime.now(UTC) or the like.")
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation.

    Attributes:
        id: Chosen by the caller, unique in the deployment.
        resource_id: Whose conversation it is.
        title: Empty while it has none.
        metadata: JSON members of the application's own.
        created_at: When it was begun.
        updated_at: When it, or one of its messages, was last saved.
    """

    id: str
    resource_id: str
    title: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)

    @classmethod
    def from_row(cls, row: Value) -> Thread:
        """Read a thread from a stored row.

        Raises:
            InvalidResponse: The row is not a thread.
        """
        fields = _fields(row, "thread")
        return cls(
            id=_text(fields, "id", "thread"),
            resource_id=_text(fields, "resourceId", "thread"),
            title=_optional_text(fields, "title") or "",
            metadata=_metadata(fields.get("metadata")),
            created_at=instant_in(fields, "createdAt", "thread"),
            updated_at=instant_in(fields, "updatedAt", "thread"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this thread.

        Raises:
            InvalidArgument: The metadata cannot be stored, or a date has no zone.
            LimitExceeded: The metadata is nested too deeply or has too many members.
        """
        return {
            "id": self.id,
            "resourceId": self.resource_id,
            "title": self.title,
            "metadata": checked_metadata(self.metadata),
            "createdAt": iso_text(self.created_at, "created_at"),
            "updatedAt": iso_text(self.updated_at, "updated_at"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a thread.

    Attributes:
        id: Chosen by the caller, unique in the deployment; empty lets the store make one.
        thread_id: The thread it belongs to.
        resource_id: Whose message it is; old rows may have none.
        role: `user`, `assistant`, `system`, `tool` and the like.
        type: The shape of the content as Mastra names it.
        content: A format-2 object; rows of older versions may hold text. Text is stored as
            the format-2 object that says it.
        created_at: Where in its thread it stands.
        stored_at_ms: When it was stored, in milliseconds since the epoch: the order of messages
            of one instant. 0 when it was not read from a deployment.
    """

    id: str
    thread_id: str
    resource_id: str | None
    role: str
    content: Content
    type: str = MESSAGE_TYPE
    created_at: datetime = field(default_factory=utc_now)
    stored_at_ms: float = field(default=0.0, compare=False, repr=False)

    @classmethod
    def from_row(cls, row: Value) -> Message:
        """Read a message from a stored row; content that is not an object stays text.

        Raises:
            InvalidResponse: The row is not a message.
        """
        fields = _fields(row, "message")
        return cls(
            id=_text(fields, "id", "message"),
            thread_id=_text(fields, "thread_id", "message"),
            resource_id=_optional_text(fields, "resourceId"),
            role=_text(fields, "role", "message"),
            type=_text(fields, "type", "message"),
            content=_content(fields.get("content")),
            created_at=instant_in(fields, "createdAt", "message"),
            stored_at_ms=_stored_at_ms(fields),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this message.

        Raises:
            InvalidArgument: The content is not JSON, or the date has no zone.
        """
        row: dict[str, Value] = {
            "id": self.id,
            "thread_id": self.thread_id,
            "content": _content_json(self.format_2().content),
            "role": self.role,
            "type": self.type,
            "createdAt": iso_text(self.created_at, "created_at"),
        }
        if self.resource_id is not None:
            row["resourceId"] = self.resource_id
        return row

    def format_2(self) -> Message:
        """Return this message with its content as a format-2 object; text is taken literally."""
        if isinstance(self.content, str):
            return replace(self, content=text_content(self.content))
        return self

    @property
    def text(self) -> str:
        """The plain text of the content."""
        return message_text(self.content)

    @property
    def metadata(self) -> Mapping[str, Value]:
        """The `metadata` member of the content; empty when there is none."""
        if isinstance(self.content, str):
            return {}
        metadata = self.content.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is known about whom a memory belongs to, across threads.

    Attributes:
        id: The resource.
        working_memory: Text that an assistant keeps about it; None when there is none.
        metadata: JSON members of the application's own. Reads always give a mapping; None in
            a save leaves the stored metadata alone.
        created_at: When it was first saved.
        updated_at: When it was last saved.
    """

    id: str
    working_memory: str | None = None
    metadata: Mapping[str, Value] | None = None
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)

    @classmethod
    def from_row(cls, row: Value) -> Resource:
        """Read a resource from a stored row.

        Raises:
            InvalidResponse: The row is not a resource.
        """
        fields = _fields(row, "resource")
        return cls(
            id=_text(fields, "id", "resource"),
            working_memory=_optional_text(fields, "workingMemory"),
            metadata=_metadata(fields.get("metadata")),
            created_at=instant_in(fields, "createdAt", "resource"),
            updated_at=instant_in(fields, "updatedAt", "resource"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this resource, without the members that are None.

        Raises:
            InvalidArgument: The metadata cannot be stored, or a date has no zone.
            LimitExceeded: The metadata is nested too deeply or has too many members.
        """
        row: dict[str, Value] = {
            "id": self.id,
            "createdAt": iso_text(self.created_at, "created_at"),
            "updatedAt": iso_text(self.updated_at, "updated_at"),
        }
        if self.working_memory is not None:
            row["workingMemory"] = self.working_memory
        if self.metadata is not None:
            row["metadata"] = checked_metadata(self.metadata)
        return row


def normalised(messages: Iterable[Message]) -> list[Message]:
    """Return messages as Mastra's message list does: unique, oldest first, all format 2.

    Of two with the same id the later one stands; equal dates keep their order.
    """
    unique = {message.id: message.format_2() for message in messages}
    return sorted(unique.values(), key=lambda message: message.created_at)


def checked_metadata(metadata: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return metadata that a document can hold; refuse the rest, naming the key.

    Raises:
        InvalidArgument: A key starts with `$` or is not printable ASCII, or a value is not JSON.
        LimitExceeded: Too deep, or too many members.
    """
    check(metadata, "metadata", nesting_max=DOCUMENT_NESTING_MAX - 1)
    return metadata


def _fields(row: Value, what: str) -> Row:
    if not isinstance(row, Mapping):
        raise InvalidResponse(f"The deployment answered with something that is not a {what}.")
    return row


def _text(fields: Row, name: str, what: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidResponse(f"The deployment answered with a {what} whose {name} is not text.")
    return value


def _stored_at_ms(fields: Row) -> float:
    value = fields.get("_creationTime")
    return float(value) if isinstance(value, int | float) else 0.0


def _optional_text(fields: Row, name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def instant_in(fields: Row, name: str, what: str) -> datetime:
    """Return the date in field `name` of a `what` that a deployment answered with.

    Raises:
        InvalidResponse: The field is not an ISO-8601 date.
    """
    text = _text(fields, name, what)
    try:
        return _parsed(text)
    except ValueError as error:
        raise InvalidResponse(
            f"The deployment answered with a {what} whose {name} is not an ISO-8601 date."
        ) from error


def _metadata(stored: Value) -> Mapping[str, Value]:
    # Some writers store metadata as JSON text, and some as the JSON text of that text.
    for _ in range(_TEXT_IN_TEXT_MAX):
        if not isinstance(stored, str):
            break
        try:
            stored = json.loads(stored)
        except (ValueError, RecursionError):
            return {}
    return cast(Row, whole_numbers(stored)) if isinstance(stored, Mapping) else {}


def _content(stored: Value) -> Content:
    if isinstance(stored, Mapping):
        return stored
    if not isinstance(stored, str):
        raise InvalidResponse("The deployment answered with a message whose content is not text.")
    if not stored:
        return {}
    try:
        parsed = json.loads(stored)
    except (ValueError, RecursionError):
        return stored
    if isinstance(parsed, dict | str):
        return cast(Content, parsed)
    if isinstance(parsed, list) and parsed and all(map(_is_part, parsed)):
        return {"format": 2, "parts": parsed}
    # Any other list, or a number, is somebody's text: kept as it was written.
    return stored


def _is_part(item: object) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("type"), str)


def _content_json(content: Content) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            "The content of a message must be JSON: objects, arrays, text, finite numbers, "
            "booleans and null."
        ) from error
