"""MCP over streamable HTTP, stateless: any process can answer any request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import anyio
from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from convex_memory.deployment import CACHE_FUNCTION, Deployment
from convex_memory.embedded.admission import Admission
from convex_memory.embedded.connections import ConnectionLimits
from convex_memory.embedded.listener import DRAIN_SECONDS_MAX, run_app
from convex_memory.errors import ConfigurationError
from convex_memory.limits import REQUEST_BODY_BYTES_MAX
from server.call_times import CallTimes
from server.settings import (
    HTTP_CALL_TIMEOUT_MS_DEFAULT,
    HTTP_CONCURRENCY_DEFAULT,
    HTTP_RATE_DEFAULT,
    HTTP_REQUESTS_DEFAULT,
    Settings,
)
from server.transports.access_log import AccessLog
from server.transports.hosts import PROBES, HostChecks, is_loopback, names_of, with_cors
from server.transports.limits import CallLimits, GuessLimits, count_refusal, is_listening, refused
from server.transports.readiness import Readiness

MCP_PATH: Final = "/mcp"
_LEFT_SECONDS: Final = 1.5
"""How long before the end of the drain calls that still run are ended, so that they say so."""

Wrapper = Callable[[ASGIApp], ASGIApp]
"""What stands around an ASGI application."""


def check_loopback(host: str) -> None:
    """Refuse to listen where others could reach a memory that asks nobody who they are.

    Raises:
        ConfigurationError: The host is not a loopback address.
    """
    if not is_loopback(host):
        raise ConfigurationError(
            f"serve listens on loopback only: {host!r} could be reached by others, and this "
            "server does not ask callers who they are. Set MEMORY_HTTP_TOKENS (`convex-memory "
            "token NAME` makes an entry), or MEMORY_OAUTH_ISSUER and MEMORY_OAUTH_AUDIENCE, to "
            "open it; or use --host 127.0.0.1."
        )


class Endpoint:
    """The ASGI application, and how it ends.

    Args:
        app: The application, whole.
        admission: What counts the requests in it.
        times: What can end the calls in it.
        on_stop: Ends the streams of notifications.
    """

    def __init__(
        self, app: ASGIApp, admission: Admission, times: CallTimes, on_stop: Callable[[], None]
    ) -> None:
        self._app = app
        self._admission = admission
        self._times = times
        self._on_stop = on_stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app(scope, receive, send)

    async def drain(self) -> None:
        """Refuse new requests, end streams, and return when every call has its answer."""
        self._admission.draining = True
        self._on_stop()
        with anyio.move_on_after(DRAIN_SECONDS_MAX - _LEFT_SECONDS):
            await self._admission.drain()
            return
        self._times.end_all()
        await self._admission.drain()


def create_app(
    server: Server[Any],
    *,
    host: str,
    deployment: Deployment,
    settings: Settings | None = None,
    names: Iterable[str] = (),
    wrappers: Sequence[Wrapper] = (),
    routes: Sequence[Route] = (),
    on_stop: Callable[[], None] = lambda: None,
) -> Endpoint:
    """Return the ASGI application: `/mcp`, `/healthz` and `/readyz`.

    Args:
        server: The MCP server.
        host: Where it will listen; requests that name another host are refused.
        deployment: Asked whether it works, by `/readyz`.
        settings: How it is exposed; the defaults when left out.
        names: Public names by which it is reached, beside those in the settings.
        wrappers: What asks callers who they are, from the outermost in.
        routes: Further routes.
        on_stop: Called when the server is told to stop; ends the streams of notifications.

    Raises:
        ConfigurationError: It has no name where it is to listen.
    """
    times = CallTimes(settings.http_call_timeout_ms if settings else HTTP_CALL_TIMEOUT_MS_DEFAULT)
    server.middleware.append(times)
    readiness = Readiness(
        deployment,
        writes=settings is None or not settings.read_only,
        cache_function=settings.cache_function if settings else CACHE_FUNCTION,
    )

    async def readyz(request: Request) -> Response:
        if admission.draining:
            return JSONResponse({"ready": False, "code": "stopping"}, 503)
        found = await readiness.find()
        if not found.ready:
            return JSONResponse({"ready": False, "code": found.code}, 503)
        return JSONResponse({"ready": True})

    app: ASGIApp = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        stateless_http=True,
        # `HostChecks` stands further out, before anybody is asked for a token.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        max_request_body_size=REQUEST_BODY_BYTES_MAX,
        custom_starlette_routes=[
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            *routes,
        ],
    )
    inside = [*wrappers, _call_limits(settings, asked=bool(wrappers)), _without_idle_streams]
    admission = Admission(
        _wrapped(app, inside),
        requests_max=settings.http_requests if settings else HTTP_REQUESTS_DEFAULT,
        refuse=_overloaded,
        passes=lambda scope: scope["path"] in PROBES,
        lasts=is_listening,
    )
    known = names_of(
        host,
        [*names, *(settings.http_hosts if settings else ())],
        settings.http_origins if settings else (),
    )
    outside: list[Wrapper] = [AccessLog]
    if settings and settings.http_proxies:
        outside.insert(0, _behind(settings.http_proxies))
    if settings and settings.http_origins:
        outside.append(partial(with_cors, origins=settings.http_origins))
    outside.append(partial(HostChecks, names=known))
    if wrappers:
        outside.append(GuessLimits)
    return Endpoint(_wrapped(admission, outside), admission, times, on_stop)


def _wrapped(app: ASGIApp, wrappers: Sequence[Wrapper]) -> ASGIApp:
    """Put wrappers around an application, the first one outermost."""
    for wrapper in reversed(wrappers):
        app = wrapper(app)
    return app


def _call_limits(settings: Settings | None, *, asked: bool) -> Wrapper:
    """Return the limits of one caller. Where nobody is asked, there is one: this machine's user."""
    rate = settings.http_rate if settings else None
    concurrency = settings.http_concurrency if settings else None
    if asked:
        rate = HTTP_RATE_DEFAULT if rate is None else rate
        concurrency = HTTP_CONCURRENCY_DEFAULT if concurrency is None else concurrency
    return partial(CallLimits, path=MCP_PATH, rate=rate or None, concurrency=concurrency or None)


def _behind(proxies: Sequence[str]) -> Wrapper:
    """Believe what these proxies say of whom they speak for, and nobody else."""
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    return partial(ProxyHeadersMiddleware, trusted_hosts=list(proxies))  # type: ignore[return-value]


def _overloaded(why: str) -> Response:
    count_refusal("overload")
    return refused(503, why)


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("ok")


def _without_idle_streams(app: ASGIApp) -> ASGIApp:
    """Refuse GET on the MCP path: without sessions its stream would stay empty for ever."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["path"].rstrip("/") == MCP_PATH
            and scope["method"] == "GET"
        ):
            refusal = PlainTextResponse(
                "This endpoint has no sessions; POST to it.",
                status_code=405,
                headers={"Allow": "POST"},
            )
            await refusal(scope, receive, send)
            return
        await app(scope, receive, send)

    return guarded


async def serve(
    endpoint: Endpoint,
    *,
    host: str,
    port: int,
    on_started: Callable[[str], None],
    settings: Settings | None = None,
) -> None:
    """Listen until told to stop; then finish what was begun (see `listener.run_app`)."""
    # It would cut every answer that is an event stream at the first signal, finished or not.
    AppStatus.enable_automatic_graceful_drain = False
    try:
        await run_app(
            endpoint,
            host=host,
            port=port,
            on_started=on_started,
            lifespan=True,
            drain=endpoint.drain,
            limits=ConnectionLimits(settings.http_connections) if settings else None,
        )
    finally:
        AppStatus.enable_automatic_graceful_drain = True
