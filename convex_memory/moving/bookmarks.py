"""How far an import has come, beside the file it reads, so that it can go on after an interruption.

A bookmark is a hint, and whoever follows it asks the deployment first whether rows that it calls
done are there. Losing it, or one that is old, costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from convex_memory.moving.export_file import STANDARD

WRITTEN_EVERY_SECONDS: Final = 0.5
SAMPLE_ROWS: Final = 20
"""Rows of the first and of the last call for each table that are asked for before going on."""

Span = tuple[int, int]
"""First and last line."""


@dataclass(slots=True)
class Bookmark:
    """What an import has done.

    Attributes:
        size: Bytes of the file.
        modified_ns: When it was last written.
        replace: Whether it replaced rows that were there.
        done: All rows up to this line are stored.
        first: Table → the lines of the first rows that were stored.
        last: Table → the lines of the last rows that were stored.
    """

    size: int
    modified_ns: int
    replace: bool
    done: int = 0
    first: dict[str, Span] = field(default_factory=dict)
    last: dict[str, Span] = field(default_factory=dict)

    def samples(self) -> dict[int, str]:
        """Return the lines to ask for, each with its table."""
        return {
            line: table
            for spans in (self.first, self.last)
            for table, (begin, end) in spans.items()
            for line in range(begin, min(end, begin + SAMPLE_ROWS) + 1)
        }


class BookmarkFile:
    """The file that holds the bookmark of one import.

    Args:
        source: The file that is imported; standard input has no bookmark.
        target: What names the deployment; only its hash is written.
        replace: Whether rows that are there are replaced.
    """

    def __init__(self, source: str, target: str, *, replace: bool) -> None:
        self._written_at = 0.0
        path = Path(source)
        self._path: Path | None = None
        self.bookmark = Bookmark(0, 0, replace)
        if source != STANDARD and path.is_file():
            there = path.stat()
            name = hashlib.sha256(target.encode()).hexdigest()[:8]
            self._path = path.with_name(f".{path.name}.{name}.importing")
            self.bookmark = Bookmark(there.st_size, there.st_mtime_ns, replace)

    @property
    def is_beside_file(self) -> bool:
        """Whether there is a file, which can be read again, rather than a pipe."""
        return self._path is not None

    def earlier(self) -> Bookmark | None:
        """Return the bookmark that an interrupted import of this very file has left, or None."""
        if self._path is None:
            return None
        try:
            fields = json.loads(self._path.read_bytes())
            found = Bookmark(**fields)
            found.samples()
        except (OSError, ValueError, TypeError):
            return None
        now = self.bookmark
        said = (found.size, found.modified_ns, found.replace)
        return found if said == (now.size, now.modified_ns, now.replace) else None

    def go_on(self, earlier: Bookmark) -> None:
        """Go on with what an interrupted import has noted."""
        self.bookmark = earlier

    def stored(self, table: str, first: int, last: int) -> None:
        """Note that the rows of some lines are stored, as are all before them."""
        bookmark = self.bookmark
        bookmark.done = last
        bookmark.first.setdefault(table, (first, min(last, first + SAMPLE_ROWS - 1)))
        bookmark.last[table] = (max(first, last - SAMPLE_ROWS + 1), last)
        if time.monotonic() - self._written_at >= WRITTEN_EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the bookmark; a folder that cannot be written to has none."""
        if self._path is None or not self.bookmark.done:
            return
        self._written_at = time.monotonic()
        with contextlib.suppress(OSError), _replacing(self._path) as partial:
            partial.write_text(json.dumps(asdict(self.bookmark)))

    def forget(self) -> None:
        """Remove the bookmark: the import is done."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.touch(mode=0o600)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
