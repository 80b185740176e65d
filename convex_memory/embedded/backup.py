"""The database file copied while it is in use, and put back.

A backup is one SQLite file: `memory.db` as it was at one moment. It needs nothing beside it: the
files of vector indexes are made anew of it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from convex_memory.embedded.checking import check_structure, opened_for_checking
from convex_memory.embedded.failures import is_busy, is_damaged, name_of
from convex_memory.errors import ConfigurationError, StorageFailed
from convex_memory.placing import placed

OnProgress = Callable[[str, int, int | None], object]
"""Gets what is being done, how many bytes of it are done, and of how many (None: unknown)."""

_PAGES: Final = 256
"""Pages copied at a time."""
_WAIT_MS: Final = 2_000
"""How long to wait for a memory that somebody has open: as long as a process takes to end."""
_EARLIER: Final = (
    "Put an earlier backup back (`convex-memory backup --restore FILE`), or save what can be read "
    "(`convex-memory export FILE`)."
)
_ANOTHER: Final = "Give another backup."


@dataclass(frozen=True, slots=True)
class PutBack:
    """What became of the memory that was there.

    Attributes:
        aside: Where it is kept; None where there was none.
        was_damaged: Whether it could not be read as a database.
    """

    aside: Path | None = None
    was_damaged: bool = False


def back_up(database: Path, target: Path, *, force: bool, on_progress: OnProgress) -> int:
    """Copy a memory as it is at this moment, whoever writes meanwhile, and check the copy.

    The copy has its name only once it is whole, checked and on the disk; it is readable by its
    owner only.

    Args:
        database: The memory's file.
        target: Where to.
        force: Whether a file that is there is replaced.
        on_progress: Told now and then how far it is.

    Returns:
        The size of the copy, in bytes.

    Raises:
        ConfigurationError: There is no memory, or the target cannot be written or is there.
        StorageFailed: The disk is full or failed, or the memory is damaged; there is no backup.
    """
    if not database.is_file():
        raise ConfigurationError(
            f"There is no memory in {database.parent} yet, and so nothing to back up. "
            "Is MEMORY_DATA_DIR the folder that you mean?"
        )
    if target.exists() and target.samefile(database):
        raise ConfigurationError(f"{target} is the memory itself; give another name.")
    with (
        opened_for_checking(database, _EARLIER) as source,
        _explained(f"{target} could not be written", "there is no backup"),
        placed(target, force=force) as partial,
    ):
        # One transaction around all steps: other processes' writes do not make it begin anew.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with _sqlite_file(partial) as copy:
            _copy(source, copy, "backing up", on_progress)
            source.execute("ROLLBACK")
            # A file in WAL mode needs others beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            _refuse_damaged(
                copy,
                on_progress,
                f"The memory in {database.parent} is damaged ({{flaw}}), and so would be a backup "
                f"of it; none was written. {_EARLIER}",
            )
    return target.stat().st_size


def put_back(source: Path, database: Path, *, on_progress: OnProgress) -> PutBack:
    """Make a memory what it was when a backup was made; what it is now is kept beside it.

    Nobody may have the memory open. It is one transaction: interrupted or failed, the memory is
    what it was before.

    Args:
        source: The backup.
        database: The memory's file; need not be there.
        on_progress: Told now and then how far it is.

    Raises:
        ConfigurationError: The backup is none, is damaged or of a newer version, or somebody has
            the memory open; nothing was changed.
        StorageFailed: The disk is full or failed; nothing was changed.
    """
    with (
        opened_for_checking(source, _ANOTHER) as backup,
        _explained(f"The memory in {database.parent} could not be written", "nothing was changed"),
    ):
        if database.exists() and source.samefile(database):
            raise ConfigurationError(f"{source} is the memory itself; give a backup of it.")
        _refuse_damaged(
            backup,
            on_progress,
            f"{source} is damaged ({{flaw}}); nothing was changed. {_ANOTHER}",
        )
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        present = _alone(database)
        if present is None:
            was_there = database.exists()
            aside = _move_aside(database, f"damaged-{moment}") if was_there else None
            with placed(database, force=False) as partial, _sqlite_file(partial) as copy:
                _copy(backup, copy, "restoring", on_progress)
            return PutBack(aside, was_damaged=was_there)
        with closing(present):
            aside = database.with_name(f"{database.name}.before-restore-{moment}")
            with placed(aside, force=False) as partial, _sqlite_file(partial) as copy:
                _copy(present, copy, "keeping what there is", on_progress)
            _copy(backup, present, "restoring", on_progress)
        return PutBack(aside)


def _alone(database: Path) -> sqlite3.Connection | None:
    """Open a memory with a lock that nobody else can have; None where it is none, or not there.

    Raises:
        ConfigurationError: Somebody has it open.
    """
    if not database.exists():
        return None
    connection = sqlite3.connect(database, isolation_level=None, timeout=_WAIT_MS / 1000)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Leaving WAL mode takes a lock that no other connection lets anybody have.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        connection.close()
        if is_busy(error):
            raise ConfigurationError(
                f"Another program has the memory in {database.parent} open; nothing was changed. "
                "Close the assistants and servers that use it, end their daemon (convex-memory "
                "daemon --stop), then run this again."
            ) from error
        if is_damaged(error):
            return None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _move_aside(database: Path, suffix: str) -> Path:
    for ending in ("-wal", "-shm"):
        beside = database.with_name(database.name + ending)
        if beside.exists():
            beside.rename(database.with_name(f"{database.name}.{suffix}{ending}"))
    return database.rename(database.with_name(f"{database.name}.{suffix}"))


@contextmanager
def _sqlite_file(partial: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that is not the memory yet: until it is, nothing of it need survive a crash."""
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
    finally:
        for ending in ("-journal", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                partial.with_name(partial.name + ending).unlink()


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, doing: str, on_progress: OnProgress
) -> None:
    size = source.execute("PRAGMA page_size").fetchone()[0]

    def progress(status: int, remaining: int, total: int) -> None:
        on_progress(doing, (total - remaining) * size, total * size)

    source.backup(target, pages=_PAGES, progress=progress, sleep=0)


def _refuse_damaged(connection: sqlite3.Connection, on_progress: OnProgress, message: str) -> None:
    checked = check_structure(
        connection, thorough=True, on_progress=lambda: on_progress("checking", 0, None)
    )
    if checked.flaws:
        raise StorageFailed(message.format(flaw=checked.flaws[0]))


@contextmanager
def _explained(what: str, outcome: str) -> Iterator[None]:
    """Turn failures of SQLite and of the disk into a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        why = "the disk is full" if name_of(error) == "SQLITE_FULL" else str(error)
        raise StorageFailed(f"{what} ({why}); {outcome}.") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StorageFailed(f"{what} ({why}); {outcome}.") from error
