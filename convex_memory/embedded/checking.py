"""Whether a database file is what it should be: its structure, and what was derived of its rows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from convex_memory.embedded.failures import name_of
from convex_memory.embedded.forgetting import superseded_by
from convex_memory.embedded.migrations import refuse_newer
from convex_memory.errors import ConfigurationError, StorageFailed
from convex_memory.text import message_text

_STEPS: Final = 10_000
"""Instructions of SQLite between two looks at the clock."""
_BUSY_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found.

    Attributes:
        flaws: What is wrong, a few of them; empty where nothing is.
        complete: Whether everything was looked at, in the time that there was.
    """

    flaws: tuple[str, ...] = ()
    complete: bool = True


@contextmanager
def opened_for_checking(path: Path, what_to_do: str) -> Iterator[sqlite3.Connection]:
    """Open a memory's file, never to change it.

    Args:
        path: The file.
        what_to_do: Said where it is damaged.

    Raises:
        ConfigurationError: There is no such file, it is no memory, or it is of a newer version.
        StorageFailed: It cannot be read.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} is not there.")
    # Read-only, and still in step with whoever writes.
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_MS / 1000,
    )
    with closing(connection):
        try:
            refuse_newer(connection, path)
            tables = (
                "SELECT count(*) FROM sqlite_master WHERE name IN ('settings', 'mastra_threads')"
            )
            is_memory = connection.execute(tables).fetchone()[0] == 2
        except sqlite3.Error as error:
            raise StorageFailed(
                f"{path} is damaged, or is no database ({error}). {what_to_do}"
            ) from error
        if not is_memory:
            raise ConfigurationError(f"{path} is a database, but not one of convex-memory.")
        yield connection


def check_structure(
    connection: sqlite3.Connection,
    *,
    thorough: bool,
    seconds: float | None = None,
    on_progress: Callable[[], object] = lambda: None,
) -> Checked:
    """Look through the pages of a database.

    Args:
        connection: The database.
        thorough: Whether indexes are compared with their tables too, which takes longer.
        seconds: How long it may take; None is as long as it takes.
        on_progress: Called now and then.
    """
    pragma = "integrity_check" if thorough else "quick_check"
    with _limited(connection, seconds, on_progress):
        try:
            told = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}(3)")]
        except sqlite3.OperationalError as error:
            if _is_interrupted(error):
                return Checked(complete=False)
            return Checked((str(error),))
        except sqlite3.DatabaseError as error:
            return Checked((str(error),))
    return Checked(tuple(each for each in told if each != "ok"))


def check_words(connection: sqlite3.Connection, *, seconds: float) -> Checked:
    """Compare what is searched by words with the messages.

    Every message with a text that no other superseded is searched, and nothing else is.
    """
    flaws: list[str] = []
    with _limited(connection, seconds):
        try:
            connection.execute("BEGIN")
            [[extra]] = connection.execute(
                "SELECT count(*) FROM message_text_docsize WHERE id NOT IN "
                "(SELECT _sequence FROM mastra_messages)"
            )
            if extra:
                flaws.append(f"{extra:,} texts are searched whose messages are gone")
            [[apart]] = connection.execute(
                "SELECT (SELECT count(*) FROM message_text_docsize WHERE id NOT IN "
                "(SELECT sequence FROM message_turns)) + (SELECT count(*) FROM message_turns "
                "WHERE sequence NOT IN (SELECT id FROM message_text_docsize))"
            )
            if apart:
                flaws.append(f"of {apart:,} messages the place in their conversation is not known")
            missing = sum(_unsearched(connection))
            if missing:
                flaws.append(f"{missing:,} messages are not searched")
        except sqlite3.OperationalError as error:
            if not _is_interrupted(error):
                return Checked((*flaws, str(error)))
            return Checked(tuple(flaws), complete=False)
        except sqlite3.DatabaseError as error:
            return Checked((*flaws, str(error)))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return Checked(tuple(flaws))


def _unsearched(connection: sqlite3.Connection) -> Iterator[bool]:
    rows = connection.execute(
        "SELECT id, content FROM mastra_messages WHERE _sequence NOT IN "
        "(SELECT id FROM message_text_docsize)"
    )
    for message_id, content in rows:
        yield bool(message_text(content)) and superseded_by(connection, message_id) is None


@dataclass(frozen=True, slots=True)
class VectorFiles:
    """Files that hold vector indexes, so that nobody need make them anew.

    Attributes:
        named: How many the database names.
        there: How many of them are there; the others are made anew when they are needed.
    """

    named: int
    there: int


def vector_files(connection: sqlite3.Connection, folder: Path) -> VectorFiles:
    """Look which files of vector indexes there are; what is in them is checked at every use."""
    tokens = [row[0] for row in connection.execute("SELECT token FROM vector_sidecars")]
    there = sum((folder / "vectors" / f"{token}.index").is_file() for token in tokens)
    return VectorFiles(len(tokens), there)


@contextmanager
def _limited(
    connection: sqlite3.Connection,
    seconds: float | None,
    on_progress: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Have a connection give up what takes longer."""
    until = None if seconds is None else time.monotonic() + seconds

    def is_over() -> bool:
        on_progress()
        return until is not None and time.monotonic() > until

    connection.set_progress_handler(is_over, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, _STEPS)


def _is_interrupted(error: sqlite3.Error) -> bool:
    return name_of(error) == "SQLITE_INTERRUPT"
