"""A snapshot of an embedded deployment stays as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from convex_memory.deployment import CACHE_FUNCTION, STORAGE_FUNCTION
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.snapshot import Snapshot
from convex_memory.errors import DeploymentError, FunctionError, FunctionNotDeployed, NotFound

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def save(deployment: EmbeddedDeployment, *ids: str) -> None:
    messages: list[Any] = [
        {
            "id": each,
            "thread_id": "t",
            "resourceId": "ann",
            "role": "user",
            "type": "v2",
            "content": "{}",
            "createdAt": "2026-01-01T00:00:00.000Z",
        }
        for each in ids
    ]
    thread = {"id": "t", "resourceId": "ann"}
    await deployment.call(
        "mutation", "memory/messages:save", {"messages": messages, "thread": thread}
    )


async def ids_in(deployment: Any) -> list[str]:
    answer = await deployment.call("query", "memory/messages:page", {"threadId": "t", "limit": 200})
    return sorted(message["id"] for message in answer["messages"])


async def test_it_is_of_one_moment_whatever_is_written_meanwhile(tmp_path: Path) -> None:
    async with EmbeddedDeployment(tmp_path) as deployment:
        await save(deployment, "a", "b")
        async with Snapshot(deployment) as snapshot:
            await save(deployment, "c")
            await deployment.call("mutation", "memory/messages:remove", {"ids": ["a"]})
            assert await ids_in(snapshot) == ["a", "b"]
            assert await ids_in(deployment) == ["b", "c"]
            answers = await asyncio.gather(*(ids_in(snapshot) for _ in range(20)))
            assert answers == [["a", "b"]] * 20
        async with Snapshot(deployment) as snapshot:
            assert await ids_in(snapshot) == ["b", "c"]


async def test_its_clock_stands_still(tmp_path: Path) -> None:
    times = iter([1000.0, 9000.0])
    async with EmbeddedDeployment(tmp_path, now_ms=lambda: 0.0) as deployment:
        request: dict[str, Any] = {
            "op": "set",
            "key": "k",
            "keyPrefix": "",
            "value": 1,
            "expiresAt": 5000,
        }
        await deployment.call("mutation", CACHE_FUNCTION, request)
        async with Snapshot(deployment, now_ms=lambda: next(times)) as snapshot:
            for _ in range(2):
                page: Any = await snapshot.call(
                    "query", "memory/transfer:page", {"table": "mastra_cache"}
                )
                assert len(page["rows"]) == 1


async def test_it_only_reads(tmp_path: Path) -> None:
    async with EmbeddedDeployment(tmp_path) as deployment, Snapshot(deployment) as snapshot:
        with pytest.raises(FunctionError, match="only read"):
            await snapshot.call("mutation", STORAGE_FUNCTION, {"op": "load"})
        with pytest.raises(FunctionError, match="only read"):
            await snapshot.call("query", STORAGE_FUNCTION, {"op": "load"})
        with pytest.raises(FunctionNotDeployed):
            await snapshot.call("query", "memory/nothing:here", {})
        with pytest.raises(NotFound):
            await snapshot.call("query", "memory/messages:page", {"threadId": "-", "limit": 1})


async def test_a_closed_one_is_closed(tmp_path: Path) -> None:
    async with EmbeddedDeployment(tmp_path) as deployment:
        snapshot = Snapshot(deployment)
        async with snapshot:
            pass
        await snapshot.aclose()
        with pytest.raises(DeploymentError, match="closed"):
            await snapshot.call("query", "memory/meta:stats", {})
        await save(deployment, "a")
        assert await ids_in(deployment) == ["a"]
