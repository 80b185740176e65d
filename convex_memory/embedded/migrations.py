"""The database file's schema: made on first use, brought forward one version at a time.

`PRAGMA user_version` holds the version. A file of a newer version is refused: an older
program would not know what it may touch. Before it is brought forward, a file is copied beside
itself.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from convex_memory.embedded import embedding_queue, forgetting, search_text, turns
from convex_memory.embedded.tables import TABLES, Table
from convex_memory.embedded.vector_index import changes
from convex_memory.errors import ConfigurationError

_UNUSED_INDEXES: Final = frozenset({("mastra_messages", "by_thread")})
"""Declared, but never chosen: another index of the table starts with the same field."""


def _create_table(connection: sqlite3.Connection, table: Table) -> None:
    columns = ", ".join(f'"{name}"' for name in table.fields)
    # AUTOINCREMENT: a sequence, and so an _id, is never used twice.
    connection.execute(
        f'CREATE TABLE "{table.name}" ("_sequence" INTEGER PRIMARY KEY AUTOINCREMENT, '
        f'"_created" REAL NOT NULL, {columns})'
    )
    for index, fields in (*table.indexes.items(), *table.own_indexes.items()):
        if (table.name, index) not in _UNUSED_INDEXES:
            keys = ", ".join(f'"{name}"' for name in fields)
            connection.execute(f'CREATE INDEX "{table.name}.{index}" ON "{table.name}" ({keys})')


def _version_1(connection: sqlite3.Connection) -> None:
    for table in TABLES.values():
        _create_table(connection, table)
    connection.execute(search_text.SCHEMA)
    connection.execute(
        "CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, "
        "table_name TEXT NOT NULL, id TEXT, kind TEXT NOT NULL, thread TEXT, resource TEXT)"
    )
    connection.execute(
        "CREATE TABLE native_tables (name TEXT PRIMARY KEY, dimension INTEGER, "
        "id_field TEXT NOT NULL, vector_field TEXT NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE removals (thread TEXT PRIMARY KEY, resource TEXT NOT NULL, "
        "upto INTEGER NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
    connection.execute("INSERT INTO settings VALUES ('salt', ?)", (secrets.token_bytes(8),))


def _version_2(connection: sqlite3.Connection) -> None:
    for statement in (*embedding_queue.SCHEMA, *forgetting.SCHEMA, *turns.SCHEMA):
        connection.execute(statement)
    search_text.rebuild(connection)


def _version_3(connection: sqlite3.Connection) -> None:
    for statement in changes.SCHEMA:
        connection.execute(statement)


def _version_4(connection: sqlite3.Connection) -> None:
    # Scripts without spaces between words are searched, and marks do not matter.
    search_text.rebuild(connection)


MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _version_1,
    _version_2,
    _version_3,
    _version_4,
)
"""Step n brings a file from version n to version n + 1."""

SCHEMA_VERSION: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this program's version; several processes may try at once.

    Raises:
        ConfigurationError: The file was written by a newer version of this program.
    """
    if _version(connection) == SCHEMA_VERSION:
        return
    refuse_newer(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have done the work meanwhile.
        refuse_newer(connection, path)
        version = _version(connection)
        if 0 < version < SCHEMA_VERSION:
            _copy(connection, path.with_name(f"{path.name}.before-v{version + 1}"))
        for number in range(version, SCHEMA_VERSION):
            MIGRATIONS[number](connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that a newer version of this program wrote.

    Raises:
        ConfigurationError: It is one; it was not touched.
    """
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} was written by a newer version of convex-memory (its schema is {version}, "
            f"this program knows up to {SCHEMA_VERSION}). Update convex-memory, or set "
            "MEMORY_DATA_DIR to another folder."
        )


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    source = sqlite3.connect(
        str(connection.execute("PRAGMA database_list").fetchone()[2]), isolation_level=None
    )
    try:
        copy = sqlite3.connect(target)
        try:
            source.backup(copy)
        finally:
            copy.close()
    finally:
        source.close()
