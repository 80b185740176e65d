"""Telling clients that a resource changed, in both protocol eras.

A client of 2026 listens on a stream (`subscriptions/listen`); one of 2025 subscribes to a URI and
is notified on its session. Both hear only what they asked for.
"""

from __future__ import annotations

import logging
from typing import Any

import anyio
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.types import EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

logger = logging.getLogger(__name__)

_SEND_SECONDS_MAX = 5
"""How long one client may take to accept a notification before it goes without."""


class Subscriptions:
    """Who wants to hear of which resource, in this process.

    Attributes:
        bus: Carries what is to be told to every stream that listens.
        listen: Answers `subscriptions/listen`.
    """

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._sessions: dict[int, dict[str, ServerSession]] = {}
        self.listen = ListenHandler(self.bus)

    async def subscribe(
        self, context: ServerRequestContext[Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """Answer `resources/subscribe`."""
        connection = _connection_of(context)
        if id(connection) not in self._sessions:
            self._sessions[id(connection)] = {}
            connection.exit_stack.callback(self._sessions.pop, id(connection), None)
        self._sessions[id(connection)][str(params.uri)] = context.session
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Answer `resources/unsubscribe`."""
        self._sessions.get(id(_connection_of(context)), {}).pop(str(params.uri), None)
        return EmptyResult()

    async def publish(self, uri: str) -> None:
        """Tell everyone who asked that a resource changed; a client that is gone hears nothing."""
        await self.bus.publish(ResourceUpdated(uri=uri))
        subscribed = [each[uri] for each in self._sessions.values() if uri in each]
        for session in subscribed:
            try:
                with anyio.fail_after(_SEND_SECONDS_MAX):
                    await session.send_resource_updated(uri)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
                logger.debug("a client that subscribed is gone")


def _connection_of(context: ServerRequestContext[Any]) -> Connection:
    # The SDK hands out a session for each request and keeps the connection to itself; what is
    # subscribed to lasts as long as the connection.
    return context.session._connection
