"""What one connection may cost: its time, and a place among the others.

uvicorn waits as long as a client likes for a header, a body, or for its answer to be read. Here
each of these has a time, and connections have a number: once that many are open, the one that has
owed a request for longest makes room for the next. So a crowd that connects and says nothing costs
others nothing, whatever its size; only where every connection is at work is a new one refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from typing import ClassVar, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES_MAX: Final = 32 << 10
"""One request's line and headers. A token of an issuer may take half of it."""
_FILES_BESIDE: Final = 256
"""Files that the process opens beside its connections: the database, pools, logs."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may cost.

    Attributes:
        connections_max: Open ones.
        head_seconds: Time for a request's whole header, from its first byte or the connection's
            beginning.
        body_seconds: How often a body that comes slowly is looked at.
        body_bytes_second: How fast it has to come, on average over that time.
        linger_seconds: Time to get the rest of a body that was refused, which is read and thrown
            away: closed at once, the client would not see why.
        unread_seconds: How long an answer may wait for a client that reads nothing of it.
    """

    connections_max: int = 2000
    head_seconds: float = 10
    body_seconds: float = 10
    body_bytes_second: int = 1000
    linger_seconds: float = 3
    unread_seconds: float = 30


class Places:
    """The places of one listener's connections, and who waits in them for nothing.

    Args:
        most: How many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[Connection] = set()
        self._idle: dict[Connection, None] = {}

    def take(self, connection: Connection) -> bool:
        """Give a new connection a place, if need be that of the one idle for longest."""
        if len(self._taken) >= self._most:
            longest = next(iter(self._idle), None)
            if longest is None:
                return False
            self.leave(longest)
            longest.drop()
        self._taken.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Free a connection's place, if it has one."""
        self._taken.discard(connection)
        self._idle.pop(connection, None)

    def idle(self, connection: Connection, *, yes: bool) -> None:
        """Note whether a connection owes a request."""
        if not yes:
            self._idle.pop(connection, None)
        elif connection in self._taken:
            self._idle.setdefault(connection)


class Connection(H11Protocol):
    """uvicorn's connection, which keeps its times and its place. Made by `guarded`."""

    limits: ClassVar[ConnectionLimits]
    places: ClassVar[Places]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, and wait for a header."""
        self._received = self._looked_at = self._unread = 0
        self._state = ""
        self._timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if self.places.take(self):
            self._enter("head", self.limits.head_seconds)
        else:
            self._end(_NO_PLACE)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the connection is ending."""
        if self.transport.is_closing() or self._state == "broken":
            return
        self._received += len(data)
        super().data_received(data)
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, and take what still comes of it for a moment."""
        self.transport.write(_plain("400 Bad Request", msg))
        self._enter("broken", self.limits.linger_seconds)

    def shutdown(self) -> None:
        """End when idle, or after the answer."""
        if self._state == "broken":
            self.drop()
        else:
            super().shutdown()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wants."""
        super().on_response_complete()
        self._look(answered=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._stop_timers()
        self.places.leave(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read, not for ever."""
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size()
        self._reading_timer = self.loop.call_later(self.limits.unread_seconds, self._read_late)

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def drop(self) -> None:
        """End the connection without a word."""
        self._stop_timers()
        self.transport.abort()

    # --- What it waits for

    def _look(self, *, answered: bool = False) -> None:
        """Note what the connection waits for now."""
        cycle = self.cycle
        if cycle is None or self._state == "broken" or self.transport.is_closing():
            return
        if not cycle.response_complete:
            if cycle.more_body:
                self._enter("body", self.limits.body_seconds)
            else:
                self._enter("answer", None)
        elif cycle.more_body:
            self._enter("rest", self.limits.linger_seconds)
        elif answered:
            # uvicorn closes what stays idle.
            self._enter("idle", None)
        else:
            self._enter("head", self.limits.head_seconds)

    def _enter(self, state: str, seconds: float | None) -> None:
        if state == self._state:
            return
        self._state = state
        self.places.idle(self, yes=state in ("head", "idle"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._looked_at = self._received
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self._state == "body":
            came = self._received - self._looked_at
            enough = self.limits.body_bytes_second * self.limits.body_seconds
            # Where reading is paused it is the application that takes its time.
            if came >= enough or self.flow.read_paused:
                self._looked_at = self._received
                self._timer = self.loop.call_later(self.limits.body_seconds, self._late)
                return
        answered = self._state in ("rest", "broken")
        if self._state == "body":
            answered = self.cycle.response_started
        self._end(b"" if answered else _TOO_SLOW)

    def _read_late(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread >= self._unread:
            self.drop()
            return
        self._unread = unread
        self._reading_timer = self.loop.call_later(self.limits.unread_seconds, self._read_late)

    def _end(self, answer: bytes) -> None:
        """Send a last answer, and end the connection whether or not it is read."""
        self._stop_timers()
        if answer:
            self.transport.write(answer)
        self.transport.close()
        self._timer = self.loop.call_later(self.limits.linger_seconds, self.drop)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._reading_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._reading_timer = None


def guarded(limits: ConnectionLimits) -> type[Connection]:
    """Return the protocol class of one listener, for uvicorn."""
    places = Places(limits.connections_max)
    return type("GuardedConnection", (Connection,), {"limits": limits, "places": places})


def room_for(connections_max: int, backlog: int) -> tuple[int, int]:
    """Raise this process's limit of open files as far as needed and allowed.

    Args:
        connections_max: How many connections are wanted.
        backlog: How many are accepted at once, before any of them is looked at.

    Returns:
        How many connections, and how many at once, there are files for.
    """
    if sys.platform == "win32":
        return connections_max, backlog
    import resource

    wanted = connections_max + backlog + _FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # A sandbox may forbid it.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections_max, backlog
    backlog = min(backlog, max(16, soft // 4))
    return max(16, min(connections_max, soft - backlog - _FILES_BESIDE)), backlog


def _plain(status: str, text: str, *headers: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        "Connection: close",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


_TOO_SLOW: Final = _plain("408 Request Timeout", "The request took too long to arrive.")
_NO_PLACE: Final = _plain(
    "503 Service Unavailable", "Every connection is at work. Try again.", "Retry-After: 1"
)
