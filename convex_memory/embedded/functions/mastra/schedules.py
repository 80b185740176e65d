"""Storage operations that only schedules and the history of their triggers have.

Times are numbers: milliseconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import Args, TableOperation
from convex_memory.embedded.functions.mastra.requests import record_argument
from convex_memory.embedded.tables import SCHEDULE_TRIGGERS, SCHEDULES, Table
from convex_memory.errors import Conflict, InvalidArgument, NotFound
from convex_memory.limits import DELETE_BATCH_ROWS, DUE_SCHEDULES_DEFAULT, SAFE_INTEGER_MAX
from convex_memory.values import Value, strict_equal


def create_schedule(documents: Documents, args: Args) -> Value:
    """Insert a schedule; one with its id is a conflict."""
    return _insert_new(documents, SCHEDULES, args, "Schedule")


def record_schedule_trigger(documents: Documents, args: Args) -> Value:
    """Insert a trigger; one with its id is a conflict."""
    return _insert_new(documents, SCHEDULE_TRIGGERS, args, "Schedule trigger")


def list_due_schedules(documents: Documents, args: Args) -> Value:
    """Return the active schedules whose time has come, the longest due first."""
    rows = documents.scan(
        SCHEDULES,
        {"status": "active"},
        order=("next_fire_at",),
        where='"next_fire_at" <= ?',
        bound=(_number(args, "now"),),
        limit=_limit(args),
    )
    return {"ok": True, "result": [documents.doc(SCHEDULES, row) for row in rows]}


def update_schedule_next_fire(documents: Documents, args: Args) -> Value:
    """Claim a fire: move an active schedule on if it still stands where the caller saw it."""
    row = documents.first(SCHEDULES, id=args.get("id"))
    if (
        row is None
        or row.fields["status"] != "active"
        or not strict_equal(row.fields["next_fire_at"], args.get("expectedNextFireAt"))
    ):
        return {"ok": True, "result": False}
    changes = {
        "next_fire_at": args.get("newNextFireAt"),
        "last_fire_at": args.get("lastFireAt"),
        "last_run_id": args.get("lastRunId"),
        "updated_at": math.floor(documents.now_ms()),
    }
    documents.patch(SCHEDULES, row, changes)
    return {"ok": True, "result": True}


def update_schedule(documents: Documents, args: Args) -> Value:
    """Change columns of a schedule; answer with all of it."""
    changes = record_argument(args, "patch")
    changes.pop("id", None)
    row = documents.first(SCHEDULES, id=args.get("id"))
    if row is None:
        raise NotFound(f"Schedule {args.get('id')} not found")
    row = documents.patch(SCHEDULES, row, changes)
    return {"ok": True, "result": documents.doc(SCHEDULES, row)}


def list_schedule_triggers(documents: Documents, args: Args) -> Value:
    """Return a schedule's triggers, newest first; `from` is inclusive and `to` is not."""
    bounds = {
        '"actual_fire_at" >= ?': _optional_number(args, "fromActualFireAt"),
        '"actual_fire_at" < ?': _optional_number(args, "toActualFireAt"),
    }
    given = {condition: bound for condition, bound in bounds.items() if bound is not None}
    rows = documents.scan(
        SCHEDULE_TRIGGERS,
        {"schedule_id": args.get("scheduleId")},
        order=("actual_fire_at",),
        descending=True,
        where=" AND ".join(given),
        bound=tuple(given.values()),
        limit=_limit(args),
    )
    return {"ok": True, "result": [documents.doc(SCHEDULE_TRIGGERS, row) for row in rows]}


def delete_schedule_triggers(documents: Documents, args: Args) -> Value:
    """Delete a schedule's oldest triggers, a batch at a time."""
    rows = list(
        documents.scan(
            SCHEDULE_TRIGGERS,
            {"schedule_id": args.get("scheduleId")},
            order=("actual_fire_at",),
            limit=DELETE_BATCH_ROWS + 1,
        )
    )
    for row in rows[:DELETE_BATCH_ROWS]:
        documents.delete(SCHEDULE_TRIGGERS, row)
    return {"ok": True, "hasMore": len(rows) > DELETE_BATCH_ROWS}


OPERATIONS: Final[Mapping[str, TableOperation]] = {
    "createSchedule": TableOperation(SCHEDULES, create_schedule, soft=False),
    "listDueSchedules": TableOperation(SCHEDULES, list_due_schedules, reads=True, soft=False),
    "updateScheduleNextFire": TableOperation(SCHEDULES, update_schedule_next_fire, soft=False),
    "updateSchedule": TableOperation(SCHEDULES, update_schedule, soft=False),
    "recordScheduleTrigger": TableOperation(SCHEDULE_TRIGGERS, record_schedule_trigger, soft=False),
    "listScheduleTriggers": TableOperation(
        SCHEDULE_TRIGGERS, list_schedule_triggers, reads=True, soft=False
    ),
    "deleteScheduleTriggers": TableOperation(
        SCHEDULE_TRIGGERS, delete_schedule_triggers, soft=False
    ),
}


def _insert_new(documents: Documents, table: Table, args: Args, what: str) -> Value:
    record = record_argument(args, "record")
    if not record.get("id"):
        raise InvalidArgument(f"{what} is missing an id")
    if documents.first(table, id=record["id"]) is not None:
        raise Conflict(f'{what} with id "{record["id"]}" already exists')
    documents.insert(table, record)
    return {"ok": True}


def _limit(args: Args) -> int:
    limit = args.get("limit")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        return DUE_SCHEDULES_DEFAULT
    return min(max(0, math.floor(limit)), SAFE_INTEGER_MAX)


def _number(args: Args, name: str) -> Any:
    value = args.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"{name} must be a number of milliseconds since the epoch")
    return value


def _optional_number(args: Args, name: str) -> Any:
    return None if args.get(name) is None else _number(args, name)
