"""`mastra/storage:handle` as a client on the wire sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import pytest

from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.errors import FunctionError
from convex_memory.values import Value
from tests.declared_tables import DECLARED, TYPED, DeclaredTable, least_record

TIME: Final = "2026-01-01T00:00:00.000Z"
SYSTEM_FIELDS: Final = ("_id", "_creationTime")
GENERIC: Final = "mastra_datasets"
VECTORS: Final = "mastra_vector_shelf"
TASKS: Final = "mastra_background_tasks"
TYPED_NAMES: Final = tuple(table.logical for table in TYPED)
LOGICAL: Final = (*TYPED_NAMES, GENERIC, VECTORS)
"""A table of every route: all the typed ones, documents, and one vector index."""
INDEXES: Final = "mastra_vector_indexes"
"""The typed table whose name looks like that of a vector table."""

INSERT_ROWS: Final = 4000
"""Convex looks up no more rows than this, and a few, in one transaction."""

Record = dict[str, Any]


class Wire:
    """One deployment's storage function."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def send(self, op: str, table: str, **fields: Value) -> Record:
        """Send one request and return its envelope."""
        return await self.post({"op": op, "tableName": table, **fields})

    async def post(self, request: Mapping[str, Value]) -> Record:
        """Send a request as it stands and return its envelope."""
        answer = await self._deployment.call("mutation", STORAGE_FUNCTION, request)
        return dict(cast(Mapping[str, Any], answer))

    async def result(self, op: str, table: str, **fields: Value) -> Any:
        """Send one request that succeeds and return its `result`."""
        reply = await self.send(op, table, **fields)
        assert reply["ok"] is True, reply
        return reply["result"]

    async def insert(self, table: str, *records: Record) -> None:
        """Insert records one after the other."""
        for record in records:
            assert await self.send("insert", table, record=record) == {"ok": True}

    async def insert_batch(self, table: str, records: list[Record]) -> None:
        """Insert records with one request."""
        request = {"records": cast(Value, records)}
        assert await self.send("batchInsert", table, **request) == {"ok": True}

    async def insert_many(self, table: str, records: list[Record]) -> None:
        """Insert records with as many requests as Convex needs for them."""
        for start in range(0, len(records), INSERT_ROWS):
            await self.insert_batch(table, records[start : start + INSERT_ROWS])

    async def load(self, table: str, **keys: Value) -> Any:
        """Return one row or record by its keys, or None."""
        return await self.result("load", table, keys=keys)

    async def query(self, table: str, /, **equals: Value) -> list[Record]:
        """Return the rows or records whose fields equal these."""
        return cast(list[Record], await self.result("queryTable", table, filters=filters(**equals)))

    async def ids(self, table: str, /, **equals: Value) -> list[Any]:
        """Return the ids of the rows or records whose fields equal these, in their order."""
        return [record["id"] for record in await self.query(table, **equals)]

    async def refusal(self, op: str, table: str, **fields: Value) -> str:
        """Send one request that fails the way its table fails; return the text."""
        vectors = table.startswith("mastra_vector_") and table != INDEXES
        if vectors or table == TASKS:
            reply = await self.send(op, table, **fields)
            assert set(reply) == {"ok", "error"}, reply
            assert reply["ok"] is False
            return str(reply["error"])
        with pytest.raises(FunctionError) as refused:
            await self.send(op, table, **fields)
        return refused.value.message


def filters(**equals: Value) -> list[Value]:
    """Write filters as a request has them."""
    return [{"field": name, "value": value} for name, value in equals.items()]


def bare(row: Record) -> Record:
    """Take the system fields off a row."""
    return {name: value for name, value in row.items() if name not in SYSTEM_FIELDS}


def declared(logical: str) -> DeclaredTable:
    """The table that a request calls by this name."""
    return next(table for table in DECLARED.values() if table.logical == logical)


def thread(record_id: str, **fields: Any) -> Record:
    """A thread's record."""
    return {
        "id": record_id,
        "resourceId": "r",
        "title": "",
        "createdAt": TIME,
        "updatedAt": TIME,
        **fields,
    }


def message(record_id: str, **fields: Any) -> Record:
    """A message's record."""
    return {
        "id": record_id,
        "thread_id": "t",
        "content": '{"format":2,"parts":[]}',
        "role": "user",
        "type": "v2",
        "createdAt": TIME,
        **fields,
    }


def record_of(table: str, record_id: str) -> Record:
    """A record that a table of any route takes."""
    if table == VECTORS:
        return {"id": record_id, "embedding": [1, 2]}
    if table in TYPED_NAMES:
        return least_record(declared(table), record_id)
    return {"id": record_id, "name": f"record {record_id}"}
