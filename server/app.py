"""The MCP server: what it publishes, and how each request reaches the caller's adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NoReturn

from mcp import MCPError
from mcp.server import CacheHint, Server, ServerRequestContext
from mcp.server.context import HandlerResult
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CompleteRequestParams,
    CompleteResult,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from convex_memory.errors import ConvexMemoryError, DeploymentError
from server.auth import current_principal
from server.auth.scopes import ScopeCheck, scope_of, why_not
from server.observing import ObserveCalls
from server.settings import APPLICATION, NOTIFY, Settings
from server.shared import Callers, Shared, open_shared
from server.subscriptions import Subscriptions
from server.task_methods import add_task_methods, check_task_listening
from tools import TOOLSETS, prompts, resources, select
from tools.toolset import MemoryTool, refusal

INSTRUCTIONS: Final = (
    "Memory that outlives the conversation. At the start, read get_working_memory. Before "
    "answering about anything past, use search_memory. Save what both sides say with "
    "save_message, and lasting facts with update_working_memory."
)
_STATIC: Final = CacheHint(ttl_ms=300_000, scope="private")

Context = ServerRequestContext[Callers]


def application_version() -> str:
    """Return the installed version, or `0` in a checkout that is not installed."""
    try:
        return version(APPLICATION)
    except PackageNotFoundError:
        return "0"


def create_server(settings: Settings, shared: Shared | None = None) -> Server[Callers]:
    """Return the MCP server.

    Args:
        settings: What to publish, and for whom.
        shared: Used, and left open; without it the server's lifespan opens what the settings
            name, and closes it.
    """
    published = select(settings.toolsets, read_only=settings.read_only)
    definitions = [tool.definition for tool in published.values()]
    schemas = {tool.name: tool.input_schema for tool in definitions}

    @asynccontextmanager
    async def lifespan(server: Server[Callers]) -> AsyncIterator[Callers]:
        async with AsyncExitStack() as stack:
            opened = shared
            if opened is None:
                opened = await stack.enter_async_context(open_shared(settings))
            yield Callers(opened, settings, published)

    async def list_templates(
        context: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        templates = list(resources.TEMPLATES)
        if "schedules" in settings.toolsets or settings.schedule_action == NOTIFY:
            templates.append(resources.SCHEDULE_TEMPLATE)
        return ListResourceTemplatesResult(resource_templates=templates)

    async def list_tools(
        context: Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=definitions)

    async def call_tool(context: Context, params: CallToolRequestParams) -> HandlerResult:
        tool = published.get(params.name)
        if tool is None:
            return refusal("unknown_tool", _why_unknown(params.name, published))
        scope = scope_of("tools/call", params.name, published)
        if (lacking := why_not(current_principal(), scope)) is not None:
            return refusal("insufficient_scope", lacking, {"scope": scope})
        callers = context.lifespan_context
        return await callers.answering.answer(
            tool, params.arguments or {}, callers.current(), context
        )

    server: Server[Callers] = Server(
        APPLICATION,
        title="Convex Memory",
        version=application_version(),
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        cache_hints={
            "tools/list": _STATIC,
            "prompts/list": _STATIC,
            "resources/templates/list": _STATIC,
            "server/discover": _STATIC,
        },
        # Without it the SDK lists all tools at every call over HTTP, to look for one.
        get_tool_input_schema=schemas.get,
        on_list_tools=list_tools,
        on_list_resources=_list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=_read_resource,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
        on_completion=_complete,
        on_subscriptions_listen=_listen,
        on_subscribe_resource=_subscribe,
        on_unsubscribe_resource=_unsubscribe,
    )
    # Not `on_call_tool`: that one has no word for an answer that is a task.
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)
    add_task_methods(server)
    _observe(server, published)
    server.middleware.append(ScopeCheck())
    return server


def _observe(server: Server[Callers], published: Mapping[str, MemoryTool]) -> None:
    # In place of the SDK's own, which shows the texts of errors.
    server.middleware[:] = [ObserveCalls([*published, *(each.name for each in prompts.PROMPTS)])]


def _why_unknown(name: str, published: Mapping[str, MemoryTool]) -> str:
    for toolset in TOOLSETS.values():
        if name in toolset.tools:
            return (
                f"{name} is switched off here: it belongs to the toolset {toolset.name}, and only "
                f"some toolsets, or only reading tools, are on. The tools are "
                f"{', '.join(published)}."
            )
    return f"There is no tool {name[:80]!a}. The tools are {', '.join(published)}."


async def _list_resources(
    context: Context, params: PaginatedRequestParams | None
) -> ListResourcesResult:
    try:
        page = await resources.list_page(
            context.lifespan_context.current(), params.cursor if params else None
        )
    except ConvexMemoryError as error:
        _raise_protocol_error(error)
    return ListResourcesResult(resources=page.resources, next_cursor=page.next_cursor)


async def _read_resource(context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
    try:
        contents = await resources.read(context.lifespan_context.current(), str(params.uri))
    except ConvexMemoryError as error:
        _raise_protocol_error(error, uri=str(params.uri))
    return ReadResourceResult(contents=[contents])


async def _list_prompts(
    context: Context, params: PaginatedRequestParams | None
) -> ListPromptsResult:
    return ListPromptsResult(prompts=list(prompts.PROMPTS))


async def _get_prompt(context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    try:
        return await prompts.get(
            context.lifespan_context.current(), params.name, params.arguments or {}
        )
    except ConvexMemoryError as error:
        _raise_protocol_error(error)


async def _complete(context: Context, params: CompleteRequestParams) -> CompleteResult:
    resolved = params.context.arguments if params.context and params.context.arguments else {}
    try:
        completion = await resources.complete(
            context.lifespan_context.current(),
            params.argument.name,
            params.argument.value,
            resolved.get("thread_id"),
        )
    except ConvexMemoryError as error:
        _raise_protocol_error(error)
    return CompleteResult(completion=completion)


async def _listen(
    context: Context, params: SubscriptionsListenRequestParams
) -> SubscriptionsListenResult:
    check_task_listening(context, params)
    try:
        return await _subscriptions(context).listen(context, params, _whose(context))
    except ConvexMemoryError as error:
        _raise_protocol_error(error)


async def _subscribe(context: Context, params: SubscribeRequestParams) -> EmptyResult:
    try:
        return await _subscriptions(context).subscribe(context, params, _whose(context))
    except ConvexMemoryError as error:
        _raise_protocol_error(error)


async def _unsubscribe(context: Context, params: UnsubscribeRequestParams) -> EmptyResult:
    return await _subscriptions(context).unsubscribe(context, params)


def _subscriptions(context: Context) -> Subscriptions:
    return context.lifespan_context.shared.subscriptions


def _whose(context: Context) -> str:
    return context.lifespan_context.current().resource_id


def _raise_protocol_error(error: ConvexMemoryError, **data: Any) -> NoReturn:
    """Tell a failure where there is no tool answer to tell it in."""
    number = INTERNAL_ERROR if isinstance(error, DeploymentError) else INVALID_PARAMS
    raise MCPError(number, error.message, {"code": error.code, **data}) from error
