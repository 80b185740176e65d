"""Telling clients that a resource changed, in both protocol eras, whoever changed it.

A client of 2026 listens on a stream (`subscriptions/listen`); one of 2025 subscribes to a URI and
is notified on its session. Both hear only what they asked for, and only of their own resource:
listeners are kept by whose they are, and an event is handed to those of its owner alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    RequestId,
    ServerNotification,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from convex_memory.principals import namespace_of
from server.change_feed import Change, ChangeFeed
from tools.resources import changed_uris, changes_list

logger = logging.getLogger(__name__)

STREAMS_MAX: Final = 8192
"""Streams open in one process; a client may well hold four of them."""
STREAMS_OF_ONE_MAX: Final = 128
URIS_MAX: Final = 1000
"""Resources one stream, or one session, may ask for."""
BACKLOG_MAX: Final = 256
"""Events that wait for a client to read them before its stream is ended."""
SEND_SECONDS_MAX: Final = 10
"""How long a client may take to accept a notification before it is told nothing more."""


@dataclass(slots=True)
class _Session:
    """What a connection of 2025 subscribed to, by URI."""

    resource_id: str
    uris: dict[str, ServerSession] = field(default_factory=dict)


class _Timely:
    """A stream's way to its client, who has to read what is sent."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session

    async def send_notification(
        self, notification: ServerNotification, related_request_id: RequestId | None = None
    ) -> None:
        with anyio.fail_after(SEND_SECONDS_MAX):
            await self._session.send_notification(notification, related_request_id)


class _Listeners:
    """The open streams of one resource."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.handler = ListenHandler(
            self.bus, max_subscriptions=STREAMS_OF_ONE_MAX, max_buffered_events=BACKLOG_MAX
        )
        self.asked: list[frozenset[str]] = []

    def wants(self, uri: str) -> bool:
        return any(uri in uris for uris in self.asked)


class Subscriptions:
    """Who wants to hear of which resource, in this process.

    Args:
        feed: Tells what was written; without it only what is published here is heard.
        tells_of_nobodys: Whether everybody hears of what belongs to nobody, such as schedules.
            Principals do not see it.
    """

    def __init__(self, feed: ChangeFeed | None = None, *, tells_of_nobodys: bool = False) -> None:
        self._feed = feed
        self._tells_of_nobodys = tells_of_nobodys
        self._listeners: dict[str, _Listeners] = {}
        self._sessions: dict[int, _Session] = {}
        self._closed = False

    # --- Clients

    async def listen(
        self,
        context: ServerRequestContext[Any],
        params: SubscriptionsListenRequestParams,
        resource_id: str,
    ) -> SubscriptionsListenResult:
        """Answer `subscriptions/listen`: tell of one resource's changes until the client leaves.

        Raises:
            MCPError: There are too many streams, or the stream asks for too much.
        """
        uris = frozenset(params.notifications.resource_subscriptions or ())
        self._admit(uris, resource_id)
        listeners = self._listeners.setdefault(resource_id, _Listeners())
        listeners.asked.append(uris)
        try:
            await self._enter()
            try:
                timely: Any = _Timely(context.session)
                return await listeners.handler(replace(context, session=timely), params)
            except TimeoutError as error:
                raise MCPError(INTERNAL_ERROR, "The client does not read its stream.") from error
            finally:
                self._leave()
        finally:
            listeners.asked.remove(uris)
            if not listeners.asked:
                self._listeners.pop(resource_id, None)

    def _admit(self, uris: frozenset[str], resource_id: str) -> None:
        if self._closed:
            raise MCPError(INTERNAL_ERROR, "The server is stopping; listen again elsewhere.")
        if len(uris) > URIS_MAX:
            raise MCPError(INVALID_PARAMS, f"One stream tells of at most {URIS_MAX} resources.")
        own = self._listeners.get(resource_id)
        if own is not None and len(own.asked) >= STREAMS_OF_ONE_MAX:
            raise MCPError(
                INTERNAL_ERROR,
                f"You have {STREAMS_OF_ONE_MAX} streams open here, which is the most. Close some.",
            )
        if sum(len(each.asked) for each in self._listeners.values()) >= STREAMS_MAX:
            raise MCPError(INTERNAL_ERROR, "Too many streams are open here. Try again later.")

    async def subscribe(
        self,
        context: ServerRequestContext[Any],
        params: SubscribeRequestParams,
        resource_id: str,
    ) -> EmptyResult:
        """Answer `resources/subscribe`: it lasts as long as the connection.

        Raises:
            MCPError: The session asks for too much.
        """
        connection = _connection_of(context)
        if id(connection) not in self._sessions:
            await self._enter()
            self._sessions[id(connection)] = _Session(resource_id)
            connection.exit_stack.callback(self._forget, id(connection))
        session = self._sessions[id(connection)]
        if len(session.uris) >= URIS_MAX:
            raise MCPError(INVALID_PARAMS, f"One session hears of at most {URIS_MAX} resources.")
        session.uris[str(params.uri)] = context.session
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Answer `resources/unsubscribe`."""
        if (session := self._sessions.get(id(_connection_of(context)))) is not None:
            session.uris.pop(str(params.uri), None)
        return EmptyResult()

    def close(self) -> None:
        """End every stream as agreed, with its last frame, and take no others.

        Returns at once; streams end as soon as their clients have read what was theirs.
        """
        self._closed = True
        for listeners in self._listeners.values():
            listeners.handler.close()

    async def _enter(self) -> None:
        if self._feed is not None:
            await self._feed.enter()

    def _leave(self) -> None:
        if self._feed is not None:
            self._feed.leave()

    def _forget(self, connection: int) -> None:
        if self._sessions.pop(connection, None) is not None:
            self._leave()

    # --- Events

    def wake(self) -> None:
        """Look for changes now: something was written here."""
        if self._feed is not None:
            self._feed.wake()

    async def tell(self, changes: Sequence[Change] | None) -> None:
        """Tell whom it concerns what was written; None: everything may have changed."""
        if changes is None:
            await self._tell_everything()
            return
        # Each but once: an event says that something changed, not how often.
        events: dict[tuple[str | None, ServerEvent], None] = {}
        for change in changes:
            owner = change.get("resourceId") or await self._owner(change)
            named = {} if owner is None else _uris_of(change, namespace_of(owner))
            for uri in {**_uris_of(change), **named}:
                events[owner, ResourceUpdated(uri=uri)] = None
            if changes_list(change["table"], change["kind"]):
                events[owner, ResourcesListChanged()] = None
        for owner, event in events:
            await self.publish(event, owner)

    async def _owner(self, change: Change) -> str | None:
        """Look up whose a row's thread is, if somebody waits for news of it."""
        thread_id = change.get("threadId")
        if self._feed is None or thread_id is None:
            return None
        uris = _uris_of(change)
        wanted = any(each.wants(uri) for each in self._listeners.values() for uri in uris)
        wanted = wanted or any(uri in each.uris for each in self._sessions.values() for uri in uris)
        return await self._feed.owner_of(thread_id) if wanted else None

    async def _tell_everything(self) -> None:
        for owner, listeners in list(self._listeners.items()):
            for uri in sorted(frozenset().union(*listeners.asked)):
                await self.publish(ResourceUpdated(uri=uri), owner)
            await self.publish(ResourcesListChanged(), owner)
        for session in list(self._sessions.values()):
            for uri in list(session.uris):
                await self.publish(ResourceUpdated(uri=uri), session.resource_id)

    async def publish(self, event: ServerEvent, resource_id: str | None) -> None:
        """Tell those of a resource who asked that something of theirs changed.

        Args:
            event: What changed.
            resource_id: Whose it is; None: nobody's.
        """
        if resource_id is None:
            for each in self._everybody() if self._tells_of_nobodys else ():
                await self.publish(event, each)
            return
        if (listeners := self._listeners.get(resource_id)) is not None:
            await listeners.bus.publish(event)
        if not isinstance(event, ResourceUpdated):
            return
        for key, subscribed in list(self._sessions.items()):
            session = subscribed.uris.get(event.uri)
            if subscribed.resource_id != resource_id or session is None:
                continue
            try:
                with anyio.fail_after(SEND_SECONDS_MAX):
                    await session.send_resource_updated(event.uri)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
                logger.debug("a client that subscribed is gone, or does not read")
                self._forget(key)

    def _everybody(self) -> set[str]:
        return {*self._listeners, *(session.resource_id for session in self._sessions.values())}


def _uris_of(change: Change, namespace: str = "") -> dict[str, None]:
    """Return the resources a change is of, as whoever lives in a name space calls them."""
    row_id, thread_id = str(change.get("id")), change.get("threadId")
    named = None if thread_id is None else str(thread_id).removeprefix(namespace)
    return dict.fromkeys(changed_uris(change["table"], row_id.removeprefix(namespace), named))


def _connection_of(context: ServerRequestContext[Any]) -> Connection:
    # The SDK hands out a session for each request and keeps the connection to itself; what is
    # subscribed to lasts as long as the connection.
    return context.session._connection
