"""A proxy in front of a deployment that loses, delays, spoils or refuses what it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_HEADER_END: Final = b"\r\n\r\n"


class Caller:
    """One request on a connection, and the ways it can go on."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.answer = answer
        self.ended = False
        """It was ended from this side."""
        self.left = False
        """The caller ended it."""

    @property
    def header(self) -> bytes:
        """The deployment's header, with the empty line at its end."""
        return self.answer[: self.answer.index(_HEADER_END) + len(_HEADER_END)]

    @property
    def body(self) -> bytes:
        """The deployment's body."""
        return self.answer[len(self.header) :]

    async def send(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    async def close(self) -> None:
        self.ended = True
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def reset(self) -> None:
        """End the connection with RST."""
        self.ended = True
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def hold(self) -> None:
        """Wait until the caller ends the connection, whatever it still sends."""
        with suppress(OSError):
            while await self._reader.read(1 << 16):
                pass
        self.left = True

    async def leave_unread(self, begun: asyncio.Event, until: asyncio.Event) -> int:
        """Take nothing after the beginning until then; return how many bytes came in the end."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        count = len(await self._reader.read(1 << 16))
        transport.pause_reading()
        begun.set()
        await until.wait()
        transport.resume_reading()
        with suppress(OSError):
            while piece := await self._reader.read(1 << 16):
                count += len(piece)
        self.left = True
        return count

    async def send_for_ever(self, piece: bytes, pause_seconds: float) -> None:
        """Send until the caller ends the connection."""
        with suppress(OSError):
            while not self._reader.at_eof():
                await self.send(piece)
                await asyncio.sleep(pause_seconds)
        self.left = True


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one request.

    Args:
        name: For people.
        forwards: Whether the deployment gets the request.
        then: What the caller gets.
        unread: The request is not even read; `then` gets the connection as it was accepted.
    """

    name: str
    forwards: bool
    then: Callable[[Caller], Awaitable[None]]
    unread: bool = False

    def __str__(self) -> str:
        return self.name


# --- What the caller may get


async def _close(caller: Caller) -> None:
    await caller.close()


async def _reset(caller: Caller) -> None:
    await caller.reset()


async def _hold(caller: Caller) -> None:
    await caller.hold()


async def _answer(caller: Caller) -> None:
    await caller.send(caller.answer)


async def _answer_then_close(caller: Caller) -> None:
    await caller.send(caller.answer)
    await caller.close()


async def _answer_then_reset(caller: Caller) -> None:
    await caller.send(caller.answer)
    await caller.reset()


async def _half_header(caller: Caller) -> None:
    await caller.send(caller.header[: len(caller.header) // 2])
    await caller.close()


async def _half_body(caller: Caller) -> None:
    await caller.send(caller.answer[: -len(caller.body) // 2])
    await caller.close()


async def _half_chunks(caller: Caller) -> None:
    half = caller.body[: len(caller.body) // 2]
    await caller.send(_CHUNKED + b"%x\r\n%b\r\n" % (len(half), half))
    await caller.close()


async def _drip(caller: Caller) -> None:
    await caller.send(_CHUNKED)
    await caller.send_for_ever(b"1\r\n \r\n", pause_seconds=0.002)


async def _flood(caller: Caller) -> None:
    await caller.send(_CHUNKED)
    await caller.send_for_ever(b"10000\r\n%b\r\n" % (b" " * 0x10000), pause_seconds=0)


async def _other_type(caller: Caller) -> None:
    await caller.send(caller.answer.replace(b"application/json", b"text/html"))


_CHUNKED: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def late(until: asyncio.Event) -> Fault:
    """Return a fault that keeps the deployment's answer until then."""

    async def wait(caller: Caller) -> None:
        await until.wait()
        await caller.send(caller.answer)

    return Fault("late", True, wait)


def unread(begun: asyncio.Event, until: asyncio.Event, counted: asyncio.Future[int]) -> Fault:
    """Return a fault that takes no more than a beginning until then, and counts what came."""

    async def wait(caller: Caller) -> None:
        counted.set_result(await caller.leave_unread(begun, until))

    return Fault("unread", False, wait, unread=True)


def sending(name: str, content: bytes, *, forwards: bool = False, closes: bool = True) -> Fault:
    """Return a fault that sends these bytes in place of an answer."""

    async def send(caller: Caller) -> None:
        await caller.send(content)
        if closes:
            await caller.close()

    return Fault(name, forwards, send)


def answering(
    status: int, body: str | bytes = "", *headers: str, forwards: bool = False, name: str = ""
) -> Fault:
    """Return a fault that gives this answer in place of the deployment's; the connection stays."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(content)}", *headers]
    text = "\r\n".join(lines).encode() + _HEADER_END + content
    named = name or " ".join([str(status), *headers, "after" if forwards else "before"])
    return sending(named, text, forwards=forwards, closes=False)


PASS = Fault("pass", True, _answer)
CLOSE_AT_ONCE = Fault("closed at once", False, _close, unread=True)
RESET_AT_ONCE = Fault("reset at once", False, _reset, unread=True)
DROP_BEFORE = Fault("dropped before", False, _close)
RESET_BEFORE = Fault("reset before", False, _reset)
HOLD_BEFORE = Fault("held before", False, _hold)
DROP_AFTER = Fault("dropped after", True, _close)
RESET_AFTER = Fault("reset after", True, _reset)
HOLD_AFTER = Fault("held after", True, _hold)
HALF_HEADER = Fault("half a header", True, _half_header)
HALF_BODY = Fault("half a body", True, _half_body)
HALF_CHUNKS = Fault("half a chunked body", True, _half_chunks)
DRIP = Fault("dripping for ever", True, _drip)
FLOOD = Fault("flooding for ever", True, _flood)
OTHER_TYPE = Fault("another content type", True, _other_type)
CLOSE_WHEN_IDLE = Fault("closed when idle", True, _answer_then_close)
RESET_WHEN_IDLE = Fault("reset when idle", True, _answer_then_reset)
NOT_HTTP = sending("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 20, forwards=True)


class FaultProxy:
    """The proxy.

    Args:
        upstream: The deployment's URL.

    Attributes:
        url: Where it listens.
        accepted: How many connections were made.
        requests: How many requests came whole.
        forwarded: How many of them the deployment got.
        choose: Says what befalls the next request.
        choose_connection: Says what befalls the next connection, before anything is read.
        hung_up: Set when a caller ends a connection that waits for that.
        ended: Set when a connection has been ended from this side.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.accepted = 0
        self.requests = 0
        self.forwarded = 0
        self.choose: Callable[[], Fault] = lambda: PASS
        self.hung_up = asyncio.Event()
        self.ended = asyncio.Event()
        self.choose_connection: Callable[[], Fault] = lambda: PASS
        self._met = 0
        self._meeting = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def will(self, *faults: Fault) -> None:
        """What befalls the next requests or connections; after that nothing does."""
        left = list(faults)
        self._set(faults, lambda: left.pop(0) if left else PASS)

    def always(self, fault: Fault) -> None:
        """What befalls every request or connection."""
        self._set([fault], lambda: fault)

    def _set(self, faults: Sequence[Fault], choose: Callable[[], Fault]) -> None:
        unread = any(fault.unread for fault in faults)
        self.choose_connection = choose if unread else lambda: PASS
        self.choose = (lambda: PASS) if unread else choose

    async def met(self, requests: int) -> None:
        """Wait until that many requests in all have met their fault, forwarded or not."""
        async with self._meeting:
            await self._meeting.wait_for(lambda: self._met >= requests)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 25)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """End every connection without giving the event loop a turn to notice."""
        for writer in self._open:
            writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def stop_listening(self) -> None:
        """Refuse connections from now on."""
        assert self._server is not None
        self._server.close()

    async def stop(self) -> None:
        """End every connection."""
        self.stop_listening()
        for task in self._connections:
            task.cancel()
        while self._connections:
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._open.add(writer)
        self.accepted += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            self._open.discard(writer)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.choose_connection()
        if fault.unread:
            await self._befall(fault, Caller(reader, writer, b""))
            return
        stays = True
        while stays:
            request = await _message(reader)
            self.requests += 1
            fault = self.choose()
            answer = await self._forward(request) if fault.forwards else b""
            async with self._meeting:
                self._met += 1
                self._meeting.notify_all()
            stays = await self._befall(fault, Caller(reader, writer, answer))

    async def _befall(self, fault: Fault, caller: Caller) -> bool:
        """Let it happen; return whether the connection stays."""
        await fault.then(caller)
        if caller.left:
            self.hung_up.set()
        if caller.ended:
            self.ended.set()
        return not caller.left and not caller.ended

    async def _forward(self, request: bytes) -> bytes:
        parts = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(request)
            self.forwarded += 1
            return await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader, first: bytes = b"") -> bytes:
    header = first + await reader.readuntil(_HEADER_END)
    length = header.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return header + await reader.readexactly(int(length))


@asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of a deployment on this machine."""
    proxy = FaultProxy(upstream)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
