"""MCP over streamable HTTP, stateless: any process can answer any request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, Final

from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from convex_memory.deployment import Deployment
from convex_memory.embedded.listener import run_app
from convex_memory.errors import ConfigurationError, ConvexMemoryError, FunctionNotDeployed
from convex_memory.limits import REQUEST_BODY_BYTES_MAX

MCP_PATH: Final = "/mcp"


Wrapper = Callable[[ASGIApp], ASGIApp]
"""What stands around an ASGI application."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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


def host_checks(host: str, names: Iterable[str] = ()) -> TransportSecuritySettings:
    """Return which `Host` and `Origin` headers are let in, against DNS rebinding.

    Args:
        host: Where the server listens. Its own name is let in, as loopback is; an address that
            stands for all of the machine's (`0.0.0.0`) is nobody's name.
        names: Public names by which it is reached, each with a port or for any.
    """
    known = ["127.0.0.1", "localhost", "[::1]"]
    bound = f"[{host}]" if ":" in host else host
    if host not in ("", "0.0.0.0", "::") and bound not in known:
        known.append(bound)
    known += [name for name in names if name not in known]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[pattern for name in known for pattern in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{name}{port}"
            for name in known
            for scheme in ("http", "https")
            for port in ("", ":*")
        ],
    )


def create_app(
    server: Server[Any],
    *,
    host: str,
    deployment: Deployment,
    names: Iterable[str] = (),
    wrappers: Sequence[Wrapper] = (),
    routes: Sequence[Route] = (),
) -> ASGIApp:
    """Return the ASGI application: `/mcp`, `/healthz` and `/readyz`.

    Args:
        server: The MCP server.
        host: Where it will listen; requests that name another host are refused.
        deployment: Asked whether it answers, by `/readyz`.
        names: Public names by which it is reached too.
        wrappers: What stands around all of it, from the outermost in: who asks for tokens comes
            before what counts the calls of a principal.
        routes: Further routes.
    """

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(request: Request) -> Response:
        try:
            with contextlib.suppress(FunctionNotDeployed):
                # Mastra's functions alone are enough to be ready.
                await deployment.call("query", "memory/meta:version", {}, timeout_ms=5000)
        except ConvexMemoryError as error:
            return JSONResponse({"ready": False, "code": error.code}, status_code=503)
        return JSONResponse({"ready": True})

    app: Starlette = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        stateless_http=True,
        transport_security=host_checks(host, names),
        max_request_body_size=REQUEST_BODY_BYTES_MAX,
        custom_starlette_routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            *routes,
        ],
    )
    wrapped: ASGIApp = app
    for wrapper in reversed([*wrappers, _without_idle_streams]):
        wrapped = wrapper(wrapped)
    return wrapped


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


async def serve(app: ASGIApp, *, host: str, port: int, on_started: Callable[[str], None]) -> None:
    """Listen until told to stop (see `listener.run_app`)."""
    await run_app(app, host=host, port=port, on_started=on_started, lifespan=True)
