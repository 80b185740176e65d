"""`convex-memory export` and `import`: the whole memory into a file, and out of one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from convex_memory.deployment import Deployment
from convex_memory.errors import ConvexMemoryError, FunctionError
from convex_memory.moving import (
    Exported,
    ExportWriter,
    Header,
    Imported,
    ImportOptions,
    export_rows,
    import_rows,
    inventory_of,
    opened_for_writing,
)
from server.app import application_version
from server.progress import Progress
from server.settings import Settings
from server.shared import open_deployment

STANDARD: Final = "-"
_GO_ON: Final = "What stands before is stored; the same command goes on from there."
_SETTLE: Final = (
    "What stands before is stored. Settle this, in the memory or in the file (one that you change "
    "needs --partial); the same command goes on from there."
)
_STORING: Final = ("importing", "skipping")


@dataclass(frozen=True, slots=True)
class Words:
    """Where a command says what.

    Attributes:
        tell: Gets lines for standard output.
        warn: Gets lines for stderr.
    """

    tell: Callable[[str], None]
    warn: Callable[[str], None]


# --- Out


def run_export(
    settings: Settings, target: str, *, tables: Sequence[str] | None, force: bool, words: Words
) -> int:
    """Write every row of the memory to a file, and say how many there were.

    Args:
        settings: Which memory.
        target: The file, or `-` for standard output.
        tables: Names of tables, also without `mastra_`; all when None.
        force: Whether a file that is there is replaced.
        words: Where to say it.

    Returns:
        The exit status, 0.

    Raises:
        ConvexMemoryError: It could not be done; nothing is left that looks like an export.
    """
    progress = Progress(sys.stderr)
    # What says how it went must not stand in the export itself.
    tell = words.warn if target == STANDARD else words.tell
    try:
        exported = asyncio.run(_export(settings, target, tables, force, progress, words))
    finally:
        progress.end()
    size = "" if target == STANDARD else f" to {target} ({_size_of(target)})"
    there = {table: count for table, count in exported.counts.items() if count}
    tell(f"Exported {_rows(exported.rows)} of {_named(settings)}{size}.")
    for table, count in there.items():
        tell(f"  {table:30} {count:>12,}")
    return 0


async def _export(
    settings: Settings,
    target: str,
    tables: Sequence[str] | None,
    force: bool,
    progress: Progress,
    words: Words,
) -> Exported:
    async with _readable(settings) as (deployment, consistency):
        inventory = await inventory_of(deployment)
        chosen = inventory.chosen(tables)
        for table, why in inventory.left_out.items():
            words.warn(f"{table} is left out: {why}.")
        total = sum(inventory.rows.get(table.name, 0) for table in chosen)

        def on_progress(rows: int) -> None:
            progress.show("exporting", rows, rows / total if total else None)

        with opened_for_writing(target, force=force) as stream:
            writer = ExportWriter(stream.write)
            moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            writer.begin(Header(application_version(), moment, inventory.kind, consistency, chosen))
            exported = await export_rows(deployment, writer, chosen, on_progress=on_progress)
            writer.end()
        return exported


@asynccontextmanager
async def _readable(settings: Settings) -> AsyncIterator[tuple[Deployment, str]]:
    """The memory as it is to be read, and whether all of it is of one moment."""
    if not settings.embedded:
        deployment = open_deployment(settings)
        try:
            yield deployment, "pages"
        finally:
            await deployment.aclose()
        return
    from convex_memory.embedded import EmbeddedDeployment
    from convex_memory.embedded.snapshot import Snapshot

    async with EmbeddedDeployment(settings.data_dir) as embedded, Snapshot(embedded) as snapshot:
        yield snapshot, "snapshot"


# --- In


def run_import(settings: Settings, source: str, options: ImportOptions, words: Words) -> int:
    """Store every row of a file in the memory, and say what became of them.

    Args:
        settings: Which memory.
        source: The file, or `-` for standard input.
        options: What to do with rows that are there, and more.
        words: Where to say it.

    Returns:
        The exit status: 0, 1 when it failed on the way, 130 when it was interrupted.

    Raises:
        ConvexMemoryError: It could not be begun; nothing was stored.
    """
    progress = Progress(sys.stderr)
    try:
        imported = asyncio.run(_import(settings, source, options, progress))
    except KeyboardInterrupt:
        progress.end()
        words.warn(f"Interrupted. {_GO_ON}" if progress.doing in _STORING else "Interrupted.")
        return 130
    except ConvexMemoryError as error:
        progress.end()
        if progress.doing not in _STORING or options.dry_run:
            raise
        what_to_do = _SETTLE if isinstance(error, FunctionError) else _GO_ON
        words.warn(f"convex-memory: {error.message} {what_to_do}")
        return 1
    progress.end()
    for line in report(imported, source, _named(settings), options):
        words.tell(line)
    return 0


async def _import(
    settings: Settings, source: str, options: ImportOptions, progress: Progress
) -> Imported:
    size = _bytes_in(source)

    def on_progress(doing: str, rows: int, bytes_read: int) -> None:
        progress.show(doing, rows, bytes_read / size if size else None)

    target = str(settings.convex_url or settings.data_dir.absolute())
    deployment = open_deployment(settings)
    try:
        return await import_rows(deployment, source, target, options, on_progress=on_progress)
    finally:
        await deployment.aclose()


def report(imported: Imported, source: str, target: str, options: ImportOptions) -> list[str]:
    """Return what became of the rows of a file, as sentences."""
    name = "the input" if source == STANDARD else source
    lines = list(imported.warnings)
    if not imported.rows:
        lines.append(f"There are no rows in {name}; nothing was changed.")
        return lines
    if imported.rows == imported.unchanged:
        lines.append(
            f"All {_rows(imported.rows)} of {name} were in {target} already; nothing was changed."
        )
        return lines
    would = "would be " if options.dry_run else ""
    counts = [
        (imported.stored, f"{would}stored"),
        (imported.replaced, f"{would}replaced"),
        (imported.unchanged, "unchanged"),
        (imported.kept, "kept as they are there"),
        (imported.dropped, "left out, for they have expired"),
        (imported.skipped, "stored by the run before"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    lines.append(f"{_rows(imported.rows)} of {name} into {target}: {told}.")
    if imported.kept:
        named = ", ".join(f"{line:,} ({table})" for line, table in imported.kept_rows)
        more = " and others" if imported.kept > len(imported.kept_rows) else ""
        lines.append(
            f"There with other content, and kept: line {named}{more}. "
            "With --replace those of the file take their places."
        )
    if options.dry_run:
        lines.append("Nothing was written.")
    return lines


def _bytes_in(source: str) -> int:
    """How large a file is; 0 for what is no file."""
    path = Path(source)
    return path.stat().st_size if source != STANDARD and path.is_file() else 0


# --- Words


def _named(settings: Settings) -> str:
    return f"folder {settings.data_dir}" if settings.embedded else f"Convex {settings.convex_url}"


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _size_of(target: str) -> str:
    size = float(_bytes_in(target))
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
