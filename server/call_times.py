"""How long a call may take: what takes longer ends with an answer that says so."""

from __future__ import annotations

from typing import Any, Final

import anyio
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.types import INTERNAL_ERROR

from tools.toolset import refusal

_UNENDING: Final = frozenset({"subscriptions/listen"})
_TIMEOUT: Final = "timeout"
_STOPPING: Final = "stopping"


class CallTimes(ServerMiddleware[Any]):
    """Ends calls that take too long, and those left when the server stops.

    Args:
        limit_ms: How long one may take, in milliseconds.
    """

    def __init__(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._running: set[anyio.CancelScope] = set()
        self._stopping = False

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer, in time or with a refusal."""
        if ctx.method in _UNENDING or ctx.request_id is None:
            return await call_next(ctx)
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._limit_ms / 1000)
        self._running.add(scope)
        try:
            with scope:
                return await call_next(ctx)
        finally:
            self._running.discard(scope)
        code = _STOPPING if self._stopping else _TIMEOUT
        if ctx.method == "tools/call":
            return refusal(code, self._why(code))
        raise MCPError(INTERNAL_ERROR, self._why(code), {"code": code})

    def end_all(self) -> None:
        """End every call that runs, because the server stops."""
        self._stopping = True
        for scope in self._running:
            scope.cancel()

    def _why(self, code: str) -> str:
        if code == _STOPPING:
            what = "The server is being stopped, and the call did not finish in time."
        else:
            what = f"The call took longer than {self._limit_ms / 1000:g} s and was ended."
        return (
            f"{what} What it stored before that stays; look before you try again, and ask for "
            "less at a time."
        )
