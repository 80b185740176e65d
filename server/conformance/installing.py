"""Putting the suite's fixtures beside what a server has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from mcp.server import Server
from mcp.server.context import HandlerResult
from mcp.server.lowlevel.server import RequestHandler
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.types import (
    CallToolRequestParams,
    GetPromptRequestParams,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    PaginatedResult,
    ReadResourceRequestParams,
    ReadResourceResult,
    SetLevelRequestParams,
)

from server.app import Context
from server.conformance import contents, input_required, tasks, telling
from server.conformance.prompts import PROMPTS
from server.conformance.resources import RESOURCES, TEMPLATE
from server.conformance.resources import contents as resource_contents
from server.shared import Callers

PageT = TypeVar("PageT", bound=PaginatedResult)

TOOLS: Final = {
    fixture.definition.name: fixture
    for fixture in (*contents.TOOLS, *telling.TOOLS, *input_required.TOOLS, *tasks.TOOLS)
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
        _listing(server, "tools/list", ListToolsResult),
        _handler(server, "tools/call"),
    )
    production_schema = server.get_tool_input_schema

    async def list_tools(context: Context, params: PaginatedRequestParams) -> ListToolsResult:
        page = await production_list(context, params)
        added = [fixture.definition for fixture in TOOLS.values()]
        return page.model_copy(update={"tools": [*page.tools, *added]})

    async def call_tool(context: Context, params: CallToolRequestParams) -> HandlerResult:
        fixture = TOOLS.get(params.name)
        if fixture is None:
            return await production_call(context, params)
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
    production_list = _listing(server, "resources/list", ListResourcesResult)
    production_templates = _listing(server, "resources/templates/list", ListResourceTemplatesResult)
    production_read = _handler(server, "resources/read")

    async def list_resources(
        context: Context, params: PaginatedRequestParams
    ) -> ListResourcesResult:
        page = await production_list(context, params)
        if params.cursor is not None:
            return page
        return page.model_copy(update={"resources": [*page.resources, *RESOURCES]})

    async def list_templates(
        context: Context, params: PaginatedRequestParams
    ) -> ListResourceTemplatesResult:
        page = await production_templates(context, params)
        return page.model_copy(update={"resource_templates": [*page.resource_templates, TEMPLATE]})

    async def read_resource(context: Context, params: ReadResourceRequestParams) -> HandlerResult:
        found = resource_contents(str(params.uri))
        if found is None:
            return await production_read(context, params)
        return ReadResourceResult(contents=[found])

    server.add_request_handler("resources/list", PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/templates/list", PaginatedRequestParams, list_templates)
    server.add_request_handler("resources/read", ReadResourceRequestParams, read_resource)


def _install_prompts(server: Server[Callers]) -> None:
    production_list, production_get = (
        _listing(server, "prompts/list", ListPromptsResult),
        _handler(server, "prompts/get"),
    )
    fixtures = {fixture.definition.name: fixture for fixture in PROMPTS}

    async def list_prompts(context: Context, params: PaginatedRequestParams) -> ListPromptsResult:
        page = await production_list(context, params)
        added = [fixture.definition for fixture in PROMPTS]
        return page.model_copy(update={"prompts": [*page.prompts, *added]})

    async def get_prompt(context: Context, params: GetPromptRequestParams) -> HandlerResult:
        fixture = fixtures.get(params.name)
        if fixture is None:
            return await production_get(context, params)
        return await fixture.get(context, params)

    server.add_request_handler("prompts/list", PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", GetPromptRequestParams, get_prompt)


def _handler(server: Server[Callers], method: str) -> RequestHandler[Callers, Any]:
    entry = server.get_request_handler(method)
    assert entry is not None, f"the server has no {method}"
    return entry.handler


def _listing(
    server: Server[Callers], method: str, kind: type[PageT]
) -> Callable[[Context, PaginatedRequestParams], Awaitable[PageT]]:
    production = _handler(server, method)

    async def page(context: Context, params: PaginatedRequestParams) -> PageT:
        listed = await production(context, params)
        assert isinstance(listed, kind)
        return listed

    return page
