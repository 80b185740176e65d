"""`convex-memory backup`: a copy made while the memory is used, and put back."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from convex_memory.embedded import DATABASE_NAME, backup
from convex_memory.embedded.migrations import SCHEMA_VERSION
from convex_memory.errors import StorageFailed
from server.cli import main
from tests.application.connections import (
    FOLDER,
    ROOT,
    connected,
    over_stdio,
    settings_in,
    stored_in,
)

pytestmark = [pytest.mark.anyio, pytest.mark.synced]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Command:
    """The command in this process, over the folder of one test."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def told(self, *arguments: str) -> str:
        """Run it; it must succeed. Return what it says."""
        self._capsys.readouterr()
        assert main(["backup", *arguments]) == 0
        captured = self._capsys.readouterr()
        assert captured.err == ""
        return captured.out

    def refused(self, *arguments: str) -> str:
        """Run it; it must fail. Return the one sentence it says."""
        self._capsys.readouterr()
        assert main(["backup", *arguments]) == 2
        captured = self._capsys.readouterr()
        assert captured.out == ""
        [line] = captured.err.splitlines()
        return line.removeprefix("convex-memory: ")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    for name in list(os.environ):
        if name.startswith(("CONVEX_", "MEMORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / FOLDER))
    monkeypatch.setenv("MEMORY_EMBEDDER", "off")
    return Command(capsys)


def database_in(tmp_path: Path) -> Path:
    return tmp_path / FOLDER / DATABASE_NAME


async def save(tmp_path: Path, *contents: str, thread_id: str = "t") -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await caller.save(thread_id, *contents)


async def recalled(tmp_path: Path, thread_id: str = "t") -> list[str]:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        answer = await caller.call("recall_thread", thread_id=thread_id, order="oldest", limit=100)
    return [message["content"] for message in answer["messages"]]


def rows_of(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM mastra_messages").fetchone()[0])


def damage(database: Path) -> None:
    """Write noise over everything after the first page, as a failing disk may."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(database.stat().st_size - 4096))


# --- Made


async def test_a_backup_is_of_one_moment_while_others_write(
    command: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    acknowledged: list[int] = []
    environment = {"MEMORY_DATA_DIR": str(tmp_path / FOLDER)}
    async with over_stdio(environment) as caller, anyio.create_task_group() as tasks:

        async def write() -> None:
            for number in range(1000):
                contents = [f"{number} first", f"{number} second"]
                await caller.save(f"t{number}", *contents)
                acknowledged.append(number)

        tasks.start_soon(write)
        while len(acknowledged) < 20:
            await anyio.sleep(0.01)
        before = len(acknowledged)
        await anyio.to_thread.run_sync(command.told, str(copy))
        after = len(acknowledged)
        while len(acknowledged) == after:
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    # Whole calls, all that were answered before, and none that was not yet begun.
    assert 2 * before <= rows_of(copy) <= 2 * (after + 1)
    assert rows_of(copy) % 2 == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name != FOLDER] == [copy.name]
    # A folder with the file in it is a memory.
    other = tmp_path / "other" / FOLDER / DATABASE_NAME
    other.parent.mkdir(parents=True)
    copy.rename(other)
    for number in range(0, before, 7):
        expected = [f"{number} first", f"{number} second"]
        assert await recalled(tmp_path / "other", f"t{number}") == expected


async def test_a_file_that_is_there_is_kept_unless_it_is_forced(
    command: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    await save(tmp_path, "one")
    assert "is there already" in command.refused(str(copy))
    assert copy.read_text() == "mine"
    said = command.told(str(copy), "--force")
    assert f"convex-memory backup --restore {copy}" in said
    assert rows_of(copy) == 1


async def test_what_cannot_be_backed_up_is_told_with_what_to_do(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.db"
    assert "no memory in" in command.refused(str(copy))
    assert not (tmp_path / FOLDER).exists()
    await save(tmp_path, "one")
    assert "is the memory itself" in command.refused(str(database_in(tmp_path)), "--force")
    assert "is a folder" in command.refused(str(tmp_path))
    assert "cannot be written to" in command.refused(str(tmp_path / "nowhere" / "copy.db"))
    monkeypatch.setenv("CONVEX_URL", "https://happy-animal-123.convex.cloud")
    monkeypatch.setenv("CONVEX_ADMIN_KEY", "prod:x|y")
    for arguments in ([str(copy)], ["--restore", str(copy)]):
        assert "convex-memory export FILE" in command.refused(*arguments)
    assert [each.name for each in tmp_path.iterdir()] == [FOLDER]


async def test_a_damaged_memory_never_takes_the_place_of_a_good_backup(
    command: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await save(tmp_path, "one", "two")
    command.told(str(copy))
    damage(database_in(tmp_path))
    refusal = command.refused(str(copy), "--force")
    assert "damaged" in refusal
    assert rows_of(copy) == 2
    assert [each.name for each in tmp_path.iterdir() if each.name != FOLDER] == [copy.name]


async def test_a_backup_for_which_there_is_no_room_leaves_nothing(tmp_path: Path) -> None:
    await save(tmp_path, *(f"{number} {'x' * 10_000}" for number in range(50)))
    copy = tmp_path / "copy.db"
    ran = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 200; exec {sys.executable} -m convex_memory backup {copy}"],
        env={**os.environ, "MEMORY_DATA_DIR": str(tmp_path / FOLDER)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "could not be written" in ran.stderr
    assert "there is no backup" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [each.name for each in tmp_path.iterdir()] == [FOLDER]


# --- Put back


async def test_a_backup_put_back_is_the_memory_as_it_was(command: Command, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    await save(tmp_path, "one", "two")
    command.told(str(copy))
    before = stored_in(tmp_path)
    await save(tmp_path, "three")
    said = command.told("--restore", str(copy))
    assert await recalled(tmp_path) == ["one", "two"]
    assert stored_in(tmp_path) == before
    [aside] = (tmp_path / FOLDER).glob("*before-restore*")
    assert str(aside) in said
    assert rows_of(aside) == 3
    for file in (aside, database_in(tmp_path)):
        assert file.stat().st_mode & 0o777 == 0o600
    # The memory goes on from there, and what was kept is itself a backup.
    await save(tmp_path, "four")
    assert await recalled(tmp_path) == ["one", "two", "four"]
    command.told("--restore", str(aside))
    assert await recalled(tmp_path) == ["one", "two", "three"]


async def test_a_memory_that_is_not_there_is_made_of_its_backup(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.db"
    await save(tmp_path, "one")
    command.told(str(copy))
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / "new" / FOLDER))
    assert "kept" not in command.told("--restore", str(copy))
    assert await recalled(tmp_path / "new") == ["one"]
    assert (tmp_path / "new" / FOLDER).stat().st_mode & 0o777 == 0o700


async def test_a_damaged_memory_is_moved_aside(command: Command, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    await save(tmp_path, "one")
    command.told(str(copy))
    noise = b"a letter to grandmother\n" * 200
    database_in(tmp_path).write_bytes(noise)
    said = command.told("--restore", str(copy))
    assert await recalled(tmp_path) == ["one"]
    aside = [each for each in (tmp_path / FOLDER).glob("*damaged*") if each.suffix != ".db-shm"]
    assert noise in [each.read_bytes() for each in aside]
    assert "damaged file is kept" in said


async def test_nothing_is_put_back_while_somebody_has_the_memory_open(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_WAIT_MS", 50)
    copy = tmp_path / "copy.db"
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await caller.save("t", "one")
        await anyio.to_thread.run_sync(command.told, str(copy))
        await caller.save("t", "two")
        refusal = await anyio.to_thread.run_sync(command.refused, "--restore", str(copy))
        assert "Close the assistants and servers" in refusal
        await caller.save("t", "three")
    assert await recalled(tmp_path) == ["one", "two", "three"]
    assert not list((tmp_path / FOLDER).glob("*restore*"))


def _newer(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def _another(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE letters (text)")


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "not there": (lambda copy: copy.unlink(), "is not there"),
    "no database": (lambda copy: copy.write_text("a letter" * 100), "no database"),
    "another program's": (_another, "not one of convex-memory"),
    "of a newer version": (_newer, "Update convex-memory"),
    "damaged": (damage, "damaged"),
    "cut short": (lambda copy: os.truncate(copy, copy.stat().st_size // 2), "damaged"),
}


@pytest.mark.parametrize("kind", SPOILT)
async def test_what_is_no_good_backup_changes_nothing(
    command: Command, tmp_path: Path, kind: str
) -> None:
    spoil, told = SPOILT[kind]
    copy = tmp_path / "copy.db"
    await save(tmp_path, "one")
    command.told(str(copy))
    await save(tmp_path, "two")
    spoil(copy)
    assert told in command.refused("--restore", str(copy))
    assert await recalled(tmp_path) == ["one", "two"]
    assert not list((tmp_path / FOLDER).glob("*restore*"))


async def test_putting_back_is_whole_or_not_at_all(command: Command, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    await save(tmp_path, *(f"{number} {'x' * 20_000}" for number in range(100)))
    command.told(str(copy))
    await save(tmp_path, "one more")
    before = stored_in(tmp_path)
    steps = 0

    def interrupt(doing: str, done: int, total: int | None) -> None:
        nonlocal steps
        if doing == "restoring":
            steps += 1
            raise StorageFailed("the light went out")

    with pytest.raises(StorageFailed, match="light"):
        backup.put_back(copy, database_in(tmp_path), on_progress=interrupt)
    assert steps == 1
    assert stored_in(tmp_path) == before
    assert (await recalled(tmp_path))[0].startswith("0 xxx")
