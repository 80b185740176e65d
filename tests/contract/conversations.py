"""What the store's contract tests talk about: people, threads, messages, a stock deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from convex_memory.deployment import STORAGE_FUNCTION, Deployment, Kind
from convex_memory.errors import FunctionNotDeployed
from convex_memory.records import Content, Message, Thread
from convex_memory.values import Value

DAY = datetime(2025, 6, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment of the day on which the tests' conversations happen."""
    return DAY + timedelta(seconds=seconds)


class StockDeployment:
    """A deployment as Mastra ships it: without any function of ours."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.operations: list[str] = []

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        if path.startswith("memory/"):
            raise FunctionNotDeployed(f"Could not find function for '{path}'.")
        self.operations.append(str(args.get("op")))
        return await self._deployment.call(kind, path, args, timeout_ms=timeout_ms, retry=retry)

    async def aclose(self) -> None:
        await self._deployment.aclose()


class Cast:
    """Makes records whose ids belong to one test, on a deployment that others may share."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.ann = self.id("ann")
        self.bob = self.id("bob")

    def id(self, name: str) -> str:
        return f"{self.namespace}-{name}"

    def ids(self, *names: str) -> list[str]:
        return [self.id(name) for name in names]

    def names(self, records: Sequence[Message | Thread]) -> list[str]:
        """The ids of records without what they have in common."""
        return [record.id.removeprefix(f"{self.namespace}-") for record in records]

    def thread(
        self,
        name: str = "t",
        *,
        resource_id: str | None = None,
        title: str = "",
        metadata: Mapping[str, Any] | None = None,
        created: float = 0,
        updated: float | None = None,
    ) -> Thread:
        return Thread(
            id=self.id(name),
            resource_id=resource_id or self.ann,
            title=title,
            metadata=metadata or {},
            created_at=at(created),
            updated_at=at(created if updated is None else updated),
        )

    def message(
        self,
        name: str,
        seconds: float = 0,
        *,
        thread: str = "t",
        resource_id: str | None = None,
        role: str = "user",
        content: Content | None = None,
    ) -> Message:
        return Message(
            id=self.id(name),
            thread_id=self.id(thread),
            resource_id=resource_id or self.ann,
            role=role,
            content=f"says {name}" if content is None else content,
            created_at=at(seconds),
        )

    def messages(self, count: int, *, thread: str = "t", start: float = 0) -> list[Message]:
        """`m0`, `m1`, … a second apart."""
        return [
            self.message(f"m{number}", start + number, thread=thread) for number in range(count)
        ]

    async def save_with_metadata_text(self, deployment: Deployment, metadata: str) -> None:
        """Store thread `t` as some writers do: with its metadata as JSON text."""
        row = {**self.thread().to_row(), "metadata": metadata}
        await deployment.call(
            "mutation",
            STORAGE_FUNCTION,
            {"op": "insert", "tableName": "mastra_threads", "record": row},
        )
