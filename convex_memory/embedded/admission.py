"""How many requests are answered at a time, and none once the server stops.

What is over the number is told at once to come back, so that load becomes refusals and not memory:
whatever queues behind a request (the writer's queue, a pool of connections) is then no longer than
the number of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

RETRY_AFTER_SECONDS: Final = 1

Refuse = Callable[[str], Response]
"""Says in the words of a protocol why a request was not taken: HTTP 503, nothing was done."""


class Admission:
    """An ASGI application that lets so many requests at a time through to another one.

    Args:
        app: The other one.
        requests_max: How many.
        refuse: What the others are told.
        passes: Requests that are neither counted nor refused, such as probes.
        lasts: Requests that last as long as the caller likes: none of the number, but waited for
            at the end as others are.

    Attributes:
        in_flight: Requests being answered.
        draining: Whether new ones are refused because the server stops.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests_max: int,
        refuse: Refuse,
        passes: Callable[[Scope], bool] = lambda scope: False,
        lasts: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        self._app = app
        self._requests_max = requests_max
        self._refuse = refuse
        self._passes = passes
        self._lasts = lasts
        self.in_flight = 0
        self._lasting = 0
        self.draining = False
        self._empty = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http" or self._passes(scope):
            await self._app(scope, receive, send)
            return
        lasting = self._lasts(scope)
        why = self._why_not(lasting)
        if why is not None:
            refusal = self._refuse(why)
            refusal.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
            # This server will not answer on this connection again, or should be left alone.
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)
            return
        self._count(1, lasting)
        try:
            await self._app(scope, receive, send)
        finally:
            self._count(-1, lasting)

    def _count(self, more: int, lasting: bool) -> None:
        if lasting:
            self._lasting += more
        else:
            self.in_flight += more
        if not self.in_flight + self._lasting:
            self._empty.set()

    def _why_not(self, lasting: bool) -> str | None:
        if self.draining:
            return "The server is stopping; nothing was done. Try again in a moment."
        if not lasting and self.in_flight >= self._requests_max:
            return (
                f"The server answers {self._requests_max} requests already, its most; nothing was "
                "done. Try again in a moment."
            )
        return None

    async def drain(self) -> None:
        """Refuse requests from now on, and return when none is being answered."""
        self.draining = True
        while self.in_flight + self._lasting:
            self._empty.clear()
            await self._empty.wait()
