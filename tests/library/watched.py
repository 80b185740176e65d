"""A deployment that is watched, and made to fail or to wait where a test says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from convex_memory.deployment import STORAGE_FUNCTION, Deployment, Kind
from convex_memory.values import Value

Before = Callable[[Mapping[str, Any]], Awaitable[None]]


async def nothing(request: Mapping[str, Any]) -> None:
    """Let a request through."""


class Watched:
    """Another deployment, with every call written down.

    Attributes:
        paths: The functions called, in order.
        requests: The requests among them for the storage function.
        before: Called before each of those; it may wait, or raise in its place.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.paths: list[str] = []
        self.requests: list[Mapping[str, Any]] = []
        self.before: Before = nothing

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.paths.append(path)
        if path == STORAGE_FUNCTION:
            self.requests.append(args)
            await self.before(args)
        return await self._deployment.call(kind, path, args, timeout_ms=timeout_ms, retry=retry)

    async def aclose(self) -> None:
        await self._deployment.aclose()

    def operations(self, table: str = "") -> list[str]:
        """The operations of the storage function, on all tables or on one."""
        return [each["op"] for each in self.requests if table in ("", each["tableName"])]

    def forget(self) -> None:
        """Begin counting anew."""
        self.paths.clear()
        self.requests.clear()


def filtered_by(request: Mapping[str, Any], field: str) -> str | None:
    """The value that a `queryTable` request asks of a field."""
    for each in request.get("filters", ()):
        if each["field"] == field:
            return str(each["value"])
    return None
