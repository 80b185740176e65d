"""MCP clients over every transport and era, and what their answers say."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from starlette.types import ASGIApp, Message, Scope

from convex_memory.embedded import DATABASE_NAME
from server.app import create_server
from server.settings import Settings
from server.shared import open_shared
from server.transports import streamable_http

ROOT: Final = Path(__file__).parents[2]
HTTP_URL: Final = "http://127.0.0.1:8000/mcp"
IN_PROCESS: Final = ("memory/2026", "http/2025", "memory/2025", "http/2026")
EVERYWHERE: Final = (*IN_PROCESS, "stdio/2026", "stdio/2025", "alone/2025")
"""`stdio` is the command as it comes, through the daemon; `alone` serves in its own process."""
ALONE: Final = {"MEMORY_DAEMON": "off"}
LEAVES_AT_ONCE: Final = {"MEMORY_DAEMON_IDLE_MS": "0"}
"""A daemon that ends with its last host: no test leaves one behind."""
ANSWER_TIMEOUT_S: Final = 60
FOLDER: Final = "memory"


@dataclass(frozen=True)
class Refusal:
    """A failed call, as text and as the code and details beside it."""

    code: str
    message: str
    details: Mapping[str, Any]


class Caller:
    """One connected assistant."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed; its text must say what its structure says."""
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            result = await self.client.call_tool(tool, arguments)
        [content] = result.content
        assert content.type == "text"
        assert not result.is_error, content.text
        assert json.loads(content.text) == result.structured_content
        assert result.structured_content is not None
        return dict(result.structured_content)

    async def refused(self, tool: str, /, **arguments: Any) -> Refusal:
        """Call a tool that must refuse."""
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        assert result.structured_content is None
        [content] = result.content
        assert content.type == "text"
        assert result.meta is not None
        error = result.meta["convex-memory/error"]
        code, _, message = content.text.partition(": ")
        assert code == error["code"]
        return Refusal(code, message, error.get("details", {}))

    async def save(self, thread_id: str, *contents: str, **each: Any) -> list[dict[str, Any]]:
        """Save user messages in one thread; `each` goes with every one of them."""
        messages = [{"role": "user", "content": content, **each} for content in contents]
        saved: list[dict[str, Any]] = []
        for start in range(0, len(messages), 100):
            answer = await self.call(
                "save_messages", thread_id=thread_id, messages=messages[start : start + 100]
            )
            saved += answer["saved"]
        return saved


def settings_in(tmp_path: Path, **given: Any) -> Settings:
    """Return settings over a folder of the test's own, without embedder unless one is given."""
    return Settings(**{"data_dir": tmp_path / FOLDER, "embedder": "off", **given})


@asynccontextmanager
async def connected(leg: str, settings: Settings) -> AsyncIterator[Caller]:
    """Connect in process, over a leg such as `http/2025`."""
    transport, _, era = leg.partition("/")
    mode: Literal["auto", "legacy"] = "auto" if era == "2026" else "legacy"
    if transport == "memory":
        async with Client(create_server(settings), mode=mode) as client:
            yield Caller(client)
    elif transport == "http":
        async with AsyncExitStack() as stack:
            shared = await stack.enter_async_context(open_shared(settings))
            app = streamable_http.create_app(
                create_server(settings, shared), host="127.0.0.1", deployment=shared.deployment
            )
            await stack.enter_async_context(started(app))
            wire = await stack.enter_async_context(
                httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), timeout=30)
            )
            client = await stack.enter_async_context(
                Client(streamable_http_client(HTTP_URL, http_client=wire), mode=mode)
            )
            yield Caller(client)
    else:
        environment = {"MEMORY_DATA_DIR": str(settings.data_dir)}
        if transport == "alone":
            environment |= ALONE
        async with over_stdio(environment, mode=mode) as caller:
            yield caller


@asynccontextmanager
async def over_stdio(
    environment: Mapping[str, str],
    mode: Literal["auto", "legacy"] = "auto",
    *,
    command: str = sys.executable,
    arguments: Sequence[str] = ("-m", "convex_memory"),
) -> AsyncIterator[Caller]:
    """Connect to the command itself, as an assistant starts it."""
    parameters = StdioServerParameters(
        command=command,
        args=list(arguments),
        env={
            "PYTHONWARNINGS": "error",
            "MEMORY_EMBEDDER": "off",
            **LEAVES_AT_ONCE,
            **environment,
        },
        cwd=ROOT,
    )
    # What the server logs belongs to no test's output.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        async with Client(stdio_client(parameters, errlog=nowhere), mode=mode) as client:
            yield Caller(client)


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncIterator[None]:
    """Run an ASGI application's lifespan, as a server does."""
    to_app, from_test = anyio.create_memory_object_stream[Message](2)
    to_test, from_app = anyio.create_memory_object_stream[Message](2)
    async with to_app, from_test, to_test, from_app, anyio.create_task_group() as tasks:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}

        async def live() -> None:
            await app(scope, from_test.receive, to_test.send)

        tasks.start_soon(live)
        await to_app.send({"type": "lifespan.startup"})
        assert await from_app.receive() == {"type": "lifespan.startup.complete"}
        yield
        await to_app.send({"type": "lifespan.shutdown"})
        assert await from_app.receive() == {"type": "lifespan.shutdown.complete"}


def stored_in(tmp_path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the folder's database."""
    with closing(sqlite3.connect(tmp_path / FOLDER / DATABASE_NAME)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
            for (name,) in tables.fetchall()
        }


@contextmanager
def nobody_can_write(tmp_path: Path) -> Iterator[None]:
    """Keep every write in flight while the block runs."""
    connection = sqlite3.connect(tmp_path / FOLDER / DATABASE_NAME, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()
