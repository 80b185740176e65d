"""The storage function's envelope: `{op, tableName, …}` in, `{ok, result, hasMore}` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.errors import FunctionError, InvalidResponse, LimitExceeded
from convex_memory.limits import QUERY_ROWS_MAX
from convex_memory.values import Value

THREADS: Final = "mastra_threads"
MESSAGES: Final = "mastra_messages"
RESOURCES: Final = "mastra_resources"
OBSERVATIONS: Final = "mastra_observational_memory"

_READS: Final = frozenset(
    {
        "load",
        "loadMany",
        "queryTable",
        "listDueSchedules",
        "listScheduleTriggers",
        "omGetLatest",
        "omGetHistory",
    }
)
_UPSERTS: Final = frozenset({"insert", "batchInsert"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation answered.

    Attributes:
        result: Its result; None when it has none.
        has_more: Whether the same operation has to be sent again to finish its work.
        cursor: Where the next page of a paged read starts.
    """

    result: Value
    has_more: bool
    cursor: str | None


class StorageFunction:
    """The operations of one deployment's storage function.

    Args:
        deployment: Where the function runs.
        path: The function, `mastra/storage:handle` unless it was deployed elsewhere.
    """

    def __init__(self, deployment: Deployment, path: str = STORAGE_FUNCTION) -> None:
        self._deployment = deployment
        self._path = path

    async def reply(self, op: str, table_name: str, **fields: Value) -> Reply:
        """Run one operation and return its whole answer.

        Reads and upserts by id may be sent again when their answer is lost; others are not.

        Args:
            op: The operation.
            table_name: The logical table.
            **fields: Further members of the request, named as on the wire.

        Raises:
            FunctionError: The function refused; nothing was changed.
            DeploymentError: There was no usable answer.
        """
        value = await self._deployment.call(
            "mutation",
            self._path,
            {"op": op, "tableName": table_name, **fields},
            retry=True if op in _READS or op in _UPSERTS else None,
        )
        if not isinstance(value, Mapping):
            raise InvalidResponse(f"{self._path} answered {op} with something not an object.")
        if not value.get("ok"):
            text = value.get("error")
            raise FunctionError(text if isinstance(text, str) else "Unknown Convex storage error")
        cursor = value.get("continuationCursor")
        return Reply(
            result=value.get("result"),
            has_more=bool(value.get("hasMore")),
            cursor=cursor if isinstance(cursor, str) else None,
        )

    async def run(self, op: str, table_name: str, **fields: Value) -> Value:
        """Run one operation and return its result; see `reply`."""
        return (await self.reply(op, table_name, **fields)).result

    async def rows(self, table_name: str, **filters: Value) -> Sequence[Value]:
        """Return every row whose fields equal `filters`, in the order of the index that serves.

        Raises:
            LimitExceeded: There are more rows than one such read returns.
        """
        result = await self.run("queryTable", table_name, filters=_filters(filters))
        rows = rows_in(result)
        if len(rows) >= QUERY_ROWS_MAX:
            raise LimitExceeded(
                f"{QUERY_ROWS_MAX} rows or more of {table_name} match, and one read returns no "
                "more. Narrow the question, or page with a cursor where there is one."
            )
        return rows

    async def some_rows(self, table_name: str, limit: int, **filters: Value) -> Sequence[Value]:
        """Return the first `limit` rows whose fields equal `filters`."""
        return rows_in(
            await self.run("queryTable", table_name, filters=_filters(filters), limit=limit)
        )

    async def clear(self, table_name: str) -> None:
        """Delete every row of a table, a batch at a time."""
        while (await self.reply("clearTable", table_name)).has_more:
            pass


def rows_in(value: Value) -> Sequence[Value]:
    """Return a value that must be a list of rows.

    Raises:
        InvalidResponse: It is something else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidResponse("The deployment answered with something that is not a list of rows.")
    return value


def _filters(filters: Mapping[str, Value]) -> list[Value]:
    return [{"field": field, "value": value} for field, value in filters.items()]
