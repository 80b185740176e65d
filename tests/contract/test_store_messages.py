"""Messages of the store, the way Mastra's contract reads and writes them."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.errors import InvalidArgument
from convex_memory.store import (
    ConvexStore,
    DateRange,
    Include,
    MemoryStore,
    MessageFilter,
    MessagePage,
    MessageUpdate,
    OrderBy,
)
from convex_memory.text import text_content
from tests.contract.conversations import Cast, StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio

ID = "MASTRA_STORAGE_CONVEX_LIST_MESSAGES"
DESC = OrderBy(direction="DESC")


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


@pytest.fixture(params=["ours", "stock"])
def memory(
    request: pytest.FixtureRequest, store: ConvexStore, deployment: Deployment, clock: Clock
) -> MemoryStore:
    """The domain over all functions of the deployment, and over Mastra's alone."""
    if request.param == "ours":
        return store.memory
    return ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).memory


def tagged(cast: Cast, name: str, seconds: float = 0, **metadata: Any) -> Any:
    return cast.message(name, seconds, content=text_content(name, metadata=metadata))


# --- Save


@requirement("store:messages:save")
async def test_saved_messages_are_read_back(memory: MemoryStore, cast: Cast) -> None:
    sent = [cast.message("b", 2), cast.message("a", 1, role="assistant"), cast.message("c", 3)]
    saved = await memory.save_messages(sent)
    assert cast.names(saved) == ["a", "b", "c"]
    assert saved[0].content == text_content("says a")
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert listed.messages == saved
    assert (saved[0].role, saved[0].type, saved[0].created_at) == ("assistant", "v2", at(1))


@requirement("store:messages:save:nothing")
async def test_saving_nothing_makes_no_request(deployment: Deployment) -> None:
    counted = StockDeployment(deployment)
    memory = ConvexStore(counted).memory
    assert await memory.save_messages([]) == []
    assert await memory.update_messages([]) == []
    assert await memory.list_messages_by_id(message_ids=[]) == []
    await memory.delete_messages([])
    assert counted.operations == []


@requirement("store:messages:save:required")
@pytest.mark.parametrize(
    ("missing", "sentence"),
    [("thread_id", "Thread ID is required"), ("resource_id", "Resource ID is required")],
)
async def test_a_message_without_an_owner_is_refused(
    deployment: Deployment, cast: Cast, missing: str, sentence: str
) -> None:
    counted = StockDeployment(deployment)
    message = cast.message("b")
    lost = replace(
        message,
        thread_id="" if missing == "thread_id" else message.thread_id,
        resource_id="" if missing == "resource_id" else message.resource_id,
    )
    with pytest.raises(InvalidArgument, match=sentence):
        await ConvexStore(counted).memory.save_messages([cast.message("a"), lost])
    assert counted.operations == []


@requirement("store:messages:save:overwrites")
async def test_saving_a_stored_message_overwrites_it(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("a"), cast.message("b")])
    moved = cast.message("a", 9, thread="u", role="assistant", content="anew")
    await memory.save_messages([moved])
    assert cast.names((await memory.list_messages(thread_id=cast.id("t"))).messages) == ["b"]
    found = (await memory.list_messages(thread_id=cast.id("u"))).messages
    assert found == [moved.format_2()]


@requirement("store:messages:save:twice")
async def test_the_later_of_two_messages_with_one_id_stands(
    memory: MemoryStore, cast: Cast
) -> None:
    saved = await memory.save_messages(
        [cast.message("a", content="first"), cast.message("a", content="second")]
    )
    assert [message.text for message in saved] == ["second"]
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert [message.text for message in listed.messages] == ["second"]


@requirement("store:messages:save:stamp")
async def test_saving_messages_stamps_their_threads(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    for name in ("t", "u", "v"):
        await memory.save_thread(cast.thread(name))
    clock.advance_ms(5000)
    await memory.save_messages([cast.message("a"), cast.message("b", thread="u")])
    stamps = {}
    for name in ("t", "u", "v"):
        thread = await memory.get_thread_by_id(thread_id=cast.id(name))
        assert thread is not None
        assert thread.created_at == at(0)
        stamps[name] = thread.updated_at.timestamp() * 1000
    assert stamps == {"t": clock.now_ms(), "u": clock.now_ms(), "v": at(0).timestamp() * 1000}


@requirement("store:messages:save:unsaved-thread")
async def test_messages_need_no_saved_thread(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("a")])
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 1
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) is None


@requirement("store:messages:save:many")
async def test_many_messages_are_saved_at_once(memory: MemoryStore, cast: Cast) -> None:
    sent = cast.messages(250)
    assert len(await memory.save_messages(sent)) == 250
    listed = await memory.list_messages(thread_id=cast.id("t"), per_page=False)
    assert cast.names(listed.messages) == cast.names(sent)


@requirement("store:messages:save:id")
async def test_a_message_without_an_id_gets_one(memory: MemoryStore, cast: Cast) -> None:
    nameless = replace(cast.message("a"), id="")
    saved = await memory.save_messages([nameless, nameless])
    assert len({message.id for message in saved} - {""}) == 2
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert {message.id for message in listed.messages} == {message.id for message in saved}


@requirement("store:messages:content")
async def test_content_survives_whole(memory: MemoryStore, cast: Cast) -> None:
    deep: Any = "bottom"
    for _ in range(40):
        deep = {"in": [deep]}
    content: Any = {
        "format": 2,
        "parts": [
            {"type": "text", "text": "ünïcode \u2028 \x00 𝄞"},
            {"type": "tool-invocation", "toolInvocation": {"toolName": "x", "args": deep}},
        ],
        "metadata": {"$ref": None, "naïve": 1.5, "": [True]},
    }
    await memory.save_messages([cast.message("a", content=content)])
    (found,) = await memory.list_messages_by_id(message_ids=[cast.id("a")])
    assert found.content == content


# --- Update and delete


@requirement("store:messages:update")
async def test_an_update_changes_what_it_names(memory: MemoryStore, cast: Cast) -> None:
    (before,) = await memory.save_messages([cast.message("a", 3)])
    (renamed,) = await memory.update_messages(
        [MessageUpdate(id=before.id, role="assistant", resource_id=cast.bob, type="v3")]
    )
    assert renamed == replace(before, role="assistant", resource_id=cast.bob, type="v3")
    (moved,) = await memory.update_messages([MessageUpdate(id=before.id, thread_id=cast.id("u"))])
    assert moved == replace(renamed, thread_id=cast.id("u"))
    assert await memory.list_messages_by_id(message_ids=[before.id]) == [moved]
    (same,) = await memory.update_messages(
        [MessageUpdate(id=before.id, thread_id="", role="", type="")]
    )
    assert same == moved


@requirement("store:messages:update:content")
async def test_updated_content_is_merged_at_the_top(memory: MemoryStore, cast: Cast) -> None:
    content = {**text_content("old", metadata={"a": {"x": 1}, "b": 1}), "reasoning": "why"}
    await memory.save_messages([cast.message("a", content=content)])
    (updated,) = await memory.update_messages(
        [MessageUpdate(id=cast.id("a"), content={"content": "new", "metadata": {"a": {"y": 2}}})]
    )
    assert updated.content == {
        **content,
        "content": "new",
        "metadata": {"a": {"y": 2}, "b": 1},
    }
    assert await memory.list_messages_by_id(message_ids=[updated.id]) == [updated]
    (whole,) = await memory.update_messages([MessageUpdate(id=updated.id, content="all new")])
    assert whole.text == "all new"
    (found,) = await memory.list_messages_by_id(message_ids=[updated.id])
    assert found.content == text_content("all new")


@requirement("store:messages:update:absent")
async def test_updates_of_absent_messages_are_left_out(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(12))
    wanted = [f"m{number}" for number in reversed(range(12))]
    updated = await memory.update_messages(
        [
            MessageUpdate(id=id, role="assistant")
            for id in cast.ids("nobody", *wanted, "nobody either")
        ]
    )
    assert cast.names(updated) == wanted
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert {message.role for message in listed.messages} == {"assistant"}
    assert listed.total == 12


@requirement("store:messages:update:repeated")
async def test_two_updates_of_one_message_both_count(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("a", content=text_content("x", metadata={"n": 0}))])
    updated = await memory.update_messages(
        [
            MessageUpdate(id=cast.id("a"), role="assistant", content={"metadata": {"n": 1}}),
            MessageUpdate(id=cast.id("a"), content={"metadata": {"m": 2}}),
        ]
    )
    assert [message.metadata for message in updated] == [{"n": 1}, {"n": 1, "m": 2}]
    assert await memory.list_messages_by_id(message_ids=[cast.id("a")]) == [updated[1]]
    assert updated[1].role == "assistant"


@requirement("store:messages:update:stamp")
async def test_a_moved_message_stamps_both_threads(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    for name in ("t", "u", "v"):
        await memory.save_thread(cast.thread(name))
    await memory.save_messages([cast.message("a")])
    clock.advance_ms(5000)
    await memory.update_messages([MessageUpdate(id=cast.id("a"), thread_id=cast.id("u"))])
    for name, stamped in (("t", True), ("u", True), ("v", False)):
        thread = await memory.get_thread_by_id(thread_id=cast.id(name))
        assert thread is not None
        assert (thread.updated_at.timestamp() * 1000 == clock.now_ms()) is stamped


@requirement("store:messages:delete")
async def test_messages_are_deleted_by_id(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(4))
    await memory.delete_messages(cast.ids("m1", "nobody", "m3", "m1"))
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert cast.names(listed.messages) == ["m0", "m2"]


@requirement("store:messages:delete:stamp")
async def test_deleting_messages_does_not_stamp_their_thread(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(2))
    stamped = await memory.get_thread_by_id(thread_id=cast.id("t"))
    clock.advance_ms(5000)
    await memory.delete_messages(cast.ids("m1"))
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) == stamped


# --- By id


@requirement("store:messages:by-id")
async def test_messages_come_by_id_oldest_first(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(25))
    names = [f"m{number}" for number in reversed(range(0, 25, 2))]
    found = await memory.list_messages_by_id(message_ids=cast.ids("nobody", *names, *names))
    assert cast.names(found) == names[::-1]


@requirement("store:messages:by-id:legacy")
async def test_content_of_older_versions_is_read(
    deployment: Deployment, memory: MemoryStore, cast: Cast
) -> None:
    for name, stored in (
        ("plain", "old words"),
        ("parts", '[{"type":"text","text":"old words"}]'),
        ("quoted", '"old words"'),
    ):
        row = {**cast.message(name).to_row(), "content": stored}
        await deployment.call(
            "mutation",
            STORAGE_FUNCTION,
            {"op": "insert", "tableName": "mastra_messages", "record": row},
        )
    found = await memory.list_messages_by_id(message_ids=cast.ids("plain", "parts", "quoted"))
    assert [message.content for message in found] == [text_content("old words")] * 3
    (updated,) = await memory.update_messages(
        [MessageUpdate(id=cast.id("plain"), content={"metadata": {"a": 1}})]
    )
    assert updated.content == text_content("old words", metadata={"a": 1})


# --- List


@requirement("store:messages:list:order")
async def test_a_thread_is_listed_oldest_first(memory: MemoryStore, cast: Cast) -> None:
    for name, seconds in (("z", 1), ("b", 2), ("a", 2), ("y", 0)):
        await memory.save_messages([cast.message(name, seconds)])
    listed = await memory.list_messages(thread_id=cast.id("t"))
    assert cast.names(listed.messages) == ["y", "z", "b", "a"]
    newest = await memory.list_messages(thread_id=cast.id("t"), order_by=DESC)
    assert cast.names(newest.messages) == ["b", "a", "z", "y"]
    odd = await memory.list_messages(
        thread_id=cast.id("t"), order_by=OrderBy(field="updatedAt", direction="?")
    )
    assert odd == listed


@requirement("store:messages:list:pages")
async def test_pages_of_messages_say_what_they_are(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(5))
    pages = [
        await memory.list_messages(thread_id=cast.id("t"), page=page, per_page=2, order_by=DESC)
        for page in range(4)
    ]
    assert [cast.names(p.messages) for p in pages] == [["m4", "m3"], ["m2", "m1"], ["m0"], []]
    assert [page.has_more for page in pages] == [True, True, False, False]
    assert [(p.total, p.page, p.per_page) for p in pages] == [(5, n, 2) for n in range(4)]


@requirement("store:messages:list:sizes")
async def test_sizes_of_pages(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(45))

    async def listed(per_page: Any) -> MessagePage:
        return await memory.list_messages(thread_id=cast.id("t"), per_page=per_page)

    everything = await listed(False)
    assert (len(everything.messages), everything.has_more) == (45, False)
    assert everything.per_page is False
    nothing = await listed(0)
    assert (nothing.messages, nothing.total, nothing.has_more) == ([], 0, False)
    for odd in (None, "ten", True):
        default = await listed(odd)
        assert (len(default.messages), default.per_page, default.has_more) == (40, 40, True)
    with pytest.raises(InvalidArgument, match="per_page must be >= 0"):
        await listed(-1)
    with pytest.raises(InvalidArgument, match="page must be >= 0"):
        await memory.list_messages(thread_id=cast.id("t"), page=-1)


@requirement("store:messages:list:thread-ids")
@pytest.mark.parametrize("thread_id", ["", "  ", [], ["a", " "], [1]])
async def test_a_blank_thread_id_is_refused(memory: MemoryStore, thread_id: Any) -> None:
    with pytest.raises(InvalidArgument, match="non-empty string") as refusal:
        await memory.list_messages(thread_id=thread_id)
    assert refusal.value.id == f"{ID}_INVALID_THREAD_ID"


@requirement("store:messages:list:threads")
async def test_several_threads_are_listed_as_one(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("b", 2), cast.message("d", 4)])
    await memory.save_messages([cast.message("a", 1, thread="u"), cast.message("c", 3, thread="u")])
    await memory.save_messages([cast.message("x", 2, thread="v")])
    listed = await memory.list_messages(thread_id=cast.ids("t", "u", "t", "none"), per_page=3)
    assert cast.names(listed.messages) == ["a", "b", "c"]
    assert (listed.total, listed.has_more) == (4, True)


@requirement("store:messages:list:resource")
async def test_only_messages_of_the_resource_are_listed(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("a"), cast.message("b", resource_id=cast.bob)])
    for resource_id, names in ((cast.ann, ["a"]), (cast.bob, ["b"]), ("", ["a", "b"])):
        listed = await memory.list_messages(thread_id=cast.id("t"), resource_id=resource_id)
        assert cast.names(listed.messages) == names
        assert listed.total == len(names)


@requirement("store:messages:list:dates")
@pytest.mark.parametrize(
    ("dates", "names"),
    [
        (DateRange(), ["m0", "m1", "m2", "m3"]),
        (DateRange(start=at(1)), ["m1", "m2", "m3"]),
        (DateRange(start=at(1), start_exclusive=True), ["m2", "m3"]),
        (DateRange(end=at(2)), ["m0", "m1", "m2"]),
        (DateRange(end=at(2), end_exclusive=True), ["m0", "m1"]),
        (DateRange(start="2025-06-01T00:00:01Z", end="2025-06-01T02:00:02+02:00"), ["m1", "m2"]),
        (DateRange(start=at(1.0004), end=at(1.0006)), ["m1"]),
        (DateRange(start=at(3), end=at(1)), []),
    ],
)
async def test_a_date_range_is_inclusive(
    memory: MemoryStore, cast: Cast, dates: DateRange, names: list[str]
) -> None:
    await memory.save_messages(cast.messages(4))
    wanted = MessageFilter(date_range=dates)
    listed = await memory.list_messages(thread_id=cast.id("t"), filter=wanted)
    assert cast.names(listed.messages) == names
    assert listed.total == len(names)
    of_resource = await memory.list_messages_by_resource_id(resource_id=cast.ann, filter=wanted)
    assert cast.names(of_resource.messages) == names


@requirement("store:messages:list:metadata")
@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"kind": "x"}, ["a", "b"]),
        ({"kind": "x", "n": 1}, ["a"]),
        ({"n": 1.0}, ["a"]),
        ({"n": True}, ["b"]),
        ({"gone": None}, ["c"]),
        ({"list": "1"}, []),
    ],
)
async def test_a_metadata_filter_compares_strictly(
    memory: MemoryStore, cast: Cast, wanted: dict[str, Any], names: list[str]
) -> None:
    await memory.save_messages(
        [
            tagged(cast, "a", 0, kind="x", n=1, list=["1"]),
            tagged(cast, "b", 1, kind="x", n=True),
            tagged(cast, "c", 2, gone=None),
            cast.message("d", 3),
        ]
    )
    filter = MessageFilter(metadata=wanted)
    listed = await memory.list_messages(thread_id=cast.id("t"), filter=filter, per_page=1)
    assert cast.names(listed.messages) == names[:1]
    assert (listed.total, listed.has_more) == (len(names), len(names) > 1)
    of_resource = await memory.list_messages_by_resource_id(resource_id=cast.ann, filter=filter)
    assert cast.names(of_resource.messages) == names


@requirement("store:messages:list:metadata-errors")
@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ("text", "Metadata filter must be an object"),
        ([], "Metadata filter must be an object"),
        ({"a.b": 1}, 'Invalid metadata filter key "a.b"'),
        ({"constructor": 1}, 'Invalid metadata filter key "constructor"'),
        ({"a" * 129: 1}, "Invalid metadata filter key"),
        ({"a": [1]}, 'Invalid metadata filter value for key "a"'),
        ({"a": {"$eq": 1}}, 'Invalid metadata filter value for key "a"'),
        ({"a": float("nan")}, 'Invalid metadata filter value for key "a"'),
    ],
)
async def test_a_metadata_filter_of_a_wrong_shape_is_refused(
    deployment: Deployment, metadata: Any, sentence: str
) -> None:
    counted = StockDeployment(deployment)
    memory = ConvexStore(counted).memory
    filter = MessageFilter(metadata=metadata)
    with pytest.raises(InvalidArgument, match=sentence):
        await memory.list_messages(thread_id="t", filter=filter)
    with pytest.raises(InvalidArgument, match=sentence):
        await memory.list_messages_by_resource_id(resource_id="r", filter=filter)
    assert counted.operations == []


# --- Included messages


def around(cast: Cast, name: str, before: int = 0, after: int = 0) -> Include:
    return Include(id=cast.id(name), with_previous_messages=before, with_next_messages=after)


@requirement("store:messages:list:include")
async def test_included_messages_come_with_their_neighbours(
    memory: MemoryStore, cast: Cast
) -> None:
    await memory.save_messages(cast.messages(10))
    listed = await memory.list_messages(
        thread_id=cast.id("t"),
        per_page=2,
        include=[around(cast, "m5", 1, 2), around(cast, "m6", 1), around(cast, "nobody", 3, 3)],
    )
    assert cast.names(listed.messages) == ["m0", "m1", "m4", "m5", "m6", "m7"]
    assert listed.total == 10
    newest = await memory.list_messages(
        thread_id=cast.id("t"), per_page=2, order_by=DESC, include=[around(cast, "m1", 5)]
    )
    assert cast.names(newest.messages) == ["m9", "m8", "m1", "m0"]


@requirement("store:messages:list:include")
async def test_included_messages_that_tie_keep_their_order(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message(f"m{number}", 0) for number in range(4)])
    listed = await memory.list_messages(
        thread_id=cast.id("t"), per_page=1, page=2, include=[around(cast, "m0", 0, 1)]
    )
    assert cast.names(listed.messages) == ["m0", "m1", "m2"]


@requirement("store:messages:list:include-only")
async def test_a_page_of_size_0_holds_the_included_only(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(5))
    listed = await memory.list_messages(
        thread_id=cast.id("t"), per_page=0, order_by=DESC, include=[around(cast, "m2", 1, 1)]
    )
    assert cast.names(listed.messages) == ["m3", "m2", "m1"]
    assert (listed.total, listed.per_page, listed.has_more) == (0, 0, False)


@requirement("store:messages:list:include-elsewhere")
async def test_an_included_message_brings_its_own_thread(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(2))
    other = [cast.message(f"o{number}", 10 + number, thread="u") for number in range(3)]
    await memory.save_messages(other)
    include = [
        Include(
            id=cast.id("o1"),
            thread_id=cast.id("t"),
            with_previous_messages=1,
            with_next_messages=1,
        )
    ]
    listed = await memory.list_messages(thread_id=cast.id("t"), include=include)
    assert cast.names(listed.messages) == ["m0", "m1", "o0", "o1", "o2"]
    assert listed.total == 2


@requirement("store:messages:list:include-unfiltered")
async def test_included_messages_are_not_filtered(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([tagged(cast, f"m{n}", n, even=n % 2 == 0) for n in range(6)])
    listed = await memory.list_messages(
        thread_id=cast.id("t"),
        filter=MessageFilter(date_range=DateRange(end=at(3)), metadata={"even": True}),
        include=[around(cast, "m4", 1, 1)],
    )
    assert cast.names(listed.messages) == ["m0", "m2", "m3", "m4", "m5"]
    assert (listed.total, listed.has_more) == (2, False)


@requirement("store:messages:list:include-resource")
async def test_included_messages_are_of_the_resource_named(memory: MemoryStore, cast: Cast) -> None:
    owners = [cast.ann, cast.bob, cast.ann, cast.bob, cast.ann]
    await memory.save_messages(
        [cast.message(f"m{n}", n, resource_id=owner) for n, owner in enumerate(owners)]
    )
    await memory.save_messages([cast.message("else", 9, thread="u")])
    listed = await memory.list_messages(
        thread_id=cast.id("v"),
        resource_id=cast.ann,
        include=[
            around(cast, "m2", 1, 1),
            around(cast, "m3", 1, 1),
            around(cast, "else", 1, 1),
        ],
    )
    assert cast.names(listed.messages) == ["m0", "m2", "m4", "else"]
    anybody = await memory.list_messages(thread_id=cast.id("v"), include=[around(cast, "m2", 1, 1)])
    assert cast.names(anybody.messages) == ["m1", "m2", "m3"]


@requirement("store:messages:list:include-more")
async def test_more_follows_while_queried_messages_are_missing(
    memory: MemoryStore, cast: Cast
) -> None:
    await memory.save_messages(cast.messages(2))
    await memory.save_messages([cast.message("o0", 10, thread="u")])

    async def has_more(names: list[str], per_page: int, *include: Include) -> bool:
        page = await memory.list_messages(
            thread_id=cast.ids(*names), per_page=per_page, include=include
        )
        return page.has_more

    assert await has_more(["t"], 1, around(cast, "o0"))
    assert not await has_more(["t"], 1, around(cast, "m1"))
    assert not await has_more(["t", "u"], 1, around(cast, "m1"), around(cast, "o0"))
    assert await has_more(["t", "u"], 1, around(cast, "o0"))


@requirement("store:messages:list:numbered")
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seconds=st.lists(st.integers(0, 3), max_size=15),
    per_page=st.integers(1, 16),
    newest=st.booleans(),
)
async def test_numbered_pages_are_the_whole_thread(
    store: ConvexStore, seconds: list[int], per_page: int, newest: bool
) -> None:
    cast = Cast(uuid.uuid4().hex)
    await store.memory.save_messages(
        [cast.message(f"m{number}", second) for number, second in enumerate(seconds)]
    )
    found: list[str] = []
    number, has_more = 0, True
    while has_more:
        page = await store.memory.list_messages(
            thread_id=cast.id("t"),
            per_page=per_page,
            page=number,
            order_by=DESC if newest else None,
        )
        found += cast.names(page.messages)
        number, has_more = number + 1, page.has_more
    order = sorted(range(len(seconds)), key=seconds.__getitem__, reverse=newest)
    assert found == [f"m{place}" for place in order]


# --- By resource


@requirement("store:messages:by-resource")
async def test_a_resource_is_listed_across_threads(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages([cast.message("b", 2), cast.message("c", 3, thread="u")])
    await memory.save_messages([cast.message("a", 1, thread="v")])
    await memory.save_messages([cast.message("x", 2, resource_id=cast.bob)])
    listed = await memory.list_messages_by_resource_id(resource_id=cast.ann)
    assert cast.names(listed.messages) == ["a", "b", "c"]
    assert (listed.total, listed.has_more, listed.per_page) == (3, False, 40)
    newest = await memory.list_messages_by_resource_id(
        resource_id=cast.ann, per_page=2, order_by=DESC
    )
    assert cast.names(newest.messages) == ["b", "c"]
    assert newest.has_more


@requirement("store:messages:by-resource:pages")
async def test_pages_of_a_resource_say_what_they_are(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(3))

    async def listed(page: int, per_page: Any) -> MessagePage:
        return await memory.list_messages_by_resource_id(
            resource_id=cast.ann, page=page, per_page=per_page
        )

    last = await listed(1, 2)
    assert (cast.names(last.messages), last.total, last.has_more) == (["m2"], 3, False)
    everything = await listed(0, False)
    assert (len(everything.messages), everything.has_more) == (3, False)
    assert everything.per_page is False
    nothing = await listed(0, 0)
    assert (nothing.messages, nothing.total, nothing.has_more) == ([], 3, True)
    for page, per_page, sentence in (
        (-1, 10, "page must be >= 0"),
        (2**52, 2, "page value too large"),
    ):
        with pytest.raises(InvalidArgument, match=sentence) as refusal:
            await listed(page, per_page)
        assert refusal.value.id == f"{ID}_BY_RESOURCE_ID_INVALID_PAGE"


@requirement("store:messages:by-resource:include")
async def test_included_messages_of_a_resource(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(6))
    await memory.save_messages([cast.message("x", 2.5, resource_id=cast.bob)])
    include = [around(cast, "m3", 1, 1), around(cast, "x", 1, 1)]

    async def listed(per_page: int) -> MessagePage:
        return await memory.list_messages_by_resource_id(
            resource_id=cast.ann, per_page=per_page, include=include
        )

    only = await listed(0)
    assert cast.names(only.messages) == ["m2", "m3", "m4"]
    assert (only.total, only.has_more) == (0, False)
    merged = await listed(1)
    assert cast.names(merged.messages) == ["m0", "m2", "m3", "m4"]
    assert (merged.total, merged.has_more) == (6, True)
