"""`recall_thread`: pages, surroundings, what matters for a query, and the budget of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from server.settings import Settings
from tests.application.connections import Caller, connected, settings_in

pytestmark = pytest.mark.anyio

Order = Literal["newest", "oldest"]
LEAST_CHARS = 200


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages]


async def pages(caller: Caller, thread_id: str, **arguments: Any) -> list[list[dict[str, Any]]]:
    """Walk a thread to its end."""
    walked: list[list[dict[str, Any]]] = []
    cursor = None
    while True:
        given: dict[str, str] = {"cursor": cursor} if cursor else {}
        answer = await caller.call("recall_thread", thread_id=thread_id, **arguments, **given)
        walked.append(answer["messages"])
        cursor = answer["next_cursor"]
        if cursor is None:
            return walked


# --- Pages


async def test_pages_hold_every_message_once_in_the_order_asked_for(caller: Caller) -> None:
    said = [f"turn {number:03}" for number in range(130)]
    await caller.save("long", *said)
    oldest = await pages(caller, "long", order="oldest", limit=20)
    newest = await pages(caller, "long", order="newest", limit=20)
    assert [len(page) for page in oldest] == [len(page) for page in newest] == [20] * 6 + [10]
    assert [content for page in oldest for content in contents(page)] == said
    assert [content for page in newest for content in contents(page)] == said[::-1]


async def test_without_an_order_the_newest_page_comes_first_and_reads_forwards(
    caller: Caller,
) -> None:
    said = [f"turn {number:03}" for number in range(50)]
    await caller.save("long", *said)
    walked = await pages(caller, "long", limit=20)
    assert contents(walked[0]) == said[-20:]
    assert [content for page in walked[::-1] for content in contents(page)] == said


async def test_the_last_full_page_has_no_cursor(caller: Caller) -> None:
    await caller.save("t", *[f"m{number}" for number in range(40)])
    assert [len(page) for page in await pages(caller, "t", limit=20)] == [20, 20]
    assert [len(page) for page in await pages(caller, "t", limit=200)] == [40]


async def test_messages_of_one_instant_are_neither_lost_nor_doubled(caller: Caller) -> None:
    said = [f"m{number}" for number in range(25)]
    await caller.save("t", *said, created_at="2026-01-01T00:00:00Z")
    walked = await pages(caller, "t", limit=4, order="oldest")
    assert [content for page in walked for content in contents(page)] == said
    walked = await pages(caller, "t", limit=4)
    assert [content for page in walked[::-1] for content in contents(page)] == said


async def test_messages_saved_between_pages_do_not_shift_them(caller: Caller) -> None:
    await caller.save("t", *[f"m{number}" for number in range(6)])
    newest = await caller.call("recall_thread", thread_id="t", limit=3)
    oldest = await caller.call("recall_thread", thread_id="t", limit=3, order="oldest")
    await caller.save("t", "m6")
    await caller.call(
        "save_message", role="user", content="m-1", thread_id="t", created_at="2001-01-01"
    )
    rest = await caller.call("recall_thread", thread_id="t", limit=10, cursor=newest["next_cursor"])
    assert contents(newest["messages"]) == ["m3", "m4", "m5"]
    assert contents(rest["messages"]) == ["m-1", "m0", "m1", "m2"]
    rest = await caller.call(
        "recall_thread", thread_id="t", limit=10, order="oldest", cursor=oldest["next_cursor"]
    )
    assert contents(rest["messages"]) == ["m3", "m4", "m5", "m6"]


async def test_messages_are_ordered_by_when_they_were_said(caller: Caller) -> None:
    for day in ("03", "01", "02"):
        await caller.call(
            "save_message",
            role="user",
            content=day,
            thread_id="t",
            created_at=f"2026-01-{day}",
        )
    answer = await caller.call("recall_thread", thread_id="t")
    assert contents(answer["messages"]) == ["01", "02", "03"]


async def test_a_cursor_of_another_question_is_refused(caller: Caller) -> None:
    await caller.save("t", "a", "b", "c")
    await caller.save("other", "d", "e", "f")
    cursor = (await caller.call("recall_thread", thread_id="t", limit=1))["next_cursor"]
    for change in ({"thread_id": "other"}, {"order": "oldest"}, {"query": "a"}):
        refusal = await caller.refused(
            "recall_thread", **{"thread_id": "t", "cursor": cursor, **change}
        )
        assert refusal.code == "invalid_argument"
        assert "next_cursor" in refusal.message


async def test_a_thread_without_messages_is_empty(caller: Caller) -> None:
    [saved] = await caller.save("t", "only")
    await caller.call("delete_messages", message_ids=[saved["message_id"]])
    answer = await caller.call("recall_thread", thread_id="t")
    assert (answer["messages"], answer["next_cursor"]) == ([], None)


# --- Surroundings


@pytest.mark.parametrize(
    ("position", "limit", "seen"),
    [
        (0, 5, [0, 1, 2]),
        (1, 5, [0, 1, 2, 3]),
        (10, 5, [8, 9, 10, 11, 12]),
        (10, 4, [9, 10, 11, 12]),
        (10, 1, [10]),
        (19, 5, [17, 18, 19]),
        (10, 200, list(range(20))),
    ],
)
async def test_around_a_message_stand_its_neighbours(
    caller: Caller, position: int, limit: int, seen: list[int]
) -> None:
    saved = await caller.save("t", *[f"m{number}" for number in range(20)])
    answer = await caller.call(
        "recall_thread", thread_id="t", around=saved[position]["message_id"], limit=limit
    )
    assert contents(answer["messages"]) == [f"m{number}" for number in seen]
    assert answer["next_cursor"] is None


async def test_around_looks_only_into_the_thread_named(caller: Caller) -> None:
    [saved] = await caller.save("t", "here")
    await caller.save("other", "there")
    for thread_id, message_id in (("other", saved["message_id"]), ("t", "missing")):
        refusal = await caller.refused("recall_thread", thread_id=thread_id, around=message_id)
        assert refusal.code == "not_found"
        assert ascii(message_id) in refusal.message


# --- What matters for a query


async def test_a_query_brings_what_matters_with_its_neighbours_in_order(caller: Caller) -> None:
    said = [f"small talk {number}" for number in range(30)]
    said[7] = "The passport expires in May"
    said[21] = "Renew the passport soon"
    await caller.save("t", *said)
    await caller.save("other", "Another passport entirely")
    answer = await caller.call("recall_thread", thread_id="t", query="passport?", limit=2)
    seen = [
        number for number, content in enumerate(said) if content in contents(answer["messages"])
    ]
    assert seen == [6, 7, 8, 20, 21, 22]
    assert contents(answer["messages"]) == [said[number] for number in seen]


async def test_hits_of_a_query_go_on_from_its_cursor(caller: Caller) -> None:
    said = ["filler"] * 60
    for number in range(0, 60, 6):
        said[number] = f"needle {number}"
    await caller.save("t", *said)
    walked = await pages(caller, "t", query="needle", limit=4)
    # A message may come again as the neighbour of another one.
    found = {content for page in walked for content in contents(page) if "needle" in content}
    assert found == {f"needle {number}" for number in range(0, 60, 6)}


async def test_a_query_and_around_exclude_each_other(caller: Caller) -> None:
    [saved] = await caller.save("t", "x")
    refusal = await caller.refused(
        "recall_thread", thread_id="t", around=saved["message_id"], query="x"
    )
    assert (refusal.code, refusal.message) == (
        "invalid_argument",
        "Give around or query, not both.",
    )


# --- The budget


@pytest.mark.parametrize("max_chars", [200, 1000, 4000, 50_000])
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_no_page_is_larger_than_its_budget_and_one_cut_message(
    caller: Caller, order: Order, max_chars: int
) -> None:
    sizes = [10, 3000, 50, 800, 20_000, 1, 400, 400, 400, 12_000, 90]
    said = [chr(ord("a") + number) * size for number, size in enumerate(sizes)]
    await caller.save("t", *said)
    seen: dict[str, dict[str, Any]] = {}
    for page in await pages(caller, "t", order=order, max_chars=max_chars):
        assert sum(len(message["content"]) for message in page) <= max_chars + LEAST_CHARS
        assert page
        for message in page:
            assert message["id"] not in seen
            seen[message["id"]] = message
    by_letter = {message["content"][0]: message for message in seen.values()}
    for number, whole in enumerate(said):
        message = by_letter[chr(ord("a") + number)]
        assert whole.startswith(message["content"])
        is_cut = message["content"] != whole
        assert message.get("cut", False) is is_cut
        assert message.get("chars", len(whole)) == len(whole)


async def test_around_shows_the_message_itself_before_its_neighbours(caller: Caller) -> None:
    saved = await caller.save("t", *["n" * 5000] * 3, "the one", *["n" * 5000] * 3)
    answer = await caller.call(
        "recall_thread",
        thread_id="t",
        around=saved[3]["message_id"],
        limit=7,
        max_chars=1000,
    )
    assert "the one" in contents(answer["messages"])
    assert sum(map(len, contents(answer["messages"]))) <= 1000 + LEAST_CHARS
    ids = [message["id"] for message in answer["messages"]]
    assert ids == [each["message_id"] for each in saved if each["message_id"] in ids]


async def test_a_query_stays_within_its_budget(caller: Caller) -> None:
    await caller.save("t", *[f"needle {number} " + "x" * 3000 for number in range(20)])
    answer = await caller.call("recall_thread", thread_id="t", query="needle", max_chars=2000)
    assert 0 < sum(map(len, contents(answer["messages"]))) <= 2000 + LEAST_CHARS


async def test_a_long_text_is_cut_and_read_on_until_complete(caller: Caller) -> None:
    text = "".join(f"{number:06} ünïcödé 🦊\n" for number in range(1500))
    await caller.save("t", "before")
    [saved] = await caller.save("t", text)
    await caller.save("t", "after")
    page = await caller.call("recall_thread", thread_id="t")
    [shown] = [message for message in page["messages"] if message["id"] == saved["message_id"]]
    assert shown["cut"] is True
    assert shown["chars"] == len(text)
    assert len(shown["content"]) < len(text)
    read = shown["content"]
    while True:
        answer = await caller.call(
            "recall_thread",
            thread_id="t",
            around=saved["message_id"],
            limit=1,
            offset=len(read),
            max_chars=5000,
        )
        [rest] = answer["messages"]
        read += rest["content"]
        if "cut" not in rest:
            break
        assert (rest["cut"], rest["chars"]) == (True, len(text))
        assert len(rest["content"]) == 5000
    assert read == text


async def test_large_metadata_cannot_flood_an_answer(caller: Caller) -> None:
    large = {"note": "z" * 50_000}
    await caller.save("t", "needle one", "needle two", metadata=large)
    for tool, arguments in (
        ("recall_thread", {"thread_id": "t"}),
        ("recall_thread", {"thread_id": "t", "query": "needle"}),
        ("search_memory", {"query": "needle"}),
    ):
        answer = await caller.call(tool, max_chars=1000, **arguments)
        for message in answer.get("messages") or answer["hits"]:
            assert "metadata" not in message
            assert message["metadata_chars"] == len('{"note":""}') + 50_000
            assert message["content"].startswith("needle")
    answer = await caller.call(
        "recall_thread",
        thread_id="t",
        around=(await caller.call("recall_thread", thread_id="t"))["messages"][0]["id"],
        limit=1,
        max_chars=60_000,
    )
    assert answer["messages"][0]["metadata"] == large


# --- Whose


async def test_threads_of_another_resource_are_as_if_they_did_not_exist(
    tmp_path: Path, settings: Settings
) -> None:
    async with (
        connected("memory/2026", settings) as mine,
        connected("http/2025", settings_in(tmp_path, resource_id="somebody else")) as theirs,
    ):
        [saved] = await mine.save("t", "private needle")
        answers = [
            await theirs.refused("recall_thread", thread_id="t"),
            await theirs.refused("recall_thread", thread_id="t", around=saved["message_id"]),
            await theirs.refused("recall_thread", thread_id="t", query="needle"),
            await theirs.refused("update_thread", thread_id="t", title="taken"),
            await theirs.refused("clone_thread", thread_id="t"),
            await theirs.refused("delete_thread", thread_id="t"),
            await theirs.refused("get_working_memory", thread_id="t"),
            await theirs.refused("update_working_memory", thread_id="t", content="taken"),
            await theirs.refused("save_message", role="user", content="hi", thread_id="t"),
        ]
        assert {answer.code for answer in answers} == {"not_found"}
        assert (await theirs.call("search_memory", query="needle"))["hits"] == []
        assert (await theirs.call("list_threads"))["threads"] == []
        kept = {"deleted": [], "not_found": [saved["message_id"]], "restorable_until": None}
        assert await theirs.call("delete_messages", message_ids=[saved["message_id"]]) == kept
        assert (await theirs.call("get_working_memory"))["working_memory"] is None
        refusal = await theirs.refused(
            "save_message", role="user", content="hi", message_id=saved["message_id"]
        )
        assert refusal.code == "conflict"
        assert contents((await mine.call("recall_thread", thread_id="t"))["messages"]) == [
            "private needle"
        ]


async def test_a_second_server_on_the_folder_sees_what_the_first_saved(
    settings: Settings,
) -> None:
    async with (
        connected("memory/2026", settings) as first,
        connected("memory/2025", settings) as second,
    ):
        async with anyio.create_task_group() as tasks:
            for number, caller in enumerate([first, second] * 5):
                tasks.start_soon(caller.save, "shared", f"m{number}")
        answer = await second.call("recall_thread", thread_id="shared")
        assert sorted(contents(answer["messages"])) == [f"m{number}" for number in range(10)]
