"""By which names this server may be called, and from which web pages.

A page in a browser can make requests to any address the browser reaches, and by DNS rebinding even
make them look as if they went to the page's own host. So a request has to name a host that is known
to be this server, and where a browser says which page it comes from, one that was let in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from convex_memory.errors import ConfigurationError

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
ANY_ADDRESS: Final = ("", "0.0.0.0", "::")
ANY_ORIGIN: Final = "*"
PROBES: Final = ("/healthz", "/readyz")
"""Asked by whatever watches the server, under addresses it makes up; they tell nothing."""
_PREFLIGHT_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Names:
    """What a request may name.

    Attributes:
        hosts: Values of `Host`: `name` with any port, `name:port` with that one.
        origins: Values of `Origin` beside those of the hosts themselves; `*` for every page.
    """

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()

    def knows(self, host: str) -> bool:
        """Whether a request may name this host."""
        lowered = host.lower()
        return lowered in self.hosts or _without_port(lowered) in self.hosts

    def lets_in(self, origin: str) -> bool:
        """Whether a request may come from this page."""
        if origin.lower() in self.origins or ANY_ORIGIN in self.origins:
            return True
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and self.knows(host)


def names_of(host: str, public: Iterable[str] = (), origins: Iterable[str] = ()) -> Names:
    """Return what may be named where a server listens on `host`.

    Args:
        host: Where it listens. Its own name is let in, as loopback is.
        public: Names by which it is reached.
        origins: Pages that may call it from a browser.

    Raises:
        ConfigurationError: It listens on every address of the machine, and has no name.
    """
    public = tuple(public)
    known = {*LOOPBACK, *(name.lower() for name in public)}
    if host not in ANY_ADDRESS:
        known.add(f"[{host}]" if ":" in host else host.lower())
    elif not public:
        raise ConfigurationError(
            f"serve would listen on every address of this machine ({host or 'no host'}) and has "
            "no name there: a request has to name a host that is known, so that no web page can "
            "reach the memory through a browser. Set MEMORY_HTTP_HOSTS to the name that clients "
            "use, such as memory.example.com, or --host to one address."
        )
    return Names(frozenset(known), frozenset(origin.lower() for origin in origins))


class HostChecks:
    """Refuses requests that name another host, or come from a page that was not let in.

    Args:
        app: What answers the others.
        names: What may be named.
    """

    def __init__(self, app: ASGIApp, *, names: Names) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421 or 403, or let the request through."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        refusal = None
        if len(hosts) != 1 or not self._names.knows(hosts[0]):
            refusal = PlainTextResponse(
                "This server does not go by the host that the request names. Whoever runs it can "
                "add it to MEMORY_HTTP_HOSTS.",
                421,
            )
        elif len(origins) > 1 or (origins and not self._names.lets_in(origins[0])):
            refusal = PlainTextResponse(
                "Requests from this web page are not taken. Whoever runs the server can add its "
                "origin to MEMORY_HTTP_ORIGINS.",
                403,
            )
        await (refusal or self._app)(scope, receive, send)


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let browsers hand answers to pages of these origins. No cookie is ever asked for."""
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["POST", "GET"],
        allow_headers=["*"],
        expose_headers=["WWW-Authenticate", "Retry-After", "X-Request-Id", "Mcp-Session-Id"],
        max_age=_PREFLIGHT_SECONDS,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
