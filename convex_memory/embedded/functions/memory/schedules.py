"""`memory/schedules:claim`: the right to fire a schedule once, and its entry in the history."""

from __future__ import annotations

from collections.abc import Mapping

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import Args, allow_only, text_argument
from convex_memory.embedded.tables import SCHEDULE_TRIGGERS, SCHEDULES
from convex_memory.errors import Conflict, InvalidArgument
from convex_memory.values import Value


def claim(documents: Documents, args: Args) -> Value:
    """Move an active schedule on and record the trigger, unless somebody did; say whether."""
    allow_only(args, "scheduleId", "expectedNextFireAt", "newNextFireAt", "trigger")
    schedule_id, trigger = text_argument(args, "scheduleId"), args.get("trigger")
    if not isinstance(trigger, Mapping) or trigger.get("schedule_id") != schedule_id:
        raise InvalidArgument("trigger must be a trigger of this schedule.")
    schedule = documents.first(SCHEDULES, id=schedule_id)
    if (
        schedule is None
        or schedule.fields["status"] != "active"
        or schedule.fields["next_fire_at"] != args.get("expectedNextFireAt")
    ):
        return False
    if documents.first(SCHEDULE_TRIGGERS, id=trigger.get("id")) is not None:
        raise Conflict(f"Schedule trigger with id {trigger.get('id')!a} already exists")
    documents.patch(
        SCHEDULES,
        schedule,
        {
            "next_fire_at": args.get("newNextFireAt"),
            "last_fire_at": trigger.get("actual_fire_at"),
            "last_run_id": trigger.get("run_id"),
            "updated_at": int(documents.now_ms()),
        },
    )
    documents.insert(SCHEDULE_TRIGGERS, dict(trigger))
    return True
