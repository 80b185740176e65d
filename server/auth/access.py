"""What the settings ask of callers over HTTP, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.routing import Route

from server.auth.door import Door, Verifier, Wrapper
from server.auth.tokens import StaticTokens
from server.settings import Settings
from server.transports.streamable_http import MCP_PATH

HOW_TO_OPEN: Final = (
    "To serve others, set MEMORY_HTTP_TOKENS (`convex-memory token NAME` makes an entry) and "
    "give --host."
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


def open_access(settings: Settings) -> Access | None:
    """Return what the settings ask of callers, or None when anybody may call.

    Raises:
        ConfigurationError: A token, or the file of them, cannot be used.
    """
    verifiers: list[Verifier] = []
    if settings.http_tokens is not None:
        verifiers.append(StaticTokens(settings.http_tokens.get_secret_value()))
    if not verifiers:
        return None
    return Access([partial(Door, path=MCP_PATH, verifiers=verifiers)])
