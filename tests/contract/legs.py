"""The deployments that the suite runs on, and how each is reached."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.http import create_app
from convex_memory.records import iso_text
from convex_memory.remote import RemoteDeployment
from convex_memory.values import Value
from tests.bridge.serving import BRIDGE, ROOT, Bridge, bridge
from tests.contract.requirements import LIVE
from tests.contract.tidying import Tidying
from tests.declared_tables import TYPED
from tests.new_memory import make_memory

LEGS: Final[Mapping[str, str]] = {
    "embedded": "our functions in Python, in this process",
    "embedded-http": "the same, served over HTTP",
    "convex-test": "our functions in TypeScript, run by convex-test behind HTTP",
    "mastra": "the functions of npm @mastra/convex alone, run by convex-test behind HTTP",
    "live": "a deployment on Convex, at CONVEX_TEST_URL, that others use too",
    "live-empty": "the same, when it holds nothing and may be emptied",
}
DEFAULT: Final = ("embedded", "embedded-http", "convex-test", "mastra")
"""The legs that run unless others are named; `live` joins them when its URL is set."""
DECLARED: Final = ("convex-test", "mastra", *LIVE)
"""The legs whose tables are those of a schema."""

EMBEDDED_FOLDER: Final = "memory"
"""Where in its temporary folder a test's embedded deployment lies."""


class Clock:
    """Time that moves when a test says so, and whoever follows it."""

    def __init__(self) -> None:
        self._now = 1_767_225_600_000.0  # 2026-01-01T00:00:00Z
        self._followers: list[Callable[[float], None]] = []

    def now_ms(self) -> float:
        return self._now

    def now_text(self) -> str:
        return iso_text(datetime.fromtimestamp(self._now / 1000, UTC))

    def set_ms(self, now: float) -> None:
        self._now = now
        for follower in self._followers:
            follower(now)

    def advance_ms(self, milliseconds: float) -> None:
        self.set_ms(self._now + milliseconds)

    def follow(self, follower: Callable[[float], None]) -> None:
        """Tell of every change from now on."""
        self._followers.append(follower)


@dataclass(frozen=True)
class Live:
    """A deployment on Convex that tests may write to.

    Attributes:
        url: Its URL.
        admin_key: Its admin or deploy key.
        storage_function: Where its storage function lies.
    """

    url: str
    admin_key: str
    storage_function: str


@contextmanager
def bridge_of(leg: str) -> Iterator[Bridge]:
    """Serve the functions of `convex-test` or `mastra`."""
    if leg == "mastra":
        with bridge(BRIDGE / "mastra_reference") as running:
            yield running
    else:
        schema = BRIDGE / "our_functions" / "schema.ts"
        with bridge(ROOT / "convex", schema=schema) as running:
            yield running


@asynccontextmanager
async def embedded(folder: Path, clock: Clock) -> AsyncIterator[Deployment]:
    """An embedded deployment on a folder of its own."""
    make_memory(folder)
    async with EmbeddedDeployment(folder, now_ms=clock.now_ms) as deployment:
        yield deployment


@asynccontextmanager
async def embedded_http(folder: Path, clock: Clock) -> AsyncIterator[Deployment]:
    """An embedded deployment on a folder of its own, called as one on Convex is."""
    key = "contract-key"
    make_memory(folder)
    async with EmbeddedDeployment(folder, now_ms=clock.now_ms) as served:
        transport = httpx2.ASGITransport(app=create_app(served, admin_key=key))
        async with RemoteDeployment("http://embedded.test", key, transport=transport) as deployment:
            yield deployment


@asynccontextmanager
async def bridged(running: Bridge) -> AsyncIterator[Deployment]:
    """The deployment that a bridge serves."""
    async with _remote(running.url, running.admin_key) as deployment:
        yield deployment


@asynccontextmanager
async def live(deployed: Live, clock: Clock) -> AsyncIterator[Deployment]:
    """A deployment on Convex, without what the test has written to it afterwards.

    The platform's clock cannot be set, so the test's starts where that one is.
    """
    clock.set_ms(time.time() // 0.001)
    async with _remote(deployed.url, deployed.admin_key) as remote:
        paths = {STORAGE_FUNCTION: deployed.storage_function}
        deployment = Tidying(remote, paths)
        try:
            yield deployment
        finally:
            await deployment.tidy()


async def require_empty(deployment: Deployment) -> None:
    """End the run when there are rows that its tests would read, change or remove."""
    for table in TYPED:
        request: dict[str, Value] = {"op": "queryTable", "tableName": table.logical, "limit": 1}
        reply: Any = await deployment.call("mutation", STORAGE_FUNCTION, request)
        if reply["result"]:
            pytest.exit(
                f"The deployment has rows in {table.logical}. The leg live-empty would empty it; "
                "choose live, or another deployment.",
                returncode=pytest.ExitCode.USAGE_ERROR,
            )


def _remote(url: str, admin_key: str) -> RemoteDeployment:
    # Over plain HTTP no certificates are needed, and loading them takes longer than most tests.
    transport = httpx2.AsyncHTTPTransport(verify=False) if url.startswith("http:") else None
    return RemoteDeployment(url, admin_key, transport=transport)
