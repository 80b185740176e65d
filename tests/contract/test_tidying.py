"""What the live legs write is removed again, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import FunctionError, FunctionNotDeployed
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.store import BackgroundTask, ConvexStore, Schedule, ScheduleTrigger
from convex_memory.vector import ConvexVector
from tests.contract.conversations import Cast
from tests.contract.tidying import Tidying
from tests.contract.wire import GENERIC, LOGICAL, Wire, record_of

pytestmark = pytest.mark.anyio

NATIVE = {"articles": NativeIndex("articles", 2)}
HANDLER = "app/storage:run"


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with EmbeddedDeployment(tmp_path) as deployment:
        yield deployment


async def write(deployment: Deployment, name: str) -> None:
    """Write something of every kind, by every way."""
    store, cast = ConvexStore(deployment), Cast(name)
    await store.memory.save_conversation(
        thread=cast.thread(), messages=[*cast.messages(2), cast.message("")]
    )
    await store.memory.clone_thread(source_thread_id=cast.id("t"))
    await store.memory.update_resource(resource_id=cast.ann, working_memory="tea")
    await store.memory.update_working_memory(resource_id=cast.bob, text="coffee")
    await store.memory.initialize_observational_memory(
        thread_id=None, resource_id=cast.ann, scope="resource", config={}
    )
    await store.workflows.persist_workflow_snapshot(
        workflow_name=name, run_id="r", snapshot={"status": "running"}
    )
    schedule = Schedule(
        id=name,
        target={"type": "workflow", "workflowId": "w"},
        cron="* * * * *",
        next_fire_at_ms=1,
    )
    await store.schedules.create_schedule(schedule)
    await store.schedules.record_trigger(
        ScheduleTrigger(
            schedule_id=name, scheduled_fire_at_ms=1, actual_fire_at_ms=1, outcome="published"
        )
    )
    await store.background_tasks.create_task(
        BackgroundTask(
            id=name,
            status="pending",
            tool_name="brew",
            tool_call_id="c",
            agent_id="a",
            run_id="r",
            timeout_ms=1,
        )
    )
    wire = Wire(deployment)
    for table in LOGICAL:
        await wire.insert_batch(table, [record_of(table, f"{name}-{each}") for each in "ab"])
    await wire.insert(GENERIC, {"id": len(name)}, {"id": len(name) + 0.5})
    cache = ConvexServerCache(deployment, key_prefix=f"{name}:")
    await cache.set("k", 1)
    await cache.list_push("l", 1)
    vector = ConvexVector(deployment)
    await vector.create_index(f"{name}_shelf", 2)
    await vector.upsert(f"{name}_shelf", [[1, 0]], ids=["a"])
    await ConvexNativeVector(deployment, NATIVE).upsert("articles", [[1, 0]], ids=[name])


async def everything(deployment: Deployment) -> dict[str, list[Any]]:
    """All that can be read of a deployment, by table."""
    wire = Wire(deployment)
    shelves = ("mastra_vector_mine_shelf", "mastra_vector_others_shelf")
    found: dict[str, list[Any]] = {table: await wire.query(table) for table in (*LOGICAL, *shelves)}
    for prefix in ("mine", "others"):
        cache = ConvexServerCache(deployment, key_prefix=f"{prefix}:")
        found[prefix] = [await cache.get("k"), await cache.list_length("l")]
    native = await ConvexNativeVector(deployment, NATIVE).query("articles", [1, 0])
    found["articles"] = [match.id for match in native.matches]
    return found


async def test_what_was_written_is_removed_and_nothing_else(deployment: Deployment) -> None:
    await write(deployment, "others")
    before = await everything(deployment)
    tidying = Tidying(deployment, {})
    await write(tidying, "mine")
    assert all(len(rows) > 0 for rows in (await everything(deployment)).values())
    assert await everything(deployment) != before
    await tidying.tidy()
    assert await everything(deployment) == before


async def test_a_function_may_lie_elsewhere(deployment: Deployment) -> None:
    elsewhere = Wire(Tidying(deployment, {STORAGE_FUNCTION: HANDLER}))
    with pytest.raises(FunctionNotDeployed, match=HANDLER):
        await elsewhere.insert("mastra_threads", record_of("mastra_threads", "a"))


async def test_what_was_refused_is_not_removed(deployment: Deployment) -> None:
    wire = Wire(deployment)
    await wire.insert("mastra_threads", record_of("mastra_threads", "a"))
    tidying = Tidying(deployment, {})
    with pytest.raises(FunctionError):
        await Wire(tidying).insert("mastra_threads", {"id": "a", "nope": 1})
    await tidying.tidy()
    assert await wire.ids("mastra_threads") == ["a"]
