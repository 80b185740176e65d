"""The background tasks domain: calls of tools that run on their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from convex_memory.errors import InvalidArgument
from convex_memory.records import iso_text
from convex_memory.store.background_task_records import (
    BackgroundTask,
    TaskFilter,
    TaskList,
    TaskStatus,
    json_column,
)
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.fields import optional_iso
from convex_memory.store.unset import UNSET, Unset
from convex_memory.values import Value

TASKS: Final = "mastra_background_tasks"
_DELETE_ROWS: Final = 1000


class BackgroundTaskStore(MemoryDomain):
    """Background tasks: create, change, read, count, delete."""

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    async def dangerously_clear_all(self) -> None:
        """Delete every task of the deployment."""
        await self._storage.clear(TASKS)

    async def create_task(self, task: BackgroundTask) -> BackgroundTask:
        """Store a task whole, over the one with its id if there is one.

        Returns:
            The task as given.

        Raises:
            InvalidArgument: It has no id, something is not JSON, or a date has no zone.
        """
        if not task.id:
            raise InvalidArgument("Background task is missing an id")
        await self._storage.run("insert", TASKS, record=task.to_row())
        return task

    async def update_task(
        self,
        *,
        id: str,
        status: TaskStatus | None = None,
        result: Value | Unset = UNSET,
        error: Mapping[str, Value] | Unset | None = UNSET,
        suspend_payload: Value | Unset = UNSET,
        retry_count: int | None = None,
        max_retries: int | None = None,
        timeout_ms: int | None = None,
        started_at: datetime | Unset | None = UNSET,
        suspended_at: datetime | Unset | None = UNSET,
        completed_at: datetime | Unset | None = UNSET,
    ) -> bool:
        """Change what is given of a task; one that does not exist is fine.

        Args:
            id: The task.
            status: None leaves it.
            result: Any JSON value; None clears it.
            error: None clears it.
            suspend_payload: Any JSON value; None clears it.
            retry_count: None leaves it.
            max_retries: None leaves it.
            timeout_ms: None leaves it.
            started_at: None clears it.
            suspended_at: None clears it.
            completed_at: None clears it.

        Returns:
            Whether a task was changed: False when it does not exist or nothing is given.

        Raises:
            InvalidArgument: Something is not JSON, or a date has no zone.
        """
        kept = {
            "status": status,
            "retry_count": retry_count,
            "max_retries": max_retries,
            "timeout_ms": timeout_ms,
        }
        record: dict[str, Value] = {name: new for name, new in kept.items() if new is not None}
        for name, value in (
            ("result", result),
            ("error", error),
            ("suspend_payload", suspend_payload),
        ):
            if not isinstance(value, Unset):
                record[name] = json_column(value, name)
        for name, column, instant in (
            ("started_at", "startedAt", started_at),
            ("suspended_at", "suspendedAt", suspended_at),
            ("completed_at", "completedAt", completed_at),
        ):
            if not isinstance(instant, Unset):
                record[column] = optional_iso(instant, name)
        if not record:
            return False
        return bool(await self._storage.run("patch", TASKS, id=id, record=record))

    async def get_task(self, *, id: str) -> BackgroundTask | None:
        """Return a task, or None when there is none."""
        row = await self._storage.run("load", TASKS, keys={"id": id})
        return None if row is None else BackgroundTask.from_row(row)

    async def list_tasks(self, *, filter: TaskFilter | None = None) -> TaskList:
        """Return tasks, the oldest first unless asked otherwise.

        All matching tasks are read to sort and count them.

        Args:
            filter: Which tasks, in which order, on which page; all when omitted.

        Raises:
            InvalidArgument: A page is negative, or a date is none.
            LimitExceeded: 10,000 tasks or more match.
        """
        wanted = filter or TaskFilter()
        for name, value in (("page", wanted.page), ("per_page", wanted.per_page)):
            if value is not None and value < 0:
                raise InvalidArgument(f"{name} must be >= 0.")
        start = None if wanted.from_date is None else iso_text(wanted.from_date, "from_date")
        end = None if wanted.to_date is None else iso_text(wanted.to_date, "to_date")
        rows = await self._storage.rows(TASKS, **wanted.columns)
        tasks = [
            task
            for task in map(BackgroundTask.from_row, rows)
            if (wanted.statuses is None or task.status in wanted.statuses)
            and _is_within(getattr(task, wanted.date_filter_by), start, end)
        ]
        tasks.sort(
            key=lambda task: _sort_key(getattr(task, wanted.order_by)),
            reverse=wanted.order_direction == "desc",
        )
        total = len(tasks)
        if wanted.per_page is not None:
            first = (wanted.page or 0) * wanted.per_page
            tasks = tasks[first : first + wanted.per_page]
        return TaskList(tasks=tasks, total=total)

    async def delete_task(self, *, id: str) -> None:
        """Delete a task; one that does not exist is fine."""
        await self._storage.run("deleteMany", TASKS, ids=[id])

    async def delete_tasks(self, *, filter: TaskFilter) -> None:
        """Delete the tasks that `list_tasks` returns for this filter, so one page of them.

        Nothing is deleted when the filter does not narrow.

        Raises:
            InvalidArgument: A page is negative, or a date is none.
            LimitExceeded: 10,000 tasks or more match.
        """
        if not filter.narrows:
            return
        ids = [task.id for task in (await self.list_tasks(filter=filter)).tasks]
        for start in range(0, len(ids), _DELETE_ROWS):
            await self._storage.run("deleteMany", TASKS, ids=ids[start : start + _DELETE_ROWS])

    async def get_running_count(self) -> int:
        """Return how many tasks are running.

        Raises:
            LimitExceeded: 10,000 or more are.
        """
        return len(await self._storage.rows(TASKS, status="running"))

    async def get_running_count_by_agent(self, *, agent_id: str) -> int:
        """Return how many tasks of an agent are running.

        Raises:
            LimitExceeded: 10,000 or more are.
        """
        return len(await self._storage.rows(TASKS, agent_id=agent_id, status="running"))


def _is_within(instant: datetime | None, start: str | None, end: str | None) -> bool:
    if start is None and end is None:
        return True
    if instant is None:
        return False
    at = iso_text(instant)
    return (start is None or at >= start) and (end is None or at < end)


def _sort_key(instant: datetime | None) -> float:
    return 0.0 if instant is None else instant.timestamp()
