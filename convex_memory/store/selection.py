"""Which rows a listing returns: filters, order and numbered pages, as Mastra defines them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from convex_memory.errors import InvalidArgument
from convex_memory.limits import SAFE_INTEGER_MAX
from convex_memory.records import Message, Thread, iso_text
from convex_memory.store.answers import PerPage
from convex_memory.values import Value, strict_equal

THREADS_PER_PAGE: Final = 100
MESSAGES_PER_PAGE: Final = 40
_KEY_CHARS_MAX: Final = 128
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED_KEYS: Final = frozenset({"__proto__", "prototype", "constructor"})
_OFFSET_MAX: Final = 2**52

Record = TypeVar("Record", Thread, Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBy:
    """How a listing is sorted; rows that tie keep the order in which they were created.

    Attributes:
        field: `created_at` or `updated_at` (Mastra's spelling works too). Anything else, and
            `updated_at` of messages, which have none, means `created_at`.
        direction: `ASC` or `DESC`; anything else is the listing's own default.
    """

    field: str = "created_at"
    direction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DateRange:
    """Bounds on `created_at`: aware datetimes or ISO-8601 text, compared by the millisecond."""

    start: datetime | str | None = None
    end: datetime | str | None = None
    start_exclusive: bool = False
    end_exclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFilter:
    """Which threads to list.

    Attributes:
        resource_id: Only threads of this resource; None or empty lists everybody's.
        metadata: Members that a thread's metadata must have, each strictly equal.
    """

    resource_id: str | None = None
    metadata: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages to list.

    Attributes:
        date_range: When they were created.
        metadata: Members that the `metadata` of a message's content must have, each strictly
            equal: text, finite numbers, booleans or None (an explicit null).
    """

    date_range: DateRange | None = None
    metadata: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """A message to return whatever page was asked for, with neighbours from its own thread.

    Attributes:
        id: The message; an unknown one is passed over.
        thread_id: Accepted as Mastra does; the thread is always the message's own.
        with_previous_messages: How many messages before it.
        with_next_messages: How many messages after it.
    """

    id: str
    thread_id: str | None = None
    with_previous_messages: int = 0
    with_next_messages: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """A numbered page, resolved: rows from `offset`, `per_page` of them or all."""

    page: int
    per_page: PerPage
    offset: int

    def cut(self, rows: Sequence[Record]) -> list[Record]:
        """Return the rows on this page."""
        if self.per_page is False:
            return list(rows)
        return list(rows[self.offset : self.offset + self.per_page])

    def has_next(self, total: int) -> bool:
        """Whether rows follow this page."""
        return self.per_page is not False and self.offset + self.per_page < total


def thread_window(page: int, per_page: PerPage | None, error_id: str) -> Window:
    """Resolve a page of threads, strictly.

    Raises:
        InvalidArgument: `page` or `per_page` is not one.
    """
    size = THREADS_PER_PAGE if per_page is None else per_page

    def refuse(sentence: str) -> InvalidArgument:
        details = {"page": _shown(page), "per_page": _shown(per_page)}
        return InvalidArgument(sentence, id=error_id, details=details)

    if size is not False and not _is_safe_integer(size):
        raise refuse("per_page must be False or a safe integer.")
    if size < 0:
        raise refuse("per_page must be >= 0.")
    if not _is_safe_integer(page) or page < 0:
        raise refuse("page must be >= 0.")
    if size is False and page != 0:
        raise refuse("page must be 0 when per_page is False.")
    if page * size >= SAFE_INTEGER_MAX:
        raise refuse("page value too large.")
    return Window(page, size, page * size)


def message_window(page: int, per_page: PerPage | None, error_id: str) -> Window:
    """Resolve a page of messages: `per_page` that is no number means the default.

    Raises:
        InvalidArgument: `page` or `per_page` is negative, or their product too large.
    """
    size: PerPage = MESSAGES_PER_PAGE
    if per_page is False or (isinstance(per_page, int) and per_page is not True):
        size = per_page
    if size < 0:
        raise InvalidArgument("per_page must be >= 0.")
    if not _is_safe_integer(page) or page < 0:
        raise InvalidArgument("page must be >= 0.", id=error_id, details={"page": _shown(page)})
    if page * size > _OFFSET_MAX:
        raise InvalidArgument("page value too large.", id=error_id, details={"page": page})
    return Window(page, size, 0 if size is False else page * size)


def in_order(rows: Sequence[Record], order_by: OrderBy | None, default: str) -> list[Record]:
    """Sort rows stably, in either direction; `default` is the direction when none is given."""
    order = order_by or OrderBy()
    direction = order.direction if order.direction in ("ASC", "DESC") else default
    by_update = order.field in ("updated_at", "updatedAt")

    def instant(row: Thread | Message) -> datetime:
        return row.updated_at if by_update and isinstance(row, Thread) else row.created_at

    return sorted(rows, key=instant, reverse=direction == "DESC")


def thread_filter(wanted: ThreadFilter, error_id: str) -> Callable[[Thread], bool]:
    """Return the test for a thread's metadata.

    Raises:
        InvalidArgument: A metadata key that Mastra refuses.
    """
    metadata = _checked_object(wanted.metadata)
    for key in metadata:
        sentence = _key_fault(key)
        if sentence is not None:
            raise InvalidArgument(sentence, id=error_id, details={"metadata_keys": list(metadata)})
    return lambda thread: _has_members(thread.metadata, metadata)


def message_filter(wanted: MessageFilter | None) -> Callable[[Message], bool]:
    """Return the test for a message's date and metadata.

    Raises:
        InvalidArgument: A metadata key or value, or a date, that cannot be compared.
    """
    if wanted is None:
        return lambda message: True
    metadata = _checked_object(wanted.metadata)
    for key, value in metadata.items():
        if _key_fault(key) is not None:
            raise InvalidArgument(f'Invalid metadata filter key "{key}".')
        if not _is_comparable(value):
            raise InvalidArgument(
                f'Invalid metadata filter value for key "{key}". Values must be string, finite '
                "number, boolean, or null."
            )
    within = _date_test(wanted.date_range or DateRange())
    return lambda message: within(message) and _has_members(message.metadata, metadata)


def _date_test(dates: DateRange) -> Callable[[Message], bool]:
    # Text of one fixed form sorts as the instants do, and at the precision that rows have.
    start = None if dates.start is None else iso_text(dates.start, "date_range.start")
    end = None if dates.end is None else iso_text(dates.end, "date_range.end")
    if start is None and end is None:
        return lambda message: True

    def test(message: Message) -> bool:
        at = iso_text(message.created_at)
        late_enough = start is None or at > start or (at == start and not dates.start_exclusive)
        early_enough = end is None or at < end or (at == end and not dates.end_exclusive)
        return late_enough and early_enough

    return test


def _checked_object(metadata: Mapping[str, Value] | None) -> Mapping[str, Value]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("Metadata filter must be an object.")
    return metadata


def _key_fault(key: str) -> str | None:
    if not isinstance(key, str) or key in _RESERVED_KEYS:
        return f'Invalid metadata key: "{key}".'
    if not _KEY.fullmatch(key):
        return (
            f'Invalid metadata key: "{key}". Keys must start with a letter or underscore and '
            "contain only alphanumeric characters and underscores."
        )
    if len(key) > _KEY_CHARS_MAX:
        return f'Metadata key "{key}" exceeds maximum length of {_KEY_CHARS_MAX} characters.'
    return None


def _is_comparable(value: Value) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _has_members(metadata: Mapping[str, Value], wanted: Mapping[str, Value]) -> bool:
    return all(key in metadata and strict_equal(metadata[key], wanted[key]) for key in wanted)


def _is_safe_integer(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and abs(value) < SAFE_INTEGER_MAX  # type: ignore[arg-type]


def _shown(value: object) -> Value:
    return value if isinstance(value, bool | int | float | str) else None
