"""The methods of the Tasks extension, and who may use it: clients of 2026 that declare it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.mcpserver import require_client_extension
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    RequestParams,
    SubscriptionsListenRequestParams,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from convex_memory.errors import ConvexMemoryError
from server.tasks import EXTENSION

NAME_HEADER: Final = "Mcp-Name"
"""On the wire it names the task, so that proxies can route by it."""


class TaskParams(RequestParams):
    """Params of `tasks/get` and `tasks/cancel`."""

    task_id: str = Field(min_length=1, max_length=200)


class TaskUpdateParams(TaskParams):
    """Params of `tasks/update`: answers to what the task asked."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


def takes_tasks(context: ServerRequestContext[Any]) -> bool:
    """Whether the client that makes this request may be answered with a task."""
    capabilities = context.session.client_capabilities
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS and EXTENSION in (
        (capabilities and capabilities.extensions) or {}
    )


def check_task_listening(
    context: ServerRequestContext[Any], params: SubscriptionsListenRequestParams
) -> None:
    """Refuse a client that wants to hear of tasks but does not declare that it takes them.

    Raises:
        MCPError: It does not.
    """
    if (params.notifications.model_extra or {}).get("taskIds"):
        require_client_extension(context, EXTENSION)


def add_task_methods(server: Server[Any]) -> None:
    """Have a server offer the extension. Its lifespan yields `Callers`."""

    async def get(context: ServerRequestContext[Any], params: TaskParams) -> dict[str, Any]:
        callers = context.lifespan_context
        answering = callers.answering
        task = await answering.tasks.get(answering.runs, callers.current(), params.task_id)
        return {"resultType": "complete", **task}

    async def update(
        context: ServerRequestContext[Any], params: TaskUpdateParams
    ) -> dict[str, Any]:
        callers = context.lifespan_context
        await callers.answering.tasks.update(
            callers.current(), params.task_id, params.input_responses
        )
        return {}

    async def cancel(context: ServerRequestContext[Any], params: TaskParams) -> dict[str, Any]:
        callers = context.lifespan_context
        await callers.answering.tasks.cancel(callers.current(), params.task_id)
        return {}

    server.extensions[EXTENSION] = {}
    server.add_request_handler("tasks/get", TaskParams, _gated(get))
    server.add_request_handler("tasks/update", TaskUpdateParams, _gated(update))
    server.add_request_handler("tasks/cancel", TaskParams, _gated(cancel))


_Handler = Callable[[ServerRequestContext[Any], Any], Awaitable[dict[str, Any]]]


def _gated(handler: _Handler) -> _Handler:
    async def gated(context: ServerRequestContext[Any], params: TaskParams) -> dict[str, Any]:
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", context.method)
        require_client_extension(context, EXTENSION)
        if context.request is not None:
            if context.request.headers.get(NAME_HEADER) != params.task_id:
                raise MCPError(HEADER_MISMATCH, f"{NAME_HEADER} must be the taskId of the request.")
        try:
            return await handler(context, params)
        except ConvexMemoryError as error:
            raise MCPError(INTERNAL_ERROR, error.message, {"code": error.code}) from error

    return gated
