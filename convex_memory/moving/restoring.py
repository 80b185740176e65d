"""Having a deployment store rows, several tables at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from convex_memory.deployment import Deployment
from convex_memory.errors import ConfigurationError, FunctionError, InvalidResponse
from convex_memory.moving.batches import Batch
from convex_memory.moving.export_file import Header
from convex_memory.moving.inventory import FIRST, RESTORE_FUNCTION, Inventory, lane_of

CALLS_IN_FLIGHT: Final = 4
"""Calls of different tables that wait for their answers at once."""
REPEATS_MAX: Final = 1000
"""Calls in a row that store nothing because they remove what is in the way."""
KEPT_NAMED_MAX: Final = 5

_COUNTED: Final = ("stored", "replaced", "unchanged", "dropped")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import.

    Attributes:
        replace: Whether a row that is there with other content is replaced; it is kept otherwise.
        dry_run: Whether nothing is written.
        partial: Whether to take a file that was cut short or changed.
    """

    replace: bool = False
    dry_run: bool = False
    partial: bool = False


@dataclass(slots=True)
class Imported:
    """What became of rows.

    Attributes:
        stored: Rows that were not there.
        replaced: Rows that were there with other content, and have that of the file now.
        kept: Rows that were there with other content, and were left alone.
        unchanged: Rows that were there as they are in the file.
        dropped: Entries of the cache that have expired.
        skipped: Rows that an interrupted import of the same file had stored.
        kept_rows: Line and table of the first rows that were kept.
        warnings: What else there is to know, as sentences.
    """

    stored: int = 0
    replaced: int = 0
    kept: int = 0
    unchanged: int = 0
    dropped: int = 0
    skipped: int = 0
    kept_rows: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that were looked at, or need not be."""
        done = self.stored + self.replaced + self.kept + self.unchanged
        return done + self.dropped + self.skipped

    def add(self, other: Imported) -> None:
        """Count what became of further rows."""
        for name in ("kept", *_COUNTED):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kept_rows += other.kept_rows[: KEPT_NAMED_MAX - len(self.kept_rows)]


class Restorer:
    """Calls `memory/transfer:restore`.

    Args:
        deployment: Where rows are stored.
        options: How they are stored.
        header: The header of the file they come from.
    """

    def __init__(self, deployment: Deployment, options: ImportOptions, header: Header) -> None:
        self.options = options
        self._deployment = deployment
        self._native = {
            table.name: table.native for table in header.tables if table.native is not None
        }

    async def try_native_tables(self) -> None:
        """Have the deployment refuse the native vector tables that it cannot have.

        Raises:
            FunctionError: It refuses one; the message says what to do.
        """
        for name in self._native:
            await self._call(Batch(name, 0, []), 0, dry_run=True)

    async def are_stored(self, batches: Iterable[Batch]) -> bool:
        """Whether the deployment has some rows, at least one and all as they are in the file."""
        count = 0
        for batch in batches:
            try:
                answer = await self._call(batch, 0, dry_run=True)
            except FunctionError:
                # What is in their way now is told with their line when they are stored.
                return False
            if answer["stored"] or answer["replaced"] or answer["done"] < len(batch.texts):
                return False
            count += 1
        return count > 0

    async def restore(self, batch: Batch) -> Imported:
        """Store the rows of a batch, in as many calls as the deployment needs.

        Raises:
            FunctionError: A row was refused; the message names its line.
        """
        imported = Imported()
        done = repeats = 0
        while done < len(batch.texts):
            try:
                answer = await self._call(batch, done, dry_run=self.options.dry_run)
            except FunctionError as error:
                raise _named(error, batch, done) from error
            imported.add(_read(answer, batch, done))
            repeats = 0 if answer["done"] else repeats + 1
            if repeats > REPEATS_MAX:
                raise InvalidResponse(
                    f"{RESTORE_FUNCTION} does not get beyond line {batch.first_line + done:,}."
                )
            done += answer["done"]
        return imported

    async def _call(self, batch: Batch, done: int, *, dry_run: bool) -> dict[str, Any]:
        """Send the rows of a batch that are left when so many are done."""
        table = batch.table
        arguments: dict[str, Any] = {
            "table": table,
            "rows": batch.texts[done:],
            "onExisting": "replace" if self.options.replace else "keep",
        }
        notes = [[at - done, text] for at, text in batch.notes.items() if at >= done]
        if notes:
            arguments["notes"] = notes
        if dry_run:
            arguments["dryRun"] = True
        if table in self._native:
            arguments["native"] = dict(self._native[table])
        # Whoever stores a row again finds it stored.
        answer = await self._deployment.call("mutation", RESTORE_FUNCTION, arguments, retry=True)
        if not isinstance(answer, Mapping) or not {"done", "kept", *_COUNTED} <= set(answer):
            raise InvalidResponse(f"{RESTORE_FUNCTION} did not answer with what it did.")
        return {name: _whole(value) for name, value in answer.items()}


def refuse_unknown(header: Header, inventory: Inventory) -> None:
    """Refuse a file with tables that a deployment cannot have.

    Raises:
        ConfigurationError: There is one; the message says what to do.
    """
    for table in header.tables:
        if table.native is None and table.name not in inventory.tables:
            raise ConfigurationError(
                f"The file has rows of {table.name[:80]!a}, a table that this deployment does not "
                "have. Update convex-memory, and deploy its functions there, to the version that "
                "wrote the file; or export without this table (--tables)."
            )


def _waits_for(table: str, other: str) -> bool:
    return lane_of(table) == lane_of(other) or (other in FIRST and table not in FIRST)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def _read(answer: Mapping[str, Any], batch: Batch, done: int) -> Imported:
    lines = [batch.first_line + done + int(position) for position in answer["kept"]]
    counts = {name: answer[name] for name in _COUNTED}
    kept_rows = [(line, batch.table) for line in lines[:KEPT_NAMED_MAX]]
    return Imported(**counts, kept=len(lines), kept_rows=kept_rows)


def _named(error: FunctionError, batch: Batch, done: int) -> FunctionError:
    position = error.details.get("position")
    if isinstance(position, int | float):
        line = batch.first_line + done + int(position)
        where = f"Line {line:,} ({batch.table})"
    else:
        line = batch.first_line + done
        where = f"Lines {line:,} to {batch.last_line:,} ({batch.table})"
    message = error.message.removeprefix(f"rows[{position}]: ")
    return type(error)(f"{where}: {message}", details={**error.details, "line": line})


class Flight:
    """The calls that wait for their answers, oldest first.

    Args:
        restorer: Makes the calls.
        on_landed: Gets each batch, in the order of the file, once it and all before it are done.
    """

    def __init__(self, restorer: Restorer, on_landed: Callable[[Batch, Imported], None]) -> None:
        self._restorer = restorer
        self._on_landed = on_landed
        self._calls: deque[tuple[Batch, asyncio.Task[Imported]]] = deque()

    async def start(self, batch: Batch) -> None:
        """Start a call, once there is room and no other of its lane is under way.

        Raises:
            ConvexMemoryError: An earlier call failed.
        """
        await self.land(CALLS_IN_FLIGHT - 1)
        while any(_waits_for(batch.table, other.table) for other, _ in self._calls):
            await self.land(len(self._calls) - 1)
        self._calls.append((batch, asyncio.create_task(self._restorer.restore(batch))))

    async def land(self, left: int) -> None:
        """Wait for the oldest calls until so many are left.

        Raises:
            ConvexMemoryError: One of them failed.
        """
        while len(self._calls) > left:
            batch, call = self._calls[0]
            # Whoever stops waiting does not take the call back: it may have happened.
            imported = await asyncio.shield(call)
            self._calls.popleft()
            self._on_landed(batch, imported)

    async def settle(self) -> None:
        """Wait for what is under way, whatever becomes of it."""
        await asyncio.gather(*(call for _, call in self._calls), return_exceptions=True)
        while self._calls:
            batch, call = self._calls.popleft()
            if call.cancelled() or call.exception() is not None:
                self._calls.clear()
            else:
                self._on_landed(batch, call.result())
