"""A server over HTTP that several principals call, each over a connection of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Literal

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from server.app import create_server
from server.auth.access import for_principals, open_access
from server.settings import Settings
from server.shared import Shared, open_shared
from server.transports import streamable_http
from tests.application.connections import HTTP_URL, Caller, started

Era = Literal["2025", "2026"]
_MODES: Final[Mapping[Era, Literal["auto", "legacy"]]] = {"2026": "auto", "2025": "legacy"}


def token_of(name: str) -> str:
    """Return the token of a principal; `name:read` may only read."""
    return f"{name.replace(':', '-')}-token-0123456789"


def with_tokens(settings: Settings, names: Sequence[str]) -> Settings:
    """Return settings under which these principals may call."""
    entries = ",".join(f"{name}={token_of(name)}" for name in names)
    return settings.model_copy(update={"http_tokens": SecretStr(entries)})


@asynccontextmanager
async def wire_of(settings: Settings, shared: Shared) -> AsyncIterator[httpx2.ASGITransport]:
    """Serve as the command does, in this process."""
    access = open_access(settings)
    assert access is not None
    app = streamable_http.create_app(
        create_server(for_principals(settings), shared),
        host="127.0.0.1",
        deployment=shared.deployment,
        wrappers=access.wrappers,
        routes=access.routes,
        names=access.names,
    )
    async with started(app):
        yield httpx2.ASGITransport(app=app)


@asynccontextmanager
async def connected_as(
    transport: httpx2.AsyncBaseTransport, name: str, era: Era = "2026"
) -> AsyncIterator[Caller]:
    """Connect with the token of a principal."""
    headers = {"Authorization": f"Bearer {token_of(name)}"}
    async with (
        httpx2.AsyncClient(transport=transport, timeout=30, headers=headers) as wire,
        Client(streamable_http_client(HTTP_URL, http_client=wire), mode=_MODES[era]) as client,
    ):
        yield Caller(client)


@asynccontextmanager
async def principals(
    settings: Settings, *names: str, era: Era = "2026"
) -> AsyncIterator[list[Caller]]:
    """Connect several principals to one server."""
    given = with_tokens(settings, names)
    async with AsyncExitStack() as stack:
        over = await stack.enter_async_context(open_shared(given))
        transport = await stack.enter_async_context(wire_of(given, over))
        yield [
            await stack.enter_async_context(connected_as(transport, name, era)) for name in names
        ]
