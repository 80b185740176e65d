"""What `convex-memory doctor` looks at in a local folder."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

from convex_memory.capabilities import VERSION_FUNCTION
from convex_memory.deployment import Deployment
from convex_memory.errors import ConvexMemoryError
from server.finding import Finding
from server.settings import Settings

CHECK_SECONDS: Final = 10.0
"""How long each look through the database may take."""
DISK_BYTES_LEAST: Final = 64 << 20
_FREE_PAGES_TOLD: Final = 2560
"""10 MiB."""
_PUT_BACK: Final = (
    "Put a backup back (`convex-memory backup --restore FILE`), or save what can be read "
    "(`convex-memory export FILE`) and import it into a new folder."
)


async def examine(deployment: Deployment, settings: Settings) -> list[Finding]:
    """Return what there is to say of the folder and what is in it.

    Args:
        deployment: The folder, opened.
        settings: Where it is.
    """
    disk = _disk(settings.data_dir)
    try:
        answer: Any = await deployment.call("query", VERSION_FUNCTION, {})
        request = {"op": "get", "key": f"{settings.cache_prefix}doctor"}
        await deployment.call("mutation", settings.cache_function, request, retry=True)
    except ConvexMemoryError as error:
        return [Finding("deployment", False, error.message), *disk]
    told = f"folder {settings.data_dir}, functions version {answer['version']}"
    return [Finding("deployment", True, told), *disk, *_database(settings.data_dir)]


def _disk(folder: Path) -> list[Finding]:
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    told = f"{free / 2**30:,.1f} GiB free"
    if free < DISK_BYTES_LEAST:
        told = f"only {free / 2**20:,.1f} MiB free where {folder} is: free some space"
    return [Finding("disk", free >= DISK_BYTES_LEAST, told)]


def _database(folder: Path) -> list[Finding]:
    from convex_memory.embedded import DATABASE_NAME
    from convex_memory.embedded.checking import opened_for_checking

    path = folder / DATABASE_NAME
    try:
        with opened_for_checking(path, _PUT_BACK) as connection:
            structure = _structure(connection, path)
            # What is damaged says nothing more that could be relied on.
            if not structure.ok:
                return [structure]
            return [structure, _words(connection), _vectors(connection, folder)]
    except (ConvexMemoryError, sqlite3.Error) as error:
        why = (
            error.message
            if isinstance(error, ConvexMemoryError)
            else f"{path} is damaged ({error})."
        )
        return [Finding("database", False, f"{why} {_PUT_BACK}")]


def _structure(connection: sqlite3.Connection, path: Path) -> Finding:
    from convex_memory.embedded.checking import check_structure
    from convex_memory.embedded.free_pages import can_give_back

    checked = check_structure(connection, thorough=False, seconds=CHECK_SECONDS)
    if checked.flaws:
        flaw = " ".join(checked.flaws[0].split())
        return Finding("database", False, f"{path} is damaged ({flaw}). {_PUT_BACK}")
    free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("freelist_count", "page_size")
    )
    told = f"{path.stat().st_size / 2**20:.1f} MiB"
    if free >= _FREE_PAGES_TOLD and not can_give_back(connection):
        told += (
            f", {free * size / 2**20:.1f} of it free for new rows (a file of an earlier version "
            "keeps them; export and import into a new folder makes it smaller)"
        )
    told += ", structure sound"
    if not checked.complete:
        told += f" as far as could be read in {CHECK_SECONDS:.0f} s; a backup checks all of it"
    return Finding("database", True, told)


def _words(connection: sqlite3.Connection) -> Finding:
    from convex_memory.embedded.checking import check_words

    checked = check_words(connection, seconds=CHECK_SECONDS)
    if checked.flaws:
        return Finding(
            "words",
            False,
            f"Search by words does not fit the messages: {'; '.join(checked.flaws)}. Export and "
            "import into a new folder: that makes it anew.",
        )
    [[count]] = connection.execute("SELECT count(*) FROM message_text_docsize")
    told = f"{count:,} messages searched, as they should be"
    if not checked.complete:
        told = f"more messages than could be compared in {CHECK_SECONDS:.0f} s"
    return Finding("words", True, told)


def _vectors(connection: sqlite3.Connection, folder: Path) -> Finding:
    from convex_memory.embedded.checking import vector_files

    files = vector_files(connection, folder)
    told = f"{files.there} of {files.named} index files there"
    if files.there < files.named:
        told += "; the others are made anew when they are needed"
    return Finding("vectors", True, told)
