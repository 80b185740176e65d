"""Work of this process that goes on when nobody waits for it any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from convex_memory.errors import Overloaded

T = TypeVar("T")

RUNNING_MAX: Final = 2048
"""Pieces of work one process has begun at a time."""


class Run(Generic[T]):
    """One piece of work, and what came of it.

    Attributes:
        done: Set when it is over, however it ended.
        cancelled: Whether it was cut off.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self.done = anyio.Event()
        self.cancelled = False
        self._work = work
        self._scope = anyio.CancelScope()
        self._result: list[T] = []
        self._error: Exception | None = None

    def cancel(self) -> None:
        """Cut it off; over and done with, it stays what it is."""
        self._scope.cancel()

    async def result(self) -> T:
        """Wait for it, and return or raise what came of it.

        Raises:
            Overloaded: It was cut off.
        """
        await self.done.wait()
        if self._error is not None:
            raise self._error
        if not self._result:
            raise Overloaded("The server stopped before the call was done. Try again.")
        return self._result[0]

    async def go(self) -> None:
        """Do it."""
        try:
            with self._scope:
                self._result.append(await self._work())
        except Exception as error:
            self._error = error
        finally:
            self.cancelled = not self._result and self._error is None
            self.done.set()


class Runs:
    """All such work of a process. Ends with it: what is not done then is cut off."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._running = 0

    @property
    def open(self) -> bool:
        """Whether anything can be started."""
        return self._tasks is not None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Take work until the block ends."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None
                tasks.cancel_scope.cancel()

    def start(self, work: Callable[[], Awaitable[T]]) -> Run[T]:
        """Begin something, and return at once.

        Raises:
            Overloaded: The process is about to end, or has more to do than it can take.
        """
        if self._tasks is None:
            raise Overloaded("The server is stopping. Try again.")
        if self._running >= RUNNING_MAX:
            raise Overloaded("The server has too much to do. Nothing was done; try again later.")
        run = Run(work)
        self._running += 1
        self._tasks.start_soon(self._go, run)
        return run

    async def _go(self, run: Run[Any]) -> None:
        try:
            await run.go()
        finally:
            self._running -= 1
