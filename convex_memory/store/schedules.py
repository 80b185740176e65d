"""The schedules domain: what fires when, claiming a fire, and the history of fires."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from convex_memory.errors import ConvexMemoryError, InvalidArgument, InvalidResponse, NotFound
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.schedule_records import (
    Schedule,
    ScheduleStatus,
    ScheduleTrigger,
    metadata_column,
    system_ms,
    target_columns,
)
from convex_memory.store.storage import rows_in
from convex_memory.store.unset import UNSET, Unset
from convex_memory.values import Value

SCHEDULES: Final = "mastra_schedules"
TRIGGERS: Final = "mastra_schedule_triggers"
SCHEDULES_LISTED_MAX: Final = 8000
"""Schedules one listing returns; Convex's arrays hold little more."""
_ABSENT_TABLE: Final = ("not in the schema", "not found", "does not exist")

_log = logging.getLogger(__name__)


class ScheduleStore(MemoryDomain):
    """Schedules and their triggers. All times are milliseconds since the epoch."""

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    async def dangerously_clear_all(self) -> None:
        """Delete every schedule of the deployment and every trigger."""
        for table_name in (TRIGGERS, SCHEDULES):
            await self._storage.clear(table_name)

    async def create_schedule(self, schedule: Schedule) -> Schedule:
        """Store a new schedule.

        Returns:
            The schedule as given.

        Raises:
            InvalidArgument: It has no id or no usable target, or something is not JSON.
            FunctionError: There is a schedule with this id; a `Conflict` where the deployment
                says what kind of refusal it is.
        """
        if not schedule.id:
            raise InvalidArgument("Schedule is missing an id")
        await self._storage.run("createSchedule", SCHEDULES, record=schedule.to_row())
        return schedule

    async def get_schedule(self, *, id: str) -> Schedule | None:
        """Return a schedule, or None when there is none."""
        row = await self._storage.run("load", SCHEDULES, keys={"id": id})
        return None if row is None else Schedule.from_row(row)

    async def list_schedules(
        self,
        *,
        status: ScheduleStatus | None = None,
        workflow_id: str | None = None,
        owner_type: str | Unset | None = UNSET,
        owner_id: str | Unset | None = UNSET,
    ) -> list[Schedule]:
        """Return schedules, the oldest first.

        At most 8,000 are read; a warning is logged when there may be more. A deployment that
        has no table for schedules has none.

        Args:
            status: Only those that are `active`, or `paused`.
            workflow_id: Only those that start this workflow.
            owner_type: Only those of owners of this type; None for those that have no owner.
            owner_id: Only those of this owner; None for those that have no owner.
        """
        columns: dict[str, Value] = {}
        if status:
            columns["status"] = status
        if owner_type is not UNSET:
            columns["owner_type"] = owner_type
        if owner_id is not UNSET:
            columns["owner_id"] = owner_id
        if workflow_id:
            columns["workflow_id"] = workflow_id
        try:
            rows = await self._storage.some_rows(SCHEDULES, SCHEDULES_LISTED_MAX, **columns)
        except ConvexMemoryError as error:
            return _none_without_table(error)
        if len(rows) >= SCHEDULES_LISTED_MAX:
            _log.warning(
                "There are %d schedules or more; those beyond are left out.", SCHEDULES_LISTED_MAX
            )
        schedules = [Schedule.from_row(row) for row in rows]
        if workflow_id:
            schedules = [each for each in schedules if each.workflow_id == workflow_id]
        return sorted(schedules, key=lambda schedule: schedule.created_at_ms)

    async def list_due_schedules(
        self, *, now_ms: float, limit: float | None = None
    ) -> list[Schedule]:
        """Return active schedules that fire at `now_ms` or earlier, the longest due first.

        Args:
            now_ms: Up to when.
            limit: Most schedules to return; 100 by default.
        """
        given = {} if limit is None else {"limit": limit}
        try:
            rows = await self._storage.run("listDueSchedules", SCHEDULES, now=now_ms, **given)
        except ConvexMemoryError as error:
            return _none_without_table(error)
        return [Schedule.from_row(row) for row in rows_in(rows)]

    async def update_schedule(
        self,
        *,
        id: str,
        cron: str | None = None,
        status: ScheduleStatus | None = None,
        next_fire_at_ms: float | None = None,
        target: Mapping[str, Value] | None = None,
        timezone: str | Unset | None = UNSET,
        metadata: Mapping[str, Value] | Unset | None = UNSET,
        owner_type: str | Unset | None = UNSET,
        owner_id: str | Unset | None = UNSET,
    ) -> Schedule:
        """Change what is given of a schedule, and stamp it when that is anything.

        Args:
            id: The schedule.
            cron: None leaves it.
            status: `active` or `paused`; None leaves it.
            next_fire_at_ms: None leaves it.
            target: None leaves it.
            timezone: None clears it.
            metadata: The whole new metadata; None clears it.
            owner_type: None clears it.
            owner_id: None clears it.

        Returns:
            The schedule after the change.

        Raises:
            NotFound: There is no such schedule.
            InvalidArgument: The target is none, or something is not JSON.
        """
        columns: dict[str, Value | Unset] = {
            "timezone": timezone,
            "owner_type": owner_type,
            "owner_id": owner_id,
            "metadata": UNSET if metadata is UNSET else metadata_column(metadata),
            "cron": UNSET if cron is None else cron,
            "status": UNSET if status is None else status,
            "next_fire_at": UNSET if next_fire_at_ms is None else next_fire_at_ms,
            **({} if target is None else target_columns(target)),
        }
        given = {name: value for name, value in columns.items() if value is not UNSET}
        return await self._patched(id, given)

    async def _patched(self, id: str, columns: Mapping[str, Value]) -> Schedule:
        absent = f"Schedule {id} not found"
        if not columns:
            stored = await self.get_schedule(id=id)
            if stored is None:
                raise NotFound(absent)
            return stored
        stamped = {**columns, "updated_at": self._now_ms() if self._now_ms else system_ms()}
        try:
            row = await self._storage.run("updateSchedule", SCHEDULES, id=id, patch=stamped)
        except ConvexMemoryError as error:
            if absent in error.message and not isinstance(error, NotFound):
                raise NotFound(absent) from error
            raise
        return Schedule.from_row(row)

    async def update_schedule_next_fire(
        self,
        *,
        id: str,
        expected_next_fire_at_ms: float,
        new_next_fire_at_ms: float,
        last_fire_at_ms: float,
        last_run_id: str | None,
    ) -> bool:
        """Claim a fire: move a schedule on, unless somebody did since it was read.

        Of all who try it with the same expected time one succeeds, and that one has to fire.

        Args:
            id: The schedule.
            expected_next_fire_at_ms: Its `next_fire_at_ms` as it was read.
            new_next_fire_at_ms: When it fires after this.
            last_fire_at_ms: When it fires now.
            last_run_id: The run that this fire begins.

        Returns:
            Whether the fire is the caller's. False when the schedule has moved on, is paused
            or does not exist.

        Raises:
            DeploymentTimeout: The answer was lost; the fire may be claimed and is not
                to be tried again: the next time comes as `new_next_fire_at_ms` says.
        """
        claimed = await self._storage.run(
            "updateScheduleNextFire",
            SCHEDULES,
            id=id,
            expectedNextFireAt=expected_next_fire_at_ms,
            newNextFireAt=new_next_fire_at_ms,
            lastFireAt=last_fire_at_ms,
            lastRunId=last_run_id,
        )
        if not isinstance(claimed, bool):
            raise InvalidResponse("The deployment answered a claim with something not a boolean.")
        return claimed

    async def delete_schedule(self, *, id: str) -> None:
        """Delete a schedule with its triggers; one that does not exist is fine."""
        while (
            await self._storage.reply("deleteScheduleTriggers", TRIGGERS, scheduleId=id)
        ).has_more:
            pass
        await self._storage.run("deleteMany", SCHEDULES, ids=[id])

    async def record_trigger(self, trigger: ScheduleTrigger) -> ScheduleTrigger:
        """Add a fire to a schedule's history; one without an id gets a random one.

        Returns:
            The trigger as it was recorded.

        Raises:
            FunctionError: There is a trigger with this id; a `Conflict` where the deployment
                says what kind of refusal it is.
            InvalidArgument: The metadata is not JSON.
        """
        recorded = trigger if trigger.id else replace(trigger, id=self._new_id())
        await self._storage.run("recordScheduleTrigger", TRIGGERS, record=recorded.to_row())
        return recorded

    async def settle_trigger(self, *, id: str, outcome: str, error: str | None = None) -> bool:
        """Say in a schedule's history what became of a fire.

        Args:
            id: The trigger.
            outcome: `published`, `failed` and the like.
            error: Why it failed, if it did.

        Returns:
            Whether there is such a trigger.
        """
        settled = await self._storage.run(
            "patch", TRIGGERS, id=id, record={"outcome": outcome, "error": error}
        )
        return settled is True

    async def list_triggers(
        self,
        *,
        schedule_id: str,
        limit: float | None = None,
        from_actual_fire_at_ms: float | None = None,
        to_actual_fire_at_ms: float | None = None,
    ) -> list[ScheduleTrigger]:
        """Return fires of a schedule, newest first.

        Args:
            schedule_id: The schedule.
            limit: Most fires to return; 100 by default.
            from_actual_fire_at_ms: Only fires at this time or later.
            to_actual_fire_at_ms: Only fires before this time.
        """
        bounds = {
            "fromActualFireAt": from_actual_fire_at_ms,
            "toActualFireAt": to_actual_fire_at_ms,
            "limit": limit,
        }
        given = {name: value for name, value in bounds.items() if value is not None}
        rows: Sequence[Value] = rows_in(
            await self._storage.run(
                "listScheduleTriggers", TRIGGERS, scheduleId=schedule_id, **given
            )
        )
        return [ScheduleTrigger.from_row(row) for row in rows]


def _none_without_table(error: ConvexMemoryError) -> list[Schedule]:
    """Return no schedules if a deployment without the table refused; raise otherwise."""
    text = error.message.lower()
    if SCHEDULES not in text and TRIGGERS not in text:
        raise error
    if not any(phrase in text for phrase in _ABSENT_TABLE):
        raise error
    _log.warning("The deployment has no table for schedules, so there are none.")
    return []
