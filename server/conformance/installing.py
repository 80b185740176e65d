"""Putting the suite's fixtures beside what a server has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp.server import Server
from mcp.server.lowlevel.server import RequestHandler
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SetLevelRequestParams,
)

from server.app import Context
from server.conformance import contents, input_required, telling
from server.conformance.prompts import PROMPTS
from server.conformance.resources import RESOURCES, TEMPLATE
from server.conformance.resources import contents as resource_contents
from server.shared import Callers

TOOLS: Final = {
    fixture.definition.name: fixture
    for fixture in (*contents.TOOLS, *telling.TOOLS, *input_required.TOOLS)
}


def install(server: Server[Callers]) -> None:
    """Add the suite's tools, resources and prompts to a server.

    Each is asked for first; whatever is not the suite's goes to the handler that was there.
    """
    _install_tools(server)
    _install_resources(server)
    _install_prompts(server)
    server.add_request_handler("logging/setLevel", SetLevelRequestParams, telling.accept_level)
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name)
    )


def _install_tools(server: Server[Callers]) -> None:
    production_list, production_call = (
        _handler(server, "tools/list"),
        _handler(server, "tools/call"),
    )
    production_schema = server.get_tool_input_schema

    async def list_tools(context: Context, params: PaginatedRequestParams) -> ListToolsResult:
        page: ListToolsResult = await production_list(context, params)
        added = [fixture.definition for fixture in TOOLS.values()]
        return page.model_copy(update={"tools": [*page.tools, *added]})

    async def call_tool(
        context: Context, params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult:
        fixture = TOOLS.get(params.name)
        if fixture is None:
            answer: CallToolResult = await production_call(context, params)
            return answer
        return await fixture.call(context, params)

    def input_schema(name: str) -> Mapping[str, Any] | None:
        fixture = TOOLS.get(name)
        if fixture is not None:
            return fixture.definition.input_schema
        return production_schema(name) if production_schema is not None else None

    server.add_request_handler("tools/list", PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)
    server.get_tool_input_schema = input_schema


def _install_resources(server: Server[Callers]) -> None:
    production_list = _handler(server, "resources/list")
    production_templates = _handler(server, "resources/templates/list")
    production_read = _handler(server, "resources/read")

    async def list_resources(
        context: Context, params: PaginatedRequestParams
    ) -> ListResourcesResult:
        page: ListResourcesResult = await production_list(context, params)
        if params.cursor is not None:
            return page
        return page.model_copy(update={"resources": [*page.resources, *RESOURCES]})

    async def list_templates(
        context: Context, params: PaginatedRequestParams
    ) -> ListResourceTemplatesResult:
        page: ListResourceTemplatesResult = await production_templates(context, params)
        return page.model_copy(update={"resource_templates": [*page.resource_templates, TEMPLATE]})

    async def read_resource(
        context: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        found = resource_contents(str(params.uri))
        if found is None:
            answer: ReadResourceResult = await production_read(context, params)
            return answer
        return ReadResourceResult(contents=[found])

    server.add_request_handler("resources/list", PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/templates/list", PaginatedRequestParams, list_templates)
    server.add_request_handler("resources/read", ReadResourceRequestParams, read_resource)


def _install_prompts(server: Server[Callers]) -> None:
    production_list, production_get = (
        _handler(server, "prompts/list"),
        _handler(server, "prompts/get"),
    )
    fixtures = {fixture.definition.name: fixture for fixture in PROMPTS}

    async def list_prompts(context: Context, params: PaginatedRequestParams) -> ListPromptsResult:
        page: ListPromptsResult = await production_list(context, params)
        added = [fixture.definition for fixture in PROMPTS]
        return page.model_copy(update={"prompts": [*page.prompts, *added]})

    async def get_prompt(
        context: Context, params: GetPromptRequestParams
    ) -> GetPromptResult | InputRequiredResult:
        fixture = fixtures.get(params.name)
        if fixture is None:
            answer: GetPromptResult = await production_get(context, params)
            return answer
        return await fixture.get(context, params)

    server.add_request_handler("prompts/list", PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", GetPromptRequestParams, get_prompt)


def _handler(server: Server[Callers], method: str) -> RequestHandler[Callers, Any]:
    entry = server.get_request_handler(method)
    assert entry is not None, f"the server has no {method}"
    return entry.handler
