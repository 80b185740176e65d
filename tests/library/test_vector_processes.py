"""Vectors of one folder under many processes: killed ones, and ones that all work at once."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment
from convex_memory.embedded.vector_index import following, lists, saving
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.embedded.vector_index.view import View
from convex_memory.vector import ConvexVector
from tests.library.vector_rows import SCOPE, found, scored_one_by_one
from tests.library.vector_workers import (
    DIMENSION,
    SHARED,
    small_indexes_have_files_and_lists,
    vector_of,
    work,
    write_until_killed,
)

pytestmark = pytest.mark.anyio
State = dict[str, int | None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _here_too(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        # So that what is set below is put back.
        for module, name in (
            (saving, "ROWS_LEAST"), (saving, "_UNSAVED_PART"), (saving, "_ELSEWHERE_SECONDS"),
            (lists, "ROWS_LEAST"),
        ):  # fmt: skip
            patched.setattr(module, name, getattr(module, name))
        small_indexes_have_files_and_lists()
        yield


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """A server that has everything imported, and makes processes by forking."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.library.vector_workers"])
    return context


async def new_index(folder: Path) -> None:
    async with EmbeddedDeployment(folder) as deployment:
        adapter = ConvexVector(deployment)
        await adapter.create_index("i", DIMENSION)
        await adapter.upsert("i", [vector_of(7)], ids=[SHARED])


class Told:
    """What processes said they will do and have done."""

    def __init__(self) -> None:
        self.did: State = {}
        self.pending: dict[Connection, State] = {}
        self.endings: list[Any] = []
        self.writes = 0

    def take(self, said: Connection) -> bool:
        """Take one message; False when its process is gone."""
        try:
            what, told = said.recv()
        except (EOFError, OSError):
            return False
        if what == "will":
            self.pending[said] = told
        elif what == "did":
            self.did.update(told)
            self.pending.pop(said)
            self.writes += 1
        else:
            self.endings.append((what, told))
        return True


def ready(some: list[Connection], seconds: float) -> list[Connection]:
    """Return those of which something can be read; one, at least."""
    found_ready = cast(list[Connection], wait(some, timeout=seconds))
    assert found_ready, "nothing was heard of any process"
    return found_ready


def kept(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the value of each vector; the vector itself has to be that of the value."""
    found_there = {}
    rows = connection.execute(
        "SELECT id, json_extract(metadata, '$.value'), embedding FROM mastra_vectors "
        "WHERE indexName = 'i' AND id <> ?",
        (SHARED,),
    )
    for id, value, blob in rows:
        assert np.frombuffer(blob[:-1], np.float64).tolist() == vector_of(value)
        assert id not in found_there
        found_there[id] = value
    return found_there


def state_of(view: View) -> dict[int, tuple[bytes, float, float]]:
    live = np.ones(view.size, dtype=bool) if view.live is None else view.live
    at = np.flatnonzero(live)
    codes = view.gathered(at)
    return {
        int(view.sequence[place]): (codes[row].tobytes(), view.scale[place], view.error[place])
        for row, place in enumerate(at)
    }


def index_is_right(connection: sqlite3.Connection) -> bool:
    """Check what is in the file, brought up to now, against the rows; say if there was a file.

    There is one afterwards.
    """
    connection.execute("BEGIN")
    source = following._Source(connection, SCOPE)
    moment = source.moment()
    file = saving.saved(connection, SCOPE, DIMENSION)
    _, view = following._loaded(moment, source, DIMENSION, ())
    anew = source.read_all(DIMENSION, ()).view(moment, (), 0)
    assert state_of(view) == state_of(anew)
    for value in range(3):
        wanted = scored_one_by_one(connection, vector_of(value), 256)
        assert found(connection, VectorIndexes(), vector_of(value), 256) == wanted
    connection.execute("ROLLBACK")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    indexes = VectorIndexes()
    found(connection, indexes, vector_of(0))
    indexes.finish()
    return file is not None


async def kill(folder: Path, processes: ForkServerContext, writers: int, rounds: int) -> None:
    await new_index(folder)
    told, chance, files = Told(), random.Random(1), 0
    for round in range(rounds):
        running = []
        for number in range(writers):
            said, says = processes.Pipe(duplex=False)
            process = processes.Process(
                target=write_until_killed, args=(folder, number, says, round), daemon=True
            )
            process.start()
            says.close()
            running.append((process, said))
        said_by = [said for _, said in running]
        enough = told.writes + writers * chance.randint(4, 12)
        while told.writes < enough:
            for said in ready(said_by, 60):
                assert told.take(said), "a process died by itself"
        for process, _ in running:
            process.kill()
        for process, said in running:
            while told.take(said):
                pass
            process.join()
            said.close()
        with closing(
            sqlite3.connect(folder / DATABASE_NAME, isolation_level=None, timeout=30)
        ) as connection:
            there = kept(connection)
            # What was being written when the kill came is there whole, or not at all.
            for changes in told.pending.values():
                happened = {there.get(id) == value for id, value in changes.items()}
                assert len(happened) == 1
                if happened == {True}:
                    told.did.update(changes)
            told.pending.clear()
            assert there == {id: value for id, value in told.did.items() if value is not None}
            files += index_is_right(connection)
    assert told.writes >= 4 * writers * rounds
    assert files > 0


async def work_together(
    folder: Path, processes: ForkServerContext, workers: int, seconds: float
) -> None:
    await new_index(folder)
    told, running = Told(), []
    for number in range(workers):
        said, says = processes.Pipe(duplex=False)
        process = processes.Process(target=work, args=(folder, number, says, seconds), daemon=True)
        process.start()
        says.close()
        running.append((process, said))
    open_ones = {said for _, said in running}
    while open_ones:
        for said in ready(list(open_ones), seconds + 120):
            if not told.take(said):
                open_ones.discard(said)
    for process, _ in running:
        process.join()
    assert [what for what, _ in told.endings] == ["ended"] * workers, told.endings
    assert told.pending == {}
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
        wanted = {id: value for id, value in told.did.items() if value is not None}
        assert kept(connection) == wanted
        assert index_is_right(connection)
    async with EmbeddedDeployment(folder) as deployment:
        matches = (await ConvexVector(deployment).query("i", vector_of(7), top_k=1)).matches
        assert matches[0].id == SHARED
        # Each merged its own member into the same metadata, and none wrote over another's.
        assert matches[0].metadata is not None
        counts = list(matches[0].metadata.values())
        assert sorted(counts, key=str) == sorted((done for _, done in told.endings), key=str)
        assert len(counts) == workers
        assert all(isinstance(done, int) and done >= 1 for done in counts)


async def test_killed_writers_lose_nothing_that_was_acknowledged(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    await kill(tmp_path, processes, writers=3, rounds=2)


@pytest.mark.soak
async def test_killed_writers_lose_nothing_a_hundred_times(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    await kill(tmp_path, processes, writers=8, rounds=100)


async def test_processes_that_work_together_agree(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    await work_together(tmp_path, processes, workers=3, seconds=1.5)


@pytest.mark.soak
async def test_processes_that_work_together_for_a_minute_agree(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    await work_together(tmp_path, processes, workers=8, seconds=60)
