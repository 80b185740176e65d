"""The plain text of a stored message: what is searched, embedded and shown.

Messages come in every shape that has ever been stored: the JSON text of a format-2 message
(`{format: 2, parts: […], content}`), arrays of parts as older versions wrote them, text in
quotes, or simply text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from convex_memory.limits import SAFE_INTEGER_MAX
from convex_memory.values import Value

TOOL_CHARS_MAX: Final = 4000
"""Characters that the arguments, or the result, of one tool call add to a message's text."""
_DEPTH_MAX: Final = 16
"""Levels of a tool's arguments or result that are looked at."""

Part = Mapping[str, Any]


def text_content(text: str, *, metadata: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """Make the format-2 content of a message that is plain text.

    Args:
        text: What was said.
        metadata: Members to find the message by (`filter.metadata`); None or empty adds none.

    Returns:
        `{"format": 2, "parts": [{"type": "text", "text": text}]}`, with `metadata` beside them
        when there is any. Format 2 has room for the text a second time (`content`); that would
        only halve how long a message may be.
    """
    content: dict[str, Value] = {"format": 2, "parts": [{"type": "text", "text": text}]}
    if metadata:
        content["metadata"] = dict(metadata)
    return content


def changed_content(stored: str, text: str | None, metadata: Mapping[str, Value] | None) -> str:
    """Return the stored text of a message with another text, other metadata, or both.

    Args:
        stored: The stored text of the message.
        text: What it says now, in place of everything it said, tool calls included; None keeps it.
        metadata: Merged into its metadata at the top level, a null taking a member away; None
            keeps them.

    Returns:
        The JSON text of a format-2 message.
    """
    try:
        content: Any = json.loads(stored)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != 2:
        content = text_content(message_text(stored))
    if text is not None:
        kept = {name: content[name] for name in ("metadata",) if name in content}
        content = {**text_content(text), **kept}
    if metadata is not None:
        before = content.get("metadata")
        merged = {**before, **metadata} if isinstance(before, dict) else dict(metadata)
        content["metadata"] = {name: each for name, each in merged.items() if each is not None}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def message_text(content: str | Mapping[str, Value]) -> str:
    """Return the plain text of a stored message; empty when it has none.

    Text and reasoning count whole; a tool call counts with its name and, up to
    `TOOL_CHARS_MAX` characters each, its arguments and its result; files and sources count
    with their names, never with their bytes. Anything that is not a message, such as text
    that merely looks like JSON, is its own text.

    Args:
        content: The stored text of a message, or its content already parsed.

    Returns:
        Valid Unicode, the pieces in order, one to a line. Odd input is never an error.
    """
    if isinstance(content, str):
        text = _stored_text(content)
    else:
        found = _content_text(content)
        text = _compact(content) if found is None else found
    return _valid(text)


def _stored_text(stored: str) -> str:
    # Parsing `42` or `true` would only lose how it was written.
    if stored.lstrip(" \t\r\n")[:1] not in ("{", "[", '"'):
        return stored
    try:
        parsed = json.loads(stored)
    except (ValueError, RecursionError):
        return stored
    if isinstance(parsed, str):
        return parsed
    found = _parts_text(parsed) if isinstance(parsed, list) else _content_text(parsed)
    return stored if found is None else found


def _content_text(content: Part) -> str | None:
    """Text of a parsed message, or None when this is not one."""
    if not content:
        return ""
    parts, body = content.get("parts"), content.get("content")
    if isinstance(parts, list | tuple) and parts:
        text = _parts_text(parts)
        if text:
            return text
    if isinstance(body, str):
        return "\n".join([*filter(None, [body]), *_legacy_calls(content)])
    if isinstance(body, list | tuple):
        return _parts_text(body)
    if isinstance(parts, list | tuple):
        return "\n".join(_legacy_calls(content))
    text = content.get("text")
    return text if isinstance(text, str) else None


def _legacy_calls(content: Part) -> list[str]:
    calls = content.get("toolInvocations")
    if not isinstance(calls, list | tuple):
        return []
    return [text for call in calls if isinstance(call, Mapping) and (text := _call_text(call))]


def _parts_text(parts: list[Any] | tuple[Any, ...]) -> str | None:
    """Text of a list of parts, or None when it holds something else."""
    pieces: list[str] = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, Mapping) and isinstance(kind := part.get("type"), str):
            pieces.append(_part_text(kind, part))
        else:
            return None
    return "\n".join(piece for piece in pieces if piece)


def _part_text(kind: str, part: Part) -> str:
    read = _READERS.get(kind)
    if read is not None:
        return read(part)
    # Later versions name a tool's part after the tool, and an application's after its data.
    if kind.startswith("tool-"):
        return _call_text({"toolName": kind.removeprefix("tool-"), **part})
    if kind.startswith("data-"):
        return _compact(part.get("data"))
    return _plain(part)


def _plain(part: Part) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _reasoning(part: Part) -> str:
    for name in ("text", "reasoning"):
        text = part.get(name)
        if isinstance(text, str) and text:
            return text
    details = part.get("details")
    if not isinstance(details, list | tuple):
        return ""
    return "\n".join(
        text for item in details if isinstance(item, Mapping) and (text := _plain(item))
    )


def _invocation(part: Part) -> str:
    call = part.get("toolInvocation")
    return _call_text(call if isinstance(call, Mapping) else part)


def _call_text(call: Part) -> str:
    """Name, arguments and result of a tool call, under the names each version gives them."""
    pieces = [call["toolName"]] if isinstance(call.get("toolName"), str) else []
    for names in (("args", "input"), ("result", "output", "errorText")):
        for name in names:
            if call.get(name) is not None:
                pieces.append(_compact(call[name]))
                break
    return " ".join(piece for piece in pieces if piece)


def _source(part: Part) -> str:
    source = part.get("source")
    return _names(source if isinstance(source, Mapping) else part)


def _names(part: Part) -> str:
    """What a file or a source is called; a `data:` address is bytes, not a name."""
    pieces = []
    for name in ("title", "filename", "name", "url"):
        text = part.get(name)
        if isinstance(text, str) and text and not text.startswith("data:"):
            pieces.append(text)
    return " ".join(pieces)


def _nothing(part: Part) -> str:
    del part
    return ""


_READERS: Final[Mapping[str, Callable[[Part], str]]] = {
    "text": _plain,
    "reasoning": _reasoning,
    "redacted-reasoning": _nothing,
    "step-start": _nothing,
    "tool-invocation": _invocation,
    "tool-call": _call_text,
    "tool-result": _call_text,
    "dynamic-tool": _call_text,
    "file": _names,
    "image": _names,
    "source": _source,
    "source-url": _names,
    "source-document": _names,
}


def _compact(value: Any) -> str:
    """Names and scalars of any JSON value in reading order, up to `TOOL_CHARS_MAX` characters."""
    pieces: list[str] = []
    room = TOOL_CHARS_MAX
    for piece in _scalars(value, _DEPTH_MAX):
        if room <= 0:
            break
        pieces.append(piece[:room])
        room -= len(piece) + 1
    return " ".join(pieces)


def _scalars(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) <= SAFE_INTEGER_MAX):
        yield str(value)
    elif depth > 0 and isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from _scalars(item, depth - 1)
    elif depth > 0 and isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item, depth - 1)


def _valid(text: str) -> str:
    if text.isascii():
        return text
    # JSON may escape half of a surrogate pair; no store takes that.
    return text.encode("utf-8", "replace").decode()
