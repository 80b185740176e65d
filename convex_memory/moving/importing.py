"""Storing every row of a file.

A row is known by its key, so importing twice changes nothing. Rows of one table are stored in
their order, one call after the other; tables beside each other.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from convex_memory.deployment import Deployment
from convex_memory.errors import ConfigurationError, FunctionError
from convex_memory.moving.batches import Batch, batches
from convex_memory.moving.bookmarks import Bookmark, BookmarkFile
from convex_memory.moving.export_file import ExportReader, Header, RowLine, opened_for_reading
from convex_memory.moving.inventory import Inventory, inventory_of
from convex_memory.moving.noted import NotesFilter
from convex_memory.moving.restoring import Flight, Imported, ImportOptions, Restorer, refuse_unknown
from convex_memory.row_text import check_row_text, read_row

ROWS_AT_ONCE: Final = 500
"""Rows that are read between two looks at whether the caller still wants it."""

Progress = Callable[[str, int, int], None]
"""Gets what is going on, rows done, and bytes of the file read."""


async def import_rows(
    deployment: Deployment,
    source: str,
    target: str,
    options: ImportOptions,
    *,
    on_progress: Progress = lambda doing, rows, bytes_read: None,
) -> Imported:
    """Store every row of a file in a deployment.

    A file is read twice: nothing of one that is damaged, or has a row that no deployment would
    take, is stored. Standard input is stored as it comes. Memory holds a few calls
    (`TRANSFER_BYTES_MAX`), however large the file is.

    An import that was interrupted goes on where it was when it is started again with the same
    arguments: beside the file is a bookmark, and before following it the deployment is asked for
    rows that it calls stored.

    Args:
        deployment: Where to store.
        source: A file, or `-` for standard input.
        target: What names the deployment, so that a bookmark is not followed for another one.
        options: How.
        on_progress: Gets told every now and then.

    Raises:
        ConfigurationError: The file cannot be read, or not whole.
        FunctionNotDeployed: The deployment lacks the functions.
        FunctionError: A row was refused; the message names its line. What stands before it may
            be stored, nothing of its call is.
        DeploymentError: The deployment gave no usable answer.
    """
    work = _Import(source, options, await inventory_of(deployment), on_progress)
    bookmarks = BookmarkFile(source, target, replace=options.replace)
    earlier = None if options.dry_run else bookmarks.earlier()
    if bookmarks.is_beside_file:
        header, sample = await work.check(earlier)
        restorer = Restorer(deployment, options, header)
        if earlier is not None and not await restorer.are_stored(batches(iter(sample))):
            earlier = None
    await work.store(deployment, bookmarks, earlier)
    return work.imported


class _Import:
    """One import, from looking at the file to its end."""

    def __init__(
        self, source: str, options: ImportOptions, inventory: Inventory, on_progress: Progress
    ) -> None:
        self.imported = Imported()
        self._inventory = inventory
        self._noted = NotesFilter(inventory.notes, time.time() * 1000)
        self._source = source
        self._options = options
        self._on_progress = on_progress
        self._unsearchable: dict[int, list[str]] = defaultdict(list)

    # --- Looking

    async def check(self, earlier: Bookmark | None) -> tuple[Header, list[RowLine]]:
        """Read the whole file; return its header, and the rows that `earlier` has as a sample."""
        reader = opened_for_reading(self._source)
        try:
            header = reader.header()
            refuse_unknown(header, self._inventory)
            known = {table.name for table in header.tables}
            done = 0 if earlier is None else earlier.done
            wanted = set() if earlier is None else earlier.samples()
            sample: list[RowLine] = []
            noted = NotesFilter(self._inventory.notes, time.time() * 1000)

            def look(row: RowLine) -> None:
                if row.table not in known:
                    raise reader.flaw(f"the header has no table {row.table[:80]!a}")
                if row.line > done:
                    # What was stored once need not be looked at again.
                    self._check_row(reader, row)
                elif row.line in wanted:
                    passed = noted.passed(row)
                    sample.extend([] if passed is None else [passed])

            rows = reader.rows()
            while await asyncio.to_thread(_each, rows, look):
                self._on_progress("checking", reader.line - 1, reader.bytes_read)
            self._refuse_cut(reader, "Nothing was stored.")
        finally:
            reader.close()
        self._warn()
        return header, sample

    def _check_row(self, reader: ExportReader, row: RowLine) -> None:
        try:
            special = self._inventory.special_values
            fields = check_row_text(row.text, f"A row of {row.table}", special=special)
            if row.notes is not None:
                read_row(row.notes)
        except FunctionError as error:
            raise type(error)(
                f"Line {row.line:,} of {reader.name} ({row.table}): {error.message} Nothing was "
                "stored.",
                details={**error.details, "line": row.line},
            ) from error
        if row.table == "mastra_vector_indexes" and self._inventory.dimensions is not None:
            dimension = fields.get("dimension")
            if isinstance(dimension, int | float) and dimension not in self._inventory.dimensions:
                self._unsearchable[int(dimension)].append(str(fields.get("indexName")))

    def _warn(self) -> None:
        for dimension, names in self._unsearchable.items():
            self.imported.warnings.append(
                f"There is no vector table for {dimension} dimensions here, so the vectors of "
                f"{', '.join(names[:5])} are stored but not searched: put memory_vectors_"
                f"{dimension}: nativeVectors({dimension}) into schema.ts, deploy, and run "
                "memory/upkeep:adopt."
            )

    # --- Storing

    async def store(
        self, deployment: Deployment, bookmarks: BookmarkFile, earlier: Bookmark | None
    ) -> None:
        """Store the rows; those that an earlier import has stored are left out."""
        reader = opened_for_reading(self._source)
        try:
            header = reader.header()
            refuse_unknown(header, self._inventory)
            restorer = Restorer(deployment, self._options, header)
            await restorer.try_native_tables()
            rows = reader.rows()
            if earlier is not None:
                bookmarks.go_on(earlier)
                await self._skip(reader, rows, earlier.done)
            await self._store_rest(reader, rows, restorer, bookmarks)
            self.imported.warnings += self._noted.warnings()
            what = "would be" if self._options.dry_run else "are"
            self._refuse_cut(reader, f"{self.imported.rows:,} rows of it {what} stored.")
        finally:
            reader.close()
        if not self._options.dry_run:
            bookmarks.forget()

    async def _skip(self, reader: ExportReader, rows: Iterator[RowLine], upto: int) -> None:
        def count(row: RowLine) -> None:
            self.imported.skipped += 1

        while (left := upto - reader.line) > 0:
            await asyncio.to_thread(_each, rows, count, min(left, ROWS_AT_ONCE))
            self._on_progress("skipping", self.imported.skipped, reader.bytes_read)

    async def _store_rest(
        self,
        reader: ExportReader,
        rows: Iterator[RowLine],
        restorer: Restorer,
        bookmarks: BookmarkFile,
    ) -> None:
        def landed(batch: Batch, imported: Imported) -> None:
            self.imported.add(imported)
            if not self._options.dry_run:
                bookmarks.stored(batch.table, batch.first_line, batch.last_line)

        gathered = batches(self._passed(reader, rows))
        flight = Flight(restorer, landed)
        try:
            while (batch := await asyncio.to_thread(next, gathered, None)) is not None:
                await flight.start(batch)
                self._on_progress("importing", self.imported.rows, reader.bytes_read)
            await flight.land(0)
        finally:
            await flight.settle()
            bookmarks.write()
        self._on_progress("importing", self.imported.rows, reader.bytes_read)

    def _passed(self, reader: ExportReader, rows: Iterator[RowLine]) -> Iterator[RowLine]:
        for row in rows:
            try:
                passed = self._noted.passed(row)
            except ValueError as error:
                raise reader.flaw("its notes are no JSON object") from error
            if passed is None:
                self.imported.dropped += 1
            else:
                yield passed

    def _refuse_cut(self, reader: ExportReader, consequence: str) -> None:
        if reader.is_whole or self._options.partial:
            return
        if reader.is_ended:
            raise ConfigurationError(
                f"{reader.name} is not as it was written: its checksum is another. {consequence} "
                "Copy or export it again; or, if it was changed on purpose, add --partial."
            )
        raise ConfigurationError(
            f"{reader.name} was cut short: it ends after line {reader.line:,}, without its last "
            f"line. {consequence} Copy or export it again; or add --partial to take what there is."
        )


def _each(
    rows: Iterator[RowLine], do: Callable[[RowLine], None], count: int = ROWS_AT_ONCE
) -> bool:
    """Do something with the next rows; say whether there may be more."""
    done = 0
    for row in islice(rows, count):
        do(row)
        done += 1
    return done == count
