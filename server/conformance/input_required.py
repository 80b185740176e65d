"""What asks the client for more before it answers, and is then called again (2026-07-28).

A tool or prompt of this kind keeps nothing between calls: what it knows of the first call comes
back in the second, as `request_state`, which the SDK seals.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from mcp import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    InputResponseRequestParams,
    ListRootsRequest,
    ListRootsResult,
    Prompt,
    PromptMessage,
    Result,
    SamplingMessage,
    TextContent,
)

from server.app import Context
from server.conformance.fixture import CallTool, PromptFixture, said, tool

AnswerT = TypeVar("AnswerT", bound=Result)


def form(message: str, **fields: str) -> ElicitRequest:
    """Ask the user for fields of these JSON types, all of them required."""
    return ElicitRequest(
        params=ElicitRequestFormParams(
            message=message,
            requested_schema={
                "type": "object",
                "properties": {name: {"type": kind} for name, kind in fields.items()},
                "required": list(fields),
            },
        )
    )


def _sampling(prompt: str, max_tokens: int = 100) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def _answer(params: InputResponseRequestParams, name: str, kind: type[AnswerT]) -> AnswerT | None:
    answer = (params.input_responses or {}).get(name)
    return answer if isinstance(answer, kind) else None


def filled_in(params: InputResponseRequestParams, name: str, field: str) -> Any:
    """Return what the user put in a field; None while it was not asked, or not accepted."""
    answer = _answer(params, name, ElicitResult)
    return None if answer is None else (answer.content or {}).get(field)


def _sampled_text(params: InputResponseRequestParams, name: str) -> str | None:
    answer = _answer(params, name, CreateMessageResult)
    if answer is None:
        return None
    return answer.content.text if isinstance(answer.content, TextContent) else answer.content.type


async def _elicitation(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    name = filled_in(params, "user_name", "name")
    if name is None:
        asked = form("What is your name?", name="string")
        return InputRequiredResult(input_requests={"user_name": asked})
    return said(f"Hello, {name}!")


async def _sample(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    text = _sampled_text(params, "capital_question")
    if text is None:
        asked = _sampling("What is the capital of France?")
        return InputRequiredResult(input_requests={"capital_question": asked})
    return said(text)


async def _roots(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    answer = _answer(params, "client_roots", ListRootsResult)
    if answer is None:
        return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
    return said(", ".join(str(root.uri) for root in answer.roots))


def _remembering(state: str) -> CallTool:
    """Return a tool that goes on only if its own state came back with the answer."""

    async def call(
        context: Context, params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult:
        if params.request_state != state or filled_in(params, "confirm", "ok") is None:
            asked = form("Please confirm", ok="boolean")
            return InputRequiredResult(input_requests={"confirm": asked}, request_state=state)
        return said("state-ok")

    return call


async def _several(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    name = filled_in(params, "user_name", "name")
    greeting = _sampled_text(params, "greeting")
    roots = _answer(params, "client_roots", ListRootsResult)
    if name is None or greeting is None or roots is None:
        return InputRequiredResult(
            input_requests={
                "user_name": form("What is your name?", name="string"),
                "greeting": _sampling("Generate a greeting", max_tokens=50),
                "client_roots": ListRootsRequest(),
            },
            request_state="asked for three",
        )
    return said(f"{greeting} {name}, with {len(roots.roots)} roots")


async def _rounds(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    name = filled_in(params, "step1", "name")
    if params.request_state is None or (params.request_state == "asked" and name is None):
        asked = form("Step 1: What is your name?", name="string")
        return InputRequiredResult(input_requests={"step1": asked}, request_state="asked")
    colour = filled_in(params, "step2", "color")
    if colour is None:
        asked = form("Step 2: What is your favorite color?", color="string")
        known = params.request_state if name is None else f"name: {name}"
        return InputRequiredResult(input_requests={"step2": asked}, request_state=known)
    return said(f"{params.request_state}, colour: {colour}")


async def _within_capabilities(
    context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    capabilities = context.session.client_capabilities
    if params.input_responses:
        return said("Answered.")
    if capabilities is not None and capabilities.elicitation is not None:
        asked = form("What is your name?", name="string")
        return InputRequiredResult(input_requests={"user_name": asked})
    _require_sampling(context)
    return InputRequiredResult(input_requests={"greeting": _sampling("Generate a greeting")})


async def _missing_capability(context: Context, params: CallToolRequestParams) -> CallToolResult:
    _require_sampling(context)
    return said("This client can sample.")


def _require_sampling(context: Context) -> None:
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This needs a client that can sample.",
            {"requiredCapabilities": {"sampling": {}}},
        )


async def _prompt(
    context: Context, params: GetPromptRequestParams
) -> GetPromptResult | InputRequiredResult:
    wanted = filled_in(params, "user_context", "context")
    if wanted is None:
        asked = form("What context should the prompt use?", context="string")
        return InputRequiredResult(input_requests={"user_context": asked})
    text = TextContent(text=f"Use this context: {wanted}")
    return GetPromptResult(messages=[PromptMessage(role="user", content=text)])


TOOLS: Final = (
    tool("test_input_required_result_elicitation", "Asks the user's name.", _elicitation),
    tool("test_streaming_elicitation", "Asks the user's name.", _elicitation),
    tool("test_input_required_result_sampling", "Asks the model.", _sample),
    tool("test_input_required_result_list_roots", "Asks for the roots.", _roots),
    tool(
        "test_input_required_result_request_state",
        "Asks to confirm, and remembers that it did.",
        _remembering("asked to confirm"),
    ),
    tool(
        "test_input_required_result_tampered_state",
        "Asks to confirm, and refuses a state that is not its own.",
        _remembering("asked, and sealed"),
    ),
    tool("test_input_required_result_multiple_inputs", "Asks three things at once.", _several),
    tool("test_input_required_result_multi_round", "Asks twice.", _rounds),
    tool(
        "test_input_required_result_capabilities",
        "Asks only what the client can answer.",
        _within_capabilities,
    ),
    tool("test_missing_capability", "Needs a client that can sample.", _missing_capability),
)

PROMPT: Final = PromptFixture(
    Prompt(
        name="test_input_required_result_prompt",
        description="Asks the user what context to use.",
    ),
    _prompt,
)
