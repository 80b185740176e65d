"""Cursors: opaque text that continues one question after a position."""

from __future__ import annotations

import base64
import json
from typing import Any

from convex_memory.arguments import Args
from convex_memory.errors import InvalidArgument


def write_cursor(question: str, *position: Any) -> str:
    """Return opaque text that continues `question` after `position`."""
    raw = json.dumps([question, *position], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(raw.encode()).rstrip(b"=").decode()


def read_cursor(args: Args, question: str, kinds: tuple[type, ...]) -> list[Any] | None:
    """Return the position in `args["cursor"]`, or None when there is no cursor.

    Args:
        args: The call's arguments.
        question: What the cursor must continue: the same words it was written with.
        kinds: The types of the position's parts.

    Raises:
        InvalidArgument: The cursor is not one that this question gave.
    """
    cursor = args.get("cursor")
    if cursor is None:
        return None
    position: list[Any]
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        asked, *position = json.loads(raw)
    except (AttributeError, ValueError, TypeError):
        asked, position = None, []
    if asked != question or [type(part) for part in position] != list(kinds):
        raise InvalidArgument(
            "This cursor does not continue this question. Pass the next_cursor of the answer "
            "before, with the same other arguments, or leave it out to start from the beginning."
        )
    return position
