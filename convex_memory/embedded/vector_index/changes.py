"""What the database keeps so that indexes can follow it: which vectors changed or went.

New rows need no mark: their sequence is higher than any before. Triggers write the others, so
no way of changing a row can be forgotten. `vector_sidecars` names the file of each index that
has one (`saving`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from convex_memory.embedded.tables import NATIVE_VECTORS, VECTORS, Table

CHANGES_KEPT: Final = 100_000
"""Changes that are kept; whoever is further behind reads the index anew."""


def _schema() -> Iterator[str]:
    yield (
        "CREATE TABLE vector_changes (position INTEGER PRIMARY KEY AUTOINCREMENT, "
        "table_number INTEGER NOT NULL, name TEXT NOT NULL, sequence INTEGER NOT NULL)"
    )
    for table, key in ((VECTORS, "indexName"), (NATIVE_VECTORS, "table")):
        log = "INSERT INTO vector_changes (table_number, name, sequence)"
        old = f'SELECT {table.number}, OLD."{key}", OLD._sequence'
        new = f'SELECT {table.number}, NEW."{key}", OLD._sequence'
        yield (
            f"CREATE TRIGGER {table.name}_deleted AFTER DELETE ON {table.name} "
            f"BEGIN {log} {old}; END"
        )
        yield (
            f"CREATE TRIGGER {table.name}_updated AFTER UPDATE ON {table.name} "
            f'BEGIN {log} {old}; {log} {new} WHERE NEW."{key}" <> OLD."{key}"; END'
        )
    yield (
        "CREATE TABLE vector_sidecars (table_number INTEGER NOT NULL, name TEXT NOT NULL, "
        "token TEXT NOT NULL, changed INTEGER NOT NULL, inserted INTEGER NOT NULL, "
        "PRIMARY KEY (table_number, name)) WITHOUT ROWID"
    )
    # The comparison first: it makes all but one change in 256 cost next to nothing.
    yield (
        "CREATE TRIGGER vector_changes_kept AFTER INSERT ON vector_changes "
        "WHEN NEW.position % 256 = 0 BEGIN DELETE FROM vector_changes "
        f"WHERE position <= NEW.position - {CHANGES_KEPT}; END"
    )


SCHEMA: Final = tuple(_schema())


def forget_file(connection: sqlite3.Connection, table: Table, name: str) -> None:
    """Forget the file of an index that is deleted or emptied; it goes when another is written."""
    connection.execute(
        "DELETE FROM vector_sidecars WHERE table_number = ? AND name = ?", (table.number, name)
    )
