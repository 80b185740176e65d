"""What a token allows: the scope each request needs, held against those of its principal."""

from __future__ import annotations

from collections.abc import Mapping

from server.auth.principal import READ, WRITE, Principal
from tools.toolset import MemoryTool


def scope_of(method: str, tool: str | None, published: Mapping[str, MemoryTool]) -> str:
    """Return the scope that a request of the protocol needs.

    A tool that only reads needs `memory:read`, any other `memory:write`; so does whatever is not
    known here. Everything but tools reads.

    Args:
        method: The method, such as `tools/call`.
        tool: The tool it calls, if it calls one.
        published: The tools there are.
    """
    if method != "tools/call":
        return READ
    found = published.get(tool or "")
    # What is unknown is told to be so, which needs no more than to read.
    return WRITE if found is not None and not found.read_only else READ


def why_not(principal: Principal | None, scope: str) -> str | None:
    """Return a sentence when a principal lacks a scope, None when it may go on."""
    if principal is None or scope in principal.scopes:
        return None
    held = ", ".join(sorted(principal.scopes)) or "no scope of this server"
    return f"This needs the scope {scope}; the token has {held}. Ask for one that has it."
