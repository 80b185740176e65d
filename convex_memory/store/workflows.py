"""The workflows domain: snapshots of runs, and merges into them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from convex_memory.errors import FunctionError, InvalidArgument, InvalidResponse, NotFound
from convex_memory.json_text import MALFORMED, json_text, parsed
from convex_memory.records import iso_text
from convex_memory.store.answers import PerPage
from convex_memory.store.domain import MemoryDomain
from convex_memory.store.fields import row_in
from convex_memory.store.workflow_records import WorkflowRun, WorkflowRuns, snapshot_in
from convex_memory.values import Value

WORKFLOW_SNAPSHOTS: Final = "mastra_workflow_snapshot"
_ABSENT_RUN: Final = "Workflow snapshot not found for runId"


class WorkflowStore(MemoryDomain):
    """Snapshots of workflow runs: store, read, merge, list, delete."""

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    async def dangerously_clear_all(self) -> None:
        """Delete every run of the deployment."""
        await self._storage.clear(WORKFLOW_SNAPSHOTS)

    def supports_concurrent_updates(self) -> bool:
        """Whether branches of one run may report at the same time: yes, merges are atomic."""
        return True

    async def persist_workflow_snapshot(
        self,
        *,
        workflow_name: str,
        run_id: str,
        snapshot: Mapping[str, Value],
        resource_id: str | None = None,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        """Store a run's snapshot whole, over the one it has.

        Args:
            workflow_name: The workflow.
            run_id: The run.
            snapshot: The state of the run; any JSON object.
            resource_id: Whose run it is; None keeps what is stored.
            created_at: Of a run that is not stored yet; now by default. A stored one keeps its.
            updated_at: Now by default.

        Raises:
            InvalidArgument: The snapshot is not JSON, or a date has no zone.
            LimitExceeded: The snapshot is larger than a document may be.
        """
        content = json_text(snapshot, "snapshot")
        now = self._now()
        stored = await self._row(workflow_name, run_id)
        created = now if created_at is None else created_at
        record: dict[str, Value] = {
            "id": await self._record_id(workflow_name, run_id, stored),
            "workflow_name": workflow_name,
            "run_id": run_id,
            "snapshot": content,
            "createdAt": (stored or {}).get("createdAt") or iso_text(created, "created_at"),
            "updatedAt": iso_text(now if updated_at is None else updated_at, "updated_at"),
        }
        if resource_id is not None:
            record["resourceId"] = resource_id
        await self._storage.run("insert", WORKFLOW_SNAPSHOTS, record=record)

    async def load_workflow_snapshot(
        self, *, workflow_name: str, run_id: str
    ) -> Mapping[str, Value] | None:
        """Return a run's snapshot, or None when there is no such run."""
        row = await self._row(workflow_name, run_id)
        return None if row is None else snapshot_in(row)

    async def update_workflow_results(
        self,
        *,
        workflow_name: str,
        run_id: str,
        step_id: str,
        result: Mapping[str, Value],
        request_context: Mapping[str, Value] | None = None,
    ) -> Mapping[str, Value]:
        """Merge one step's result into a run, in one transaction.

        Results whose `output` is an array on both sides are merged element by element: null
        leaves an element as it is, `{"__mastra_pending__": true}` empties one that is
        suspended and lets the rest of the new result count for nothing. Any other result
        replaces the stored one.

        Args:
            workflow_name: The workflow.
            run_id: The run.
            step_id: The step.
            result: Its result, as the workflow engine shapes it.
            request_context: Members to replace in the run's `requestContext`.

        Returns:
            The run's whole context after the merge: step id → result.

        Raises:
            NotFound: There is no such run.
            FunctionError: The stored snapshot has no context to merge into.
            InvalidArgument: Something is not JSON.
        """
        try:
            merged = await self._storage.run(
                "mergeWorkflowStepResult",
                WORKFLOW_SNAPSHOTS,
                workflowName=workflow_name,
                runId=run_id,
                stepId=step_id,
                result=json_text(result, "result"),
                requestContext=json_text(request_context or {}, "request_context"),
            )
        except FunctionError as error:
            if _ABSENT_RUN in error.message:
                raise NotFound(f"{_ABSENT_RUN} {run_id}") from error
            raise
        return _object_in(merged)

    async def update_workflow_state(
        self, *, workflow_name: str, run_id: str, changes: Mapping[str, Value]
    ) -> Mapping[str, Value] | None:
        """Replace members of a run's snapshot, in one transaction.

        Args:
            workflow_name: The workflow.
            run_id: The run.
            changes: Members of the snapshot, for instance `status`, `result`, `error`,
                `suspendedPaths`, `waitingPaths`; each replaces the stored one whole.

        Returns:
            The whole snapshot after the change; None when there is no such run.

        Raises:
            FunctionError: The stored snapshot has no context.
            InvalidArgument: The changes are not JSON.
        """
        try:
            merged = await self._storage.run(
                "mergeWorkflowState",
                WORKFLOW_SNAPSHOTS,
                workflowName=workflow_name,
                runId=run_id,
                opts=json_text(changes, "changes"),
            )
        except FunctionError as error:
            if _ABSENT_RUN in error.message:
                return None
            raise
        return _object_in(merged)

    async def list_workflow_runs(
        self,
        *,
        workflow_name: str | None = None,
        resource_id: str | None = None,
        from_date: datetime | str | None = None,
        to_date: datetime | str | None = None,
        status: str | None = None,
        per_page: PerPage | None = None,
        page: int | None = None,
    ) -> WorkflowRuns:
        """Return runs, newest first; those of one instant in the order they were read.

        All matching runs are read, snapshots included, to sort and count them.

        Args:
            workflow_name: Only runs of this workflow; None or empty for all.
            resource_id: Only runs of this resource; None or empty for all.
            from_date: Only runs created then or later.
            to_date: Only runs created then or earlier.
            status: Only runs whose snapshot has this status.
            per_page: Runs on a page: a number, 0 for none, `False` for all.
            page: Which page, from zero. All runs are returned unless both are given.

        Raises:
            InvalidArgument: A page is negative, or a date is none.
            LimitExceeded: 10,000 runs or more match.
        """
        for name, value in (("per_page", per_page), ("page", page)):
            if value is not None and value < 0:
                raise InvalidArgument(f"{name} must be >= 0.")
        start = None if from_date is None else iso_text(from_date, "from_date")
        end = None if to_date is None else iso_text(to_date, "to_date")
        scope = {"workflow_name": workflow_name, "resourceId": resource_id}
        filters = {name: value for name, value in scope.items() if value}
        rows = await self._storage.rows(WORKFLOW_SNAPSHOTS, **filters)
        runs = [
            run
            for run in map(WorkflowRun.from_row, rows)
            if (start is None or iso_text(run.created_at) >= start)
            and (end is None or iso_text(run.created_at) <= end)
            and (not status or run.status == status)
        ]
        runs.sort(key=lambda run: run.created_at, reverse=True)
        total = len(runs)
        if page is not None and per_page is not None and per_page is not False:
            runs = runs[page * per_page : (page + 1) * per_page]
        return WorkflowRuns(runs=runs, total=total)

    async def get_workflow_run_by_id(
        self, *, run_id: str, workflow_name: str | None = None
    ) -> WorkflowRun | None:
        """Return a run, or None when there is none.

        Args:
            run_id: The run.
            workflow_name: Its workflow; without it, the first run with this id is returned,
                and all runs may have to be looked at to find it.
        """
        if workflow_name:
            row = await self._row(workflow_name, run_id)
            return None if row is None else WorkflowRun.from_row(row)
        rows = await self._storage.some_rows(WORKFLOW_SNAPSHOTS, 1, run_id=run_id)
        return WorkflowRun.from_row(rows[0]) if rows else None

    async def delete_workflow_run_by_id(self, *, run_id: str, workflow_name: str) -> None:
        """Delete a run; one that does not exist is fine."""
        row = await self._row(workflow_name, run_id)
        if row is not None:
            record_id = row.get("id") or _record_id(workflow_name, run_id)
            await self._storage.run("deleteMany", WORKFLOW_SNAPSHOTS, ids=[record_id])

    async def _row(self, workflow_name: str, run_id: str) -> Mapping[str, Value] | None:
        keys = {"workflow_name": workflow_name, "run_id": run_id}
        row = await self._storage.run("load", WORKFLOW_SNAPSHOTS, keys=keys)
        return None if row is None else row_in(row, "workflow run")

    async def _record_id(
        self, workflow_name: str, run_id: str, stored: Mapping[str, Value] | None
    ) -> Value:
        """Return the record id of a run: Mastra's, unless a run of another name took it."""
        if stored is not None and stored.get("id"):
            return stored["id"]
        record_id = _record_id(workflow_name, run_id)
        taken = await self._storage.run("load", WORKFLOW_SNAPSHOTS, keys={"id": record_id})
        return record_id if taken is None else f"{record_id}-{self._new_id()}"


def _record_id(workflow_name: str, run_id: str) -> str:
    return f"{workflow_name}-{run_id}"


def _object_in(answer: Value) -> Mapping[str, Value]:
    try:
        value = parsed(answer) if isinstance(answer, str) else None
    except MALFORMED:
        value = None
    if not isinstance(value, Mapping):
        raise InvalidResponse("The deployment answered a merge with something not an object.")
    return value
