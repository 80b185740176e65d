"""Which file holds an index: the database says, and so is always right.

A file is named by a token that a transaction writes into the database once the file is on the
disk. Whoever reads the token reads a database that descends from the rows which the file holds,
also where the database is a backup that was put back: it has the token it had then.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from convex_memory.embedded.vector_index import sidecar
from convex_memory.embedded.vector_index.scope import Scope
from convex_memory.embedded.vector_index.view import Moment, Rows, View

logger = logging.getLogger(__name__)

ROWS_LEAST: Final = 2_000
"""An index of fewer rows is made anew in no time."""
_UNSAVED_PART: Final = 8
"""A file is written again when more than one in so many rows is not as it has them."""
_BUSY_SECONDS: Final = 10
_ABANDONED_SECONDS: Final = 3600
_AGAIN_SECONDS: Final = 60
"""How long to wait after a file could not be written."""


def is_due(rows: Rows) -> bool:
    """Whether an index should be written to a file."""
    return rows.size >= ROWS_LEAST and rows.unsaved > max(
        ROWS_LEAST - 1, rows.size // _UNSAVED_PART
    )


@dataclass(frozen=True, slots=True)
class Saved:
    """An index out of its file, and the moment it shows."""

    rows: Rows
    moment: Moment

    def view(self) -> View:
        """Return the rows as the file shows them."""
        return self.rows.view(self.moment, (), self.moment.changed)


def folder_of(connection: sqlite3.Connection) -> Path | None:
    """Return where the files of a database are; None for one in memory."""
    file = str(connection.execute("PRAGMA database_list").fetchone()[2])
    return Path(file).parent / "vectors" if file else None


def saved(connection: sqlite3.Connection, scope: Scope, dimension: int) -> Saved | None:
    """Return what the file of an index holds; None where there is none that can be used.

    The connection's transaction sees at least as much as the file shows.
    """
    row = connection.execute(
        "SELECT token, changed, inserted FROM vector_sidecars WHERE table_number = ? AND name = ?",
        (scope.table.number, scope.name),
    ).fetchone()
    folder = folder_of(connection)
    if row is None or folder is None:
        return None
    try:
        rows = sidecar.read(_path(folder, row[0]), row[0], dimension)
    except sidecar.Unusable:
        logger.debug("the file of a vector index is made anew", exc_info=True)
        return None
    return Saved(rows, Moment(row[1], row[2]))


class Saving:
    """Writes an index to its file beside the work, one file at a time.

    Args:
        done: Called with what the new file holds, in another thread.
    """

    def __init__(self, done: Callable[[Saved], None]) -> None:
        self._done = done
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def begin(self, connection: sqlite3.Connection, scope: Scope, view: View) -> None:
        """Begin to write, unless a file is being written or could not be a while ago."""
        folder = folder_of(connection)
        running = self._thread is not None and self._thread.is_alive()
        if folder is None or running or time.monotonic() < self._not_before:
            return
        database = Path(str(connection.execute("PRAGMA database_list").fetchone()[2]))
        self._thread = threading.Thread(
            target=self._save, args=(database, folder, scope, view), name="vectors", daemon=True
        )
        self._thread.start()

    def finish(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()

    def _save(self, database: Path, folder: Path, scope: Scope, view: View) -> None:
        try:
            token = _save(database, folder, scope, view)
            if token is not None:
                self._done(
                    Saved(sidecar.read(_path(folder, token), token, view.dimension), view.moment)
                )
        except (OSError, sqlite3.Error, sidecar.Unusable):
            # The index in memory serves as well: a folder that is full or read-only is no error.
            logger.debug("a vector index could not be written to its file", exc_info=True)
            self._not_before = time.monotonic() + _AGAIN_SECONDS


def _save(database: Path, folder: Path, scope: Scope, view: View) -> str | None:
    """Write a file and say so in the database; None where there is a newer one by now."""
    token = secrets.token_hex(16)
    folder.mkdir(mode=0o700, exist_ok=True)
    written = folder / f"{token}.writing"
    try:
        sidecar.write(view, written, token)
        with contextlib.closing(
            sqlite3.connect(database, timeout=_BUSY_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            is_newest = connection.execute(
                "INSERT INTO vector_sidecars VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (table_number, name) DO UPDATE SET token = excluded.token, "
                "changed = excluded.changed, inserted = excluded.inserted "
                "WHERE (changed, inserted) <= (excluded.changed, excluded.inserted) RETURNING 1",
                (
                    scope.table.number,
                    scope.name,
                    token,
                    view.moment.changed,
                    view.moment.inserted,
                ),
            ).fetchall()
            if is_newest:
                written.rename(_path(folder, token))
            # Under the write lock every file that counts is named in the database.
            _sweep(connection, folder)
            connection.execute("COMMIT")
        return token if is_newest else None
    finally:
        with contextlib.suppress(OSError):
            written.unlink(missing_ok=True)


def _sweep(connection: sqlite3.Connection, folder: Path) -> None:
    """Delete files that nobody will open any more."""
    named = {row[0] for row in connection.execute("SELECT token FROM vector_sidecars")}
    for path in folder.iterdir():
        left = path.suffix == ".index" and path.stem not in named
        # Not gone on with for an hour: whoever wrote it was killed.
        dead = path.suffix == ".writing" and _age(path) > _ABANDONED_SECONDS
        if left or dead:
            # Windows keeps a file that is mapped; it goes another time.
            with contextlib.suppress(OSError):
                path.unlink()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0


def _path(folder: Path, token: str) -> Path:
    return folder / f"{token}.index"
