"""A deployment that others use is left as it was found."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from convex_memory.deployment import (
    CACHE_FUNCTION,
    NATIVE_VECTOR_MUTATION,
    STORAGE_FUNCTION,
    Deployment,
    Kind,
)
from convex_memory.errors import FunctionError, FunctionNotDeployed
from convex_memory.values import Value

IDS_AT_ONCE: Final = 100


RowId = str | float | bool
"""Documents may have ids that are not text; as JSON no two of them are the same."""


class Tidying:
    """A deployment that notes what is written through it, and removes exactly that.

    What the deployment keeps of rows that were there (the change feed, counts) stays.

    Args:
        deployment: What it calls.
        paths: Function → the path under which this deployment has it, where that differs.
    """

    def __init__(self, deployment: Deployment, paths: Mapping[str, str]) -> None:
        self._deployment = deployment
        self._paths = paths
        self._rows: dict[str, dict[str, RowId]] = defaultdict(dict)
        self._cache_prefixes: set[str] = set()
        self._native: dict[str, dict[str, RowId]] = defaultdict(dict)

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        try:
            answer = await self._deployment.call(
                kind, self._paths.get(path, path), args, timeout_ms=timeout_ms, retry=retry
            )
        except (FunctionError, FunctionNotDeployed):
            # It was refused, and wrote nothing.
            raise
        except BaseException:
            self._note(path, args)
            raise
        self._note(path, args)
        if path == "memory/threads:clone":
            self._note_clone(answer)
        return answer

    async def aclose(self) -> None:
        await self._deployment.aclose()

    async def tidy(self) -> None:
        """Remove what was noted."""
        request: dict[str, Any]
        for table, ids in self._rows.items():
            for some in _batches(ids):
                request = {"op": "deleteMany", "tableName": table, "ids": some}
                await self._send(STORAGE_FUNCTION, request)
        for prefix in self._cache_prefixes:
            request = {"op": "clear", "keyPrefix": prefix}
            while (await self._send(CACHE_FUNCTION, request)).get("hasMore"):
                pass
        for config, ids in self._native.items():
            for some in _batches(ids):
                request = {"op": "deleteByIds", "config": json.loads(config), "ids": some}
                await self._send(NATIVE_VECTOR_MUTATION, request)

    def _note(self, path: str, args: Mapping[str, Any]) -> None:
        if path == CACHE_FUNCTION:
            self._cache_prefixes.update(_texts(args.get("keyPrefix")))
        elif path == NATIVE_VECTOR_MUTATION and args.get("op") == "upsert":
            config = json.dumps(args["config"], sort_keys=True)
            self._native[config].update(_by_text(args["ids"]))
        else:
            for table, ids in _written(path, args):
                self._rows[table].update(_by_text(ids))

    def _note_clone(self, answer: Any) -> None:
        self._rows["mastra_threads"].update(_by_text([answer["thread"]["id"]]))
        self._rows["mastra_messages"].update(_by_text([new for _, new in answer["messageIds"]]))

    async def _send(self, path: str, request: Mapping[str, Any]) -> Any:
        return await self._deployment.call(
            "mutation", self._paths.get(path, path), request, retry=True
        )


def _written(path: str, args: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The tables and ids of the rows that a call may have made."""
    if path == STORAGE_FUNCTION:
        table = args.get("tableName")
        if isinstance(table, str):
            records = [args, args.get("record"), *_elements(args.get("records"))]
            yield table, [*_ids(*records), args.get("newId"), args.get("resourceId")]
    elif path == "memory/messages:save":
        yield "mastra_messages", _ids(*args["messages"])
        yield "mastra_threads", _ids(args.get("thread"))
    elif path == "memory/working:update":
        yield "mastra_resources", [args["resourceId"]]
    elif path == "memory/vectors:createIndex":
        yield "mastra_vector_indexes", [args["indexName"]]
    elif path == "memory/vectors:upsert":
        yield f"mastra_vector_{args['indexName']}", _ids(*args["items"])
    elif path == "memory/schedules:claim":
        yield "mastra_schedule_triggers", _ids(args["trigger"])


def _ids(*records: Any) -> list[Any]:
    return [each.get("id") for each in records if isinstance(each, Mapping)]


def _by_text(ids: list[Any]) -> dict[str, RowId]:
    return {json.dumps(each): each for each in ids if isinstance(each, str | int | float)}


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else []


def _elements(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _batches(ids: Mapping[str, RowId]) -> Iterator[list[RowId]]:
    ordered = list(ids.values())
    for start in range(0, len(ordered), IDS_AT_ONCE):
        yield ordered[start : start + IDS_AT_ONCE]
