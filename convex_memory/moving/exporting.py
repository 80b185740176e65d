"""Reading every row of a deployment, a page at a time.

What is promised: every row that was there from the beginning to the end is in the file, as it was
at some moment between, and no row is in it twice. On a snapshot of an embedded deployment all rows
are of one moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from convex_memory.deployment import Deployment
from convex_memory.errors import InvalidResponse
from convex_memory.moving.export_file import ExportWriter, MovedTable
from convex_memory.moving.inventory import FIRST, PAGE_FUNCTION, lane_of

PAGES_IN_FLIGHT: Final = 4
"""Lanes that are read beside each other. Their pages alternate in the file, so that whoever
imports it has work for several calls at once too."""


@dataclass(frozen=True, slots=True)
class Exported:
    """How many rows of each table were written."""

    counts: dict[str, int]

    @property
    def rows(self) -> int:
        """How many rows of all tables."""
        return sum(self.counts.values())


@dataclass(slots=True)
class _Lane:
    """Tables that are read one after the other, and where in the first of them reading is."""

    tables: deque[str] = field(default_factory=deque)
    cursor: str | None = None


async def export_rows(
    deployment: Deployment,
    writer: ExportWriter,
    tables: Sequence[MovedTable],
    *,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Exported:
    """Write every row of some tables.

    Memory holds a few pages (`TRANSFER_BYTES_MAX`), however many rows there are.

    Args:
        deployment: Where to read.
        writer: Where to write; its header has been written, its end is the caller's. It is used
            in a thread.
        tables: The tables.
        on_progress: Gets the number of rows written so far.

    Raises:
        DeploymentError: A page could not be read.
        OSError: A page could not be written.
    """
    first = [table for table in tables if table.name in FIRST]
    rest = [table for table in tables if table.name not in FIRST]
    for some in (first, rest):
        await _export_lanes(deployment, writer, _lanes(some), on_progress)
    return Exported(dict(writer.counts))


async def _export_lanes(
    deployment: Deployment,
    writer: ExportWriter,
    waiting: deque[_Lane],
    on_progress: Callable[[int], None],
) -> None:
    running: dict[asyncio.Task[_Page], _Lane] = {}
    try:
        while waiting or running:
            while waiting and len(running) < PAGES_IN_FLIGHT:
                lane = waiting.popleft()
                running[asyncio.create_task(_page(deployment, lane))] = lane
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                lane = running.pop(task)
                page = task.result()
                if lane.tables:
                    # Read on while this page is written.
                    running[asyncio.create_task(_page(deployment, lane))] = lane
                if page.rows:
                    await asyncio.to_thread(writer.put, page.table, page.rows, page.notes)
                    on_progress(writer.rows)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _lanes(tables: Sequence[MovedTable]) -> deque[_Lane]:
    lanes: dict[str, _Lane] = {}
    for table in tables:
        lanes.setdefault(lane_of(table.name), _Lane()).tables.append(table.name)
    return deque(lanes.values())


@dataclass(frozen=True, slots=True)
class _Page:
    table: str
    rows: list[str]
    notes: dict[int, str]


async def _page(deployment: Deployment, lane: _Lane) -> _Page:
    """Read the next page of a lane, and move it on."""
    table = lane.tables[0]
    arguments = {"table": table} | ({} if lane.cursor is None else {"cursor": lane.cursor})
    answer: Any = await deployment.call("query", PAGE_FUNCTION, arguments)
    try:
        rows, cursor = list(answer["rows"]), answer["cursor"]
        notes = {int(position): text for position, text in answer.get("notes", ())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidResponse(f"{PAGE_FUNCTION} did not answer with a page.") from error
    if not all(isinstance(text, str) for text in (*rows, *notes.values())):
        raise InvalidResponse(f"{PAGE_FUNCTION} did not answer with the texts of rows.")
    if cursor is not None and cursor == lane.cursor:
        raise InvalidResponse(f"{PAGE_FUNCTION} answered with the same page again.")
    lane.cursor = cursor
    if cursor is None:
        lane.tables.popleft()
    return _Page(table, rows, notes)
