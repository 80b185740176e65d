"""`save_message` and `save_messages`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.application.connections import Caller, stored_in

pytestmark = pytest.mark.anyio

LOOKS_LIKE_JSON = (
    '{"a":1}',
    "null",
    "[1]",
    '"quoted"',
    "42",
    "true",
    '{"format":2,"parts":[{"type":"text","text":"inner"}]}',
    '{"text":"inner"}',
)
AWKWARD = (
    "  spaces kept \n\n",
    "zero\0byte",
    "семь 🦊 e\u0301",
    "a\r\nb\ttab",
    "'; DROP TABLE x;--",
)


async def recalled(caller: Caller, thread_id: str) -> list[dict[str, Any]]:
    answer = await caller.call("recall_thread", thread_id=thread_id, limit=200)
    return list(answer["messages"])


async def test_a_message_without_a_thread_begins_a_new_one(caller: Caller) -> None:
    first = await caller.call("save_message", role="user", content="one", title="First")
    second = await caller.call("save_message", role="user", content="two")
    assert first["thread_id"] != second["thread_id"]
    assert first["message_id"] != second["message_id"]
    listed = await caller.call("list_threads", order="oldest")
    assert [(t["id"], t["title"]) for t in listed["threads"]] == [
        (first["thread_id"], "First"),
        (second["thread_id"], ""),
    ]


async def test_the_title_of_a_thread_that_exists_stays(caller: Caller) -> None:
    for title in ("Kept", "Ignored"):
        await caller.call("save_message", role="user", content=title, thread_id="t", title=title)
    answer = await caller.call("recall_thread", thread_id="t")
    assert answer["thread"]["title"] == "Kept"
    assert [message["content"] for message in answer["messages"]] == ["Kept", "Ignored"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01T12:00:00.1239Z", "2026-03-01T12:00:00.123Z"),
        ("2026-03-01", "2026-03-01T00:00:00.000Z"),
    ],
)
async def test_times_are_kept_in_utc_to_the_millisecond(
    caller: Caller, given: str, kept: str
) -> None:
    saved = await caller.call(
        "save_message", role="user", content="x", thread_id="t", created_at=given
    )
    assert saved["created_at"] == kept
    assert [message["created_at"] for message in await recalled(caller, "t")] == [kept]


@pytest.mark.parametrize("content", LOOKS_LIKE_JSON + AWKWARD)
async def test_content_comes_back_word_for_word(caller: Caller, content: str) -> None:
    saved = await caller.call("save_message", role="tool", content=content, thread_id="t")
    again = await caller.call(
        "save_message",
        role="tool",
        content=content,
        thread_id="t",
        message_id=saved["message_id"],
    )
    assert again == {**saved, "status": "unchanged"}
    assert [message["content"] for message in await recalled(caller, "t")] == [content]


async def test_texts_that_look_like_json_stay_texts_everywhere(caller: Caller) -> None:
    await caller.call(
        "save_message",
        role="user",
        content="x",
        thread_id='{"t":1}',
        message_id="null",
        title="[1]",
        metadata={"text": '{"a":1}'},
    )
    answer = await caller.call("recall_thread", thread_id='{"t":1}')
    assert answer["thread"]["title"] == "[1]"
    [message] = answer["messages"]
    assert (message["id"], message["metadata"]) == ("null", {"text": '{"a":1}'})
    await caller.call("update_thread", thread_id='{"t":1}', title="null")
    assert (await caller.call("list_threads"))["threads"][0]["title"] == "null"
    await caller.call("update_working_memory", content='{"a":1}')
    assert (await caller.call("get_working_memory"))["working_memory"] == '{"a":1}'
    await caller.call("cache_set", key="[1]", value='{"a":1}')
    assert (await caller.call("cache_get", key="[1]"))["value"] == '{"a":1}'


async def test_sending_a_message_id_twice_saves_one_message(caller: Caller, tmp_path: Path) -> None:
    message = {"role": "user", "content": "once", "thread_id": "t", "message_id": "m"}
    first = await caller.call("save_message", **message, created_at="2026-01-01T00:00:00Z")
    assert first["status"] == "stored"
    before = stored_in(tmp_path)
    again = await caller.call("save_message", **message, created_at="2026-02-02T00:00:00Z")
    assert again == {**first, "status": "unchanged"}
    assert stored_in(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"content": "other"},
        {"role": "assistant"},
        {"thread_id": "t2"},
        {"metadata": {"n": 2}},
    ],
)
async def test_a_known_message_id_with_other_content_is_a_conflict(
    caller: Caller, tmp_path: Path, change: dict[str, Any]
) -> None:
    message = {
        "role": "user",
        "content": "once",
        "thread_id": "t",
        "message_id": "m",
        "metadata": {"n": 1},
    }
    await caller.call("save_message", **message)
    before = stored_in(tmp_path)
    refusal = await caller.refused("save_message", **{**message, **change})
    assert refusal.code == "conflict"
    assert "'m'" in refusal.message
    assert "another message id" in refusal.message
    assert stored_in(tmp_path) == before


async def test_many_messages_are_kept_in_the_order_given(caller: Caller) -> None:
    contents = [f"turn {number}" for number in range(100)]
    answer = await caller.call(
        "save_messages",
        thread_id="t",
        title="Long",
        messages=[{"role": "user", "content": content} for content in contents],
    )
    assert answer["thread_id"] == "t"
    assert [each["status"] for each in answer["saved"]] == ["stored"] * 100
    shown = await recalled(caller, "t")
    assert [message["content"] for message in shown] == contents
    assert [message["id"] for message in shown] == [m["message_id"] for m in answer["saved"]]


async def test_many_messages_are_saved_all_or_none(caller: Caller, tmp_path: Path) -> None:
    await caller.call(
        "save_message", role="user", content="first", thread_id="t", message_id="taken"
    )
    before = stored_in(tmp_path)
    refusal = await caller.refused(
        "save_messages",
        thread_id="t",
        messages=[
            {"role": "user", "content": "new"},
            {"role": "user", "content": "clash", "message_id": "taken"},
        ],
    )
    assert refusal.code == "conflict"
    assert stored_in(tmp_path) == before


async def test_a_repeated_batch_says_which_messages_were_there(caller: Caller) -> None:
    batch = [{"role": "user", "content": f"m{n}", "message_id": f"m{n}"} for n in range(3)]
    await caller.call("save_messages", thread_id="t", messages=batch[:2])
    answer = await caller.call("save_messages", thread_id="t", messages=batch)
    assert [each["status"] for each in answer["saved"]] == ["unchanged", "unchanged", "stored"]
    assert [message["content"] for message in await recalled(caller, "t")] == ["m0", "m1", "m2"]


async def test_metadata_of_a_message_survives_whatever_its_keys(caller: Caller) -> None:
    metadata = {
        "$dollar": 1,
        "größe": {"nested": [1, 2.5, None, True, "x"]},
        "_id": "mine",
        "": "empty",
        "deep": [[[[[[[[[[[[[[[[[[["down"]]]]]]]]]]]]]]]]]]],
        "big": 2**53 - 1,
    }
    await caller.call("save_message", role="user", content="x", thread_id="t", metadata=metadata)
    [message] = await recalled(caller, "t")
    assert message["metadata"] == metadata


async def test_saving_touches_when_the_thread_was_last_written_to(caller: Caller) -> None:
    for thread_id in ("a", "b"):
        await caller.call("save_message", role="user", content="x", thread_id=thread_id)
    written = {thread["id"]: thread["updated_at"] for thread in await _threads(caller)}
    while written["a"] <= written["b"]:  # The clock may still show the same millisecond.
        await caller.call("save_message", role="user", content="x", thread_id="a")
        written = {thread["id"]: thread["updated_at"] for thread in await _threads(caller)}
    assert [thread["id"] for thread in await _threads(caller)] == ["a", "b"]


async def _threads(caller: Caller) -> list[dict[str, Any]]:
    return list((await caller.call("list_threads"))["threads"])
