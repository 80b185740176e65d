"""What was deleted long enough ago is purged, whether or not anybody writes."""

from __future__ import annotations

import logging
from typing import Final

import anyio

from convex_memory.errors import ConvexMemoryError
from convex_memory.store import MemoryStore

logger = logging.getLogger(__name__)

SWEEP_MS_DEFAULT: Final = 60_000
SWEEPS_MAX: Final = 100
"""Batches of one round; what is more waits for the next, so that others get their turn."""


class Sweeper:
    """Has a deployment purge what is due, now and then.

    A deployment that has nothing to sweep with is left alone.

    Args:
        memory: The memory domain of its store.
        sweep_ms: How often, in milliseconds.
    """

    def __init__(self, memory: MemoryStore, *, sweep_ms: int = SWEEP_MS_DEFAULT) -> None:
        self._memory = memory
        self._sweep_ms = sweep_ms
        self._told = False

    async def run(self) -> None:
        """Sweep for ever; ends when it is cancelled."""
        while True:
            # First a pause: a server that has just started has an assistant to answer.
            await anyio.sleep(self._sweep_ms / 1000)
            await self.run_once()

    async def run_once(self) -> int:
        """Purge what is due now and return how many batches that were.

        A failure is logged the first time, and tried again in the next round.
        """
        swept = 0
        try:
            while swept < SWEEPS_MAX and await self._memory.sweep():
                swept += 1
        except ConvexMemoryError as error:
            level = logging.DEBUG if self._told else logging.WARNING
            logger.log(level, "what was deleted could not be purged: %s", error.code)
            self._told = True
        return swept
