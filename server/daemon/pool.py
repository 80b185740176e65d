"""What hosts share, opened once for each group of settings that decides it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup

from server.daemon.hearing import HEARERS, Hearers
from server.settings import Settings
from server.shared import Shared, open_shared

logger = logging.getLogger(__name__)

PER_HOST: Final = frozenset(
    {
        "resource_id",
        "toolsets",
        "cache_prefix",
        "cache_ttl_ms",
        "restorable_ms",
        "native_indexes",
        "deployment_key",
        "log_level",
        "daemon",
        "daemon_idle_ms",
        # Of the endpoint over HTTP alone.
        "http_hosts",
        "http_origins",
        "http_proxies",
        "http_rate",
        "http_concurrency",
        "http_requests",
        "http_connections",
        "http_call_timeout_ms",
        "otel_disabled",
        "otel_traces",
        "otel_metrics",
        "otel_endpoint",
    }
)
"""Settings in which the hosts of one `Shared` may differ. Every other decides what is opened."""


class SharedPool:
    """Opens what settings name for the first host that has them, for all that follow.

    It is closed when the last one has been gone for that host's idle time; at once where it fires
    schedules, which nobody would hear of.

    Args:
        tasks: Runs what goes on in the background.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._entries: list[_Entry] = []

    @asynccontextmanager
    async def use(self, settings: Settings, hearers: Hearers) -> AsyncIterator[Shared]:
        """Lend a host what it shares with others.

        Args:
            settings: The host's.
            hearers: Who is to hear what the background has to say, while the block runs.
        """
        wanted = settings.model_copy(update=_NEUTRAL)
        entry = next((each for each in self._entries if each.settings == wanted), None)
        if entry is None:
            entry = _Entry(wanted)
            self._entries.append(entry)
            self._tasks.start_soon(self._hold, entry)
        self._enter(entry)
        entry.hearers.add(hearers)
        try:
            await entry.opened.wait()
            if entry.shared is None:
                raise RuntimeError("what the hosts share could not be opened; see the log")
            yield entry.shared
        finally:
            entry.hearers.remove(hearers)
            lingers = settings.schedule_action is None
            self._leave(entry, settings.daemon_idle_ms / 1000 if lingers else 0)

    def close(self) -> None:
        """Close what nobody uses any more; the task group waits for it."""
        for entry in self._entries:
            entry.unused.set()

    async def _hold(self, entry: _Entry) -> None:
        HEARERS.set(entry.hearers)
        try:
            async with open_shared(entry.settings) as shared:
                entry.shared = shared
                entry.opened.set()
                await entry.unused.wait()
        except Exception:
            logger.exception("the background work of a deployment ended")
        finally:
            self._forget(entry)
            entry.opened.set()

    def _enter(self, entry: _Entry) -> None:
        entry.users += 1
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    def _leave(self, entry: _Entry, linger_s: float) -> None:
        entry.users -= 1
        if entry.users == 0:
            loop = asyncio.get_running_loop()
            entry.timer = loop.call_later(linger_s, self._let_go, entry)

    def _let_go(self, entry: _Entry) -> None:
        self._forget(entry)
        entry.unused.set()

    def _forget(self, entry: _Entry) -> None:
        """Have the next host open anew."""
        if entry in self._entries:
            self._entries.remove(entry)


class _Entry:
    """One `Shared`, how many use it, and until when it is kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shared: Shared | None = None
        self.opened = anyio.Event()
        self.unused = anyio.Event()
        self.hearers = Hearers()
        self.users = 0
        self.timer: asyncio.TimerHandle | None = None


_NEUTRAL: Final = {
    name: field.default for name, field in Settings.model_fields.items() if name in PER_HOST
}
