"""New, empty memories, quicker than each test's own making of one."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import tempfile
import threading
from contextlib import closing
from functools import cache
from pathlib import Path

from convex_memory.capabilities import VERSION_FUNCTION
from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment


def make_memory(folder: Path) -> None:
    """Put into a folder what an embedded deployment makes of it on first use.

    The tables are made once in a process, by the deployment itself; every copy has a salt of its
    own, as if it had been made alone.
    """
    made, salt = _made()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = folder / DATABASE_NAME
    database.touch(mode=0o600)
    database.write_bytes(made.replace(salt, secrets.token_bytes(len(salt))))


@cache
def _made() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder))
        database = Path(folder) / DATABASE_NAME
        with closing(sqlite3.connect(database)) as connection:
            [[salt]] = connection.execute("SELECT value FROM settings WHERE name = 'salt'")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        made = database.read_bytes()
    assert made.count(salt) == 1
    return made, salt


def _make(folder: Path) -> None:
    async def use() -> None:
        async with EmbeddedDeployment(folder) as deployment:
            await deployment.call("query", VERSION_FUNCTION, {})

    # In a thread of its own: where it is asked for, an event loop may be running.
    thread = threading.Thread(target=asyncio.run, args=(use(),))
    thread.start()
    thread.join()
