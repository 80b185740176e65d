"""A folder that is full, read-only, locked, damaged or of a newer version: said, and no damage.

Each fault is met by an assistant and by commands; when its cause is gone, everything that was
acknowledged is there.
"""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from convex_memory.embedded import DATABASE_NAME, failures
from convex_memory.embedded.database_file import DatabaseFile
from server.cli import main
from tests.application.connections import (
    FOLDER,
    ROOT,
    Caller,
    Refusal,
    connected,
    over_stdio,
    settings_in,
)

pytestmark = [pytest.mark.anyio, pytest.mark.synced]

LONG = "x" * 100_000
BOUND_BY_MODES = (
    # Root may write everywhere, unless it gives that up.
    "import ctypes, os, sys; "
    "[ctypes.CDLL(None).prctl(24, capability) for capability in (1, 2)]; "
    "os.execv(sys.executable, [sys.executable, '-m', 'convex_memory', *sys.argv[1:]])"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CONVEX_", "MEMORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / FOLDER))
    monkeypatch.setenv("MEMORY_EMBEDDER", "off")


class Command:
    """The command in this process, over the folder of one test."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._tmp_path = tmp_path
        self._capsys = capsys

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run it in a thread, for it has an event loop of its own; return all it says."""
        self._capsys.readouterr()
        status = await anyio.to_thread.run_sync(main, arguments)
        captured = self._capsys.readouterr()
        return status, captured.out + captured.err

    async def refused(self) -> dict[str, str]:
        """Run each command that reads; each must fail and leave no file. Return what each says."""
        said = {}
        for name, files in {
            "stats": [],
            "doctor": [],
            "export": ["out.jsonl"],
            "backup": ["out.db"],
        }.items():
            status, said[name] = await self.run(
                name, *(str(self._tmp_path / file) for file in files)
            )
            assert status == (1 if name == "doctor" else 2), said
        names = [each.name for each in self._tmp_path.iterdir()]
        assert not [name for name in names if name.startswith(("out", ".out"))]
        return said


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def database_in(tmp_path: Path) -> Path:
    return tmp_path / FOLDER / DATABASE_NAME


async def saved(caller: Caller, *contents: str) -> None:
    assert [each["status"] for each in await caller.save("t", *contents)] == [
        "stored" for _ in contents
    ]


async def recalled(tmp_path: Path) -> list[str]:
    """What an assistant finds that starts now, in a file that is sound."""
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        answer = await caller.call(
            "recall_thread", thread_id="t", order="oldest", limit=100, max_chars=200_000
        )
    with closing(sqlite3.connect(database_in(tmp_path))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return [message["content"] for message in answer["messages"]]


async def refused_save(caller: Caller, content: str) -> Refusal:
    return await caller.refused("save_message", thread_id="t", role="user", content=content)


def is_actionable(message: str) -> bool:
    """Whether a refusal names what it is about, tells what to do, and shows no workings."""
    does = ["Free some", "Make the folder", "Try again", "backup --restore FILE"]
    does += ["Update convex-memory", "Check that the folder", "MEMORY_DATA_DIR", "Close "]
    return any(each in message for each in does) and "Traceback" not in message


# --- Full


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = DatabaseFile.connect
    room = [1_000_000]

    def limited(self: DatabaseFile, *, shared: bool = False) -> sqlite3.Connection:
        connection = connect(self, shared=shared)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + room[0]}")
        return connection

    monkeypatch.setattr(DatabaseFile, "connect", limited)
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "before")
    room[0] = 8
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        for _ in range(2):
            refusal = await refused_save(caller, LONG)
            assert refusal.code == "storage_failed"
            assert "is full" in refusal.message
            assert is_actionable(refusal.message)
        await saved(caller, "small")
    room[0] = 1_000_000
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "after")
    assert await recalled(tmp_path) == ["before", "small", "after"]


async def test_a_disk_that_takes_no_more_of_this_user(tmp_path: Path) -> None:
    """A quota, or a limit on the size of files: the system's own, in a process of its own."""
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "before")
    size = database_in(tmp_path).stat().st_size
    launcher = tmp_path / "limited"
    blocks = size // 512 + 400
    launcher.write_text(f'#!/bin/sh\nulimit -f {blocks}\nexec {sys.executable} "$@"\n')
    launcher.chmod(0o700)
    environment = {"MEMORY_DATA_DIR": str(tmp_path / FOLDER)}
    async with over_stdio(environment, command=str(launcher)) as caller:
        await saved(caller, "small")
        for _ in range(12):
            big = {"thread_id": "big", "role": "user", "content": LONG}
            if (await caller.client.call_tool("save_message", big)).is_error:
                break
        refusal = await refused_save(caller, LONG)
        assert refusal.code == "storage_failed"
        assert "nothing was changed" in refusal.message
        assert is_actionable(refusal.message)
        answer = await caller.call("recall_thread", thread_id="t")
        assert [each["content"] for each in answer["messages"]] == ["before", "small"]
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "after")
    assert await recalled(tmp_path) == ["before", "small", "after"]


# --- Read-only


async def test_a_folder_that_may_only_be_read(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "before")
    folder = tmp_path / FOLDER
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    for each in folder.iterdir():
        each.chmod(stat.S_IRUSR)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", BOUND_BY_MODES, "stats"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 2, ran.stdout
        assert is_actionable(ran.stderr), ran.stderr
        async with over_stdio(
            {"MEMORY_DATA_DIR": str(folder)}, arguments=["-c", BOUND_BY_MODES]
        ) as caller:
            refusal = await refused_save(caller, "lost")
            assert is_actionable(refusal.message), refusal
            assert str(folder) in refusal.message
    finally:
        folder.chmod(stat.S_IRWXU)
        for each in folder.iterdir():
            each.chmod(stat.S_IRUSR | stat.S_IWUSR)
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "after")
    assert await recalled(tmp_path) == ["before", "after"]


# --- Locked


async def test_a_folder_that_another_process_keeps_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "BUSY_TIMEOUT_MS", 50)
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "before")
        with closing(sqlite3.connect(database_in(tmp_path), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refusal = await refused_save(caller, "lost")
            assert refusal.code == "overloaded"
            assert "Another process kept the memory" in refusal.message
            assert is_actionable(refusal.message)
            # What is only read is answered.
            answer = await caller.call("recall_thread", thread_id="t")
            assert [each["content"] for each in answer["messages"]] == ["before"]
            other.execute("ROLLBACK")
        await saved(caller, "after")
    assert await recalled(tmp_path) == ["before", "after"]


async def test_commands_on_a_folder_that_stays_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(failures, "BUSY_TIMEOUT_MS", 50)
    assert (await command.run("stats"))[0] == 0
    with closing(sqlite3.connect(database_in(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        status, told = await command.run("stats")
        assert status == 2
        assert "Another process kept the memory" in told
        assert is_actionable(told)
        other.execute("ROLLBACK")
    assert (await command.run("stats"))[0] == 0


# --- Damaged


def _noise(path: Path) -> None:
    """Write noise over everything after the first page, as a failing disk may."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(path.stat().st_size - 4096))


def _letter(path: Path) -> None:
    path.write_bytes(b"a letter to grandmother\n" * 200)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "spoil", [_noise, _letter, _cut], ids=["noise", "no database", "cut short"]
)
async def test_a_damaged_file(
    tmp_path: Path, command: Command, spoil: Callable[[Path], None]
) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "one", "two")
    copy = str(tmp_path / "copy.db")
    assert (await command.run("backup", copy))[0] == 0
    path = database_in(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(path)
    spoilt = path.read_bytes()
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        for refusal in (
            await refused_save(caller, "lost"),
            await caller.refused("recall_thread", thread_id="t"),
        ):
            assert refusal.code in ("configuration", "storage_failed")
            assert "backup --restore FILE" in refusal.message
            assert is_actionable(refusal.message)
    for name, told in (await command.refused()).items():
        assert is_actionable(told), (name, told)
    assert path.read_bytes() == spoilt
    assert (await command.run("backup", "--restore", copy))[0] == 0
    assert await recalled(tmp_path) == ["one", "two"]
    assert (await command.run("doctor"))[0] == 0


# --- Newer


async def test_a_file_of_a_newer_version(tmp_path: Path, command: Command) -> None:
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        await saved(caller, "one")
    path = database_in(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        [[version]] = connection.execute("PRAGMA user_version").fetchall()
        connection.execute("PRAGMA user_version = 999")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    newer = path.read_bytes()
    async with connected("memory/2026", settings_in(tmp_path)) as caller:
        refusal = await refused_save(caller, "lost")
        assert refusal.code == "configuration"
        assert "Update convex-memory" in refusal.message
    for told in (await command.refused()).values():
        assert "Update convex-memory" in told
    assert path.read_bytes() == newer
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    assert await recalled(tmp_path) == ["one"]
