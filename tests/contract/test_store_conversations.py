"""Conversations over our own functions: one save, one page, one search."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.errors import Conflict, FunctionError, InvalidArgument, NotFound
from convex_memory.store import ConvexStore, MemoryStore, MessageUpdate
from convex_memory.text import text_content
from tests.contract.conversations import Cast, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


@pytest.fixture
def memory(store: ConvexStore) -> MemoryStore:
    return store.memory


# --- Save


@requirement("store:conversation:save")
async def test_a_conversation_is_saved_in_one_call(memory: MemoryStore, cast: Cast) -> None:
    thread = cast.thread(title="Tea", metadata={"a": 1})
    sent = [cast.message("b", 2), replace(cast.message("x", 1), id="")]
    receipts = await memory.save_conversation(thread=thread, messages=sent)
    assert [(receipt.status, receipt.created_at) for receipt in receipts] == [
        ("stored", at(2)),
        ("stored", at(1)),
    ]
    assert receipts[0].id == cast.id("b")
    saved = await memory.get_thread_by_id(thread_id=thread.id)
    assert saved is not None
    assert (saved.resource_id, saved.title, saved.metadata) == (cast.ann, "Tea", {"a": 1})
    listed = await memory.list_messages(thread_id=thread.id)
    assert [message.id for message in listed.messages] == [receipts[1].id, receipts[0].id]


@requirement("store:conversation:stamp")
async def test_a_conversation_stamps_its_thread_once(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    begun = clock.now_ms()
    messages = [cast.message("a")]
    await memory.save_conversation(thread=cast.thread(), messages=messages)
    clock.advance_ms(5000)
    await memory.save_conversation(thread=cast.thread(), messages=messages)
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.created_at.timestamp() * 1000 == begun
    assert thread.updated_at.timestamp() * 1000 == begun
    await memory.save_conversation(thread=cast.thread(), messages=[cast.message("b")])
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.updated_at.timestamp() * 1000 == clock.now_ms()


@requirement("store:conversation:again")
async def test_saving_the_same_message_again_changes_nothing(
    memory: MemoryStore, cast: Cast
) -> None:
    first = cast.message("a", 1)
    await memory.save_conversation(thread=cast.thread(), messages=[first])
    receipts = await memory.save_conversation(
        thread=cast.thread(), messages=[replace(first, created_at=at(9)), cast.message("b", 2)]
    )
    assert [(receipt.status, receipt.created_at) for receipt in receipts] == [
        ("unchanged", at(1)),
        ("stored", at(2)),
    ]
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert cast.names(listed.messages) == ["a", "b"]


@requirement("store:conversation:conflict")
@pytest.mark.parametrize(
    "changes", [{"content": "otherwise"}, {"role": "assistant"}, {"thread": "u"}]
)
async def test_a_stored_id_with_something_else_is_a_conflict(
    memory: MemoryStore, cast: Cast, changes: dict[str, Any]
) -> None:
    await memory.save_conversation(thread=cast.thread(), messages=[cast.message("a")])
    with pytest.raises(Conflict):
        await memory.save_conversation(
            thread=cast.thread("new"),
            messages=[cast.message("b", thread="new"), cast.message("a", **changes)],
        )
    assert await memory.get_thread_by_id(thread_id=cast.id("new")) is None
    found = await memory.get_messages(ids=cast.ids("a", "b"))
    assert found == [cast.message("a").format_2()]


@requirement("store:conversation:replace")
async def test_with_replace_a_stored_message_is_overwritten(
    memory: MemoryStore, cast: Cast
) -> None:
    await memory.save_conversation(thread=None, messages=[cast.message("a", 1)])
    anew = cast.message("a", 2, content="anew", role="assistant")
    receipts = await memory.save_conversation(
        thread=None, messages=[anew, cast.message("b", 3)], on_existing="replace"
    )
    assert [(receipt.status, receipt.created_at) for receipt in receipts] == [
        ("replaced", at(2)),
        ("stored", at(3)),
    ]
    assert await memory.get_messages(ids=cast.ids("a")) == [anew.format_2()]


@requirement("store:conversation:foreign")
async def test_a_thread_of_another_is_not_found(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_conversation(thread=cast.thread(), messages=[cast.message("a")])
    with pytest.raises(NotFound):
        await memory.save_conversation(
            thread=cast.thread(resource_id=cast.bob),
            messages=[cast.message("b", resource_id=cast.bob)],
        )
    assert await memory.get_messages(ids=cast.ids("b")) == []


@requirement("store:conversation:thread")
async def test_a_thread_that_exists_keeps_its_title(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Old", metadata={"a": 1}))
    await memory.save_conversation(
        thread=cast.thread(title="New", metadata={"b": 2}), messages=[cast.message("a")]
    )
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert (thread.title, thread.metadata) == ("Old", {"a": 1})


@requirement("store:conversation:limits")
async def test_impossible_conversations_are_refused(memory: MemoryStore, cast: Cast) -> None:
    twice = [cast.message("a"), cast.message("a")]
    for messages in ([], cast.messages(101), twice):
        with pytest.raises(FunctionError):
            await memory.save_conversation(thread=cast.thread(), messages=messages)
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) is None
    receipts = await memory.save_conversation(thread=cast.thread(), messages=cast.messages(100))
    assert len(receipts) == 100


# --- Page


async def paged(
    memory: MemoryStore,
    cast: Cast,
    limit: int,
    order: Literal["newest", "oldest"],
    **more: Any,
) -> list[str]:
    """The whole thread, a page at a time."""
    found: list[str] = []
    cursor = None
    while True:
        page = await memory.page_messages(
            thread_id=cast.id("t"), limit=limit, order=order, cursor=cursor, **more
        )
        assert len(page.messages) <= limit
        found += cast.names(page.messages)
        cursor = page.cursor
        if cursor is None:
            return found
        assert page.messages


@requirement("store:messages:page")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seconds=st.lists(st.integers(0, 3), max_size=20),
    limit=st.integers(1, 21),
    newest=st.booleans(),
    chars_max=st.none() | st.integers(1, 400),
)
async def test_pages_of_any_size_are_the_whole_thread(
    store: ConvexStore, seconds: list[int], limit: int, newest: bool, chars_max: int | None
) -> None:
    cast = Cast(uuid.uuid4().hex)
    await store.memory.save_thread(cast.thread())
    await store.memory.save_messages(
        [cast.message(f"m{number}", second) for number, second in enumerate(seconds)]
    )
    expected = [f"m{place}" for place in sorted(range(len(seconds)), key=seconds.__getitem__)]
    if newest:
        expected.reverse()
    found = await paged(
        store.memory, cast, limit, "newest" if newest else "oldest", chars_max=chars_max
    )
    assert found == expected


@requirement("store:messages:page:stable")
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_a_cursor_over_messages_keeps_its_place(
    memory: MemoryStore, cast: Cast, order: Literal["newest", "oldest"]
) -> None:
    await memory.save_thread(cast.thread())
    sent = cast.messages(6, start=10)
    await memory.save_messages(sent)
    names = [f"m{number}" for number in range(6)]
    if order == "newest":
        names.reverse()
    first = await memory.page_messages(thread_id=cast.id("t"), limit=2, order=order)
    assert cast.names(first.messages) == names[:2]
    assert first.thread.id == cast.id("t")
    # What is read already changes behind the cursor; one that lies ahead goes away.
    behind = 1 if order == "oldest" else 90
    await memory.save_messages([cast.message("late", behind)])
    await memory.delete_messages(cast.ids(names[1], names[3]))
    rest = await memory.page_messages(
        thread_id=cast.id("t"), limit=9, order=order, cursor=first.cursor
    )
    assert cast.names(rest.messages) == [names[2], names[4], names[5]]
    assert rest.cursor is None


@requirement("store:messages:page:filters")
async def test_a_page_can_be_of_a_role_and_a_span(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_messages(
        [
            cast.message(f"m{number}", number, role="user" if number % 2 else "assistant")
            for number in range(6)
        ]
    )
    assert await paged(memory, cast, 1, "oldest", role="user") == ["m1", "m3", "m5"]
    assert await paged(memory, cast, 2, "oldest", since=at(1), until=at(4)) == ["m1", "m2", "m3"]
    assert await paged(
        memory, cast, 2, "newest", since="2025-06-01T00:00:01Z", role="assistant"
    ) == ["m4", "m2"]


@requirement("store:messages:page:chars")
async def test_a_page_ends_once_it_holds_the_characters(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_messages(
        [cast.message(f"m{number}", number, content="x" * 1000) for number in range(5)]
    )

    async def count(chars_max: int) -> int:
        page = await memory.page_messages(thread_id=cast.id("t"), limit=9, chars_max=chars_max)
        assert (page.cursor is None) == (len(page.messages) == 5)
        return len(page.messages)

    assert [await count(chars) for chars in (1, 1000, 1001, 4000, 100_000)] == [1, 1, 2, 4, 5]


@requirement("store:messages:page:limits")
async def test_impossible_pages_of_messages_are_refused(memory: MemoryStore, cast: Cast) -> None:
    for name in ("t", "u"):
        await memory.save_thread(cast.thread(name))
    await memory.save_messages(cast.messages(3))
    for limit in (0, 201):
        with pytest.raises(InvalidArgument):
            await memory.page_messages(thread_id=cast.id("t"), limit=limit)
    page = await memory.page_messages(thread_id=cast.id("t"), limit=1)
    for thread, order, cursor in (
        ("u", "newest", page.cursor),
        ("t", "oldest", page.cursor),
        ("t", "newest", "not a cursor"),
    ):
        with pytest.raises(InvalidArgument):
            await memory.page_messages(
                thread_id=cast.id(thread),
                limit=1,
                order="newest" if order == "newest" else "oldest",
                cursor=cursor,
            )
    with pytest.raises(NotFound):
        await memory.page_messages(thread_id=cast.id("nobody"), limit=1)


# --- Around, get, remove


@requirement("store:messages:around")
async def test_a_message_comes_with_its_neighbours(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    # Three of them at one instant: neighbours are by place, not by date.
    await memory.save_messages(
        [cast.message(f"m{n}", second) for n, second in enumerate((0, 1, 1, 1, 2, 3))]
    )
    found = await memory.messages_around(
        message_id=cast.id("m2"), before=1, after=2, thread_id=cast.id("t"), resource_id=cast.ann
    )
    assert cast.names(found.messages) == ["m1", "m2", "m3", "m4"]
    assert found.index == 1
    assert found.thread is not None
    assert found.thread.id == cast.id("t")
    alone = await memory.messages_around(message_id=cast.id("m2"), before=0, after=0)
    assert (cast.names(alone.messages), alone.index) == (["m2"], 0)


@requirement("store:messages:around:ends")
async def test_at_the_ends_there_are_fewer_neighbours(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(4))
    start = await memory.messages_around(message_id=cast.id("m0"), before=5, after=1)
    assert (cast.names(start.messages), start.index) == (["m0", "m1"], 0)
    end = await memory.messages_around(message_id=cast.id("m3"), before=2, after=50)
    assert (cast.names(end.messages), end.index) == (["m1", "m2", "m3"], 2)
    with pytest.raises(InvalidArgument):
        await memory.messages_around(message_id=cast.id("m0"), before=51, after=0)
    with pytest.raises(NotFound):
        await memory.messages_around(message_id=cast.id("nobody"), before=1, after=1)
    with pytest.raises(NotFound):
        await memory.messages_around(
            message_id=cast.id("m0"), before=1, after=1, thread_id=cast.id("u")
        )


@requirement("store:messages:get")
async def test_messages_come_in_the_order_asked_for(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(3))
    found = await memory.get_messages(ids=cast.ids("m2", "nobody", "m0"))
    assert cast.names(found) == ["m2", "m0"]
    assert await memory.get_messages(ids=[]) == []


@requirement("store:messages:remove")
async def test_removing_says_which_messages_there_were(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([*cast.messages(3), cast.message("o", thread="u")])
    removed = await memory.remove_messages(
        ids=cast.ids("m2", "nobody", "o", "m0"), thread_id=cast.id("t")
    )
    assert removed.ids == cast.ids("m2", "m0")
    for ids in (cast.ids("m2"), []):
        assert (await memory.remove_messages(ids=ids)).ids == []
    assert cast.names(await memory.get_messages(ids=cast.ids("m0", "m1", "m2", "o"))) == ["m1", "o"]


@requirement("store:messages:scope")
async def test_messages_of_others_do_not_exist(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_conversation(thread=cast.thread(), messages=cast.messages(3))
    ids = cast.ids("m0", "m1", "m2")
    with pytest.raises(NotFound):
        await memory.page_messages(thread_id=cast.id("t"), limit=1, resource_id=cast.bob)
    with pytest.raises(NotFound):
        await memory.messages_around(
            message_id=cast.id("m1"), before=1, after=1, resource_id=cast.bob
        )
    assert await memory.get_messages(ids=ids, resource_id=cast.bob) == []
    assert (await memory.remove_messages(ids=ids, resource_id=cast.bob)).ids == []
    found = await memory.search_messages(query="says", limit=9, resource_id=cast.bob)
    assert found.hits == []
    assert len(await memory.get_messages(ids=ids, resource_id=cast.ann)) == 3


# --- Search


async def found_by(memory: MemoryStore, cast: Cast, query: str, **more: Any) -> list[str]:
    result = await memory.search_messages(
        **{"query": query, "limit": 20, "resource_id": cast.ann, **more}
    )
    return cast.names([hit.message for hit in result.hits if not hit.near])


@requirement("store:search")
async def test_messages_are_found_by_their_words(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(
        [
            cast.message("a", 1, content="The kettle is on the stove"),
            cast.message("b", 2, content="Green tea, from the kettle, is the best tea"),
            cast.message("c", 3, content="We went sailing"),
        ]
    )
    result = await memory.search_messages(query="green tea kettle", limit=9, resource_id=cast.ann)
    assert cast.names([hit.message for hit in result.hits if not hit.near]) == ["b", "a"]
    assert result.hits[0].message.text.startswith("Green tea")
    assert result.hits[0].score > result.hits[1].score
    beside = cast.names([hit.message for hit in result.hits if hit.near])
    assert beside in ([], ["c"])
    assert (result.exhausted, result.cursor) == (True, None)
    assert await found_by(memory, cast, "zebra") == []


@requirement("store:search:stems")
async def test_other_forms_of_a_word_are_found(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("a", content="She was sailing past the CAFÉ")])
    assert await found_by(memory, cast, "sails") == ["a"]
    assert await found_by(memory, cast, "cafe") == ["a"]


@requirement("store:search:scripts")
async def test_words_of_any_script_are_found(memory: MemoryStore, cast: Cast) -> None:
    said = {
        "zh": "今天我们在北京的饭店吃了烤鸭。我有一只猫",
        "ja": "昨日は東京で寿司を食べました",
        "ko": "내일 서울에서 친구를 만나요",
        "th": "แมวของฉันชื่อมะลิ",
        "el": "Ο σκύλος μου είναι πέντε χρονών",  # noqa: RUF001
        "ar": "كلبي مريض وأخذته إلى الطَّبيب",
        "ru": "Моя сестра живёт в Москве",
        "hi": "मेरी बहन दिल्ली में रहती है",
    }
    await memory.save_messages(
        [cast.message(name, at, content=text) for at, (name, text) in enumerate(said.items())]
    )
    for name, queries in {
        "zh": ("烤鸭", "北京", "猫"),
        "ja": ("寿司", "東京"),
        "ko": ("친구", "서울"),
        "th": ("แมว",),
        "el": ("σκύλος", "ΣΚΥΛΟΣ"),
        "ar": ("الطبيب",),
        "ru": ("живет",),
        "hi": ("दिल्ली",),
    }.items():
        for query in queries:
            assert (await found_by(memory, cast, query))[:1] == [name], query


@requirement("store:search:filters")
async def test_a_search_can_be_narrowed(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(
        [
            cast.message("a", 1, content=text_content("tea", metadata={"n": 1, "gone": None})),
            cast.message("b", 2, content=text_content("tea", metadata={"n": True})),
            cast.message("c", 3, role="assistant", content="tea"),
            cast.message("d", 4, thread="u", content="tea"),
            cast.message("x", 5, resource_id=cast.bob, content="tea"),
        ]
    )

    async def found(**more: Any) -> set[str]:
        return set(await found_by(memory, cast, "tea", **more))

    assert await found() == {"a", "b", "c", "d"}
    assert await found(resource_id=cast.bob) == {"x"}
    assert await found(thread_id=cast.id("u")) == {"d"}
    assert await found(role="assistant") == {"c"}
    assert await found(since=at(2), until=at(4)) == {"b", "c"}
    assert await found(metadata={"n": 1}) == {"a"}
    assert await found(metadata={"n": True}) == {"b"}
    assert await found(metadata={"gone": None}) == {"a"}
    assert await found(metadata={"n": 1, "other": 1}) == set()
    assert await found(thread_id=cast.id("t"), role="user", since=at(2)) == {"b"}


@requirement("store:search:wire")
async def test_a_search_follows_what_mastra_writes(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("a", content="kettle"), cast.message("b")])
    assert await found_by(memory, cast, "kettle") == ["a"]
    await memory.update_messages([MessageUpdate(id=cast.id("a"), content="teapot")])
    assert await found_by(memory, cast, "kettle") == []
    assert await found_by(memory, cast, "teapot") == ["a"]
    await memory.update_messages([MessageUpdate(id=cast.id("a"), role="assistant")])
    assert await found_by(memory, cast, "teapot", role="assistant") == ["a"]
    await memory.delete_messages(cast.ids("a"))
    assert await found_by(memory, cast, "teapot") == []
    await memory.delete_thread(thread_id=cast.id("t"))
    assert await found_by(memory, cast, "says") == []


@requirement("store:search:pages")
async def test_a_search_is_paged_each_hit_once(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(
        [cast.message(f"m{n}", n, content="tea " * (n % 3 + 1)) for n in range(7)]
    )
    found: list[str] = []
    scores: list[float] = []
    cursor = None
    for expected in (3, 3, 1):
        result = await memory.search_messages(
            query="tea", limit=3, resource_id=cast.ann, cursor=cursor
        )
        found += cast.names([hit.message for hit in result.hits])
        scores += [hit.score for hit in result.hits]
        cursor = result.cursor
        assert len(result.hits) == expected
        assert result.exhausted is (cursor is None)
    assert cursor is None
    assert set(found) == {f"m{n}" for n in range(7)}
    assert scores == sorted(scores, reverse=True)


@requirement("store:search:syntax")
@pytest.mark.parametrize(
    "query",
    ['"tea', "tea AND (", "tea*", "text:tea", "NEAR(tea", "-tea", "tea'; DROP", "?!", "té\x00a"],
)
async def test_whatever_is_typed_is_words(memory: MemoryStore, cast: Cast, query: str) -> None:
    await memory.save_messages([cast.message("a", content="tea")])
    assert await found_by(memory, cast, query) == (["a"] if "tea" in query else [])


@requirement("store:search:limits")
async def test_impossible_searches_are_refused(memory: MemoryStore, cast: Cast) -> None:
    for query, limit in (("tea", 0), ("tea", 101), ("", 5), ("tea " * 2000, 5)):
        with pytest.raises(FunctionError):
            await memory.search_messages(query=query, limit=limit, resource_id=cast.ann)
