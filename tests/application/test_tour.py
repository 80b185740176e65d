"""Every tool once, the same over every transport and in both eras of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.application.connections import EVERYWHERE, Caller, connected, settings_in

pytestmark = pytest.mark.anyio

MORNING = "2026-03-01T09:00:00.000Z"
NOON = "2026-03-01T12:00:00.000Z"


@pytest.mark.parametrize("leg", EVERYWHERE)
async def test_every_tool_answers_in_its_published_shape(leg: str, tmp_path: Path) -> None:
    async with connected(leg, settings_in(tmp_path)) as caller:
        versions = {"2026": "2026-07-28", "2025": "2025-11-25"}
        assert caller.client.protocol_version == versions[leg.partition("/")[2]]
        used = [
            *await _tour_memory(caller),
            *await _tour_vectors(caller),
            *await _tour_cache(caller),
        ]
        listed = await caller.client.list_tools()
        assert sorted(used) == sorted(tool.name for tool in listed.tools)
        assert listed.next_cursor is None


async def _tour_memory(caller: Caller) -> list[str]:
    first = {
        "message_id": "m1",
        "thread_id": "trip",
        "created_at": MORNING,
        "status": "stored",
        "embedding": "off",
    }
    assert (
        await caller.call(
            "save_message",
            role="user",
            content="We fly to Lisbon",
            thread_id="trip",
            message_id="m1",
            title="Trip",
            metadata={"lang": "en"},
            created_at=MORNING,
        )
        == first
    )
    answer = {"role": "assistant", "content": "Pack a raincoat", "message_id": "m2"}
    assert await caller.call(
        "save_messages", thread_id="trip", messages=[{**answer, "created_at": NOON}]
    ) == {
        "thread_id": "trip",
        "saved": [{**first, "message_id": "m2", "created_at": NOON}],
    }
    shown: list[dict[str, Any]] = [
        {
            "id": "m1",
            "role": "user",
            "content": "We fly to Lisbon",
            "created_at": MORNING,
            "metadata": {"lang": "en"},
        },
        {"id": "m2", "role": "assistant", "content": "Pack a raincoat", "created_at": NOON},
    ]
    recalled = await caller.call("recall_thread", thread_id="trip")
    thread = recalled.pop("thread")
    assert recalled == {"messages": shown, "next_cursor": None}
    assert thread == {"id": "trip", "title": "Trip"} | {
        name: thread[name] for name in ("created_at", "updated_at")
    }
    found = await caller.call("search_memory", query="raincoat")
    hit, *_ = found.pop("hits")
    assert found == {
        "exhausted": True,
        "searched": ["lexical"],
        "pending": 0,
        "next_cursor": None,
    }
    assert hit == {
        "message_id": "m2",
        "thread_id": "trip",
        "role": "assistant",
        "content": "Pack a raincoat",
        "created_at": NOON,
        "score": hit["score"],
        "reasons": {"lexical": hit["score"]},
    }
    listed = {"threads": [thread], "next_cursor": None}
    assert await caller.call("list_threads") == listed
    renamed = await caller.call("update_thread", thread_id="trip", title="Holiday")
    assert renamed["thread"]["title"] == "Holiday"
    cloned = await caller.call("clone_thread", thread_id="trip", title="Copy")
    assert cloned["cloned_messages"] == 2
    assert cloned["thread"]["title"] == "Copy"
    gone = await caller.call("delete_messages", message_ids=["m2", "m9"])
    until = gone["restorable_until"]
    assert gone == {"deleted": ["m2"], "not_found": ["m9"], "restorable_until": until}
    restored = await caller.call("restore", message_ids=["m2"])
    assert restored == {"restored_messages": 1, "restored": ["m2"], "not_found": []}
    changed = await caller.call("update_message", message_id="m2", content="By night train")
    assert changed["message"]["content"] == "By night train"
    deleted = await caller.call("delete_thread", thread_id="trip", permanent=True)
    assert deleted == {"thread_id": "trip", "deleted_messages": 2, "restorable_until": None}
    assert await caller.call("get_working_memory") == {"working_memory": None, "updated_at": None}
    noted = await caller.call("update_working_memory", content="Likes trains")
    assert noted == {"working_memory": "Likes trains", "updated_at": noted["updated_at"]}
    return [
        "save_message",
        "save_messages",
        "recall_thread",
        "search_memory",
        "list_threads",
        "update_thread",
        "clone_thread",
        "delete_thread",
        "delete_messages",
        "restore",
        "update_message",
        "get_working_memory",
        "update_working_memory",
    ]


async def _tour_vectors(caller: Caller) -> list[str]:
    index = {"index": "notes", "dimension": 2, "metric": "cosine"}
    assert await caller.call("create_index", index="notes", dimension=2) == index
    assert await caller.call("list_indexes") == {
        "indexes": ["notes"],
        "next_cursor": None,
    }
    items = [{"id": "a", "vector": [1, 0], "metadata": {"n": 1}}, {"id": "b", "vector": [0, 2]}]
    stored = {"index": "notes", "upserted": 2, "ids": ["a", "b"]}
    assert await caller.call("upsert_embeddings", index="notes", items=items) == stored
    assert await caller.call("describe_index", index="notes") == {**index, "count": 2}
    assert await caller.call(
        "vector_query", index="notes", vector=[0, 1], top_k=1, include_vectors=True
    ) == {
        "matches": [{"id": "b", "score": 1.0, "metadata": None, "vector": [0.0, 2.0]}],
        "exhausted": True,
    }
    changed = await caller.call("update_embedding", index="notes", id="a", metadata={"n": 2})
    assert changed == {"id": "a", "updated": True}
    gone = {"index": "notes", "deleted": True}
    assert await caller.call("delete_embeddings", index="notes", ids=["a"]) == gone
    assert await caller.call("delete_index", index="notes") == gone
    return [
        "create_index",
        "list_indexes",
        "describe_index",
        "upsert_embeddings",
        "vector_query",
        "update_embedding",
        "delete_embeddings",
        "delete_index",
    ]


async def _tour_cache(caller: Caller) -> list[str]:
    assert await caller.call("cache_set", key="k", value=[1]) == {"key": "k", "stored": True}
    assert await caller.call("cache_get", key="k") == {"key": "k", "found": True, "value": [1]}
    assert await caller.call("cache_push", key="s", value={"a": 1}) == {"length": 1}
    replayed = {"items": [{"a": 1}], "next_index": 1, "length": 1}
    assert await caller.call("cache_replay", key="s") == replayed
    assert await caller.call("cache_increment", key="c") == {"value": 1}
    assert await caller.call("cache_delete", key="k") == {"key": "k", "deleted": True}
    assert await caller.call("cache_clear") == {"cleared": True}
    return [
        "cache_set",
        "cache_get",
        "cache_push",
        "cache_replay",
        "cache_increment",
        "cache_delete",
        "cache_clear",
    ]
