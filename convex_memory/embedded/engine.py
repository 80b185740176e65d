"""The engine under the embedded deployment: one SQLite file, many callers, many processes.

Writes go through one writer thread per process. Everything that waits for it when it starts a
transaction shares that transaction and its one fsync (group commit), each caller inside a
savepoint of its own, so that a refused write takes nothing of the others with it. A write
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

from convex_memory.embedded.documents import Documents, NeedsWrite, TakesLong
from convex_memory.embedded.migrations import migrate, refuse_newer
from convex_memory.embedded.near_reads import NearReads
from convex_memory.embedded.turns import TurnsConnection
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.errors import (
    ConfigurationError,
    ConvexMemoryError,
    DeploymentError,
    Overloaded,
    StorageFailed,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Documents], T]

BUSY_TIMEOUT_MS: Final = 10_000
"""How long to wait for another process that holds the write lock."""
GROUP_WRITES_MAX: Final = 256
"""Writes that share one commit."""
GROUP_SECONDS_MAX: Final = 0.1
"""How long a group collects: other processes wait for the lock meanwhile."""
READERS: Final = 2
CHANGES_KEPT: Final = 100_000
"""Entries the change log keeps; a follower further behind reads everything anew."""
_OPEN_AGAIN_SECONDS: Final = 0.02
_TURN_SECONDS: Final = 0.001
"""How often to look whether the write lock is free, and how long to leave it so for others."""
_SQLITE_MINIMUM: Final = (3, 35, 0)


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
        self.path = path
        self._when_idle = when_idle
        self.now_ms = now_ms or (lambda: time.time() * 1000)
        self._writes: _Queue = queue.SimpleQueue()
        self._reads: _Queue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._opening = threading.Lock()
        self._closed = False
        self._writing = False
        self._seen_version = 0
        self._salt = b""
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
                    connection = self._connect()
                except BaseException as error:
                    request.error = self._translated(error)
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
                self._near.open(partial(self._open, shared=True))
        if not request.future.cancelled():
            try:
                connection.execute("BEGIN")
                request.result = request.work(self._documents(connection, writable=False))
            except BaseException as error:
                request.error = self._translated(error)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            _settle([request])
        return False

    def _write_group(self, connection: sqlite3.Connection, first: _Request) -> bool:
        """Run `first` and what queues up behind it in one transaction; say whether to close."""
        group, closing = [first], False
        try:
            self._begin(connection)
            self._writing = True
            closing = self._run_group(connection, group)
            self._writing = False
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = self._translated(error)
            for request in group:
                request.error = request.error or failure
        self._writing = False
        _settle(group)
        if not closing:
            self._use_idle_time(connection)
        return closing

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take the write lock; SQLite itself would sleep up to 100 ms beside a lock that is free.

        Raises:
            sqlite3.OperationalError: Another process kept it for `BUSY_TIMEOUT_MS`.
        """
        until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen_version:
            # Others write too. Whoever waits looks every now and then: let it find the lock free.
            self._seen_version = version
            time.sleep(_TURN_SECONDS)
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if not _is_busy(error) or time.monotonic() > until:
                        raise
                time.sleep(_TURN_SECONDS)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    def _use_idle_time(self, connection: sqlite3.Connection) -> None:
        more = self._when_idle is not None
        while more and self._writes.empty():
            more = False
            try:
                # Deferred: looking whether there is work must not take the write lock.
                connection.execute("BEGIN")
                if self._when_idle is not None:
                    more = self._when_idle(self._documents(connection, writable=True))
                connection.execute("COMMIT" if more else "ROLLBACK")
            except Exception:
                # Nobody waits for it; it is tried again after the next write.
                logger.debug("work left for idle time failed", exc_info=True)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

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
            request.error = self._translated(error)
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
            self._salt,
            self.now_ms,
            self._create_time,
            writable=writable,
            vectors=self._vectors,
            until=until,
        )

    def _create_time(self) -> float:
        self._last_created = max(self.now_ms(), self._last_created + 1 / 1024)
        return self._last_created

    # --- Opening

    def _connect(self) -> sqlite3.Connection:
        with self._opening:
            if not self._salt:
                self._salt = self._prepare()
        return self._open()

    def _prepare(self) -> bytes:
        if sqlite3.sqlite_version_info < _SQLITE_MINIMUM:
            raise ConfigurationError(
                f"This Python has SQLite {sqlite3.sqlite_version}; at least "
                f"{'.'.join(map(str, _SQLITE_MINIMUM))} is needed. Use a newer Python."
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The memory folder {self.path.parent} cannot be used ({error.strerror}). "
                "Set MEMORY_DATA_DIR to a folder that can be written."
            ) from error
        until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                return self._open_first()
            except sqlite3.Error as error:
                # SQLite does not wait where processes that open a new file at the same time
                # stand in each other's way.
                if _is_busy(error) and time.monotonic() < until:
                    time.sleep(_OPEN_AGAIN_SECONDS)
                    continue
                if _is_busy(error):
                    raise
                raise ConfigurationError(
                    f"{self.path} cannot be opened as a memory ({error}). Check that the folder "
                    "can be written and is on a local disk; to start anew, set MEMORY_DATA_DIR to "
                    "another folder."
                ) from error

    def _open_first(self) -> bytes:
        """Bring the file to this program's version and return its salt."""
        with contextlib.closing(self._open()) as connection:
            # First of all: a file of a newer version is not to be touched.
            refuse_newer(connection, self.path)
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, self.path)
            connection.execute("BEGIN IMMEDIATE")
            prune_changes(connection)
            connection.execute("COMMIT")
            row = connection.execute("SELECT value FROM settings WHERE name = 'salt'").fetchone()
            return bytes(row[0])

    def _open(self, *, shared: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            cached_statements=512,
            factory=TurnsConnection,
            check_same_thread=not shared,
        )
        try:
            # A commit that returned is on the disk, whatever happens next.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _translated(self, error: BaseException) -> BaseException:
        """Turn a failure of SQLite or of the disk into one of ours; leave the others alone."""
        if isinstance(error, ConvexMemoryError | NeedsWrite) or not isinstance(
            error, sqlite3.Error
        ):
            return error
        name = getattr(error, "sqlite_errorname", "") or ""
        for prefix, kind, message in _FAILURES:
            if name.startswith(prefix):
                failure = kind(message.format(folder=self.path.parent))
                break
        else:
            failure = StorageFailed(f"SQLite failed ({name or type(error).__name__}).")
        failure.__cause__ = error
        return failure


_FAILURES: Final[tuple[tuple[str, type[DeploymentError], str], ...]] = (
    (
        "SQLITE_FULL",
        StorageFailed,
        "The disk that holds {folder} is full; nothing was changed. Free some space and try again.",
    ),
    (
        "SQLITE_BUSY",
        Overloaded,
        f"Another process kept the memory in {{folder}} locked for {BUSY_TIMEOUT_MS // 1000} s; "
        "nothing was changed. Try again.",
    ),
    (
        "SQLITE_READONLY",
        StorageFailed,
        "The memory in {folder} is read-only; nothing was changed. Make the folder writable or "
        "set MEMORY_DATA_DIR.",
    ),
    (
        "SQLITE_CORRUPT",
        StorageFailed,
        "The memory file in {folder} is damaged. Run `convex-memory doctor`, and restore a backup.",
    ),
    (
        "SQLITE_NOTADB",
        StorageFailed,
        "The memory file in {folder} is not a SQLite database. Restore a backup.",
    ),
    (
        "SQLITE_IOERR",
        StorageFailed,
        "The disk that holds {folder} failed; nothing was changed. Check the disk.",
    ),
)


def _is_busy(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def prune_changes(connection: sqlite3.Connection) -> None:
    """Shorten the change log to its newest `CHANGES_KEPT` entries."""
    connection.execute(
        "DELETE FROM changes WHERE sequence <= (SELECT max(sequence) FROM changes) - ?",
        (CHANGES_KEPT,),
    )


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
