"""The storage function on the wire: its envelope, routes, errors and system fields."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest

from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.http import create_app
from convex_memory.errors import FunctionError, LimitExceeded
from convex_memory.limits import (
    DOCUMENT_BYTES_MAX,
)
from convex_memory.values import Value
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import (
    GENERIC,
    LOGICAL,
    TASKS,
    TYPED_NAMES,
    VECTORS,
    Record,
    Wire,
    bare,
    record_of,
    thread,
)

pytestmark = pytest.mark.anyio

every_table = pytest.mark.parametrize("table", LOGICAL)


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


# --- The envelope, as it travels


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with EmbeddedDeployment(tmp_path / "served") as served:
        transport = httpx2.ASGITransport(app=create_app(served, admin_key="key"))
        headers = {"Authorization": "Convex key"}
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://served.test", headers=headers, trust_env=False
        ) as client:
            yield client


async def posted(http: httpx2.AsyncClient, **args: Any) -> Any:
    body = {"path": STORAGE_FUNCTION, "args": args, "format": "json"}
    answer = await http.post("/api/mutation", json=body)
    assert answer.status_code == 200
    return answer.json()


@requirement("wire:envelope")
async def test_a_result_travels_as_success(http: httpx2.AsyncClient) -> None:
    reply = await posted(http, op="insert", tableName="mastra_threads", record=thread("a"))
    assert (reply["status"], reply["value"]) == ("success", {"ok": True})
    reply = await posted(http, op="load", tableName="mastra_threads", keys={"id": "a"})
    assert bare(reply["value"]["result"]) == thread("a")


@requirement("wire:envelope")
async def test_a_soft_error_travels_as_success(http: httpx2.AsyncClient) -> None:
    reply = await posted(http, op="nope", tableName="mastra_threads")
    assert reply["status"] == "success"
    assert reply["value"] == {"ok": False, "error": "Unsupported operation nope"}


@requirement("wire:envelope")
async def test_a_hard_error_travels_as_an_error(http: httpx2.AsyncClient) -> None:
    reply = await posted(http, op="insert", tableName="mastra_threads", record={"id": ""})
    assert reply["status"] == "error"
    assert "value" not in reply
    assert "Record is missing an id" in reply["errorMessage"]
    assert reply["errorData"]["code"] == "invalid_argument"


@requirement("wire:envelope")
async def test_creation_times_travel_with_every_digit(http: httpx2.AsyncClient) -> None:
    await posted(http, op="insert", tableName="mastra_threads", record=thread("a"))
    reply = await posted(http, op="load", tableName="mastra_threads", keys={"id": "a"})
    row = reply["value"]["result"]
    assert json.loads(json.dumps(row["_creationTime"])) == row["_creationTime"]
    reply = await posted(http, op="patch", tableName="mastra_threads", id="a", record=row)
    assert reply["value"] == {"ok": True, "result": True}


@requirement("wire:envelope")
@every_table
async def test_replies_have_the_keys_of_the_protocol_and_no_others(wire: Wire, table: str) -> None:
    record = record_of(table, "a")
    assert await wire.send("insert", table, record=record) == {"ok": True}
    assert await wire.send("batchInsert", table, records=[record]) == {"ok": True}
    assert await wire.send("patch", table, id="a", record={}) == {"ok": True, "result": True}
    for op, fields in (("load", {"keys": {"id": "a"}}), ("loadMany", {"ids": ["a"]})):
        assert set(await wire.send(op, table, **fields)) == {"ok", "result"}
    assert set(await wire.send("queryTable", table)) == {"ok", "result"}
    assert await wire.send("deleteMany", table, ids=["a"]) == {"ok": True}
    assert await wire.send("clearTable", table) == {"ok": True, "hasMore": False}
    assert await wire.send("dropTable", table) == {"ok": True, "hasMore": False}


# --- Routing


@requirement("wire:table-name")
@pytest.mark.parametrize("op", ["load", "insert", "queryTable", "nope", "updateThread"])
async def test_a_request_without_a_table_is_a_soft_error(wire: Wire, op: str) -> None:
    said = "Cannot read properties of undefined (reading 'startsWith')"
    requests: list[Record] = [{"op": op}, {"op": op, "tableName": None}, {"op": op, "keys": {}}]
    for request in requests:
        assert await wire.post(request) == {"ok": False, "error": said}


@requirement("wire:unknown")
@every_table
async def test_an_unknown_operation_is_a_soft_error(wire: Wire, table: str) -> None:
    for op in ("nope", "", "Insert", "toString", "claimRunOwnership", "fenced"):
        reply = await wire.send(op, table, record={"id": "a"})
        assert reply == {"ok": False, "error": f"Unsupported operation {op}"}
    reply = await wire.post({"tableName": table})
    assert reply == {"ok": False, "error": "Unsupported operation undefined"}


@requirement("wire:unknown")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS, GENERIC, VECTORS])
async def test_an_operation_that_is_not_text_is_unknown(wire: Wire, table: str) -> None:
    for op in (None, 5, True, [], {}, ["load"], {"load": 1}):
        reply = await wire.post({"op": op, "tableName": table})
        assert reply["ok"] is False
        assert reply["error"].startswith("Unsupported operation ")


SPECIAL: Final = (
    "updateThread updateResource createSchedule recordScheduleTrigger listDueSchedules "
    "updateScheduleNextFire updateSchedule listScheduleTriggers deleteScheduleTriggers "
    "mergeWorkflowState mergeWorkflowStepResult omGetLatest omGetHistory omUpdateActive "
    "omAppendBufferedChunk omSwapBuffered omUpdateBufferedReflection omSwapBufferedReflection "
    "omUpdateConfig"
).split()


@requirement("wire:unknown")
@pytest.mark.parametrize("table", [GENERIC, VECTORS])
async def test_operations_of_one_table_are_unknown_to_documents_and_vectors(
    wire: Wire, table: str
) -> None:
    for op in SPECIAL:
        reply = await wire.send(op, table, id="a")
        assert reply == {"ok": False, "error": f"Unsupported operation {op}"}


@requirement("wire:other-table")
@pytest.mark.parametrize(
    ("op", "own"), [("updateThread", "mastra_threads"), ("updateResource", "mastra_resources")]
)
async def test_updates_of_threads_and_resources_are_softly_refused_elsewhere(
    wire: Wire, op: str, own: str
) -> None:
    for table in (name for name in TYPED_NAMES if name != own):
        reply = await wire.send(op, table, id="a", resourceId="a")
        assert reply == {"ok": False, "error": f"Unsupported operation {op} for table {table}"}


@requirement("wire:routing")
@pytest.mark.parametrize(
    "table",
    [
        "mastra_workflow_snapshots",
        "mastra_vectors",
        "mastra_documents",
        "mastra_cache",
        "mastra_cache_list_items",
        "native_vectors",
        "mastra_vector",
        "Mastra_threads",
        "mastra_workflow_run_owners",
        "sqlite_master",
        'x"; DROP TABLE mastra_threads; --',
        "été",
        "",
    ],
)
async def test_any_other_name_is_a_table_of_documents_of_its_own(wire: Wire, table: str) -> None:
    await wire.insert(GENERIC, {"id": "a", "of": "another"})
    await wire.insert("mastra_threads", thread("a"))
    await wire.insert(table, {"id": "a", "nested": {"x": [1, None]}})
    assert await wire.query(table) == [{"id": "a", "nested": {"x": [1, None]}}]
    assert await wire.load(GENERIC, id="a") == {"id": "a", "of": "another"}
    assert await wire.send("clearTable", table) == {"ok": True, "hasMore": False}
    assert await wire.query(table) == []
    assert await wire.ids(GENERIC) == ["a"]
    assert await wire.ids("mastra_threads") == ["a"]


@requirement("wire:routing")
async def test_the_table_of_indexes_is_no_vector_table(wire: Wire) -> None:
    record = record_of("mastra_vector_indexes", "shelf")
    await wire.insert("mastra_vector_indexes", record)
    assert bare(await wire.load("mastra_vector_indexes", id="shelf")) == record
    assert await wire.query(VECTORS) == []


# --- Errors and atomicity


@requirement("wire:hard-error")
@pytest.mark.parametrize("table", ["mastra_threads", GENERIC])
async def test_a_failure_on_these_tables_fails_the_call(wire: Wire, table: str) -> None:
    with pytest.raises(FunctionError, match="missing an id"):
        await wire.send("insert", table, record={})
    with pytest.raises(LimitExceeded, match="loadMany supports at most 10 ids per request"):
        await wire.send("loadMany", table, ids=[str(number) for number in range(11)])


@requirement("wire:soft-error")
@pytest.mark.parametrize("table", [TASKS, VECTORS])
async def test_a_failure_on_these_tables_is_an_answer(wire: Wire, table: str) -> None:
    ids: list[Value] = [str(number) for number in range(11)]
    said = "loadMany supports at most 10 ids per request"
    assert await wire.send("loadMany", table, ids=ids) == {"ok": False, "error": said}
    reply = await wire.send("insert", table, record={"id": "a", "nope": 1})
    assert set(reply) == {"ok", "error"}


@requirement("wire:rollback")
@pytest.mark.parametrize("table", [table for table in TYPED_NAMES if table != TASKS])
async def test_a_batch_whose_last_record_is_bad_leaves_nothing(wire: Wire, table: str) -> None:
    await assert_rolled_back(wire, table)


@requirement("wire:rollback:documents")
async def test_a_batch_whose_last_document_is_bad_leaves_nothing(wire: Wire) -> None:
    await assert_rolled_back(wire, GENERIC)


@requirement("wire:rollback:soft")
@pytest.mark.parametrize("table", [TASKS, VECTORS])
async def test_a_batch_that_is_softly_refused_leaves_nothing(wire: Wire, table: str) -> None:
    await assert_rolled_back(wire, table)


async def assert_rolled_back(wire: Wire, table: str) -> None:
    await wire.insert(table, record_of(table, "kept"))
    before = await wire.query(table)
    bad: dict[str, Value] = {"id": "bad", "embedding": "none", "nope": None}
    if table == GENERIC:
        bad = {"id": "bad", "text": "x" * DOCUMENT_BYTES_MAX}
    records: list[Value] = [record_of(table, f"n{number}") for number in range(30)]
    request: dict[str, Value] = {"records": [*records, record_of(table, "kept"), bad]}
    assert await wire.refusal("batchInsert", table, **request)
    assert await wire.query(table) == before


@requirement("wire:rollback")
async def test_a_refused_write_takes_nothing_of_others_with_it(
    wire: Wire, deployment: Deployment
) -> None:

    refused: list[str] = []

    async def write(number: int) -> None:
        good = number % 3 != 0
        records: list[Value] = [thread(f"{number}-a"), thread(f"{number}-b")]
        if good:
            await wire.send("batchInsert", "mastra_threads", records=records)
            return
        request: list[Value] = [*records, {"id": "bad"}]
        refused.append(await wire.refusal("batchInsert", "mastra_threads", records=request))

    async with anyio.create_task_group() as tasks:
        for number in range(24):
            tasks.start_soon(write, number)
    kept = {f"{number}-{side}" for number in range(24) if number % 3 for side in "ab"}
    assert set(await wire.ids("mastra_threads")) == kept
    assert len(refused) == 8


MALFORMED: Final[list[tuple[str, str, dict[str, Value]]]] = [
    ("insert", "record", {}),
    ("insert", "record", {"record": None}),
    ("insert", "record", {"record": "text"}),
    ("insert", "record", {"record": []}),
    ("batchInsert", "records", {}),
    ("batchInsert", "records", {"records": {"id": "a"}}),
    ("batchInsert", "records[0]", {"records": [None]}),
    ("batchInsert", "records[0]", {"records": ["a"]}),
    ("patch", "record", {"id": "a"}),
    ("patch", "record", {"id": "a", "record": 5}),
    ("load", "keys", {}),
    ("load", "keys", {"keys": "a"}),
    ("loadMany", "ids", {}),
    ("loadMany", "ids", {"ids": "a"}),
    ("loadMany", "ids[0]", {"ids": [["a"]]}),
    ("loadMany", "ids[1]", {"ids": ["a", {}]}),
    ("deleteMany", "ids", {}),
    ("deleteMany", "ids", {"ids": None}),
    ("deleteMany", "ids[1]", {"ids": ["a", {"id": "a"}]}),
]


@requirement("wire:arguments")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS, GENERIC, VECTORS])
async def test_malformed_arguments_are_refused_by_name(wire: Wire, table: str) -> None:
    await wire.insert(table, record_of(table, "a"))
    for op, named, fields in MALFORMED:
        text = await wire.refusal(op, table, **fields)
        assert text.startswith(f"{named} must be "), (op, fields)
    assert await wire.ids(table) == ["a"]


# --- System fields


@requirement("wire:system-fields")
@pytest.mark.parametrize("table", TYPED_NAMES)
async def test_rows_have_an_id_and_a_creation_time_that_stay(wire: Wire, table: str) -> None:
    await wire.insert(table, record_of(table, "a"))
    first = await wire.load(table, id="a")
    await wire.insert(table, record_of(table, "a"), record_of(table, "b"))
    await wire.send("patch", table, id="a", record={})
    again, other = await wire.query(table)
    assert again == first
    assert other["_creationTime"] > first["_creationTime"]
    assert other["_id"] != first["_id"]
    assert all(31 <= len(row["_id"]) <= 37 for row in (first, other))


@requirement("wire:system-fields:clock")
@pytest.mark.parametrize("table", TYPED_NAMES)
async def test_a_creation_time_is_that_of_the_clock(wire: Wire, table: str, clock: Clock) -> None:
    for record_id in ("a", "b"):
        clock.advance_ms(5000)
        await wire.insert(table, record_of(table, record_id))
        created = (await wire.load(table, id=record_id))["_creationTime"]
        assert 0 <= created - clock.now_ms() < 1


@requirement("wire:system-fields:fractions")
async def test_a_creation_time_keeps_fractions_of_a_millisecond(wire: Wire, clock: Clock) -> None:
    clock.advance_ms(0.375)
    await wire.insert("mastra_threads", thread("a"))
    assert (await wire.load("mastra_threads", id="a"))["_creationTime"] == clock.now_ms()


@requirement("wire:system-fields")
async def test_creation_times_rise_even_when_the_clock_stands_or_goes_back(
    wire: Wire, clock: Clock
) -> None:
    for step in (0, 0, 0.0625, -1000, 0, 2000):
        clock.advance_ms(step)
        number = len(await wire.ids("mastra_threads"))
        await wire.insert_batch("mastra_threads", [thread(f"{number}-{at}") for at in range(5)])
    times = [row["_creationTime"] for row in await wire.query("mastra_threads")]
    assert len(times) == 30
    assert times == sorted(set(times))


@requirement("wire:system-fields")
async def test_an_id_is_never_given_twice(wire: Wire) -> None:
    seen = set()
    for _ in range(5):
        await wire.insert("mastra_threads", thread("a"))
        seen.add((await wire.load("mastra_threads", id="a"))["_id"])
        await wire.send("deleteMany", "mastra_threads", ids=["a"])
    assert len(seen) == 5


@requirement("wire:system-fields")
async def test_tables_and_documents_never_share_an_id(wire: Wire) -> None:
    for table in LOGICAL:
        if table != GENERIC:
            await wire.insert(table, record_of(table, "a"))
    rows = [row for table in LOGICAL if table != GENERIC for row in await wire.query(table)]
    assert len({row["_id"] for row in rows}) == len(LOGICAL) - 1


@requirement("wire:system-fields:written")
@pytest.mark.parametrize("table", TYPED_NAMES)
async def test_a_row_can_be_written_back_as_it_was_read(
    wire: Wire, table: str, clock: Clock
) -> None:
    clock.advance_ms(1 / 3)
    await wire.insert(table, record_of(table, "a"))
    row = await wire.load(table, id="a")
    assert await wire.send("patch", table, id="a", record=row) == {"ok": True, "result": True}
    await wire.insert(table, row)
    await wire.insert_batch(table, [row])
    assert await wire.query(table) == [row]


@requirement("wire:system-fields:written")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS])
@pytest.mark.parametrize("op", ["insert", "batchInsert", "patch"])
async def test_other_system_fields_than_the_stored_ones_are_refused(
    wire: Wire, table: str, op: str
) -> None:
    await wire.insert(table, record_of(table, "a"), record_of(table, "b"))
    row, other = await wire.query(table)
    others: list[dict[str, Value]] = [
        {"_id": other["_id"]},
        {"_id": None},
        {"_creationTime": other["_creationTime"]},
        {"_creationTime": row["_creationTime"] + 0.25},
        {"_creationTime": str(row["_creationTime"])},
    ]
    for changed in others:
        record = {"id": "a", **changed}
        fields: dict[str, Value] = {"id": "a", "record": record, "records": [record]}
        assert next(iter(changed)) in await wire.refusal(op, table, **fields)
    assert await wire.query(table) == [row, other]


@requirement("wire:system-fields:new")
async def test_a_new_row_cannot_bring_system_fields(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a"))
    row = await wire.load("mastra_threads", id="a")
    await wire.send("deleteMany", "mastra_threads", ids=["a"])
    for name in ("_id", "_creationTime"):
        text = await wire.refusal("insert", "mastra_threads", record={**bare(row), name: row[name]})
        assert f"has no field {name}" in text
    assert await wire.ids("mastra_threads") == []
