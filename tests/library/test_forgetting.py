"""What is kept of deleted rows by the embedded deployment: in batches, across restarts, purged."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import STORAGE_FUNCTION
from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment, engine, forgetting
from convex_memory.embedded.functions.mastra import cache as cache_function
from convex_memory.embedded.functions.memory import threads
from convex_memory.errors import NotFound
from convex_memory.limits import CACHE_DELETE_ITEMS_MAX
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore, MemoryStore
from tests.contract.legs import Clock

pytestmark = pytest.mark.anyio

HOUR: Final = 3_600_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def deployment(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddedDeployment]:
    # Two messages a batch, nobody who goes on in idle time, and one reader, which sees it all.
    monkeypatch.setattr(threads, "CASCADE_DELETE_ROWS", 2)
    monkeypatch.setattr(threads, "continue_removals", lambda documents: False)
    monkeypatch.setattr(engine, "READERS", 1)
    async with EmbeddedDeployment(tmp_path / "memory", now_ms=clock.now_ms) as deployment:
        yield deployment


@pytest.fixture
def memory(deployment: EmbeddedDeployment, clock: Clock) -> MemoryStore:
    return ConvexStore(deployment, now_ms=clock.now_ms).memory


def said(name: str, text: str = "tea") -> Message:
    return Message(id=name, thread_id="t", resource_id="r", role="user", content=text)


async def save(memory: MemoryStore, *names: str) -> None:
    await memory.save_conversation(
        thread=Thread(id="t", resource_id="r"), messages=[said(name) for name in names]
    )


async def page_of(memory: MemoryStore) -> list[str]:
    page = await memory.page_messages(thread_id="t", limit=50, order="oldest")
    return [message.id for message in page.messages]


async def found(memory: MemoryStore) -> set[str]:
    hits = (await memory.search_messages(query="tea", limit=50)).hits
    return {hit.message.id for hit in hits}


async def begin(deployment: EmbeddedDeployment, what: str, **more: Any) -> Any:
    """Call a function that goes in batches once."""
    return await deployment.call("mutation", f"memory/threads:{what}", {"threadId": "t", **more})


async def on_wire(deployment: EmbeddedDeployment) -> list[str]:
    request = {"op": "queryTable", "tableName": "mastra_messages"}
    answer: Any = await deployment.call("mutation", STORAGE_FUNCTION, request)
    return [row["id"] for row in answer["result"]]


def rows(tmp_path: Path, table: str) -> int:
    with closing(sqlite3.connect(tmp_path / "memory" / DATABASE_NAME)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


NAMES: Final = tuple(f"m{number}" for number in range(5))


async def test_half_removed_a_thread_is_gone_and_comes_back_whole(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock
) -> None:
    await save(memory, *NAMES)
    answer = await begin(deployment, "remove", purgeAt=clock.now_ms() + HOUR)
    assert answer == {"found": True, "removedMessages": 5, "hasMore": True}
    assert await on_wire(deployment) == []
    assert await found(memory) == set()
    back = await begin(deployment, "restore")
    assert (back["restoredMessages"], back["hasMore"]) == (5, False)
    assert await page_of(memory) == await on_wire(deployment) == list(NAMES)
    assert await found(memory) == set(NAMES)


async def test_a_restoration_can_be_finished_however_late(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock
) -> None:
    await save(memory, *NAMES)
    until = clock.now_ms() + HOUR
    while (await begin(deployment, "remove", purgeAt=until))["hasMore"]:
        pass
    await begin(deployment, "restore")
    clock.advance_ms(2 * HOUR)
    await memory.sweep()
    assert (await memory.restore_thread(thread_id="t")).messages == 3
    assert await page_of(memory) == list(NAMES)


async def test_a_thread_removed_again_half_way_back_comes_back_whole(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock
) -> None:
    await save(memory, *NAMES)
    until = clock.now_ms() + HOUR
    while (await begin(deployment, "remove", purgeAt=until))["hasMore"]:
        pass
    await begin(deployment, "restore")
    while (await begin(deployment, "remove", purgeAt=until + HOUR))["hasMore"]:
        pass
    clock.advance_ms(HOUR)
    assert (await memory.restore_thread(thread_id="t")).messages == 5
    assert set(await page_of(memory)) == set(NAMES)


async def test_a_removal_under_way_can_be_made_for_good(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock, tmp_path: Path
) -> None:
    await save(memory, *NAMES)
    await begin(deployment, "remove", purgeAt=clock.now_ms() + HOUR)
    assert (await memory.remove_thread(thread_id="t")).found
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id="t")
    for table in ("mastra_messages", "trash", "removals"):
        assert rows(tmp_path, table) == 0


async def test_the_messages_of_two_threads_of_one_id_do_not_mix(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock
) -> None:
    await save(memory, *NAMES)
    until = clock.now_ms() + HOUR
    await begin(deployment, "remove", purgeAt=until)
    await save(memory, "m4", "new")
    assert await page_of(memory) == await on_wire(deployment) == ["m4", "new"]
    while (await begin(deployment, "remove", purgeAt=until))["hasMore"]:
        pass
    assert (await memory.restore_thread(thread_id="t")).messages == 2
    assert await page_of(memory) == await on_wire(deployment) == ["m4", "new"]


async def test_what_mastra_writes_over_a_message_that_waits_is_a_new_one(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock
) -> None:
    await save(memory, *NAMES)
    await begin(deployment, "remove", purgeAt=clock.now_ms() + HOUR)
    await memory.save_thread(Thread(id="u", resource_id="r"))
    record = {**said("m4", "other").to_row(), "thread_id": "u"}
    await deployment.call(
        "mutation",
        STORAGE_FUNCTION,
        {"op": "insert", "tableName": "mastra_messages", "record": record},
    )
    # The id is taken, so the thread comes back without it.
    assert (await memory.restore_thread(thread_id="t")).messages == 4
    assert await page_of(memory) == ["m0", "m1", "m2", "m3"]
    [kept] = await memory.get_messages(ids=["m4"])
    assert kept.thread_id == "u"


async def test_search_knows_what_went_and_came_back(memory: MemoryStore, clock: Clock) -> None:
    await save(memory, *NAMES)
    for gone in (["m4"], ["m0", "m4"], list(NAMES)):
        before = await found(memory)
        await memory.remove_messages(ids=gone, purge_at="2030-01-01")
        assert await found(memory) == before - set(gone)
        await memory.restore_messages(ids=gone)
        assert await found(memory) == before == set(NAMES)


async def test_trash_and_times_survive_a_restart(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "memory"
    until = clock.now_ms() + HOUR
    async with EmbeddedDeployment(folder, now_ms=clock.now_ms) as deployment:
        memory = ConvexStore(deployment, now_ms=clock.now_ms).memory
        await save(memory, "a", "b", "c", "d")
        for name, at in (("c", until), ("d", until + HOUR)):
            args: dict[str, Any] = {"messageId": name, "expiresAt": at}
            await deployment.call("mutation", "memory/messages:update", args)
        await deployment.call(
            "mutation", "memory/messages:remove", {"ids": ["a"], "purgeAt": until + HOUR}
        )
    clock.advance_ms(HOUR)
    async with EmbeddedDeployment(folder, now_ms=clock.now_ms) as deployment:
        memory = ConvexStore(deployment, now_ms=clock.now_ms).memory
        assert await page_of(memory) == ["b", "d"]
        assert await memory.restore_messages(ids=["a"]) == ["a"]
        assert await page_of(memory) == ["a", "b", "d"]


async def test_an_emptied_table_keeps_nothing(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock, tmp_path: Path
) -> None:
    await save(memory, *NAMES)
    await memory.remove_messages(ids=["m0"], purge_at="2030-01-01")
    await begin(deployment, "remove", purgeAt=clock.now_ms() + HOUR)
    await memory.dangerously_clear_all()
    assert rows(tmp_path, "trash") == 0
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id="t")


async def test_purging_goes_in_batches_and_then_asks_for_no_lock(
    deployment: EmbeddedDeployment,
    memory: MemoryStore,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forgetting, "PURGE_ROWS", 2)
    await save(memory, *NAMES)
    await memory.remove_messages(ids=NAMES, purge_at="2026-01-01T01:00:00Z")
    assert await memory.sweep() is False
    clock.advance_ms(HOUR)
    assert [await memory.sweep() for _ in range(4)] == [True, True, True, False]
    assert rows(tmp_path, "trash") == 0
    assert deployment._engine is not None
    # It would raise on a reader if it wrote.
    assert await deployment._engine.read(forgetting.purge) is False


async def test_cached_keys_that_nobody_touches_again_go_when_they_have_expired(
    deployment: EmbeddedDeployment, memory: MemoryStore, clock: Clock, tmp_path: Path
) -> None:
    cache = ConvexServerCache(deployment, ttl_ms=HOUR, now_ms=clock.now_ms)
    await cache.set("lasts", 1, ttl_ms=0)
    await cache.set("fresh", 1, ttl_ms=3 * HOUR)
    await cache.set("old", 1)
    await cache.increment("count")
    for number in range(CACHE_DELETE_ITEMS_MAX + 5):
        await cache.list_push("list", number)
    assert await memory.sweep() is False
    clock.advance_ms(HOUR)
    assert [await memory.sweep() for _ in range(3)] == [True, True, False]
    assert (rows(tmp_path, "mastra_cache"), rows(tmp_path, "mastra_cache_list_items")) == (2, 0)
    assert [await cache.get(key) for key in ("lasts", "fresh", "old")] == [1, 1, None]


async def test_a_cache_of_many_keys_is_swept_a_part_at_a_time(
    deployment: EmbeddedDeployment,
    memory: MemoryStore,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_function, "CACHE_SWEEP_ROWS", 2)
    cache = ConvexServerCache(deployment, ttl_ms=HOUR, now_ms=clock.now_ms)
    for number in range(6):
        await cache.set(f"key {number}", number)
    clock.advance_ms(HOUR)
    left = [rows(tmp_path, "mastra_cache")]
    while left[-1]:
        assert await memory.sweep() is True
        left.append(rows(tmp_path, "mastra_cache"))
    assert all(1 <= before - after <= 2 for before, after in pairwise(left))
    assert await memory.sweep() is False
