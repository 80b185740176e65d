"""What a fixture is: a definition that is listed, and what answers for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    TextContent,
    Tool,
)

from server.app import Context

PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""One red pixel, in base64."""
NO_ARGUMENTS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}

CallTool = Callable[
    [Context, CallToolRequestParams],
    Awaitable[CallToolResult | InputRequiredResult | dict[str, Any]],
]
GetPrompt = Callable[
    [Context, GetPromptRequestParams], Awaitable[GetPromptResult | InputRequiredResult]
]


@dataclass(frozen=True, slots=True)
class ToolFixture:
    """A tool of the suite."""

    definition: Tool
    call: CallTool


@dataclass(frozen=True, slots=True)
class PromptFixture:
    """A prompt of the suite."""

    definition: Prompt
    get: GetPrompt


def tool(
    name: str, description: str, call: CallTool, *, input_schema: dict[str, Any] = NO_ARGUMENTS
) -> ToolFixture:
    """Return a tool of the suite; without an input schema it takes no arguments."""
    return ToolFixture(Tool(name=name, description=description, input_schema=input_schema), call)


def answering(*content: ContentBlock, is_error: bool = False) -> CallTool:
    """Return what answers a call with always the same."""

    async def call(context: Context, params: CallToolRequestParams) -> CallToolResult:
        return CallToolResult(content=list(content), is_error=is_error)

    return call


def said(text: str) -> CallToolResult:
    """Return a tool's answer in words."""
    return CallToolResult(content=[TextContent(text=text)])
