"""`queryTable` on typed tables: indexes, order, filters, limits and hints."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.limits import (
    QUERY_ROWS_MAX,
)
from convex_memory.values import Value
from tests.contract.requirements import requirement
from tests.contract.wire import (
    GENERIC,
    TASKS,
    Record,
    Wire,
    bare,
    declared,
    filters,
    message,
    thread,
)
from tests.declared_tables import (
    TYPED,
    DeclaredTable,
    chosen_index,
    least_record,
    sample,
)

pytestmark = pytest.mark.anyio

SCHEDULES: Final = declared("mastra_schedules")
TASK_TABLE: Final = declared(TASKS)
OBSERVATIONS: Final = declared("mastra_observational_memory")
SNAPSHOTS: Final = declared("mastra_workflow_snapshot")
every_table = pytest.mark.parametrize("table", TYPED, ids=lambda table: table.logical)
many_examples = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


# --- The order of each index

ORDERS: Final[dict[str, tuple[str, list[Record], dict[str, Value]]]] = {
    "messages of a thread by createdAt": (
        "mastra_messages",
        [
            message("late", createdAt="2026-01-03T00:00:00.000Z"),
            message("early", createdAt="2026-01-01T00:00:00.000Z"),
            message("other", thread_id="u", createdAt="2026-01-02T00:00:00.000Z"),
            message("middle", createdAt="2026-01-02T00:00:00.000Z"),
        ],
        {"thread_id": "t"},
    ),
    "threads of a resource in creation order": (
        "mastra_threads",
        [
            thread("early", createdAt="2026-01-03T00:00:00.000Z"),
            thread("middle", createdAt="2026-01-01T00:00:00.000Z"),
            thread("other", resourceId="s"),
            thread("late", createdAt="2026-01-02T00:00:00.000Z"),
        ],
        {"resourceId": "r"},
    ),
    "schedules of a status by next_fire_at": (
        "mastra_schedules",
        [
            least_record(SCHEDULES, "late", next_fire_at=10, created_at=1),
            least_record(SCHEDULES, "early", next_fire_at=-3.5, created_at=2),
            least_record(SCHEDULES, "other", status="paused", next_fire_at=2),
            least_record(SCHEDULES, "middle", next_fire_at=9, created_at=3),
        ],
        {"status": "text"},
    ),
    "schedules of a workflow by status": (
        "mastra_schedules",
        [
            least_record(SCHEDULES, "late", workflow_id="w", status="paused", next_fire_at=1),
            least_record(SCHEDULES, "early", workflow_id="w", status="active", next_fire_at=3),
            least_record(SCHEDULES, "other", workflow_id="v", status="b", next_fire_at=2),
            least_record(SCHEDULES, "middle", workflow_id="w", status="done", next_fire_at=2),
        ],
        {"workflow_id": "w"},
    ),
    "schedules of an owner type by owner_id, missing before null before text": (
        "mastra_schedules",
        [
            least_record(SCHEDULES, "late", owner_type="agent", owner_id=""),
            least_record(SCHEDULES, "early", owner_type="agent"),
            least_record(SCHEDULES, "other", owner_type="user"),
            least_record(SCHEDULES, "middle", owner_type="agent", owner_id=None),
        ],
        {"owner_type": "agent"},
    ),
    "observational memory of a key by generationCount": (
        "mastra_observational_memory",
        [
            least_record(OBSERVATIONS, "late", lookupKey="k", generationCount=10),
            least_record(OBSERVATIONS, "early", lookupKey="k", generationCount=2),
            least_record(OBSERVATIONS, "other", lookupKey="l", generationCount=3),
            least_record(OBSERVATIONS, "middle", lookupKey="k", generationCount=9),
        ],
        {"lookupKey": "k"},
    ),
    "runs of a workflow by run_id": (
        "mastra_workflow_snapshot",
        [
            least_record(SNAPSHOTS, "late", workflow_name="w", run_id="r3"),
            least_record(SNAPSHOTS, "early", workflow_name="w", run_id="r1"),
            least_record(SNAPSHOTS, "other", workflow_name="v", run_id="r0"),
            least_record(SNAPSHOTS, "middle", workflow_name="w", run_id="r2"),
        ],
        {"workflow_name": "w"},
    ),
    "tasks of a status by createdAt": (
        "mastra_background_tasks",
        [
            least_record(TASK_TABLE, "late", createdAt="2026-01-03T00:00:00.000Z"),
            least_record(TASK_TABLE, "early", createdAt="2026-01-01T00:00:00.000Z"),
            least_record(TASK_TABLE, "other", status="running"),
            least_record(TASK_TABLE, "middle", createdAt="2026-01-02T00:00:00.000Z"),
        ],
        {"status": "pending"},
    ),
}


@requirement("wire:query:order")
@pytest.mark.parametrize(("table", "records", "equals"), ORDERS.values(), ids=ORDERS)
async def test_rows_come_in_the_order_of_the_index(
    wire: Wire, table: str, records: list[Record], equals: dict[str, Value]
) -> None:
    await wire.insert(table, *records)
    assert await wire.ids(table, **equals) == ["early", "middle", "late"]


def sort_key(value: Any) -> tuple[int, Any]:
    """Order values as indexes do; an absent one is an empty tuple."""
    if value == ():
        return 0, 0
    if value is None:
        return 1, 0
    if isinstance(value, str):
        return 4, value.encode()
    return 2, value


def as_queried(table: DeclaredTable, records: list[Record], equals: dict[str, Any]) -> list[Record]:
    """What a query has to answer, of records in the order of their creation."""
    fields, covered = chosen_index(table, equals)
    kept = [
        record
        for record in records
        if all(name in record and record[name] == equals[name] for name in equals)
    ]
    return sorted(
        kept, key=lambda record: [sort_key(record.get(name, ())) for name in fields[covered:]]
    )


def values_of(table: DeclaredTable, name: str) -> list[Any]:
    """A few values for an indexed field; an absent field is an empty tuple."""
    field = table.fields[name]
    if name in table.choices:
        return list(table.choices[name][:3])
    values: list[Any] = [3, 20, -1.5] if field.kind == "number" else ["b", "a", "é"]
    return values + [None] * field.nullable + [()] * field.optional


@requirement("wire:query:index")
@every_table
async def test_every_choice_of_fields_reads_the_index_that_covers_them_best(
    wire: Wire, table: DeclaredTable
) -> None:
    random = Random(5)
    indexed = sorted({name for fields in table.indexes.values() for name in fields} - {"id"})
    records = []
    for number in range(30):
        chosen = {name: random.choice(values_of(table, name)) for name in indexed}
        record = {**least_record(table, f"row {random.random()} {number}"), **chosen}
        records.append({name: value for name, value in record.items() if value != ()})
    await wire.insert_batch(table.logical, records)
    questions = [fields[:last] for fields in table.indexes.values() for last in (1, 2)]
    questions += [(one, other) for one in indexed for other in indexed if one < other]
    for names in dict.fromkeys(questions):
        like = random.choice([record for record in records if all(n in record for n in names)])
        equals = {name: like[name] for name in names}
        found = [bare(row) for row in await wire.query(table.logical, **equals)]
        assert found == as_queried(table, records, equals), equals


@requirement("wire:query:order")
async def test_without_filters_rows_come_in_creation_order(wire: Wire) -> None:
    for record_id in ("c", "a", "b"):
        await wire.insert("mastra_threads", thread(record_id))
    await wire.insert("mastra_threads", thread("c", title="changed"))
    assert await wire.ids("mastra_threads") == ["c", "a", "b"]
    await wire.send("deleteMany", "mastra_threads", ids=["c"])
    await wire.insert("mastra_threads", thread("c"))
    assert await wire.ids("mastra_threads") == ["a", "b", "c"]


@requirement("wire:query:order")
async def test_a_filter_that_no_index_has_leaves_creation_order(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("b", title="x"), thread("c"), thread("a", title="x"))
    assert await wire.ids("mastra_threads", title="x") == ["b", "a"]


@requirement("wire:query:ties")
async def test_equal_keys_come_in_the_order_of_creation_also_after_changes(wire: Wire) -> None:
    await wire.insert("mastra_messages", *[message(record_id) for record_id in "dbca"])
    await wire.send("patch", "mastra_messages", id="d", record={"content": "later"})
    assert await wire.ids("mastra_messages", thread_id="t") == ["d", "b", "c", "a"]
    await wire.send("patch", "mastra_messages", id="b", record={"createdAt": "2027"})
    assert await wire.ids("mastra_messages", thread_id="t") == ["d", "c", "a", "b"]


NEXT = count()
"""Examples share one deployment, so each has a thread or status of its own."""


@requirement("wire:query:order")
@many_examples
@given(times=st.lists(st.text(max_size=3), max_size=12))
async def test_messages_of_any_times_come_sorted_by_them(wire: Wire, times: list[str]) -> None:
    name = f"t{next(NEXT)}"
    records = [
        message(f"{name}-{number}", thread_id=name, createdAt=time)
        for number, time in enumerate(times)
    ]
    await wire.insert_batch("mastra_messages", records)
    expected = sorted(records, key=lambda record: record["createdAt"].encode())
    assert [bare(row) for row in await wire.query("mastra_messages", thread_id=name)] == expected


@requirement("wire:query:order")
@many_examples
@given(
    times=st.lists(
        st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
        max_size=12,
    )
)
async def test_schedules_of_any_times_come_sorted_by_them(wire: Wire, times: list[float]) -> None:
    name = f"s{next(NEXT)}"
    records = [
        least_record(SCHEDULES, f"{name}-{number}", status=name, next_fire_at=time)
        for number, time in enumerate(times)
    ]
    await wire.insert_batch(SCHEDULES.logical, records)
    expected = sorted(records, key=lambda record: float(record["next_fire_at"]))
    assert [bare(row) for row in await wire.query(SCHEDULES.logical, status=name)] == expected


# --- Filters


@requirement("wire:query:equality")
@pytest.mark.parametrize("value", [1, "1", True, False, 0, "", "true", 1.5, "1.5"], ids=repr)
async def test_equality_minds_types(wire: Wire, value: Value) -> None:
    values = [1, "1", True, False, 0, "", "true", 1.5, "1.5", None, [], {}]
    records = [thread(f"t{at}", metadata=each) for at, each in enumerate(values)]
    await wire.insert_batch("mastra_threads", records)
    (found,) = await wire.query("mastra_threads", metadata=value)
    assert (found["metadata"], type(found["metadata"]) is bool) == (value, type(value) is bool)


@requirement("wire:query:equality")
@pytest.mark.parametrize("value", [1, True, None, 1.0], ids=repr)
async def test_an_index_on_text_finds_no_other_type(wire: Wire, value: Value) -> None:
    texts = ["1", "true", "null", "", "0", "1.0"]
    await wire.insert("mastra_threads", *[thread(text or "-", resourceId=text) for text in texts])
    assert await wire.ids("mastra_threads", resourceId=value) == []
    assert await wire.ids("mastra_threads", id=value) == []


@requirement("wire:query:equality")
@pytest.mark.parametrize("value", ["1", True, None, "", [1]], ids=repr)
async def test_an_index_on_numbers_finds_no_other_type(wire: Wire, value: Value) -> None:
    records = [
        least_record(OBSERVATIONS, f"g{number}", lookupKey="k", generationCount=number)
        for number in (0, 1)
    ]
    await wire.insert(OBSERVATIONS.logical, *records)
    found = await wire.ids(OBSERVATIONS.logical, lookupKey="k", generationCount=value)
    assert found == []
    assert await wire.ids(OBSERVATIONS.logical, lookupKey="k", generationCount=1.0) == ["g1"]


@requirement("wire:query:equality:nested")
async def test_objects_and_arrays_equal_nothing(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", metadata={"x": 1}), thread("b", metadata=[1]))
    assert await wire.ids("mastra_threads", metadata={"x": 1}) == []
    assert await wire.ids("mastra_threads", metadata=[1]) == []


@requirement("wire:query:null")
@pytest.mark.parametrize(
    ("name", "by_index"), [("owner_id", True), ("timezone", False), ("last_fire_at", False)]
)
async def test_null_matches_an_explicit_null_and_not_a_missing_field(
    wire: Wire, name: str, by_index: bool
) -> None:
    assert (chosen_index(SCHEDULES, [name])[1] > 0) is by_index
    await wire.insert(
        SCHEDULES.logical,
        least_record(SCHEDULES, "missing"),
        least_record(SCHEDULES, "null", **{name: None}),
        least_record(SCHEDULES, "value", **{name: sample(SCHEDULES, name)}),
    )
    assert await wire.ids(SCHEDULES.logical, **{name: None}) == ["null"]
    assert await wire.ids(SCHEDULES.logical, status="text", **{name: None}) == ["null"]


@requirement("wire:query:equality")
async def test_a_field_that_the_table_does_not_have_matches_nothing(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a"))
    for value in (None, "", "a", 0):
        assert await wire.ids("mastra_threads", nope=value) == []


@requirement("wire:query:equality")
async def test_system_fields_can_be_filtered_by(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a"), thread("b"))
    row = await wire.load("mastra_threads", id="b")
    assert await wire.ids("mastra_threads", _id=row["_id"]) == ["b"]
    assert await wire.ids("mastra_threads", _creationTime=row["_creationTime"]) == ["b"]


@requirement("wire:query:duplicates")
async def test_of_two_filters_on_one_indexed_field_the_last_counts(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", resourceId="x"), thread("b", resourceId="y"))
    twice = filters(resourceId="x") + filters(resourceId="y")
    found = await wire.result("queryTable", "mastra_threads", filters=twice)
    assert [row["id"] for row in found] == ["b"]


@requirement("wire:query:duplicates")
async def test_two_filters_on_a_field_without_index_must_both_hold(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", title="x"), thread("b", title="y"))
    twice = filters(title="x") + filters(title="y")
    assert await wire.result("queryTable", "mastra_threads", filters=twice) == []
    same = filters(title="y") + filters(title="y")
    found = await wire.result("queryTable", "mastra_threads", filters=same)
    assert [row["id"] for row in found] == ["b"]


@requirement("wire:query:limit")
@pytest.mark.parametrize(
    ("limit", "rows"),
    [(0, 4), (None, 4), (1, 1), (1.5, 1), (0.5, 0), (2, 2), (4, 4), (5, 4), (1e300, 4)],
)
async def test_a_limit_cuts_and_none_is_no_limit(wire: Wire, limit: Value, rows: int) -> None:
    await assert_cut(wire, limit, rows)


@requirement("wire:query:limit:fractions")
async def test_a_limit_is_cut_to_a_whole_number(wire: Wire) -> None:
    await assert_cut(wire, 3.999, 3)


async def assert_cut(wire: Wire, limit: Value, rows: int) -> None:
    await wire.insert_batch("mastra_threads", [thread(f"t{number}") for number in range(4)])
    for chosen in ([], filters(resourceId="r"), filters(title="")):
        found = await wire.result("queryTable", "mastra_threads", filters=chosen, limit=limit)
        assert [row["id"] for row in found] == [f"t{number}" for number in range(rows)]


@requirement("wire:query:limit:refusals")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS, GENERIC])
async def test_a_limit_that_is_negative_or_no_number_is_refused(wire: Wire, table: str) -> None:
    limits: list[Value] = [-1, -0.5, True, "1", [1]]
    for limit in limits:
        text = await wire.refusal("queryTable", table, limit=limit)
        assert "limit must be a number that is not negative" in text


@requirement("wire:query:limit")
async def test_a_limit_counts_rows_that_match(wire: Wire) -> None:
    records = [thread(f"t{at}", title="x" if at % 5 == 4 else "") for at in range(20)]
    await wire.insert_batch("mastra_threads", records)
    found = await wire.result(
        "queryTable", "mastra_threads", filters=filters(title="x", resourceId="r"), limit=3
    )
    assert [row["id"] for row in found] == ["t4", "t9", "t14"]


@requirement("wire:query:limit")
async def test_pages_are_not_for_typed_tables(wire: Wire) -> None:
    await wire.insert_batch("mastra_threads", [thread(f"t{number}") for number in range(4)])
    reply = await wire.send("queryTable", "mastra_threads", pageSize=1, cursor="anything")
    assert set(reply) == {"ok", "result"}
    assert len(reply["result"]) == 4


@requirement("wire:query:cap")
async def test_a_query_reads_ten_thousand_rows_at_most(wire: Wire) -> None:
    records = [
        {**least_record(declared("mastra_channel_config"), f"c{number}"), "data": ""}
        for number in range(QUERY_ROWS_MAX + 1)
    ]
    await wire.insert_many("mastra_channel_config", records)
    for limit in (None, 9_000_000):
        found = await wire.result("queryTable", "mastra_channel_config", limit=limit)
        assert len(found) == QUERY_ROWS_MAX
        assert found[-1]["id"] == f"c{QUERY_ROWS_MAX - 1}"
    last = f"c{QUERY_ROWS_MAX}"
    assert await wire.ids("mastra_channel_config", id=last, data="") == [last]
    assert await wire.load("mastra_channel_config", id=last) is not None


MALFORMED: Final[list[Value]] = ["x", {"field": "id"}, [1], [{"field": "id"}], [{"value": 1}]]


@requirement("wire:query:filters:refusals")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS, GENERIC])
async def test_malformed_filters_are_refused(wire: Wire, table: str) -> None:
    for malformed in MALFORMED:
        assert "field, value" in await wire.refusal("queryTable", table, filters=malformed)


@requirement("wire:query:filters")
@pytest.mark.parametrize("none", [None, []], ids=repr)
async def test_no_filters_can_be_written_in_two_ways(wire: Wire, none: Value) -> None:
    await wire.insert("mastra_threads", thread("a"))
    assert len(await wire.result("queryTable", "mastra_threads", filters=none)) == 1


# --- Hints


@pytest.fixture
async def runs(wire: Wire) -> None:
    """Four runs of two workflows."""
    rows = [("w", "r2", "x"), ("v", "r1", "x"), ("w", "r1", "y"), ("w", "r3", "x")]
    for number, (workflow, run, resource) in enumerate(rows):
        record = least_record(
            SNAPSHOTS, f"s{number}", workflow_name=workflow, run_id=run, resourceId=resource
        )
        await wire.insert("mastra_workflow_snapshot", record)


HINTS: Final[list[tuple[Record, Record, list[str]]]] = [
    ({"index": "by_workflow", "workflowName": "w"}, {}, ["s0", "s2", "s3"]),
    ({"index": "by_workflow", "workflowName": "w"}, {"resourceId": "x"}, ["s0", "s3"]),
    ({"index": "by_workflow", "workflowName": "w"}, {"workflow_name": "v"}, []),
    ({"index": "by_workflow", "workflowName": "nope"}, {}, []),
    ({"index": "by_workflow"}, {}, []),
    ({"index": "by_workflow", "workflowName": 5}, {}, []),
    ({"index": "by_workflow_run", "workflowName": "w", "runId": "r1"}, {}, ["s2"]),
    ({"index": "by_workflow_run", "workflowName": "w", "runId": "r1"}, {"resourceId": "x"}, []),
    ({"index": "by_workflow_run", "workflowName": "w"}, {}, []),
    ({"index": "by_resource"}, {}, ["s0", "s1", "s2", "s3"]),
    ({"index": "nope"}, {"workflow_name": "w"}, ["s0", "s2", "s3"]),
    ({}, {"run_id": "r1"}, ["s1", "s2"]),
]


@requirement("wire:query:hint")
@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(("hint", "equals", "ids"), HINTS, ids=repr)
async def test_a_hint_replaces_the_choice_of_an_index(
    wire: Wire, hint: Record, equals: Record, ids: list[str]
) -> None:
    found = await wire.result(
        "queryTable", "mastra_workflow_snapshot", indexHint=hint, filters=filters(**equals)
    )
    assert [row["id"] for row in found] == ids


@requirement("wire:query:hint")
@pytest.mark.usefixtures("runs")
async def test_a_limit_cuts_behind_a_hint(wire: Wire) -> None:
    hint = {"index": "by_workflow", "workflowName": "w"}
    found = await wire.result("queryTable", "mastra_workflow_snapshot", indexHint=hint, limit=2)
    assert [row["id"] for row in found] == ["s0", "s2"]


@requirement("wire:query:hint:refusals")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS])
@pytest.mark.parametrize("index", ["by_workflow", "by_workflow_run"])
async def test_a_hint_for_an_index_that_the_table_lacks_is_refused(
    wire: Wire, table: str, index: str
) -> None:
    hint = {"index": index, "workflowName": "w", "runId": "r"}
    text = await wire.refusal("queryTable", table, indexHint=hint)
    assert text == f"{table} has no index {index}."
