"""Tools that take long, and so become tasks where the client takes those."""

from __future__ import annotations

from typing import Any, Final

import anyio
from mcp import MCPError
from mcp.server.mcpserver import require_client_extension
from mcp.types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    InputRequiredResult,
)

from convex_memory.errors import FunctionError
from server.app import Context
from server.conformance.fixture import ToolFixture, said, tool
from server.conformance.input_required import filled_in, form
from server.tasks import EXTENSION
from server.working import Working
from tools.adapters import Adapters
from tools.toolset import Answer, Arguments, MemoryTool, Progress, Toolset

_JOB_SECONDS: Final = 1
_long: Final = Toolset("conformance")


class Nothing(Arguments):
    """No arguments."""


class ComputeArguments(Arguments):
    """Arguments of `slow_compute`."""

    seconds: float
    label: str


class DeleteArguments(Arguments):
    """Arguments of `confirm_delete`."""

    filename: str


class NamedArguments(Arguments):
    """Arguments of `test_tool_with_task`, once the name is known."""

    user_name: str


class Said(Answer):
    """What a tool has to say."""

    text: str


@_long.tool("Slow compute", repeatable=True, long=True)
async def slow_compute(arguments: ComputeArguments, adapters: Adapters, progress: Progress) -> Said:
    """Takes as many seconds as it is told."""
    await anyio.sleep(arguments.seconds)
    return Said(text=f"{arguments.label} computed")


@_long.tool("Failing job", long=True)
async def failing_job(arguments: Nothing, adapters: Adapters, progress: Progress) -> Said:
    """Fails after a while, as a tool does."""
    await anyio.sleep(_JOB_SECONDS)
    raise FunctionError("This job always fails.")


@_long.tool("Protocol error job", long=True)
async def protocol_error_job(arguments: Nothing, adapters: Adapters, progress: Progress) -> Said:
    """Fails after a while, as the protocol does."""
    await anyio.sleep(_JOB_SECONDS)
    raise MCPError(INTERNAL_ERROR, "This job ends in an error of the protocol.")


@_long.tool("Confirm a deletion", long=True)
async def confirm_delete(
    arguments: DeleteArguments, adapters: Adapters, progress: Progress
) -> Said:
    """Asks before it deletes."""
    answer = await _ask(progress, "confirm", form("Delete it?", confirm="boolean"))
    deleted = answer.get("action") == "accept"
    return Said(text=f"{arguments.filename} {'deleted' if deleted else 'kept'}")


@_long.tool("Two questions", long=True)
async def multi_input(arguments: Nothing, adapters: Adapters, progress: Progress) -> Said:
    """Asks two things at once."""
    answers: dict[str, Any] = {}

    async def ask(name: str) -> None:
        answers[name] = await _ask(progress, name, form(f"Your {name}?", **{name: "string"}))

    async with anyio.create_task_group() as tasks:
        for name in ("name", "color"):
            tasks.start_soon(ask, name)
    return Said(text=", ".join(f"{name}: {answers[name]['action']}" for name in sorted(answers)))


@_long.tool("Greet at length", long=True)
async def test_tool_with_task(
    arguments: NamedArguments, adapters: Adapters, progress: Progress
) -> Said:
    """Greets, in a while, whom it was told."""
    await anyio.sleep(_JOB_SECONDS)
    return Said(text=f"Hello, {arguments.user_name}!")


async def _ask(progress: Progress, key: str, request: ElicitRequest) -> dict[str, Any]:
    assert isinstance(progress, Working), "this needs a client that takes tasks"
    asked = request.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dict(await progress.ask(key, asked))


async def _greet(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return said(f"Hello, {(params.arguments or {}).get('name')}!")


async def _named(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult | dict[str, Any]:
    """Ask for the name at once; the task begins when it is known."""
    name = filled_in(params, "user_name", "name")
    if name is None:
        asked = form("What is your name?", name="string")
        return InputRequiredResult(input_requests={"user_name": asked})
    greet = _long.tools["test_tool_with_task"]
    answer: CallToolResult | dict[str, Any] = await _answered(greet, context, {"user_name": name})
    return answer


async def _answered(made: MemoryTool, context: Context, arguments: dict[str, Any]) -> Any:
    callers = context.lifespan_context
    return await callers.answering.answer(made, arguments, callers.current(), context)


def _fixture(name: str, *, required: bool = False) -> ToolFixture:
    made = _long.tools[name]

    async def call(context: Context, params: CallToolRequestParams) -> Any:
        if required:
            require_client_extension(context, EXTENSION)
        return await _answered(made, context, dict(params.arguments or {}))

    return ToolFixture(made.definition, call)


TOOLS: Final = (
    tool(
        "greet",
        "Greets.",
        _greet,
        input_schema={"type": "object", "properties": {"name": {"type": "string"}}},
    ),
    _fixture("slow_compute"),
    _fixture("failing_job", required=True),
    _fixture("protocol_error_job"),
    _fixture("confirm_delete"),
    _fixture("multi_input"),
    tool("test_tool_with_task", "Asks the user's name, then takes its time.", _named),
)
