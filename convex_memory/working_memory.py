"""How a change to working memory is made, wherever it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from convex_memory.errors import InvalidArgument


def changed_text(stored: str | None, given: str, mode: str) -> str:
    """Return working memory after a change.

    Args:
        stored: What is kept now; None or empty when there is nothing.
        given: What to write.
        mode: `replace` the whole, `append` on a new line, or `merge` two JSON objects: absent
            members stay, null deletes, objects merge, the rest is replaced.

    Raises:
        InvalidArgument: `merge` of text that is not a JSON object.
    """
    if mode == "replace" or not stored:
        if mode == "merge":
            return _dump(_merged({}, _object(given, "text")))
        return given
    if mode == "append":
        return f"{stored.rstrip()}\n{given}"
    return _dump(_merged(_object(stored, "the stored working memory"), _object(given, "text")))


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidArgument(
            f"mode merge needs {what} to be a JSON object. Use mode replace to store other text."
        )
    return value


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(stored)
    for name, value in given.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            inner = result.get(name)
            result[name] = _merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
