"""ConvexServerCache, and `mastra/cache:handle` under it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, cast

import anyio
import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import CACHE_FUNCTION, Deployment, Kind
from convex_memory.errors import (
    Conflict,
    FunctionError,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
)
from convex_memory.limits import CACHE_BATCHES_MAX, CACHE_DELETE_ITEMS_MAX
from convex_memory.values import Value
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio

BATCH = CACHE_DELETE_ITEMS_MAX


class Clock(Protocol):
    def now_ms(self) -> float: ...
    def advance_ms(self, milliseconds: float) -> None: ...


class Recorded:
    """A deployment that answers from a list and remembers how it was called."""

    def __init__(self, *answers: Value) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, int | None, bool | None]] = []

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.calls.append((str(args["op"]), timeout_ms, retry))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def aclose(self) -> None:
        return


async def fill(cache: ConvexServerCache, key: str, count: int) -> None:
    for number in range(count):
        await cache.list_push(key, number)


# --- The adapter


@requirement("cache:value")
async def test_a_value_is_read_back_as_it_was_set(cache: ConvexServerCache) -> None:
    assert await cache.get("k") is None
    await cache.set("k", {"a": [1, "x", None]})
    assert await cache.get("k") == {"a": [1, "x", None]}
    await cache.set("k", "second")
    assert await cache.get("k") == "second"


@requirement("cache:value:json")
@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -3, 2.5, "", "naïve 🦉", [], {}, [[1], {"a": {"b": []}}], 2**53],
    ids=repr,
)
async def test_every_json_value_survives(cache: ConvexServerCache, value: Value) -> None:
    await cache.set("k", value)
    found = await cache.get("k")
    assert found == value
    assert type(found) is type(value)
    await cache.list_push("l", value)
    assert await cache.list_from_to("l", 0) == [value]


@requirement("cache:value:refusals")
async def test_a_value_that_cannot_be_sent_is_refused_by_name(cache: ConvexServerCache) -> None:
    with pytest.raises(InvalidArgument, match=r"\$ref"):
        await cache.set("k", {"schema": {"$ref": "#/x"}})
    with pytest.raises(InvalidArgument, match=r"value\.n is nan"):
        await cache.list_push("k", {"n": float("nan")})
    with pytest.raises(InvalidArgument, match="key must be text"):
        await cache.get(cast(str, 7))
    assert await cache.get("k") is None


@requirement("cache:value:replaces")
async def test_setting_replaces_whatever_was_there(cache: ConvexServerCache) -> None:
    await fill(cache, "list", 2 * BATCH + 3)
    await cache.set("list", "value")
    assert await cache.get("list") == "value"
    await cache.increment("counter")
    await cache.set("counter", 7)
    assert await cache.get("counter") == 7


@requirement("cache:ttl")
async def test_an_entry_past_its_lifetime_is_absent(cache: ConvexServerCache, clock: Clock) -> None:
    await cache.set("value", 1)
    await fill(cache, "list", 2 * BATCH + 3)
    await cache.increment("counter")
    clock.advance_ms(299_999)
    assert await cache.get("value") == 1
    assert await cache.list_length("list") == 2 * BATCH + 3
    clock.advance_ms(1)
    assert await cache.get("value") is None
    assert await cache.list_length("list") == 0
    assert await cache.list_from_to("list", 0) == []
    assert await cache.increment("counter") == 1


@requirement("cache:ttl:own")
async def test_one_value_may_have_a_lifetime_of_its_own(
    cache: ConvexServerCache, clock: Clock
) -> None:
    await cache.set("short", 1, ttl_ms=1000)
    await cache.set("long", 1, ttl_ms=1_000_000)
    clock.advance_ms(1000)
    assert await cache.get("short") is None
    clock.advance_ms(998_999)
    assert await cache.get("long") == 1


@requirement("cache:ttl:forever")
async def test_a_lifetime_of_zero_never_ends(
    deployment: Deployment, cache: ConvexServerCache, clock: Clock, namespace: str
) -> None:
    lasting = ConvexServerCache(
        deployment, key_prefix=f"{namespace}:", ttl_ms=0, now_ms=clock.now_ms
    )
    await lasting.set("by default", 1)
    await cache.set("by argument", 1, ttl_ms=0)
    clock.advance_ms(10**12)
    assert await cache.get("by default") == 1
    assert await cache.get("by argument") == 1


@requirement("cache:ttl:renewed")
async def test_pushing_and_incrementing_renew_the_lifetime(
    cache: ConvexServerCache, clock: Clock
) -> None:
    await cache.list_push("list", "a")
    await cache.increment("counter")
    clock.advance_ms(200_000)
    await cache.list_push("list", "b")
    await cache.increment("counter")
    clock.advance_ms(200_000)
    assert await cache.list_from_to("list", 0) == ["a", "b"]
    assert await cache.increment("counter") == 3


@requirement("cache:ttl:refusals")
@pytest.mark.parametrize("wrong", [-1, float("inf"), float("nan"), True, "5"], ids=repr)
async def test_a_lifetime_that_is_no_duration_is_refused(
    deployment: Deployment, cache: ConvexServerCache, wrong: Any
) -> None:
    with pytest.raises(InvalidArgument, match="ttl_ms must be milliseconds"):
        await cache.set("k", 1, ttl_ms=wrong)
    with pytest.raises(InvalidArgument, match="ttl_ms must be milliseconds"):
        ConvexServerCache(deployment, ttl_ms=wrong)
    with pytest.raises(InvalidArgument, match="request_timeout_ms must be milliseconds"):
        ConvexServerCache(deployment, request_timeout_ms=wrong)


@requirement("cache:list")
async def test_items_keep_the_order_in_which_they_were_pushed(cache: ConvexServerCache) -> None:
    assert await cache.list_length("l") == 0
    assert await cache.list_push("l", "a") == 1
    assert await cache.list_push("l", {"b": 2}) == 2
    assert await cache.list_push("l", None) == 3
    assert await cache.list_length("l") == 3
    assert await cache.list_from_to("l", 0) == ["a", {"b": 2}, None]


RANGES = [
    (0, -1, "abcde"),
    (0, 0, "a"),
    (1, 3, "bcd"),
    (3, 99, "de"),
    (-2, -1, "de"),
    (-99, 1, "ab"),
    (-99, -4, "ab"),
    (2, 1, ""),
    (5, 9, ""),
    (0, -6, ""),
    (-1, -2, ""),
    (4, -1, "e"),
]


@requirement("cache:list:range")
@pytest.mark.parametrize(("first", "last", "expected"), RANGES)
async def test_a_range_includes_both_ends_and_counts_from_the_end(
    cache: ConvexServerCache, first: int, last: int, expected: str
) -> None:
    for letter in "abcde":
        await cache.list_push("l", letter)
    assert await cache.list_from_to("l", first, last) == list(expected)


@requirement("cache:list:range")
async def test_a_range_of_no_list_is_empty_and_its_ends_are_integers(
    cache: ConvexServerCache,
) -> None:
    assert await cache.list_from_to("absent", 0) == []
    await cache.set("value", [1, 2])
    assert await cache.list_from_to("value", 0) == []
    with pytest.raises(InvalidArgument, match="from_index must be an integer"):
        await cache.list_from_to("l", cast(int, 0.5))
    with pytest.raises(InvalidArgument, match="to_index must be an integer"):
        await cache.list_from_to("l", 0, cast(int, None))


@requirement("cache:counter")
async def test_a_counter_goes_one_two_three(cache: ConvexServerCache) -> None:
    assert [await cache.increment("c") for _ in range(3)] == [1, 2, 3]
    assert await cache.increment("other") == 1


@requirement("cache:counter:concurrent")
async def test_concurrent_increments_are_all_counted(cache: ConvexServerCache) -> None:
    counts = await at_once(lambda _: cache.increment("c"))
    assert sorted(counts) == list(range(1, AT_ONCE + 1))


@requirement("cache:list:concurrent")
async def test_concurrent_pushes_are_all_stored(cache: ConvexServerCache) -> None:
    await at_once(lambda number: cache.list_push("l", number))
    items = cast(list[int], await cache.list_from_to("l", 0))
    assert sorted(items) == list(range(AT_ONCE))


@requirement("cache:list:concurrent:lengths")
async def test_concurrent_pushes_each_have_a_length_of_their_own(cache: ConvexServerCache) -> None:
    lengths = await at_once(lambda number: cache.list_push("l", number))
    assert sorted(lengths) == list(range(1, AT_ONCE + 1))


AT_ONCE: Final = 20


async def at_once(work: Callable[[int], Awaitable[int]]) -> list[int]:
    """What as many calls answer that are all on their way before one is answered."""
    answers: list[int] = []

    async def one(number: int) -> None:
        answers.append(await work(number))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(one, number)
    return answers


@requirement("cache:conflict")
async def test_a_key_used_as_another_kind_is_a_conflict(cache: ConvexServerCache) -> None:
    await cache.set("value", 1)
    await cache.list_push("list", 1)
    await cache.increment("counter")
    for key in ("value", "counter"):
        with pytest.raises(Conflict, match=f"{key} exists but is not an array"):
            await cache.list_push(key, 1)
        with pytest.raises(Conflict, match=f"{key} exists but is not an array"):
            await cache.list_length(key)
    for key in ("value", "list"):
        with pytest.raises(Conflict, match=f"{key} exists but is not a number"):
            await cache.increment(key)
    assert await cache.get("list") is None
    assert await cache.get("counter") is None


@requirement("cache:delete")
async def test_a_deleted_key_is_absent_however_long_its_list_was(cache: ConvexServerCache) -> None:
    await fill(cache, "list", 3 * BATCH + 1)
    await cache.set("value", 1)
    for key in ("list", "value", "absent"):
        await cache.delete(key)
    assert await cache.list_length("list") == 0
    assert await cache.get("value") is None
    assert await cache.list_push("list", "again") == 1
    assert await cache.list_from_to("list", 0) == ["again"]


@requirement("cache:clear")
async def test_clearing_removes_the_keys_of_exactly_one_prefix(
    deployment: Deployment, cache: ConvexServerCache, clock: Clock, namespace: str
) -> None:
    nested = ConvexServerCache(deployment, key_prefix=f"{namespace}:nested:", now_ms=clock.now_ms)
    for number in range(2 * BATCH + 1):
        await cache.set(f"v{number}", number)
    await fill(cache, "l1", BATCH + 5)
    await fill(cache, "l2", 3)
    await cache.increment("c")
    await nested.set("kept", "here")
    await nested.list_push("kept list", "here")
    await cache.clear()
    assert await cache.get("v0") is None
    assert await cache.get(f"v{2 * BATCH}") is None
    assert await cache.list_length("l1") == 0
    assert await cache.list_length("l2") == 0
    assert await cache.increment("c") == 1
    assert await nested.get("kept") == "here"
    assert await nested.list_from_to("kept list", 0) == ["here"]


@requirement("cache:repeat")
async def test_an_operation_is_repeated_while_there_is_more() -> None:
    more: Value = {"ok": True, "hasMore": True}
    deployment = Recorded(more, more, {"ok": True, "result": 1})
    assert await ConvexServerCache(deployment).increment("c") == 1
    assert len(deployment.calls) == 3


@requirement("cache:repeat")
async def test_an_operation_gives_up_after_a_thousand_batches() -> None:
    deployment = Recorded({"ok": True, "hasMore": True})
    with pytest.raises(LimitExceeded, match="exceeded 1000 batches"):
        await ConvexServerCache(deployment).clear()
    assert len(deployment.calls) == CACHE_BATCHES_MAX


@requirement("cache:retry")
async def test_only_calls_that_are_harmless_twice_may_be_sent_twice() -> None:
    deployment = Recorded({"ok": True, "result": 0})
    cache = ConvexServerCache(deployment, request_timeout_ms=1234)
    await cache.get("k")
    await cache.set("k", 1)
    await cache.list_length("k")
    await cache.list_push("k", 1)
    deployment.answers = [{"ok": True, "result": []}]
    await cache.list_from_to("k", 0)
    deployment.answers = [{"ok": True, "result": 0}]
    await cache.increment("k")
    await cache.delete("k")
    await cache.clear()
    assert {op for op, _, retry in deployment.calls if retry is True} == {
        "get", "set", "listLength", "listFromTo", "delete", "clear",
    }  # fmt: skip
    assert {op for op, _, retry in deployment.calls if retry is False} == {"listPush", "increment"}
    assert {timeout for _, timeout, _ in deployment.calls} == {1234}


@requirement("cache:reply")
async def test_a_push_whose_answer_has_no_length_asks_for_it() -> None:
    deployment = Recorded({"ok": True}, {"ok": True, "result": 4.0})
    assert await ConvexServerCache(deployment).list_push("l", 1) == 4
    assert [op for op, _, _ in deployment.calls] == ["listPush", "listLength"]


@requirement("cache:reply")
async def test_an_answer_outside_the_protocol_is_reported_as_such() -> None:
    with pytest.raises(InvalidResponse):
        await ConvexServerCache(Recorded(None)).get("k")
    with pytest.raises(InvalidResponse):
        await ConvexServerCache(Recorded({"ok": True})).increment("k")
    with pytest.raises(InvalidResponse):
        await ConvexServerCache(Recorded({"ok": True, "result": 1})).list_from_to("k", 0)
    with pytest.raises(FunctionError, match="Unknown Convex cache error"):
        await ConvexServerCache(Recorded({"ok": False})).get("k")
    with pytest.raises(LimitExceeded, match="too much"):
        await ConvexServerCache(
            Recorded({"ok": False, "error": "too much", "code": "limit_exceeded"})
        ).get("k")


# --- The wire


class Wire:
    """`mastra/cache:handle` with one key prefix."""

    def __init__(self, deployment: Deployment, prefix: str) -> None:
        self._deployment = deployment
        self.prefix = prefix

    async def send(self, op: str, key: str | None = None, **fields: Value) -> dict[str, Any]:
        request: dict[str, Value] = {"op": op, "keyPrefix": self.prefix, **fields}
        if key is not None:
            request["key"] = self.prefix + key
        answer = await self._deployment.call("mutation", CACHE_FUNCTION, request)
        return dict(cast(Mapping[str, Any], answer))

    async def put(self, op: str, key: str, **fields: Value) -> dict[str, Any]:
        return await self.send(op, key, **{"expiresAt": None, **fields})

    async def fill(self, key: str, count: int, expires_at: float | None = None) -> None:
        for number in range(count):
            await self.put("listPush", key, value=number, expiresAt=expires_at)


@pytest.fixture
def wire(deployment: Deployment, namespace: str) -> Wire:
    return Wire(deployment, f"{namespace}:")


@requirement("cache:wire:get")
async def test_wire_get_answers_the_value_or_null_without_has_more(wire: Wire) -> None:
    assert await wire.send("get", "k") == {"ok": True, "result": None}
    await wire.put("set", "k", value={"a": 1})
    assert await wire.send("get", "k") == {"ok": True, "result": {"a": 1}}
    await wire.put("listPush", "list", value=1)
    assert await wire.send("get", "list") == {"ok": True, "result": None}


@requirement("cache:wire:get")
async def test_wire_an_absent_value_is_stored_as_null(wire: Wire) -> None:
    await wire.put("set", "k")
    assert await wire.send("get", "k") == {"ok": True, "result": None}
    await wire.put("listPush", "l")
    reply = await wire.send("listFromTo", "l", **{"from": 0, "to": -1})
    assert reply == {"ok": True, "result": [None]}


@requirement("cache:wire:set")
async def test_wire_set_removes_a_long_list_before_it_writes(wire: Wire) -> None:
    await wire.fill("k", BATCH + 1)
    assert await wire.put("set", "k", value="v") == {"ok": True, "hasMore": True}
    assert (await wire.send("get", "k"))["result"] is None
    await wire.put("set", "k", value="v")
    assert await wire.send("get", "k") == {"ok": True, "result": "v"}


@requirement("cache:wire:set")
async def test_wire_set_replaces_a_short_list_and_a_counter_at_once(wire: Wire) -> None:
    await wire.fill("list", BATCH)
    await wire.put("increment", "counter")
    for key in ("list", "counter"):
        assert "hasMore" not in await wire.put("set", key, value="v")
        assert await wire.send("get", key) == {"ok": True, "result": "v"}
    assert await wire.put("listPush", "list", value=1) == {
        "ok": False,
        "error": f"{wire.prefix}list exists but is not an array",
    }


@requirement("cache:wire:list-length")
async def test_wire_list_length_is_zero_for_none_and_refuses_another_kind(wire: Wire) -> None:
    assert await wire.send("listLength", "l") == {"ok": True, "result": 0}
    await wire.fill("l", 3)
    assert await wire.send("listLength", "l") == {"ok": True, "result": 3}
    await wire.put("set", "v", value=[1])
    assert await wire.send("listLength", "v") == {
        "ok": False,
        "error": f"{wire.prefix}v exists but is not an array",
    }


@requirement("cache:wire:list-push")
async def test_wire_list_push_appends_and_refuses_another_kind(wire: Wire) -> None:
    assert (await wire.put("listPush", "l", value="a"))["ok"] is True
    assert "hasMore" not in await wire.put("listPush", "l", value="b")
    reply = await wire.send("listFromTo", "l", **{"from": 0, "to": -1})
    assert reply == {"ok": True, "result": ["a", "b"]}
    await wire.put("increment", "c")
    assert await wire.put("listPush", "c", value=1) == {
        "ok": False,
        "error": f"{wire.prefix}c exists but is not an array",
    }


@requirement("cache:wire:list-from-to")
@pytest.mark.parametrize(("first", "last", "expected"), RANGES)
async def test_wire_list_from_to_follows_the_table_of_ranges(
    wire: Wire, first: int, last: int, expected: str
) -> None:
    for letter in "abcde":
        await wire.put("listPush", "l", value=letter)
    reply = await wire.send("listFromTo", "l", **{"from": first, "to": last})
    assert reply == {"ok": True, "result": list(expected)}


@requirement("cache:wire:list-from-to")
async def test_wire_list_from_to_of_another_kind_is_empty(wire: Wire) -> None:
    await wire.put("set", "v", value=[1])
    for key in ("absent", "v"):
        reply = await wire.send("listFromTo", key, **{"from": 0, "to": -1})
        assert reply == {"ok": True, "result": []}


@requirement("cache:wire:delete")
async def test_wire_delete_has_more_exactly_beyond_a_batch(wire: Wire) -> None:
    assert await wire.send("delete", "absent") == {"ok": True, "hasMore": False}
    await wire.put("set", "v", value=1)
    assert await wire.send("delete", "v") == {"ok": True, "hasMore": False}
    await wire.fill("l", BATCH)
    assert await wire.send("delete", "l") == {"ok": True, "hasMore": False}
    await wire.fill("l", 2 * BATCH + 1)
    replies = [(await wire.send("delete", "l"))["hasMore"] for _ in range(3)]
    assert replies == [True, True, False]
    assert await wire.send("listLength", "l") == {"ok": True, "result": 0}


@requirement("cache:wire:tombstone")
async def test_wire_a_key_being_removed_is_absent_to_reads(wire: Wire) -> None:
    await wire.fill("l", 4 * BATCH + 1)
    assert (await wire.send("delete", "l"))["hasMore"] is True
    assert await wire.send("get", "l") == {"ok": True, "result": None, "hasMore": True}
    assert await wire.send("listLength", "l") == {"ok": True, "result": 0, "hasMore": True}
    reply = await wire.send("listFromTo", "l", **{"from": 0, "to": -1})
    assert reply == {"ok": True, "result": [], "hasMore": True}
    assert await wire.send("listLength", "l") == {"ok": True, "result": 0}


@requirement("cache:wire:tombstone")
@pytest.mark.parametrize(
    ("op", "fields"), [("listPush", {"value": "new"}), ("increment", {}), ("set", {"value": "new"})]
)
async def test_wire_a_key_being_removed_is_written_only_when_it_is_gone(
    wire: Wire, op: str, fields: dict[str, Value]
) -> None:
    await wire.fill("l", 2 * BATCH + 1)
    assert (await wire.send("delete", "l"))["hasMore"] is True
    assert await wire.put(op, "l", **fields) == {"ok": True, "hasMore": True}
    reply = await wire.put(op, "l", **fields)
    assert "hasMore" not in reply
    assert reply["ok"] is True
    if op == "listPush":
        assert await wire.send("listLength", "l") == {"ok": True, "result": 1}
    if op == "increment":
        assert reply["result"] == 1
    if op == "set":
        assert await wire.send("get", "l") == {"ok": True, "result": "new"}


@requirement("cache:wire:clear")
@pytest.mark.parametrize(("count", "expected"), [(0, [False]), (25, [False]), (26, [True, False])])
async def test_wire_clear_of_plain_rows_has_more_exactly_beyond_a_batch(
    wire: Wire, count: int, expected: list[bool]
) -> None:
    for number in range(count):
        await wire.put("set", f"v{number}", value=number)
    replies = [await wire.send("clear") for _ in expected]
    assert replies == [{"ok": True, "hasMore": more} for more in expected]
    assert (await wire.send("get", "v0"))["result"] is None


@requirement("cache:wire:clear")
async def test_wire_clear_reports_more_with_the_call_that_removes_the_last_items(
    wire: Wire,
) -> None:
    await wire.fill("l", 3)
    assert await wire.send("clear") == {"ok": True, "hasMore": True}
    assert await wire.send("listLength", "l") == {"ok": True, "result": 0}
    assert await wire.send("clear") == {"ok": True, "hasMore": False}


@requirement("cache:wire:clear")
async def test_wire_clear_stops_at_each_list_in_creation_order(wire: Wire) -> None:
    await wire.put("set", "before", value=1)
    await wire.fill("l", BATCH + 1)
    await wire.put("set", "after", value=1)
    assert await wire.send("clear") == {"ok": True, "hasMore": True}
    assert (await wire.send("get", "before"))["result"] is None
    assert (await wire.send("get", "after"))["result"] == 1
    assert await wire.send("clear") == {"ok": True, "hasMore": True}
    assert await wire.send("clear") == {"ok": True, "hasMore": False}
    assert (await wire.send("get", "after"))["result"] is None


@requirement("cache:wire:clear")
async def test_wire_clear_leaves_nested_prefixes(wire: Wire, deployment: Deployment) -> None:
    nested = Wire(deployment, f"{wire.prefix}nested:")
    await nested.put("set", "k", value=1)
    await nested.fill("l", 2)
    await wire.put("set", "k", value=1)
    assert await wire.send("clear") == {"ok": True, "hasMore": False}
    assert await nested.send("get", "k") == {"ok": True, "result": 1}
    assert await nested.send("listLength", "l") == {"ok": True, "result": 2}


@requirement("cache:wire:increment")
async def test_wire_increment_counts_from_one_and_refuses_another_kind(wire: Wire) -> None:
    assert await wire.put("increment", "c") == {"ok": True, "result": 1}
    assert await wire.put("increment", "c") == {"ok": True, "result": 2}
    for key, op in (("v", "set"), ("l", "listPush")):
        await wire.put(op, key, value=1)
        assert await wire.put("increment", key) == {
            "ok": False,
            "error": f"{wire.prefix}{key} exists but is not a number",
        }


@requirement("cache:wire:expiry")
async def test_wire_a_key_is_dead_at_its_very_expiry(wire: Wire, clock: Clock) -> None:
    at = clock.now_ms() + 1000
    await wire.put("set", "v", value=1, expiresAt=at)
    await wire.put("increment", "c", expiresAt=at)
    await wire.fill("l", BATCH + 1, expires_at=at)
    clock.advance_ms(999)
    assert (await wire.send("get", "v"))["result"] == 1
    clock.advance_ms(1)
    assert await wire.send("get", "v") == {"ok": True, "result": None}
    assert await wire.put("increment", "c") == {"ok": True, "result": 1}
    assert await wire.put("increment", "l") == {"ok": True, "hasMore": True}
    assert await wire.put("increment", "l") == {"ok": True, "result": 1}


@requirement("cache:wire:expiry")
async def test_wire_each_write_replaces_the_expiry(wire: Wire, clock: Clock) -> None:
    soon = clock.now_ms() + 10
    await wire.put("set", "v", value=1, expiresAt=soon)
    await wire.put("set", "v", value=2, expiresAt=None)
    await wire.put("increment", "c", expiresAt=None)
    await wire.put("increment", "c", expiresAt=soon)
    clock.advance_ms(10)
    assert (await wire.send("get", "v"))["result"] == 2
    assert (await wire.put("increment", "c"))["result"] == 1


@requirement("cache:wire:unknown")
async def test_wire_an_unknown_operation_is_a_soft_error(wire: Wire) -> None:
    assert await wire.send("flush") == {"ok": False, "error": "Unsupported operation flush"}
