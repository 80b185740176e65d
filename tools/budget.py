"""Keeping answers small: how much text an answer may hold, and how long texts are cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from convex_memory.records import Message, iso_text
from convex_memory.store import MessageMark
from convex_memory.text import message_text
from tools.arguments import json_of, time_of
from tools.toolset import Answer

CHARS_DEFAULT: Final = 12_000
"""Characters of text in one answer: about 3,000 tokens."""
CHARS_LEAST: Final = 200
CHARS_MOST: Final = 200_000

MaxChars = Annotated[int, Field(ge=CHARS_LEAST, le=CHARS_MOST)]
"""Most characters of text to return."""


class ShownMessage(Answer):
    """One message as an assistant sees it."""

    id: str
    role: str
    content: str
    created_at: str
    metadata: dict[str, object] | None = None
    cut: Annotated[
        bool | None,
        Field(description="content is cut: get the rest with recall_thread around=id, offset."),
    ] = None
    chars: Annotated[int | None, Field(description="Characters of the whole text, when cut.")] = (
        None
    )
    metadata_chars: Annotated[
        int | None,
        Field(description="metadata was left out, being so long; ask with a larger max_chars."),
    ] = None
    expires_at: str | None = None
    superseded_by: Annotated[
        str | None, Field(description="The message that holds instead; this one is out of date.")
    ] = None


class Budget:
    """What is left of an answer's characters.

    Args:
        chars: Characters the answer may hold.
        messages: Messages it is shared by; no single one may take more than a quarter of an
            answer that has room for several.
    """

    def __init__(self, chars: int, messages: int) -> None:
        self.left = chars
        self._each = chars if messages == 1 else max(CHARS_LEAST, chars // 4)

    def show(
        self, message: Message, offset: int = 0, mark: MessageMark | None = None
    ) -> ShownMessage:
        """Return the message with its text cut to what it may take, and take that away.

        Metadata is never cut: it is there whole, or its length instead of it.

        Args:
            message: The message.
            offset: Characters of its text to skip.
            mark: What is noted of it.
        """
        room = self._room()
        optional = self.metadata(message.metadata)
        room -= 0 if "metadata_chars" in optional else _json_chars(message.metadata)
        text = message_text(message.content)
        most = max(room, CHARS_LEAST) if self.left > 0 else 0
        content = text[offset : offset + most]
        self.left -= len(content)
        if offset + len(content) < len(text):
            optional |= {"cut": True, "chars": len(text)}
        return ShownMessage(
            id=message.id,
            role=message.role,
            content=content,
            created_at=iso_text(message.created_at),
            expires_at=time_of(mark.expires_at) if mark else None,
            superseded_by=mark.superseded_by if mark else None,
            **optional,
        )

    def metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the field that holds the metadata, or its length where there is no room."""
        if not metadata:
            return {}
        chars = _json_chars(metadata)
        if chars > self._room():
            return {"metadata_chars": chars}
        self.left -= chars
        return {"metadata": dict(metadata)}

    def _room(self) -> int:
        return max(min(self._each, self.left), CHARS_LEAST) if self.left > 0 else 0


def _json_chars(metadata: Mapping[str, Any]) -> int:
    if not metadata:
        return 0
    return len(json_of(metadata))
