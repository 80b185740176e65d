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
    value = args.get(name)
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} must be an object.")
    return dict(value)


def ids_argument(args: Args) -> list[Any]:
    ids = args.get("ids")
    if not isinstance(ids, list):
        raise InvalidArgument("ids must be an array of record ids.")
    return ids


def filters_argument(args: Args) -> list[tuple[str, Any]]:
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
    return all(strict_equal(record.get(name, ABSENT), value) for name, value in filters)


def limit_argument(args: Args) -> int | None:
    limit = args.get("limit")
    if not limit:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
        raise InvalidArgument("queryTable limit must be a number that is not negative")
    return math.floor(limit)


def rows_to_read(limit: int | None) -> int:
    return QUERY_ROWS_MAX if limit is None else min(limit * 2, QUERY_ROWS_MAX)


def is_whole(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    )


def cursor_argument(cursor: Any) -> int:
    if cursor is None:
        return 0
    digits = cursor.removeprefix(CURSOR_PREFIX) if isinstance(cursor, str) else ""
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 18:
        raise InvalidArgument("queryTable cursor must come from an earlier page")
    return int(digits)


def as_key(record_id: Any) -> str:
    """`String(id)` as JavaScript writes it."""
    if isinstance(record_id, str):
        return record_id
    if isinstance(record_id, bool):
        return "true" if record_id else "false"
    if isinstance(record_id, float) and record_id.is_integer():
        return str(int(record_id))
    return str(record_id)
