"""Failures of SQLite and of the disk, as sentences that say what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from convex_memory.errors import DeploymentError, Overloaded, StorageFailed

BUSY_TIMEOUT_MS: Final = 10_000
"""How long to wait for another process that holds the write lock."""

_PUT_BACK: Final = (
    "Run `convex-memory doctor`, and restore a backup: `convex-memory backup --restore FILE`."
)
_FAILURES: Final[tuple[tuple[str, type[DeploymentError], str], ...]] = (
    (
        "SQLITE_FULL",
        StorageFailed,
        "The disk that holds {folder} is full; nothing was changed. Free some space and try again.",
    ),
    (
        "SQLITE_BUSY",
        Overloaded,
        f"Another process kept the memory in {{folder}} locked for {BUSY_TIMEOUT_MS // 1000} s; "
        "nothing was changed. Try again.",
    ),
    (
        "SQLITE_READONLY",
        StorageFailed,
        "The memory in {folder} is read-only; nothing was changed. Make the folder writable or "
        "set MEMORY_DATA_DIR.",
    ),
    ("SQLITE_CORRUPT", StorageFailed, f"The memory file in {{folder}} is damaged. {_PUT_BACK}"),
    (
        "SQLITE_NOTADB",
        StorageFailed,
        f"The memory file in {{folder}} is not a SQLite database. {_PUT_BACK}",
    ),
    (
        "SQLITE_CANTOPEN",
        StorageFailed,
        "The memory in {folder} cannot be opened; nothing was changed. Check that the folder is "
        "there and can be written, or set MEMORY_DATA_DIR to another.",
    ),
    (
        "SQLITE_IOERR_WRITE",
        StorageFailed,
        "The memory in {folder} could not be written; nothing was changed. Its disk has no room "
        "for this user (a quota, or a limit on the size of files), or it fails. Free some space, "
        "check the disk, and try again.",
    ),
    (
        "SQLITE_IOERR",
        StorageFailed,
        "The disk that holds {folder} failed; nothing was changed. Check the disk.",
    ),
)


def translated(error: BaseException, folder: Path) -> BaseException:
    """Turn a failure of SQLite into one of ours; leave others alone.

    Args:
        error: What was raised.
        folder: Where the memory is.
    """
    if not isinstance(error, sqlite3.Error):
        return error
    name = name_of(error)
    for prefix, kind, message in _FAILURES:
        if name.startswith(prefix):
            failure = kind(message.format(folder=folder))
            break
    else:
        failure = StorageFailed(f"SQLite failed ({name or type(error).__name__}).")
    failure.__cause__ = error
    return failure


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection stands in the way."""
    return name_of(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file is not what SQLite has written."""
    return name_of(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def name_of(error: sqlite3.Error) -> str:
    """Return SQLite's name of an error; empty where Python raised it itself."""
    return getattr(error, "sqlite_errorname", "") or ""
