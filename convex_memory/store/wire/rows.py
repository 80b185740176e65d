"""Reading whole threads and tables over the storage function: what is found, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import anyio

from convex_memory.arguments import Args, text_argument
from convex_memory.capabilities import DEPLOY
from convex_memory.errors import FunctionError, FunctionNotDeployed, LimitExceeded, NotFound
from convex_memory.limits import LOAD_MANY_IDS_MAX, QUERY_ROWS_MAX
from convex_memory.store.fields import row_in
from convex_memory.store.storage import MESSAGES, THREADS, StorageFunction, rows_in
from convex_memory.values import Value

Row: TypeAlias = Mapping[str, Any]
Position: TypeAlias = tuple[str, float, str]
"""A date of a row, its creation in milliseconds, its system id: where it stands in an index."""

POSITION_KINDS: Final = (str, float, str)
READS_AT_ONCE: Final = 8
"""Calls of one question that are under way at a time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Turn:
    """The last reading of one thread, for as long as somebody waits for one."""

    __slots__ = ("__weakref__", "began", "lock", "rows")

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.began = -1
        self.rows: list[Row] = []


class Rows:
    """Threads and messages of a deployment that has Mastra's storage function.

    Args:
        storage: That function.
        new_id: Makes ids for copies.

    Attributes:
        in_pieces: Resources whose messages were found to be too many for one call.
    """

    def __init__(self, storage: StorageFunction, new_id: Callable[[], str]) -> None:
        self.storage = storage
        self.new_id = new_id
        self.in_pieces: set[str | None] = set()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._moments = count()

    async def thread(self, thread_id: str, scope: str | None) -> Row | None:
        """Return a thread, or None when there is none or it belongs to another resource."""
        found = await self.storage.run("load", THREADS, keys={"id": thread_id})
        if found is None:
            return None
        row = row_in(found, "thread")
        return row if scope in (None, row.get("resourceId")) else None

    async def thread_named(self, args: Args) -> Row:
        """Return the thread that `threadId` names, within the call's scope.

        Raises:
            NotFound: There is none, or it belongs to another resource.
        """
        thread_id = text_argument(args, "threadId")
        row = await self.thread(thread_id, scope_of(args))
        if row is None:
            raise no_thread(thread_id)
        return row

    async def threads(self, scope: str | None) -> list[Row]:
        """Return all threads, or those of a resource, in the order of their creation.

        Raises:
            LimitExceeded: There are more than one call returns.
        """
        return await self._whole("the threads", THREADS, resourceId=scope)

    async def messages_in(self, thread_id: str) -> list[Row]:
        """Return all messages of a thread, oldest first, ties in the order of their creation.

        Callers that wait for the same thread share a reading that began after they came.

        Raises:
            LimitExceeded: The thread holds more than one call returns.
        """
        arrived = next(self._moments)
        turn = self._turns.get(thread_id)
        if turn is None:
            turn = self._turns[thread_id] = _Turn()
        async with turn.lock:
            if turn.began < arrived:
                began = next(self._moments)
                found = await self._whole(f"thread {thread_id!a}", MESSAGES, thread_id=thread_id)
                turn.rows = sorted(found, key=lambda row: position(row, "createdAt"))
                turn.began = began
            return turn.rows

    async def messages_of(self, scope: str | None) -> list[Row]:
        """Return all messages, or those stored under a resource, in the order of their creation.

        Raises:
            LimitExceeded: There are more than one call returns.
        """
        return await self._whole("the messages", MESSAGES, resourceId=scope)

    async def messages_by_id(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return the messages that exist, by id, in the order asked for."""
        unique = list(dict.fromkeys(ids))
        batches = [
            unique[start : start + LOAD_MANY_IDS_MAX]
            for start in range(0, len(unique), LOAD_MANY_IDS_MAX)
        ]

        async def load(batch: list[str]) -> Sequence[Value]:
            return rows_in(await self.storage.run("loadMany", MESSAGES, ids=batch))

        rows = [row_in(row, "message") for part in await at_once(load, batches) for row in part]
        return {str(row.get("id")): row for row in rows}

    async def in_scope(self, rows: Iterable[Row], scope: str | None) -> list[Row]:
        """Return the messages that may be seen: their own resource decides, else their thread's."""
        messages = list(rows)
        if scope is None:
            return messages
        asked = {str(row.get("thread_id")) for row in messages if row.get("resourceId") is None}
        ours = {thread_id for thread_id in asked if await self.thread(thread_id, scope) is not None}
        return [
            row
            for row in messages
            if row.get("resourceId") == scope
            or (row.get("resourceId") is None and row.get("thread_id") in ours)
        ]

    async def _whole(self, what: str, table_name: str, **filters: str | None) -> list[Row]:
        given = {name: value for name, value in filters.items() if value is not None}
        try:
            found = await self.storage.rows(table_name, **given)
        except LimitExceeded as error:
            raise _too_much(what, f"there are {QUERY_ROWS_MAX:,} rows or more") from error
        except FunctionError as error:
            if type(error) is not FunctionError:
                raise
            # Convex gives up on what is too much for one call in many words, or without any.
            raise _too_much(what, error.message) from error
        return [row_in(row, "row") for row in found]


async def at_once(run: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """Return what `run` gives for each item, a few of them running at a time."""
    results: list[Result] = []
    for start in range(0, len(items), READS_AT_ONCE):
        results += await asyncio.gather(*map(run, items[start : start + READS_AT_ONCE]))
    return results


def scope_of(args: Args) -> str | None:
    """Return the resource a call is limited to, or None when it sees every resource."""
    scope: str | None = text_argument(args, "resourceId", optional=True)
    return scope


def position(row: Row, date: str) -> Position:
    """Return where a row stands among those sorted by the column `date`."""
    return str(row.get(date)), float(row.get("_creationTime") or 0), str(row.get("_id"))


def refuse_beyond(path: str, given: Iterable[str], known: frozenset[str]) -> None:
    """Refuse arguments that take our functions, rather than do without what they ask for.

    Args:
        path: The function that is asked.
        given: The names of the arguments.
        known: The names of those that Mastra's functions can honour.

    Raises:
        FunctionNotDeployed: There is another one.
    """
    beyond = sorted(set(given) - known)
    if beyond:
        raise FunctionNotDeployed(
            f"Mastra's functions, the only ones this deployment has, know no {beyond[0]} ({path}). "
            f"{DEPLOY}"
        )


def no_thread(thread_id: str) -> NotFound:
    """Return the refusal for a thread that is absent or somebody else's."""
    return NotFound(
        f"There is no thread {thread_id!a}. List the threads there are, or save a message with "
        "this thread id to begin one."
    )


def _too_much(what: str, why: str) -> LimitExceeded:
    return LimitExceeded(
        f"Mastra's functions could not return {what} in one piece: {why.rstrip('.')}. This "
        "deployment has no others. Ours read a page at a time. "
        f"{DEPLOY}"
    )
