"""Typed tables on the wire: what their rows may hold."""

from __future__ import annotations

from typing import Final

import pytest

from convex_memory.deployment import Deployment
from convex_memory.values import Value
from tests.contract.requirements import requirement
from tests.contract.wire import (
    TASKS,
    TIME,
    Wire,
    bare,
    declared,
    thread,
)
from tests.declared_tables import (
    TYPED,
    DeclaredTable,
    least_record,
    whole_record,
)

pytestmark = pytest.mark.anyio

SCHEDULES: Final = declared("mastra_schedules")
TASK_TABLE: Final = declared(TASKS)
SNAPSHOTS: Final = declared("mastra_workflow_snapshot")
every_table = pytest.mark.parametrize("table", TYPED, ids=lambda table: table.logical)


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


# --- What rows may hold


@requirement("wire:schema")
@every_table
async def test_a_record_with_only_what_is_required_is_read_back_as_it_is(
    wire: Wire, table: DeclaredTable
) -> None:
    record = least_record(table, "a")
    await wire.insert(table.logical, record)
    assert bare(await wire.load(table.logical, id="a")) == record


@requirement("wire:schema")
@every_table
async def test_a_record_with_every_field_is_read_back_as_it_is(
    wire: Wire, table: DeclaredTable
) -> None:
    record = whole_record(table, "a")
    await wire.insert(table.logical, record)
    assert bare(await wire.load(table.logical, id="a")) == record
    nulls = {
        name: None
        for name, field in table.fields.items()
        if field.nullable or field.kind.startswith("any")
    }
    await wire.insert(table.logical, {**record, **nulls})
    assert bare(await wire.load(table.logical, id="a")) == {**record, **nulls}


@requirement("wire:schema:required")
@every_table
async def test_a_record_without_a_required_field_is_refused(
    wire: Wire, table: DeclaredTable
) -> None:
    for name, field in table.fields.items():
        if name == "id" or field.optional:
            continue
        record = least_record(table, "a")
        del record[name]
        assert name in await wire.refusal("insert", table.logical, record=record)
    assert await wire.ids(table.logical) == []


@requirement("wire:schema:type")
@every_table
async def test_null_where_it_is_not_declared_is_refused(wire: Wire, table: DeclaredTable) -> None:
    record = least_record(table, "a")
    await wire.insert(table.logical, record)
    for name, field in table.fields.items():
        if name == "id" or field.nullable or field.kind == "any":
            continue
        text = await wire.refusal("patch", table.logical, id="a", record={name: None})
        assert f"{name} of {table.name} must be" in text
    assert bare(await wire.load(table.logical, id="a")) == record


WRONG: Final[dict[str, list[Value]]] = {
    "string": [1, True, ["text"], {"text": "text"}],
    "number": ["1", True, [1], {}],
    "boolean": [0, 1, "true", []],
    "strings": ["a", [1], [None], {}, [["a"]]],
}


@requirement("wire:schema:type")
@every_table
async def test_a_value_of_another_type_is_refused(wire: Wire, table: DeclaredTable) -> None:
    record = least_record(table, "a")
    await wire.insert(table.logical, record)
    for name, field in table.fields.items():
        for value in WRONG.get(field.kind, []) if name != "id" else []:
            text = await wire.refusal("patch", table.logical, id="a", record={name: value})
            assert f"{name} of {table.name} must be" in text
    assert bare(await wire.load(table.logical, id="a")) == record


@requirement("wire:schema:type")
@pytest.mark.parametrize("record_id", [1, True, ["a"], {"a": 1}], ids=repr)
async def test_an_id_that_is_not_text_is_refused(wire: Wire, record_id: Value) -> None:
    text = await wire.refusal("insert", "mastra_threads", record={**thread("x"), "id": record_id})
    assert "id of mastra_threads must be string" in text


@requirement("wire:schema:closed")
@every_table
async def test_an_unknown_field_is_refused(wire: Wire, table: DeclaredTable) -> None:
    for name in ("nope", "_sequence", "_created", "Id"):
        record = least_record(table, "a", **{name: "x"})
        text = await wire.refusal("insert", table.logical, record=record)
        assert f"has no field {name}" in text
    assert await wire.ids(table.logical) == []


@requirement("wire:schema:type")
async def test_a_task_status_is_one_of_seven(wire: Wire) -> None:
    statuses = TASK_TABLE.choices["status"]
    await wire.insert(
        TASKS, *[least_record(TASK_TABLE, status, status=status) for status in statuses]
    )
    assert await wire.ids(TASKS) == list(statuses)
    others: list[Value] = ["done", "Pending", "", None, 1, [], ["pending"], {}]
    for status in others:
        record = least_record(TASK_TABLE, "a", status=status)
        text = await wire.refusal("insert", TASKS, record=record)
        assert "must be one of cancelled, completed, failed, pending" in text


@requirement("wire:schema:numbers")
@pytest.mark.parametrize(
    "number", [0, -1, 1.5, -0.1, 1e300, 5e-324, 2**53, -(2**53), 1_767_225_600_000.1234], ids=repr
)
async def test_a_number_is_read_back_exactly(wire: Wire, number: float) -> None:
    await wire.insert(SCHEDULES.logical, least_record(SCHEDULES, "a", next_fire_at=number))
    assert (await wire.load(SCHEDULES.logical, id="a"))["next_fire_at"] == number
    assert await wire.ids(SCHEDULES.logical, status="text", next_fire_at=number) == ["a"]


@requirement("wire:schema:text")
@pytest.mark.parametrize("text", ["", "\0", "a\0b", "é😀", '"', "'", "%_\\", " \n\t", "null", "0"])
async def test_any_text_is_read_back_and_found(wire: Wire, text: str) -> None:
    await wire.insert("mastra_threads", thread("a", title=text, resourceId=text))
    await wire.insert("mastra_threads", thread("b", resourceId=f"{text}x"))
    assert (await wire.load("mastra_threads", id="a"))["title"] == text
    assert await wire.ids("mastra_threads", resourceId=text) == ["a"]


# --- Workflow snapshots by their run


@pytest.fixture
async def runs(wire: Wire) -> None:
    """Four runs of two workflows."""
    rows = [("w", "r2", "x"), ("v", "r1", "x"), ("w", "r1", "y"), ("w", "r3", "x")]
    for number, (workflow, run, resource) in enumerate(rows):
        record = least_record(
            SNAPSHOTS, f"s{number}", workflow_name=workflow, run_id=run, resourceId=resource
        )
        await wire.insert("mastra_workflow_snapshot", record)


@requirement("wire:load:run")
@pytest.mark.usefixtures("runs")
async def test_a_snapshot_is_loaded_by_workflow_and_run(wire: Wire) -> None:
    table = "mastra_workflow_snapshot"
    assert (await wire.load(table, workflow_name="w", run_id="r1"))["id"] == "s2"
    assert (await wire.load(table, workflow_name="v", run_id="r1"))["id"] == "s1"
    assert await wire.load(table, workflow_name="w", run_id="r9") is None
    assert (await wire.load(table, id="s3", workflow_name="v", run_id="r1"))["id"] == "s3"
    assert (await wire.load(table, workflow_name="w"))["id"] == "s0"
    assert await wire.load(table, workflow_name="w", run_id=5) is None


@requirement("wire:load:run")
async def test_a_snapshot_may_be_an_object_or_text(wire: Wire) -> None:
    table = "mastra_workflow_snapshot"
    snapshots: list[Value] = [{"status": "running"}, '{"status":"running"}', None, [], 0]
    for snapshot in snapshots:
        await wire.insert(table, least_record(SNAPSHOTS, "a", snapshot=snapshot))
        assert (await wire.load(table, id="a"))["snapshot"] == snapshot


@requirement("wire:load:run")
async def test_names_that_make_the_same_id_are_told_apart_by_name_and_run(wire: Wire) -> None:
    table = "mastra_workflow_snapshot"
    for number, (workflow, run) in enumerate([("a", "b-c"), ("a-b", "c")]):
        record = least_record(SNAPSHOTS, f"{number}", workflow_name=workflow, run_id=run)
        await wire.insert(table, {**record, "createdAt": TIME})
    assert (await wire.load(table, workflow_name="a", run_id="b-c"))["id"] == "0"
    assert (await wire.load(table, workflow_name="a-b", run_id="c"))["id"] == "1"
