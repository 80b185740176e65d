"""The `background_tasks` toolset: what runs on its own, what waits, and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from convex_memory.errors import Conflict, NotFound
from convex_memory.records import iso_text
from convex_memory.store.background_task_records import BackgroundTask, TaskFilter
from tools.adapters import Adapters
from tools.arguments import (
    Chars,
    Cursor,
    Id,
    Limit,
    Offset,
    cursor_after,
    json_of,
    page_in,
    part_of,
    time_of,
)
from tools.budget import CHARS_DEFAULT, MaxChars
from tools.toolset import Answer, Arguments, Progress, Toolset

background_tasks = Toolset("background_tasks")

Status = Literal["pending", "running", "suspended", "completed", "failed", "cancelled", "timed_out"]
_ENDED = ("completed", "failed", "cancelled", "timed_out")


class ShownTask(Answer):
    """One task."""

    id: str
    status: Status
    tool_name: str
    agent_id: str
    run_id: str
    created_at: str
    thread_id: str | None = None
    started_at: str | None = None
    suspended_at: str | None = None
    completed_at: str | None = None
    error: str | None = None
    retries: Annotated[int | None, Field(description="How often it was tried again.")] = None


class ListTasksArguments(Arguments):
    """Arguments of `list_background_tasks`."""

    status: Annotated[list[Status] | None, Field(description="Absent: any.")] = None
    agent_id: Id | None = None
    thread_id: Id | None = None
    run_id: Id | None = None
    limit: Limit = 20
    cursor: Cursor = None


class ListedTasks(Answer):
    """A page of tasks, newest first."""

    tasks: list[ShownTask]
    total: int
    next_cursor: str | None


@background_tasks.tool("List background tasks", reads=True)
async def list_background_tasks(
    arguments: ListTasksArguments, adapters: Adapters, progress: Progress
) -> ListedTasks:
    """See which tool calls run on their own, newest first: what runs, what waits, what failed."""
    page = page_in(arguments.cursor)
    found = await adapters.store.background_tasks.list_tasks(
        filter=TaskFilter(
            status=arguments.status,
            agent_id=arguments.agent_id,
            thread_id=arguments.thread_id,
            run_id=arguments.run_id,
            order_direction="desc",
            page=page,
            per_page=arguments.limit,
        )
    )
    return ListedTasks(
        tasks=[_shown(task) for task in found.tasks],
        total=found.total,
        next_cursor=cursor_after(page, arguments.limit, found.total),
    )


class TaskArguments(Arguments):
    """A task."""

    task_id: Id


class GetTaskArguments(TaskArguments):
    """Arguments of `get_background_task`."""

    max_chars: MaxChars = CHARS_DEFAULT
    offset: Offset = 0


class FoundTask(Answer):
    """A task with what it was given and what it gave."""

    task: ShownTask
    arguments: Annotated[str, Field(description="JSON text.")]
    result: Annotated[str | None, Field(description="JSON text.")]
    waits_for: Annotated[
        str | None, Field(description="JSON text of what a suspended task asks.")
    ] = None
    chars: Chars = None


@background_tasks.tool("Get a background task", reads=True)
async def get_background_task(
    arguments: GetTaskArguments, adapters: Adapters, progress: Progress
) -> FoundTask:
    """Read one task: its arguments, its result or what it waits for."""
    task = await _task(adapters, arguments.task_id)
    given, _ = part_of(json_of(task.args), 0, arguments.max_chars // 4)
    result, chars = None, None
    if task.result is not None:
        result, chars = part_of(json_of(task.result), arguments.offset, arguments.max_chars)
    waits_for = None
    if task.suspend_payload is not None:
        waits_for, _ = part_of(json_of(task.suspend_payload), 0, arguments.max_chars // 4)
    return FoundTask(
        task=_shown(task), arguments=given, result=result, waits_for=waits_for, chars=chars
    )


@background_tasks.tool("Cancel a background task", destroys=True, repeatable=True)
async def cancel_background_task(
    arguments: TaskArguments, adapters: Adapters, progress: Progress
) -> ShownTask:
    """Mark a task as cancelled; whoever runs it stops when it looks. An ended task stays."""
    task = await _task(adapters, arguments.task_id)
    if task.status == "cancelled":
        return _shown(task)
    if task.status in _ENDED:
        raise Conflict(f"Task {arguments.task_id!a} has ended already: {task.status}.")
    await adapters.store.background_tasks.update_task(
        id=arguments.task_id, status="cancelled", completed_at=datetime.now(UTC)
    )
    return _shown(await _task(adapters, arguments.task_id))


async def _task(adapters: Adapters, task_id: str) -> BackgroundTask:
    task = await adapters.store.background_tasks.get_task(id=task_id)
    if task is None:
        raise NotFound(
            f"There is no background task {task_id!a}. list_background_tasks shows those there are."
        )
    return task


def _shown(task: BackgroundTask) -> ShownTask:
    message = None if task.error is None else task.error.get("message")
    return ShownTask(
        id=task.id,
        status=task.status,
        tool_name=task.tool_name,
        agent_id=task.agent_id,
        run_id=task.run_id,
        created_at=iso_text(task.created_at),
        thread_id=task.thread_id,
        started_at=time_of(task.started_at),
        suspended_at=time_of(task.suspended_at),
        completed_at=time_of(task.completed_at),
        error=message if isinstance(message, str) else None,
        retries=task.retry_count or None,
    )
