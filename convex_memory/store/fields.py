"""Reading the fields of what a deployment answered with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from convex_memory.errors import InvalidResponse
from convex_memory.json_text import MALFORMED, parsed
from convex_memory.records import Row, instant_in, iso_text
from convex_memory.values import Value, whole_numbers


def row_in(value: Value, what: str) -> Row:
    """Return a value that must be an object.

    Raises:
        InvalidResponse: It is something else; `what` says what it should have been.
    """
    if not isinstance(value, Mapping):
        raise InvalidResponse(f"The deployment answered with something that is not a {what}.")
    return value


def number(fields: Row, name: str) -> int | float:
    """Return a field that must be a number; one that is absent or null is 0.

    Raises:
        InvalidResponse: It is something else.
    """
    value = whole_numbers(fields.get(name) or 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidResponse(f"The deployment answered with {name} that is not a number.")
    return value


def texts(value: Value) -> list[str] | None:
    """Return the texts of an array; None when it is not one."""
    if not isinstance(value, list | tuple):
        return None
    return [each for each in value if isinstance(each, str)]


def optional_object(value: Value) -> Row | None:
    """Return a value when it is an object, with whole numbers as integers; else None."""
    if not isinstance(value, Mapping):
        return None
    return {name: whole_numbers(item) for name, item in value.items()}


def json_object(stored: str | None) -> Row | None:
    """Return the object that JSON text stands for; None when it is not one."""
    try:
        value = parsed(stored or "null")
    except MALFORMED:
        return None
    return value if isinstance(value, Mapping) else None


def optional_instant(fields: Row, name: str, what: str) -> datetime | None:
    """Return a date that may be absent, null or empty text.

    Raises:
        InvalidResponse: It is not an ISO-8601 date; `what` says whose it is.
    """
    return instant_in(fields, name, what) if fields.get(name) else None


def optional_iso(instant: datetime | None, where: str) -> str | None:
    """Return an instant as rows hold it, or None.

    Raises:
        InvalidArgument: It has no zone; `where` names it.
    """
    return None if instant is None else iso_text(instant, where)
