"""The stdio wire, byte by byte: what a client library would never send."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.application.connections import LEAVES_AT_ONCE, ROOT

ANSWER_TIMEOUT_S: Final = 30
LINE_BYTES_MAX: Final = 64 << 20
PROTOCOL: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
MODERN_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "0"},
}


class Wire:
    """One server process and its pipes."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._out = process.stdin
        self._in = BufferedByteReceiveStream(process.stdout)
        self._next_id = 0
        self._cancelled: set[int] = set()

    async def send(self, line: bytes) -> None:
        """Send one line as it is."""
        await self._out.send(line + b"\n")

    async def receive(self) -> dict[str, Any]:
        """Return the next line, which must be a JSON-RPC message."""
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            line = await self._in.receive_until(b"\n", LINE_BYTES_MAX)
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return dict(message)

    async def answer_to(self, line: bytes) -> dict[str, Any]:
        """Send one line and return the answer to it."""
        await self.send(line)
        while "method" in (message := await self.receive()):
            continue
        return message

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and return its result."""
        self._next_id += 1
        answer = await self.answer_to(_frame(self._next_id, method, params))
        while answer["id"] in self._cancelled:
            answer = await self.receive()
        assert answer["id"] == self._next_id
        return dict(answer["result"])

    async def send_and_cancel(self, tool: str, **arguments: Any) -> None:
        """Call a tool and cancel the call in the same breath."""
        self._next_id += 1
        self._cancelled.add(self._next_id)
        params = {"name": tool, "arguments": arguments}
        call = _frame(self._next_id, "tools/call", params)
        cancel = _frame(None, "notifications/cancelled", {"requestId": self._next_id})
        await self.send(call + b"\n" + cancel)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        return await self.request("tools/call", name=tool, arguments=arguments)

    async def initialize(self) -> None:
        """Open the connection as clients of 2025 do."""
        result = await self.request(
            "initialize",
            protocolVersion=PROTOCOL,
            capabilities={},
            clientInfo={"name": "wire", "version": "0"},
        )
        assert result["protocolVersion"] == PROTOCOL
        await self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    async def end(self) -> bytes:
        """Close the wire; return what else came, once the server is gone."""
        await self._out.aclose()
        rest = self._in.buffer
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            async for chunk in self._in:
                rest += chunk
            await self.process.wait()
        return rest


def _frame(request_id: int | None, method: str, params: Mapping[str, Any]) -> bytes:
    frame: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(frame if request_id is None else {**frame, "id": request_id}).encode()


@asynccontextmanager
async def wire_to(
    environment: Mapping[str, str],
    command: Sequence[str] = ("-m", "convex_memory"),
    stderr: int | None = None,
) -> AsyncIterator[Wire]:
    """Start a server and connect to its pipes. `stderr` is a file descriptor for its log."""
    with open(os.devnull, "wb") as nowhere:
        process = await anyio.open_process(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **LEAVES_AT_ONCE, **environment},
            stderr=nowhere.fileno() if stderr is None else stderr,
        )
    async with process:
        try:
            yield Wire(process)
        finally:
            if process.returncode is None:
                process.kill()
