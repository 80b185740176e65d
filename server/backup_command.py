"""`convex-memory backup`: the local folder's file copied while it is in use, and put back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from convex_memory.errors import ConfigurationError
from server.progress import Progress
from server.settings import Settings

Show = Callable[[str], None]


def run_backup(settings: Settings, target: str, *, force: bool, show: Show) -> int:
    """Copy the memory to a file, and say how to put it back.

    Args:
        settings: Which memory.
        target: The file.
        force: Whether a file that is there is replaced.
        show: Gets lines for standard output.

    Returns:
        The exit status, 0.

    Raises:
        ConvexMemoryError: It could not be done; nothing is left that looks like a backup.
    """
    from convex_memory.embedded.backup import back_up

    database = _database(settings)
    progress = Progress(sys.stderr, counted="MiB")
    try:
        size = back_up(database, Path(target), force=force, on_progress=_shown(progress))
    finally:
        progress.end()
    show(f"Backed up {settings.data_dir} to {target} ({size / 2**20:,.1f} MiB), and checked it.")
    show(f"To put it back: convex-memory backup --restore {target}")
    return 0


def run_restore(settings: Settings, source: str, *, show: Show) -> int:
    """Make the memory what it was when a backup was made, and say where the present one is.

    Args:
        settings: Which memory.
        source: The backup.
        show: Gets lines for standard output.

    Returns:
        The exit status, 0.

    Raises:
        ConvexMemoryError: It could not be done; the memory is as it was.
    """
    from convex_memory.embedded.backup import put_back

    database = _database(settings)
    progress = Progress(sys.stderr, counted="MiB")
    try:
        before = put_back(Path(source), database, on_progress=_shown(progress))
    finally:
        progress.end()
    show(f"The memory in {settings.data_dir} is as it was in {source}.")
    if before.aside is not None:
        what = "The damaged file" if before.was_damaged else "What it was until now"
        show(f"{what} is kept in {before.aside}; delete it when you do not need it.")
    return 0


def _database(settings: Settings) -> Path:
    if not settings.embedded:
        raise ConfigurationError(
            "backup copies the file of a local folder, but CONVEX_URL names a Convex deployment. "
            "Use `convex-memory export FILE` for its rows, or Convex's own backups; or unset "
            "CONVEX_URL and CONVEX_ADMIN_KEY."
        )
    from convex_memory.embedded import DATABASE_NAME

    return settings.data_dir / DATABASE_NAME


def _shown(progress: Progress) -> Callable[[str, int, int | None], None]:
    def show(doing: str, done: int, total: int | None) -> None:
        progress.show(doing, done >> 20, done / total if total else None)

    return show
