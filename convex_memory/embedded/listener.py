"""An ASGI application on a socket, until the process is told to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
from starlette.types import ASGIApp

from convex_memory.errors import ConfigurationError

if TYPE_CHECKING:
    from convex_memory.embedded.connections import ConnectionLimits

DRAIN_SECONDS_MAX: Final = 7.0
"""How long requests in flight may take to finish after the stop."""
CLOSE_SECONDS_MAX: Final = 1
"""How long their connections may take after that, before they are cut."""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than callers keep an idle connection, so that they never write into one just closed."""
_log = logging.getLogger(__name__)
_BACKLOG: Final = 2048
_UNTAKEN_MS_MAX: Final = 60_000
"""How long what was sent may wait for the peer's system to take it."""


async def run_app(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    on_started: Callable[[str], None],
    lifespan: bool = False,
    drain: Callable[[], Awaitable[None]] | None = None,
    limits: ConnectionLimits | None = None,
) -> None:
    """Serve an application until SIGINT or SIGTERM, or until cancelled.

    Told to stop, it goes on listening while requests in flight finish, up to
    `DRAIN_SECONDS_MAX`, so that the application can tell others that it stops. The signal is not
    raised again, so that the caller can close what it opened.

    Args:
        app: The application.
        host: The name or address to bind.
        port: The port to bind; 0 takes a free one.
        on_started: Gets the URL actually bound, once requests are answered.
        lifespan: Whether the application has a lifespan to run.
        drain: Called once when told to stop; returns when nothing is in flight.
        limits: What connections may cost; the defaults when left out.

    Raises:
        ConfigurationError: The address cannot be bound.
    """
    import uvicorn

    from convex_memory.embedded.connections import (
        HEADER_BYTES_MAX,
        ConnectionLimits,
        guarded,
        room_for,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_started(url)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            _log.info("Told to stop: what is in flight has %g s to finish", DRAIN_SECONDS_MAX)
            if drain is not None:
                with anyio.move_on_after(DRAIN_SECONDS_MAX):
                    await drain()
            await super().shutdown(sockets)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again afterwards, which would end the process
            # before the deployment is closed.
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {
                number: signal.signal(number, self.handle_exit)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    limits = limits or ConnectionLimits()
    connections_max, backlog = room_for(limits.connections_max, _BACKLOG)
    listener = await _listen(host, port, backlog)
    url = _url_of(listener)
    server = Server(
        uvicorn.Config(
            app,
            http=guarded(replace(limits, connections_max=connections_max)),
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            backlog=backlog,
            log_config=None,
            access_log=False,
            # Its default believes whatever comes from this machine.
            proxy_headers=False,
            server_header=False,
            lifespan="on" if lifespan else "off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=CLOSE_SECONDS_MAX,
        )
    )
    try:
        await server.serve(sockets=[listener])
    except BaseException:
        with anyio.CancelScope(shield=True):
            if server.started:
                await server.shutdown(sockets=[listener])
        raise
    finally:
        listener.close()


async def _listen(host: str, port: int, backlog: int) -> socket.socket:
    # The resolver would take 70000 for 4464.
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"{port} is no port; choose one up to 65535, or 0 for a free one.")
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=backlog)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not an address"
        raise ConfigurationError(
            f"Cannot listen on {host}, port {port}: {reason}. "
            "Choose another address or port, or port 0 for a free one."
        ) from error
    # Connections inherit it. asyncio leaves it off for sockets made this way, and without it
    # each answer waits some 40 ms for the peer's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that is gone, or takes nothing, does not stay for ever.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNTAKEN_MS_MAX)
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
