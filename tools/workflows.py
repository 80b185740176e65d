"""The `workflows` toolset: what ran, how far it came, and what it holds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from convex_memory.errors import NotFound
from convex_memory.records import iso_text
from convex_memory.store.workflow_records import WorkflowRun
from tools.adapters import Adapters
from tools.arguments import (
    Chars,
    Cursor,
    Id,
    Limit,
    Offset,
    cursor_after,
    json_of,
    page_in,
    part_of,
)
from tools.budget import CHARS_DEFAULT, MaxChars
from tools.toolset import Answer, Arguments, Progress, Toolset

workflows = Toolset("workflows")


class ShownRun(Answer):
    """One run of a workflow."""

    workflow_name: str
    run_id: str
    status: str | None
    steps: Annotated[dict[str, str], Field(description="Step id to its status.")]
    created_at: str
    updated_at: str
    resource_id: str | None = None


class ListRunsArguments(Arguments):
    """Arguments of `list_workflow_runs`."""

    workflow_name: Id | None = None
    status: Annotated[
        str | None, Field(description="running, waiting, suspended, success, failed, …")
    ] = None
    limit: Limit = 20
    cursor: Cursor = None


class ListedRuns(Answer):
    """A page of runs, newest first."""

    runs: list[ShownRun]
    total: int
    next_cursor: str | None


@workflows.tool("List workflow runs", reads=True)
async def list_workflow_runs(
    arguments: ListRunsArguments, adapters: Adapters, progress: Progress
) -> ListedRuns:
    """See which workflows ran, newest first, with the status of each run and of its steps."""
    page = page_in(arguments.cursor)
    found = await adapters.store.workflows.list_workflow_runs(
        workflow_name=arguments.workflow_name,
        status=arguments.status,
        per_page=arguments.limit,
        page=page,
    )
    return ListedRuns(
        runs=[_shown(run) for run in found.runs],
        total=found.total,
        next_cursor=cursor_after(page, arguments.limit, found.total),
    )


class RunArguments(Arguments):
    """Arguments of `get_workflow_run`."""

    run_id: Id
    workflow_name: Id | None = None
    max_chars: MaxChars = CHARS_DEFAULT
    offset: Offset = 0


class FoundRun(Answer):
    """A run with its snapshot."""

    run: ShownRun
    snapshot: Annotated[str, Field(description="JSON text of the snapshot.")]
    chars: Chars = None


@workflows.tool("Get a workflow run", reads=True)
async def get_workflow_run(
    arguments: RunArguments, adapters: Adapters, progress: Progress
) -> FoundRun:
    """Look into one run: inputs, outputs and errors of its steps, and what it waits for."""
    run = await adapters.store.workflows.get_workflow_run_by_id(
        run_id=arguments.run_id, workflow_name=arguments.workflow_name
    )
    if run is None:
        raise NotFound(
            f"There is no workflow run {arguments.run_id!a}. list_workflow_runs shows those there "
            "are."
        )
    text, chars = part_of(json_of(run.snapshot), arguments.offset, arguments.max_chars)
    return FoundRun(run=_shown(run), snapshot=text, chars=chars)


class DeleteRunArguments(Arguments):
    """Arguments of `delete_workflow_run`."""

    run_id: Id
    workflow_name: Id


class DeletedRun(Answer):
    """It is gone."""

    run_id: str
    deleted: bool


@workflows.tool("Delete a workflow run", destroys=True, repeatable=True)
async def delete_workflow_run(
    arguments: DeleteRunArguments, adapters: Adapters, progress: Progress
) -> DeletedRun:
    """Forget one run. A run that still goes on loses its state."""
    await adapters.store.workflows.delete_workflow_run_by_id(
        run_id=arguments.run_id, workflow_name=arguments.workflow_name
    )
    return DeletedRun(run_id=arguments.run_id, deleted=True)


def _shown(run: WorkflowRun) -> ShownRun:
    status: Any = run.snapshot.get("status")
    context: Any = run.snapshot.get("context")
    steps = context.items() if isinstance(context, dict) else ()
    return ShownRun(
        workflow_name=run.workflow_name,
        run_id=run.run_id,
        status=status if isinstance(status, str) else None,
        steps={
            name: step["status"]
            for name, step in steps
            if isinstance(step, dict) and isinstance(step.get("status"), str)
        },
        created_at=iso_text(run.created_at),
        updated_at=iso_text(run.updated_at),
        resource_id=run.resource_id,
    )
