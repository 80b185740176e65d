"""The default tools against a deployment that has nothing but Mastra's functions, full of data."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from pydantic import SecretStr

from server.idempotency import META_KEY
from server.settings import Settings
from tests.application.connections import LEAVES_AT_ONCE, ROOT, Caller, connected, settings_in
from tests.bridge.serving import BRIDGE, Bridge, bridge

pytestmark = pytest.mark.anyio

NOW_MS = 1_767_225_600_000
NOW = "2026-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def mastra() -> Iterator[Bridge]:
    """Mastra's functions alone."""
    with bridge(BRIDGE / "mastra_reference") as running:
        yield running


def settings_of(mastra: Bridge, tmp_path: Path, **given: Any) -> Settings:
    return settings_in(
        tmp_path,
        convex_url=mastra.url,
        convex_admin_key=SecretStr(mastra.admin_key),
        **{"resource_id": "ann", **given},
    )


@pytest.fixture
async def caller(mastra: Bridge, tmp_path: Path) -> AsyncIterator[Caller]:
    mastra.reset(NOW_MS)
    async with connected("memory/2026", settings_of(mastra, tmp_path)) as caller:
        yield caller


@pytest.fixture
async def stranger(caller: Caller, mastra: Bridge, tmp_path: Path) -> AsyncIterator[Caller]:
    """Another user of the same deployment."""
    async with connected(
        "memory/2026", settings_of(mastra, tmp_path, resource_id="bob")
    ) as stranger:
        yield stranger


def stored_by_mastra(mastra: Bridge, thread_id: str, *texts: str, owner: str = "ann") -> None:
    """Put a thread into the tables as a Mastra app does."""
    row = {"id": thread_id, "resourceId": owner, "title": "From Mastra", "metadata": {"n": 1}}
    mastra.rows("mastra_threads", [{**row, "createdAt": NOW, "updatedAt": NOW}])
    content = [
        {"format": 2, "parts": [{"type": "text", "text": text}], "content": text} for text in texts
    ]
    messages = [
        {
            "id": f"{thread_id}-{number}",
            "thread_id": thread_id,
            "resourceId": owner,
            "role": "assistant" if number % 2 else "user",
            "type": "v2",
            "content": json.dumps(each),
            "createdAt": f"2025-12-31T00:00:{number:02d}.000Z",
        }
        for number, each in enumerate(content)
    ]
    mastra.rows("mastra_messages", messages)


def contents(answer: dict[str, Any]) -> list[str]:
    return [message["content"] for message in answer["messages"]]


# --- What a Mastra app has left there


async def test_a_mastra_apps_conversation_is_recalled_page_by_page(
    caller: Caller, mastra: Bridge
) -> None:
    stored_by_mastra(mastra, "m", *(f"line {n}" for n in range(7)))
    pages: list[list[str]] = []
    cursor = None
    while True:
        page = await caller.call("recall_thread", thread_id="m", limit=3, cursor=cursor)
        pages.append(contents(page))
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == [
        ["line 4", "line 5", "line 6"],
        ["line 1", "line 2", "line 3"],
        ["line 0"],
    ]
    assert page["thread"]["title"] == "From Mastra"
    assert page["thread"]["metadata"] == {"n": 1}
    oldest = await caller.call("recall_thread", thread_id="m", limit=2, order="oldest")
    assert contents(oldest) == ["line 0", "line 1"]


async def test_the_surroundings_of_a_message_and_what_matters_for_a_query(
    caller: Caller, mastra: Bridge
) -> None:
    stored_by_mastra(mastra, "m", "one", "two", "the kettle sings", "four", "five")
    around = await caller.call("recall_thread", thread_id="m", around="m-2", limit=3)
    assert contents(around) == ["two", "the kettle sings", "four"]
    for_query = await caller.call("recall_thread", thread_id="m", query="singing kettles")
    assert contents(for_query) == ["two", "the kettle sings", "four"]


async def test_a_mastra_apps_messages_are_found(caller: Caller, mastra: Bridge) -> None:
    stored_by_mastra(mastra, "m", "We went sailing", "The kettle is on", "It sails well")
    stored_by_mastra(mastra, "theirs", "sailing, too", owner="bob")
    found = await caller.call("search_memory", query="sail", neighbours=1)
    assert {hit["message_id"] for hit in found["hits"]} == {"m-0", "m-2"}
    assert (found["exhausted"], found["searched"]) == (True, ["lexical"])
    by_id = {hit["message_id"]: hit for hit in found["hits"]}
    assert [message["content"] for message in by_id["m-2"]["before"]] == ["The kettle is on"]
    narrowed = await caller.call("search_memory", query="sail", role="assistant")
    assert narrowed["hits"] == []
    first = await caller.call("search_memory", query="sail", limit=1)
    rest = await caller.call("search_memory", query="sail", limit=1, cursor=first["next_cursor"])
    ids = [hit["message_id"] for hit in first["hits"] + rest["hits"]]
    assert sorted(ids) == ["m-0", "m-2"]
    assert rest["next_cursor"] is None


# --- Saving and changing


async def test_saving_lists_and_counts_as_anywhere(caller: Caller) -> None:
    saved = await caller.call(
        "save_message", role="user", content="Hello", title="Greeting", thread_id="t"
    )
    assert (saved["thread_id"], saved["status"]) == ("t", "stored")
    again = await caller.call(
        "save_messages",
        thread_id="t",
        messages=[
            {"role": "user", "content": "Hello", "message_id": saved["message_id"]},
            {"role": "assistant", "content": "Hi", "metadata": {"mood": "good"}},
        ],
    )
    assert [each["status"] for each in again["saved"]] == ["unchanged", "stored"]
    conflict = await caller.refused(
        "save_message",
        role="user",
        content="Other",
        thread_id="t",
        message_id=saved["message_id"],
    )
    assert conflict.code == "conflict"
    assert contents(await caller.call("recall_thread", thread_id="t")) == ["Hello", "Hi"]
    await caller.call("save_message", role="user", content="Elsewhere", thread_id="u")
    first = await caller.call("list_threads", limit=1)
    rest = await caller.call("list_threads", limit=5, cursor=first["next_cursor"])
    listed = first["threads"] + rest["threads"]
    assert sorted(each["id"] for each in listed) == ["t", "u"]
    assert {each["id"]: each["title"] for each in listed} == {"t": "Greeting", "u": ""}
    assert rest["next_cursor"] is None


async def test_threads_are_changed_cloned_and_deleted(caller: Caller) -> None:
    await caller.save("t", "one", "two", "three")
    updated = await caller.call(
        "update_thread", thread_id="t", title="Numbers", metadata={"a": 1, "b": 2}
    )
    assert (updated["thread"]["title"], updated["thread"]["metadata"]) == (
        "Numbers",
        {"a": 1, "b": 2},
    )
    reduced = await caller.call("update_thread", thread_id="t", metadata={"a": None})
    assert (reduced["thread"]["title"], reduced["thread"]["metadata"]) == ("Numbers", {"b": 2})
    clone = await caller.call("clone_thread", thread_id="t", message_limit=2)
    assert (clone["thread"]["title"], clone["cloned_messages"]) == ("Clone of Numbers", 2)
    copy = clone["thread"]["id"]
    assert contents(await caller.call("recall_thread", thread_id=copy)) == ["two", "three"]
    page = await caller.call("recall_thread", thread_id=copy)
    ids = [message["id"] for message in page["messages"]]
    deleted = await caller.call("delete_messages", message_ids=[ids[0], "nobody"])
    assert deleted == {"deleted": [ids[0]], "not_found": ["nobody"], "restorable_until": None}
    assert contents(await caller.call("recall_thread", thread_id=copy)) == ["three"]
    gone = await caller.call("delete_thread", thread_id="t")
    assert gone == {"thread_id": "t", "deleted_messages": 3, "restorable_until": None}
    assert (await caller.refused("recall_thread", thread_id="t")).code == "not_found"
    assert (await caller.refused("delete_thread", thread_id="t")).code == "not_found"
    assert (await caller.call("search_memory", query="one"))["hits"] == []


async def test_working_memory_is_kept_where_mastra_keeps_it(caller: Caller, mastra: Bridge) -> None:
    assert (await caller.call("get_working_memory"))["working_memory"] is None
    written = await caller.call("update_working_memory", content='{"name": "Ann", "cat": "Mia"}')
    assert written["updated_at"] is not None
    merged = await caller.call(
        "update_working_memory", content='{"cat": null, "likes": ["tea"]}', mode="merge"
    )
    assert json.loads(merged["working_memory"]) == {"name": "Ann", "likes": ["tea"]}
    assert (await caller.call("get_working_memory"))["working_memory"] == merged["working_memory"]
    [row] = mastra.rows("mastra_resources")
    assert (row["id"], row["workingMemory"]) == ("ann", merged["working_memory"])
    await caller.save("t", "one")
    for text in ("about tea", "and milk"):
        await caller.call("update_working_memory", content=text, thread_id="t", mode="append")
    of_thread = await caller.call("get_working_memory", thread_id="t")
    assert of_thread["working_memory"] == "about tea\nand milk"
    [thread] = mastra.rows("mastra_threads")
    assert thread["metadata"] == {"workingMemory": "about tea\nand milk"}


async def test_what_belongs_to_another_does_not_exist(caller: Caller, stranger: Caller) -> None:
    [saved] = await caller.save("t", "a secret about kettles")
    ours: dict[str, Any] = {"thread_id": "t"}
    for tool, arguments in (
        ("recall_thread", ours),
        ("recall_thread", {**ours, "around": saved["message_id"]}),
        ("recall_thread", {**ours, "query": "kettles"}),
        ("update_thread", {**ours, "title": "Mine"}),
        ("clone_thread", ours),
        ("delete_thread", ours),
        ("get_working_memory", ours),
        ("update_working_memory", {**ours, "content": "Mine"}),
        ("save_message", {**ours, "role": "user", "content": "Mine"}),
    ):
        refusal = await stranger.refused(tool, **arguments)
        assert (tool, refusal.code) == (tool, "not_found")
    assert (await stranger.call("search_memory", query="kettles"))["hits"] == []
    assert (await stranger.call("list_threads"))["threads"] == []
    untouched = await stranger.call("delete_messages", message_ids=[saved["message_id"]])
    assert (untouched["deleted"], untouched["not_found"]) == ([], [saved["message_id"]])
    assert contents(await caller.call("recall_thread", **ours)) == ["a secret about kettles"]


async def test_embeddings_streams_and_resources_work_too(caller: Caller) -> None:
    await caller.call("create_index", index="notes", dimension=2)
    items = [{"id": "x", "vector": [1, 0]}, {"id": "y", "vector": [0, 1]}]
    await caller.call("upsert_embeddings", index="notes", items=items)
    nearest = await caller.call("vector_query", index="notes", vector=[1, 0.1], top_k=1)
    assert [match["id"] for match in nearest["matches"]] == ["x"]
    for value in ("first", "second"):
        await caller.call("cache_push", key="stream", value=value)
    assert (await caller.call("cache_replay", key="stream"))["items"] == ["first", "second"]
    await caller.save("t", "one")
    listed = await caller.client.list_resources()
    assert [str(each.uri) for each in listed.resources] == [
        "memory://working-memory",
        "memory://threads/t",
    ]
    [text] = (await caller.client.read_resource("memory://threads/t")).contents
    assert "one" in text.model_dump()["text"]


# --- What it says


async def test_the_command_says_once_on_stderr_what_is_slower(
    mastra: Bridge, tmp_path: Path
) -> None:
    mastra.reset(NOW_MS)
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "convex_memory"],
        env={
            "PYTHONWARNINGS": "error",
            "CONVEX_URL": mastra.url,
            "CONVEX_ADMIN_KEY": mastra.admin_key,
            "MEMORY_DATA_DIR": str(tmp_path / "unused"),
            **LEAVES_AT_ONCE,
        },
        cwd=ROOT,
    )
    log = tmp_path / "stderr"
    with log.open("w", encoding="utf-8") as stderr:
        async with Client(stdio_client(parameters, errlog=stderr)) as client:
            caller = Caller(client)
            await caller.save("t", "one", "two")
            assert contents(await caller.call("recall_thread", thread_id="t")) == ["one", "two"]
            await caller.call("list_indexes")
            await caller.call("search_memory", query="two")
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    told = [each for each in records if "only Mastra's functions" in each["message"]]
    assert [(each["level"], each["logger"]) for each in told] == [
        ("warning", "convex_memory.capabilities")
    ]
    assert "slower" in told[0]["message"]
    assert "`convex-memory functions DIR`" in told[0]["message"]
    assert "`npx convex deploy`" in told[0]["message"]


async def test_a_call_with_a_key_happens_once_and_listening_is_no_error(caller: Caller) -> None:
    meta: Any = {META_KEY: "k"}
    for _ in range(2):
        pushed = await caller.client.call_tool("cache_push", {"key": "s", "value": 1}, meta=meta)
        assert pushed.structured_content == {"length": 1}
    async with caller.client.listen(resource_subscriptions=["memory://threads/t"]):
        await caller.save("t", "Hello")
    assert (await caller.call("cache_replay", key="s"))["items"] == [1]
