"""The `schedules` toolset: what fires when, what is due, and what fired."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite, nan
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from convex_memory.cron import next_fire_ms
from convex_memory.errors import InvalidArgument, NotFound
from convex_memory.records import iso_text
from convex_memory.store.schedule_records import Schedule, ScheduleTrigger, system_ms
from tools.adapters import Adapters
from tools.arguments import Cursor, Id, Limit, Metadata, page_of
from tools.toolset import Answer, Arguments, Progress, Toolset

schedules = Toolset("schedules")

Cron = Annotated[str, Field(description="minute hour day month weekday, for instance 0 9 * * MON.")]
Zone = Annotated[str | None, Field(description="IANA time zone; absent: UTC.")]
Target = Annotated[
    dict[str, JsonValue],
    Field(
        description='{"type": "agent", "agentId", "prompt"} or {"type": "workflow", "workflowId"}.'
    ),
]


class ShownSchedule(Answer):
    """One schedule."""

    id: str
    cron: str
    status: Literal["active", "paused"]
    target: dict[str, object]
    next_fire_at: str
    last_fire_at: str | None
    timezone: str | None = None
    metadata: dict[str, object] | None = None


class CreateScheduleArguments(Arguments):
    """Arguments of `create_schedule`."""

    cron: Cron
    target: Target
    timezone: Zone = None
    schedule_id: Annotated[Id | None, Field(description="Absent: one is made.")] = None
    metadata: Metadata | None = None


@schedules.tool("Create a schedule")
async def create_schedule(
    arguments: CreateScheduleArguments, adapters: Adapters, progress: Progress
) -> ShownSchedule:
    """Have something fire again and again."""
    now = system_ms()
    created = await adapters.store.schedules.create_schedule(
        Schedule(
            id=arguments.schedule_id or adapters.new_id(),
            target=arguments.target,
            cron=arguments.cron,
            timezone=arguments.timezone,
            next_fire_at_ms=next_fire_ms(arguments.cron, now, arguments.timezone),
            created_at_ms=now,
            updated_at_ms=now,
            metadata=arguments.metadata,
            owner_type="resource",
            owner_id=adapters.resource_id,
        )
    )
    return _shown(created)


class ListSchedulesArguments(Arguments):
    """Arguments of `list_schedules`."""

    status: Literal["active", "paused"] | None = None
    workflow_id: Id | None = None
    due: Annotated[bool, Field(description="Only what should have fired by now.")] = False
    limit: Limit = 20
    cursor: Cursor = None


class ListedSchedules(Answer):
    """A page of schedules."""

    schedules: list[ShownSchedule]
    next_cursor: str | None


@schedules.tool("List schedules", reads=True)
async def list_schedules(
    arguments: ListSchedulesArguments, adapters: Adapters, progress: Progress
) -> ListedSchedules:
    """See what fires when, oldest schedule first; or, with due, what is waiting to fire."""
    if arguments.due:
        found = await adapters.store.schedules.list_due_schedules(now_ms=system_ms(), limit=1000)
    else:
        found = await adapters.store.schedules.list_schedules(
            status=arguments.status, workflow_id=arguments.workflow_id
        )
    shown, cursor = page_of(found, arguments.cursor, arguments.limit)
    return ListedSchedules(schedules=[_shown(each) for each in shown], next_cursor=cursor)


class UpdateScheduleArguments(Arguments):
    """Arguments of `update_schedule`."""

    schedule_id: Id
    status: Literal["active", "paused"] | None = None
    cron: Cron | None = None
    timezone: Zone = None


@schedules.tool("Update a schedule", destroys=True, repeatable=True)
async def update_schedule(
    arguments: UpdateScheduleArguments, adapters: Adapters, progress: Progress
) -> ShownSchedule:
    """Pause or resume a schedule, or change when it fires."""
    stored = await adapters.store.schedules.get_schedule(id=arguments.schedule_id)
    if stored is None:
        raise _no_schedule(arguments.schedule_id)
    if arguments.status is None and arguments.cron is None and arguments.timezone is None:
        raise InvalidArgument("Give status, cron or timezone to change.")
    cron, timezone = arguments.cron or stored.cron, arguments.timezone or stored.timezone
    resumed = arguments.status == "active" and stored.status == "paused"
    moved = (cron, timezone) != (stored.cron, stored.timezone) or resumed
    changed = await adapters.store.schedules.update_schedule(
        id=arguments.schedule_id,
        status=arguments.status,
        cron=arguments.cron,
        timezone=timezone,
        # What was missed while it was paused is not made up for.
        next_fire_at_ms=next_fire_ms(cron, system_ms(), timezone) if moved else None,
    )
    return _shown(changed)


class ScheduleArguments(Arguments):
    """A schedule."""

    schedule_id: Id


class DeletedSchedule(Answer):
    """It is gone."""

    schedule_id: str
    deleted: bool


@schedules.tool("Delete a schedule", destroys=True, repeatable=True)
async def delete_schedule(
    arguments: ScheduleArguments, adapters: Adapters, progress: Progress
) -> DeletedSchedule:
    """Delete a schedule with its history."""
    await progress(0)
    await adapters.store.schedules.delete_schedule(id=arguments.schedule_id)
    return DeletedSchedule(schedule_id=arguments.schedule_id, deleted=True)


class HistoryArguments(ScheduleArguments):
    """Arguments of `schedule_history`."""

    limit: Limit = 20
    cursor: Cursor = None


class ShownFire(Answer):
    """One fire."""

    id: str
    outcome: Annotated[str, Field(description="claimed: begun, and not known to have ended.")]
    scheduled_for: str
    fired_at: str
    run_id: str | None = None
    error: str | None = None


class History(Answer):
    """Fires of a schedule, newest first."""

    fires: list[ShownFire]
    next_cursor: str | None


@schedules.tool("Schedule history", reads=True)
async def schedule_history(
    arguments: HistoryArguments, adapters: Adapters, progress: Progress
) -> History:
    """See when a schedule fired and what became of each fire."""
    if await adapters.store.schedules.get_schedule(id=arguments.schedule_id) is None:
        raise _no_schedule(arguments.schedule_id)
    found = await adapters.store.schedules.list_triggers(
        schedule_id=arguments.schedule_id,
        limit=arguments.limit + 1,
        to_actual_fire_at_ms=_time_in(arguments.cursor),
    )
    page = found[: arguments.limit]
    more = len(found) > arguments.limit
    return History(
        fires=[_shown_fire(trigger) for trigger in page],
        next_cursor=f"{page[-1].actual_fire_at_ms:.3f}" if more else None,
    )


def _time_in(cursor: str | None) -> float | None:
    """Return the time before which a page of fires goes on."""
    if cursor is None:
        return None
    try:
        moment = float(cursor)
    except ValueError:
        moment = nan
    if not isfinite(moment):
        raise InvalidArgument(
            "cursor must be the next_cursor of an earlier answer; leave it out for the first page."
        )
    return moment


def _no_schedule(schedule_id: str) -> NotFound:
    return NotFound(f"There is no schedule {schedule_id!a}. list_schedules shows those there are.")


def _shown(schedule: Schedule) -> ShownSchedule:
    return ShownSchedule(
        id=schedule.id,
        cron=schedule.cron,
        status=schedule.status,
        target={**schedule.target},
        next_fire_at=_time(schedule.next_fire_at_ms),
        last_fire_at=None if schedule.last_fire_at_ms is None else _time(schedule.last_fire_at_ms),
        timezone=schedule.timezone,
        metadata=None if schedule.metadata is None else {**schedule.metadata},
    )


def _shown_fire(trigger: ScheduleTrigger) -> ShownFire:
    return ShownFire(
        id=trigger.id,
        outcome=trigger.outcome,
        scheduled_for=_time(trigger.scheduled_fire_at_ms),
        fired_at=_time(trigger.actual_fire_at_ms),
        run_id=trigger.run_id,
        error=trigger.error,
    )


def _time(milliseconds: float) -> str:
    return iso_text(datetime.fromtimestamp(milliseconds / 1000, UTC))
