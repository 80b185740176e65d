"""How a call of a tool is answered: at once, once only, or as a task."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from mcp.server import ServerRequestContext
from mcp.server.context import HandlerResult
from mcp.types import CallToolResult

from convex_memory.errors import ConvexMemoryError
from server.calls import Call
from server.idempotency import OnceByKey, key_in
from server.runs import Runs
from server.task_methods import takes_tasks
from server.tasks import Tasks
from tools.adapters import Adapters
from tools.toolset import MemoryTool, Progress, refusal


class Answering:
    """Answers the calls of a server's tools.

    Args:
        tools: The tools, by name.
        runs: Where work goes on that no request waits for. While it is not open, there are
            neither tasks nor keys.
        lease_ms: How long a process may be silent before its work counts as cut off.
        grace_ms: How long a call is waited for before it becomes a task.
        wrote: Called when something may have been written.
    """

    def __init__(
        self,
        tools: Mapping[str, MemoryTool],
        runs: Runs,
        *,
        lease_ms: int,
        grace_ms: int,
        wrote: Callable[[], None],
    ) -> None:
        self.runs = runs
        self.tasks = Tasks(tools, self._perform, lease_ms=lease_ms, grace_ms=grace_ms)
        self._once = OnceByKey(runs, lease_ms)
        self._wrote = wrote

    async def answer(
        self,
        tool: MemoryTool,
        arguments: Mapping[str, Any],
        adapters: Adapters,
        context: ServerRequestContext[Any],
    ) -> HandlerResult:
        """Call a tool.

        Raises:
            MCPError: The tool answers with an error of the protocol.
        """

        async def progress(done: float, total: float | None = None) -> None:
            # A call with a key goes on without the client that sent it.
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await context.session.report_progress(done, total)

        try:
            key = None if tool.read_only else key_in(context)
            call = Call(tool, arguments, adapters, key)
            if tool.long and takes_tasks(context) and self._may_be_task(adapters):
                return await self.tasks.call(self.runs, call, progress)
            return await self._perform(call, progress)
        except ConvexMemoryError as error:
            return refusal(error.code, error.message, error.details)

    def _may_be_task(self, adapters: Adapters) -> bool:
        return self.runs.open and self.tasks.has_room(adapters)

    async def _perform(
        self, call: Call, progress: Progress, seed: str | None = None
    ) -> CallToolResult:
        try:
            if call.key is None or not self.runs.open:
                return await call.perform(progress, seed)
            return await self._once.perform(call, call.key, progress)
        except ConvexMemoryError as error:
            return refusal(error.code, error.message, error.details)
        finally:
            if not call.tool.read_only:
                self._wrote()
