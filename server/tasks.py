"""Tasks (`io.modelcontextprotocol/tasks`, SEP-2663): long calls a client need not wait for.

A call of a long tool that is not done within a moment becomes a task, where the client takes
tasks: it is written to a journal in the cache and the client gets its id. Any process on the
deployment answers for it. One whose process died is run again by whichever is asked about it
next, with the same ids, if its tool may be repeated; otherwise it failed, and says so. Clients
without the extension, and those of 2025, wait.

Specification: https://modelcontextprotocol.github.io/ext-tasks/specification/2026-07-28/tasks.html
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio
from mcp import MCPError
from mcp.server.context import HandlerResult
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS, CallToolResult

from convex_memory.errors import ConvexMemoryError
from convex_memory.records import iso_text, utc_now
from server.calls import Call
from server.journal import Journal, Standing, name_of
from server.runs import Runs
from server.working import POLL_INTERVAL_MS, Working, first_of
from tools.adapters import Adapters
from tools.toolset import MemoryTool, Progress

logger = logging.getLogger(__name__)

EXTENSION: Final = "io.modelcontextprotocol/tasks"
PREFIX: Final = "convex-memory:tasks:"
TTL_MS: Final = 86_400_000
RUNNING_MAX: Final = 256
RUNNING_OF_ONE_MAX: Final = 16
"""Tasks at work in one process, and those of one resource; the calls of others are waited for."""
_ENDINGS_TRIED: Final = 8
_INTERRUPTED: Final = (
    "The server process that ran this task ended before it was done. Whether it took effect is "
    "not known, and it is not of a kind to be run twice. Look at what is stored, then call again "
    "if it is missing."
)

Perform = Callable[[Call, Progress, str], Awaitable[CallToolResult]]
"""Runs a call, given what makes its ids."""


class Tasks:
    """The tasks of a server's callers.

    Args:
        tools: The tools a task may be of.
        perform: Runs one.
        lease_ms: How long a process may be silent before another takes its tasks over.
        grace_ms: How long a call is waited for before it becomes a task.
    """

    def __init__(
        self,
        tools: Mapping[str, MemoryTool],
        perform: Perform,
        *,
        lease_ms: int,
        grace_ms: int,
    ) -> None:
        self._tools = tools
        self._perform = perform
        self._lease_ms = lease_ms
        self._grace_ms = grace_ms
        self._working: dict[str, Working] = {}
        self._running: Counter[str] = Counter()

    def has_room(self, adapters: Adapters) -> bool:
        """Whether a call of this caller may become a task."""
        return (
            self._running.total() < RUNNING_MAX
            and self._running[adapters.resource_id] < RUNNING_OF_ONE_MAX
        )

    async def call(self, runs: Runs, call: Call, progress: Progress) -> HandlerResult:
        """Run a tool: its answer, if that comes soon, or else the task it has become.

        Raises:
            MCPError: The tool raised it.
        """
        working = self._begin(runs, call, secrets.token_urlsafe(24), progress)
        run = working.run
        assert run is not None
        try:
            with anyio.move_on_after(self._grace_ms / 1000):
                await first_of(run.done, working.asks)
            if not run.done.is_set() and await self._written(working):
                working.is_task = True
                working.forward = None
                runs.start(lambda: self._see_through(working))
                return {"resultType": "task", **_task(working.task_id, working.created_at)}
            return await run.result()
        finally:
            if not working.is_task:
                run.cancel()
                # A tool that asks is waited for by nobody then.
                working.written.set()

    def _begin(
        self,
        runs: Runs,
        call: Call,
        task_id: str,
        forward: Progress | None,
        *,
        by: str | None = None,
        again: bool = False,
    ) -> Working:
        journal = _journal(call.adapters, task_id)
        working = Working(task_id, call, journal, by or secrets.token_hex(8), forward, again=again)
        resource_id = call.adapters.resource_id

        async def work() -> CallToolResult:
            self._running[resource_id] += 1
            try:
                return await self._perform(call, working, task_id)
            finally:
                self._running[resource_id] -= 1
                if not self._running[resource_id]:
                    del self._running[resource_id]

        working.run = runs.start(work)
        return working

    async def _written(self, working: Working) -> bool:
        """Write the task down; say whether it is, so that its id may be told."""
        call, journal = working.call, working.journal
        try:
            await journal.open(
                working.by,
                self._lease_ms,
                tool=call.tool.definition.name,
                arguments=await journal.keep(call.arguments_text()),
                key=call.key,
                at=working.created_at,
            )
        except ConvexMemoryError as error:
            logger.warning("a call did not become a task, and is waited for: %s", error.code)
            return False
        working.written.set()
        return True

    async def _see_through(self, working: Working) -> None:
        """Show that a task is at work until it is over, and write down how it ended."""
        run, journal = working.run, working.journal
        assert run is not None
        self._working[working.task_id] = working
        written = False
        try:
            async with journal.beating(working.by, self._lease_ms, lambda: working.said):
                while not run.done.is_set():
                    with anyio.move_on_after(self._lease_ms / 4000):
                        await run.done.wait()
                    if not run.done.is_set() and await self._is_lost(working):
                        run.cancel()
                        await run.done.wait()
                await self._end(working)
                written = True
        finally:
            self._working.pop(working.task_id, None)
            await journal.let_go(working.by, released=not written)

    async def _is_lost(self, working: Working) -> bool:
        """Whether a task was cancelled, or taken over, in another process."""
        try:
            standing = await working.journal.standing()
        except ConvexMemoryError:
            return False
        return standing.ended is not None or standing.holder != working.by

    async def _end(self, working: Working) -> None:
        run, journal = working.run, working.journal
        assert run is not None
        if run.cancelled:
            # Whoever cancelled it has written so.
            return
        try:
            text = (await run.result()).model_dump_json(by_alias=True, exclude_none=True)
            ending: dict[str, Any] = {
                "status": "completed",
                "result": await journal.keep(_with_doubt(text) if working.again else text),
            }
        except MCPError as error:
            ending = _failure(error)
        except Exception:
            logger.exception("task of %s failed", working.call.tool.definition.name)
            ending = _failure(MCPError(INTERNAL_ERROR, "The server failed on this task."))
        for attempt in range(_ENDINGS_TRIED):
            try:
                await journal.append("ended", working.by, at=iso_text(utc_now()), **ending)
            except ConvexMemoryError:
                await anyio.sleep(0.1 * 2**attempt)
            else:
                return

    # --- The extension's methods

    async def get(self, runs: Runs, adapters: Adapters, task_id: str) -> dict[str, Any]:
        """Return a task as it stands, and see that somebody works on it.

        Raises:
            MCPError: The caller has no such task.
        """
        journal, standing = await self._found(adapters, task_id)
        if task_id not in self._working and await journal.is_abandoned(standing):
            standing = await self._taken_over(runs, adapters, task_id, journal, standing)
        assert standing.opened is not None
        shown = _task(task_id, standing.opened.body["at"])
        if standing.ended is not None:
            return {**shown, **await _ending(journal, standing)}
        asked = {k: each for k, each in standing.asked.items() if k not in standing.given}
        if asked:
            return {**shown, "status": "input_required", "inputRequests": asked}
        said = await journal.note(standing.holder or "")
        return {**shown, "lastUpdatedAt": iso_text(utc_now())} | (
            {"statusMessage": said} if said else {}
        )

    async def update(self, adapters: Adapters, task_id: str, responses: Mapping[str, Any]) -> None:
        """Hand a task the answers to what it asked.

        Raises:
            MCPError: The caller has no such task.
        """
        journal, standing = await self._found(adapters, task_id)
        wanted = {
            key: response
            for key, response in responses.items()
            if key in standing.asked and key not in standing.given
        }
        if wanted and standing.ended is None:
            await journal.append("given", "", responses=wanted)
            if (working := self._working.get(task_id)) is not None:
                working.answered.set()

    async def cancel(self, adapters: Adapters, task_id: str) -> None:
        """End a task; what it has done by then stays done.

        Raises:
            MCPError: The caller has no such task.
        """
        journal, standing = await self._found(adapters, task_id)
        if standing.ended is not None:
            return
        await journal.append("ended", "", status="cancelled", at=iso_text(utc_now()))
        working = self._working.get(task_id)
        if working is not None and working.run is not None:
            working.run.cancel()

    async def _found(self, adapters: Adapters, task_id: str) -> tuple[Journal, Standing]:
        journal = _journal(adapters, task_id)
        standing = await journal.standing()
        if standing.opened is None:
            raise MCPError(
                INVALID_PARAMS,
                "There is no such task. It may have expired: a task is kept for "
                f"{TTL_MS // 3_600_000} hours.",
            )
        return journal, standing

    async def _taken_over(
        self, runs: Runs, adapters: Adapters, task_id: str, journal: Journal, standing: Standing
    ) -> Standing:
        """Go on with a task whose process is gone, or say that nobody can."""
        assert standing.opened is not None
        opened = standing.opened.body
        by = secrets.token_hex(8)
        claimed = await journal.claim(by, self._lease_ms, standing.turns + 1)
        if claimed.holder != by:
            return claimed
        tool = self._tools.get(opened["tool"])
        text = await journal.kept(opened["arguments"])
        # A key keeps a call from being run twice by itself.
        may = tool is not None and (tool.repeatable or opened["key"] is not None)
        if tool is None or text is None or not may:
            ending = _failure(MCPError(INTERNAL_ERROR, _INTERRUPTED))
            await journal.append("ended", by, at=iso_text(utc_now()), **ending)
            return await journal.standing()
        call = Call(tool, json.loads(text), adapters, opened["key"])
        working = self._begin(runs, call, task_id, None, by=by, again=True)
        working.is_task = True
        working.written.set()
        runs.start(lambda: self._see_through(working))
        return claimed


def _journal(adapters: Adapters, task_id: str) -> Journal:
    # The name holds whose it is: another's id names nothing.
    return Journal(
        adapters.cache.beside(PREFIX, ttl_ms=TTL_MS), name_of(adapters.resource_id, task_id)
    )


def _task(task_id: str, created_at: str) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "status": "working",
        "createdAt": created_at,
        "lastUpdatedAt": created_at,
        "ttlMs": TTL_MS,
        "pollIntervalMs": POLL_INTERVAL_MS,
    }


async def _ending(journal: Journal, standing: Standing) -> dict[str, Any]:
    assert standing.ended is not None
    ended = standing.ended.body
    shown = {"status": ended["status"], "lastUpdatedAt": ended["at"]}
    if ended["status"] == "failed":
        return {**shown, "statusMessage": ended["error"]["message"], "error": ended["error"]}
    if ended["status"] == "completed":
        text = await journal.kept(ended["result"])
        if text is None:
            raise MCPError(INVALID_PARAMS, "The task's result has expired.")
        return {**shown, "result": json.loads(text)}
    return shown


def _failure(error: MCPError) -> dict[str, Any]:
    return {"status": "failed", "error": error.error.model_dump(exclude_none=True)}


def _with_doubt(text: str) -> str:
    """Add to a refusal that the call may have been carried out before: it was begun twice."""
    result = CallToolResult.model_validate_json(text)
    [content] = result.content
    if not result.is_error or content.type != "text":
        return text
    doubt = (
        " This call was begun before, by a process that ended; what it asks for may have been "
        "done then."
    )
    content = content.model_copy(update={"text": content.text + doubt})
    result = result.model_copy(update={"content": [content]})
    return result.model_dump_json(by_alias=True, exclude_none=True)
