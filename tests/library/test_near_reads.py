"""Small reads on the caller's thread: they wait for nobody, and what takes long goes elsewhere."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from convex_memory.embedded import near_reads
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import Engine
from convex_memory.embedded.functions import FUNCTIONS
from convex_memory.embedded.tables import CACHE_LIST_ITEMS
from convex_memory.errors import DeploymentError, InvalidArgument
from tests.library.engine_work import Work, held, indexes, item, put, settled

pytestmark = pytest.mark.anyio

COUNT_FAR = (
    "WITH RECURSIVE counted(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM counted WHERE x < 500000) "
    "SELECT max(x) FROM counted"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine that has opened its file, with the rows 1 to 3."""
    async with aclosing(Engine(tmp_path / "memory.db")) as engine:
        for number in (1, 2, 3):
            await engine.write(put(number))
        assert await engine.read(indexes) == [1, 2, 3]
        yield engine


class Watched:
    """Work that notes in which threads it was run."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.threads: list[str] = []

    def __call__(self, documents: Documents) -> object:
        self.threads.append(threading.current_thread().name)
        return self._work(documents)


HERE = threading.current_thread().name


async def test_a_small_read_runs_where_it_is_asked_for(engine: Engine) -> None:
    work = Watched(indexes)
    assert await engine.read(work, small=True) == [1, 2, 3]
    await engine.write(put(4))
    assert await engine.read(work, small=True) == [1, 2, 3, 4]
    assert await engine.read(work) == [1, 2, 3, 4]
    assert work.threads == [HERE, HERE, "reader"]


async def test_a_file_is_never_opened_on_the_event_loop(tmp_path: Path) -> None:
    work = Watched(indexes)
    async with aclosing(Engine(tmp_path / "memory.db")) as engine:
        assert await engine.read(work, small=True) == []
        assert await engine.read(work, small=True) == []
    assert work.threads == ["reader", HERE]


async def test_a_read_of_too_many_rows_begins_anew_in_a_thread(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_reads, "NEAR_SECONDS_MAX", 0)
    work = Watched(indexes)
    assert await engine.read(work, small=True) == [1, 2, 3]
    assert work.threads == [HERE, "reader"]


async def test_a_statement_that_runs_long_is_interrupted_and_begins_anew_in_a_thread(
    engine: Engine,
) -> None:
    work = Watched(lambda documents: documents.connection.execute(COUNT_FAR).fetchone()[0])
    assert await engine.read(work, small=True) == 500_000
    assert work.threads == [HERE, "reader"]
    # The connection is as good as before.
    again = Watched(indexes)
    assert await engine.read(again, small=True) == [1, 2, 3]
    assert again.threads == [HERE]


@pytest.mark.parametrize("error", [sqlite3.OperationalError, sqlite3.DatabaseError])
async def test_a_read_that_would_have_to_wait_or_that_fails_goes_to_a_thread(
    engine: Engine, error: type[sqlite3.Error]
) -> None:
    refusals = [error("database is locked, or malformed")]

    def read(documents: Documents) -> list[int]:
        if refusals:
            raise refusals.pop()
        return indexes(documents)

    work = Watched(read)
    assert await engine.read(work, small=True) == [1, 2, 3]
    assert work.threads == [HERE, "reader"]
    timeout = Watched(lambda each: each.connection.execute("PRAGMA busy_timeout").fetchone()[0])
    assert await engine.read(timeout, small=True) == 0


async def test_while_this_process_writes_small_reads_are_elsewhere(engine: Engine) -> None:
    gate, holding = await held(engine)
    work = Watched(indexes)
    assert await engine.read(work, small=True) == [1, 2, 3]
    gate.open()
    await settled([holding])
    assert work.threads == ["reader"]


async def test_a_small_read_that_has_to_write_runs_as_a_write(engine: Engine) -> None:
    work = Watched(put(4))
    await engine.read(work, small=True)
    assert work.threads == [HERE, "writer"]
    assert await engine.read(indexes, small=True) == [1, 2, 3, 4]


async def test_a_small_read_is_one_snapshot_and_rolled_back(engine: Engine) -> None:
    def meddle(documents: Documents) -> None:
        documents.connection.execute("DELETE FROM mastra_cache_list_items")
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        await engine.read(meddle, small=True)
    assert await engine.read(indexes, small=True) == [1, 2, 3]


async def test_whoever_only_reads_lets_others_have_their_turn(engine: Engine) -> None:
    turns = 0
    done = False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    for _ in range(2000):
        await engine.read(indexes, small=True)
    done = True
    await other
    # 2,000 reads take 20 ms at the very least, and a turn comes every half.
    assert turns >= 10


async def test_event_loops_share_the_connection(engine: Engine) -> None:
    answers: list[object] = []

    def use() -> None:
        async def read() -> None:
            answers.extend([await engine.read(indexes, small=True) for _ in range(100)])

        asyncio.run(read())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(anyio.to_thread.run_sync, use)
    assert answers == [[1, 2, 3]] * 300


async def test_a_closed_engine_refuses_small_reads(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "memory.db")
    await engine.write(lambda documents: documents.insert(CACHE_LIST_ITEMS, item(1)))
    assert await engine.read(indexes, small=True) == [1]
    await engine.aclose()
    with pytest.raises(DeploymentError, match="closed"):
        await engine.read(indexes, small=True)


def test_only_reads_by_index_are_small() -> None:
    small = {path for path, function in FUNCTIONS.items() if function.small({"op": "get"})}
    assert small == {
        "mastra/cache:handle",
        "memory/meta:version",
        "memory/messages:page",
        "memory/messages:around",
        "memory/messages:get",
        "memory/threads:get",
        "memory/threads:list",
        "memory/working:get",
        "memory/changes:list",
    }
    storage = FUNCTIONS["mastra/storage:handle"]
    assert [op for op in ("load", "loadMany", "queryTable", "insert") if storage.small({"op": op})]
    assert not storage.small({"op": "queryTable"})
