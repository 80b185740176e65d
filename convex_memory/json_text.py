"""JSON as text: what rows hold where a document could not hold the value itself."""

from __future__ import annotations

import json
from typing import Final

from convex_memory.errors import InvalidArgument
from convex_memory.values import Value, whole_numbers

MALFORMED: Final = (ValueError, RecursionError)
"""What `parsed` raises for text that is not JSON."""


def json_text(value: Value, where: str) -> str:
    """Return a value as compact JSON text.

    Args:
        value: Any JSON value with finite numbers.
        where: How to name the value in an error.

    Raises:
        InvalidArgument: It is not a JSON value.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if not _is_unicode(text):
            # Half of a surrogate pair, as cut JavaScript strings have it, survives escaped.
            text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{where} must be JSON: objects, arrays, text, finite numbers, booleans and null."
        ) from error
    return text


def parsed(text: str) -> Value:
    """Return the value that JSON text stands for.

    Raises:
        ValueError: The text is not JSON; NaN and the infinities are not.
        RecursionError: It is nested beyond what can be read.
    """
    value: Value = json.loads(text, parse_constant=_refuse)
    return value


def stored_value(column: Value) -> Value:
    """Return what a column of JSON text stands for.

    Text that is not JSON stands for itself, and old rows may hold the value as it is.
    """
    if not isinstance(column, str):
        return whole_numbers(column)
    try:
        return parsed(column)
    except MALFORMED:
        return column


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> Value:
    raise ValueError(f"{constant} is not JSON")
