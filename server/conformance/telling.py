"""Tools that tell the client something before they answer, or tell all who listen."""

from __future__ import annotations

from typing import Final

import anyio
from mcp.server.subscriptions import PromptsListChanged, ServerEvent, ToolsListChanged
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    SetLevelRequestParams,
)

from server.app import Context
from server.conformance.fixture import CallTool, said, tool

_STEP_SECONDS: Final = 0.05


def _logging(step_seconds: float) -> CallTool:
    async def call(context: Context, params: CallToolRequestParams) -> CallToolResult:
        for step in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            # Deprecated in 2026, when it says nothing unless the request asked for logs.
            await context.session.send_log_message(
                "info", step, related_request_id=context.request_id
            )
            await anyio.sleep(step_seconds)
        return said("Three messages were logged.")

    return call


async def _progress(context: Context, params: CallToolRequestParams) -> CallToolResult:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100)
        await anyio.sleep(_STEP_SECONDS)
    return said("Progress was reported.")


async def _reconnection(context: Context, params: CallToolRequestParams) -> CallToolResult:
    # Only a stream that can be resumed can be closed, and without sessions none can.
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    return said("Reconnection test completed")


def _changing(event: ServerEvent) -> CallTool:
    async def call(context: Context, params: CallToolRequestParams) -> CallToolResult:
        callers = context.lifespan_context
        await callers.shared.subscriptions.publish(event, callers.current().resource_id)
        return said("All who listen were told.")

    return call


async def accept_level(context: Context, params: SetLevelRequestParams) -> EmptyResult:
    """Answer `logging/setLevel`; without a session there is nothing to remember it for."""
    return EmptyResult()


TOOLS: Final = (
    tool(
        "test_tool_with_logging",
        "Logs three messages, then answers.",
        _logging(step_seconds=_STEP_SECONDS),
    ),
    # The suite does not wait long for this one.
    tool("test_logging_tool", "Logs three messages at once, then answers.", _logging(0)),
    tool("test_tool_with_progress", "Reports progress thrice, then answers.", _progress),
    tool("test_reconnection", "Closes the stream where it can, then answers.", _reconnection),
    tool(
        "test_trigger_tool_change", "Tells that the tools changed.", _changing(ToolsListChanged())
    ),
    tool(
        "test_trigger_prompt_change",
        "Tells that the prompts changed.",
        _changing(PromptsListChanged()),
    ),
)
