"""What a token allows: the scope each request needs, held against those of its principal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.types import INVALID_REQUEST

from server.auth.principal import READ, WRITE, Principal, current_principal
from tools.toolset import MemoryTool

_WRITING: Final = frozenset({"tasks/update", "tasks/cancel"})
"""Methods beside tools that change something."""


def scope_of(method: str, tool: str | None, published: Mapping[str, MemoryTool]) -> str:
    """Return the scope that a request of the protocol needs.

    A tool that only reads needs `memory:read`, any other `memory:write`; so does whatever is not
    known here. Everything but tools reads.

    Args:
        method: The method, such as `tools/call`.
        tool: The tool it calls, if it calls one.
        published: The tools there are.
    """
    if method in _WRITING:
        return WRITE
    if method != "tools/call":
        return READ
    found = published.get(tool or "")
    # What is unknown is told to be so, which needs no more than to read.
    return WRITE if found is not None and not found.read_only else READ


class ScopeCheck(ServerMiddleware[Any]):
    """Lets no request but a tool's through without its scope; tools answer for themselves.

    The door has looked at the request's text already. Here it is looked at as it was understood.
    """

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Refuse a request, or pass it on."""
        if ctx.method != "tools/call" and ctx.request_id is not None:
            lacking = why_not(current_principal(), scope_of(ctx.method, None, {}))
            if lacking is not None:
                raise MCPError(INVALID_REQUEST, lacking, {"code": "insufficient_scope"})
        return await call_next(ctx)


def why_not(principal: Principal | None, scope: str) -> str | None:
    """Return a sentence when a principal lacks a scope, None when it may go on."""
    if principal is None or scope in principal.scopes:
        return None
    held = ", ".join(sorted(principal.scopes)) or "no scope of this server"
    return f"This needs the scope {scope}; the token has {held}. Ask for one that has it."
