"""One moment of an embedded deployment, for reads that belong together."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn

from convex_memory.deployment import Kind
from convex_memory.embedded import DATABASE_NAME, EmbeddedDeployment
from convex_memory.embedded.documents import Documents, NeedsWrite
from convex_memory.embedded.functions import FUNCTIONS
from convex_memory.errors import (
    DeploymentError,
    FunctionError,
    FunctionNotDeployed,
    StorageFailed,
)
from convex_memory.values import Value, check, plain


class Snapshot:
    """A `Deployment` that answers queries as of one moment, whatever is written meanwhile.

    It is a context manager; the moment is that of entering. The database's log grows while it
    is open, because what it sees must stay.

    Args:
        deployment: Whose rows; it stays usable, and open.
        now_ms: The clock, in milliseconds since the epoch; asked once, at that moment.
    """

    def __init__(
        self, deployment: EmbeddedDeployment, *, now_ms: Callable[[], float] | None = None
    ) -> None:
        self._deployment = deployment
        self._now_ms = now_ms or (lambda: time.time() * 1000)
        self._moment = 0.0
        # A connection belongs to the thread that opened it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def __aenter__(self) -> Snapshot:
        # The first call makes the file, or brings it to this version.
        await self._deployment.call("query", "memory/meta:version", {})
        await self._run(self._open)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        """Run one query; see `Deployment.call`.

        Raises:
            FunctionNotDeployed: There is no query at this path.
            FunctionError: The query refused, or it is none.
        """
        function = FUNCTIONS.get(path)
        if function is None:
            raise FunctionNotDeployed(f"Could not find function for '{path}'.")
        if function.kind != "query" or kind != "query":
            raise FunctionError(f"{path} cannot be called on a snapshot, which is only read.")
        if self._closed:
            raise DeploymentError("The snapshot is closed.")
        check(args)
        plain_args: dict[str, Any] = {name: plain(value) for name, value in args.items()}

        def run() -> Value:
            assert self._connection is not None
            documents = Documents(
                self._connection, b"", lambda: self._moment, _no_time, writable=False
            )
            return function.handler(documents, plain_args)

        value: Value = await self._run(run)
        return value

    async def aclose(self) -> None:
        """Let go of the moment. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._run(self._close)
            self._thread.shutdown()

    async def _run(self, work: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, partial(_translating, work))
        except NeedsWrite as error:
            raise FunctionError("This query writes, which a snapshot cannot.") from error

    def _open(self) -> None:
        path = self._deployment.folder / DATABASE_NAME
        connection = sqlite3.connect(path, isolation_level=None)
        self._connection = connection
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        # The first read is what fixes the moment.
        connection.execute("SELECT count(*) FROM settings").fetchone()
        self._moment = self._now_ms()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _translating(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        raise StorageFailed(f"SQLite failed ({name}) while the memory was read.") from error


def _no_time() -> NoReturn:
    raise NeedsWrite
