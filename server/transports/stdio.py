"""MCP over stdio, without a thread in the way and with nothing else on the wire.

The protocol runs on private duplicates of stdin and stdout. File descriptor 1 points at stderr
and 0 at nothing from then on, so no library and no child process can corrupt the wire.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from mcp.server import Server
from mcp.server.stdio import stdio_server

from server.transports.wire import LINE_BYTES_MAX, Wire, serve_streams

_STANDARD_DESCRIPTORS: Final = 3


async def serve(server: Server[Any]) -> None:
    """Serve one client on stdin and stdout until it closes them."""
    async with server.lifespan(server) as state, _streams() as (reading, writing):
        await serve_streams(server, state, reading, writing)


@asynccontextmanager
async def _streams() -> AsyncIterator[tuple[Any, Any]]:
    """Open the wire: pipes on the event loop, or the SDK's threads where that cannot be."""
    try:
        wire = await _open()
    except (OSError, ValueError, NotImplementedError):
        # A regular file and /dev/null cannot be waited for, nor can Windows' standard handles.
        async with stdio_server() as streams:
            yield streams
        return
    async with wire.streams() as streams:
        yield streams


async def _open() -> Wire:
    if not _can_be_waited_for(0):
        raise ValueError("stdin is neither a pipe, a socket nor a terminal")
    wire = await (_open_socket() if _is_one_socket() else _open_pipes())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return wire


async def _open_pipes() -> Wire:
    loop = asyncio.get_running_loop()
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
    return Wire(reader, reading, asyncio.StreamWriter(transport, protocol, None, loop))


async def _open_socket() -> Wire:
    # What comes in on it would be taken for the end of a pipe that is only written to.
    connection = socket.socket(fileno=_duplicate(0))
    reader, writer = await asyncio.open_connection(sock=connection, limit=LINE_BYTES_MAX)
    return Wire(reader, cast(asyncio.Transport, writer.transport), writer)


def _is_one_socket() -> bool:
    return stat.S_ISSOCK(os.fstat(0).st_mode) and os.path.sameopenfile(0, 1)


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
