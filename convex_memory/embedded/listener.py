"""An ASGI application on a socket, until the process is told to stop."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

import anyio
from starlette.types import ASGIApp

from convex_memory.errors import ConfigurationError

SHUTDOWN_SECONDS_MAX: Final = 10
"""How long requests in flight may take to finish after the stop."""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than callers keep an idle connection, so that they never write into one just closed."""


async def run_app(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    on_started: Callable[[str], None],
    lifespan: bool = False,
) -> None:
    """Serve an application until SIGINT or SIGTERM, or until cancelled.

    Requests in flight get up to `SHUTDOWN_SECONDS_MAX` to finish. The signal is not raised
    again, so that the caller can close what it opened.

    Args:
        app: The application.
        host: The name or address to bind.
        port: The port to bind; 0 takes a free one.
        on_started: Gets the URL actually bound, once requests are answered.
        lifespan: Whether the application has a lifespan to run.

    Raises:
        ConfigurationError: The address cannot be bound.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_started(url)

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

    listener = await _listen(host, port)
    url = _url_of(listener)
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on" if lifespan else "off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
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


async def _listen(host: str, port: int) -> socket.socket:
    # The resolver would take 70000 for 4464.
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"{port} is no port; choose one up to 65535, or 0 for a free one.")
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not an address"
        raise ConfigurationError(
            f"Cannot listen on {host}, port {port}: {reason}. "
            "Choose another address or port, or port 0 for a free one."
        ) from error
    # Connections inherit it. asyncio leaves it off for sockets made this way, and without it
    # each answer waits some 40 ms for the peer's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
