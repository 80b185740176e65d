"""Documents on the wire: tables nobody declared, and the limits of every document."""

from __future__ import annotations

from typing import Final

import pytest

from convex_memory.deployment import Deployment
from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import (
    ARRAY_ELEMENTS_MAX,
    DOCUMENT_BYTES_MAX,
    DOCUMENT_NESTING_MAX,
    FIELD_NAME_CHARS_MAX,
    OBJECT_FIELDS_MAX,
    QUERY_ROWS_MAX,
)
from convex_memory.values import Value
from tests.contract.requirements import requirement
from tests.contract.wire import (
    GENERIC,
    TASKS,
    VECTORS,
    Record,
    Wire,
    filters,
    message,
    record_of,
    thread,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


# --- Documents


@requirement("wire:documents")
async def test_inserting_a_document_replaces_it_whole(wire: Wire) -> None:
    await wire.insert(GENERIC, {"id": "a", "x": 1, "y": 2}, {"id": "b"}, {"id": "a", "z": 3})
    assert await wire.query(GENERIC) == [{"id": "a", "z": 3}, {"id": "b"}]


@requirement("wire:documents")
@pytest.mark.parametrize(
    ("record_id", "text"),
    [
        (5, "5"),
        (-5, "-5"),
        (1.5, "1.5"),
        (True, "true"),
        (2**53, "9007199254740992"),
        (1e21, "1e+21"),
    ],
)
async def test_documents_are_found_by_the_text_of_their_id(
    wire: Wire, record_id: Value, text: str
) -> None:
    await wire.insert(GENERIC, {"id": record_id, "x": 1})
    for key in (record_id, text):
        assert await wire.load(GENERIC, id=key) == {"id": record_id, "x": 1}
        assert await wire.result("loadMany", GENERIC, ids=[key]) == [{"id": record_id, "x": 1}]
        assert await wire.result("patch", GENERIC, id=key, record={"x": 1}) is True
    await wire.insert(GENERIC, {"id": text})
    assert await wire.query(GENERIC) == [{"id": text}]
    await wire.send("deleteMany", GENERIC, ids=[record_id])
    assert await wire.query(GENERIC) == []


@requirement("wire:documents")
async def test_a_document_keeps_every_value_and_has_no_system_fields(wire: Wire) -> None:
    record = {
        "id": "a",
        "numbers": [0, -1, 1.5, 1e300, 5e-324, 2**53],
        "texts": ["", "é😀", "\0", '"'],
        "others": [True, False, None, [], {}, [[{"x": [None]}]]],
        "_id": "mine",
        "_creationTime": 5,
        "": "no name",
        "with space": 1,
        "a.b": 1,
    }
    await wire.insert(GENERIC, record)
    assert await wire.load(GENERIC, id="a") == record


@requirement("wire:documents")
async def test_equal_ids_in_two_tables_are_two_documents(wire: Wire) -> None:
    for table in ("one", "two", "One", "one "):
        await wire.insert(table, {"id": "a", "table": table})
    await wire.send("deleteMany", "one", ids=["a"])
    assert await wire.query("one") == []
    for table in ("two", "One", "one "):
        assert await wire.query(table) == [{"id": "a", "table": table}]


@requirement("wire:documents:query")
async def test_documents_are_filtered_by_strict_equality_in_creation_order(wire: Wire) -> None:
    values = [1, "1", True, None, 1, False, 0, "", [1], {"x": 1}]
    records = [{"id": f"n{at}", "x": value} for at, value in enumerate(values)]
    await wire.insert_batch(GENERIC, [*records, {"id": "missing"}])
    expected: list[tuple[Value, list[str]]] = [
        (1, ["n0", "n4"]),
        ("1", ["n1"]),
        (True, ["n2"]),
        (None, ["n3"]),
        (False, ["n5"]),
        (0, ["n6"]),
        ("", ["n7"]),
        ([1], []),
        ({"x": 1}, []),
    ]
    for value, ids in expected:
        assert await wire.ids(GENERIC, x=value) == ids
    assert await wire.ids(GENERIC, x=1, id="n4") == ["n4"]
    assert await wire.ids(GENERIC, table=GENERIC) == []
    both = filters(x=1) + filters(x="1")
    assert await wire.result("queryTable", GENERIC, filters=both) == []


@requirement("wire:documents:query")
async def test_a_limit_looks_at_twice_as_many_documents(wire: Wire) -> None:
    records = [{"id": f"n{at}", "odd": at % 2, "late": at >= 4} for at in range(12)]
    await wire.insert_batch(GENERIC, records)

    async def limited(limit: Value, **equals: Value) -> list[str]:
        found = await wire.result("queryTable", GENERIC, filters=filters(**equals), limit=limit)
        return [record["id"] for record in found]

    assert await limited(2, odd=1) == ["n1", "n3"]
    assert await limited(3, late=True) == ["n4", "n5"]
    assert await limited(2, late=True) == []
    assert await limited(6, late=True) == [f"n{at}" for at in range(4, 10)]
    assert await limited(None, late=True) == [f"n{at}" for at in range(4, 12)]
    assert await limited(0, late=True) == [f"n{at}" for at in range(4, 12)]
    assert await limited(2.5) == ["n0", "n1"]
    assert await limited(0.5) == []


@requirement("wire:documents:cap")
async def test_ten_thousand_documents_are_read_at_most(wire: Wire) -> None:
    records: list[Record] = [{"id": f"n{at}"} for at in range(QUERY_ROWS_MAX)]
    records.append({"id": "last", "x": 1})
    await wire.insert_many(GENERIC, records)
    assert await wire.ids(GENERIC, x=1) == []
    assert await wire.load(GENERIC, x=1) is None
    assert await wire.load(GENERIC, id="last") == {"id": "last", "x": 1}
    found = await wire.result("queryTable", GENERIC, limit=6000)
    assert len(found) == 6000


# --- Limits of documents


def nested(levels: int) -> Value:
    value: Value = 1
    for _ in range(levels):
        value = {"in": value}
    return value


@requirement("wire:limits")
async def test_a_document_nests_sixteen_levels(wire: Wire) -> None:
    deepest = nested(DOCUMENT_NESTING_MAX - 1)
    await wire.insert("mastra_threads", thread("a", metadata=deepest))
    assert (await wire.load("mastra_threads", id="a"))["metadata"] == deepest
    record = thread("b", metadata=nested(DOCUMENT_NESTING_MAX))
    with pytest.raises(LimitExceeded, match="nested too deeply"):
        await wire.send("insert", "mastra_threads", record=record)
    await wire.insert(GENERIC, {"id": "a", "x": nested(DOCUMENT_NESTING_MAX - 2)})
    with pytest.raises(LimitExceeded, match="nested too deeply"):
        await wire.send(
            "insert", GENERIC, record={"id": "b", "x": nested(DOCUMENT_NESTING_MAX - 1)}
        )
    with pytest.raises(LimitExceeded, match="nested too deeply"):
        await wire.send("patch", GENERIC, id="a", record={"y": nested(DOCUMENT_NESTING_MAX)})
    assert await wire.query(GENERIC) == [{"id": "a", "x": nested(DOCUMENT_NESTING_MAX - 2)}]


@requirement("wire:limits")
async def test_a_document_holds_one_mebibyte(wire: Wire) -> None:
    room = "x" * (DOCUMENT_BYTES_MAX - 1000)
    await wire.insert("mastra_messages", message("a", content=room))
    assert len((await wire.load("mastra_messages", id="a"))["content"]) == len(room)
    with pytest.raises(LimitExceeded, match="1 MiB"):
        await wire.send(
            "insert", "mastra_messages", record=message("b", content="x" * DOCUMENT_BYTES_MAX)
        )
    with pytest.raises(LimitExceeded, match="1 MiB"):
        await wire.send("patch", "mastra_messages", id="a", record={"role": "x" * 1001})
    await wire.insert(GENERIC, {"id": "a", "x": room})
    with pytest.raises(LimitExceeded, match="1 MiB"):
        await wire.send("patch", GENERIC, id="a", record={"y": "é" * 500})
    assert await wire.ids("mastra_messages") == ["a"]
    assert await wire.ids(GENERIC, y=None) == []


@requirement("wire:limits")
async def test_an_array_holds_8192_elements_and_an_object_1024_fields(wire: Wire) -> None:
    longest = [0] * ARRAY_ELEMENTS_MAX
    widest = {f"f{number}": number for number in range(OBJECT_FIELDS_MAX)}
    await wire.insert(GENERIC, {"id": "a", "longest": longest, "widest": widest})
    assert await wire.load(GENERIC, id="a") == {"id": "a", "longest": longest, "widest": widest}
    too_many: list[Value] = [[*longest, 0], {**widest, "more": 0}]
    for too_much in too_many:
        with pytest.raises(LimitExceeded, match="holds at most"):
            await wire.send("insert", GENERIC, record={"id": "b", "x": too_much})
    with pytest.raises(LimitExceeded, match="1025 fields"):
        await wire.send("patch", GENERIC, id="a", record={"widest": {**widest, "more": 0}})
    assert await wire.ids(GENERIC) == ["a"]


@requirement("wire:limits")
async def test_a_merge_may_not_grow_a_document_beyond_its_fields(wire: Wire) -> None:
    fields = {f"f{number}": number for number in range(OBJECT_FIELDS_MAX - 1)}
    await wire.insert(GENERIC, {"id": "a", **fields})
    with pytest.raises(LimitExceeded, match="1025 fields"):
        await wire.send("patch", GENERIC, id="a", record={"more": 1})
    assert await wire.load(GENERIC, id="a") == {"id": "a", **fields}


NAMES: Final[dict[str, type[Exception]]] = {
    "$": InvalidArgument,
    "$set": InvalidArgument,
    "__proto__": InvalidArgument,
    "clé": InvalidArgument,
    "tab\t": InvalidArgument,
    "nul\0": InvalidArgument,
    "del\x7f": InvalidArgument,
    "x" * (FIELD_NAME_CHARS_MAX + 1): LimitExceeded,
}


@requirement("wire:names")
@pytest.mark.parametrize("table", ["mastra_threads", GENERIC, VECTORS, TASKS])
async def test_a_field_name_that_convex_refuses_is_refused_at_any_depth(
    wire: Wire, table: str
) -> None:
    for name, error in NAMES.items():
        for value in ({name: 1}, {"in": [{name: 1}]}):
            record: Record = {**record_of(table, "a"), "metadata": value}
            with pytest.raises(error, match="ield name"):
                await wire.send("insert", table, record=record)
    assert await wire.query(table) == []


@requirement("wire:names")
@pytest.mark.parametrize("name", ["a$", "_", "__proto", "~", "x" * FIELD_NAME_CHARS_MAX, "0"])
async def test_any_other_ascii_field_name_is_stored(wire: Wire, name: str) -> None:
    await wire.insert("mastra_threads", thread("a", metadata={name: {name: 1}}))
    assert (await wire.load("mastra_threads", id="a"))["metadata"] == {name: {name: 1}}
