"""The `cache` toolset: values, counters and streams that expire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from convex_memory.cache import ConvexServerCache
from convex_memory.embedded import EmbeddedDeployment
from server.settings import Settings
from tests.application.connections import Caller, connected, settings_in, stored_in

pytestmark = pytest.mark.anyio


async def value_of(caller: Caller, key: str) -> Any:
    answer = await caller.call("cache_get", key=key)
    return answer["value"] if answer["found"] else "nothing"


@pytest.mark.parametrize(
    "value",
    [
        "text",
        '{"a":1}',
        "null",
        "",
        0,
        -1.5,
        2**53 - 1,
        False,
        [],
        {},
        {"a": [1, {"b": None}], "c": "ü"},
    ],
)
async def test_a_value_comes_back_as_it_was(caller: Caller, value: Any) -> None:
    await caller.call("cache_set", key="k", value=value)
    answer = await caller.call("cache_get", key="k")
    assert answer == {"key": "k", "found": True, "value": value}
    assert type(answer["value"]) is type(value)


async def test_an_absent_key_is_not_found(caller: Caller) -> None:
    answer = await caller.call("cache_get", key="k")
    assert answer == {"key": "k", "found": False, "value": None}


async def test_a_long_value_is_read_as_text_until_complete(caller: Caller) -> None:
    value = {"list": [f"item {number} ünï" for number in range(2000)]}
    await caller.call("cache_set", key="k", value=value)
    whole = await caller.call("cache_get", key="k", max_chars=200_000)
    assert whole["value"] == value
    text = ""
    while True:
        part = await caller.call("cache_get", key="k", max_chars=9000, offset=len(text))
        assert (part["found"], part["value"]) == (True, None)
        assert len(part["text"]) <= 9000
        text += part["text"]
        if len(text) == part["chars"]:
            break
    assert json.loads(text) == value


async def test_setting_replaces_whatever_was_there(caller: Caller) -> None:
    await caller.call("cache_push", key="k", value=1)
    await caller.call("cache_set", key="k", value="now a value")
    assert await value_of(caller, "k") == "now a value"


async def test_a_counter_counts_from_one(caller: Caller) -> None:
    counts = [(await caller.call("cache_increment", key="hits"))["value"] for _ in range(3)]
    assert counts == [1, 2, 3]


async def test_a_stream_is_replayed_a_page_at_a_time(caller: Caller) -> None:
    items = [{"token": number} for number in range(130)]
    for number, item in enumerate(items, 1):
        assert await caller.call("cache_push", key="s", value=item) == {"length": number}
    replayed: list[Any] = []
    sizes = []
    next_index = 0
    while next_index < 130:
        answer = await caller.call("cache_replay", key="s", from_index=next_index, limit=50)
        assert answer["length"] == 130
        assert answer["next_index"] == next_index + len(answer["items"])
        next_index = answer["next_index"]
        replayed += answer["items"]
        sizes.append(len(answer["items"]))
    assert replayed == items
    assert sizes == [50, 50, 30]


async def test_replaying_past_the_end_gives_nothing_and_says_where_the_end_is(
    caller: Caller,
) -> None:
    assert await caller.call("cache_replay", key="absent", from_index=5) == {
        "items": [],
        "next_index": 0,
        "length": 0,
    }
    await caller.call("cache_push", key="s", value=1)
    assert await caller.call("cache_replay", key="s", from_index=9) == {
        "items": [],
        "next_index": 1,
        "length": 1,
    }


async def test_a_replay_stays_within_its_budget(caller: Caller) -> None:
    for letter in "abcdef":
        await caller.call("cache_push", key="s", value=letter * 298)
    seen = []
    next_index = 0
    while next_index < 6:
        answer = await caller.call("cache_replay", key="s", from_index=next_index, max_chars=700)
        seen.append([item[0] for item in answer["items"]])
        next_index = answer["next_index"]
    assert seen == [["a", "b"], ["c", "d"], ["e", "f"]]
    whole = await caller.call("cache_replay", key="s", max_chars=200)
    assert whole == {"items": ["a" * 298], "next_index": 1, "length": 6}


async def test_a_key_of_another_kind_is_a_conflict(caller: Caller, tmp_path: Path) -> None:
    await caller.call("cache_set", key="value", value=1.5)
    await caller.call("cache_push", key="stream", value=1)
    await caller.call("cache_increment", key="counter")
    before = stored_in(tmp_path)
    for tool, arguments in (
        ("cache_push", {"key": "value", "value": 1}),
        ("cache_push", {"key": "counter", "value": 1}),
        ("cache_increment", {"key": "stream"}),
        ("cache_replay", {"key": "value"}),
    ):
        refusal = await caller.refused(tool, **arguments)
        assert refusal.code == "conflict", tool
    assert stored_in(tmp_path) == before


async def test_deleting_and_clearing_forget_keys(caller: Caller) -> None:
    for key in ("a", "b"):
        await caller.call("cache_set", key=key, value=key)
    for number in range(60):
        await caller.call("cache_push", key="s", value=number)
    await caller.call("cache_delete", key="a")
    await caller.call("cache_delete", key="a")
    assert [await value_of(caller, key) for key in ("a", "b")] == ["nothing", "b"]
    await caller.call("cache_delete", key="s")
    assert (await caller.call("cache_replay", key="s"))["length"] == 0
    await caller.call("cache_clear")
    assert await value_of(caller, "b") == "nothing"


async def test_clearing_leaves_threads_vectors_and_other_prefixes(
    tmp_path: Path, settings: Settings
) -> None:
    async with (
        connected("memory/2026", settings) as caller,
        connected("memory/2026", settings_in(tmp_path, cache_prefix="other:")) as other,
    ):
        await caller.save("t", "x")
        await caller.call("create_index", index="i", dimension=2)
        for each in (caller, other):
            await each.call("cache_set", key="k", value="kept")
        await caller.call("cache_clear")
        assert await value_of(caller, "k") == "nothing"
        assert await value_of(other, "k") == "kept"
        assert len((await caller.call("list_threads"))["threads"]) == 1
        assert (await caller.call("list_indexes"))["indexes"] == ["i"]


async def test_entries_expire_after_their_lifetime(tmp_path: Path) -> None:
    async with connected("memory/2026", settings_in(tmp_path, cache_ttl_ms=60_000)) as caller:
        await caller.call("cache_set", key="default", value=1)
        await caller.call("cache_set", key="short", value=1, ttl_ms=1000)
        await caller.call("cache_set", key="for ever", value=1, ttl_ms=0)
        stored = stored_in(tmp_path)["mastra_cache"]
        [before] = [row for row in stored if "mastra:cache:default" in row]
    # A clock that says later is what waiting would be.
    now_ms = before[1]
    for later_ms, there in ((2000, ["default", "for ever"]), (61_000, ["for ever"])):

        def clock(now_ms: float = now_ms + later_ms) -> float:
            return now_ms

        async with EmbeddedDeployment(settings_in(tmp_path).data_dir, now_ms=clock) as deployment:
            cache = ConvexServerCache(deployment, now_ms=clock)
            found = [
                key for key in ("default", "short", "for ever") if await cache.get(key) is not None
            ]
        assert found == there
