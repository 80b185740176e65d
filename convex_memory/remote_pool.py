"""Connections that are kept alive and shared: what carries calls to a Convex deployment.

aiohttp, because a call through it costs less than half of what it costs through httpx2, which
carries the rest of this project's requests: `bench/http_clients.py`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from convex_memory.remote_exchange import Broken, Outgoing, Reply, UnusableAddress, read_whole

CONNECTIONS_MAX: Final = 64
IDLE_SECONDS_MAX: Final = 15.0
"""Idle connections are dropped before a server or a proxy would drop them."""


class PooledConnections:
    """Connections of one event loop, made when they are needed.

    Nothing is read from the environment (proxies, certificates, passwords), redirects are not
    followed and cookies are not kept.

    Args:
        headers: What goes with every request.
        secure: Whether certificates will be needed; the system's are used.
    """

    def __init__(self, headers: Mapping[str, str], *, secure: bool) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX,
                keepalive_timeout=IDLE_SECONDS_MAX,
                ssl=_certificates() if secure else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )
        self._on_their_way: set[_Body] = set()

    async def send(self, outgoing: Outgoing) -> Reply:
        """See `Connections.send`."""
        body = _Body(outgoing)
        self._on_their_way.add(body)
        try:
            return await self._exchange(outgoing, body)
        except BaseException as error:
            body.abort()
            broken = self._broken(error)
            if broken is None:
                raise
            # The exceptions of aiohttp hold the headers, and with them the key.
            raise broken from None
        finally:
            self._on_their_way.discard(body)

    async def _exchange(self, outgoing: Outgoing, body: _Body) -> Reply:
        if self._session.closed:
            raise Broken
        response = await self._session.post(
            outgoing.url,
            data=body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=outgoing.connect_seconds),
        )
        try:
            content = await read_whole(response.content.iter_any(), response.content_length)
        except BaseException:
            if response.connection is None:
                # Read to its end just before: the connection may carry the next request already.
                body.answered()
            response.close()
            raise
        return Reply(response.status, response.headers.get("Retry-After"), content)

    def _broken(self, error: BaseException) -> Exception | None:
        """What an exception means, None when it is to go on as it is."""
        if isinstance(error, aiohttp.InvalidURL | UnicodeError):
            return UnusableAddress()
        if isinstance(error, aiohttp.ClientConnectorError):
            return Broken(_reason(error.os_error), cause=error.os_error)
        if isinstance(error, aiohttp.ClientError | OSError):
            return Broken(_reason(error), timed_out=isinstance(error, TimeoutError))
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and not (task and task.cancelling()):
            # Closing the pool cancels those who wait for a connection of it.
            return Broken()
        return None

    async def aclose(self) -> None:
        """See `Connections.aclose`."""
        # Closed the gentle way, a connection whose peer does not read would stay for ever.
        for body in self._on_their_way:
            body.abort()
        await self._session.close()


class _Body(aiohttp.Payload):
    """The body of a request, which knows what it was sent over."""

    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__(outgoing.body, content_type="application/json")
        self._outgoing = outgoing
        self._transport: asyncio.WriteTransport | None = None

    @property
    def size(self) -> int:
        return len(self._outgoing.body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._outgoing.body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._transport = writer.transport
        if self._outgoing.once:
            # A connection may have been closed by its peer without that being read yet. Two
            # turns of the event loop read it, while it is still certain that nothing was sent.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        async for piece in self._outgoing.pieces():
            await writer.write(piece)

    def answered(self) -> None:
        """Leave the connection to others."""
        self._transport = None

    def abort(self) -> None:
        """Drop the connection with what it has not sent."""
        if self._transport is not None:
            self._transport.abort()


def _certificates() -> ssl.SSLContext:
    import httpx2

    # It knows where each system keeps them; Python alone does not on all of them.
    return httpx2.create_ssl_context(trust_env=False)


def _reason(error: BaseException) -> str:
    """What the system says, without addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "TLS failed")
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return ""
