"""The operations that every table of the storage function has."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.values import Value
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
many_examples = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


# --- insert


@requirement("wire:insert")
async def test_inserting_over_a_row_changes_only_the_fields_given(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", title="first", metadata={"x": 1, "y": 2}))
    before = await wire.load("mastra_threads", id="a")
    await wire.insert("mastra_threads", {"id": "a", "title": "second", "metadata": {"z": 3}})
    after = await wire.load("mastra_threads", id="a")
    assert after == {**before, "title": "second", "metadata": {"z": 3}}
    await wire.insert("mastra_threads", {"id": "a"})
    assert await wire.load("mastra_threads", id="a") == after


@requirement("wire:insert:refusals")
async def test_inserting_over_a_row_may_not_break_it(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a"))
    text = await wire.refusal("insert", "mastra_threads", record={"id": "a", "title": None})
    assert "title of mastra_threads must be string, not null" in text
    assert bare(await wire.load("mastra_threads", id="a")) == thread("a")


@requirement("wire:insert:missing-id")
@every_table
async def test_a_record_without_an_id_is_refused(wire: Wire, table: str) -> None:
    said = {
        GENERIC: f"Record for table {GENERIC} is missing an id",
        VECTORS: "Vector record is missing an id",
    }.get(table, "Record is missing an id")
    record = {name: value for name, value in record_of(table, "a").items() if name != "id"}
    for falsy in ({}, {"id": ""}, {"id": None}, {"id": 0}, {"id": False}):
        assert await wire.refusal("insert", table, record={**record, **falsy}) == said
    assert await wire.query(table) == []


# --- batchInsert


@requirement("wire:batch")
async def test_duplicates_in_a_batch_are_merged_field_by_field(wire: Wire) -> None:
    records = [
        thread("a", title="first", metadata={"x": 1}),
        thread("b"),
        {"id": "a", "title": "second"},
        {"id": "a", "metadata": {"y": 2}},
    ]
    await wire.insert_batch("mastra_threads", records)
    rows = [bare(row) for row in await wire.query("mastra_threads")]
    assert rows == [thread("a", title="second", metadata={"y": 2}), thread("b")]


@requirement("wire:batch")
async def test_halves_of_a_record_make_a_whole_in_a_batch(wire: Wire) -> None:
    whole = thread("a")
    half = {name: whole[name] for name in ("id", "title", "resourceId")}
    rest = {name: value for name, value in whole.items() if name == "id" or name not in half}
    await wire.insert_batch("mastra_threads", [half, rest])
    assert bare(await wire.load("mastra_threads", id="a")) == whole


@requirement("wire:batch")
async def test_of_duplicate_documents_in_a_batch_the_last_is_kept(wire: Wire) -> None:
    records: list[Record] = [
        {"id": 5, "x": 1},
        {"id": "b"},
        {"id": "5", "y": 2},
        {"id": 5.0, "z": 3},
    ]
    await wire.insert_batch(GENERIC, records)
    assert await wire.query(GENERIC) == [{"id": 5, "z": 3}, {"id": "b"}]


@requirement("wire:batch")
@every_table
async def test_records_without_an_id_are_left_out_of_a_batch(wire: Wire, table: str) -> None:
    falsy: list[Value] = [{}, {"id": ""}, {"id": None}, {"id": 0}, {"id": False}, {"nope": 1}]
    good = record_of(table, "a")
    assert await wire.send("batchInsert", table, records=[*falsy, good, *falsy]) == {"ok": True}
    assert await wire.ids(table) == ["a"]
    assert await wire.send("batchInsert", table, records=falsy) == {"ok": True}
    assert await wire.send("batchInsert", table, records=[]) == {"ok": True}
    assert await wire.ids(table) == ["a"]


@requirement("wire:batch")
@every_table
async def test_a_batch_may_be_larger_than_a_group(wire: Wire, table: str) -> None:
    ids = [f"n{number}" for number in range(60)]
    await wire.insert_batch(table, [record_of(table, record_id) for record_id in ids])
    assert await wire.ids(table) == ids


@requirement("wire:batch")
async def test_a_batch_changes_the_rows_there_are(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", title="first", metadata={"x": 1}))
    before = await wire.load("mastra_threads", id="a")
    await wire.insert_batch("mastra_threads", [{"id": "a", "title": "second"}, thread("b")])
    assert await wire.load("mastra_threads", id="a") == {**before, "title": "second"}
    await wire.insert_batch(GENERIC, [{"id": "a", "x": 1}])
    await wire.insert_batch(GENERIC, [{"id": "a", "y": 1}])
    assert await wire.query(GENERIC) == [{"id": "a", "y": 1}]


NEXT = count()
"""Examples share one deployment, so each has tables or ids of its own."""

IDS = st.sampled_from(["a", "b", "c", "1", "true", "", None, 0, 1, True, False])


@requirement("wire:batch")
@many_examples
@given(records=st.lists(st.fixed_dictionaries({"id": IDS}, optional={"x": IDS, "y": IDS})))
async def test_a_batch_of_documents_is_like_one_insert_after_the_other(
    wire: Wire, records: list[Record]
) -> None:
    number = next(NEXT)
    await wire.insert_batch(f"batch{number}", records)
    await wire.insert(f"single{number}", *[record for record in records if record["id"]])
    assert await wire.query(f"batch{number}") == await wire.query(f"single{number}")


@requirement("wire:batch")
@many_examples
@given(
    records=st.lists(
        st.builds(
            thread,
            st.sampled_from("abc"),
            title=st.text(max_size=2),
            metadata=st.none() | st.dictionaries(st.sampled_from("xy"), IDS),
        )
    )
)
async def test_a_batch_of_rows_is_like_one_insert_after_the_other(
    wire: Wire, records: list[Record]
) -> None:
    number = next(NEXT)
    sides: dict[str, list[Record]] = {}
    for side in ("batch", "single"):
        name = f"{side}{number}"
        sides[side] = [
            {**record, "id": f"{name}-{record['id']}", "resourceId": name} for record in records
        ]
    await wire.insert_batch("mastra_threads", sides["batch"])
    await wire.insert("mastra_threads", *sides["single"])
    stored = []
    for side in sides:
        rows = await wire.query("mastra_threads", resourceId=f"{side}{number}")
        stored.append([{**bare(row), "id": row["id"][-1], "resourceId": "same"} for row in rows])
    assert stored[0] == stored[1]


# --- patch


@requirement("wire:patch")
@every_table
async def test_a_patch_says_whether_there_was_a_row(wire: Wire, table: str) -> None:
    await wire.insert(table, record_of(table, "a"))
    before = await wire.query(table)
    for absent in ("b", "", "A"):
        assert await wire.result("patch", table, id=absent, record={}) is False
    assert await wire.result("patch", table, id="a", record={}) is True
    assert await wire.query(table) == before


@requirement("wire:patch")
@pytest.mark.parametrize("table", ["mastra_threads", GENERIC, VECTORS])
async def test_a_patch_without_an_id_finds_nothing(wire: Wire, table: str) -> None:
    await wire.insert(table, *[record_of(table, name) for name in ("None", "a")])
    for request in ({"id": None}, {}, {"id": 5}, {"id": True}):
        assert await wire.result("patch", table, record={}, **request) is False


@requirement("wire:patch")
async def test_a_patch_changes_the_fields_given_and_never_the_id(wire: Wire) -> None:
    await wire.insert("mastra_threads", thread("a", metadata={"x": 1}))
    before = await wire.load("mastra_threads", id="a")
    record: Record = {"id": "b", "title": "new", "metadata": {"y": [None]}}
    assert await wire.result("patch", "mastra_threads", id="a", record=record) is True
    after = await wire.load("mastra_threads", id="a")
    assert after == {**before, "title": "new", "metadata": {"y": [None]}}
    assert await wire.load("mastra_threads", id="b") is None


@requirement("wire:patch")
async def test_a_patch_of_a_document_merges_at_the_top_level(wire: Wire) -> None:
    await wire.insert(GENERIC, {"id": "a", "x": {"deep": 1}, "y": 2})
    record: Record = {"id": "b", "x": {"other": 1}, "z": None}
    assert await wire.result("patch", GENERIC, id="a", record=record) is True
    assert await wire.query(GENERIC) == [{"id": "a", "x": {"other": 1}, "y": 2, "z": None}]


# --- load, loadMany


@requirement("wire:load")
@every_table
async def test_a_row_is_loaded_by_its_id_whatever_the_other_keys(wire: Wire, table: str) -> None:
    await wire.insert(table, record_of(table, "a"), record_of(table, "b"))
    found = await wire.load(table, id="b")
    assert found["id"] == "b"
    assert await wire.load(table, id="b", nope=5) == found
    assert await wire.load(table, id="c") is None
    assert ("_id" in found) is (table != GENERIC)


@requirement("wire:load")
async def test_a_row_is_loaded_by_any_fields_that_all_equal(wire: Wire) -> None:
    threads = [thread("a", title="x"), thread("b", title="y"), thread("c", title="y", metadata=1)]
    await wire.insert("mastra_threads", *threads)
    for table in ("mastra_threads", GENERIC):
        if table == GENERIC:
            await wire.insert(GENERIC, *threads)
        assert (await wire.load(table, title="y"))["id"] == "b"
        assert (await wire.load(table, title="y", resourceId="r"))["id"] == "b"
        assert (await wire.load(table, metadata=1))["id"] == "c"
        assert (await wire.load(table, id="", title="y") or {}) == {}
        for keys in ({"title": "z"}, {"metadata": "1"}, {"metadata": True}, {"metadata": None}):
            assert await wire.load(table, **keys) is None
        assert await wire.load(table, title="y", nope=None) is None


@requirement("wire:load")
@pytest.mark.parametrize("table", [*TYPED_NAMES, GENERIC])
async def test_no_keys_load_the_oldest_row(wire: Wire, table: str) -> None:
    assert await wire.load(table) is None
    await wire.insert(table, record_of(table, "b"), record_of(table, "a"))
    assert (await wire.load(table))["id"] == "b"


@requirement("wire:load-many")
@every_table
async def test_many_rows_come_in_the_order_asked_for_once_each(wire: Wire, table: str) -> None:
    await wire.insert_batch(table, [record_of(table, record_id) for record_id in "abcd"])
    rows = {row["id"]: row for row in await wire.query(table)}
    found = await wire.result("loadMany", table, ids=["d", "nope", "b", "d", "a", "b"])
    assert found == [rows["d"], rows["b"], rows["a"]]
    assert await wire.result("loadMany", table, ids=[]) == []
    assert len(await wire.result("loadMany", table, ids=["a"] * 10)) == 1


@requirement("wire:load-many")
@every_table
async def test_more_than_ten_ids_are_refused_even_when_they_are_the_same(
    wire: Wire, table: str
) -> None:
    ids: list[Value] = ["a"] * 11
    said = await wire.refusal("loadMany", table, ids=ids)
    assert said == "loadMany supports at most 10 ids per request"


# --- deleteMany, clearTable, dropTable


@requirement("wire:delete-many")
@every_table
async def test_many_rows_are_deleted_and_absent_ones_left_alone(wire: Wire, table: str) -> None:
    ids = [f"n{number}" for number in range(60)]
    await wire.insert_batch(table, [record_of(table, record_id) for record_id in ids])
    doomed: list[Value] = ["n59", "nope", *ids[5:50], *ids[5:50], "", None]
    assert await wire.send("deleteMany", table, ids=doomed) == {"ok": True}
    assert await wire.ids(table) == [*ids[:5], *ids[50:59]]
    assert await wire.send("deleteMany", table, ids=doomed) == {"ok": True}
    assert await wire.send("deleteMany", table, ids=[]) == {"ok": True}


@requirement("wire:clear")
@pytest.mark.parametrize("op", ["clearTable", "dropTable"])
@every_table
async def test_clearing_takes_the_oldest_twenty_five_at_a_time(
    wire: Wire, table: str, op: str
) -> None:
    ids = [f"n{number}" for number in range(51)]
    await wire.insert_batch(table, [record_of(table, record_id) for record_id in ids])
    assert await wire.send(op, table) == {"ok": True, "hasMore": True}
    assert await wire.ids(table) == ids[25:]
    assert await wire.send(op, table) == {"ok": True, "hasMore": True}
    assert await wire.ids(table) == ids[50:]
    assert await wire.send(op, table) == {"ok": True, "hasMore": False}
    assert await wire.ids(table) == []
    await wire.insert(table, record_of(table, "again"))
    assert await wire.ids(table) == ["again"]


@requirement("wire:clear")
@pytest.mark.parametrize("table", ["mastra_threads", TASKS, GENERIC])
@pytest.mark.parametrize(("rows", "more"), [(0, False), (24, False), (25, False), (26, True)])
async def test_clearing_has_more_exactly_beyond_twenty_five(
    wire: Wire, table: str, rows: int, more: bool
) -> None:
    records = [record_of(table, f"n{number}") for number in range(rows)]
    await wire.insert_batch(table, records)
    assert await wire.send("clearTable", table) == {"ok": True, "hasMore": more}
    assert len(await wire.ids(table)) == max(0, rows - 25)
