"""Pages that deleted rows leave: kept for new rows, given back to the disk beyond that."""

from __future__ import annotations

import sqlite3
from typing import Final

FREE_PAGES_KEPT: Final = 1024
"""What is kept for new rows: 4 MiB."""
PAGES_A_STEP: Final = 64
"""Given back in one transaction: 256 KiB, some milliseconds."""
_INCREMENTAL: Final = 2


def give_back_as_they_come(connection: sqlite3.Connection) -> None:
    """Have a file that is still empty kept so that pages can be given back without copying it.

    A file that has tables stays as it was made: changing it would copy all of it, alone.
    """
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def can_give_back(connection: sqlite3.Connection) -> bool:
    """Whether this file was made so that pages can be given back."""
    return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL)


def give_back(connection: sqlite3.Connection) -> bool:
    """Give a few pages back to the disk, inside a transaction; say whether there were any."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free <= FREE_PAGES_KEPT or not can_give_back(connection):
        return False
    pages = min(PAGES_A_STEP, free - FREE_PAGES_KEPT)
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return True
