"""Bad input: a coded refusal that names the limit or the choices, and nothing stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.settings import Settings
from tests.application.connections import Caller, connected, settings_in, stored_in

pytestmark = pytest.mark.anyio

LONG_ID = "x" * 513
TWO_MIB = "x" * (2 << 20)


def nested(levels: int) -> dict[str, Any]:
    """Objects within objects."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


Case = tuple[str, dict[str, Any], str, tuple[str, ...]]
SAID = {"role": "user", "content": "x"}
VECTOR = {"index": "i", "vector": [1, 2, 3]}
CURSOR = ("next_cursor",)

CASES: list[Case] = [
    # What does not exist
    ("recall_thread", {"thread_id": "nowhere"}, "not_found", ("'nowhere'", "List the threads")),
    ("update_thread", {"thread_id": "nowhere", "title": "x"}, "not_found", ("'nowhere'",)),
    ("clone_thread", {"thread_id": "nowhere"}, "not_found", ("nowhere",)),
    ("delete_thread", {"thread_id": "nowhere"}, "not_found", ("'nowhere'", "list_threads")),
    ("get_working_memory", {"thread_id": "nowhere"}, "not_found", ("'nowhere'",)),
    ("describe_index", {"index": "none"}, "not_found", ("'none'", "the indexes are i")),
    ("delete_index", {"index": "none"}, "not_found", ("the indexes are i",)),
    ("vector_query", {**VECTOR, "index": "none"}, "not_found", ("the indexes are i",)),
    (
        "upsert_embeddings",
        {"index": "none", "items": [{"vector": [1, 2, 3]}]},
        "not_found",
        ("the indexes are i",),
    ),
    ("delete_embeddings", {"index": "none", "ids": ["a"]}, "not_found", ("the indexes are i",)),
    ("update_embedding", {"index": "i", "id": "z", "metadata": {}}, "not_found", ("'z'", "'i'")),
    ("forget_everything", {}, "unknown_tool", ("'forget_everything'", "save_message", "cache_get")),
    # Arguments that are not there, or missing
    ("recall_thread", {}, "invalid_argument", ("thread_id is required",)),
    ("recall_thread", {"thread": "t"}, "invalid_argument", ("no argument thread", "thread_id")),
    ("list_threads", {TWO_MIB: 1}, "invalid_argument", ("no argument x", "limit, order, cursor")),
    ("list_threads", {"resource_id": "me"}, "invalid_argument", ("limit, order, cursor",)),
    ("save_message", {"content": "x"}, "invalid_argument", ("role is required",)),
    ("cache_set", {"key": "k"}, "invalid_argument", ("value is required",)),
    (
        "save_messages",
        {"messages": [{**SAID, "thread_id": "t"}]},
        "invalid_argument",
        ("messages.0.thread_id",),
    ),
    ("update_thread", {"thread_id": "t"}, "invalid_argument", ("title, metadata",)),
    ("update_embedding", {"index": "i", "id": "a"}, "invalid_argument", ("vector or metadata",)),
    # Empty text
    (
        "save_message",
        {"role": "user", "content": ""},
        "invalid_argument",
        ("content", "at least 1"),
    ),
    ("save_message", {**SAID, "thread_id": ""}, "invalid_argument", ("thread_id", "at least 1")),
    ("recall_thread", {"thread_id": "t", "query": ""}, "invalid_argument", ("query", "at least 1")),
    ("search_memory", {"query": ""}, "invalid_argument", ("query", "at least 1")),
    ("cache_get", {"key": ""}, "invalid_argument", ("key", "at least 1")),
    ("create_index", {"index": "", "dimension": 3}, "invalid_argument", ("index", "at least 1")),
    ("delete_messages", {"message_ids": [""]}, "invalid_argument", ("message_ids.0", "at least 1")),
    # Choices
    ("save_message", {**SAID, "role": "robot"}, "invalid_argument", ("'user'", "'tool'")),
    ("recall_thread", {"thread_id": "t", "order": "up"}, "invalid_argument", ("'newest'",)),
    ("search_memory", {"query": "x", "role": "robot"}, "invalid_argument", ("'assistant'",)),
    (
        "update_working_memory",
        {"content": "x", "mode": "erase"},
        "invalid_argument",
        ("'replace'", "'append'", "'merge'"),
    ),
    (
        "create_index",
        {"index": "n", "dimension": 3, "metric": "dot"},
        "invalid_argument",
        ("'cosine'",),
    ),
    ("create_index", {"index": "indexes", "dimension": 3}, "invalid_argument", ("'indexes'",)),
    # Ranges
    ("recall_thread", {"thread_id": "t", "limit": 0}, "invalid_argument", ("limit", "1", "0")),
    ("recall_thread", {"thread_id": "t", "limit": 201}, "invalid_argument", ("200", "201")),
    ("recall_thread", {"thread_id": "t", "max_chars": 199}, "invalid_argument", ("200",)),
    ("recall_thread", {"thread_id": "t", "max_chars": 200_001}, "invalid_argument", ("200000",)),
    ("recall_thread", {"thread_id": "t", "offset": -1}, "invalid_argument", ("offset", "0")),
    ("search_memory", {"query": "x", "limit": 101}, "invalid_argument", ("100",)),
    ("search_memory", {"query": "x", "neighbours": 6}, "invalid_argument", ("5",)),
    ("search_memory", {"query": "x" * 4097}, "invalid_argument", ("4096",)),
    ("list_threads", {"limit": 201}, "invalid_argument", ("200",)),
    ("clone_thread", {"thread_id": "t", "message_limit": 0}, "invalid_argument", ("1",)),
    ("vector_query", {**VECTOR, "top_k": 0}, "invalid_argument", ("top_k", "1")),
    ("vector_query", {**VECTOR, "top_k": 257}, "invalid_argument", ("top_k", "256")),
    ("create_index", {"index": "n", "dimension": 1}, "invalid_argument", ("dimension", "2")),
    ("create_index", {"index": "n", "dimension": 4097}, "invalid_argument", ("4096",)),
    ("create_index", {"index": "n", "dimension": 2.5}, "invalid_argument", ("integer",)),
    ("cache_replay", {"key": "k", "from_index": -1}, "invalid_argument", ("from_index", "0")),
    ("cache_replay", {"key": "k", "limit": 1001}, "invalid_argument", ("1000",)),
    ("cache_set", {"key": "k", "value": 1, "ttl_ms": -1}, "invalid_argument", ("ttl_ms", "0")),
    ("save_messages", {"messages": []}, "invalid_argument", ("at least 1",)),
    ("save_messages", {"messages": [SAID] * 101}, "invalid_argument", ("100", "101")),
    ("delete_messages", {"message_ids": ["x"] * 101}, "invalid_argument", ("100", "101")),
    ("delete_messages", {"message_ids": []}, "invalid_argument", ("at least 1",)),
    ("upsert_embeddings", {"index": "i", "items": []}, "invalid_argument", ("at least 1",)),
    (
        "upsert_embeddings",
        {"index": "i", "items": [{"vector": [1, 2, 3]}] * 101},
        "invalid_argument",
        ("100", "101"),
    ),
    # Ids that are too long, or twice
    ("save_message", {**SAID, "message_id": LONG_ID}, "invalid_argument", ("message_id", "512")),
    ("recall_thread", {"thread_id": LONG_ID}, "invalid_argument", ("thread_id", "512")),
    ("cache_get", {"key": LONG_ID}, "invalid_argument", ("key", "512")),
    ("create_index", {"index": LONG_ID, "dimension": 3}, "invalid_argument", ("index", "512")),
    (
        "save_messages",
        {"messages": [{**SAID, "message_id": "m"}] * 2},
        "invalid_argument",
        ("same id twice",),
    ),
    # Cursors
    ("recall_thread", {"thread_id": "t", "cursor": "bad"}, "invalid_argument", CURSOR),
    ("recall_thread", {"thread_id": "t", "cursor": "ünï"}, "invalid_argument", CURSOR),
    ("recall_thread", {"thread_id": "t", "cursor": "W10"}, "invalid_argument", CURSOR),
    ("recall_thread", {"thread_id": "t", "cursor": ""}, "invalid_argument", CURSOR),
    ("search_memory", {"query": "x", "cursor": "bad"}, "invalid_argument", CURSOR),
    ("list_threads", {"cursor": "bad"}, "invalid_argument", CURSOR),
    # Times
    ("save_message", {**SAID, "created_at": "yesterday"}, "invalid_argument", ("ISO-8601",)),
    ("save_message", {**SAID, "created_at": "2026-13-01"}, "invalid_argument", ("ISO-8601",)),
    ("search_memory", {"query": "x", "since": "soon"}, "invalid_argument", ("since", "ISO-8601")),
    ("search_memory", {"query": "x", "until": ""}, "invalid_argument", ("until", "ISO-8601")),
    # Types
    ("save_message", {"role": "user", "content": {"a": 1}}, "invalid_argument", ("valid string",)),
    ("save_message", {"role": "user", "content": None}, "invalid_argument", ("valid string",)),
    ("save_message", {**SAID, "metadata": [1]}, "invalid_argument", ("dictionary",)),
    ("vector_query", {"index": "i", "vector": "[1,2,3]"}, "invalid_argument", ("list",)),
    # Vectors
    ("vector_query", {"index": "i", "vector": [1, 2]}, "dimension_mismatch", ("2", "3")),
    ("vector_query", {"index": "i", "vector": []}, "invalid_argument", ("at least 1",)),
    ("vector_query", {"index": "i", "vector": [1, "x", 3]}, "invalid_argument", ("vector.1",)),
    ("vector_query", {"index": "i", "vector": [1, None, 3]}, "invalid_argument", ("vector.1",)),
    ("vector_query", {"index": "i", "vector": [0.5] * 4097}, "invalid_argument", ("4096",)),
    # Filters
    (
        "vector_query",
        {**VECTOR, "filter": {"a": {"$near": 1}}},
        "invalid_argument",
        ("$near", "$eq", "$gte", "$nin", "$exists"),
    ),
    ("vector_query", {**VECTOR, "filter": {"$where": []}}, "invalid_argument", ("$where", "$and")),
    ("vector_query", {**VECTOR, "filter": {"a": {"$in": 1}}}, "invalid_argument", ("$in", "list")),
    ("vector_query", {**VECTOR, "filter": {"a": {"$gt": None}}}, "invalid_argument", ("number",)),
    ("vector_query", {**VECTOR, "filter": "a"}, "invalid_argument", ("dictionary",)),
    ("delete_embeddings", {"index": "i", "filter": {"a": {"$x": 1}}}, "invalid_argument", ("$eq",)),
    # Sizes
    ("save_message", {"role": "user", "content": TWO_MIB}, "limit_exceeded", ("1,048,576",)),
    ("save_message", {**SAID, "metadata": {"a": TWO_MIB}}, "limit_exceeded", ("1,048,576",)),
    ("save_message", {**SAID, "thread_id": "n", "title": TWO_MIB}, "limit_exceeded", ("1 MiB",)),
    ("update_working_memory", {"content": TWO_MIB}, "limit_exceeded", ("1,048,576",)),
    ("update_thread", {"thread_id": "t", "title": TWO_MIB}, "limit_exceeded", ("1,048,576",)),
    ("cache_set", {"key": "k", "value": TWO_MIB}, "limit_exceeded", ("1,048,576",)),
    (
        "upsert_embeddings",
        {"index": "i", "items": [{"vector": [1, 2, 3], "metadata": {"a": TWO_MIB}}]},
        "limit_exceeded",
        ("1,048,576",),
    ),
    # Depth
    ("save_message", {**SAID, "metadata": nested(65)}, "invalid_argument", ("metadata", "64")),
    (
        "update_thread",
        {"thread_id": "t", "metadata": nested(16)},
        "limit_exceeded",
        ("nested", "16"),
    ),
    (
        "upsert_embeddings",
        {"index": "i", "items": [{"vector": [1, 2, 3], "metadata": nested(16)}]},
        "limit_exceeded",
        ("nested", "16"),
    ),
    ("cache_set", {"key": "k", "value": nested(66)}, "limit_exceeded", ("nested", "64")),
    # Keys that a document cannot hold
    (
        "update_thread",
        {"thread_id": "t", "metadata": {"$x": 1}},
        "invalid_argument",
        ("$x", "rename the key"),
    ),
    (
        "update_thread",
        {"thread_id": "t", "metadata": {"größe": 1}},
        "invalid_argument",
        (r"gr\xf6\xdfe", "printable ASCII", "Rename the key"),
    ),
    (
        "upsert_embeddings",
        {"index": "i", "items": [{"vector": [1, 2, 3], "metadata": {"a": {"$x": 1}}}]},
        "invalid_argument",
        ("$x", "metadata[0].a"),
    ),
    (
        "update_embedding",
        {"index": "i", "id": "a", "metadata": {"größe": 1}},
        "invalid_argument",
        ("printable ASCII",),
    ),
    ("cache_set", {"key": "k", "value": {"$x": 1}}, "invalid_argument", ("$x",)),
    ("cache_push", {"key": "k", "value": [{"größe": 1}]}, "invalid_argument", ("ASCII",)),
    ("search_memory", {"query": "x", "metadata": {"$x": 1}}, "invalid_argument", ("$x",)),
    # Integers that a float64 cannot hold
    (
        "update_thread",
        {"thread_id": "t", "metadata": {"n": 2**53 + 1}},
        "invalid_argument",
        ("2^53", "text"),
    ),
    ("cache_set", {"key": "k", "value": -(2**60)}, "invalid_argument", ("2^53",)),
]

SURROGATES: list[tuple[str, dict[str, Any]]] = [
    ("save_message", {"role": "user", "content": "\ud83d"}),
    ("save_message", {**SAID, "thread_id": "\ud83d"}),
    ("save_message", {**SAID, "metadata": {"a": ["\ud83d"]}}),
    ("save_message", {**SAID, "thread_id": "n", "title": "\ud83d"}),
    ("recall_thread", {"thread_id": "\udc00"}),
    ("search_memory", {"query": "\udc00"}),
    ("update_thread", {"thread_id": "t", "title": "\ud83d"}),
    ("update_working_memory", {"content": "\ud83d"}),
    ("cache_set", {"key": "\ud83d", "value": 1}),
    ("cache_set", {"key": "k", "value": "\ud83d"}),
    ("upsert_embeddings", {"index": "i", "items": [{"id": "\ud83d", "vector": [1, 2, 3]}]}),
    (
        "upsert_embeddings",
        {"index": "i", "items": [{"vector": [1, 2, 3], "metadata": {"a": "\ud83d"}}]},
    ),
]


async def _furnish(caller: Caller) -> None:
    await caller.save("t", "needle")
    await caller.call("create_index", index="i", dimension=3)
    item = {"id": "a", "vector": [1, 0, 0], "metadata": {"n": 1}}
    await caller.call("upsert_embeddings", index="i", items=[item])
    await caller.call("cache_set", key="kept", value=1, ttl_ms=0)


@pytest.fixture(scope="module", params=["memory/2026", "http/2025"])
async def furnished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Caller, Path]]:
    """A caller over a folder that holds a little of everything, shared by all the cases."""
    folder = tmp_path_factory.mktemp("furnished")
    async with connected(str(request.param), settings_in(folder)) as caller:
        await _furnish(caller)
        yield caller, folder


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "told"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
async def test_bad_input_is_refused_with_what_to_do_and_nothing_changes(
    furnished: tuple[Caller, Path],
    tool: str,
    arguments: dict[str, Any],
    code: str,
    told: tuple[str, ...],
) -> None:
    caller, folder = furnished
    before = stored_in(folder)
    refusal = await caller.refused(tool, **arguments)
    assert refusal.code == code
    for part in told:
        assert part in refusal.message
    assert len(refusal.message) < 1500
    assert stored_in(folder) == before


@pytest.mark.parametrize(("tool", "arguments"), SURROGATES)
async def test_half_of_a_surrogate_pair_is_refused(
    tmp_path: Path, settings: Settings, tool: str, arguments: dict[str, Any]
) -> None:
    # In process: a client that encodes would refuse to send it. The wire has its own test.
    async with connected("memory/2026", settings) as caller:
        await _furnish(caller)
        before = stored_in(tmp_path)
        refusal = await caller.refused(tool, **arguments)
        assert refusal.code == "invalid_argument"
        assert "unicode" in refusal.message.lower()
        assert stored_in(tmp_path) == before


async def test_a_failure_inside_is_told_without_its_insides(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: object, query: str, **arguments: object) -> None:
        raise RuntimeError("secret path /somewhere")

    async with connected("memory/2026", settings) as caller:
        await caller.save("t", "x")
        monkeypatch.setattr("convex_memory.recall.Recall.search", broken)
        refusal = await caller.refused("search_memory", query="x")
        assert refusal.code == "internal"
        assert "secret" not in refusal.message
        incident = refusal.message.partition("incident ")[2][:8]
        assert f"tool search_memory failed, incident {incident}" in caplog.text
        monkeypatch.undo()
        assert len((await caller.call("search_memory", query="x"))["hits"]) == 1
