"""MCP as lines of JSON over a pair of byte streams: both protocol eras, one message a line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp.types import (
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from convex_memory.limits import VALUE_NESTING_MAX

logger = logging.getLogger(__name__)

LINE_BYTES_MAX: Final = 64 << 20
"""One message: more than the largest arguments a deployment takes (16 MiB), escaped."""
_DISCOVER: Final = "server/discover"
_LISTEN: Final = "subscriptions/listen"
_CANCELLED: Final = "notifications/cancelled"
_TOO_DEEP: Final = (
    f"The message is nested too deeply: arguments hold {VALUE_NESTING_MAX} levels of arrays and "
    "objects. Send deep JSON as text."
)

Reading = MemoryObjectReceiveStream[SessionMessage | Exception]
Writing = MemoryObjectSendStream[SessionMessage]


async def serve_streams(
    server: Server[Any], state: Any, reading: Reading, writing: Writing
) -> None:
    """Serve one client until it closes its stream, in the era that it opens with.

    Args:
        server: Answers.
        state: What its lifespan gave.
        reading: What the client says.
        writing: What it is told; closed at the end.
    """
    # Closed here: whoever writes the answers waits until nobody can send one any more.
    async with reading, writing:
        opening = await _answer_discoveries(server, state, reading, writing)
        if opening is not None:
            await _serve_from(server, state, opening, reading, writing)


class Wire:
    """One client's byte streams, read and written on the event loop.

    Args:
        reader: What the client says.
        reading: Its transport.
        writer: Where it is answered.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        reading: asyncio.ReadTransport,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader = reader
        self._reading = reading
        self._writer = writer
        self._in_flight: set[str | int] = set()
        self._answered = anyio.Event()
        # What was drained is in the pipe, so that nothing is lost when the process ends.
        writer.transport.set_write_buffer_limits(high=0)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[Reading, Writing]]:
        """Carry messages while the block runs; close both byte streams behind it."""
        async with anyio.create_task_group() as tasks:
            to_server, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            writing, from_server = anyio.create_memory_object_stream[SessionMessage](0)
            tasks.start_soon(self._read_into, to_server)
            tasks.start_soon(self._write_from, from_server)
            try:
                yield reading, writing
            finally:
                self.close()
                tasks.cancel_scope.cancel()

    def close(self) -> None:
        """Close both byte streams."""
        self._writer.close()
        self._reading.close()

    async def answer_all(self) -> None:
        """Read no further, and return when every request has its answer.

        Listening for changes is no request in this sense.
        """
        self._reading.pause_reading()
        while self._in_flight:
            self._answered = anyio.Event()
            await self._answered.wait()

    def hang_up(self) -> None:
        """Take nothing more, as if the client had closed its stream."""
        self._reader.feed_eof()

    def write_aside(self, line: bytes) -> None:
        """Write a line that is no message, unless the client is slow to read."""
        if not self._writer.is_closing() and not self._writer.transport.get_write_buffer_size():
            self._writer.write(line)

    async def _read_into(
        self, messages: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        """Send every message that arrives; answer what is not one."""
        async with messages:
            while True:
                try:
                    line = await self._reader.readline()
                except ValueError:
                    logger.warning("dropped a message of more than %d bytes", LINE_BYTES_MAX)
                    await self._refuse(None, f"A message has at most {LINE_BYTES_MAX} bytes.")
                    continue
                if not line:
                    return
                if not line.strip():
                    continue
                try:
                    message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(
                        line, by_name=False
                    )
                except ValueError as error:
                    await self._refuse(*_why_unreadable(line, error))
                    continue
                self._note(message)
                try:
                    await messages.send(SessionMessage(message))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return

    async def _write_from(self, messages: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write every message, one a line."""
        async with messages:
            async for each in messages:
                text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                await self._write(text)
                if isinstance(each.message, JSONRPCResponse | JSONRPCError):
                    self._settle(each.message.id)

    def _note(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest) and message.method != _LISTEN:
            self._in_flight.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == _CANCELLED:
            # Whether it is still answered is up to the server.
            self._settle((message.params or {}).get("requestId"))

    def _settle(self, request_id: Any) -> None:
        self._in_flight.discard(request_id)
        self._answered.set()

    async def _refuse(self, request_id: Any, why: str) -> None:
        error = {"code": PARSE_ERROR, "message": why}
        await self._write(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}))

    async def _write(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")
        await self._writer.drain()


def _why_unreadable(line: bytes, error: ValueError) -> tuple[Any, str]:
    """Return the id of a request that could not be read, if it can be told, and what is wrong."""
    try:
        request = json.loads(line)
    except RecursionError:
        return None, _TOO_DEEP
    except ValueError:
        return None, "This line is not JSON. Send one JSON-RPC message a line, in UTF-8."
    request_id = request.get("id") if isinstance(request, dict) else None
    if not isinstance(request_id, str | int):
        request_id = None
    try:
        json.dumps(request, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return request_id, (
            "The message holds a lone surrogate (half of a \\ud83d\\ude00-like pair). Text must "
            "be valid Unicode."
        )
    if "recursion limit" in str(error):
        return request_id, _TOO_DEEP
    return request_id, "This is not a JSON-RPC 2.0 message."


async def _answer_discoveries(
    server: Server[Any], state: Any, reading: Reading, writing: Writing
) -> SessionMessage | Exception | None:
    """Answer probes that come before the connection's era is decided; return what decides it.

    A client may ask `server/discover` (2026) and then `initialize` (2025) on one connection;
    the SDK would take the probe for the decision and refuse the rest.
    """
    async for item in reading:
        request = item.message if isinstance(item, SessionMessage) else None
        if not isinstance(request, JSONRPCRequest) or request.method != _DISCOVER:
            return item
        to_server, probe = anyio.create_memory_object_stream[SessionMessage | Exception](1)
        answers, from_server = anyio.create_memory_object_stream[SessionMessage](1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_loop, server, state, probe, answers)
            await to_server.send(item)
            await writing.send(await from_server.receive())
            tasks.cancel_scope.cancel()
        for stream in (to_server, probe, answers, from_server):
            stream.close()
    return None


async def _serve_from(
    server: Server[Any],
    state: Any,
    opening: SessionMessage | Exception,
    reading: Reading,
    writing: Writing,
) -> None:
    to_server, replayed = anyio.create_memory_object_stream[SessionMessage | Exception](0)

    async def replay() -> None:
        async with to_server:
            await to_server.send(opening)
            async for item in reading:
                await to_server.send(item)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(replay)
        await _loop(server, state, replayed, writing)
        tasks.cancel_scope.cancel()


async def _loop(server: Server[Any], state: Any, reading: Reading, writing: Writing) -> None:
    await serve_dual_era_loop(
        server,
        reading,
        writing,
        lifespan_state=state,
        init_options=server.create_initialization_options(),
    )
