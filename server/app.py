"""The composition root: settings in, a server with its adapters out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NoReturn

from mcp import MCPError
from mcp.server import CacheHint, Server, ServerRequestContext
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
)

from convex_memory.cache import ConvexServerCache
from convex_memory.capabilities import Capabilities
from convex_memory.deployment import Deployment
from convex_memory.embedders.embedder import Embedder
from convex_memory.embedders.opening import open_embedder
from convex_memory.errors import ConvexMemoryError, DeploymentError
from convex_memory.indexing import POLL_MS_DEFAULT, POLL_MS_REMOTE, EmbeddingRunner
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.recall import Recall
from convex_memory.store import ConvexStore
from convex_memory.text_vectors import TextVectors
from convex_memory.vector import ConvexVector
from server.background import background_work
from server.settings import APPLICATION, NOTIFY, NativeIndexSettings, Settings
from server.subscriptions import Subscriptions
from tools import TOOLSETS, prompts, resources, select
from tools.adapters import Adapters
from tools.toolset import MemoryTool, refusal

INSTRUCTIONS: Final = (
    "Memory that outlives the conversation. At the start, read get_working_memory. Before "
    "answering about anything past, use search_memory. Save what both sides say with "
    "save_message, and lasting facts with update_working_memory."
)
_STATIC: Final = CacheHint(ttl_ms=300_000, scope="private")

Context = ServerRequestContext[Adapters]


def application_version() -> str:
    """Return the installed version, or `0` in a checkout that is not installed."""
    try:
        return version(APPLICATION)
    except PackageNotFoundError:
        return "0"


def open_deployment(settings: Settings) -> Deployment:
    """Return the deployment the settings name. Nothing is opened before its first call."""
    if settings.convex_url is not None and settings.convex_admin_key is not None:
        from convex_memory.remote import RemoteDeployment

        return RemoteDeployment(
            settings.convex_url,
            settings.convex_admin_key.get_secret_value(),
            timeout_ms=settings.request_timeout_ms,
        )
    from convex_memory.embedded import EmbeddedDeployment

    return EmbeddedDeployment(settings.data_dir)


def adapters_over(deployment: Deployment, settings: Settings) -> Adapters:
    """Return the adapters over a deployment, as the settings have them."""
    capabilities = Capabilities(deployment)
    store = ConvexStore(
        deployment, storage_function=settings.storage_function, capabilities=capabilities
    )
    native_indexes = {name: _native(index) for name, index in settings.native_indexes.items()}
    indexing = _indexing(deployment, capabilities, settings)
    return Adapters(
        deployment=deployment,
        resource_id=settings.resource_id,
        store=store,
        recall=Recall(store.memory, indexing),
        vector=ConvexVector(
            deployment, storage_function=settings.storage_function, capabilities=capabilities
        ),
        native_vector=ConvexNativeVector(
            deployment,
            native_indexes,
            action=settings.native_vector_action,
            query=settings.native_vector_query,
            mutation=settings.native_vector_mutation,
        ),
        native_indexes=native_indexes,
        cache=ConvexServerCache(
            deployment,
            function=settings.cache_function,
            key_prefix=settings.cache_prefix,
            ttl_ms=settings.cache_ttl_ms,
            request_timeout_ms=settings.request_timeout_ms,
        ),
        indexing=indexing,
        text_vectors=None
        if indexing is None
        else TextVectors(deployment, indexing.embedder, capabilities=capabilities),
        restorable_ms=settings.restorable_ms,
    )


def embedder_of(settings: Settings) -> Embedder | None:
    """Return the embedder the settings name, not loaded before it is used; None for `off`."""
    key = settings.openai_api_key
    return open_embedder(
        settings.embedder,
        api_key=None if key is None else key.get_secret_value(),
        base_url=settings.openai_base_url,
    )


def _indexing(
    deployment: Deployment, capabilities: Capabilities, settings: Settings
) -> EmbeddingRunner | None:
    embedder = embedder_of(settings)
    if embedder is None:
        return None
    return EmbeddingRunner(
        deployment,
        embedder,
        capabilities=capabilities,
        poll_ms=POLL_MS_DEFAULT if settings.embedded else POLL_MS_REMOTE,
        may_write=not settings.read_only,
    )


def _native(index: NativeIndexSettings) -> NativeIndex:
    return NativeIndex(
        table_name=index.tableName,
        dimension=index.dimension,
        vector_index_name=index.vectorIndexName,
        id_field=index.idField,
        id_index_name=index.idIndexName,
        vector_field=index.vectorField,
        metadata_field=index.metadataField,
        filter_fields=index.filterFields,
    )


def create_server(settings: Settings, deployment: Deployment | None = None) -> Server[Adapters]:
    """Return the MCP server.

    Args:
        settings: What to publish, and for whom.
        deployment: Used, and left open; without one the server's lifespan opens the one the
            settings name, and closes it.
    """
    published = select(settings.toolsets, read_only=settings.read_only)
    subscriptions = Subscriptions() if settings.schedule_action == NOTIFY else None
    definitions = [tool.definition for tool in published.values()]

    @asynccontextmanager
    async def lifespan(server: Server[Adapters]) -> AsyncIterator[Adapters]:
        opened = deployment or open_deployment(settings)
        adapters = adapters_over(opened, settings)
        try:
            async with background_work(adapters, settings, subscriptions):
                yield adapters
        finally:
            if adapters.indexing is not None:
                await adapters.indexing.embedder.aclose()
            if deployment is None:
                await opened.aclose()

    async def list_templates(
        context: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        templates = list(resources.TEMPLATES)
        if "schedules" in settings.toolsets or subscriptions is not None:
            templates.append(resources.SCHEDULE_TEMPLATE)
        return ListResourceTemplatesResult(resource_templates=templates)

    async def list_tools(
        context: Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=definitions)

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = published.get(params.name)
        if tool is None:
            return refusal("unknown_tool", _why_unknown(params.name, published))

        async def progress(done: float, total: float | None = None) -> None:
            await context.session.report_progress(done, total)

        return await tool.call(params.arguments or {}, context.lifespan_context, progress)

    return Server(
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
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=_read_resource,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
        on_completion=_complete,
        on_subscriptions_listen=subscriptions.listen if subscriptions else None,
        on_subscribe_resource=subscriptions.subscribe if subscriptions else None,
        on_unsubscribe_resource=subscriptions.unsubscribe if subscriptions else None,
    )


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
            context.lifespan_context, params.cursor if params else None
        )
    except ConvexMemoryError as error:
        _raise_protocol_error(error)
    return ListResourcesResult(resources=page.resources, next_cursor=page.next_cursor)


async def _read_resource(context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
    try:
        contents = await resources.read(context.lifespan_context, str(params.uri))
    except ConvexMemoryError as error:
        _raise_protocol_error(error, uri=str(params.uri))
    return ReadResourceResult(contents=[contents])


async def _list_prompts(
    context: Context, params: PaginatedRequestParams | None
) -> ListPromptsResult:
    return ListPromptsResult(prompts=list(prompts.PROMPTS))


async def _get_prompt(context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    try:
        return await prompts.get(context.lifespan_context, params.name, params.arguments or {})
    except ConvexMemoryError as error:
        _raise_protocol_error(error)


async def _complete(context: Context, params: CompleteRequestParams) -> CompleteResult:
    resolved = params.context.arguments if params.context and params.context.arguments else {}
    try:
        completion = await resources.complete(
            context.lifespan_context,
            params.argument.name,
            params.argument.value,
            resolved.get("thread_id"),
        )
    except ConvexMemoryError as error:
        _raise_protocol_error(error)
    return CompleteResult(completion=completion)


def _raise_protocol_error(error: ConvexMemoryError, **data: Any) -> NoReturn:
    """Tell a failure where there is no tool answer to tell it in."""
    number = INTERNAL_ERROR if isinstance(error, DeploymentError) else INVALID_PARAMS
    raise MCPError(number, error.message, {"code": error.code, **data}) from error
