"""The engine: one file, one writer at a time, everything that returned on the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from convex_memory.embedded import engine as engine_module
from convex_memory.embedded import migrations
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.engine import Engine
from convex_memory.embedded.tables import CACHE, MESSAGES, THREADS
from convex_memory.errors import (
    ConfigurationError,
    DeploymentError,
    InvalidArgument,
    Overloaded,
    StorageFailed,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "memory.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    engine = Engine(path)
    yield engine
    await engine.aclose()


def thread(name: str) -> dict[str, object]:
    return {
        "id": name,
        "resourceId": "r",
        "title": "",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
    }


def adding(name: str) -> Callable[[Documents], None]:
    def add(documents: Documents) -> None:
        documents.insert(THREADS, thread(name))

    return add


def names(documents: Documents) -> list[str]:
    return [row.fields["id"] for row in documents.scan(THREADS, {})]


def held(release: threading.Event, entered: threading.Event) -> Callable[[Documents], None]:
    """Return work that keeps the writer busy until it is released."""

    def hold(documents: Documents) -> None:
        entered.set()
        assert release.wait(10)

    return hold


# --- Writes


async def test_a_refused_write_takes_no_other_of_its_group_with_it(engine: Engine) -> None:
    def refuse(documents: Documents) -> None:
        documents.insert(THREADS, thread("refused"))
        raise InvalidArgument("no")

    results = await asyncio.gather(
        *(engine.write(adding(f"t{n}")) for n in range(20)),
        engine.write(refuse),
        *(engine.write(adding(f"u{n}")) for n in range(20)),
        return_exceptions=True,
    )
    assert [type(result) for result in results if result is not None] == [InvalidArgument]
    expected = [f"t{n}" for n in range(20)] + [f"u{n}" for n in range(20)]
    assert await engine.read(names) == expected


async def test_writes_that_wait_share_one_commit(engine: Engine) -> None:
    release, entered = threading.Event(), threading.Event()
    first = asyncio.create_task(engine.write(held(release, entered)))
    await asyncio.to_thread(entered.wait)
    waiting = [asyncio.create_task(engine.write(adding(f"t{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    commits: list[str] = []

    def count(documents: Documents) -> None:
        documents.connection.set_trace_callback(
            lambda statement: commits.append(statement) if statement == "COMMIT" else None
        )

    last = asyncio.create_task(engine.write(count))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(first, *waiting, last)
    # All of them ran in the transaction of the first: its commit is the only one seen.
    assert commits == ["COMMIT"]
    assert len(await engine.read(names)) == 50


async def test_a_write_that_was_cancelled_while_it_waited_never_runs(engine: Engine) -> None:
    release, entered = threading.Event(), threading.Event()
    first = asyncio.create_task(engine.write(held(release, entered)))
    await asyncio.to_thread(entered.wait)
    waiting = asyncio.create_task(engine.write(adding("cancelled")))
    after = asyncio.create_task(engine.write(adding("after")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    await asyncio.gather(first, after)
    assert await engine.read(names) == ["after"]


async def test_a_write_that_has_begun_is_kept_whole_when_its_caller_leaves(engine: Engine) -> None:
    release, entered = threading.Event(), threading.Event()

    def slowly(documents: Documents) -> None:
        documents.insert(THREADS, thread("one"))
        held(release, entered)(documents)
        documents.insert(THREADS, thread("two"))

    begun = asyncio.create_task(engine.write(slowly))
    await asyncio.to_thread(entered.wait)
    begun.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await begun
    await engine.write(lambda documents: None)
    assert await engine.read(names) == ["one", "two"]


async def test_nothing_is_open_before_the_first_call(path: Path) -> None:
    engine = Engine(path)
    assert not path.parent.exists()
    await engine.aclose()
    assert not path.parent.exists()


async def test_closing_finishes_what_is_queued_and_refuses_the_rest(path: Path) -> None:
    engine = Engine(path)
    writes = [asyncio.create_task(engine.write(adding(f"t{n}"))) for n in range(30)]
    await asyncio.sleep(0)
    await engine.aclose()
    await asyncio.gather(*writes)
    await engine.aclose()
    with pytest.raises(DeploymentError, match="closed"):
        await engine.write(adding("late"))
    again = Engine(path)
    assert len(await again.read(names)) == 30
    await again.aclose()


# --- Reads


async def test_a_read_sees_one_snapshot(engine: Engine) -> None:
    await engine.write(adding("before"))
    release, entered = threading.Event(), threading.Event()

    def twice(documents: Documents) -> tuple[list[str], list[str]]:
        first = names(documents)
        entered.set()
        assert release.wait(10)
        return first, names(documents)

    reading = asyncio.create_task(engine.read(twice))
    await asyncio.to_thread(entered.wait)
    await engine.write(adding("meanwhile"))
    release.set()
    assert await reading == (["before"], ["before"])
    assert await engine.read(names) == ["before", "meanwhile"]


async def test_a_read_that_has_to_write_is_run_again_as_a_write(engine: Engine) -> None:
    runs: list[bool] = []

    def work(documents: Documents) -> None:
        runs.append(documents.writable)
        documents.insert(THREADS, thread("t"))

    await engine.read(work)
    assert runs == [False, True]
    assert await engine.read(names) == ["t"]


async def test_what_fails_in_a_read_reaches_the_caller_as_it_is(engine: Engine) -> None:
    def fail(documents: Documents) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await engine.read(fail)
    assert await engine.read(names) == []


# --- Two engines, one file


async def test_two_engines_lose_no_update(path: Path) -> None:
    def count(documents: Documents) -> None:
        row = documents.first(CACHE, key="n")
        fields = {"key": "n", "keyPrefix": "", "kind": "counter", "expiresAt": None}
        counter = 1 if row is None else row.fields["counter"] + 1
        documents.upsert(CACHE, {**fields, "counter": counter}, row)

    engines = [Engine(path), Engine(path)]
    await asyncio.gather(*(engines[n % 2].write(count) for n in range(200)))
    total = await engines[0].read(lambda documents: documents.first(CACHE, key="n"))
    assert total is not None
    assert total.fields["counter"] == 200
    for engine in engines:
        await engine.aclose()


async def test_a_file_that_stays_locked_is_an_overload(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_MS", 50)
    engine = Engine(path)
    await engine.write(adding("before"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Overloaded, match="locked"):
        await engine.write(adding("never"))
    other.execute("ROLLBACK")
    other.close()
    await engine.write(adding("after"))
    assert await engine.read(names) == ["before", "after"]
    await engine.aclose()


# --- Faults


async def test_a_full_disk_changes_nothing_and_says_so(engine: Engine) -> None:
    def limit(documents: Documents) -> None:
        pages = documents.connection.execute("PRAGMA page_count").fetchone()[0]
        documents.connection.execute(f"PRAGMA max_page_count = {pages + 8}")

    def fill(documents: Documents) -> None:
        documents.insert(THREADS, thread("small"))
        documents.insert(THREADS, {**thread("large"), "title": "x" * 500_000})

    def lift(documents: Documents) -> None:
        documents.connection.execute("PRAGMA max_page_count = 1000000")

    await engine.write(adding("before"))
    await engine.write(limit)
    with pytest.raises(StorageFailed, match=r"full.*Free some space"):
        await engine.write(fill)
    assert await engine.read(names) == ["before"]
    await engine.write(lift)
    await engine.write(fill)
    assert await engine.read(names) == ["before", "small", "large"]


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = Engine(tmp_path / "file" / "memory.db")
    with pytest.raises(ConfigurationError, match="MEMORY_DATA_DIR"):
        await engine.read(names)
    await engine.aclose()


async def test_an_engine_opens_once_the_fault_is_mended(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = Engine(tmp_path / "file" / "memory.db")
    with pytest.raises(ConfigurationError):
        await engine.write(adding("t"))
    (tmp_path / "file").unlink()
    await engine.write(adding("t"))
    assert await engine.read(names) == ["t"]
    await engine.aclose()


async def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my diary, not a database " * 100)
    engine = Engine(path)
    with pytest.raises(ConfigurationError, match="cannot be opened as a memory"):
        await engine.read(names)
    await engine.aclose()
    assert path.read_text().startswith("my diary")


async def test_a_damaged_file_ends_in_a_sentence(path: Path) -> None:
    engine = Engine(path)
    for n in range(300):
        await engine.write(adding(f"thread-{n}"))
    await engine.aclose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'mastra_threads'"
        ).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    engine = Engine(path)
    with pytest.raises(StorageFailed, match=r"damaged.*restore a backup"):
        await engine.read(names)
    await engine.aclose()


# --- Versions


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.execute("CREATE TABLE future (a)")
    connection.close()
    before = path.read_bytes()
    engine = Engine(path)
    with pytest.raises(ConfigurationError, match=r"newer version.*Update convex-memory"):
        await engine.read(names)
    await engine.aclose()
    assert path.read_bytes() == before


async def test_an_older_file_is_brought_forward_after_a_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(path)
    await engine.write(adding("kept"))
    await engine.aclose()

    def next_version(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE later (a)")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, next_version))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", migrations.SCHEMA_VERSION + 1)
    newer = Engine(path)
    assert await newer.read(names) == ["kept"]
    await newer.aclose()
    copies = [each for each in path.parent.iterdir() if "before-v" in each.name]
    assert [copy.name for copy in copies] == [f"memory.db.before-v{migrations.SCHEMA_VERSION}"]
    with sqlite3.connect(copies[0]) as connection:
        assert connection.execute("SELECT id FROM mastra_threads").fetchall() == [("kept",)]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'later'")
        assert tables.fetchone() is None
    connection.close()


async def test_the_folder_and_the_file_are_the_owners_alone(engine: Engine, path: Path) -> None:
    await engine.write(adding("t"))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


# --- Ids


async def test_an_id_names_its_row_and_is_never_used_twice(engine: Engine) -> None:
    def replace(documents: Documents) -> tuple[str, str]:
        first = documents.insert(THREADS, thread("a"))
        documents.delete(THREADS, first)
        second = documents.insert(THREADS, thread("a"))
        return documents.id_of(THREADS, first.sequence), documents.id_of(THREADS, second.sequence)

    first, second = await engine.write(replace)
    assert first != second
    assert len(second) == 31

    def back(documents: Documents) -> list[int | None]:
        return [
            documents.sequence_of(THREADS, second),
            documents.sequence_of(MESSAGES, second),
            documents.sequence_of(THREADS, second[:-1] + ("0" if second[-1] != "0" else "1")),
            documents.sequence_of(THREADS, ""),
            documents.sequence_of(THREADS, "ünïcode"),
        ]

    assert await engine.read(back) == [2, None, None, None, None]


async def test_ids_of_another_file_mean_nothing_here(tmp_path: Path) -> None:
    engines = [Engine(tmp_path / name / "memory.db") for name in ("a", "b")]
    for engine in engines:
        await engine.write(adding("t"))
    foreign = await engines[0].read(lambda documents: documents.id_of(THREADS, 1))
    assert await engines[1].read(lambda documents: documents.sequence_of(THREADS, foreign)) is None
    for engine in engines:
        await engine.aclose()


async def test_creation_times_rise_even_when_the_clock_goes_back(path: Path) -> None:
    times = iter([1000.0, 900.0, 800.0])
    engine = Engine(path, now_ms=lambda: next(times))
    for name in ("a", "b", "c"):
        await engine.write(adding(name))
    created = await engine.read(
        lambda documents: [row.created for row in documents.scan(THREADS, {})]
    )
    assert created == sorted(created)
    assert len(set(created)) == 3
    await engine.aclose()


# --- Idle work


async def test_work_for_idle_time_is_done_and_stops_when_there_is_none(path: Path) -> None:
    left = 3
    done = threading.Event()

    def some(documents: Documents) -> bool:
        nonlocal left
        if left == 0:
            done.set()
            return False
        left -= 1
        documents.insert(THREADS, thread(f"idle-{left}"))
        return True

    engine = Engine(path, when_idle=some)
    await engine.write(adding("asked"))
    with anyio.fail_after(10):
        await asyncio.to_thread(done.wait)
    await engine.write(lambda documents: None)
    assert await engine.read(names) == ["asked", "idle-2", "idle-1", "idle-0"]
    await engine.aclose()
