"""The composition root: settings in; a deployment, an embedder and adapters out.

What the callers of one process share is opened once (`open_shared`); each caller has adapters of
its own over it (`Callers`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from convex_memory.cache import ConvexServerCache
from convex_memory.capabilities import Capabilities
from convex_memory.deployment import CACHE_FUNCTION, STORAGE_FUNCTION, Deployment
from convex_memory.embedders.embedder import Embedder
from convex_memory.embedders.opening import open_embedder
from convex_memory.indexing import POLL_MS_DEFAULT, POLL_MS_REMOTE, EmbeddingRunner
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.recall import Recall
from convex_memory.scoped import ScopedDeployment
from convex_memory.store import ConvexStore
from convex_memory.text_vectors import TextVectors
from convex_memory.vector import ConvexVector
from server.answering import Answering
from server.auth import current_principal
from server.background import background_work
from server.change_feed import POLL_MS_EMBEDDED, ChangeFeed
from server.change_feed import POLL_MS_REMOTE as FEED_MS_REMOTE
from server.observing import ObservedDeployment, observe_exchange, observe_transaction
from server.runs import Runs
from server.settings import NativeIndexSettings, Settings
from server.subscriptions import Subscriptions
from server.telemetry import is_on
from tools.adapters import Adapters
from tools.toolset import MemoryTool

PRINCIPALS_KEPT_MAX: Final = 1000
"""How many principals' adapters are kept at once; those of others are made anew."""
NO_TOOLS: Final[Mapping[str, MemoryTool]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Shared:
    """What every caller of one process uses together.

    Attributes:
        indexing: What embeds, in the background and for questions; None when it is off.
        feed: What is written to the deployment, by whichever process.
        subscriptions: Who is to be told of it.
        runs: Work that goes on when nobody waits for it any more.
    """

    deployment: Deployment
    capabilities: Capabilities
    indexing: EmbeddingRunner | None
    feed: ChangeFeed
    subscriptions: Subscriptions
    runs: Runs = field(default_factory=Runs)

    def close_streams(self) -> None:
        """End every stream of notifications in order, and take no more of them."""
        self.subscriptions.close()


class Callers:
    """The adapters of everybody who calls this server.

    Args:
        shared: What they use together.
        settings: Whose memory it is, and what it is made of.
        tools: What they may call, beside resources.

    Attributes:
        answering: Answers their calls.
    """

    def __init__(
        self, shared: Shared, settings: Settings, tools: Mapping[str, MemoryTool] = NO_TOOLS
    ) -> None:
        self.shared = shared
        self._settings = settings
        self.answering = Answering(
            tools,
            shared.runs,
            lease_ms=settings.task_lease_ms,
            grace_ms=settings.task_grace_ms,
            wrote=shared.subscriptions.wake,
        )
        self._own = adapters_over(shared, settings, settings.resource_id)
        self._of_principals: OrderedDict[str, Adapters] = OrderedDict()

    def current(self) -> Adapters:
        """Return the adapters of whoever makes the request that is being answered.

        Those of the principals seen last are kept.
        """
        principal = current_principal()
        if principal is None:
            return self._own
        adapters = self._of_principals.get(principal.id)
        if adapters is None:
            adapters = adapters_of(self.shared, self._settings, principal.id)
            self._of_principals[principal.id] = adapters
            if len(self._of_principals) > PRINCIPALS_KEPT_MAX:
                self._of_principals.popitem(last=False)
        else:
            self._of_principals.move_to_end(principal.id)
        return adapters


@asynccontextmanager
async def open_shared(settings: Settings) -> AsyncIterator[Shared]:
    """Open what callers share, with the work that goes on in the background, and close it."""
    deployment = open_deployment(settings)
    if is_on():
        deployment = ObservedDeployment(deployment)
    shared = shared_over(deployment, settings)
    try:
        own = adapters_over(shared, settings, settings.resource_id)
        async with background_work(own, settings, shared.feed, shared.subscriptions):
            async with shared.runs.opened():
                yield shared
    finally:
        if shared.indexing is not None:
            await shared.indexing.embedder.aclose()
        await deployment.aclose()


def open_deployment(settings: Settings) -> Deployment:
    """Return the deployment the settings name. Nothing is opened before its first call."""
    if settings.convex_url is not None and settings.convex_admin_key is not None:
        from convex_memory.remote import RemoteDeployment

        return RemoteDeployment(
            settings.convex_url,
            settings.convex_admin_key.get_secret_value(),
            timeout_ms=settings.request_timeout_ms,
            observe=observe_exchange if is_on() else None,
        )
    from convex_memory.embedded import EmbeddedDeployment

    return EmbeddedDeployment(settings.data_dir, observe=observe_transaction if is_on() else None)


def shared_over(deployment: Deployment, settings: Settings) -> Shared:
    """Return what callers share over a deployment, which stays the caller's to close."""
    capabilities = Capabilities(deployment)
    indexing = _indexing(deployment, capabilities, settings)
    feed = ChangeFeed(
        deployment,
        capabilities,
        poll_ms=POLL_MS_EMBEDDED if settings.embedded else FEED_MS_REMOTE,
    )
    asks = settings.http_tokens is not None or settings.oauth_issuer is not None
    subscriptions = Subscriptions(feed, tells_of_nobodys=not asks)
    return Shared(deployment, capabilities, indexing, feed, subscriptions)


def adapters_of(shared: Shared, settings: Settings, principal: str) -> Adapters:
    """Return the adapters of a principal: they see and change nothing that is not theirs.

    Tables that the settings map as indexes have no owner, so principals have none of them.
    """
    # The gate knows functions by the paths that they have when they are deployed.
    own = {"storage_function": STORAGE_FUNCTION, "cache_function": CACHE_FUNCTION}
    alone = settings.model_copy(update={"native_indexes": {}, **own})
    deployment = ScopedDeployment(shared.deployment, principal)
    return adapters_over(replace(shared, deployment=deployment), alone, principal)


def adapters_over(shared: Shared, settings: Settings, resource_id: str) -> Adapters:
    """Return one caller's adapters, as the settings have them."""
    deployment, capabilities = shared.deployment, shared.capabilities
    indexing = shared.indexing
    store = ConvexStore(
        deployment, storage_function=settings.storage_function, capabilities=capabilities
    )
    native_indexes = {name: _native(index) for name, index in settings.native_indexes.items()}
    return Adapters(
        deployment=deployment,
        resource_id=resource_id,
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
