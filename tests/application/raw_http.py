"""HTTP as bytes on sockets, for what no client would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.types import ASGIApp

from convex_memory.embedded.connections import ConnectionLimits
from convex_memory.embedded.listener import run_app

ANSWER_SECONDS = 20
JSON = ("Content-Type: application/json", "Accept: application/json, text/event-stream")


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Socket:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Read one answer whole."""
        with anyio.fail_after(ANSWER_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = await self.reader.read()
        return Answer(int(first.split()[1]), headers, body)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return body

    async def end(self) -> bytes:
        """Read until the server ends the connection; what still came."""
        came = b""
        with anyio.fail_after(ANSWER_SECONDS), suppress(ConnectionError):
            while piece := await self.reader.read(1 << 16):
                came += piece
        return came

    async def close(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def request(
    method: str, path: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1"
) -> bytes:
    """One whole request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def modern(method: str, name: str = "", /, **params: Any) -> tuple[tuple[str, ...], bytes]:
    """A request of 2026: headers and body."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = (*JSON, "MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}")
    return (*headers, f"Mcp-Name: {name}") if name else headers, json.dumps(message).encode()


class Site:
    """A server at `http://host:port`, and the connections to it, which end with the site."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open: list[Socket] = []

    async def connect(self) -> Socket:
        """Open a connection."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        socket = Socket(*await asyncio.open_connection(host, int(port), limit=1 << 20))
        self._open.append(socket)
        return socket

    async def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> Answer:
        """Send one request on a connection of its own."""
        socket = await self.connect()
        try:
            await socket.send(request(method, path, *headers, body=body))
            return await socket.answer()
        finally:
            self._open.remove(socket)
            await socket.close()

    async def close(self) -> None:
        for socket in self._open:
            await socket.close()


@asynccontextmanager
async def site_at(url: str) -> AsyncIterator[Site]:
    """Connect to a server that runs already."""
    site = Site(url)
    try:
        yield site
    finally:
        await site.close()


@asynccontextmanager
async def listening(
    app: ASGIApp, *, limits: ConnectionLimits | None = None, lifespan: bool = False, **given: Any
) -> AsyncIterator[Site]:
    """Serve an application on a port of its own."""
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_app(
                app,
                host="127.0.0.1",
                port=0,
                on_started=url.set_result,
                limits=limits,
                lifespan=lifespan,
                **given,
            )

        tasks.start_soon(run)
        async with site_at(await url) as site:
            try:
                yield site
            finally:
                await site.close()
                tasks.cancel_scope.cancel()
