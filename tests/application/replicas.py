"""Several servers on one memory: in one process, or as real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
from mcp.server import Server

from convex_memory.deployment import Deployment, Kind
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.values import Value
from server.app import create_server
from server.background import background_work
from server.settings import Settings
from server.shared import Shared, adapters_over, shared_over


class Hold:
    """Calls of one kind that are held up, until it is opened.

    Attributes:
        held: Set when the first was.
        waiting: How many there are now.
    """

    def __init__(
        self, which: Callable[[str, Mapping[str, Any]], bool], error: Exception | None
    ) -> None:
        self.which = which
        self.error = error
        self.held = anyio.Event()
        self.waiting = 0
        self._opened = anyio.Event()

    def open(self) -> None:
        """Let them through, and all that come."""
        self._opened.set()

    async def wait(self) -> None:
        if self.error is not None:
            raise self.error
        self.waiting += 1
        self.held.set()
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


class Gate:
    """A deployment whose calls can be held up: a slow one, or one a dead process calls no more.

    Args:
        inner: Where calls go that are let through.
    """

    def __init__(self, inner: Deployment) -> None:
        self._inner = inner
        self._holds: list[Hold] = []

    def hold(
        self, which: Callable[[str, Mapping[str, Any]], bool], error: Exception | None = None
    ) -> Hold:
        """Hold up such calls from now on, or have them fail."""
        self._holds.append(Hold(which, error))
        return self._holds[-1]

    def open(self) -> None:
        """Let everything through."""
        for hold in self._holds:
            hold.open()

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        for hold in list(self._holds):
            if hold.which(path, args):
                await hold.wait()
        return await self._inner.call(kind, path, args, timeout_ms=timeout_ms, retry=retry)

    async def aclose(self) -> None:
        await self._inner.aclose()


def ends(path: str, args: Mapping[str, Any]) -> bool:
    """Whether a call writes down how something ended."""
    value = args.get("value")
    return args.get("op") == "listPush" and isinstance(value, str) and '"kind": "ended"' in value


@asynccontextmanager
async def replica(settings: Settings) -> AsyncIterator[tuple[Server[Any], Shared, Gate]]:
    """Open a server over a deployment of its own on the settings' folder."""
    async with AsyncExitStack() as stack:
        gate = Gate(EmbeddedDeployment(settings.data_dir))
        stack.push_async_callback(gate.aclose)
        stack.callback(gate.open)
        shared = shared_over(gate, settings)
        own = adapters_over(shared, settings, settings.resource_id)
        await stack.enter_async_context(
            background_work(own, settings, shared.feed, shared.subscriptions)
        )
        await stack.enter_async_context(shared.runs.opened())
        yield create_server(settings, shared), shared, gate
