"""What was written to the deployment, by whichever process, as it happens.

One follower per process reads `memory/changes:list`, while anybody listens: at once after this
process has written, otherwise every so often.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import anyio

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import Deployment
from convex_memory.errors import ConvexMemoryError, InvalidResponse
from convex_memory.limits import CHANGES_PAGE_MAX

logger = logging.getLogger(__name__)

LIST: Final = "memory/changes:list"
POLL_MS_EMBEDDED: Final = 200
POLL_MS_REMOTE: Final = 1000
_NEWEST: Final = 2**53
_BURST_SECONDS: Final = 0.02
"""How long changes are gathered: many at a time cost what one does."""
_FAILED_SECONDS: Final = 5

Change: TypeAlias = Mapping[str, Any]
"""`sequence`, `table`, `id`, `kind` and, where they are known, `threadId`, `resourceId`."""
Tell: TypeAlias = Callable[[Sequence[Change] | None], Awaitable[None]]
"""Takes changes in order; None when some were missed, and everything may have changed."""


class ChangeFeed:
    """The changes of one deployment.

    A deployment that has only Mastra's functions has none; nothing is heard of it then.

    Args:
        deployment: Where they are written.
        capabilities: Whether it tells.
        poll_ms: How often it is asked, in milliseconds.
    """

    def __init__(self, deployment: Deployment, capabilities: Capabilities, *, poll_ms: int) -> None:
        self._deployment = deployment
        self._capabilities = capabilities
        self._poll_ms = poll_ms
        self._followers = 0
        self._after: int | None = None
        self._begun = anyio.Event()
        self._woken = anyio.Event()
        self._told = False

    async def enter(self) -> None:
        """Begin to follow: what is written from now on is told.

        Raises:
            ConvexMemoryError: The deployment could not be asked.
        """
        self._followers += 1
        try:
            if self._after is None and await self._capabilities.has(LIST):
                answer = await self._page(_NEWEST)
                # Another may have come first, and have been told something since.
                if self._after is None:
                    self._after = int(answer["last"])
        except BaseException:
            self._followers -= 1
            raise
        self._begun.set()

    def leave(self) -> None:
        """Follow no longer."""
        self._followers -= 1

    def wake(self) -> None:
        """Look now: something was written here."""
        self._woken.set()

    async def owner_of(self, thread_id: str) -> str | None:
        """Return the resource of a thread; None where there is no such thread."""
        answer = await self._deployment.call("query", "memory/threads:get", {"threadId": thread_id})
        thread = answer.get("thread") if isinstance(answer, Mapping) else None
        owner = thread.get("resourceId") if isinstance(thread, Mapping) else None
        return owner if isinstance(owner, str) else None

    async def run(self, tell: Tell) -> None:
        """Follow for ever; ends when it is cancelled."""
        while True:
            await self._begun.wait()
            with anyio.move_on_after(self._poll_ms / 1000):
                await self._woken.wait()
                await anyio.sleep(_BURST_SECONDS)
            self._woken = anyio.Event()
            if self._followers == 0:
                self._after = None
                self._begun = anyio.Event()
                continue
            try:
                await self._tell_of_new(tell)
                self._told = False
            except ConvexMemoryError as error:
                level = logging.DEBUG if self._told else logging.WARNING
                logger.log(level, "listeners hear of no changes: %s", error.code)
                self._told = True
                await anyio.sleep(_FAILED_SECONDS)

    async def _tell_of_new(self, tell: Tell) -> None:
        while self._after is not None:
            answer = await self._page(self._after)
            if self._after < answer["first"] - 1 or self._after > answer["last"]:
                # Forgotten meanwhile; or it is another deployment than it was.
                self._after = int(answer["last"])
                await tell(None)
                return
            changes = answer["changes"]
            if changes:
                self._after = int(changes[-1]["sequence"])
                await tell(changes)
            if len(changes) < CHANGES_PAGE_MAX:
                return

    async def _page(self, after: int) -> dict[str, Any]:
        answer: Any = await self._deployment.call(
            "query", LIST, {"after": after, "limit": CHANGES_PAGE_MAX}
        )
        if not isinstance(answer, Mapping) or not {"changes", "first", "last"} <= set(answer):
            raise InvalidResponse(f"{LIST} did not answer with changes.")
        return dict(answer)
