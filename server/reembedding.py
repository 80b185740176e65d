"""`convex-memory reembed`: texts get new vectors from the embedder that is set now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from convex_memory.errors import ConfigurationError
from server.settings import Settings
from server.shared import open_deployment, shared_over


def run(settings: Settings, index: str | None, show: Callable[[str], None]) -> int:
    """Have messages, or the texts of an index, embedded anew, and stay until they are.

    Servers that run meanwhile help; a run that is broken off is gone on with by the next server,
    or by the next run.

    Args:
        settings: Which deployment, which embedder.
        index: An index of texts; None for messages.
        show: Prints a line.

    Raises:
        ConvexMemoryError: It cannot be done.
    """
    return asyncio.run(_run(settings, index, show))


async def _run(settings: Settings, index: str | None, show: Callable[[str], None]) -> int:
    deployment = open_deployment(settings)
    runner = shared_over(deployment, settings).indexing
    try:
        if runner is None:
            raise ConfigurationError(
                "MEMORY_EMBEDDER is off: set it to the embedder that texts are to have."
            )
        unavailable = runner.embedder.why_unavailable()
        if unavailable is not None:
            raise ConfigurationError(unavailable)
        waiting = await runner.reembed(index)
        what = "messages" if index is None else f"texts of {index}"
        show(f"{waiting} {what} to embed with {runner.embedder.id}")
        stored = await runner.run_once()
        show(f"{stored} embedded here, {await runner.pending(index)} still to do")
    finally:
        if runner is not None:
            await runner.embedder.aclose()
        await deployment.aclose()
    return 0
