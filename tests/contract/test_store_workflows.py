"""Workflow snapshots: the store's domain, and the merges of the storage function."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.errors import FunctionError, InvalidArgument, NotFound
from convex_memory.store import ConvexStore, WorkflowRun, WorkflowStore
from tests.contract.conversations import StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire, bare

pytestmark = pytest.mark.anyio

TABLE = "mastra_workflow_snapshot"
PENDING = {"__mastra_pending__": True}
SUSPENDED = {"status": "suspended", "suspendPayload": {"ask": "name"}}


@pytest.fixture
def workflows(store: ConvexStore) -> WorkflowStore:
    return store.workflows


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


def snapshot(status: str = "running", **members: Any) -> dict[str, Any]:
    return {"runId": "r", "status": status, "value": {}, "context": {}, **members}


async def persist(
    workflows: WorkflowStore, name: str, run: str, seconds: float = 0, **members: Any
) -> None:
    resource = members.pop("resource_id", None)
    await workflows.persist_workflow_snapshot(
        workflow_name=name,
        run_id=run,
        snapshot=snapshot(**members),
        resource_id=resource,
        created_at=at(seconds),
        updated_at=at(seconds),
    )


# --- Persist


@requirement("store:workflows:persist")
async def test_a_persisted_snapshot_is_read_back(workflows: WorkflowStore, namespace: str) -> None:
    stored = snapshot("success", context={"a": {"status": "success", "output": {"x": 1}}})
    await workflows.persist_workflow_snapshot(
        workflow_name=namespace,
        run_id="r",
        resource_id="ann",
        snapshot=stored,
        created_at=at(1),
        updated_at=at(2),
    )
    loaded = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="r")
    assert loaded == stored
    run = await workflows.get_workflow_run_by_id(run_id="r", workflow_name=namespace)
    assert run == WorkflowRun(
        workflow_name=namespace,
        run_id="r",
        snapshot=stored,
        created_at=at(1),
        updated_at=at(2),
        resource_id="ann",
    )
    assert run.status == "success"


@requirement("store:workflows:stamps")
async def test_dates_that_are_not_given_are_now(
    workflows: WorkflowStore, namespace: str, clock: Clock
) -> None:
    await workflows.persist_workflow_snapshot(
        workflow_name=namespace, run_id="r", snapshot=snapshot()
    )
    first = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    clock.advance_ms(1500)
    second = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    await workflows.persist_workflow_snapshot(
        workflow_name=namespace, run_id="r", snapshot=snapshot("success")
    )
    run = await workflows.get_workflow_run_by_id(run_id="r", workflow_name=namespace)
    assert run is not None
    assert (run.created_at, run.updated_at, run.status) == (first, second, "success")
    clock.advance_ms(1500)
    await workflows.update_workflow_state(
        workflow_name=namespace, run_id="r", changes={"status": "failed"}
    )
    merged = await workflows.get_workflow_run_by_id(run_id="r", workflow_name=namespace)
    assert merged is not None
    assert merged.created_at == first
    assert merged.updated_at == datetime.fromtimestamp(clock.now_ms() / 1000, UTC)


@requirement("store:workflows:persist:again")
async def test_persisting_again_keeps_the_creation_date(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "r", 1, value={"a": 1}, extra=True)
    await persist(workflows, namespace, "r", 5, status="success")
    run = await workflows.get_workflow_run_by_id(run_id="r", workflow_name=namespace)
    assert run is not None
    assert (run.created_at, run.updated_at) == (at(1), at(5))
    assert run.snapshot == snapshot("success")
    assert (await workflows.list_workflow_runs(workflow_name=namespace)).total == 1


@requirement("store:workflows:persist:resource")
async def test_a_resource_stays_until_another_is_given(
    workflows: WorkflowStore, namespace: str
) -> None:
    for given_resource, kept in (("ann", "ann"), (None, "ann"), ("bob", "bob")):
        await persist(workflows, namespace, "r", resource_id=given_resource)
        run = await workflows.get_workflow_run_by_id(run_id="r", workflow_name=namespace)
        assert run is not None
        assert run.resource_id == kept


@requirement("store:workflows:persist:values")
async def test_every_json_value_survives_in_a_snapshot(
    workflows: WorkflowStore, namespace: str
) -> None:
    deep: Any = "end"
    for _ in range(100):
        deep = {"$deeper": [deep]}
    value = {
        "$schema": 1,
        "ключ": "🗝",
        "half": 0.5,
        "whole": 2**53 - 1,
        "none": None,
        "lone": "\ud83d",
        "list": [[], {}, True],
        "deep": deep,
    }
    await persist(workflows, namespace, "r", value=value)
    loaded = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="r")
    assert loaded == snapshot(value=value)
    merged = await workflows.update_workflow_state(
        workflow_name=namespace, run_id="r", changes={"status": "done"}
    )
    assert merged == snapshot("done", value=value)


@requirement("store:workflows:persist:refusals")
@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
async def test_what_is_not_json_is_refused(
    deployment: Deployment, namespace: str, value: Any
) -> None:
    counted = StockDeployment(deployment)
    workflows = ConvexStore(counted).workflows
    run: Any = {"workflow_name": namespace, "run_id": "r"}
    with pytest.raises(InvalidArgument, match="snapshot must be JSON"):
        await workflows.persist_workflow_snapshot(snapshot=snapshot(value=value), **run)
    with pytest.raises(InvalidArgument, match="changes must be JSON"):
        await workflows.update_workflow_state(changes={"value": value}, **run)
    with pytest.raises(InvalidArgument, match="result must be JSON"):
        await workflows.update_workflow_results(step_id="s", result={"output": value}, **run)
    assert counted.operations == []


@requirement("store:workflows:persist:names")
async def test_runs_whose_names_run_together_are_two(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "b-c", value="first")
    await persist(workflows, f"{namespace}-b", "c", value="second")
    await persist(workflows, f"{namespace}-b", "c", value="second again")
    first = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="b-c")
    second = await workflows.load_workflow_snapshot(workflow_name=f"{namespace}-b", run_id="c")
    assert first is not None
    assert second is not None
    assert (first["value"], second["value"]) == ("first", "second again")
    await workflows.delete_workflow_run_by_id(workflow_name=f"{namespace}-b", run_id="c")
    assert await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="b-c") == first


# --- Load


@requirement("store:workflows:load")
async def test_an_absent_run_has_no_snapshot(workflows: WorkflowStore, namespace: str) -> None:
    await persist(workflows, namespace, "r")
    for name, run in ((namespace, "x"), (f"{namespace}x", "r")):
        assert await workflows.load_workflow_snapshot(workflow_name=name, run_id=run) is None
        assert await workflows.get_workflow_run_by_id(workflow_name=name, run_id=run) is None


@requirement("store:workflows:load:old")
async def test_snapshots_of_old_writers_are_read(
    workflows: WorkflowStore, wire: Wire, namespace: str
) -> None:
    as_object = snapshot("success", value={"count": 2, "half": 0.5})
    for run, stored in (("object", as_object), ("none", None), ("empty", "")):
        await wire.insert(TABLE, row(namespace, run, stored))
    loaded = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="object")
    assert loaded == as_object
    for run in ("none", "empty"):
        empty = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id=run)
        assert empty is not None
        assert (empty["status"], empty["context"], empty["runId"]) == ("pending", {}, run)
    pending = await workflows.list_workflow_runs(workflow_name=namespace, status="pending")
    assert sorted(run.run_id for run in pending.runs) == ["empty", "none"]


# --- Results and state


@requirement("store:workflows:results")
async def test_a_steps_result_is_merged_into_the_context(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "r", context={"input": {"x": 1}}, value={"kept": 1})
    result = {"status": "success", "output": {"a": 1}, "payload": None, "startedAt": 5}
    context = await workflows.update_workflow_results(
        workflow_name=namespace, run_id="r", step_id="one", result=result
    )
    assert context == {"input": {"x": 1}, "one": result}
    stored = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="r")
    assert stored == snapshot(context=context, value={"kept": 1}, requestContext={})


@requirement("store:workflows:results:outputs")
async def test_outputs_that_are_arrays_are_merged(workflows: WorkflowStore, namespace: str) -> None:
    await persist(workflows, namespace, "r")
    context: Mapping[str, Any] = {}
    for output in ([None, "b", None], ["a", None, None], [None, None, "c", "d"]):
        context = await workflows.update_workflow_results(
            workflow_name=namespace,
            run_id="r",
            step_id="each",
            result={"status": "running", "output": output},
        )
    assert context == {"each": {"status": "running", "output": ["a", "b", "c", "d"]}}


@requirement("store:workflows:results:context")
async def test_the_request_context_is_merged(workflows: WorkflowStore, namespace: str) -> None:
    await persist(workflows, namespace, "r", requestContext={"a": {"x": 1}, "b": 1})
    await workflows.update_workflow_results(
        workflow_name=namespace,
        run_id="r",
        step_id="s",
        result={},
        request_context={"a": {"y": 2}, "c": None},
    )
    stored = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="r")
    assert stored is not None
    assert stored["requestContext"] == {"a": {"y": 2}, "b": 1, "c": None}


@requirement("store:workflows:results:concurrent")
async def test_steps_that_report_at_once_all_take_effect(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "r")
    count = 40

    async def report(number: int) -> None:
        output: list[Any] = [None] * count
        output[number] = {"item": number}
        run: Any = {"workflow_name": namespace, "run_id": "r"}
        await workflows.update_workflow_results(
            step_id=f"step{number}",
            result={"status": "success", "output": number},
            request_context={f"key{number}": number},
            **run,
        )
        await workflows.update_workflow_results(
            step_id="each", result={"status": "success", "output": output}, **run
        )

    await asyncio.gather(*map(report, range(count)))
    stored = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="r")
    assert stored is not None
    steps = {f"step{number}": {"status": "success", "output": number} for number in range(count)}
    each = {"status": "success", "output": [{"item": number} for number in range(count)]}
    assert stored["context"] == {**steps, "each": each}
    assert stored["requestContext"] == {f"key{number}": number for number in range(count)}


@requirement("store:workflows:results:absent")
async def test_a_result_for_an_absent_run_is_not_found(
    workflows: WorkflowStore, namespace: str
) -> None:
    with pytest.raises(NotFound) as refused:
        await workflows.update_workflow_results(
            workflow_name=namespace, run_id="nobody", step_id="s", result={}
        )
    assert refused.value.message == "Workflow snapshot not found for runId nobody"
    assert await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="nobody") is None


@requirement("store:workflows:state")
async def test_members_of_a_snapshot_are_replaced_whole(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "r", suspendedPaths={"a": [0]}, result=1, kept=True)
    merged = await workflows.update_workflow_state(
        workflow_name=namespace,
        run_id="r",
        changes={"status": "suspended", "suspendedPaths": {"b": [1]}, "result": None},
    )
    assert merged == snapshot("suspended", suspendedPaths={"b": [1]}, result=None, kept=True)
    loaded = await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="r")
    assert loaded == merged


@requirement("store:workflows:state:absent")
async def test_the_state_of_an_absent_run_is_none(workflows: WorkflowStore, namespace: str) -> None:
    merged = await workflows.update_workflow_state(
        workflow_name=namespace, run_id="nobody", changes={"status": "failed"}
    )
    assert merged is None
    assert await workflows.load_workflow_snapshot(workflow_name=namespace, run_id="nobody") is None


@requirement("store:workflows:state:concurrent")
async def test_states_and_results_at_once_all_take_effect(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "r")
    run: Any = {"workflow_name": namespace, "run_id": "r"}
    states = [
        workflows.update_workflow_state(changes={f"member{number}": number}, **run)
        for number in range(20)
    ]
    results = [
        workflows.update_workflow_results(step_id=f"s{number}", result={"output": number}, **run)
        for number in range(20)
    ]
    await asyncio.gather(*states, *results)
    stored = await workflows.load_workflow_snapshot(**run)
    assert stored == {
        **snapshot(requestContext={}),
        "context": {f"s{number}": {"output": number} for number in range(20)},
        **{f"member{number}": number for number in range(20)},
    }


# --- List, get, delete


async def listed(workflows: WorkflowStore, **question: Any) -> list[str]:
    return [run.run_id for run in (await workflows.list_workflow_runs(**question)).runs]


@requirement("store:workflows:list")
async def test_runs_are_listed_newest_first(workflows: WorkflowStore, namespace: str) -> None:
    for run, seconds in (("d", 1), ("b", 2), ("a", 2), ("c", 0)):
        await persist(workflows, namespace, run, seconds)
    answer = await workflows.list_workflow_runs(workflow_name=namespace)
    # Rows of one workflow are read in the order of their run ids.
    assert [run.run_id for run in answer.runs] == ["a", "b", "d", "c"]
    assert answer.total == 4
    assert [run.created_at for run in answer.runs] == [at(2), at(2), at(1), at(0)]
    everything = await workflows.list_workflow_runs()
    assert {"a", "b", "c", "d"} <= {run.run_id for run in everything.runs}


@requirement("store:workflows:list:filters")
async def test_runs_are_filtered(workflows: WorkflowStore, namespace: str) -> None:
    other = f"{namespace}-other"
    ann, bob = f"{namespace}-ann", f"{namespace}-bob"
    await persist(workflows, namespace, "a", 1, resource_id=ann, status="success")
    await persist(workflows, namespace, "b", 2, resource_id=bob, status="running")
    await persist(workflows, other, "c", 3, resource_id=ann, status="running")
    await persist(workflows, namespace, "d", 4, status="running")
    assert await listed(workflows, workflow_name=namespace) == ["d", "b", "a"]
    assert await listed(workflows, resource_id=ann) == ["c", "a"]
    assert await listed(workflows, workflow_name=namespace, resource_id=ann) == ["a"]
    assert await listed(workflows, workflow_name=namespace, status="running") == ["d", "b"]
    assert await listed(workflows, resource_id=ann, status="failed") == []
    assert await listed(workflows, workflow_name=namespace, from_date=at(2)) == ["d", "b"]
    assert await listed(workflows, workflow_name=namespace, to_date=at(2)) == ["b", "a"]
    assert await listed(
        workflows, workflow_name=namespace, from_date=at(2), to_date="2025-06-01T00:00:02.000Z"
    ) == ["b"]
    assert await listed(workflows, workflow_name=namespace, resource_id="", status="") == [
        "d",
        "b",
        "a",
    ]


@requirement("store:workflows:list:pages")
async def test_runs_are_cut_into_pages(workflows: WorkflowStore, namespace: str) -> None:
    for number in range(5):
        await persist(workflows, namespace, f"r{number}", number)
    everything = ["r4", "r3", "r2", "r1", "r0"]
    questions: list[tuple[dict[str, Any], list[str]]] = [
        ({"per_page": 2, "page": 0}, ["r4", "r3"]),
        ({"per_page": 2, "page": 2}, ["r0"]),
        ({"per_page": 2, "page": 3}, []),
        ({"per_page": 0, "page": 0}, []),
        ({"per_page": False, "page": 1}, everything),
        ({"per_page": 2}, everything),
        ({"page": 1}, everything),
    ]
    for question, expected in questions:
        answer = await workflows.list_workflow_runs(workflow_name=namespace, **question)
        assert ([run.run_id for run in answer.runs], answer.total) == (expected, 5), question


@requirement("store:workflows:list:refusals")
async def test_impossible_listings_are_refused(workflows: WorkflowStore) -> None:
    with pytest.raises(InvalidArgument, match="per_page must be >= 0"):
        await workflows.list_workflow_runs(per_page=-1, page=0)
    with pytest.raises(InvalidArgument, match="page must be >= 0"):
        await workflows.list_workflow_runs(per_page=1, page=-1)
    with pytest.raises(InvalidArgument, match="from_date must be an ISO-8601 date"):
        await workflows.list_workflow_runs(from_date="yesterday")
    with pytest.raises(InvalidArgument, match="to_date must have a time zone"):
        await workflows.list_workflow_runs(to_date=datetime(2025, 1, 1))  # noqa: DTZ001


@requirement("store:workflows:get")
async def test_a_run_is_found_with_and_without_its_workflow(
    workflows: WorkflowStore, namespace: str
) -> None:
    run_id = f"{namespace}-r"
    await persist(workflows, f"{namespace}-b", run_id, 1, value="b")
    await persist(workflows, f"{namespace}-a", run_id, 2, value="a")
    named = await workflows.get_workflow_run_by_id(run_id=run_id, workflow_name=f"{namespace}-a")
    unnamed = await workflows.get_workflow_run_by_id(run_id=run_id)
    assert named is not None
    assert unnamed is not None
    assert (named.snapshot["value"], unnamed.snapshot["value"]) == ("a", "b")
    assert unnamed.workflow_name == f"{namespace}-b"
    assert await workflows.get_workflow_run_by_id(run_id=f"{run_id}x") is None


@requirement("store:workflows:delete")
async def test_deleting_a_run_deletes_exactly_that_one(
    workflows: WorkflowStore, namespace: str
) -> None:
    await persist(workflows, namespace, "a")
    await persist(workflows, namespace, "b")
    await persist(workflows, f"{namespace}2", "a")
    await workflows.delete_workflow_run_by_id(workflow_name=namespace, run_id="a")
    await workflows.delete_workflow_run_by_id(workflow_name=namespace, run_id="a")
    await workflows.delete_workflow_run_by_id(workflow_name=namespace, run_id="nobody")
    assert await listed(workflows, workflow_name=namespace) == ["b"]
    assert await listed(workflows, workflow_name=f"{namespace}2") == ["a"]


@requirement("store:workflows:clear")
async def test_clearing_workflows_deletes_every_run(
    store: ConvexStore, workflows: WorkflowStore, namespace: str
) -> None:
    await asyncio.gather(*(persist(workflows, namespace, f"r{number}") for number in range(60)))
    await workflows.init()
    assert (await workflows.list_workflow_runs(workflow_name=namespace)).total == 60
    await workflows.dangerously_clear_all()
    assert (await workflows.list_workflow_runs()).total == 0
    assert store.get_store("workflows") is workflows
    assert workflows.supports_concurrent_updates() is True


# --- On the wire


def row(name: str, run: str, stored: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{name}-{run}",
        "workflow_name": name,
        "run_id": run,
        "snapshot": stored,
        "createdAt": "2025-01-31T12:00:00.000Z",
        "updatedAt": "2025-01-31T12:00:00.000Z",
        **fields,
    }


async def merge_step(wire: Wire, name: str, result: Any, **fields: Any) -> Any:
    """Merge into step `s` of run `r`; the new context."""
    request = {"workflowName": name, "runId": "r", "stepId": "s", "requestContext": "{}", **fields}
    text = await wire.result("mergeWorkflowStepResult", TABLE, result=json.dumps(result), **request)
    return json.loads(text)


@requirement("wire:workflows:step")
@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ([1, None, 3], [None, 2], [1, 2, 3]),
        ([1, 2, 3], [None, None, None, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4, None], [PENDING, 99, None, None, PENDING, PENDING], [1, 2, 3, 4, None, None]),
        ([], [], []),
        ([], [None, 1], [None, 1]),
        ([1, 2], [], [1, 2]),
        ([0, False, ""], [None, None, None], [0, False, ""]),
        ([1, 2, 3], [0, False, ""], [0, False, ""]),
        ([SUSPENDED, SUSPENDED], [PENDING, None], [None, SUSPENDED]),
        ([SUSPENDED], [{"status": "success"}], [{"status": "success"}]),
        (
            [{"status": "suspended", "suspendedAt": 1}, {"status": "suspended"}],
            [PENDING, PENDING],
            [None, {"status": "suspended"}],
        ),
        (
            [{"status": "success", "suspendPayload": 1}],
            [PENDING],
            [{"status": "success", "suspendPayload": 1}],
        ),
        ([PENDING, PENDING], [PENDING, None], [None, PENDING]),
        ([PENDING, PENDING], [7, None], [7, PENDING]),
        ([1], [PENDING, 2, PENDING], [1, None, None]),
        # What only looks like a marker is a value.
        ([1], [{"__mastra_pending__": True, "x": 1}], [{"__mastra_pending__": True, "x": 1}]),
        ([1], [{"__mastra_pending__": False}], [{"__mastra_pending__": False}]),
        ([1], [{"__mastra_pending__": 1}], [{"__mastra_pending__": 1}]),
        ([[1]], [[2]], [[2]]),
    ],
)
async def test_outputs_are_merged_by_the_table(
    wire: Wire, namespace: str, old: list[Any], new: list[Any], merged: list[Any]
) -> None:
    before = {"status": "running", "output": old, "a": 1}
    await wire.insert(TABLE, row(namespace, "r", json.dumps(snapshot(context={"s": before}))))
    context = await merge_step(wire, namespace, {"status": "success", "output": new, "b": 2})
    again = json.dumps(PENDING) in map(json.dumps, new)
    rest = before if again else {"status": "success", "a": 1, "b": 2}
    assert context == {"s": {**rest, "output": merged}}
    # True is not 1.
    assert json.dumps(context["s"]["output"]) == json.dumps(merged)


@requirement("wire:workflows:step:replaces")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, {"output": [PENDING, 1]}),
        ({"status": "running"}, {"output": [1]}),
        ({"output": [1]}, {"status": "failed", "error": {"message": "no"}}),
        ({"output": [1], "kept": False}, {"output": {"a": 1}}),
        ({"output": {"a": 1}}, {"output": [1]}),
        ({"output": "abc"}, {"output": [PENDING]}),
        ({"output": [1]}, None),
        ({"output": [1]}, [1]),
        ({"output": [1]}, "text"),
    ],
)
async def test_other_results_replace_the_old_one(
    wire: Wire, namespace: str, old: Any, new: Any
) -> None:
    context = {"other": {"output": [0]}, **({} if old is None else {"s": old})}
    await wire.insert(TABLE, row(namespace, "r", json.dumps(snapshot(context=context))))
    assert await merge_step(wire, namespace, new) == {"other": {"output": [0]}, "s": new}


@requirement("wire:workflows:state")
async def test_state_is_replaced_at_the_top_level(wire: Wire, namespace: str) -> None:
    await wire.insert(TABLE, row(namespace, "r", json.dumps(snapshot(value={"a": 1}, kept=[1]))))
    merged = await wire.result(
        "mergeWorkflowState",
        TABLE,
        workflowName=namespace,
        runId="r",
        opts=json.dumps({"value": {"b": 2}, "context": {"s": {}}, "status": None}),
    )
    expected = {**snapshot(), "value": {"b": 2}, "context": {"s": {}}, "status": None, "kept": [1]}
    assert json.loads(merged) == expected
    stored = await wire.load(TABLE, workflow_name=namespace, run_id="r")
    assert json.loads(stored["snapshot"]) == expected
    nothing = await wire.result(
        "mergeWorkflowState", TABLE, workflowName=namespace, runId="r", opts="null"
    )
    assert json.loads(nothing) == expected


@requirement("wire:workflows:stored")
async def test_a_merge_stores_text_and_the_time(wire: Wire, namespace: str, clock: Clock) -> None:
    before = row(namespace, "r", json.dumps(snapshot()), resourceId="ann")
    await wire.insert(TABLE, before)
    await merge_step(wire, namespace, {"output": "🙂"}, requestContext='{"user": "ann"}')
    stored = bare(await wire.load(TABLE, workflow_name=namespace, run_id="r"))
    assert json.loads(stored.pop("snapshot")) == snapshot(
        context={"s": {"output": "🙂"}}, requestContext={"user": "ann"}
    )
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    expected = {**before, "updatedAt": f"{now:%Y-%m-%dT%H:%M:%S}.000Z"}
    del expected["snapshot"]
    assert stored == expected


@requirement("wire:workflows:stored:old")
@pytest.mark.parametrize("stored", [snapshot(kept=1), None])
async def test_snapshots_of_old_writers_are_merged_into(
    wire: Wire, namespace: str, stored: Any
) -> None:
    await wire.insert(TABLE, row(namespace, "r", stored))
    assert await merge_step(wire, namespace, {"output": 1}) == {"s": {"output": 1}}
    text = (await wire.load(TABLE, workflow_name=namespace, run_id="r"))["snapshot"]
    merged = json.loads(text)
    assert merged["context"] == {"s": {"output": 1}}
    assert (merged["runId"], merged.get("kept")) == ("r", stored and 1)
    assert merged["status"] == ("running" if stored else "pending")


@requirement("wire:workflows:refusals")
@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("mergeWorkflowState", {"opts": "{}"}),
        ("mergeWorkflowStepResult", {"stepId": "s", "result": "{}", "requestContext": "{}"}),
    ],
)
async def test_what_cannot_be_merged_into_is_refused_softly(
    wire: Wire, namespace: str, op: str, fields: dict[str, Any]
) -> None:
    async def refused(run: str) -> Any:
        return await wire.send(op, TABLE, workflowName=namespace, runId=run, **fields)

    absent = {"ok": False, "error": "Workflow snapshot not found for runId r"}
    assert await refused("r") == absent
    for run, stored in (("a", "{}"), ("b", '{"context": null}'), ("c", {"status": "x"})):
        await wire.insert(TABLE, row(namespace, run, stored))
        text = f"Snapshot for runId {run} is missing or has invalid context"
        assert await refused(run) == {"ok": False, "error": text}
        assert (await wire.load(TABLE, workflow_name=namespace, run_id=run))["snapshot"] == stored


@requirement("wire:workflows:malformed")
async def test_malformed_json_is_an_error(wire: Wire, namespace: str) -> None:
    good = json.dumps(snapshot())
    await wire.insert(TABLE, row(namespace, "r", good), row(namespace, "bad", "{"))
    step: Any = {"stepId": "s", "result": "{}", "requestContext": "{}"}
    for op, fields in (
        ("mergeWorkflowState", {"runId": "bad", "opts": "{}"}),
        ("mergeWorkflowState", {"runId": "r", "opts": "{"}),
        ("mergeWorkflowState", {"runId": "r", "opts": '{"a": NaN}'}),
        ("mergeWorkflowState", {"runId": "r", "opts": "[1]"}),
        ("mergeWorkflowState", {"runId": "r"}),
        ("mergeWorkflowStepResult", {**step, "runId": "bad"}),
        ("mergeWorkflowStepResult", {**step, "runId": "r", "result": "nothing"}),
        ("mergeWorkflowStepResult", {**step, "runId": "r", "requestContext": ""}),
        ("mergeWorkflowStepResult", {**step, "runId": "r", "stepId": None}),
    ):
        with pytest.raises(FunctionError):
            await wire.send(op, TABLE, workflowName=namespace, **fields)
    assert (await wire.load(TABLE, workflow_name=namespace, run_id="r"))["snapshot"] == good


@requirement("wire:workflows:tables")
@pytest.mark.parametrize("op", ["mergeWorkflowState", "mergeWorkflowStepResult"])
async def test_merges_are_for_snapshots_only(wire: Wire, namespace: str, op: str) -> None:
    for table, text in (
        ("mastra_threads", f"Unsupported operation {op} for table mastra_threads"),
        (
            "mastra_background_tasks",
            f"Unsupported operation {op} for table mastra_background_tasks",
        ),
        (f"mastra_vector_{namespace}", f"Unsupported operation {op}"),
        (f"{namespace}_things", f"Unsupported operation {op}"),
        # The physical name is nobody's table.
        ("mastra_workflow_snapshots", f"Unsupported operation {op}"),
    ):
        assert await wire.send(op, table) == {"ok": False, "error": text}


# --- Whatever the order


class Branch:
    """One branch of a run: what it reports, one after the other."""

    def __init__(self, number: int, items: int, values: list[int], suspends: bool) -> None:
        self.number = number
        reports: list[tuple[str, dict[str, Any]]] = []
        if suspends:
            reports.append(("each", self._output(items, dict(SUSPENDED))))
            reports.append(("each", self._output(items, dict(PENDING))))
        for value in values:
            reports.append((f"own{number}", {"status": "success", "output": value}))
            reports.append(("each", self._output(items, {"of": number, "value": value})))
        self.reports = reports
        self.last = values[-1]

    def _output(self, items: int, element: Any) -> dict[str, Any]:
        output: list[Any] = [None] * items
        output[self.number] = element
        return {"status": "running", "output": output}


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[Branch], list[int]]:
    """Branches of one run, and whose turn it is to report."""
    items = draw(st.integers(1, 5))
    branches = [
        Branch(
            number,
            items,
            draw(st.lists(st.integers(0, 9), min_size=1, max_size=2)),
            draw(st.booleans()),
        )
        for number in range(items)
    ]
    turns = [branch.number for branch in branches for _ in branch.reports]
    return branches, draw(st.permutations(turns))


@requirement("wire:workflows:step:interleaved")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(run=interleaved())
async def test_reports_of_branches_in_any_order_lose_nothing(
    wire: Wire, run: tuple[list[Branch], list[int]]
) -> None:
    branches, turns = run
    name = uuid.uuid4().hex
    await wire.insert(TABLE, row(name, "r", json.dumps(snapshot())))
    waiting = {branch.number: iter(branch.reports) for branch in branches}
    for number in turns:
        step, result = next(waiting[number])
        context = json.dumps({f"from{number}": True})
        await merge_step(wire, name, result, stepId=step, requestContext=context)
    await assert_complete(wire, name, branches)


@requirement("wire:workflows:step:interleaved")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(run=interleaved())
async def test_reports_of_branches_at_the_same_time_lose_nothing(
    wire: Wire, run: tuple[list[Branch], list[int]]
) -> None:
    branches, _ = run
    name = uuid.uuid4().hex
    await wire.insert(TABLE, row(name, "r", json.dumps(snapshot())))

    async def report(branch: Branch) -> None:
        for step, result in branch.reports:
            context = json.dumps({f"from{branch.number}": True})
            await merge_step(wire, name, result, stepId=step, requestContext=context)

    await asyncio.gather(*map(report, branches))
    await assert_complete(wire, name, branches)


async def assert_complete(wire: Wire, name: str, branches: list[Branch]) -> None:
    """The last value of every branch is there, in its own step and in the common one."""
    stored = json.loads((await wire.load(TABLE, workflow_name=name, run_id="r"))["snapshot"])
    context = stored["context"]
    for branch in branches:
        own = {"status": "success", "output": branch.last}
        assert context[f"own{branch.number}"] == own
    assert context["each"]["output"] == [
        {"of": branch.number, "value": branch.last} for branch in branches
    ]
    assert stored["requestContext"] == {f"from{branch.number}": True for branch in branches}
