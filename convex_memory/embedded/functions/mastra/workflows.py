"""Storage operations that only workflow snapshots have: merges, each in one transaction.

Branches of one run report their steps at the same time. What they send is merged into the
stored snapshot here, so none has to read the snapshot first and none overwrites another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import Args, SoftRefusal, TableOperation
from convex_memory.embedded.tables import WORKFLOW_SNAPSHOTS
from convex_memory.errors import InvalidArgument
from convex_memory.json_text import MALFORMED, json_text, parsed
from convex_memory.records import iso_text
from convex_memory.values import Value

PENDING_MARKER: Final = "__mastra_pending__"
"""`{"__mastra_pending__": true}` in an output: this element is being worked on again."""
_NOTHING: Final = object()


def merge_workflow_state(documents: Documents, args: Args) -> Value:
    """Replace members of a run's snapshot; answer with all of it, as JSON text."""
    row, snapshot = _snapshot(documents, args)
    merged = {**snapshot, **_object_argument(args, "opts")}
    return {"ok": True, "result": _store(documents, row, merged)}


def merge_workflow_step_result(documents: Documents, args: Args) -> Value:
    """Merge one step's result into a run's snapshot; answer with its context, as JSON text."""
    row, snapshot = _snapshot(documents, args)
    step = args.get("stepId")
    if not isinstance(step, str):
        raise InvalidArgument("stepId must be text.")
    context = dict(snapshot["context"])
    context[step] = merged_result(context.get(step), _json_argument(args, "result"))
    stored = snapshot.get("requestContext")
    request_context = {
        **(stored if isinstance(stored, Mapping) else {}),
        **_object_argument(args, "requestContext"),
    }
    _store(documents, row, {**snapshot, "context": context, "requestContext": request_context})
    return {"ok": True, "result": json_text(context, "context")}


def merged_result(old: Any, new: Any) -> Any:
    """Return what a step's stored result and a newly reported one amount to.

    Results whose `output` is an array, as those of a loop over many items, are merged element
    by element; any other new result replaces the old one.
    """
    old_output, new_output = _output(old), _output(new)
    if old_output is None or new_output is None:
        return new
    again = any(map(_is_pending, new_output))
    return {**old, **({} if again else new), "output": _merged_output(old_output, new_output)}


def _merged_output(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    """Merge outputs: null leaves an element alone, a pending marker empties one that waits.

    An output with a marker in it says which elements start again and nothing else.
    """
    again = any(map(_is_pending, new))
    merged = []
    for was, now in zip_longest(old, new, fillvalue=_NOTHING):
        if _is_pending(now):
            merged.append(None if was is _NOTHING or _may_start_again(was) else was)
        elif now is _NOTHING or now is None or again:
            merged.append(None if was is _NOTHING else was)
        else:
            merged.append(now)
    return merged


def _is_pending(element: Any) -> bool:
    return (
        isinstance(element, Mapping) and len(element) == 1 and element.get(PENDING_MARKER) is True
    )


def _may_start_again(element: Any) -> bool:
    if element is None or _is_pending(element):
        return True
    return (
        isinstance(element, Mapping)
        and element.get("status") == "suspended"
        and ("suspendPayload" in element or "suspendedAt" in element)
    )


def _output(result: Any) -> Sequence[Any] | None:
    output = result.get("output") if isinstance(result, Mapping) else None
    return output if isinstance(output, list) else None


def _snapshot(documents: Documents, args: Args) -> tuple[Row, Record]:
    """Return a run's row and the snapshot in it."""
    run_id = args.get("runId")
    row = documents.first(WORKFLOW_SNAPSHOTS, workflow_name=args.get("workflowName"), run_id=run_id)
    if row is None:
        raise SoftRefusal(f"Workflow snapshot not found for runId {run_id}")
    stored = row.fields["snapshot"]
    if stored is None:
        return row, _empty_snapshot(run_id, documents.now_ms())
    snapshot = _parsed(stored, "The stored snapshot") if isinstance(stored, str) else stored
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("context"), dict):
        raise SoftRefusal(f"Snapshot for runId {run_id} is missing or has invalid context")
    return row, snapshot


def _empty_snapshot(run_id: Any, now_ms: float) -> Record:
    return {
        "runId": run_id,
        "status": "pending",
        "value": {},
        "context": {},
        "activePaths": [],
        "activeStepsPath": {},
        "suspendedPaths": {},
        "resumeLabels": {},
        "waitingPaths": {},
        "serializedStepGraph": [],
        "timestamp": int(now_ms),
    }


def _store(documents: Documents, row: Row, snapshot: Record) -> str:
    text = json_text(snapshot, "snapshot")
    now = datetime.fromtimestamp(documents.now_ms() / 1000, UTC)
    documents.patch(WORKFLOW_SNAPSHOTS, row, {"snapshot": text, "updatedAt": iso_text(now)})
    return text


def _object_argument(args: Args, name: str) -> Record:
    value = _json_argument(args, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{name} must be the JSON text of an object.")
    return value


def _json_argument(args: Args, name: str) -> Any:
    value = args.get(name)
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be JSON text.")
    return _parsed(value, name)


def _parsed(text: str, where: str) -> Any:
    try:
        return parsed(text)
    except MALFORMED as error:
        raise InvalidArgument(f"{where} is not valid JSON text.") from error


OPERATIONS: Final[Mapping[str, TableOperation]] = {
    "mergeWorkflowState": TableOperation(WORKFLOW_SNAPSHOTS, merge_workflow_state),
    "mergeWorkflowStepResult": TableOperation(WORKFLOW_SNAPSHOTS, merge_workflow_step_result),
}
