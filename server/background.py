"""What a server does beside answering: due schedules, texts to embed, what is to be forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import anyio

from server.change_feed import ChangeFeed
from server.settings import NOTIFY, Settings
from server.subscriptions import Subscriptions
from tools.adapters import Adapters

_Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def background_work(
    adapters: Adapters, settings: Settings, feed: ChangeFeed, subscriptions: Subscriptions
) -> AsyncIterator[None]:
    """Run what the settings ask for, until the server ends.

    Args:
        adapters: What it works on.
        settings: What is on.
        feed: What is written.
        subscriptions: Who is told of it, and of schedules that fire.
    """
    work: list[_Work] = [
        *_schedules(adapters, settings, subscriptions),
        *_indexing(adapters, settings),
        *_sweeping(adapters, settings),
        partial(feed.run, subscriptions.tell),
    ]
    async with anyio.create_task_group() as tasks:
        for run in work:
            tasks.start_soon(run)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


def _schedules(adapters: Adapters, settings: Settings, subscriptions: Subscriptions) -> list[_Work]:
    if settings.schedule_action is None:
        return []
    from convex_memory.scheduling import ScheduleRunner
    from server.schedule_actions import notifying, posting_to

    runner = ScheduleRunner(
        adapters.deployment,
        adapters.store.schedules,
        notifying(subscriptions)
        if settings.schedule_action == NOTIFY
        else posting_to(settings.schedule_action),
        poll_ms=settings.schedule_poll_ms,
    )
    return [runner.run]


def _indexing(adapters: Adapters, settings: Settings) -> list[_Work]:
    if adapters.indexing is None or settings.read_only:
        return []
    return [adapters.indexing.run]


def _sweeping(adapters: Adapters, settings: Settings) -> list[_Work]:
    if settings.read_only:
        return []
    from server.sweeping import Sweeper

    return [Sweeper(adapters.store.memory).run]
