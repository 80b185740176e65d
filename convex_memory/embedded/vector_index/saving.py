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

import numpy as np
from numpy.typing import NDArray

from convex_memory.embedded.vector_index import lists, sidecar
from convex_memory.embedded.vector_index.only_one import only_one
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
_ELSEWHERE_SECONDS: Final = 1
"""How long to wait while another process writes."""
_LOCK: Final = "writing.lock"


def is_due(rows: Rows) -> bool:
    """Whether an index should be written to a file."""
    if rows.lists is None and rows.size - rows.gone >= lists.ROWS_LEAST:
        return True
    return rows.size >= ROWS_LEAST and rows.unsaved > max(
        ROWS_LEAST - 1, rows.size // _UNSAVED_PART
    )


class _Abandoned(Exception):
    """Nobody needs the file any more."""


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
    """Writes an index to its file beside the work, one file at a time among all processes.

    Args:
        done: Called with what the new file holds, in another thread.
    """

    def __init__(self, done: Callable[[Saved], None]) -> None:
        self._done = done
        self._thread: threading.Thread | None = None
        self._not_before = 0.0
        self._is_finishing = False
        self._beginning = threading.Lock()

    def begin(
        self, connection: sqlite3.Connection, scope: Scope, view: View, token: str | None
    ) -> None:
        """Begin to write, unless a file is being written or could not be a while ago.

        Args:
            connection: To the database.
            scope: Which index.
            view: What to write.
            token: The file that the view goes on from; None where it does from none.
        """
        with self._beginning:
            running = self._thread is not None and self._thread.is_alive()
            if running or time.monotonic() < self._not_before:
                return
            folder = folder_of(connection)
            if folder is None:
                return
            database = Path(str(connection.execute("PRAGMA database_list").fetchone()[2]))
            self._thread = threading.Thread(
                target=self._save,
                args=(_Place(database, folder, scope), view, token),
                name="vectors",
                daemon=True,
            )
            self._thread.start()

    def finish(self) -> None:
        """Wait until nothing is being written; lists that are being made are given up."""
        self._is_finishing = True
        if self._thread is not None:
            self._thread.join()
        self._is_finishing = False

    def _pause(self) -> None:
        if self._is_finishing:
            raise _Abandoned

    def _save(self, place: _Place, view: View, token: str | None) -> None:
        try:
            place.folder.mkdir(mode=0o700, exist_ok=True)
            with only_one(place.folder / _LOCK) as is_one:
                if not is_one:
                    # Another process is at it; what it writes serves this one too.
                    self._not_before = time.monotonic() + _ELSEWHERE_SECONDS
                    return
                kept = place.newer_than(token, view.dimension)
                if kept is None:
                    kept = place.written(view, *lists.arranged(view, self._pause))
            if kept is not None:
                self._done(kept)
        except _Abandoned:
            pass
        except (OSError, sqlite3.Error, sidecar.Unusable):
            # The index in memory serves as well: a folder that is full or read-only is no error.
            logger.debug("a vector index could not be written to its file", exc_info=True)
            self._not_before = time.monotonic() + _AGAIN_SECONDS


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the file of one index is, and what says so."""

    database: Path
    folder: Path
    scope: Scope

    def newer_than(self, token: str | None, dimension: int) -> Saved | None:
        """Return what another process has written meanwhile, if that can be used."""
        with self._connection() as connection:
            kept = saved(connection, self.scope, dimension)
        return None if kept is None or kept.rows.token == token else kept

    def written(
        self, view: View, order: NDArray[np.int64], arranged: lists.Lists | None
    ) -> Saved | None:
        """Write a file and say so in the database; None where there is a newer one by now."""
        token = secrets.token_hex(16)
        path = self.folder / f"{token}.writing"
        try:
            sidecar.write(view, path, token, order, arranged)
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                is_newest = connection.execute(
                    "INSERT INTO vector_sidecars VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (table_number, name) DO UPDATE SET token = excluded.token, "
                    "changed = excluded.changed, inserted = excluded.inserted "
                    "WHERE (changed, inserted) <= (excluded.changed, excluded.inserted) "
                    "RETURNING 1",
                    (
                        self.scope.table.number,
                        self.scope.name,
                        token,
                        view.moment.changed,
                        view.moment.inserted,
                    ),
                ).fetchall()
                if is_newest:
                    path.rename(_path(self.folder, token))
                # Under the write lock every file that counts is named in the database.
                _sweep(connection, self.folder)
                connection.execute("COMMIT")
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if not is_newest:
            return None
        rows = sidecar.read(_path(self.folder, token), token, view.dimension)
        return Saved(rows, view.moment)

    def _connection(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(
            sqlite3.connect(self.database, timeout=_BUSY_SECONDS, isolation_level=None)
        )


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
