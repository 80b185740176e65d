"""Files that are full, locked, damaged, or of another version."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest

from convex_memory.embedded import migrations
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import Engine
from convex_memory.embedded.tables import THREADS
from convex_memory.errors import (
    ConfigurationError,
    StorageFailed,
)
from tests.library.engine_work import (
    Work,
    held,
    indexes,
    put,
    queued,
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


# --- Disks and files that fail


def limit_pages(more: int) -> Work:
    """Work after which the file can grow by so many pages only."""

    def work(documents: Documents) -> None:
        pages = documents.connection.execute("PRAGMA page_count").fetchone()[0]
        documents.connection.execute(f"PRAGMA max_page_count = {pages + more}")

    return work


async def test_a_full_disk_refuses_writes_and_keeps_what_there_is(engine: Engine) -> None:
    await engine.write(put(1))
    await engine.write(limit_pages(4))
    gate, holding = await held(engine)
    tasks = await queued(engine, put(2), put(3, "x" * 500_000), put(4))
    gate.open()
    results = await settled([holding, *tasks])
    # What shared the transaction is gone with it and its callers know; what came after is kept.
    failed = [result for result in results[:3] if type(result) is StorageFailed]
    assert len(failed) == 3
    assert "full" in failed[-1].message
    assert "nothing was changed" in failed[-1].message
    assert await engine.read(indexes) == [1, 4]
    await engine.write(limit_pages(100_000))
    await engine.write(put(5, "x" * 500_000))
    assert await engine.read(indexes) == [1, 4, 5]


async def test_a_file_that_may_only_be_read_says_so(engine: Engine) -> None:
    await engine.write(put(1))
    await engine.write(lambda documents: documents.connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(StorageFailed, match="read-only") as caught:
        await engine.write(put(2))
    assert "MEMORY_DATA_DIR" in caught.value.message
    assert await engine.read(indexes) == [1]


@pytest.mark.parametrize("kind", ["a file for a folder", "a folder for the file"])
async def test_a_path_that_cannot_be_used_is_told_with_what_to_do(path: Path, kind: str) -> None:
    if kind == "a file for a folder":
        path.parent.write_text("")
    else:
        path.mkdir(parents=True)
    async with aclosing(Engine(path)) as engine:
        for _ in range(2):
            with pytest.raises(ConfigurationError) as caught:
                await engine.write(put(1))
            assert str(path.parent) in caught.value.message
            assert "MEMORY_DATA_DIR" in caught.value.message
        if path.is_dir():
            path.rmdir()
        else:
            path.parent.unlink()
        await engine.write(put(1))
        assert await engine.read(indexes) == [1]


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"a letter to grandmother\n" * 200)
    async with aclosing(Engine(path)) as engine:
        with pytest.raises(ConfigurationError) as caught:
            await engine.read(indexes)
    assert "MEMORY_DATA_DIR" in caught.value.message
    assert path.read_bytes() == b"a letter to grandmother\n" * 200


async def test_a_damaged_file_is_told_with_what_to_do(path: Path) -> None:
    async with aclosing(Engine(path)) as engine:
        for number in range(20):
            await engine.write(put(number, "x" * 1000))
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        [[root]] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'mastra_cache_list_items'"
        ).fetchall()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    async with aclosing(Engine(path)) as engine:
        for attempt in (engine.read(indexes), engine.write(indexes), engine.write(put(99))):
            with pytest.raises(StorageFailed, match="damaged") as caught:
                await attempt
            assert "restore a backup" in caught.value.message
        # What is not damaged can still be read.
        assert await engine.read(lambda documents: documents.count(THREADS, {})) == 0


async def test_content_never_stands_in_a_failure(engine: Engine) -> None:
    def work(documents: Documents) -> None:
        documents.connection.execute("INSERT INTO nowhere VALUES ('secret content')")

    with pytest.raises(StorageFailed) as caught:
        await engine.write(work)
    assert "secret content" not in caught.value.message


# --- Versions


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    async with aclosing(Engine(path)) as engine:
        await engine.write(put(1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    async with aclosing(Engine(path)) as engine:
        with pytest.raises(ConfigurationError) as caught:
            await engine.read(indexes)
    for part in ("newer version", "999", str(migrations.SCHEMA_VERSION), "Update convex-memory"):
        assert part in caught.value.message
    assert path.read_bytes() == before


def _next_version(
    monkeypatch: pytest.MonkeyPatch, step: Callable[[sqlite3.Connection], None]
) -> int:
    version = migrations.SCHEMA_VERSION + 1
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, step))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", version)
    return version


def _version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def test_an_older_file_is_copied_aside_and_brought_forward_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with aclosing(Engine(path)) as engine:
        await engine.write(put(1))
    old = _version_of(path)
    steps: list[int] = []

    def step(connection: sqlite3.Connection) -> None:
        steps.append(1)
        connection.execute("CREATE TABLE added (x)")

    version = _next_version(monkeypatch, step)
    engines = [Engine(path) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for number, engine in enumerate(engines, 2):
            tasks.start_soon(engine.write, put(number))
    for engine in engines:
        await engine.aclose()
    assert steps == [1]
    assert _version_of(path) == version
    backup = path.with_name(f"{path.name}.before-v{version}")
    assert _version_of(backup) == old
    with closing(sqlite3.connect(backup)) as connection:
        rows = connection.execute('SELECT "index" FROM mastra_cache_list_items').fetchall()
    assert rows == [(1,)]
    assert sorted(each.name for each in path.parent.glob("*before*")) == [backup.name]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with aclosing(Engine(path)) as engine:
        await engine.write(put(1))
    old = _version_of(path)

    def step(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE added (x)")
        connection.execute("DROP TABLE no_such_table")

    with monkeypatch.context() as patch:
        _next_version(patch, step)
        async with aclosing(Engine(path)) as engine:
            with pytest.raises(ConfigurationError):
                await engine.read(indexes)
    assert _version_of(path) == old
    async with aclosing(Engine(path)) as engine:
        assert await engine.read(indexes) == [1]
