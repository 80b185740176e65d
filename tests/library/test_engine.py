"""The engine: group commit, savepoints, snapshots, several engines on one file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from convex_memory.embedded import failures, free_pages
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import READERS, Engine
from convex_memory.embedded.tables import CACHE_LIST_ITEMS, TABLES, THREADS
from convex_memory.errors import (
    DeploymentError,
    InvalidArgument,
    Overloaded,
)
from tests.library.engine_work import (
    WAIT_S,
    Gate,
    held,
    indexes,
    item,
    put,
    queued,
    refuse,
    settled,
)

pytestmark = [pytest.mark.anyio, pytest.mark.synced]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "memory.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    async with aclosing(Engine(path)) as engine:
        yield engine


# --- Opening


async def test_nothing_is_opened_before_the_first_call(path: Path) -> None:
    engine = Engine(path)
    await engine.aclose()
    assert not path.parent.exists()


async def test_the_file_is_private_in_wal_and_synced_on_commit(engine: Engine, path: Path) -> None:
    def pragmas(documents: Documents) -> list[Any]:
        names = ("journal_mode", "synchronous")
        return [documents.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await engine.write(pragmas) == ["wal", 2]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_several_threads_and_loops_may_use_one_engine(engine: Engine) -> None:
    def use(first: int) -> None:
        async def write() -> None:
            await asyncio.gather(*(engine.write(put(first + number)) for number in range(20)))

        asyncio.run(write())

    async with anyio.create_task_group() as tasks:
        for first in (0, 100, 200):
            tasks.start_soon(anyio.to_thread.run_sync, use, first)
    expected = [first + number for first in (0, 100, 200) for number in range(20)]
    assert sorted(await engine.read(indexes)) == expected


async def test_a_loop_that_is_gone_does_not_stop_the_others(engine: Engine) -> None:
    gate, holding = await held(engine)

    def leave() -> None:
        async def write() -> None:
            writing = asyncio.ensure_future(engine.write(put(1)))
            await anyio.lowlevel.checkpoint()
            assert not writing.done()
            writing.cancel()

        asyncio.run(write())

    await anyio.to_thread.run_sync(leave)
    [other] = await queued(engine, put(2))
    gate.open()
    await settled([holding, other])
    assert 2 in await engine.read(indexes)


# --- Writing together


async def test_writes_that_wait_share_one_commit(engine: Engine) -> None:
    statements: list[str] = []

    def trace(documents: Documents) -> None:
        documents.connection.set_trace_callback(statements.append)

    await engine.write(trace)
    statements.clear()
    gate, holding = await held(engine)
    tasks = await queued(engine, *(put(number) for number in range(50)))
    gate.open()
    await settled([holding, *tasks])
    assert statements.count("COMMIT") == 1
    assert await engine.read(indexes) == list(range(50))


async def test_a_refused_write_takes_no_other_with_it(engine: Engine) -> None:
    gate, holding = await held(engine)
    tasks = await queued(engine, put(0), refuse(1), put(2), refuse(3), put(4))
    gate.open()
    results = await settled([holding, *tasks])
    refusals = [result.message for result in results if type(result) is InvalidArgument]
    assert refusals == ["no 1", "no 3"]
    assert await engine.read(indexes) == [0, 2, 4]


async def test_a_refused_write_leaves_nothing_of_itself(engine: Engine) -> None:
    def work(documents: Documents) -> None:
        for number in range(3):
            documents.insert(CACHE_LIST_ITEMS, item(number))
        thread = {"id": "t", "resourceId": "r", "title": "", "createdAt": "", "updatedAt": ""}
        documents.insert(THREADS, thread)
        documents.insert(CACHE_LIST_ITEMS, {"key": "incomplete"})

    with pytest.raises(InvalidArgument):
        await engine.write(work)

    def everything(documents: Documents) -> list[int]:
        counts = [documents.count(table, {}) for table in TABLES.values()]
        return [*counts, documents.connection.execute("SELECT count(*) FROM changes").fetchone()[0]]

    assert set(await engine.read(everything)) == {0}


async def test_a_write_sees_those_before_it_in_its_group(engine: Engine) -> None:
    gate, holding = await held(engine)
    tasks = await queued(engine, put(1), indexes, put(2), indexes)
    gate.open()
    results = await settled([holding, *tasks])
    assert [results[2], results[4]] == [[1], [1, 2]]


async def test_a_failure_that_is_not_ours_comes_through_as_it_is(engine: Engine) -> None:
    def work(documents: Documents) -> None:
        documents.insert(CACHE_LIST_ITEMS, item(1))
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        await engine.write(work)
    assert await engine.read(indexes) == []


async def test_a_write_cancelled_while_it_waits_never_runs(engine: Engine) -> None:
    gate, holding = await held(engine)
    first, second, third = await queued(engine, put(1), put(2), put(3))
    second.cancel()
    await settled([second])
    gate.open()
    await settled([holding, first, third])
    assert await engine.read(indexes) == [1, 3]


async def test_a_write_cancelled_while_it_runs_is_committed_whole(engine: Engine) -> None:
    gate = Gate()

    def work(documents: Documents) -> None:
        documents.insert(CACHE_LIST_ITEMS, item(1))
        gate(documents)
        documents.insert(CACHE_LIST_ITEMS, item(2))

    running = asyncio.create_task(engine.write(work))
    await gate.entered.wait()
    running.cancel()
    assert type((await settled([running]))[0]) is asyncio.CancelledError
    gate.open()
    await engine.write(put(3))
    assert await engine.read(indexes) == [1, 2, 3]


# --- Reading


async def test_reads_see_only_what_is_committed(engine: Engine) -> None:
    await engine.write(put(1))
    gate = Gate()

    def work(documents: Documents) -> None:
        documents.insert(CACHE_LIST_ITEMS, item(2))
        gate(documents)

    writing = asyncio.create_task(engine.write(work))
    await gate.entered.wait()
    assert await engine.read(indexes) == [1]
    gate.open()
    await settled([writing])
    assert await engine.read(indexes) == [1, 2]


async def test_a_read_is_one_snapshot_and_does_not_hold_up_writes(engine: Engine) -> None:
    await engine.write(put(1))
    gate = Gate()

    def twice(documents: Documents) -> tuple[list[int], list[int]]:
        before = indexes(documents)
        gate(documents)
        return before, indexes(documents)

    reading = asyncio.create_task(engine.read(twice))
    await gate.entered.wait()
    await engine.write(put(2))
    gate.open()
    assert await settled([reading]) == [([1], [1])]
    assert await engine.read(indexes) == [1, 2]


async def test_reads_run_beside_each_other_and_beside_a_write(engine: Engine) -> None:
    await engine.write(put(1))
    gates = [Gate() for _ in range(READERS)]
    reading = [asyncio.create_task(engine.read(gate)) for gate in gates]
    holder, holding = await held(engine)
    for gate in gates:
        await gate.entered.wait()
    for gate in (*gates, holder):
        gate.open()
    await settled([*reading, holding])


async def test_a_read_that_has_to_write_runs_again_as_a_write(engine: Engine) -> None:
    modes: list[bool] = []

    def work(documents: Documents) -> str:
        modes.append(documents.writable)
        documents.insert(CACHE_LIST_ITEMS, item(1))
        return "done"

    assert await engine.read(work) == "done"
    assert modes == [False, True]
    assert await engine.read(indexes) == [1]


async def test_what_fails_in_a_read_reaches_the_caller_as_it_is(engine: Engine) -> None:
    def fail(documents: Documents) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await engine.read(fail)
    assert await engine.read(indexes) == []


async def test_a_reader_cannot_write_even_by_hand(engine: Engine) -> None:
    def work(documents: Documents) -> None:
        documents.connection.execute("DELETE FROM mastra_cache_list_items")

    await engine.write(put(1))
    await engine.read(work)
    # A read is rolled back whatever it did.
    assert await engine.read(indexes) == [1]


# --- Several engines on one file


async def test_engines_on_one_file_lose_no_update(path: Path) -> None:
    def increment(documents: Documents) -> int:
        row = documents.first(CACHE_LIST_ITEMS, key="k", index=0)
        if row is None:
            documents.insert(CACHE_LIST_ITEMS, item(0, "1"))
            return 1
        count = int(row.fields["value"]) + 1
        documents.patch(CACHE_LIST_ITEMS, row, {"value": str(count)})
        return count

    counts: list[int] = []

    async def count(engine: Engine) -> None:
        for _ in range(25):
            counted = await engine.write(increment)
            counts.append(counted)

    async with (
        aclosing(Engine(path)) as one,
        aclosing(Engine(path)) as other,
        anyio.create_task_group() as tasks,
    ):
        for engine in (one, other, one, other):
            tasks.start_soon(count, engine)
    assert sorted(counts) == list(range(1, 101))


async def test_engines_that_open_a_new_file_at_once_agree(path: Path) -> None:
    engines = [Engine(path) for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for number, engine in enumerate(engines):
            tasks.start_soon(engine.write, put(number))
    ids = set()
    for engine in engines:
        assert sorted(await engine.read(indexes)) == [0, 1, 2, 3]
        ids.add(await engine.read(lambda documents: documents.id_of(THREADS, 1)))
        await engine.aclose()
    assert len(ids) == 1


async def test_a_file_that_stays_locked_is_told_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "BUSY_TIMEOUT_MS", 30)
    async with aclosing(Engine(path)) as engine:
        await engine.write(put(1))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            gate_free = await settled(await queued(engine, put(2), put(3)))
            assert [type(result) for result in gate_free] == [Overloaded, Overloaded]
            assert "Another process" in gate_free[0].message
            assert "Try again" in gate_free[0].message
            assert await engine.read(indexes) == [1]
            other.execute("ROLLBACK")
        await engine.write(put(4))
        assert await engine.read(indexes) == [1, 4]


# --- Idle time, closing


async def test_work_for_idle_time_runs_after_writes_until_it_is_done(path: Path) -> None:
    left = [3]

    def tidy(documents: Documents) -> bool:
        if left[0] == 0:
            return False
        left[0] -= 1
        documents.insert(CACHE_LIST_ITEMS, item(100 + left[0]))
        return True

    async with aclosing(Engine(path, when_idle=tidy)) as engine:
        await engine.write(put(1))
        while left[0]:
            await engine.write(put(2))
        await engine.write(put(3))
        kept = await engine.read(indexes)
    assert [index for index in kept if index >= 100] == [102, 101, 100]


async def test_work_for_idle_time_that_fails_harms_nobody(path: Path) -> None:
    def tidy(documents: Documents) -> bool:
        documents.insert(CACHE_LIST_ITEMS, item(100))
        raise ZeroDivisionError

    async with aclosing(Engine(path, when_idle=tidy)) as engine:
        for number in range(3):
            await engine.write(put(number))
        assert await engine.read(indexes) == [0, 1, 2]


def _pages(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as connection:
        return (
            connection.execute("PRAGMA page_count").fetchone()[0],
            connection.execute("PRAGMA freelist_count").fetchone()[0],
        )


def _free_pages(documents: Documents) -> int:
    return int(documents.connection.execute("PRAGMA freelist_count").fetchone()[0])


def _delete_all(documents: Documents) -> None:
    for row in list(documents.scan(CACHE_LIST_ITEMS, {"key": "k"})):
        documents.delete(CACHE_LIST_ITEMS, row)


async def test_pages_that_were_freed_are_given_back_in_small_steps_while_nobody_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_pages, "FREE_PAGES_KEPT", 20)
    async with aclosing(Engine(path)) as engine:
        for number in range(50):
            await engine.write(put(number, "x" * 20_000))
        full, _ = _pages(path)
        await engine.write(_delete_all)
        # Each of these writes is answered between two steps.
        for number in range(100, 110):
            await engine.write(put(number))
        with anyio.fail_after(WAIT_S):
            while await engine.write(_free_pages) > 20:
                pass
        assert await engine.read(indexes) == list(range(100, 110))
    pages, free = _pages(path)
    assert full - pages >= 200
    assert free <= 20
    async with aclosing(Engine(path)) as engine:
        assert await engine.read(indexes) == list(range(100, 110))


async def test_a_file_that_was_made_without_it_keeps_its_pages(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_pages, "FREE_PAGES_KEPT", 0)
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE earlier (x)")
    async with aclosing(Engine(path)) as engine:
        await engine.write(put(1, "x" * 200_000))
        full, _ = _pages(path)
        await engine.write(_delete_all)
        await engine.write(put(2))
        assert await engine.read(indexes) == [2]
    pages, free = _pages(path)
    assert pages == full
    assert free >= 40


async def test_closing_finishes_what_is_queued(path: Path) -> None:
    engine = Engine(path)
    gate, holding = await held(engine)
    writing = await queued(engine, *(put(number) for number in range(30)))
    gate.open()
    await engine.aclose()
    results = await settled([holding, *writing])
    assert not [result for result in results if isinstance(result, BaseException)]
    async with aclosing(Engine(path)) as again:
        assert await again.read(indexes) == list(range(30))


async def test_a_closed_engine_refuses_calls_and_leaves_no_thread(path: Path) -> None:
    before = set(threading.enumerate())
    engine = Engine(path)
    await engine.write(put(1))
    assert len(set(threading.enumerate()) - before) >= 1 + READERS
    await engine.aclose()
    await engine.aclose()
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert not names & {"writer", "reader"}
    for attempt in (engine.write(put(2)), engine.read(indexes)):
        with pytest.raises(DeploymentError, match="closed"):
            await attempt
