"""Arguments that several toolsets take, and how pages and long texts are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, JsonValue

from convex_memory.errors import InvalidArgument
from convex_memory.limits import MESSAGE_ID_CHARS_MAX
from convex_memory.records import iso_text

Item = TypeVar("Item")

PAGE_MAX: Final = 100

Id = Annotated[str, Field(min_length=1, max_length=MESSAGE_ID_CHARS_MAX)]
Metadata = dict[str, JsonValue]
Limit = Annotated[int, Field(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Field(description="next_cursor of the answer before.")]
Offset = Annotated[int, Field(ge=0, description="Of a cut text: skip so many characters.")]
Chars = Annotated[int | None, Field(description="Characters of the whole text, when cut.")]


def page_in(cursor: str | None) -> int:
    """Return the page that a cursor names, from zero; the first where there is no cursor.

    Raises:
        InvalidArgument: The cursor is not one of ours.
    """
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        raise InvalidArgument(
            "cursor must be the next_cursor of an earlier answer; leave it out for the first page."
        )
    return int(cursor)


def cursor_after(page: int, limit: int, total: int) -> str | None:
    """Return the cursor of the page after this one; None when this is the last."""
    return str(page + 1) if (page + 1) * limit < total else None


def page_of(items: Sequence[Item], cursor: str | None, limit: int) -> tuple[list[Item], str | None]:
    """Return one page of a whole list, and the cursor of the next."""
    page = page_in(cursor)
    shown = list(items[page * limit : (page + 1) * limit])
    return shown, cursor_after(page, limit, len(items))


def part_of(text: str, offset: int, most: int) -> tuple[str, int | None]:
    """Return a part of a text, and its whole length where something is left out."""
    part = text[offset : offset + most]
    return part, None if part == text else len(text)


def json_of(value: Any) -> str:
    """Return compact JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def time_of(moment: datetime | None) -> str | None:
    """Return a date as answers hold it, or None."""
    return None if moment is None else iso_text(moment)
