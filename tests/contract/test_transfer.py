"""`memory/transfer:*`: rows out of a deployment as they are, and into one."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import CACHE_FUNCTION, Deployment
from convex_memory.errors import (
    Conflict,
    DimensionMismatch,
    FunctionError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
)
from convex_memory.limits import TRANSFER_ROWS_MAX
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.vector import ConvexVector
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire
from tests.declared_tables import DECLARED, DeclaredTable, least_record, whole_record

pytestmark = pytest.mark.anyio

any_examples = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
every_table = pytest.mark.parametrize("table", DECLARED.values(), ids=lambda table: table.name)

TIME: Final = "2026-01-01T00:00:00.000Z"
LATER: Final = 1_767_225_600_000 + 86_400_000
"""A day after the clock of the tests begins."""
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "mastra_workflow_snapshots": ("workflow_name", "run_id"),
    "mastra_vectors": ("indexName", "id"),
    "mastra_documents": ("table", "primaryKey"),
    "mastra_cache": ("key",),
    "mastra_cache_list_items": ("key", "index"),
}
"""The fields by which a row is known, where that is not its id."""

Row = dict[str, Any]


def key_of(table: DeclaredTable) -> tuple[str, ...]:
    """The fields by which a table's rows are known."""
    return KEYS.get(table.name, ("id",))


class Moving:
    """The functions, as whoever moves rows calls them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def tables(self) -> Any:
        return await self._deployment.call("query", "memory/transfer:tables", {})

    async def page(self, table: str, **arguments: Any) -> Any:
        return await self._deployment.call(
            "query", "memory/transfer:page", {"table": table, **arguments}
        )

    async def rows(self, table: str, **arguments: Any) -> list[Row]:
        """Every row of a table, in the order in which they come."""
        rows: list[Row] = []
        cursor = None
        while True:
            more: Row = {} if cursor is None else {"cursor": cursor}
            answer = await self.page(table, **arguments, **more)
            rows += [json.loads(text) for text in answer["rows"]]
            cursor = answer["cursor"]
            if cursor is None:
                return rows

    async def notes(self, table: str) -> dict[int, Row]:
        """What is noted of the rows of a table's first page, by position."""
        answer = await self.page(table)
        return {int(position): json.loads(text) for position, text in answer["notes"]}

    async def restore_noted(self, table: str, *noted: tuple[Row, Row], **arguments: Any) -> Row:
        """Restore rows, each with what is noted of it."""
        notes = [[at, json.dumps(each)] for at, (_, each) in enumerate(noted) if each]
        return await self.restore(table, *(row for row, _ in noted), notes=notes, **arguments)

    async def restore(self, table: str, *rows: Row, **arguments: Any) -> Row:
        texts = [json.dumps(row, ensure_ascii=False) for row in rows]
        return await self.restore_texts(table, texts, **arguments)

    async def restore_texts(self, table: str, texts: Sequence[str], **arguments: Any) -> Row:
        answer: Any = await self._deployment.call(
            "mutation",
            "memory/transfer:restore",
            {"table": table, "rows": list(texts), **arguments},
        )
        return dict(answer)

    async def refused(self, table: str, *rows: Row, **arguments: Any) -> FunctionError:
        """Restore rows that must be refused."""
        with pytest.raises(FunctionError) as caught:
            await self.restore(table, *rows, **arguments)
        return caught.value


@pytest.fixture
def moving(deployment: Deployment) -> Moving:
    return Moving(deployment)


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


def answer(
    done: int,
    *,
    stored: int = 0,
    replaced: int = 0,
    unchanged: int = 0,
    dropped: int = 0,
    kept: Sequence[int] = (),
) -> Row:
    """What `restore` says."""
    return {
        "done": done,
        "stored": stored,
        "replaced": replaced,
        "unchanged": unchanged,
        "dropped": dropped,
        "kept": list(kept),
    }


def records(table: DeclaredTable, count: int = 3) -> list[Row]:
    """Rows of a table with different keys: the first has every field, the others the fewest."""
    made = []
    for number in range(count):
        row = whole_record(table, "0") if number == 0 else least_record(table, "0")
        if "id" not in table.fields:
            del row["id"]
        for name in key_of(table):
            row[name] = number if name == "index" else f"{name}-{number} \N{SNOWMAN}"
        row |= {"mastra_cache_list_items": {"key": "list"}}.get(table.name, {})
        row |= {"mastra_cache": {"expiresAt": (None, LATER, None)[number]}}.get(table.name, {})
        made.append(row)
    return made


def changed(table: DeclaredTable, row: Row) -> Row:
    """The same row with other content."""
    if table.name == "mastra_vectors":
        return row | {"embedding": [0.25, 2.5]}
    if table.name == "mastra_documents":
        return row | {"record": "other"}
    fixed = (*key_of(table), *table.choices, "resourceId")
    texts = (name for name, field in table.fields.items() if field.kind == "string")
    return row | {next(name for name in texts if name not in fixed): "other"}


async def begin(moving: Moving, table: str) -> None:
    """Store what rows of a table are nothing without."""
    if table == "mastra_cache_list_items":
        await moving.restore("mastra_cache", list_row("list", 3))


def list_row(key: str, length: int, **fields: Any) -> Row:
    row = {"key": key, "keyPrefix": "p:", "kind": "list", "counter": length, "expiresAt": None}
    return row | fields


def item(key: str, index: int, value: str = "1") -> Row:
    return {"key": key, "keyPrefix": "p:", "index": index, "value": value}


def thread(thread_id: str = "t", **fields: Any) -> Row:
    row = {"id": thread_id, "resourceId": "ann", "title": "", "createdAt": TIME, "updatedAt": TIME}
    return row | fields


def message(message_id: str, text: str = "hello", **fields: Any) -> Row:
    content = json.dumps({"format": 2, "parts": [{"type": "text", "text": text}]})
    row = {
        "id": message_id,
        "thread_id": "t",
        "content": content,
        "role": "user",
        "type": "v2",
        "createdAt": TIME,
        "resourceId": "ann",
    }
    return row | fields


# --- Tables


@requirement("transfer:tables")
async def test_every_table_is_named_in_the_order_in_which_it_moves(
    moving: Moving,
    native_vector: ConvexNativeVector,
    native_indexes: Mapping[str, NativeIndex],
) -> None:
    await moving.restore("mastra_threads", thread("a"), thread("b"))
    await native_vector.upsert("articles", [[1, 0, 0]], ids=["a"])
    described = {each["table"]: each for each in (await moving.tables())["tables"]}
    assert list(described)[: len(DECLARED)] == list(DECLARED)
    assert described["mastra_threads"]["rows"] == 2
    assert "native" not in described["mastra_threads"]
    table = native_indexes["articles"].table_name
    fields = {"dimension": 3, "idField": "id", "vectorField": "embedding"}
    assert described[table]["native"] == fields
    assert not [name for name in described if name.startswith(("memory_", "native_"))]


# --- There and back


@every_table
@requirement("transfer:round-trip")
async def test_rows_come_out_as_they_went_in_and_in_their_order(
    moving: Moving, table: DeclaredTable
) -> None:
    rows = records(table)
    await begin(moving, table.name)
    assert await moving.restore(table.name, *rows) == answer(3, stored=3)
    assert await moving.rows(table.name) == rows


@every_table
@requirement("transfer:again")
async def test_storing_rows_again_changes_nothing(moving: Moving, table: DeclaredTable) -> None:
    rows = records(table)
    await begin(moving, table.name)
    await moving.restore(table.name, *rows)
    for policy in ("keep", "replace"):
        again = await moving.restore(table.name, *rows, onExisting=policy)
        assert again == answer(3, unchanged=3)
    assert await moving.rows(table.name) == rows


@every_table
@requirement("transfer:keep")
async def test_a_row_with_other_content_is_kept(moving: Moving, table: DeclaredTable) -> None:
    rows = records(table)
    await begin(moving, table.name)
    await moving.restore(table.name, *rows[:2])
    others = [rows[0], changed(table, rows[1]), rows[2]]
    assert await moving.restore(table.name, *others) == answer(3, stored=1, unchanged=1, kept=[1])
    assert await moving.rows(table.name) == rows


@every_table
@requirement("transfer:replace")
async def test_a_replaced_row_is_the_new_one_and_nothing_of_the_old(
    moving: Moving, table: DeclaredTable
) -> None:
    whole = records(table)[0]
    await begin(moving, table.name)
    await moving.restore(table.name, whole)
    required = {name for name, field in table.fields.items() if not field.optional}
    least = {name: value for name, value in whole.items() if name in required | set(key_of(table))}
    new = changed(table, least)
    assert await moving.restore(table.name, new, onExisting="replace") == answer(1, replaced=1)
    assert await moving.rows(table.name) == [new]


# --- Values

NUMBERS: Final = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.just(-0.0),
)
NAMES: Final = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8).filter(
    lambda name: not name.startswith(("$", "_"))
)
VALUES: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS: Final = st.dictionaries(NAMES, VALUES, max_size=5)
FLOAT32: Final = st.floats(allow_nan=False, allow_infinity=False, width=32)
FLOAT64: Final = st.floats(allow_nan=False, allow_infinity=False)


def exact(value: Any) -> Any:
    """A value in which what Python takes for equal differs where Convex differs."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return struct.pack("<d", value)
    if isinstance(value, list):
        return [exact(item) for item in value]
    if list(value) == ["$float"]:
        return exact(-0.0)
    return {name: exact(item) for name, item in value.items()}


@any_examples
@given(record=OBJECTS, metadata=OBJECTS, cached=VALUES, texts=st.lists(st.text(), max_size=3))
@requirement("transfer:values")
async def test_any_value_comes_out_as_it_went_in(
    moving: Moving, record: Row, metadata: Row, cached: Any, texts: list[str]
) -> None:
    value = json.dumps(cached)
    sent = {
        "mastra_documents": {"table": "books", "primaryKey": "\N{SNOWMAN}", "record": record},
        "mastra_threads": thread(metadata=metadata, title="".join(texts)),
        "mastra_vectors": {
            "id": "v",
            "indexName": "i",
            "embedding": [1.0, 2.0],
            "metadata": metadata,
        },
        "mastra_cache": list_row("k", 0, kind="value", value=value),
    }
    for table, row in sent.items():
        await moving.restore(table, row, onExisting="replace")
        [found] = await moving.rows(table)
        assert exact(found) == exact(row)
        assert await moving.restore(table, found) == answer(1, unchanged=1)


@any_examples
@given(
    narrow=st.lists(FLOAT32, min_size=4, max_size=4),
    wide=st.lists(FLOAT64, min_size=4, max_size=4),
)
@requirement("transfer:values")
async def test_vectors_of_either_width_come_out_exactly(
    moving: Moving, narrow: list[float], wide: list[float]
) -> None:
    rows = [
        {"id": "narrow", "indexName": "i", "embedding": narrow},
        {"id": "wide", "indexName": "i", "embedding": wide},
    ]
    await moving.restore("mastra_vectors", *rows, onExisting="replace")
    assert exact(await moving.rows("mastra_vectors")) == exact(rows)
    assert await moving.restore("mastra_vectors", *rows) == answer(2, unchanged=2)


@requirement("transfer:values")
async def test_null_is_not_absent_and_true_is_not_one(moving: Moving) -> None:
    rows = [
        {"table": "t", "primaryKey": key, "record": record}
        for key, record in {"a": {"x": None}, "b": {}, "c": {"x": True}, "d": {"x": 1}}.items()
    ]
    await moving.restore("mastra_documents", *rows)
    found = await moving.rows("mastra_documents")
    assert [exact(row) for row in found] == [exact(row) for row in rows]
    for own, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        mixed = rows[own] | {"record": rows[other]["record"]}
        assert await moving.restore("mastra_documents", mixed) == answer(1, kept=[0])


@requirement("transfer:values")
async def test_what_only_convex_holds_moves_within_convex(moving: Moving, leg: str) -> None:
    special = {
        "integer": {"$integer": "BwAAAAAAAAA="},
        "bytes": {"$bytes": "AAEC/w=="},
        "nan": {"$float": "AAAAAAAA+H8="},
        "infinity": {"$float": "AAAAAAAA8H8="},
    }
    row = {"table": "t", "primaryKey": "p", "record": special}
    if leg == "convex-test":
        assert await moving.restore("mastra_documents", row) == answer(1, stored=1)
        assert await moving.rows("mastra_documents") == [row]
        assert await moving.restore("mastra_documents", row) == answer(1, unchanged=1)
        return
    for name, what in (("integer", "int64"), ("bytes", "bytes"), ("nan", "not finite")):
        alone = row | {"record": {name: special[name]}}
        refused = await moving.refused("mastra_documents", alone)
        assert isinstance(refused, InvalidArgument)
        assert what in refused.message
    assert await moving.rows("mastra_documents") == []


# --- Dry runs


@requirement("transfer:dry-run")
async def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    moving: Moving, wire: Wire
) -> None:
    rows = [thread("a"), thread("b"), thread("c")]
    await moving.restore("mastra_threads", *rows[:2])
    others = [rows[0], thread("b", title="new"), rows[2]]
    kept = await moving.restore("mastra_threads", *others, dryRun=True)
    assert kept == answer(3, stored=1, unchanged=1, kept=[1])
    replaced = await moving.restore("mastra_threads", *others, dryRun=True, onExisting="replace")
    assert replaced == answer(3, stored=1, unchanged=1, replaced=1)
    cached = [list_row("l", 2), item("l", 0), item("l", 1)]
    for table, row in zip(("mastra_cache", *["mastra_cache_list_items"] * 2), cached, strict=True):
        assert await moving.restore(table, row, dryRun=True) == answer(1, stored=1)
    assert await moving.rows("mastra_threads") == rows[:2]
    assert await moving.rows("mastra_cache") == []
    assert await moving.rows("mastra_cache_list_items") == []


# --- What is derived


@requirement("transfer:derived")
async def test_what_was_restored_is_searched_counted_and_followed(
    moving: Moving, deployment: Deployment, vector: ConvexVector
) -> None:
    await moving.restore("mastra_threads", thread())
    await moving.restore("mastra_messages", message("m", "a quaint teapot"), message("n"))
    index = {"id": "i", "indexName": "i", "metric": "cosine", "createdAt": TIME, "dimension": 3}
    await moving.restore("mastra_vector_indexes", index)
    vectors = [
        {"id": f"v{n}", "indexName": "i", "embedding": [1, n, 0], "metadata": {"n": n}}
        for n in range(3)
    ]
    await moving.restore("mastra_vectors", *vectors)
    # Replacing takes what was derived of the old row along.
    await moving.restore("mastra_messages", message("n", "a teapot"), onExisting="replace")
    moved = vectors[1] | {"embedding": [-1, 0, 0]}
    await moving.restore("mastra_vectors", moved, onExisting="replace")

    found: Any = await deployment.call(
        "query", "memory/search:messages", {"query": "teapots", "limit": 9}
    )
    assert {hit["message"]["id"] for hit in found["hits"]} == {"m", "n"}
    found = await deployment.call("query", "memory/search:messages", {"query": "hello", "limit": 9})
    assert found["hits"] == []
    matches = await vector.query("i", [1, 0, 0], top_k=3)
    assert [match.id for match in matches.matches] == ["v0", "v2", "v1"]
    stats: Any = await deployment.call("query", "memory/meta:stats", {})
    assert (stats["threads"], stats["messages"], stats["vectors"]) == (1, 2, 3)
    changes: Any = await deployment.call("query", "memory/changes:list", {"after": 0, "limit": 100})
    assert [(each["table"], each["id"], each["kind"]) for each in changes["changes"]] == [
        ("mastra_threads", "t", "insert"),
        ("mastra_messages", "m", "insert"),
        ("mastra_messages", "n", "insert"),
        ("mastra_vector_indexes", "i", "insert"),
        ("mastra_messages", "n", "update"),
    ]


# --- Pages


@requirement("transfer:pages")
async def test_pages_end_after_so_many_rows_or_bytes(moving: Moving) -> None:
    rows = [message(f"m{n}") for n in range(25)]
    await moving.restore("mastra_messages", *rows)
    for arguments in ({"limit": 1}, {"limit": 7}, {"limit": 25}, {"bytesMax": 300}, {}):
        assert await moving.rows("mastra_messages", **arguments) == rows
    first = await moving.page("mastra_messages", limit=10)
    assert len(first["rows"]) == 10
    short = await moving.page("mastra_messages", bytesMax=300)
    assert 0 < len(short["rows"]) < 5
    assert (await moving.page("mastra_messages", limit=500))["cursor"] is None


@requirement("transfer:pages")
async def test_rows_that_come_and_go_meanwhile_take_no_other_along(
    moving: Moving, wire: Wire
) -> None:
    rows = [message(f"m{n}") for n in range(10)]
    await moving.restore("mastra_messages", *rows)
    page = await moving.page("mastra_messages", limit=4)
    seen = [json.loads(text)["id"] for text in page["rows"]]
    # The row at which the page ended, one before it and one after it.
    await wire.send("deleteMany", "mastra_messages", ids=["m3", "m0", "m6"])
    await moving.restore("mastra_messages", message("new"))
    while page["cursor"] is not None:
        page = await moving.page("mastra_messages", limit=2, cursor=page["cursor"])
        seen += [json.loads(text)["id"] for text in page["rows"]]
    assert seen == ["m0", "m1", "m2", "m3", "m4", "m5", "m7", "m8", "m9", "new"]


@requirement("transfer:pages:large")
async def test_rows_of_almost_a_mebibyte_move(moving: Moving) -> None:
    # Control characters take six characters of JSON each, quotes two.
    texts = ["\0" * 1_000_000, '"' * 1_040_000, "\N{SNOWMAN}" * 340_000]
    rows = [
        {"table": "t", "primaryKey": str(n), "record": {"text": text}}
        for n, text in enumerate(texts)
    ]
    rows.append({"table": "t", "primaryKey": "v", "record": {"n": [[0.1] * 8000] * 13}})
    for row in rows:
        assert await moving.restore("mastra_documents", row) == answer(1, stored=1)
    found = await moving.rows("mastra_documents")
    assert found == rows
    for row in rows:
        assert await moving.restore("mastra_documents", row) == answer(1, unchanged=1)


@requirement("transfer:pages:large")
async def test_what_does_not_fit_one_transaction_is_left_to_the_next(moving: Moving) -> None:
    rows = [message(f"m{n}", "x" * 700_000) for n in range(12)]
    done = calls = 0
    while done < len(rows):
        outcome = await moving.restore("mastra_messages", *rows[done:])
        assert outcome == answer(int(outcome["done"]), stored=int(outcome["done"]))
        done += int(outcome["done"])
        calls += 1
        assert calls <= len(rows)
    assert await moving.rows("mastra_messages") == rows


# --- What is as good as gone


@requirement("transfer:removed:messages")
async def test_messages_of_a_removed_thread_stay_gone(
    moving: Moving, deployment: Deployment
) -> None:
    old = [message(f"m{n}", f"old {n}") for n in range(2500)]
    await moving.restore("mastra_threads", thread())
    for start in range(0, len(old), TRANSFER_ROWS_MAX):
        await moving.restore("mastra_messages", *old[start : start + TRANSFER_ROWS_MAX])
    answered: Any = await deployment.call("mutation", "memory/threads:remove", {"threadId": "t"})
    assert answered["removedMessages"] == 2500
    assert await moving.rows("mastra_messages") == []
    # Begun again, with a message under the id of one that may still wait to be removed.
    await moving.restore("mastra_threads", thread())
    new = [message("m2499", "new"), message("other", "new")]
    assert await moving.restore("mastra_messages", *new) == answer(2, stored=2)
    while answered["hasMore"]:
        answered = await deployment.call("mutation", "memory/threads:remove", {"threadId": "-"})
    assert await moving.rows("mastra_messages") == new


@requirement("transfer:cache:dead")
async def test_expired_entries_neither_move_nor_hinder(
    moving: Moving, clock: Clock, deployment: Deployment
) -> None:
    ends = clock.now_ms() + 1000
    await moving.restore(
        "mastra_cache",
        list_row("v", 0, kind="value", value="1", expiresAt=ends),
        list_row("l", 2, expiresAt=ends),
        list_row("n", 7, kind="counter"),
    )
    await moving.restore("mastra_cache_list_items", item("l", 0, '"old"'), item("l", 1, '"old"'))
    clock.advance_ms(1000)
    assert await moving.rows("mastra_cache") == [list_row("n", 7, kind="counter")]
    assert await moving.rows("mastra_cache_list_items") == []
    late = list_row("x", 0, kind="value", value="1", expiresAt=ends)
    assert await moving.restore("mastra_cache", late) == answer(1, dropped=1)
    # In the place of what is dead comes the new, whatever the policy, and nothing of the old.
    assert await moving.restore("mastra_cache", list_row("l", 2)) == answer(1, stored=1)
    outcome = await moving.restore("mastra_cache_list_items", item("l", 0), item("l", 1))
    assert outcome == answer(2, stored=2)
    assert await moving.rows("mastra_cache_list_items") == [item("l", 0), item("l", 1)]


@requirement("transfer:cache:dead")
async def test_a_key_that_is_being_deleted_is_as_good_as_gone(
    moving: Moving, deployment: Deployment
) -> None:
    await moving.restore("mastra_cache", list_row("l", 60))
    await moving.restore("mastra_cache_list_items", *(item("l", n) for n in range(60)))
    request = {"op": "delete", "key": "l"}
    assert await deployment.call("mutation", CACHE_FUNCTION, request) == {
        "ok": True,
        "hasMore": True,
    }
    assert await moving.rows("mastra_cache") == []
    assert await moving.rows("mastra_cache_list_items") == []
    stray = await moving.restore("mastra_cache_list_items", item("l", 40, '"stray"'))
    assert stray == answer(1, dropped=1)
    assert await moving.restore("mastra_cache", list_row("l", 1)) == answer(1, stored=1)
    await moving.restore("mastra_cache_list_items", item("l", 0, '"new"'))
    assert await moving.rows("mastra_cache_list_items") == [item("l", 0, '"new"')]


@requirement("transfer:cache:lists")
async def test_a_list_in_the_place_of_a_longer_one_is_no_longer_than_it_says(
    moving: Moving, cache: ConvexServerCache, namespace: str
) -> None:
    key = f"{namespace}:l"
    for value in range(5):
        await cache.list_push("l", value)
    keys = [row for row in await moving.rows("mastra_cache") if row["key"] == key]
    assert [row["counter"] for row in keys] == [5]
    shorter = keys[0] | {"counter": 2}
    kept = await moving.restore("mastra_cache", shorter)
    assert kept == answer(1, kept=[0])
    beyond = await moving.restore("mastra_cache_list_items", item(key, 7))
    assert beyond == answer(1, dropped=1)
    replaced = await moving.restore("mastra_cache", shorter, onExisting="replace")
    assert replaced == answer(1, replaced=1)
    assert await cache.list_push("l", "next") == 3
    assert await cache.list_from_to("l", 0, -1) == [0, 1, "next"]


@requirement("transfer:cache:lists")
async def test_a_very_long_list_is_replaced_in_several_calls(moving: Moving) -> None:
    key, count = "l", 4500
    await moving.restore("mastra_cache", list_row(key, count))
    items = [item(key, n) for n in range(count)]
    for start in range(0, count, TRANSFER_ROWS_MAX):
        await moving.restore("mastra_cache_list_items", *items[start : start + TRANSFER_ROWS_MAX])
    value = list_row(key, 0, kind="value", value='"short"')
    rows = [list_row("before", 1, kind="counter"), value, list_row("after", 1, kind="counter")]
    done: list[int] = []
    while sum(done) < len(rows):
        rest = rows[sum(done) :]
        outcome = await moving.restore("mastra_cache", *rest, onExisting="replace")
        done.append(int(outcome["done"]))
        assert len(done) < 10
        if sum(done) < 2:
            # Until the last of it is gone, nobody sees a part of the list.
            assert await moving.rows("mastra_cache_list_items") == []
    assert done[0] == 1
    assert 0 in done
    assert await moving.rows("mastra_cache") == [rows[1], rows[0], rows[2]]
    assert await moving.rows("mastra_cache_list_items") == []


# --- Notes


@requirement("transfer:notes")
async def test_what_is_noted_of_rows_comes_out_as_it_went_in(moving: Moving) -> None:
    soon = {"expiresAt": LATER}
    threads = [(thread("t"), soon), (thread("u"), {})]
    messages = [
        (message("a"), {"threadExpiresAt": LATER, "expiresAt": LATER - 1}),
        (message("b", thread_id="u"), {"supersededBy": "c"}),
        (message("c", thread_id="u"), {}),
    ]
    for table, noted in (("mastra_threads", threads), ("mastra_messages", messages)):
        count = len(noted)
        assert await moving.restore_noted(table, *noted) == answer(count, stored=count)
        assert await moving.rows(table) == [row for row, _ in noted]
        expected = {at: notes for at, (_, notes) in enumerate(noted) if notes}
        assert await moving.notes(table) == expected
        assert await moving.restore_noted(table, *noted) == answer(count, unchanged=count)
    # A note is as much a part of a row as its fields.
    plain: list[tuple[Row, Row]] = [(row, {}) for row, _ in messages]
    assert await moving.restore_noted("mastra_messages", *plain) == answer(
        3, unchanged=1, kept=[0, 1]
    )
    replaced = await moving.restore_noted("mastra_messages", *plain, onExisting="replace")
    assert replaced == answer(3, unchanged=1, replaced=2)
    assert await moving.notes("mastra_messages") == {0: {"threadExpiresAt": LATER}}


@requirement("transfer:notes:expiry")
async def test_what_has_expired_neither_moves_nor_lives_on(moving: Moving, clock: Clock) -> None:
    ends = clock.now_ms() + 1000
    threads = [(thread("t"), {"expiresAt": ends}), (thread("u"), {})]
    messages = [
        (message("a"), {"threadExpiresAt": ends}),
        (message("b", thread_id="u"), {"expiresAt": ends}),
        (message("c", thread_id="u"), {}),
    ]
    await moving.restore_noted("mastra_threads", *threads)
    await moving.restore_noted("mastra_messages", *messages)
    clock.advance_ms(1000)
    assert await moving.rows("mastra_threads") == [thread("u")]
    assert await moving.rows("mastra_messages") == [message("c", thread_id="u")]
    again = await moving.restore_noted("mastra_threads", *threads)
    assert again == answer(2, unchanged=1, dropped=1)
    again = await moving.restore_noted("mastra_messages", *messages)
    assert again == answer(3, unchanged=1, dropped=2)
    assert await moving.rows("mastra_messages") == [message("c", thread_id="u")]


@pytest.mark.parametrize("order", ["the older first", "the newer first"])
@requirement("transfer:notes:succession")
async def test_what_was_superseded_is_not_searched(
    moving: Moving, deployment: Deployment, order: str
) -> None:
    older = (message("old", "a teapot"), {"supersededBy": "new"})
    newer: tuple[Row, Row] = (message("new", "another teapot"), {})
    pair = (older, newer) if order == "the older first" else (newer, older)
    await moving.restore("mastra_threads", thread())
    for each in pair:
        await moving.restore_noted("mastra_messages", each)
    found: Any = await deployment.call(
        "query", "memory/search:messages", {"query": "teapot", "limit": 9}
    )
    assert [hit["message"]["id"] for hit in found["hits"]] == ["new"]
    assert list((await moving.notes("mastra_messages")).values()) == [{"supersededBy": "new"}]


INDEX: Final[Row] = {
    "id": "i",
    "indexName": "i",
    "metric": "cosine",
    "createdAt": TIME,
    "dimension": 3,
}
EMBEDDER: Final = "tests:three"


def vector(vector_id: str, **fields: Any) -> Row:
    return {"id": vector_id, "indexName": "i", "embedding": [1, 0, 0]} | fields


@requirement("transfer:notes:embedders")
async def test_texts_move_with_the_vectors_that_were_made_of_them(
    moving: Moving, deployment: Deployment
) -> None:
    bound = {"embedder": EMBEDDER, "ofMessages": False}
    noted = [(vector(each), {"embedder": EMBEDDER, "text": f"about {each}"}) for each in "ab"]
    await moving.restore_noted("mastra_vector_indexes", (INDEX, bound))
    assert await moving.restore_noted("mastra_vectors", *noted) == answer(2, stored=2)
    assert await moving.restore_noted("mastra_vectors", *noted) == answer(2, unchanged=2)
    again = await moving.restore_noted("mastra_vector_indexes", (INDEX, bound))
    assert again == answer(1, unchanged=1)
    assert await moving.notes("mastra_vector_indexes") == {0: bound}
    assert await moving.notes("mastra_vectors") == dict(enumerate(notes for _, notes in noted))
    described: Any = await deployment.call("query", "memory/vectors:describe", {"indexName": "i"})
    assert (described["embedder"], described["pending"]) == (EMBEDDER, 0)


@requirement("transfer:notes:embedders")
async def test_vectors_of_another_origin_are_refused(moving: Moving) -> None:
    bound = {"embedder": EMBEDDER, "ofMessages": False}
    await moving.restore_noted("mastra_vector_indexes", (INDEX, bound))
    for notes in ({}, {"embedder": "another"}):
        for table, row in (("mastra_vectors", vector("a")), ("mastra_vector_indexes", INDEX)):
            with pytest.raises(Conflict, match="of texts by tests:three"):
                await moving.restore_noted(table, (row, notes), onExisting="replace")
    others = INDEX | {"id": "j", "indexName": "j"}
    await moving.restore("mastra_vector_indexes", others)
    await moving.restore("mastra_vectors", vector("a", indexName="j"))
    with pytest.raises(Conflict, match="come from callers"):
        await moving.restore_noted("mastra_vector_indexes", (others, bound))


@pytest.mark.parametrize("order", ["messages first", "vectors first"])
@requirement("transfer:notes:messages")
async def test_messages_whose_vectors_move_need_no_new_ones(
    moving: Moving, deployment: Deployment, order: str
) -> None:
    name = "memory_messages_3"
    index = INDEX | {"id": name, "indexName": name}
    notes = {"embedder": EMBEDDER, "ofMessages": True}
    await moving.restore_noted("mastra_vector_indexes", (index, notes))
    metadata = {"message_id": "a", "created_at": TIME}
    rows: dict[str, list[tuple[Row, Row]]] = {
        "mastra_messages": [(message(each), {}) for each in "abc"],
        "mastra_vectors": [
            (vector("a", indexName=name, metadata=metadata), {"embedder": EMBEDDER}),
            (vector("c", indexName=name, metadata={"created_at": "else"}), {"embedder": EMBEDDER}),
        ],
    }
    await moving.restore("mastra_threads", thread())
    tables = list(rows) if order == "messages first" else list(rows)[::-1]
    for table in tables:
        await moving.restore_noted(table, *rows[table])
    status: Any = await deployment.call("query", "memory/embeddings:status", {})
    assert (status["indexName"], status["embedder"]) == (name, EMBEDDER)
    # Of a message that is another one here, the vector is left out where that can be seen.
    assert status["pending"] == (2 if order == "messages first" else 1)


@requirement("transfer:notes")
async def test_notes_that_cannot_be_are_refused(moving: Moving) -> None:
    for table, notes in (
        ("mastra_messages", {"expiresAt": "soon"}),
        ("mastra_messages", {"expiresAt": True}),
        ("mastra_messages", {"text": "x"}),
        ("mastra_threads", {"supersededBy": "x"}),
        ("mastra_vector_indexes", {"embedder": 5}),
        ("mastra_vectors", {"text": "x" * 300_000}),
        ("mastra_resources", {"expiresAt": 1}),
    ):
        with pytest.raises(InvalidArgument) as caught:
            await moving.restore_noted(table, ({}, notes))
        assert caught.value.details["position"] == 0
    for pairs in ([[0]], [[1, "{}"]], [["0", "{}"]], [[0, 5]]):
        with pytest.raises(InvalidArgument):
            await moving.restore("mastra_threads", {}, notes=pairs)


# --- Native vector tables


@requirement("transfer:native")
async def test_rows_of_a_native_vector_table_move_whole(
    moving: Moving,
    native_vector: ConvexNativeVector,
    native_indexes: Mapping[str, NativeIndex],
) -> None:
    table = native_indexes["articles"].table_name
    fields = {"dimension": 3, "idField": "id", "vectorField": "embedding"}
    rows: list[Row] = [
        {"id": "a", "embedding": [0.1, -0.0, 1.0]},
        {"id": "b", "embedding": [0, 1, 0], "metadata": {"lang": "en", "x": [1]}, "lang": "en"},
    ]
    assert await moving.restore(table, *rows, native=fields) == answer(2, stored=2)
    assert exact(await moving.rows(table)) == exact(rows)
    assert await moving.restore(table, *rows, native=fields) == answer(2, unchanged=2)
    found = await native_vector.query("articles", [0, 1, 0], top_k=1, filter={"lang": "en"})
    assert [match.id for match in found.matches] == ["b"]
    other = {"id": "b", "embedding": [1, 0, 0]}
    assert await moving.restore(table, other, native=fields) == answer(1, kept=[0])
    replaced = await moving.restore(table, other, native=fields, onExisting="replace")
    assert replaced == answer(1, replaced=1)
    assert exact(await moving.rows(table, limit=1)) == exact([rows[0], other])


@requirement("transfer:native:refusals")
async def test_another_native_vector_table_is_refused(
    moving: Moving, native_indexes: Mapping[str, NativeIndex]
) -> None:
    table = native_indexes["articles"].table_name
    fields = {"dimension": 3, "idField": "id", "vectorField": "embedding"}
    await moving.restore(table, {"id": "a", "embedding": [1, 0, 0]}, native=fields)
    for other, kind in (
        ({"dimension": 4}, DimensionMismatch),
        ({"idField": "key"}, InvalidArgument),
        ({"vectorField": "values"}, InvalidArgument),
    ):
        # Without rows it is asked whether they could be stored.
        refused = await moving.refused(table, native=fields | other, dryRun=True)
        assert isinstance(refused, kind)
    for row, kind in (
        ({"id": "b", "embedding": [1, 0]}, DimensionMismatch),
        ({"id": "b", "embedding": ["1", 0, 0]}, InvalidArgument),
        ({"id": "b"}, InvalidArgument),
        ({"id": 7, "embedding": [1, 0, 0]}, InvalidArgument),
        ({"embedding": [1, 0, 0]}, InvalidArgument),
    ):
        refused = await moving.refused(table, row, native=fields)
        assert isinstance(refused, kind)
        assert refused.details["position"] == 0
    assert len(await moving.rows(table)) == 1


# --- Refusals


@requirement("transfer:refusals")
async def test_a_row_that_is_not_allowed_is_named_and_nothing_is_stored(moving: Moving) -> None:
    good = thread("good")
    deep: Any = 1
    for _ in range(16):
        deep = [deep]
    for bad, kind, word in (
        (thread("t", title=None), InvalidArgument, "title"),
        (thread("t", title=5), InvalidArgument, "title"),
        ({"id": "t"}, InvalidArgument, "resourceId"),
        (thread("t") | {"_id": "x"}, InvalidArgument, "_id"),
        (thread("t", colour="red"), InvalidArgument, "colour"),
        (thread("t", metadata={"$set": 1}), InvalidArgument, ""),
        (thread("t", metadata={"\N{SNOWMAN}": 1}), InvalidArgument, ""),
        (thread("t", metadata=deep), LimitExceeded, "nested"),
        (thread("t", metadata="x" * 1_048_600), LimitExceeded, "1,048,576"),
        (thread("t", metadata=[0] * 8193), LimitExceeded, "8192"),
    ):
        refused = await moving.refused("mastra_threads", good, bad)
        assert isinstance(refused, kind), refused.message
        assert word in refused.message
        assert refused.message.startswith("rows[1]: ")
        assert refused.details["position"] == 1
    no_key = {name: value for name, value in good.items() if name != "id"}
    refused = await moving.refused("mastra_threads", no_key)
    assert "needs the field id" in refused.message
    assert await moving.rows("mastra_threads") == []


@requirement("transfer:refusals")
async def test_text_that_is_no_row_is_refused(moving: Moving) -> None:
    for text in ("", "{", "[]", "null", '"text"', "{}x", '{"id": NaN}', '{"id": {"$float": "?"}}'):
        with pytest.raises(InvalidArgument) as caught:
            await moving.restore_texts("mastra_threads", [text])
        assert caught.value.details["position"] == 0


@requirement("transfer:conflicts")
async def test_a_thread_of_another_resource_is_not_mixed_with_ours(moving: Moving) -> None:
    await moving.restore("mastra_threads", thread("t", resourceId="ann"))
    for policy in ("keep", "replace"):
        theirs = thread("t", resourceId="bob")
        refused = await moving.refused("mastra_threads", theirs, onExisting=policy)
        assert isinstance(refused, Conflict)
        assert "another resource" in refused.message


@requirement("transfer:conflicts")
async def test_an_index_of_another_dimension_is_not_mixed_with_ours(moving: Moving) -> None:
    index = {"id": "i", "indexName": "i", "metric": "cosine", "createdAt": TIME, "dimension": 3}
    await moving.restore("mastra_vector_indexes", index)
    for policy in ("keep", "replace"):
        other = index | {"dimension": 4}
        refused = await moving.refused("mastra_vector_indexes", other, onExisting=policy)
        assert isinstance(refused, Conflict)
        assert "3 dimensions" in refused.message
        assert "not 4" in refused.message


@requirement("transfer:arguments")
async def test_arguments_that_make_no_sense_are_refused(moving: Moving) -> None:
    for table in ("nothing", "memory_message_texts", "memory_vectors_384", "native_vectors"):
        with pytest.raises(NotFound, match="mastra_threads"):
            await moving.page(table)
        assert isinstance(await moving.refused(table), NotFound)
    for arguments in (
        {"limit": 0},
        {"limit": 501},
        {"limit": 1.5},
        {"bytesMax": 0},
        {"bytesMax": 2**20 + 1},
        {"cursor": "nonsense"},
    ):
        with pytest.raises(InvalidArgument):
            await moving.page("mastra_threads", **arguments)
    await moving.restore("mastra_threads", thread("a"), thread("b"))
    cursor = (await moving.page("mastra_threads", limit=1))["cursor"]
    with pytest.raises(InvalidArgument, match="cursor"):
        await moving.page("mastra_messages", cursor=cursor)
    with pytest.raises(InvalidArgument, match="500"):
        await moving.restore_texts("mastra_threads", ["{}"] * 501)
    refused = await moving.refused("mastra_threads", thread("c"), onExisting="merge")
    assert "keep, replace" in refused.message
