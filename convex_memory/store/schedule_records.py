"""Schedules and their triggers, as rows of the deployment hold them.

Their times are numbers, milliseconds since the epoch, as schedulers compare and advance them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from convex_memory.errors import InvalidArgument, InvalidResponse
from convex_memory.json_text import json_text, stored_value
from convex_memory.store.domain import optional_text, text
from convex_memory.store.fields import row_in
from convex_memory.values import Value

ScheduleStatus: TypeAlias = Literal["active", "paused"]

_LEGACY_AGENT: Final = "heartbeat"


def system_ms() -> float:
    """Return the present instant in whole milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Something that fires again and again.

    Attributes:
        id: Chosen by the caller, unique in the deployment.
        target: What fires: `{"type": "workflow", "workflowId": …}` or `{"type": "agent",
            "agentId": …, "prompt": …}`, with more members that the target's runner knows.
        cron: When it fires, as a cron expression. It is not looked at here: whoever claims a
            fire says when the next one is.
        next_fire_at_ms: When it fires next.
        timezone: The IANA zone that `cron` is meant in; None leaves it to the runner.
        status: `active`, or `paused` while it must not fire.
        last_fire_at_ms: When it last fired; None before the first time.
        last_run_id: The run that its last fire began.
        created_at_ms: When it was created.
        updated_at_ms: When it was last changed.
        metadata: JSON members of the application's own; None for none.
        owner_type: What kind of thing owns it, for instance `agent`; None for nobody.
        owner_id: Its owner; None for nobody.
    """

    id: str
    target: Mapping[str, Value]
    cron: str
    next_fire_at_ms: float
    timezone: str | None = None
    status: ScheduleStatus = "active"
    last_fire_at_ms: float | None = None
    last_run_id: str | None = None
    created_at_ms: float = field(default_factory=system_ms)
    updated_at_ms: float = field(default_factory=system_ms)
    metadata: Mapping[str, Value] | None = None
    owner_type: str | None = None
    owner_id: str | None = None

    @property
    def workflow_id(self) -> str | None:
        """The workflow that it starts; None when its target is something else."""
        return workflow_of(self.target)

    @classmethod
    def from_row(cls, row: Value) -> Schedule:
        """Read a schedule from a stored row.

        Raises:
            InvalidResponse: The row is not a schedule, or its target is none.
        """
        fields = row_in(row, "schedule")
        status = text(fields, "status")
        return cls(
            id=text(fields, "id"),
            target=_target_in(fields),
            cron=text(fields, "cron"),
            next_fire_at_ms=_ms(fields, "next_fire_at"),
            timezone=optional_text(fields, "timezone"),
            status="active" if status == "active" else "paused",
            last_fire_at_ms=_optional_ms(fields, "last_fire_at"),
            last_run_id=optional_text(fields, "last_run_id"),
            created_at_ms=_ms(fields, "created_at"),
            updated_at_ms=_ms(fields, "updated_at"),
            metadata=_metadata_in(fields),
            owner_type=optional_text(fields, "owner_type"),
            owner_id=optional_text(fields, "owner_id"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this schedule.

        Raises:
            InvalidArgument: The target is none, or it or the metadata is not JSON.
        """
        return {
            "id": self.id,
            **target_columns(self.target),
            "cron": self.cron,
            "timezone": self.timezone,
            "status": self.status,
            "next_fire_at": self.next_fire_at_ms,
            "last_fire_at": self.last_fire_at_ms,
            "last_run_id": self.last_run_id,
            "created_at": self.created_at_ms,
            "updated_at": self.updated_at_ms,
            "metadata": metadata_column(self.metadata),
            "owner_type": self.owner_type,
            "owner_id": self.owner_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTrigger:
    """One fire of a schedule, or the attempt at one.

    Attributes:
        schedule_id: The schedule.
        scheduled_fire_at_ms: When it was due.
        actual_fire_at_ms: When it was fired.
        outcome: What became of it: `published`, `succeeded`, `delivered`, `persisted`,
            `discarded`, `skipped`, `aborted`, `failed` and the like.
        run_id: The run that it began, if any.
        id: Unique in the deployment; empty lets the store make one.
        error: Why it failed, if it did.
        trigger_kind: `schedule-fire`, `queue-drain` or `manual`.
        parent_trigger_id: The fire that a `queue-drain` goes back to.
        metadata: JSON members of the application's own; None for none.
    """

    schedule_id: str
    scheduled_fire_at_ms: float
    actual_fire_at_ms: float
    outcome: str
    run_id: str | None = None
    id: str = ""
    error: str | None = None
    trigger_kind: str = "schedule-fire"
    parent_trigger_id: str | None = None
    metadata: Mapping[str, Value] | None = None

    @classmethod
    def from_row(cls, row: Value) -> ScheduleTrigger:
        """Read a trigger from a stored row.

        Raises:
            InvalidResponse: The row is not a trigger.
        """
        fields = row_in(row, "schedule trigger")
        return cls(
            id=text(fields, "id"),
            schedule_id=text(fields, "schedule_id"),
            run_id=optional_text(fields, "run_id"),
            scheduled_fire_at_ms=_ms(fields, "scheduled_fire_at"),
            actual_fire_at_ms=_ms(fields, "actual_fire_at"),
            outcome=text(fields, "outcome"),
            error=optional_text(fields, "error"),
            trigger_kind=optional_text(fields, "trigger_kind") or "schedule-fire",
            parent_trigger_id=optional_text(fields, "parent_trigger_id"),
            metadata=_metadata_in(fields),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this trigger.

        Raises:
            InvalidArgument: The metadata is not JSON.
        """
        return {
            "id": self.id,
            "schedule_id": self.schedule_id,
            "run_id": self.run_id,
            "scheduled_fire_at": self.scheduled_fire_at_ms,
            "actual_fire_at": self.actual_fire_at_ms,
            "outcome": self.outcome,
            "error": self.error,
            "trigger_kind": self.trigger_kind,
            "parent_trigger_id": self.parent_trigger_id,
            "metadata": metadata_column(self.metadata),
        }


def workflow_of(target: Mapping[str, Value]) -> str | None:
    """Return the workflow that a target starts; None when it is another kind of target."""
    workflow_id = target.get("workflowId") if target.get("type") == "workflow" else None
    return workflow_id if isinstance(workflow_id, str) else None


def target_columns(target: Mapping[str, Value]) -> dict[str, Value]:
    """Return the columns that hold a target.

    Raises:
        InvalidArgument: It has no type, or is a workflow without `workflowId`, or not JSON.
    """
    if not isinstance(target, Mapping) or not isinstance(target.get("type"), str):
        raise InvalidArgument(
            "The target of a schedule must be an object with a type: "
            '{"type": "workflow", "workflowId": …} or {"type": "agent", "agentId": …, '
            '"prompt": …}.'
        )
    workflow_id = workflow_of(target)
    if target["type"] == "workflow" and not workflow_id:
        raise InvalidArgument("The target of a schedule that starts a workflow needs workflowId.")
    return {"target": json_text(target, "target"), "workflow_id": workflow_id}


def metadata_column(metadata: Mapping[str, Value] | None) -> Value:
    """Return the column that holds metadata: JSON text, or null for none.

    Raises:
        InvalidArgument: It is not JSON.
    """
    return None if metadata is None else json_text(metadata, "metadata")


def _target_in(fields: Mapping[str, Value]) -> Mapping[str, Value]:
    target = stored_value(fields.get("target"))
    if not isinstance(target, Mapping) or not isinstance(target.get("type"), str):
        raise InvalidResponse(f"Schedule {fields.get('id')} has invalid target")
    # Schedules of agents were called heartbeats once.
    return {**target, "type": "agent"} if target["type"] == _LEGACY_AGENT else target


def _metadata_in(fields: Mapping[str, Value]) -> Mapping[str, Value] | None:
    metadata = stored_value(fields.get("metadata"))
    return metadata if isinstance(metadata, Mapping) else None


def _ms(fields: Mapping[str, Value], name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidResponse(f"The deployment answered with {name} that is not a number.")
    return int(value) if float(value).is_integer() else value


def _optional_ms(fields: Mapping[str, Value], name: str) -> float | None:
    return None if fields.get(name) is None else _ms(fields, name)
