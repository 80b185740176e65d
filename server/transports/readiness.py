"""Whether this server can do its work: the deployment answers, and takes a write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import Deployment
from convex_memory.errors import ConvexMemoryError, FunctionNotDeployed

KEPT_SECONDS: Final = 1.0
"""How long an answer is given again, so that asking cannot be an attack."""
TIMEOUT_MS: Final = 5000
PREFIX: Final = "convex-memory:ready:"
_KEY_TTL_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: the code of what is wrong, None when all is well."""

    code: str | None

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.code is None


class Readiness:
    """Asks a deployment whether it works, at most once a second, however many want to know.

    Args:
        deployment: Whom to ask.
        writes: Whether writing is part of the work.
        cache_function: Path of the function that is written through, and forgets what it is told.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        writes: bool,
        cache_function: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deployment = deployment
        self._clock = clock
        self._cache = None
        if writes:
            self._cache = ConvexServerCache(
                deployment,
                function=cache_function,
                key_prefix=PREFIX,
                ttl_ms=_KEY_TTL_MS,
                request_timeout_ms=TIMEOUT_MS,
            )
        self._asking = asyncio.Lock()
        self._found = Finding(None)
        self._until = -KEPT_SECONDS

    async def find(self) -> Finding:
        """Return what was found, now or less than a second ago."""
        async with self._asking:
            if self._clock() >= self._until:
                self._found = await self._ask()
                self._until = self._clock() + KEPT_SECONDS
            return self._found

    async def _ask(self) -> Finding:
        try:
            try:
                await self._deployment.call(
                    "query", "memory/meta:version", {}, timeout_ms=TIMEOUT_MS
                )
            except FunctionNotDeployed:
                # Mastra's functions alone are enough to be ready.
                pass
            if self._cache is not None:
                await self._cache.set("probe", 1)
        except ConvexMemoryError as error:
            return Finding(error.code)
        return Finding(None)
