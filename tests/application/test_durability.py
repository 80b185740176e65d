"""What was acknowledged is there: parallel calls, several processes, SIGKILL, cancellation."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from convex_memory.embedded import DATABASE_NAME
from convex_memory.text import message_text
from server.settings import Settings
from tests.application.connections import ALONE, FOLDER, Caller, connected, over_stdio
from tests.application.stdio_wire import Wire, wire_to

pytestmark = [pytest.mark.anyio, pytest.mark.synced]

IN_FLIGHT = 16
KILLS = 6
KILLS_SOAK = 50


def environment(tmp_path: Path) -> dict[str, str]:
    # Each server a process of its own: that is what this is about.
    return {"MEMORY_DATA_DIR": str(tmp_path / FOLDER), **ALONE}


def kept_in(tmp_path: Path) -> dict[str, str]:
    """Message id → text of what the database holds, after it passed SQLite's own checks."""
    with closing(sqlite3.connect(tmp_path / FOLDER / DATABASE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        # The full-text index agrees with its own content, and has one row for every message.
        connection.execute("INSERT INTO message_text (message_text) VALUES ('integrity-check')")
        rows = connection.execute("SELECT _sequence, id, content FROM mastra_messages").fetchall()
        texts = connection.execute("SELECT rowid, text FROM message_text").fetchall()
        threads = connection.execute(
            "SELECT count(*) FROM mastra_messages WHERE thread_id NOT IN "
            "(SELECT id FROM mastra_threads)"
        ).fetchone()
    assert threads == (0,)
    kept = {message_id: message_text(content) for _, message_id, content in rows}
    assert dict(texts) == {sequence: kept[message_id] for sequence, message_id, _ in rows}
    return kept


async def save_many(caller: Caller, thread_id: str, count: int) -> None:
    """Save messages, all of them in flight at once."""

    async def save(number: int) -> None:
        saved = await caller.call(
            "save_message",
            role="user",
            content=f"text {thread_id} {number}",
            thread_id=thread_id,
            message_id=f"{thread_id}-{number}",
        )
        assert saved["status"] == "stored"

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(save, number)


def expected(thread_id: str, count: int) -> dict[str, str]:
    return {f"{thread_id}-{number}": f"text {thread_id} {number}" for number in range(count)}


async def test_a_hundred_saves_in_parallel_are_all_kept(tmp_path: Path) -> None:
    async with over_stdio(environment(tmp_path)) as caller:
        await save_many(caller, "t", 100)
        answer = await caller.call("recall_thread", thread_id="t", limit=200)
        assert len(answer["messages"]) == 100
    assert kept_in(tmp_path) == expected("t", 100)


async def test_two_processes_on_one_folder_keep_every_call(tmp_path: Path) -> None:
    async with (
        over_stdio(environment(tmp_path)) as one,
        over_stdio(environment(tmp_path), mode="legacy") as other,
        anyio.create_task_group() as tasks,
    ):
        for caller, thread_id in ((one, "one"), (other, "other")):
            for part in range(2):
                tasks.start_soon(save_many, caller, f"{thread_id}-{part}", 100)
    parts = [expected(f"{name}-{part}", 100) for name in ("one", "other") for part in range(2)]
    kept = kept_in(tmp_path)
    assert len(kept) == 400
    assert kept == {key: text for part in parts for key, text in part.items()}


async def test_two_processes_count_together(tmp_path: Path) -> None:
    counts: list[int] = []

    async def count(caller: Caller) -> None:
        for _ in range(50):
            counted = await caller.call("cache_increment", key="hits")
            counts.append(counted["value"])

    async with (
        over_stdio(environment(tmp_path)) as one,
        over_stdio(environment(tmp_path)) as other,
        anyio.create_task_group() as tasks,
    ):
        for caller in (one, other) * 2:
            tasks.start_soon(count, caller)
    assert sorted(counts) == list(range(1, 201))


# --- SIGKILL


def save_frame(message_id: str) -> bytes:
    arguments = {
        "role": "user",
        "content": f"text of {message_id}",
        "thread_id": f"thread {message_id[-1]}",
        "message_id": message_id,
    }
    params = {"name": "save_message", "arguments": arguments}
    frame = {"jsonrpc": "2.0", "id": message_id, "method": "tools/call", "params": params}
    return json.dumps(frame).encode()


async def save_until_killed(wire: Wire, name: str, acknowledgements: int) -> set[str]:
    """Keep saves in flight; kill the server after so many acknowledgements; return all of them."""
    await wire.initialize()
    sent = 0
    acknowledged: set[str] = set()
    for sent in range(IN_FLIGHT):
        await wire.send(save_frame(f"{name}-{sent}"))
    while len(acknowledged) < acknowledgements:
        answer = await wire.receive()
        assert answer["result"]["structuredContent"]["status"] == "stored"
        acknowledged.add(answer["id"])
        sent += 1
        await wire.send(save_frame(f"{name}-{sent}"))
    wire.process.kill()
    for line in (await wire.end()).split(b"\n")[:-1]:
        # Acknowledged before it died, read after: still acknowledged.
        acknowledged.add(json.loads(line)["id"])
    return acknowledged


async def survive(tmp_path: Path, kills: int) -> None:
    acknowledged: set[str] = set()
    for number in range(kills):
        async with wire_to(environment(tmp_path)) as wire:
            acknowledged |= await save_until_killed(wire, f"k{number}", 1 + number * 13 % 90)
        kept = kept_in(tmp_path)
        assert acknowledged <= kept.keys()
        assert kept == {message_id: f"text of {message_id}" for message_id in kept}
    async with over_stdio(environment(tmp_path)) as caller:
        [newest] = (await caller.call("list_threads", limit=1))["threads"]
        assert (await caller.call("recall_thread", thread_id=newest["id"]))["messages"]
        saved = await caller.call("save_message", role="user", content="after all that")
        assert saved["status"] == "stored"


async def test_a_killed_server_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    await survive(tmp_path, KILLS)


@pytest.mark.soak
async def test_a_server_killed_many_times_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    await survive(tmp_path, KILLS_SOAK)


# --- Cancellation


def batch(thread_id: str, count: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{thread_id} {number}"} for number in range(count)]
    return {"thread_id": thread_id, "messages": messages}


def whole_or_absent(tmp_path: Path, count: int) -> None:
    with closing(sqlite3.connect(tmp_path / FOLDER / DATABASE_NAME)) as connection:
        sizes = connection.execute(
            "SELECT t.id, (SELECT count(*) FROM mastra_messages m WHERE m.thread_id = t.id) "
            "FROM mastra_threads t"
        ).fetchall()
    assert {size for _, size in sizes} <= {count}
    assert sum(size for _, size in sizes) == len(kept_in(tmp_path))


@pytest.mark.parametrize("leg", ["memory/2026", "memory/2025", "http/2026", "http/2025"])
async def test_a_cancelled_call_leaves_nothing_half_done(
    leg: str, settings: Settings, tmp_path: Path
) -> None:
    async with connected(leg, settings) as caller:
        await caller.call("save_messages", **batch("first", 10))
        for steps in range(40):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_save_batch, caller, f"c{steps}")
                    for _ in range(steps):
                        await checkpoint()
                    scope.cancel()
        await caller.call("save_messages", **batch("last", 10))
        assert len((await caller.call("recall_thread", thread_id="last"))["messages"]) == 10
    whole_or_absent(tmp_path, 10)


async def _save_batch(caller: Caller, thread_id: str) -> None:
    await caller.call("save_messages", **batch(thread_id, 10))


async def test_a_cancellation_on_the_wire_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        for number in range(20):
            await wire.send_and_cancel("save_messages", **batch(f"c{number}", 50))
        result = await wire.call("save_messages", **batch("last", 50))
        assert result["isError"] is False
        result = await wire.call("recall_thread", thread_id="last", limit=200)
        assert len(result["structuredContent"]["messages"]) == 50
        await wire.end()
    whole_or_absent(tmp_path, 50)
