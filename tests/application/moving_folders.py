"""Folders with rows in every table, and what is in them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from convex_memory.deployment import Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.moving import ExportWriter, Header, MovedTable, inventory_of
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.store import ConvexStore
from convex_memory.store.background_task_records import BackgroundTask
from convex_memory.store.channel_records import ChannelConfig, ChannelInstallation
from convex_memory.store.schedule_records import ScheduleTrigger
from server.settings import Settings
from tests.application.connections import Caller, connected
from tests.contract.wire import Wire
from tools import TOOLSETS

MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
ARTICLES: Final = NativeIndex("contract_articles", dimension=3, filter_fields=("lang", "topic"))
"""A table that the schema of the bridge declares."""

FAR_OFF: Final = 4_000_000_000_000
"""Milliseconds since the epoch, a hundred years on."""

Rows = dict[str, list[dict[str, Any]]]


async def fill(folder: Path) -> None:
    """Use every toolset on a folder, and the store for what assistants only read."""
    settings = Settings(data_dir=folder, toolsets=tuple(TOOLSETS), embedder="off")
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(EmbeddedDeployment(folder))
        caller = await stack.enter_async_context(connected("memory/2026", settings))
        await _use_default_tools(caller)
        await _use_other_tools(caller)
        await _use_store(ConvexStore(deployment))
        await _use_wire(deployment)
        await _use_functions(deployment)


async def _use_default_tools(caller: Caller) -> None:
    await caller.save("bread", *(f"Loaf {n} \N{BREAD} rose" for n in range(150)))
    await caller.call(
        "save_message", role="assistant", content="Sí", thread_id="fiestas", metadata={"n": None}
    )
    await caller.save("gone", *(f"Forget {n}" for n in range(50)))
    await caller.call("delete_thread", thread_id="gone")
    await caller.call("update_working_memory", content="Mara bakes on Sundays")
    for index, dimension in (("small", 3), ("large", 384)):
        await caller.call("create_index", index=index, dimension=dimension)
        items: list[dict[str, Any]] = [
            {"id": f"{index}{n}", "vector": [n / 3, 0.1, *[-0.5] * (dimension - 2)]}
            for n in range(40)
        ]
        items[0]["metadata"] = {"kind": "rye", "sizes": [1, 2.5, None, True], "deep": {"a": {}}}
        await caller.call("upsert_embeddings", index=index, items=items)
    await caller.call("cache_set", key="value", value={"a": [1, None, "\N{SNOWMAN}"]}, ttl_ms=0)
    await caller.call("cache_set", key="later", value=1, ttl_ms=3_600_000)
    for number in range(30):
        await caller.call("cache_push", key="list", value={"n": number})
    for _ in range(3):
        await caller.call("cache_increment", key="count")


async def _use_other_tools(caller: Caller) -> None:
    for number in range(3):
        await caller.call(
            "save_score", scorer_id="accuracy", run_id=f"r{number}", score=number / 2, reason="why"
        )
    target = {"type": "agent", "agentId": "home", "prompt": "Water the plants"}
    await caller.call("create_schedule", schedule_id="s", cron="0 0 1 1 *", target=target)
    await caller.call("update_observations", content="* Mara bakes")
    await caller.call("update_observations", content="* said hello", thread_id="bread")


async def _use_store(store: ConvexStore) -> None:
    for run in ("r1", "r2"):
        await store.workflows.persist_workflow_snapshot(
            workflow_name="bake",
            run_id=run,
            snapshot={"runId": run, "status": "success", "context": {"input": {"flour": 500}}},
            created_at=MOMENT,
            updated_at=MOMENT,
        )
    await store.schedules.record_trigger(
        ScheduleTrigger(
            schedule_id="s",
            scheduled_fire_at_ms=1000,
            actual_fire_at_ms=1001,
            outcome="published",
        )
    )
    await store.channels.save_installation(
        ChannelInstallation(
            id="i", platform="slack", agent_id="a", status="active", data={"token": "secret"}
        )
    )
    await store.channels.save_config(ChannelConfig(platform="slack", data={"team": "T"}))
    await store.background_tasks.create_task(
        BackgroundTask(
            id="t",
            status="completed",
            tool_name="research",
            tool_call_id="c",
            agent_id="a",
            run_id="r",
            timeout_ms=1000,
            args={"topic": "rye"},
            result={"found": "x" * 5000},
            created_at=MOMENT,
        )
    )


async def _use_wire(deployment: Deployment) -> None:
    for number in range(12):
        record = {"id": f"d{number}", "text": "\N{SNOWMAN}" * number, "n": number / 7}
        await Wire(deployment).insert("app_notes", record)
    native = ConvexNativeVector(deployment, {"articles": ARTICLES})
    metadata: list[dict[str, Any]] = [{"lang": "en", "page": n} for n in range(20)]
    vectors = [[1.0, n / 3, 0.0] for n in range(20)]
    await native.upsert("articles", vectors, metadata=metadata, ids=[f"a{n}" for n in range(20)])


async def _use_functions(deployment: Deployment) -> None:
    content = json.dumps({"format": 2, "parts": [{"type": "text", "text": "Rye"}]})
    messages: list[Any] = [
        {
            "id": each,
            "thread_id": "notes",
            "resourceId": "default",
            "role": "user",
            "type": "v2",
            "content": content,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }
        for each in ("older", "newer", "passing")
    ]
    thread: dict[str, Any] = {"id": "notes", "resourceId": "default", "expiresAt": FAR_OFF + 1}
    await deployment.call(
        "mutation",
        "memory/messages:save",
        {
            "messages": messages,
            "thread": thread,
            "expiries": [["passing", FAR_OFF]],
            "supersedes": [["newer", "older"]],
        },
    )
    index: dict[str, Any] = {"indexName": "texts", "dimension": 3}
    await deployment.call("mutation", "memory/vectors:createIndex", index)
    items: list[Any] = [{"id": f"x{n}", "vector": [1, n, 0], "text": f"Loaf {n}"} for n in range(5)]
    await deployment.call(
        "mutation",
        "memory/vectors:upsert",
        {"indexName": "texts", "embedder": "tests:three", "items": items},
    )


async def rows_of(deployment: Deployment) -> Rows:
    """Every row of every table that has any, in order, with what is noted of it."""
    rows: Rows = {}
    for table in (await inventory_of(deployment)).tables:
        cursor = None
        while True:
            more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            answer: Any = await deployment.call(
                "query", "memory/transfer:page", {"table": table, **more}
            )
            notes = {int(at): json.loads(text) for at, text in answer["notes"]}
            for at, text in enumerate(answer["rows"]):
                row = json.loads(text) | ({"(noted)": notes[at]} if at in notes else {})
                rows.setdefault(table, []).append(row)
            cursor = answer["cursor"]
            if cursor is None:
                break
    return rows


async def rows_in(folder: Path) -> Rows:
    """Every row of a folder."""
    async with EmbeddedDeployment(folder) as deployment:
        return await rows_of(deployment)


def write_documents(path: Path, count: int, chars: int) -> None:
    """Write an export with so many documents, each with so many characters."""
    with path.open("wb") as file:
        writer = ExportWriter(file.write)
        tables = [MovedTable("mastra_documents")]
        writer.begin(Header("1", "2026-01-01T00:00:00.000Z", "embedded", "snapshot", tables))
        for number in range(count):
            row = {"table": "t", "primaryKey": str(number), "record": {"text": "x" * chars}}
            writer.put("mastra_documents", [json.dumps(row)])
        writer.end()
