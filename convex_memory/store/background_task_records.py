"""Background tasks, as rows of the deployment hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias, cast, get_args

from convex_memory.errors import InvalidResponse
from convex_memory.json_text import json_text, stored_value
from convex_memory.records import instant_in, iso_text, utc_now
from convex_memory.store.domain import optional_text, text, whole
from convex_memory.store.fields import optional_instant, optional_iso, row_in
from convex_memory.values import Value

TaskStatus: TypeAlias = Literal[
    "pending", "running", "suspended", "completed", "failed", "cancelled", "timed_out"
]
TaskDate: TypeAlias = Literal["created_at", "started_at", "suspended_at", "completed_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask:
    """A call of a tool that runs on its own, beside the conversation that began it.

    Attributes:
        id: Chosen by the caller, unique in the deployment.
        status: How far it is.
        tool_name: The tool.
        tool_call_id: The call, as the model named it.
        agent_id: The agent that called.
        run_id: The agent's run.
        args: What the tool was called with.
        timeout_ms: How long it may run, in milliseconds.
        retry_count: How often it was tried again.
        max_retries: How often it may be tried again.
        thread_id: The thread that waits for it, if any.
        resource_id: Whose task it is, if anybody's.
        result: What it ended with: any JSON value; None for nothing.
        error: Why it failed: `{"message": …}`, maybe with a `stack`; None if it did not.
        suspend_payload: What it said when it was suspended: any JSON value; None for nothing.
        created_at: When it was created.
        started_at: When it was last started; None before.
        suspended_at: When it was last suspended; None if it is not.
        completed_at: When it ended; None before.
    """

    id: str
    status: TaskStatus
    tool_name: str
    tool_call_id: str
    agent_id: str
    run_id: str
    timeout_ms: int
    args: Mapping[str, Value] = field(default_factory=dict)
    retry_count: int = 0
    max_retries: int = 0
    thread_id: str | None = None
    resource_id: str | None = None
    result: Value = None
    error: Mapping[str, Value] | None = None
    suspend_payload: Value = None
    created_at: datetime = field(default_factory=utc_now)
    started_at: datetime | None = None
    suspended_at: datetime | None = None
    completed_at: datetime | None = None

    @classmethod
    def from_row(cls, row: Value) -> BackgroundTask:
        """Read a task from a stored row; old rows have some names in camelCase.

        Raises:
            InvalidResponse: The row is not a task.
        """
        fields = _with_current_names(row_in(row, "task"))
        status = text(fields, "status")
        if status not in get_args(TaskStatus):
            raise InvalidResponse("The deployment answered with a task of an unknown status.")
        args, error = stored_value(fields.get("args")), stored_value(fields.get("error"))
        return cls(
            id=text(fields, "id"),
            status=cast(TaskStatus, status),
            tool_name=text(fields, "tool_name"),
            tool_call_id=text(fields, "tool_call_id"),
            agent_id=text(fields, "agent_id"),
            run_id=text(fields, "run_id"),
            timeout_ms=whole(fields, "timeout_ms"),
            args=args if isinstance(args, Mapping) else {},
            retry_count=whole(fields, "retry_count"),
            max_retries=whole(fields, "max_retries"),
            thread_id=optional_text(fields, "thread_id"),
            resource_id=optional_text(fields, "resource_id"),
            result=stored_value(fields.get("result")),
            error=_error(error),
            suspend_payload=stored_value(fields.get("suspend_payload")),
            created_at=instant_in(fields, "createdAt", "task"),
            started_at=optional_instant(fields, "startedAt", "task"),
            suspended_at=optional_instant(fields, "suspendedAt", "task"),
            completed_at=optional_instant(fields, "completedAt", "task"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this task.

        Raises:
            InvalidArgument: Something is not JSON, or a date has no zone.
        """
        return {
            "id": self.id,
            "status": self.status,
            "tool_call_id": self.tool_call_id,
            "tool_name": self.tool_name,
            "agent_id": self.agent_id,
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "resource_id": self.resource_id,
            "args": json_text(self.args, "args"),
            "result": json_column(self.result, "result"),
            "error": json_column(self.error, "error"),
            "suspend_payload": json_column(self.suspend_payload, "suspend_payload"),
            "retry_count": self.retry_count,
            "max_retries": self.max_retries,
            "timeout_ms": self.timeout_ms,
            "createdAt": iso_text(self.created_at, "created_at"),
            "startedAt": optional_iso(self.started_at, "started_at"),
            "suspendedAt": optional_iso(self.suspended_at, "suspended_at"),
            "completedAt": optional_iso(self.completed_at, "completed_at"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks, in which order; what is None or empty counts for nothing.

    Attributes:
        status: One status or several, any of which will do; an empty list is no status at
            all, so nothing has it.
        agent_id: The agent that called.
        thread_id: The thread that waits.
        resource_id: Whose task it is.
        tool_name: The tool.
        tool_call_id: The call.
        run_id: The agent's run.
        from_date: Only tasks with a date then or later; those without that date drop out.
        to_date: Only tasks with a date before then; those without that date drop out.
        date_filter_by: Which date the two are about.
        order_by: Which date to sort by; tasks without it stand as if it were long ago.
        order_direction: `asc` or `desc`; tasks that tie keep the order they were read in.
        page: Which page, from zero; counts only with `per_page`.
        per_page: Tasks on a page; None for all.
    """

    status: TaskStatus | Sequence[TaskStatus] | None = None
    agent_id: str | None = None
    thread_id: str | None = None
    resource_id: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    run_id: str | None = None
    from_date: datetime | str | None = None
    to_date: datetime | str | None = None
    date_filter_by: TaskDate = "created_at"
    order_by: TaskDate = "created_at"
    order_direction: Literal["asc", "desc"] = "asc"
    page: int | None = None
    per_page: int | None = None

    @property
    def statuses(self) -> Sequence[str] | None:
        """The statuses asked for as a list; None for any."""
        return [self.status] if isinstance(self.status, str) else self.status

    @property
    def columns(self) -> dict[str, Value]:
        """The columns that must equal a value."""
        wanted = {
            "status": self.statuses[0] if self.statuses and len(self.statuses) == 1 else None,
            "agent_id": self.agent_id,
            "thread_id": self.thread_id,
            "resource_id": self.resource_id,
            "tool_name": self.tool_name,
            "tool_call_id": self.tool_call_id,
            "run_id": self.run_id,
        }
        return {name: value for name, value in wanted.items() if value}

    @property
    def narrows(self) -> bool:
        """Whether this leaves out any task at all; pages and order do not count."""
        return bool(self.statuses or self.columns or self.from_date or self.to_date)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskList:
    """Tasks in the order asked for.

    Attributes:
        tasks: Those on the page asked for.
        total: Tasks that match, on all pages.
    """

    tasks: list[BackgroundTask]
    total: int


def json_column(value: Value, where: str) -> Value:
    """Return the column that holds any JSON value: its text, or null for None.

    Raises:
        InvalidArgument: It is not JSON.
    """
    return None if value is None else json_text(value, where)


_LEGACY_NAMES = {
    "tool_call_id": "toolCallId",
    "tool_name": "toolName",
    "agent_id": "agentId",
    "run_id": "runId",
    "thread_id": "threadId",
    "resource_id": "resourceId",
    "suspend_payload": "suspendPayload",
    "retry_count": "retryCount",
    "max_retries": "maxRetries",
    "timeout_ms": "timeoutMs",
}


def _with_current_names(row: Mapping[str, Value]) -> Mapping[str, Value]:
    old = {
        name: row[legacy]
        for name, legacy in _LEGACY_NAMES.items()
        if name not in row and legacy in row
    }
    return {**row, **old}


def _error(stored: Value) -> Mapping[str, Value] | None:
    if stored is None or isinstance(stored, Mapping):
        return stored
    return {"message": stored if isinstance(stored, str) else json_text(stored, "error")}
