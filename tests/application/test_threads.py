"""Threads: listing, changing, copying and deleting them, and working memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.application.connections import Caller, stored_in

pytestmark = pytest.mark.anyio


async def thread_ids(caller: Caller, **arguments: Any) -> list[list[str]]:
    """Walk the list of threads to its end."""
    pages = []
    cursor: dict[str, str] = {}
    while True:
        answer = await caller.call("list_threads", **arguments, **cursor)
        pages.append([thread["id"] for thread in answer["threads"]])
        if answer["next_cursor"] is None:
            return pages
        cursor = {"cursor": answer["next_cursor"]}


async def contents(caller: Caller, thread_id: str) -> list[str]:
    answer = await caller.call("recall_thread", thread_id=thread_id, limit=200)
    return [message["content"] for message in answer["messages"]]


# --- Listing and changing


async def test_threads_are_listed_a_page_at_a_time_by_when_they_were_written_to(
    caller: Caller,
) -> None:
    assert await thread_ids(caller) == [[]]
    created = [f"t{number:02}" for number in range(23)]
    for thread_id in created:
        await caller.save(thread_id, "x")
    assert await thread_ids(caller, limit=10, order="oldest") == [
        created[:10],
        created[10:20],
        created[20:],
    ]
    newest = created[::-1]
    assert await thread_ids(caller, limit=10) == [newest[:10], newest[10:20], newest[20:]]
    assert await thread_ids(caller, limit=23) == [newest]


async def test_a_cursor_of_the_other_order_is_refused(caller: Caller) -> None:
    for thread_id in ("a", "b"):
        await caller.save(thread_id, "x")
    cursor = (await caller.call("list_threads", limit=1))["next_cursor"]
    refusal = await caller.refused("list_threads", order="oldest", cursor=cursor)
    assert refusal.code == "invalid_argument"


async def test_updating_a_thread_merges_metadata(caller: Caller) -> None:
    await caller.save("t", "x")
    first = await caller.call("update_thread", thread_id="t", metadata={"a": 1, "b": {"c": 2}})
    assert first["thread"]["metadata"] == {"a": 1, "b": {"c": 2}}
    changed = await caller.call(
        "update_thread", thread_id="t", title="New", metadata={"a": None, "b": {"d": 3}}
    )
    assert changed["thread"]["title"] == "New"
    assert changed["thread"]["metadata"] == {"b": {"d": 3}}
    cleared = await caller.call("update_thread", thread_id="t", title="", metadata={"b": None})
    assert cleared["thread"]["title"] == ""
    assert "metadata" not in cleared["thread"]
    assert (await caller.call("recall_thread", thread_id="t"))["thread"] == cleared["thread"]


async def test_large_metadata_of_threads_is_left_out_of_lists(caller: Caller) -> None:
    for thread_id in ("a", "b"):
        await caller.save(thread_id, "x")
        await caller.call("update_thread", thread_id=thread_id, metadata={"n": "z" * 20_000})
    listed = await caller.call("list_threads")
    assert [thread["metadata_chars"] for thread in listed["threads"]] == [20_008, 20_008]


# --- Copying


async def test_a_clone_has_the_messages_and_leaves_the_original_alone(caller: Caller) -> None:
    saved = await caller.save("t", "one", "two", "three", metadata={"n": 1})
    await caller.call("update_thread", thread_id="t", title="Origin")
    before = await caller.call("recall_thread", thread_id="t")
    clone = await caller.call("clone_thread", thread_id="t")
    assert clone["cloned_messages"] == 3
    assert clone["thread"]["title"] == "Clone of Origin"
    assert clone["thread"]["metadata"]["clone"] == {
        "sourceThreadId": "t",
        "clonedAt": clone["thread"]["created_at"],
        "lastMessageId": saved[2]["message_id"],
    }
    copy = await caller.call("recall_thread", thread_id=clone["thread"]["id"])
    for message, original in zip(copy["messages"], before["messages"], strict=True):
        assert message == {**original, "id": message["id"]}
        assert message["id"] != original["id"]
    await caller.save(clone["thread"]["id"], "four")
    assert await caller.call("recall_thread", thread_id="t") == before
    assert await contents(caller, clone["thread"]["id"]) == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("limit", "copied"), [(1, ["three"]), (2, ["two", "three"]), (9, ["one", "two", "three"])]
)
async def test_a_clone_can_copy_only_the_newest(
    caller: Caller, limit: int, copied: list[str]
) -> None:
    await caller.save("t", "one", "two", "three")
    clone = await caller.call("clone_thread", thread_id="t", title="Part", message_limit=limit)
    assert clone["cloned_messages"] == len(copied)
    assert clone["thread"]["title"] == "Part"
    assert await contents(caller, clone["thread"]["id"]) == copied


# --- Deleting


async def test_deleting_a_thread_takes_all_its_messages(caller: Caller, tmp_path: Path) -> None:
    await caller.save("kept", "stays")
    await caller.save("t", *[f"m{number}" for number in range(2500)])
    answer = await caller.call("delete_thread", thread_id="t")
    assert (answer["thread_id"], answer["deleted_messages"]) == ("t", 2500)
    refusal = await caller.refused("recall_thread", thread_id="t")
    assert refusal.code == "not_found"
    assert await thread_ids(caller) == [["kept"]]
    assert await contents(caller, "kept") == ["stays"]
    assert len(stored_in(tmp_path)["mastra_messages"]) == 1
    again = await caller.refused("delete_thread", thread_id="t")
    assert again.code == "not_found"
    assert "list_threads" in again.message


async def test_a_deleted_threads_id_can_be_used_again(caller: Caller) -> None:
    await caller.save("t", "old")
    await caller.call("delete_thread", thread_id="t")
    await caller.save("t", "new")
    assert await contents(caller, "t") == ["new"]


async def test_deleting_messages_says_which_there_were(caller: Caller) -> None:
    saved = await caller.save("t", "one", "two", "three")
    ids = [each["message_id"] for each in saved]
    answer = await caller.call("delete_messages", message_ids=[ids[2], "missing", ids[0], ids[0]])
    assert (answer["deleted"], answer["not_found"]) == ([ids[2], ids[0]], ["missing"])
    assert await contents(caller, "t") == ["two"]
    again = await caller.call("delete_messages", message_ids=[ids[0]])
    assert again == {"deleted": [], "not_found": [ids[0]], "restorable_until": None}


# --- Working memory


async def test_working_memory_is_replaced_appended_and_read(caller: Caller) -> None:
    for arguments, text in (
        ({"content": "# Notes\n"}, "# Notes\n"),
        ({"content": "- likes rye", "mode": "append"}, "# Notes\n- likes rye"),
        ({"content": "fresh", "mode": "replace"}, "fresh"),
        ({"content": ""}, ""),
        ({"content": "again", "mode": "append"}, "again"),
    ):
        changed = await caller.call("update_working_memory", **arguments)
        assert changed["working_memory"] == text
        assert await caller.call("get_working_memory") == changed


async def test_long_working_memory_is_read_on_until_complete(caller: Caller) -> None:
    notes = "".join(f"- fact {number} ünï\n" for number in range(2000))
    changed = await caller.call("update_working_memory", content=notes)
    assert changed["chars"] == len(notes)
    assert len(changed["working_memory"]) < len(notes)
    text = ""
    while True:
        part = await caller.call("get_working_memory", offset=len(text), max_chars=9000)
        assert len(part["working_memory"]) <= 9000
        text += part["working_memory"]
        if len(text) == part.get("chars", len(notes)):
            break
    assert text == notes


async def test_working_memory_merges_json_objects(caller: Caller) -> None:
    for content, text in (
        ('{"name": "Mara", "pets": {"cat": 1}}', '{"name": "Mara", "pets": {"cat": 1}}'),
        ('{"pets": {"dog": 2}, "city": null}', '{"name": "Mara", "pets": {"cat": 1, "dog": 2}}'),
        ('{"name": null, "pets": {"cat": null}}', '{"pets": {"dog": 2}}'),
        ('{"pets": [3]}', '{"pets": [3]}'),
        ('{"größe": "ü"}', '{"pets": [3], "größe": "ü"}'),
    ):
        changed = await caller.call("update_working_memory", content=content, mode="merge")
        assert changed["working_memory"] == text


@pytest.mark.parametrize("content", ["not json", "[1]", '"text"', "null"])
async def test_merging_anything_but_objects_is_refused(
    caller: Caller, tmp_path: Path, content: str
) -> None:
    await caller.call("update_working_memory", content='{"a": 1}')
    before = stored_in(tmp_path)
    refusal = await caller.refused("update_working_memory", content=content, mode="merge")
    assert refusal.code == "invalid_argument"
    assert "JSON object" in refusal.message
    assert stored_in(tmp_path) == before


async def test_merging_into_notes_that_are_not_json_is_refused(caller: Caller) -> None:
    await caller.call("update_working_memory", content="# Notes")
    refusal = await caller.refused("update_working_memory", content='{"a": 1}', mode="merge")
    assert refusal.code == "invalid_argument"
    assert "mode replace" in refusal.message


async def test_the_working_memory_of_a_thread_is_its_own(caller: Caller) -> None:
    await caller.save("t", "x")
    await caller.call("update_thread", thread_id="t", metadata={"kept": 1})
    await caller.call("update_working_memory", content="about me")
    await caller.call("update_working_memory", content="about this", thread_id="t")
    answer = await caller.call("get_working_memory", thread_id="t")
    assert answer["working_memory"] == "about this"
    assert (await caller.call("get_working_memory"))["working_memory"] == "about me"
    shown = (await caller.call("recall_thread", thread_id="t"))["thread"]
    assert shown["metadata"] == {"kept": 1}
    refusal = await caller.refused("get_working_memory", thread_id="missing")
    assert refusal.code == "not_found"
    refusal = await caller.refused("update_working_memory", content="x", thread_id="missing")
    assert refusal.code == "not_found"
