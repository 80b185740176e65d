"""Who calls: the principal of a request.

Without authentication (stdio, or a loopback endpoint without tokens) there is none, and the
memory is that of `MEMORY_RESOURCE_ID`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mcp.server.auth.middleware.auth_context import get_access_token

READ: Final = "memory:read"
WRITE: Final = "memory:write"
SCOPES: Final = (READ, WRITE)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has shown who they are.

    Attributes:
        id: Who: the resource whose memory is seen.
        scopes: What they may do: `memory:read`, `memory:write`.
    """

    id: str
    scopes: frozenset[str]


def current_principal() -> Principal | None:
    """Return the principal of the request that is being answered, if it has one."""
    token = get_access_token()
    if token is None or token.subject is None:
        return None
    return Principal(token.subject, frozenset(token.scopes))
