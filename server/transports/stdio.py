"""MCP over stdio, without a thread in the way and with nothing else on the wire.

The protocol runs on private duplicates of stdin and stdout. File descriptor 1 points at stderr
and 0 at nothing from then on, so no library and no child process can corrupt the wire.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, JSONRPCMessage, JSONRPCRequest, jsonrpc_message_adapter

from convex_memory.limits import VALUE_NESTING_MAX

logger = logging.getLogger(__name__)

LINE_BYTES_MAX: Final = 64 << 20
"""One message: more than the largest arguments a deployment takes (16 MiB), escaped."""
_STANDARD_DESCRIPTORS: Final = 3
_DISCOVER: Final = "server/discover"
_TOO_DEEP: Final = (
    f"The message is nested too deeply: arguments hold {VALUE_NESTING_MAX} levels of arrays and "
    "objects. Send deep JSON as text."
)

Reading = MemoryObjectReceiveStream[SessionMessage | Exception]
Writing = MemoryObjectSendStream[SessionMessage]


async def serve(server: Server[Any]) -> None:
    """Serve one client on stdin and stdout until it closes them."""
    async with server.lifespan(server) as state, _streams() as (reading, writing):
        # Closed here: whoever writes the answers waits until nobody can send one any more.
        async with reading, writing:
            opening = await _answer_discoveries(server, state, reading, writing)
            if opening is not None:
                await _serve_from(server, state, opening, reading, writing)


@asynccontextmanager
async def _streams() -> AsyncIterator[tuple[Any, Any]]:
    """Open the wire: pipes on the event loop, or the SDK's threads where that cannot be."""
    try:
        wire = await _Wire.open()
    except (OSError, ValueError, NotImplementedError):
        # A regular file and /dev/null cannot be waited for, nor can Windows' standard handles.
        async with stdio_server() as streams:
            yield streams
        return
    async with anyio.create_task_group() as tasks:
        to_server, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        writing, from_server = anyio.create_memory_object_stream[SessionMessage](0)
        tasks.start_soon(wire.read_into, to_server)
        tasks.start_soon(wire.write_from, from_server)
        try:
            yield reading, writing
        finally:
            wire.close()
            tasks.cancel_scope.cancel()


class _Wire:
    """Duplicates of stdin and stdout, read and written on the event loop."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        reading: asyncio.BaseTransport,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader = reader
        self._reading = reading
        self._writer = writer

    @classmethod
    async def open(cls) -> _Wire:
        loop = asyncio.get_running_loop()
        if not _can_be_waited_for(0):
            raise ValueError("stdin is neither a pipe, a socket nor a terminal")
        wire_in, wire_out = _duplicate(0), _duplicate(1)
        try:
            reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
            reading, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(wire_in, "rb", 0)
            )
            transport, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(wire_out, "wb", 0)
            )
        except BaseException:
            for descriptor in (wire_in, wire_out):
                _close_quietly(descriptor)
            raise
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        sys.stdout.flush()
        os.dup2(2, 1)
        # What was drained is in the pipe, so that nothing is lost when the process ends.
        transport.set_write_buffer_limits(high=0)
        return cls(reader, reading, asyncio.StreamWriter(transport, protocol, None, loop))

    def close(self) -> None:
        """Close both pipes."""
        self._writer.close()
        self._reading.close()

    async def read_into(self, messages: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
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
                try:
                    await messages.send(SessionMessage(message))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return

    async def write_from(self, messages: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write every message, one a line."""
        async with messages:
            async for each in messages:
                text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                await self._write(text)

    async def _refuse(self, request_id: Any, why: str) -> None:
        error = {"code": PARSE_ERROR, "message": why}
        await self._write(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}))

    async def _write(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")
        await self._writer.drain()


def _duplicate(descriptor: int) -> int:
    """Duplicate a descriptor out of the standard range, not inherited by children."""
    if sys.platform == "win32":
        raise NotImplementedError
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD_DESCRIPTORS)


def _can_be_waited_for(descriptor: int) -> bool:
    """Whether the event loop can tell when there is something to read: not on /dev/null."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return


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
