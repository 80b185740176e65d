"""`search_memory`: what was said, across threads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.application.connections import Caller

pytestmark = pytest.mark.anyio

LEAST_CHARS = 200


async def seen(caller: Caller, query: str, **arguments: Any) -> list[str]:
    """Search, and return what holds a word of the query itself."""
    answer = await caller.call("search_memory", query=query, **arguments)
    return [hit["content"] for hit in answer["hits"] if "lexical" in hit["reasons"]]


async def said(caller: Caller, thread_id: str, role: str, content: str, created_at: str) -> str:
    saved = await caller.call(
        "save_message", role=role, content=content, thread_id=thread_id, created_at=created_at
    )
    return str(saved["message_id"])


async def test_words_are_found_in_every_thread_best_first(caller: Caller) -> None:
    await caller.save("a", "The kestrel nests on the tower", "Nothing to see")
    await caller.save("b", "Kestrels, kestrels! The kestrel hunts kestrel-like", "Weather")
    answer = await caller.call("search_memory", query="kestrel")
    found = [(hit["thread_id"], hit["content"], hit["reasons"]) for hit in answer["hits"]]
    assert found[:2] == [
        ("b", "Kestrels, kestrels! The kestrel hunts kestrel-like", {"lexical": 1.0}),
        ("a", "The kestrel nests on the tower", {"lexical": 1.0}),
    ]
    # What was said next is found too, and counts less.
    assert [(thread, content) for thread, content, _ in found[2:]] == [
        ("b", "Weather"),
        ("a", "Nothing to see"),
    ]
    assert [reasons for _, _, reasons in found[2:]] == [{"nearby": 0.75}, {"nearby": 0.75}]
    assert [hit["score"] for hit in answer["hits"]] == [1.0, 1.0, 0.75, 0.75]
    assert (answer["exhausted"], answer["searched"], answer["pending"]) == (True, ["lexical"], 0)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("nest", ["They nested near Coimbra's façade"]),
        ("NESTING birds", ["They nested near Coimbra's façade"]),
        ("facade", ["They nested near Coimbra's façade"]),
        ("they were", ["They nested near Coimbra's façade"]),
        ("tokyo", ["Tokyo 東京 later"]),
        ("東京", ["Tokyo 東京 later"]),
        ("absent", []),
        ("?!…", []),
    ],
)
async def test_inflections_and_accents_do_not_hide_a_word(
    caller: Caller, query: str, found: list[str]
) -> None:
    await caller.save("t", "They nested near Coimbra's façade", "Tokyo 東京 later", "unrelated")
    assert await seen(caller, query) == found


@pytest.mark.parametrize(
    "query", ['"open', "NEAR(a b", "needle*", "text:needle", "(", "a AND NOT", "-needle", "'", "^"]
)
async def test_nothing_a_person_types_is_query_syntax(caller: Caller, query: str) -> None:
    await caller.save("t", "needle in hay")
    found = ["needle in hay"] if "needle" in query else []
    assert await seen(caller, query) == found


async def test_filters_narrow_a_search(caller: Caller) -> None:
    for day, (thread_id, role) in enumerate(
        [("a", "user"), ("a", "assistant"), ("b", "user"), ("b", "tool")], 1
    ):
        await said(caller, thread_id, role, f"needle {day}", f"2026-01-0{day}T00:00:00Z")
    for arguments, days in (
        ({"thread_id": "a"}, [1, 2]),
        ({"role": "user"}, [1, 3]),
        ({"role": "tool", "thread_id": "a"}, []),
        ({"since": "2026-01-02"}, [2, 3, 4]),
        ({"until": "2026-01-02T00:00:00Z"}, [1]),
        ({"since": "2026-01-02T01:00:00+01:00", "until": "2026-01-03T00:00:00.001Z"}, [2, 3]),
        ({"thread_id": "missing"}, []),
    ):
        found = await seen(caller, "needle", **arguments)
        assert sorted(found) == [f"needle {day}" for day in days], arguments


async def test_metadata_narrows_a_search_to_equal_members(caller: Caller) -> None:
    kept: list[dict[str, Any]] = [
        {"lang": "en", "n": 1},
        {"lang": "en", "n": True},
        {"lang": ["en"]},
        {"lang": None},
    ]
    for number, metadata in enumerate(kept):
        await caller.save("t", f"needle {number}", metadata=metadata)
    await caller.save("t", "needle without metadata")
    questions: list[tuple[dict[str, Any], list[str]]] = [
        ({"lang": "en"}, ["needle 0", "needle 1"]),
        ({"lang": "en", "n": 1}, ["needle 0"]),
        ({"n": True}, ["needle 1"]),
        ({"lang": ["en"]}, ["needle 2"]),
        ({"lang": None}, ["needle 3"]),
        ({"absent": None}, []),
    ]
    for metadata, found in questions:
        assert sorted(await seen(caller, "needle", metadata=metadata)) == found, metadata


async def test_pages_of_hits_hold_every_hit_once(caller: Caller) -> None:
    await caller.save("t", *[f"needle {number}" for number in range(25)])
    found: list[str] = []
    cursor: dict[str, str] = {}
    sizes = []
    while True:
        answer = await caller.call("search_memory", query="needle", limit=10, **cursor)
        found += [hit["content"] for hit in answer["hits"]]
        sizes.append(len(answer["hits"]))
        assert answer["exhausted"] is (answer["next_cursor"] is None)
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert sizes == [10, 10, 5]
    assert sorted(found) == sorted(f"needle {number}" for number in range(25))


async def test_a_cursor_of_another_query_is_refused(caller: Caller) -> None:
    await caller.save("t", "needle", "needle", "hay")
    answer = await caller.call("search_memory", query="needle", limit=1)
    refusal = await caller.refused("search_memory", query="hay", cursor=answer["next_cursor"])
    assert refusal.code == "invalid_argument"
    assert "next_cursor" in refusal.message


async def test_hits_bring_their_neighbours(caller: Caller) -> None:
    await caller.save("t", "one", "two", "needle", "four", "five")
    answer = await caller.call("search_memory", query="needle", neighbours=1)
    hit = answer["hits"][0]
    assert [message["content"] for message in hit["before"]] == ["two"]
    assert [message["content"] for message in hit["after"]] == ["four"]
    answer = await caller.call("search_memory", query="one", neighbours=5)
    hit = answer["hits"][0]
    assert "before" not in hit
    assert [message["content"] for message in hit["after"]] == ["two", "needle", "four", "five"]


@pytest.mark.parametrize("max_chars", [200, 1500, 20_000])
async def test_hits_stay_within_the_budget(caller: Caller, max_chars: int) -> None:
    await caller.save("t", *[f"needle {number} " + "x" * 1000 for number in range(60)])
    answer = await caller.call(
        "search_memory", query="needle", limit=60, neighbours=2, max_chars=max_chars
    )
    texts = [
        message["content"]
        for hit in answer["hits"]
        for message in (hit, *hit.get("before", ()), *hit.get("after", ()))
    ]
    assert sum(map(len, texts)) <= max_chars + LEAST_CHARS
    # Nothing is passed over in silence: what had no room is there with its length.
    assert len(answer["hits"]) == 60
    assert all(hit["cut"] and hit["chars"] > 1000 for hit in answer["hits"] if not hit["content"])


async def test_what_is_deleted_is_no_longer_found(caller: Caller) -> None:
    saved = await caller.save("t", "needle one", "needle two")
    await caller.save("gone", "needle three")
    await caller.call("delete_messages", message_ids=[saved[0]["message_id"]])
    await caller.call("delete_thread", thread_id="gone")
    assert await seen(caller, "needle") == ["needle two"]


async def test_a_tools_output_is_searched_like_any_text(caller: Caller) -> None:
    await said(caller, "t", "tool", '{"temperature": 21, "city": "Porto"}', "2026-01-01")
    assert await seen(caller, "Porto") == ['{"temperature": 21, "city": "Porto"}']
