"""A call that is at work in this process, as a task or as what may become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from mcp.types import CallToolResult

from convex_memory.records import iso_text, utc_now
from server.calls import Call
from server.journal import Journal
from server.runs import Run
from tools.toolset import Progress

POLL_INTERVAL_MS: Final = 1000
"""How often clients are to ask about a task."""


@dataclass(slots=True, eq=False)
class Working:
    """A call at work in this process: a task, or what may become one.

    It is handed to its tool as the `Progress`, and so tells of it as the task's message.
    """

    task_id: str
    call: Call
    journal: Journal
    by: str
    forward: Progress | None
    created_at: str = field(default_factory=lambda: iso_text(utc_now()))
    said: str | None = None
    again: bool = False
    is_task: bool = False
    asks: anyio.Event = field(default_factory=anyio.Event)
    written: anyio.Event = field(default_factory=anyio.Event)
    answered: anyio.Event = field(default_factory=anyio.Event)
    run: Run[CallToolResult] | None = None

    async def __call__(self, done: float, total: float | None = None) -> None:
        """Take note of how far the tool has come; tell the client while it waits."""
        self.said = f"{done:g} done" if total is None else f"{done:g} of {total:g} done"
        if self.forward is not None:
            await self.forward(done, total)

    async def ask(self, key: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the client something, and wait for the answer; the call becomes a task for it.

        Args:
            key: What the question is called by; never used twice in one task.
            request: A request of the protocol, such as `{"method": "elicitation/create", …}`.
        """
        self.asks.set()
        await self.written.wait()
        await self.journal.append("asked", self.by, key=key, request=dict(request))
        while True:
            given = (await self.journal.standing()).given
            if key in given:
                return dict(given[key])
            with anyio.move_on_after(POLL_INTERVAL_MS / 2000):
                await self.answered.wait()
            self.answered = anyio.Event()


async def first_of(*events: anyio.Event) -> None:
    """Wait for whichever is set first."""
    async with anyio.create_task_group() as tasks:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)
