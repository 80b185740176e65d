"""The database file: made, brought to this version, and opened."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

from convex_memory.embedded import failures
from convex_memory.embedded.failures import is_busy, is_damaged
from convex_memory.embedded.free_pages import give_back_as_they_come
from convex_memory.embedded.migrations import migrate, refuse_newer
from convex_memory.embedded.turns import TurnsConnection
from convex_memory.errors import ConfigurationError

CHANGES_KEPT: Final = 100_000
"""Entries the change log keeps; a follower further behind reads everything anew."""
STATEMENTS_CACHED: Final = 512
"""Prepared statements that each connection keeps: twice what the contract suite has on any one."""
SYNCHRONOUS: Final = "FULL"
"""A commit that returned is on the disk, whatever happens next."""
_OPEN_AGAIN_SECONDS: Final = 0.02
_SQLITE_MINIMUM: Final = (3, 35, 0)


class DatabaseFile:
    """One file, which the first connection makes or brings to this program's version.

    Attributes:
        path: The file; its folder is made when missing, readable by the owner only.
        salt: Eight random bytes of this deployment; empty before the first connection.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.salt = b""
        self._opening = threading.Lock()

    def connect(self, *, shared: bool = False) -> sqlite3.Connection:
        """Open a connection, in a thread that may wait.

        Args:
            shared: Whether several threads use it, one at a time.

        Raises:
            ConfigurationError: The folder or the file cannot be used.
            sqlite3.Error: The file stayed locked.
        """
        with self._opening:
            if not self.salt:
                self.salt = self._prepare()
        return self._open(shared=shared)

    def _prepare(self) -> bytes:
        if sqlite3.sqlite_version_info < _SQLITE_MINIMUM:
            raise ConfigurationError(
                f"This Python has SQLite {sqlite3.sqlite_version}; at least "
                f"{'.'.join(map(str, _SQLITE_MINIMUM))} is needed. Use a newer Python."
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The memory folder {self.path.parent} cannot be used ({error.strerror}). "
                "Set MEMORY_DATA_DIR to a folder that can be written."
            ) from error
        until = time.monotonic() + failures.BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                return self._open_first()
            except sqlite3.Error as error:
                # SQLite does not wait where processes that open a new file at the same time
                # stand in each other's way.
                if is_busy(error) and time.monotonic() < until:
                    time.sleep(_OPEN_AGAIN_SECONDS)
                    continue
                if is_busy(error):
                    raise
                raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> ConfigurationError:
        if is_damaged(error):
            return ConfigurationError(
                f"{self.path} is damaged, or is no database ({error}); it was left as it is. Put "
                "a backup back with `convex-memory backup --restore FILE`; to start anew, set "
                "MEMORY_DATA_DIR to another folder."
            )
        return ConfigurationError(
            f"{self.path} cannot be opened as a memory ({error}). Check that the folder "
            "can be written, is on a local disk and that the disk is not full; to start anew, set "
            "MEMORY_DATA_DIR to another folder."
        )

    def _open_first(self) -> bytes:
        """Bring the file to this program's version and return its salt."""
        with contextlib.closing(self._open()) as connection:
            # First of all: a file of a newer version is not to be touched.
            refuse_newer(connection, self.path)
            give_back_as_they_come(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, self.path)
            connection.execute("BEGIN IMMEDIATE")
            prune_changes(connection)
            connection.execute("COMMIT")
            row = connection.execute("SELECT value FROM settings WHERE name = 'salt'").fetchone()
            return bytes(row[0])

    def _open(self, *, shared: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=failures.BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            cached_statements=STATEMENTS_CACHED,
            factory=TurnsConnection,
            check_same_thread=not shared,
        )
        try:
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            connection.execute("PRAGMA cache_size = -16000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def prune_changes(connection: sqlite3.Connection) -> None:
    """Shorten the change log to its newest `CHANGES_KEPT` entries."""
    connection.execute(
        "DELETE FROM changes WHERE sequence <= (SELECT max(sequence) FROM changes) - ?",
        (CHANGES_KEPT,),
    )
