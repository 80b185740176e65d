"""The vector index in its file: a cache that is used when it is right, and made anew when not."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.vector_index import following, saving, sidecar
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.vector import ConvexVector
from tests.library.vector_rows import (
    SCOPE,
    Found,
    delete,
    found,
    insert,
    new_database,
    patch,
    scored_one_by_one,
)

ROOT = Path(__file__).parents[2]
DIMENSION = 24
QUERY = [1.0] * DIMENSION
FILTER = {"thread_id": "t1"}


@pytest.fixture(autouse=True)
def _small_indexes_have_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "ROWS_LEAST", 50)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(new_database(path)) as connection:
        yield connection


def fill(connection: sqlite3.Connection, count: int, seed: int = 1) -> list[int]:
    random = np.random.default_rng(seed)
    connection.execute("BEGIN IMMEDIATE")
    sequences = []
    for at in range(count):
        vector = (random.standard_normal(DIMENSION) * (at % 40 != 0)).tolist()
        metadata = {"thread_id": f"t{at % 3}", "n": at % 5} if at % 4 else None
        sequences.append(insert(connection, vector, metadata))
    connection.execute("COMMIT")
    return sequences


def is_right(connection: sqlite3.Connection, indexes: VectorIndexes) -> None:
    for filter in (None, FILTER, {"n": 2}):
        wanted = scored_one_by_one(connection, QUERY, 30, filter=filter)
        assert found(connection, indexes, QUERY, 30, filter=filter) == wanted
        assert len(wanted) >= 10


def files(path: Path) -> list[Path]:
    there = (path.parent / "vectors").iterdir()
    return sorted(each for each in there if each.suffix != ".lock")


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the rows were read")

    monkeypatch.setattr(following._Source, "read_all", refuse)


def saved(connection: sqlite3.Connection) -> VectorIndexes:
    indexes = VectorIndexes()
    is_right(connection, indexes)
    indexes.finish()
    return indexes


def test_the_next_process_maps_the_file_and_follows_from_there(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = fill(connection, 400)
    writer = saved(connection)
    assert [each.suffix for each in files(path)] == [".index"]
    no_reading(monkeypatch)
    is_right(connection, writer)
    is_right(connection, VectorIndexes())
    delete(connection, sequences[7])
    patch(connection, sequences[9], embedding=QUERY, metadata={"thread_id": "t1", "n": 2})
    insert(connection, [-each for each in QUERY], {"thread_id": "t1", "n": 2})
    for indexes in (writer, VectorIndexes()):
        is_right(connection, indexes)
        assert found(connection, indexes, QUERY, 1, filter=FILTER) == [(sequences[9], 1.0)]


def test_a_file_is_written_anew_when_much_has_changed(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, 400)
    indexes = saved(connection)
    first = files(path)
    fill(connection, 20, seed=2)
    is_right(connection, indexes)
    indexes.finish()
    assert files(path) == first
    fill(connection, 200, seed=3)
    is_right(connection, indexes)
    indexes.finish()
    second = files(path)
    assert len(second) == 1
    assert second != first
    no_reading(monkeypatch)
    is_right(connection, VectorIndexes())


def test_a_small_index_has_no_file(connection: sqlite3.Connection, path: Path) -> None:
    for at in range(49):
        insert(connection, [1.0, at])
    indexes = VectorIndexes()
    wanted = scored_one_by_one(connection, [1.0, 0.0])
    assert found(connection, indexes, [1.0, 0.0]) == wanted
    indexes.finish()
    assert not (path.parent / "vectors").exists()


def _cut(part: float) -> Callable[[bytes], bytes]:
    return lambda whole: whole[: int(len(whole) * part)]


def _flipped(part: float) -> Callable[[bytes], bytes]:
    def damage(whole: bytes) -> bytes:
        at = int((len(whole) - 1) * part)
        return whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        *(_cut(part) for part in (0, 0.0001, 0.01, 0.3, 0.9, 0.9999)),
        *(_flipped(part) for part in (0, 0.0005, 0.001, 0.02, 0.5, 0.7, 0.9, 1)),
        lambda whole: b"\0" * len(whole),
        lambda whole: b"SQLite format 3\0" + whole[16:],
    ],
)
def test_a_damaged_file_is_made_anew(
    connection: sqlite3.Connection,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    fill(connection, 400)
    saved(connection)
    (damaged,) = files(path)
    damaged.write_bytes(damage(damaged.read_bytes()))
    indexes = saved(connection)
    assert files(path) != [damaged]
    is_right(connection, indexes)
    no_reading(monkeypatch)
    is_right(connection, VectorIndexes())


def test_every_byte_of_a_file_counts(connection: sqlite3.Connection, path: Path) -> None:
    fill(connection, 80)
    saved(connection)
    (file,) = files(path)
    whole = file.read_bytes()
    sidecar.read(file, file.stem, DIMENSION)
    head = int.from_bytes(whole[8:16], "little") + 20
    used = [*range(head), *range(len(whole) - 80 * DIMENSION, len(whole))]
    for at in used[:: max(1, len(used) // 300)]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(sidecar.Unusable):
            sidecar.read(file, file.stem, DIMENSION)


def test_a_file_that_is_lost_or_foreign_is_not_missed(
    connection: sqlite3.Connection, path: Path, tmp_path: Path
) -> None:
    fill(connection, 400)
    saved(connection)
    (file,) = files(path)
    other = tmp_path / "other" / "memory.db"
    other.parent.mkdir()
    with closing(new_database(other)) as elsewhere:
        fill(elsewhere, 400, seed=9)
        saved(elsewhere)
    (foreign,) = files(other)
    file.write_bytes(foreign.read_bytes())
    indexes = saved(connection)
    is_right(connection, indexes)
    for each in files(path):
        each.unlink()
    is_right(connection, saved(connection))
    assert len(files(path)) == 1


def test_a_backup_that_is_put_back_does_not_take_the_file_of_another_future(
    connection: sqlite3.Connection, path: Path, tmp_path: Path
) -> None:
    fill(connection, 400)
    saved(connection)
    backup = tmp_path / "memory.db.backup"
    with closing(sqlite3.connect(backup)) as copy:
        connection.backup(copy)
    fill(connection, 300, seed=2)
    saved(connection)
    with closing(sqlite3.connect(backup)) as copy:
        copy.backup(connection)
    # Another future, as long as the one the file shows.
    fill(connection, 300, seed=3)
    is_right(connection, VectorIndexes())


def test_indexes_that_are_written_at_once_leave_one_file(
    connection: sqlite3.Connection, path: Path
) -> None:
    fill(connection, 400)
    meet = threading.Barrier(4)

    def one() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as own:
            indexes = VectorIndexes()
            meet.wait()
            answers.append(found(own, indexes, QUERY, 30))
            indexes.finish()
            answers.append(found(own, indexes, QUERY, 30))

    answers: list[Found] = []
    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [scored_one_by_one(connection, QUERY, 30)] * 8
    assert [each.suffix for each in files(path)] == [".index"]
    row = connection.execute("SELECT token FROM vector_sidecars").fetchall()
    assert row == [(files(path)[0].stem,)]


def test_where_no_file_can_be_written_the_index_is_in_memory(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "vectors").write_text("in the way")
    fill(connection, 400)
    indexes = saved(connection)
    no_reading(monkeypatch)
    is_right(connection, indexes)
    insert(connection, QUERY)
    is_right(connection, indexes)
    assert (path.parent / "vectors").read_text() == "in the way"


def test_a_database_that_is_only_read_is_searched(path: Path) -> None:
    with closing(new_database(path)) as connection:
        fill(connection, 400)
        wanted = scored_one_by_one(connection, QUERY, 30)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA query_only = ON")
        assert found(connection, VectorIndexes(), QUERY, 30) == wanted


WRITER = """
import sqlite3, sys
import numpy as np
from pathlib import Path
from convex_memory.embedded.vector_index import saving
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from tests.library.vector_rows import documents_of, found, insert
from tests.library.test_vector_index_files import DIMENSION, QUERY

saving.ROWS_LEAST = 50
saving._UNSAVED_PART = 10_000
random = np.random.default_rng(int(sys.argv[2]))
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
indexes = VectorIndexes()
while True:
    connection.execute("BEGIN IMMEDIATE")
    sequences = [insert(connection, random.standard_normal(DIMENSION).tolist()) for _ in range(20)]
    connection.execute("UPDATE mastra_vectors SET metadata = '{}' WHERE _sequence % 50 = ?",
                       (int(random.integers(50)),))
    connection.execute("COMMIT")
    print(*sequences, flush=True)
    found(connection, indexes, QUERY)
"""


def test_processes_that_are_killed_lose_nothing_and_leave_nothing_wrong(
    connection: sqlite3.Connection, path: Path
) -> None:
    acknowledged: set[int] = set()
    indexes = VectorIndexes()
    for round in range(3):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), str(round * 2 + number)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            for _ in range(6 + round):
                acknowledged.update(map(int, process.stdout.readline().split()))
                connection.execute("BEGIN")
                answer = found(connection, indexes, QUERY, 30)
                assert answer == scored_one_by_one(connection, QUERY, 30)
                connection.execute("ROLLBACK")
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            rest, _ = process.communicate()
            # A line that the kill cut short may name half a number.
            whole = rest[: rest.rfind("\n") + 1]
            acknowledged.update(map(int, whole.split()))
        wanted = scored_one_by_one(connection, QUERY, 30)
        assert found(connection, indexes, QUERY, 30) == wanted
        assert found(connection, VectorIndexes(), QUERY, 30) == wanted
    there = {row[0] for row in connection.execute("SELECT _sequence FROM mastra_vectors")}
    assert acknowledged <= there
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(acknowledged) >= 20 * 2 * (6 + 7 + 8)


def test_what_was_left_by_a_process_that_died_is_swept_away(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, 400)
    folder = path.parent / "vectors"
    folder.mkdir()
    (folder / "0123.index").write_bytes(b"nobody's")
    (folder / "4567.writing").write_bytes(b"half")
    saved(connection)
    assert "0123.index" not in [each.name for each in files(path)]
    assert "4567.writing" in [each.name for each in files(path)]
    monkeypatch.setattr(saving, "_ABANDONED_SECONDS", -1)
    fill(connection, 200, seed=2)
    saved(connection)
    assert [each.suffix for each in files(path)] == [".index"]


def test_the_scope_of_a_file_is_one_index(connection: sqlite3.Connection, path: Path) -> None:
    fill(connection, 100)
    for at in range(100):
        insert(connection, [float(at % 7)] * (DIMENSION - 1) + [1.0], name="other")
    indexes = saved(connection)
    other = type(SCOPE)(SCOPE.table, SCOPE.key, "other", SCOPE.document)
    for each in (indexes, VectorIndexes()):
        wanted = scored_one_by_one(connection, QUERY, 30, scope=other)
        assert found(connection, each, QUERY, 30, scope=other) == wanted
        each.finish()
    assert len(files(path)) == 2


@pytest.mark.anyio
async def test_an_index_that_is_deleted_leaves_no_file(path: Path) -> None:
    async with EmbeddedDeployment(path.parent) as deployment:
        adapter = ConvexVector(deployment)
        for name in ("gone", "kept"):
            await adapter.create_index(name, 2)
            await adapter.upsert(name, [[1.0, at / 100] for at in range(60)])
        await adapter.query("gone", [1.0, 0.0])
    assert len(files(path)) == 1
    async with EmbeddedDeployment(path.parent) as deployment:
        adapter = ConvexVector(deployment)
        await adapter.delete_index("gone")
        await adapter.query("kept", [1.0, 0.0])
        await adapter.create_index("gone", 2)
        assert (await adapter.query("gone", [1.0, 0.0])).matches == []
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, token FROM vector_sidecars").fetchall()
    assert rows == [("kept", files(path)[0].stem)]
    assert len(files(path)) == 1
