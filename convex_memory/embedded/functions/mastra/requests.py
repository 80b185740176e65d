"""The arguments of a storage request, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from convex_memory.embedded.documents import Record
from convex_memory.embedded.functions.function import Args
from convex_memory.errors import InvalidArgument
from convex_memory.limits import QUERY_ROWS_MAX
from convex_memory.values import strict_equal

CURSOR_PREFIX: Final = "after:"
ABSENT: Final = object()
"""Stands for a field that a record does not have; equal to no value."""


def record_argument(args: Args, name: str) -> Record:
    """Return an argument that must be an object, as a copy that may be changed.

    Raises:
        InvalidArgument: It is something else.
    """
    value = args.get(name)
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} must be an object.")
    return dict(value)


def ids_argument(args: Args) -> list[Any]:
    """Return the record ids of a request.

    Raises:
        InvalidArgument: They are not an array, or one of them is an array or an object.
    """
    ids = args.get("ids")
    if not isinstance(ids, list):
        raise InvalidArgument("ids must be an array of record ids.")
    for position, record_id in enumerate(ids):
        if isinstance(record_id, Mapping | list):
            raise InvalidArgument(
                f"ids[{position}] must be a record id, not an array or an object."
            )
    return ids


def filters_argument(args: Args) -> list[tuple[str, Any]]:
    """Return the fields that rows must have, with their values; absent filters are none.

    Raises:
        InvalidArgument: They are not an array of `{field, value}`.
    """
    filters = args.get("filters") or []
    if not isinstance(filters, list):
        raise InvalidArgument("filters must be an array of {field, value}.")
    pairs = []
    for position, each in enumerate(filters):
        if not isinstance(each, Mapping) or "field" not in each or "value" not in each:
            raise InvalidArgument(f"filters[{position}] must be {{field, value}}.")
        pairs.append((str(each["field"]), each["value"]))
    return pairs


def matches(record: Record, filters: list[tuple[str, Any]]) -> bool:
    """Whether every filtered field of the record strictly equals its value."""
    return all(strict_equal(record.get(name, ABSENT), value) for name, value in filters)


def limit_argument(args: Args) -> int | None:
    """Return how many rows may be answered; None for as many as there are.

    Raises:
        InvalidArgument: It is not a number, or negative.
    """
    limit = args.get("limit")
    if not limit:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
        raise InvalidArgument("queryTable limit must be a number that is not negative")
    return math.floor(limit)


def rows_to_read(limit: int | None) -> int:
    """Return how many rows a read with this limit looks at before it filters."""
    return QUERY_ROWS_MAX if limit is None else min(limit * 2, QUERY_ROWS_MAX)


def is_whole(value: Any) -> bool:
    """Whether a value is a number without a fraction."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    )


def cursor_argument(cursor: Any) -> int:
    """Return the sequence after which a page starts; 0 for the first page.

    Raises:
        InvalidArgument: The cursor is not one that a page was answered with.
    """
    if cursor is None:
        return 0
    digits = cursor.removeprefix(CURSOR_PREFIX) if isinstance(cursor, str) else ""
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 18:
        raise InvalidArgument("queryTable cursor must come from an earlier page")
    return int(digits)


def as_key(record_id: Any) -> str:
    """Return `String(id)` as JavaScript writes it."""
    if isinstance(record_id, str):
        return record_id
    if isinstance(record_id, bool):
        return "true" if record_id else "false"
    # From 1e21 on JavaScript writes an exponent, and so does Python.
    if isinstance(record_id, float) and record_id.is_integer() and abs(record_id) < 1e21:
        return str(int(record_id))
    return "null" if record_id is None else str(record_id)
