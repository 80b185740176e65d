"""What the settings ask of callers over HTTP, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from starlette.routing import Route

from server.auth.door import Door, Verifier
from server.auth.issuer import Issuer
from server.auth.oauth import OAuthTokens, metadata_routes, metadata_url
from server.auth.scopes import scope_of
from server.auth.tokens import StaticTokens
from server.settings import Settings
from server.transports.streamable_http import MCP_PATH, Wrapper
from tools import select

HOW_TO_OPEN: Final = (
    "To serve others, set MEMORY_HTTP_TOKENS (`convex-memory token NAME` makes an entry), or "
    "MEMORY_OAUTH_ISSUER and MEMORY_OAUTH_AUDIENCE, and give --host."
)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call, as the parts that `streamable_http.create_app` takes.

    Attributes:
        wrappers: What asks callers for a token, from the outermost in.
        routes: Where clients learn how to get one.
        names: Public names of this server that the settings imply.
    """

    wrappers: Sequence[Wrapper]
    routes: Sequence[Route] = ()
    names: Sequence[str] = ()


OWNED_TOOLSETS: Final = ("memory", "vectors", "cache", "observations")
"""Toolsets whose rows say whose they are; only these are published to principals."""


def for_principals(settings: Settings) -> Settings:
    """Return the settings of a server that serves principals: what has no owner is left out.

    Rows of the other toolsets belong to the deployment, not to anybody, and so do schedules, of
    which nobody is told.
    """
    owned = tuple(name for name in settings.toolsets if name in OWNED_TOOLSETS)
    return settings.model_copy(update={"toolsets": owned, "schedule_action": None})


def left_out(settings: Settings) -> str | None:
    """Return a sentence on what principals do not get of what the settings name, or None."""
    toolsets = [name for name in settings.toolsets if name not in OWNED_TOOLSETS]
    parts = [f"the toolsets {', '.join(toolsets)}"] if toolsets else []
    if settings.native_indexes:
        parts.append(f"the indexes {', '.join(settings.native_indexes)}")
    if not parts:
        return None
    return (
        f"Callers do not get {' and '.join(parts)}: what is in them has no owner. Whoever runs "
        "convex-memory on stdio has them."
    )


def open_access(settings: Settings) -> Access | None:
    """Return what the settings ask of callers, or None when anybody may call.

    Raises:
        ConfigurationError: A token, or the file of them, cannot be used.
    """
    verifiers: list[Verifier] = []
    if settings.http_tokens is not None:
        verifiers.append(StaticTokens(settings.http_tokens.get_secret_value()))
    issuer, audience = settings.oauth_issuer, settings.oauth_audience
    tells, routes, names = None, [], []
    if issuer is not None and audience is not None:
        verifiers.append(OAuthTokens(Issuer(issuer), audience))
        tells, routes = metadata_url(audience), metadata_routes(issuer, audience)
        names = [urlsplit(audience).hostname or ""]
    if not verifiers:
        return None
    served = for_principals(settings)
    published = select(served.toolsets, read_only=served.read_only)
    door = partial(
        Door,
        path=MCP_PATH,
        verifiers=verifiers,
        scope_of=partial(scope_of, published=published),
        metadata_url=tells,
    )
    return Access([door], routes, names)
