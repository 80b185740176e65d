"""The client half of the Tasks extension: a client that takes tasks, and asks about them."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import mcp.types as types
from mcp import Client
from mcp.client import ClaimContext, ClientExtension, ResultClaim

EXTENSION = "io.modelcontextprotocol/tasks"


class TaskResult(types.Result):
    """What a call answers that has become a task."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    ttl_ms: int
    poll_interval_ms: int


class TaskParams(types.RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any]


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param = "taskId"


class UpdateTask(types.Request[UpdateParams, Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    params: UpdateParams
    name_param = "taskId"


class CancelTask(types.Request[TaskParams, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: TaskParams
    name_param = "taskId"


class Task(types.Result):
    """A task as it stands."""

    task_id: str
    status: str
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int
    poll_interval_ms: int
    input_requests: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Acknowledged(types.Result):
    """Nothing but that it was heard."""


class TakesTasks(ClientExtension):
    """Says that the client takes tasks, and waits for them; `handles` are those it was given."""

    identifier = EXTENSION

    def __init__(self) -> None:
        self.handles: list[TaskResult] = []

    def claims(self) -> list[ResultClaim[TaskResult]]:
        return [ResultClaim(result_type="task", model=TaskResult, resolve=self._wait)]

    async def _wait(self, task: TaskResult, context: ClaimContext) -> types.CallToolResult:
        self.handles.append(task)
        while True:
            params = TaskParams(task_id=task.task_id)
            seen = await context.session.send_request(GetTask(params=params), Task)
            if seen.status == "completed":
                return types.CallToolResult.model_validate(seen.result)
            assert seen.status == "working", seen
            await anyio.sleep(0.02)


async def started(client: Client, tool: str, **arguments: Any) -> TaskResult:
    """Call a tool that becomes a task, and return its handle."""
    answer = await client.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(answer, TaskResult), answer
    return answer


async def task_of(client: Client, task_id: str) -> Task:
    """Return a task as it stands now."""
    return await client.session.send_request(GetTask(params=TaskParams(task_id=task_id)), Task)


async def cancelled(client: Client, task_id: str) -> Acknowledged:
    """Ask for a task to be cancelled."""
    params = TaskParams(task_id=task_id)
    return await client.session.send_request(CancelTask(params=params), Acknowledged)


async def updated(client: Client, task_id: str, responses: dict[str, Any]) -> Acknowledged:
    """Answer what a task asked."""
    params = UpdateParams(task_id=task_id, input_responses=responses)
    return await client.session.send_request(UpdateTask(params=params), Acknowledged)


async def over(client: Client, task_id: str) -> Task:
    """Wait until a task has ended, and return it."""
    with anyio.fail_after(30):
        while (task := await task_of(client, task_id)).status in ("working", "input_required"):
            await anyio.sleep(0.02)
    return task
