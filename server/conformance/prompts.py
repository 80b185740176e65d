"""Prompts with each kind of content."""

from __future__ import annotations

from typing import Final

from mcp.types import (
    ContentBlock,
    EmbeddedResource,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
    TextResourceContents,
)

from server.app import Context
from server.conformance.fixture import PNG, PromptFixture
from server.conformance.input_required import PROMPT


def _messages(*contents: ContentBlock) -> GetPromptResult:
    return GetPromptResult(
        messages=[PromptMessage(role="user", content=content) for content in contents]
    )


async def _simple(context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    return _messages(TextContent(text="This is a simple prompt for testing."))


async def _with_arguments(context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    given = params.arguments or {}
    text = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
    return _messages(TextContent(text=text))


async def _with_resource(context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    resource = TextResourceContents(
        uri=(params.arguments or {})["resourceUri"],
        mime_type="text/plain",
        text="Embedded resource content for testing.",
    )
    return _messages(
        EmbeddedResource(resource=resource),
        TextContent(text="Please process the embedded resource above."),
    )


async def _with_image(context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    return _messages(
        ImageContent(data=PNG, mime_type="image/png"),
        TextContent(text="Please analyze the image above."),
    )


def _required(name: str) -> PromptArgument:
    return PromptArgument(name=name, description="What the prompt repeats.", required=True)


PROMPTS: Final = (
    PromptFixture(Prompt(name="test_simple_prompt", description="A text."), _simple),
    PromptFixture(
        Prompt(
            name="test_prompt_with_arguments",
            description="A text with two arguments in it.",
            arguments=[_required("arg1"), _required("arg2")],
        ),
        _with_arguments,
    ),
    PromptFixture(
        Prompt(
            name="test_prompt_with_embedded_resource",
            description="A resource, and a text about it.",
            arguments=[_required("resourceUri")],
        ),
        _with_resource,
    ),
    PromptFixture(
        Prompt(name="test_prompt_with_image", description="An image, and a text about it."),
        _with_image,
    ),
    PROMPT,
)
