"""What the shim has to know of the messages that it passes on, so that it can go on elsewhere.

Requests that wait for an answer, and how the connection was opened. Messages are only looked at:
the ids and methods stand at one end of a line or the other, and the middle is nobody's business.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

_WHOLE_BYTES_MAX: Final = 64 << 10
"""A longer line is not kept: its ends are."""
_END_BYTES: Final = 512
_MEMBERS: Final = 2
INTERNAL_ERROR: Final = -32603
LOST: Final = (
    "The memory's server ended before it answered. Whether the call was carried out is not known: "
    "look, or make it again."
)
_CALL: Final = "tools/call"
_SUBSCRIBE: Final = "resources/subscribe"
_UNSUBSCRIBE: Final = "resources/unsubscribe"
_ASKED_AGAIN: Final = "convex-memory:again:"

_MEMBER = rb'"(jsonrpc|id|method)"\s*:\s*("[^"\\]*"|-?\d+)\s*'
_FIRST = re.compile(rb"\s*\{\s*(?:" + _MEMBER + rb",\s*)*")
_LAST = re.compile(rb"(?:,\s*" + _MEMBER + rb")+\}\s*\Z")
_EACH = re.compile(_MEMBER)
_ANSWER = re.compile(
    rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(-?\d+|"(?:[^"\\]|\\.)*")\s*,'
    rb'\s*"(?:result|error)"'
)


class Conversation:
    """What was said on one connection of a host, as far as it matters."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._tail = b""
        self._in_flight: dict[str | int, bytes | None] = {}
        self._initialize: dict[str, Any] | None = None
        self._initialized = b""
        self._subscriptions: dict[str, bytes] = {}
        self._again = 0
        self._not_for_the_host: set[str | int] = set()
        self._dropping = False

    # --- From the host

    def said(self, chunk: bytes) -> None:
        """Note what the host says, in pieces of any size, before it is passed on."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._keep(chunk[start:end])
            self._note_request()
            start = end + 1
        self._keep(chunk[start:])

    def after_what_was_lost(self, chunk: bytes) -> tuple[bytes, list[str | int]]:
        """Take off the rest of a message whose beginning went to a server that is gone.

        Returns:
            What is left to pass on, and the ids of requests that nobody will answer.
        """
        if not self._dropping:
            return chunk, []
        end = chunk.find(b"\n")
        if end < 0:
            self._keep(chunk)
            return b"", []
        self._keep(chunk[:end])
        self._dropping = False
        self._note_request()
        return chunk[end + 1 :], self._take_unanswered()

    def _keep(self, piece: bytes) -> None:
        if len(self._line) < _WHOLE_BYTES_MAX:
            self._line += piece
            piece = bytes(self._line[_WHOLE_BYTES_MAX:])
            del self._line[_WHOLE_BYTES_MAX:]
        if piece:
            self._tail = (self._tail + piece)[-_END_BYTES:]

    def _note_request(self) -> None:
        is_whole = not self._tail
        line = bytes(self._line) + (b"" if is_whole else self._tail)
        self._line.clear()
        self._tail = b""
        if not line.strip():
            return
        found = _ends_of(line)
        if is_whole and "id" not in found and not _is_notification(found):
            found = _object(line)
        method, request_id = found.get("method"), found.get("id")
        if not isinstance(method, str):
            return
        if isinstance(request_id, str | int):
            self._note(method, request_id, line if is_whole else None)
        elif is_whole:
            self._note_notification(method, line)

    def _note(self, method: str, request_id: str | int, line: bytes | None) -> None:
        self._in_flight[request_id] = None if method == _CALL else line
        if line is None:
            return
        if method == "initialize":
            self._initialize = _object(line)
        elif method == _SUBSCRIBE:
            self._subscriptions[_uri(line)] = line
        elif method == _UNSUBSCRIBE:
            self._subscriptions.pop(_uri(line), None)

    def _note_notification(self, method: str, line: bytes) -> None:
        if method == "notifications/initialized":
            self._initialized = line
        elif method == "notifications/cancelled":
            parameters = _object(line).get("params")
            if isinstance(parameters, dict):
                cancelled = parameters.get("requestId")
                if isinstance(cancelled, str | int):
                    self._in_flight.pop(cancelled, None)

    # --- From the server

    def answered(self, line: bytes) -> bool:
        """Note a line of the server; return whether it is for the host."""
        found = _ANSWER.match(line)
        if found is None:
            return True
        request_id = json.loads(found[1])
        if request_id in self._not_for_the_host:
            self._not_for_the_host.discard(request_id)
            return False
        self._in_flight.pop(request_id, None)
        return True

    # --- When the server is gone

    def lost(self) -> list[str | int]:
        """Note that the server is gone; return the requests that cannot be made again."""
        self._not_for_the_host.clear()
        self._dropping = bool(self._line or self._tail)
        return self._take_unanswered()

    @property
    def waits(self) -> bool:
        """Whether another server should be told of this connection before the host speaks."""
        return bool(self._in_flight or self._subscriptions)

    def opening(self) -> Iterator[bytes]:
        """Return the lines that bring another server to where the last one was.

        A request is made again once: it may be what the server did not survive.
        """
        if self._initialize is not None and self._initialize.get("id") not in self._in_flight:
            yield self._ask_again(self._initialize)
        pending = [line for line in self._in_flight.values() if line is not None]
        first = [line for line in pending if _ends_of(line).get("method") == "initialize"]
        yield from first
        if self._initialized:
            yield self._initialized
        for line in self._subscriptions.values():
            if line not in pending:
                yield self._ask_again(_object(line))
        yield from (line for line in pending if line not in first)
        self._in_flight = dict.fromkeys(self._in_flight)

    def _ask_again(self, request: dict[str, Any]) -> bytes:
        self._again += 1
        request_id = f"{_ASKED_AGAIN}{self._again}"
        self._not_for_the_host.add(request_id)
        return json.dumps({**request, "id": request_id}).encode()

    def _take_unanswered(self) -> list[str | int]:
        unanswered = [each for each, line in self._in_flight.items() if line is None]
        for each in unanswered:
            del self._in_flight[each]
        return unanswered


def refusal(request_id: str | int) -> bytes:
    """Return the answer to a request whose server is gone, as a line."""
    error = {"code": INTERNAL_ERROR, "message": LOST, "data": {"code": "server_lost"}}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode() + b"\n"


def _ends_of(line: bytes) -> dict[str, Any]:
    """Return what stands at the two ends of a message, of its id and method."""
    found = _members(_FIRST.match(line))
    if len(found) < _MEMBERS:
        found |= _members(_LAST.search(line, max(0, len(line) - _END_BYTES)))
    return found


def _members(end: re.Match[bytes] | None) -> dict[str, Any]:
    return {
        name: value[1:-1].decode("utf-8", "replace") if value.startswith(b'"') else int(value)
        for member, value in _EACH.findall(end[0] if end else b"")
        if (name := member.decode()) != "jsonrpc"
    }


def _is_notification(found: dict[str, Any]) -> bool:
    return str(found.get("method", "")).startswith("notifications/")


def _object(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _uri(line: bytes) -> str:
    parameters = _object(line).get("params")
    return str(parameters.get("uri")) if isinstance(parameters, dict) else ""
