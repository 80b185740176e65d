"""Small reads on the caller's own thread: handing one over costs several times what it reads.

Its event loop must not notice. So a read here waits for nobody: it takes no lock that another
holds, it never checkpoints, and it has `NEAR_SECONDS_MAX` of time, looked at between rows and
every `_STEPS` instructions of SQLite; what needs more begins anew in a thread. Callers that do
nothing but read let others have their turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from convex_memory.embedded.documents import Documents, TakesLong

T = TypeVar("T")

NEAR_SECONDS_MAX: Final = 0.003
"""How long a small read may keep its event loop."""
TURN_SECONDS: Final = 0.0005
"""How long small reads may follow one another before others on the loop have a turn."""
_APART_SECONDS: Final = 0.0002
"""What comes later after a read than this does not follow it."""
_STEPS: Final = 1000


class NearReads:
    """One connection for small reads, used by whichever event loop asks first.

    Args:
        documents: Wraps the connection for one transaction that has to end by a time.
    """

    def __init__(self, documents: Callable[[sqlite3.Connection, float], Documents]) -> None:
        self._documents = documents
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._until = math.inf
        self._began = self._ended = 0.0

    @property
    def is_open(self) -> bool:
        """Whether reads can run here."""
        return self._connection is not None

    def open(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Open the connection, in a thread that may wait; until then every read is refused."""
        with self._lock:
            if self._connection is None:
                connection = connect()
                # Whoever would have to wait goes to a thread instead.
                connection.execute("PRAGMA busy_timeout = 0")
                connection.set_progress_handler(self._is_over, _STEPS)
                self._connection = connection

    def close(self) -> None:
        """Close the connection, in a thread that may wait. Idempotent."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def read(self, work: Callable[[Documents], T]) -> T:
        """Run `work` on one snapshot, here and now.

        Raises:
            TakesLong: It has to run in a thread: it needs more time, or the connection is used
                by another thread, or is not open yet.
            Exception: What `work` raised.
        """
        began = time.perf_counter()
        if began - self._ended > _APART_SECONDS:
            self._began = began
        result = self._run(work, began)
        self._ended = time.perf_counter()
        if self._ended - self._began > TURN_SECONDS:
            # A read here never waits by itself, so that nobody else on the loop would run.
            await asyncio.sleep(0)
            self._began = self._ended = time.perf_counter()
        return result

    def _run(self, work: Callable[[Documents], T], began: float) -> T:
        connection = self._connection
        if connection is None or not self._lock.acquire(blocking=False):
            raise TakesLong
        try:
            self._until = began + NEAR_SECONDS_MAX
            connection.execute("BEGIN")
            return work(self._documents(connection, self._until))
        except sqlite3.Error as error:
            # Busy or interrupted, as a rule; a thread sees whether it was something worse.
            raise TakesLong from error
        finally:
            self._until = math.inf
            # Where not even this can be done, every read from here on goes to a thread.
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._lock.release()

    def _is_over(self) -> bool:
        return time.perf_counter() > self._until
