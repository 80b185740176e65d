"""Tools that answer with each kind of content, and schemas that must arrive as they are."""

from __future__ import annotations

from typing import Any, Final

from mcp.types import (
    AudioContent,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)

from server.app import Context
from server.conformance.fixture import PNG, answering, said, tool

_WAV: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
"""One sample of silence, in base64."""

_SCHEMA_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_HEADER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
    "additionalProperties": False,
}


async def _region(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return said(f"region: {(params.arguments or {}).get('region')}")


TOOLS: Final = (
    tool(
        "test_simple_text",
        "Answers with a text.",
        answering(TextContent(text="This is a simple text response for testing.")),
    ),
    tool(
        "test_image_content",
        "Answers with an image.",
        answering(ImageContent(data=PNG, mime_type="image/png")),
    ),
    tool(
        "test_audio_content",
        "Answers with a sound.",
        answering(AudioContent(data=_WAV, mime_type="audio/wav")),
    ),
    tool(
        "test_embedded_resource",
        "Answers with a resource.",
        answering(
            EmbeddedResource(
                resource=TextResourceContents(
                    uri="test://embedded-resource",
                    mime_type="text/plain",
                    text="This is an embedded resource content.",
                )
            )
        ),
    ),
    tool(
        "test_multiple_content_types",
        "Answers with a text, an image and a resource.",
        answering(
            TextContent(text="Multiple content types test:"),
            ImageContent(data=PNG, mime_type="image/png"),
            EmbeddedResource(
                resource=TextResourceContents(
                    uri="test://mixed-content-resource",
                    mime_type="application/json",
                    text='{"test":"data","value":123}',
                )
            ),
        ),
    ),
    tool(
        "test_error_handling",
        "Always fails.",
        answering(
            TextContent(text="This tool intentionally returns an error for testing"), is_error=True
        ),
    ),
    tool(
        "json_schema_2020_12_tool",
        "Tool with JSON Schema 2020-12 features",
        answering(TextContent(text="ok")),
        input_schema=_SCHEMA_2020_12,
    ),
    tool(
        "test_x_mcp_header",
        "Says what it got in an argument that also stands in a header.",
        _region,
        input_schema=_HEADER_SCHEMA,
    ),
)
