"""The engine under the embedded deployment: one SQLite file, many callers, many processes.

Writes go through one writer thread per process. Everything that waits for it when it starts a
transaction shares that transaction and its one fsync (group commit), each caller inside a
savepoint of its own, so that a refused write takes nothing of the others with it. A group is
what has queued up while the last one was committed; to wait for more of them was tried, and gains
nothing. A write
returns after the commit that holds it is on disk (`synchronous=FULL`): it survives `kill -9`
and power loss.

Reads run in parallel on reader threads, each with its own connection and each in one
transaction, that is on one snapshot. Small ones run where they are asked for (`near_reads`).
Nothing ever blocks the event loop.

Several processes may open one file. `BEGIN IMMEDIATE` takes the write lock before anything is
read, so no update is lost; a busy file is waited for, up to `BUSY_TIMEOUT_MS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from convex_memory.embedded import free_pages
from convex_memory.embedded.database_file import DatabaseFile
from convex_memory.embedded.documents import Documents, NeedsWrite, TakesLong
from convex_memory.embedded.failures import translated
from convex_memory.embedded.near_reads import NearReads
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.errors import DeploymentError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Documents], T]

GROUP_WRITES_MAX: Final = 256
"""Writes that share one commit."""
GROUP_SECONDS_MAX: Final = 0.1
"""How long a group collects: other processes wait for the lock meanwhile."""
READERS: Final = 2


@dataclass(slots=True)
class _Request:
    """One unit of work on its way to a thread, and the future that its caller awaits."""

    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


_Queue: TypeAlias = "queue.SimpleQueue[_Request | None]"
"""Work for the threads; None asks one thread to finish."""
_Handle: TypeAlias = Callable[[sqlite3.Connection, _Request], bool]


class Engine:
    """One database file.

    Nothing is opened until the first read or write.

    Args:
        path: The file; its folder is made when missing, readable by the owner only.
        now_ms: The clock, in milliseconds since the epoch.
        when_idle: Runs in a transaction of its own while no write waits, for as long as it
            returns True: work that must be finished some time, by whichever process.
    """

    def __init__(
        self,
        path: Path,
        *,
        now_ms: Callable[[], float] | None = None,
        when_idle: Work[bool] | None = None,
    ) -> None:
        self._file = DatabaseFile(path)
        self._when_idle = when_idle
        self.now_ms = now_ms or (lambda: time.time() * 1000)
        self._writes: _Queue = queue.SimpleQueue()
        self._reads: _Queue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._closed = False
        self._writing = False
        self._last_created = 0.0
        self._vectors = VectorIndexes()
        self._near = NearReads(partial(self._documents, writable=False))

    # --- Callers, on the event loop

    async def read(self, work: Work[T], *, small: bool = False) -> T:
        """Run `work` on one snapshot; where it turns out to write, run it again as a write.

        Args:
            work: What to run; it may be begun more than once.
            small: Whether it reads a few rows by index, so that handing it to a thread would
                take longer than it does.

        Raises:
            ConvexMemoryError: What `work` raised, or `StorageFailed` and its siblings.
        """
        try:
            if small and not self._closed and not self._writing:
                with contextlib.suppress(TakesLong):
                    return await self._near.read(work)
            return await self._submit(self._reads, work)
        except NeedsWrite:
            return await self.write(work)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return once it is durable.

        A caller that is cancelled while its work still waits never has it run; once it has
        begun, it is committed whole.

        Raises:
            ConvexMemoryError: What `work` raised (it was rolled back), `Overloaded` when the
                file stayed locked, `StorageFailed` when the disk failed.
        """
        return await self._submit(self._writes, work)

    async def aclose(self) -> None:
        """Finish what is queued, then close the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self._near.close)
        await asyncio.to_thread(self._vectors.finish)

    async def _submit(self, requests: _Queue, work: Work[T]) -> T:
        if self._closed:
            raise DeploymentError("The embedded deployment is closed.")
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        request = _Request(work, loop, loop.create_future())
        requests.put(request)
        result: T = await request.future
        return result

    def _start(self) -> None:
        with self._starting:
            if self._threads:
                return
            serve: list[tuple[str, _Queue, _Handle]] = [("writer", self._writes, self._write_group)]
            serve += [("reader", self._reads, self._read_one)] * READERS
            self._threads = [
                threading.Thread(
                    target=self._serve, args=(requests, handle), name=name, daemon=True
                )
                for name, requests, handle in serve
            ]
            for thread in self._threads:
                thread.start()

    # --- The threads

    def _serve(self, requests: _Queue, handle: _Handle) -> None:
        connection: sqlite3.Connection | None = None
        while (request := requests.get()) is not None:
            if connection is None:
                try:
                    connection = self._file.connect()
                except BaseException as error:
                    request.error = translated(error, self._file.path.parent)
                    _settle([request])
                    continue
            if handle(connection, request):
                break
        if connection is not None:
            connection.close()

    def _read_one(self, connection: sqlite3.Connection, request: _Request) -> bool:
        if not self._near.is_open:
            # A failure is not this read's: it will show itself in it, or in the next.
            with contextlib.suppress(sqlite3.Error):
                self._near.open(partial(self._file.connect, shared=True))
        if not request.future.cancelled():
            try:
                connection.execute("BEGIN")
                request.result = request.work(self._documents(connection, writable=False))
            except BaseException as error:
                request.error = translated(error, self._file.path.parent)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            _settle([request])
        return False

    def _write_group(self, connection: sqlite3.Connection, first: _Request) -> bool:
        """Run `first` and what queues up behind it in one transaction; say whether to close."""
        group, closing = [first], False
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._writing = True
            closing = self._run_group(connection, group)
            self._writing = False
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = translated(error, self._file.path.parent)
            for request in group:
                request.error = request.error or failure
        self._writing = False
        _settle(group)
        if not closing:
            self._use_idle_time(connection)
        return closing

    def _use_idle_time(self, connection: sqlite3.Connection) -> None:
        more = True
        while more and self._writes.empty():
            more = False
            try:
                # Deferred: looking whether there is work must not take the write lock.
                connection.execute("BEGIN")
                more = self._tidy(self._documents(connection, writable=True))
                connection.execute("COMMIT" if more else "ROLLBACK")
            except Exception:
                # Nobody waits for it; it is tried again after the next write.
                logger.debug("work left for idle time failed", exc_info=True)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _tidy(self, documents: Documents) -> bool:
        if self._when_idle is not None and self._when_idle(documents):
            return True
        return free_pages.give_back(documents.connection)

    def _run_group(self, connection: sqlite3.Connection, group: list[_Request]) -> bool:
        documents = self._documents(connection, writable=True)
        until = time.monotonic() + GROUP_SECONDS_MAX
        while True:
            self._run_in_savepoint(connection, documents, group[-1])
            if len(group) >= GROUP_WRITES_MAX or time.monotonic() > until:
                return False
            try:
                request = self._writes.get_nowait()
            except queue.Empty:
                return False
            if request is None:
                return True
            group.append(request)

    def _run_in_savepoint(
        self, connection: sqlite3.Connection, documents: Documents, request: _Request
    ) -> None:
        if request.future.cancelled():
            return
        connection.execute("SAVEPOINT one")
        try:
            request.result = request.work(documents)
        except BaseException as error:
            request.error = translated(error, self._file.path.parent)
            if not connection.in_transaction:
                # SQLite gave up the whole transaction (a full disk does that): so must we.
                raise
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")

    def _documents(
        self, connection: sqlite3.Connection, until: float = math.inf, *, writable: bool
    ) -> Documents:
        return Documents(
            connection,
            self._file.salt,
            self.now_ms,
            self._create_time,
            writable=writable,
            vectors=self._vectors,
            until=until,
        )

    def _create_time(self) -> float:
        self._last_created = max(self.now_ms(), self._last_created + 1 / 1024)
        return self._last_created


def _settle(requests: list[_Request]) -> None:
    """Hand results to their event loops: one wake-up for each loop, not one for each call."""
    loops: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in requests:
        loops.setdefault(request.loop, []).append(request)
    for loop, waiting in loops.items():
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(requests: list[_Request]) -> None:
    for request in requests:
        if request.future.done():
            continue
        if request.error is not None:
            request.future.set_exception(request.error)
        else:
            request.future.set_result(request.result)
