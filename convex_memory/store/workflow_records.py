"""Runs of workflows, as rows of the deployment hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from convex_memory.errors import InvalidResponse
from convex_memory.json_text import stored_value
from convex_memory.records import instant_in
from convex_memory.store.domain import optional_text, text
from convex_memory.store.fields import row_in
from convex_memory.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """One run of a workflow.

    Attributes:
        workflow_name: The workflow.
        run_id: Unique within the workflow.
        snapshot: The state of the run as the workflow engine wrote it: `status`, `context`
            (step id → result), `value`, `requestContext` and more.
        created_at: When it was first stored.
        updated_at: When it was last stored or merged into.
        resource_id: Whose run it is; None when nobody's.
    """

    workflow_name: str
    run_id: str
    snapshot: Mapping[str, Value]
    created_at: datetime
    updated_at: datetime
    resource_id: str | None = None

    @property
    def status(self) -> str | None:
        """The status in the snapshot: `running`, `suspended`, `success`, `failed` and so on."""
        status = self.snapshot.get("status")
        return status if isinstance(status, str) else None

    @classmethod
    def from_row(cls, row: Value) -> WorkflowRun:
        """Read a run from a stored row.

        Raises:
            InvalidResponse: The row is not one of a run.
        """
        fields = row_in(row, "workflow run")
        return cls(
            workflow_name=text(fields, "workflow_name"),
            run_id=text(fields, "run_id"),
            snapshot=snapshot_in(fields),
            created_at=instant_in(fields, "createdAt", "workflow run"),
            updated_at=instant_in(fields, "updatedAt", "workflow run"),
            resource_id=optional_text(fields, "resourceId"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRuns:
    """Runs, newest first.

    Attributes:
        runs: Those on the page asked for.
        total: Runs that match, on all pages.
    """

    runs: list[WorkflowRun]
    total: int


def snapshot_in(row: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return the snapshot that a row holds as JSON text or, when it is old, as an object.

    A row that holds none has the snapshot of a run that has not begun.

    Raises:
        InvalidResponse: What it holds is not a snapshot.
    """
    stored = row.get("snapshot")
    if not stored:
        return {
            "runId": row.get("run_id"),
            "status": "pending",
            "value": {},
            "context": {},
            "activePaths": [],
            "activeStepsPath": {},
            "suspendedPaths": {},
            "resumeLabels": {},
            "waitingPaths": {},
            "serializedStepGraph": [],
            "timestamp": 0,
        }
    snapshot = stored_value(stored)
    if not isinstance(snapshot, Mapping):
        raise InvalidResponse(
            f"The deployment answered with a snapshot of run {row.get('run_id')} that is not a "
            "JSON object."
        )
    return snapshot
