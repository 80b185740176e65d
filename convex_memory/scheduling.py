"""Live scheduling: claims schedules that are due, and has something done for each.

Many runners may work on one deployment. A fire is claimed by compare-and-set together with its
entry in the schedule's history, so each fire happens once; a runner that dies between the claim
and the end leaves the entry as `claimed`, and nobody fires it again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

import anyio

from convex_memory.capabilities import Capabilities
from convex_memory.cron import next_fire_ms
from convex_memory.deployment import Deployment
from convex_memory.errors import ConvexMemoryError, InvalidArgument
from convex_memory.limits import SCHEDULE_POLL_MS_DEFAULT
from convex_memory.store import ScheduleStore
from convex_memory.store.schedule_records import Schedule, ScheduleTrigger, system_ms

logger = logging.getLogger(__name__)

CLAIM: Final = "memory/schedules:claim"
CLAIMED: Final = "claimed"
"""The outcome of a fire that has begun and not ended; it stays where its runner died."""
PUBLISHED: Final = "published"
FAILED: Final = "failed"
DUE_MAX: Final = 100
"""Schedules claimed in one round."""
ACTION_SECONDS_MAX: Final = 30
"""How long the action for one fire may take."""
_ERROR_CHARS_MAX: Final = 500

Action = Callable[[Schedule, ScheduleTrigger], Awaitable[None]]
"""What is done for a fire; it fails by raising."""


class ScheduleRunner:
    """Claims and fires the due schedules of one deployment.

    Fires that were missed while no runner ran happen once, late, not once each.

    Args:
        deployment: Where the schedules are.
        schedules: The schedule domain of a store over it.
        action: What to do for each fire.
        poll_ms: How often to look, in milliseconds.
        now_ms: The clock, in milliseconds since the epoch.
    """

    def __init__(
        self,
        deployment: Deployment,
        schedules: ScheduleStore,
        action: Action,
        *,
        poll_ms: int = SCHEDULE_POLL_MS_DEFAULT,
        now_ms: Callable[[], float] = system_ms,
    ) -> None:
        self._deployment = deployment
        self._schedules = schedules
        self._action = action
        self._poll_ms = poll_ms
        self._now_ms = now_ms
        self._capabilities = Capabilities(deployment)

    async def run(self) -> None:
        """Fire what is due, for ever; ends when it is cancelled."""
        while True:
            try:
                await self.run_once()
            except ConvexMemoryError as error:
                # The deployment may be back at the next look.
                logger.warning("schedules could not be read: %s", error.code)
            await anyio.sleep(self._poll_ms / 1000)

    async def run_once(self) -> int:
        """Fire everything that is due now and return how many fires were ours."""
        due = await self._schedules.list_due_schedules(now_ms=self._now_ms(), limit=DUE_MAX)
        fired = 0
        for schedule in due:
            trigger = await self._claim(schedule)
            if trigger is not None:
                fired += 1
                await self._fire(schedule, trigger)
        return fired

    async def _claim(self, schedule: Schedule) -> ScheduleTrigger | None:
        now = self._now_ms()
        try:
            following = next_fire_ms(schedule.cron, now, schedule.timezone)
        except InvalidArgument as error:
            logger.warning("schedule %s is paused: %s", schedule.id, error.message)
            await self._schedules.update_schedule(id=schedule.id, status="paused")
            return None
        trigger = ScheduleTrigger(
            id=str(uuid4()),
            schedule_id=schedule.id,
            run_id=str(uuid4()),
            scheduled_fire_at_ms=schedule.next_fire_at_ms,
            actual_fire_at_ms=now,
            outcome=CLAIMED,
        )
        if not await self._capabilities.has(CLAIM):
            return await self._claim_in_two_calls(schedule, trigger, following)
        answer = await self._deployment.call(
            "mutation",
            CLAIM,
            {
                "scheduleId": schedule.id,
                "expectedNextFireAt": schedule.next_fire_at_ms,
                "newNextFireAt": following,
                "trigger": trigger.to_row(),
            },
        )
        return trigger if answer is True else None

    async def _claim_in_two_calls(
        self, schedule: Schedule, trigger: ScheduleTrigger, following: int
    ) -> ScheduleTrigger | None:
        claimed = await self._schedules.update_schedule_next_fire(
            id=schedule.id,
            expected_next_fire_at_ms=schedule.next_fire_at_ms,
            new_next_fire_at_ms=following,
            last_fire_at_ms=trigger.actual_fire_at_ms,
            last_run_id=trigger.run_id,
        )
        # Dying here leaves a `last_run_id` without a trigger: seen, and never fired again.
        return await self._schedules.record_trigger(trigger) if claimed else None

    async def _fire(self, schedule: Schedule, trigger: ScheduleTrigger) -> None:
        outcome, why = PUBLISHED, None
        try:
            with anyio.fail_after(ACTION_SECONDS_MAX):
                await self._action(schedule, trigger)
        except TimeoutError:
            outcome, why = FAILED, f"The action took more than {ACTION_SECONDS_MAX} s."
        except ConvexMemoryError as error:
            outcome, why = FAILED, error.message[:_ERROR_CHARS_MAX]
        except Exception as error:
            logger.exception("the action for schedule %s failed", schedule.id)
            outcome, why = FAILED, type(error).__name__
        await self._schedules.settle_trigger(id=trigger.id, outcome=outcome, error=why)
