"""Resources, working memory, counts and the change feed of the store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from convex_memory.deployment import Deployment
from convex_memory.errors import InvalidArgument, NotFound
from convex_memory.records import Resource
from convex_memory.store import ConvexStore, MemoryStore
from tests.contract.conversations import Cast, StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


@pytest.fixture
def memory(store: ConvexStore) -> MemoryStore:
    return store.memory


@pytest.fixture
def stock(deployment: Deployment, clock: Clock) -> MemoryStore:
    """The domain over Mastra's functions alone."""
    return ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).memory


# --- Resources


@requirement("store:resources:get")
async def test_a_saved_resource_is_read_back(stock: MemoryStore, cast: Cast) -> None:
    resource = Resource(
        id=cast.ann,
        working_memory="likes tea",
        metadata={"a": [1]},
        created_at=at(1),
        updated_at=at(2),
    )
    assert await stock.save_resource(resource) == resource
    assert await stock.get_resource_by_id(resource_id=cast.ann) == resource
    assert await stock.get_resource_by_id(resource_id=cast.bob) is None


@requirement("store:resources:save")
async def test_saving_over_a_resource_replaces_what_is_given(
    stock: MemoryStore, cast: Cast
) -> None:
    first = Resource(
        id=cast.ann,
        working_memory="likes tea",
        metadata={"a": 1},
        created_at=at(1),
        updated_at=at(1),
    )
    await stock.save_resource(first)
    await stock.save_resource(Resource(id=cast.ann, created_at=at(1), updated_at=at(2)))
    kept = await stock.get_resource_by_id(resource_id=cast.ann)
    assert kept == Resource(
        id=cast.ann,
        working_memory="likes tea",
        metadata={"a": 1},
        created_at=at(1),
        updated_at=at(2),
    )
    await stock.save_resource(
        Resource(
            id=cast.ann, working_memory="", metadata={"b": 2}, created_at=at(1), updated_at=at(3)
        )
    )
    replaced = await stock.get_resource_by_id(resource_id=cast.ann)
    assert replaced is not None
    assert (replaced.working_memory, replaced.metadata) == ("", {"b": 2})


@requirement("store:resources:update")
async def test_updating_a_resource_leaves_out_what_is_not_given(
    stock: MemoryStore, cast: Cast
) -> None:
    await stock.save_resource(
        Resource(id=cast.ann, working_memory="likes tea", metadata={"a": {"x": 1}, "b": 1})
    )
    merged = await stock.update_resource(resource_id=cast.ann, metadata={"a": {"y": 2}, "c": None})
    assert (merged.working_memory, merged.metadata) == (
        "likes tea",
        {"a": {"y": 2}, "b": 1, "c": None},
    )
    written = await stock.update_resource(resource_id=cast.ann, working_memory="")
    assert (written.working_memory, written.metadata) == ("", merged.metadata)
    assert await stock.get_resource_by_id(resource_id=cast.ann) == written


@requirement("store:resources:update:absent")
async def test_updating_an_absent_resource_creates_it(stock: MemoryStore, cast: Cast) -> None:
    created = await stock.update_resource(resource_id=cast.ann)
    assert (created.id, created.working_memory, created.metadata) == (cast.ann, None, {})
    assert await stock.get_resource_by_id(resource_id=cast.ann) == created
    with_text = await stock.update_resource(resource_id=cast.bob, working_memory="likes tea")
    assert with_text.working_memory == "likes tea"


@requirement("store:resources:update:stamp")
async def test_updating_stamps_the_resource(stock: MemoryStore, cast: Cast, clock: Clock) -> None:
    begun = clock.now_ms()
    await stock.update_resource(resource_id=cast.ann, working_memory="a")
    clock.advance_ms(5000)
    updated = await stock.update_resource(resource_id=cast.ann, working_memory="b")
    assert updated.created_at.timestamp() * 1000 == begun
    assert updated.updated_at.timestamp() * 1000 == clock.now_ms()


# --- Working memory


@requirement("store:working:resource")
async def test_working_memory_of_a_resource_is_mastras(memory: MemoryStore, cast: Cast) -> None:
    nothing = await memory.get_working_memory(resource_id=cast.ann)
    assert (nothing.text, nothing.updated_at) == (None, None)
    written = await memory.update_working_memory(resource_id=cast.ann, text="likes tea")
    assert written.text == "likes tea"
    assert await memory.get_working_memory(resource_id=cast.ann) == written
    resource = await memory.get_resource_by_id(resource_id=cast.ann)
    assert resource is not None
    assert resource.working_memory == "likes tea"
    await memory.update_resource(resource_id=cast.ann, working_memory="likes coffee")
    assert (await memory.get_working_memory(resource_id=cast.ann)).text == "likes coffee"


@requirement("store:working:thread")
async def test_working_memory_of_a_thread_is_mastras(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="T", metadata={"a": 1}))
    here: Any = {"resource_id": cast.ann, "thread_id": cast.id("t")}
    assert (await memory.get_working_memory(**here)).text is None
    written = await memory.update_working_memory(text="about tea", **here)
    assert written.text == "about tea"
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.metadata == {"a": 1, "workingMemory": "about tea"}
    assert (await memory.get_working_memory(**here)).text == "about tea"
    assert (await memory.get_working_memory(resource_id=cast.ann)).text is None


@requirement("store:working:metadata-text")
async def test_working_memory_in_metadata_stored_as_text(
    deployment: Deployment, memory: MemoryStore, cast: Cast
) -> None:
    await cast.save_with_metadata_text(deployment, '{"a":1,"workingMemory":"about tea"}')
    here: Any = {"resource_id": cast.ann, "thread_id": cast.id("t")}
    assert (await memory.get_working_memory(**here)).text == "about tea"
    await memory.update_working_memory(text="about milk", **here)
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.metadata == {"a": 1, "workingMemory": "about milk"}


@requirement("store:working:stamp")
async def test_working_memory_tells_when_it_was_written(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    clock.advance_ms(1234)
    written = await memory.update_working_memory(resource_id=cast.ann, text="likes tea")
    assert written.updated_at is not None
    assert written.updated_at.timestamp() * 1000 == clock.now_ms()
    assert await memory.get_working_memory(resource_id=cast.ann) == written


@requirement("store:working:append")
async def test_appended_text_stands_on_a_new_line(memory: MemoryStore, cast: Cast) -> None:
    for text, whole in (("likes tea", "likes tea"), ("has a cat", "likes tea\nhas a cat")):
        written = await memory.update_working_memory(resource_id=cast.ann, text=text, mode="append")
        assert written.text == whole


@requirement("store:working:merge")
async def test_merged_json_keeps_what_is_absent(memory: MemoryStore, cast: Cast) -> None:
    async def merge(value: object) -> object:
        written = await memory.update_working_memory(
            resource_id=cast.ann, text=json.dumps(value), mode="merge"
        )
        assert written.text is not None
        return json.loads(written.text)

    assert await merge({"name": "Ann", "gone": None}) == {"name": "Ann"}
    assert await merge({"pets": {"cat": "Mia", "dog": "Rex"}, "$likes": ["tea"]}) == {
        "name": "Ann",
        "pets": {"cat": "Mia", "dog": "Rex"},
        "$likes": ["tea"],
    }
    assert await merge({"pets": {"dog": None, "cat": "Tom"}, "$likes": ["milk"]}) == {
        "name": "Ann",
        "pets": {"cat": "Tom"},
        "$likes": ["milk"],
    }
    assert await merge({"pets": "none", "name": {"first": "Ann"}}) == {
        "name": {"first": "Ann"},
        "pets": "none",
        "$likes": ["milk"],
    }


@requirement("store:working:merge-errors")
async def test_merging_what_is_no_object_is_refused(memory: MemoryStore, cast: Cast) -> None:
    await memory.update_working_memory(resource_id=cast.ann, text='{"a": 1}')
    for text in ("likes tea", "[1]", "null"):
        with pytest.raises(InvalidArgument):
            await memory.update_working_memory(resource_id=cast.ann, text=text, mode="merge")
    assert (await memory.get_working_memory(resource_id=cast.ann)).text == '{"a": 1}'
    await memory.update_working_memory(resource_id=cast.ann, text="likes tea")
    with pytest.raises(InvalidArgument):
        await memory.update_working_memory(resource_id=cast.ann, text='{"a": 1}', mode="merge")


@requirement("store:working:scope")
async def test_a_thread_of_another_has_no_working_memory(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    for thread_id in cast.ids("t", "nobody"):
        with pytest.raises(NotFound):
            await memory.get_working_memory(resource_id=cast.bob, thread_id=thread_id)
        with pytest.raises(NotFound):
            await memory.update_working_memory(
                resource_id=cast.bob, thread_id=thread_id, text="mine"
            )


# --- Counts and changes


@requirement("store:stats")
async def test_stats_count_what_there_is(memory: MemoryStore, cast: Cast) -> None:
    before = await memory.stats()
    await memory.save_conversation(thread=cast.thread(), messages=cast.messages(3))
    await memory.save_conversation(
        thread=cast.thread("u", resource_id=cast.bob),
        messages=[cast.message("x", thread="u", resource_id=cast.bob)],
    )
    await memory.update_working_memory(resource_id=cast.ann, text="likes tea")
    mine = await memory.stats(resource_id=cast.ann)
    assert (mine.threads, mine.messages, mine.resources) == (1, 3, 1)
    assert (mine.vector_indexes, mine.vectors, mine.cache_keys, mine.last_change) == (None,) * 4
    after = await memory.stats()
    assert (
        after.threads - before.threads,
        after.messages - before.messages,
        after.resources - before.resources,
    ) == (2, 4, 1)
    assert after.vectors == before.vectors
    assert (after.last_change or 0) > (before.last_change or 0)


@requirement("store:changes")
async def test_every_write_is_in_the_change_feed(memory: MemoryStore, cast: Cast) -> None:
    start = (await memory.stats()).last_change or 0
    await memory.save_thread(cast.thread())
    await memory.save_messages([cast.message("a")])
    await memory.update_resource(resource_id=cast.ann, working_memory="likes tea")
    await memory.delete_messages(cast.ids("a"))
    await memory.save_thread(cast.thread("x", resource_id=cast.bob))
    feed = await memory.changes(after=start, limit=100, resource_id=cast.ann)
    assert {change.resource_id for change in feed.changes} == {cast.ann}
    seen = [
        (change.table, change.id.removeprefix(f"{cast.namespace}-"), change.kind)
        for change in feed.changes
    ]
    assert seen == [
        ("mastra_threads", "t", "insert"),
        ("mastra_messages", "a", "insert"),
        ("mastra_threads", "t", "update"),
        ("mastra_resources", "ann", "insert"),
        ("mastra_messages", "a", "delete"),
    ]
    by_table = {change.table: change.thread_id for change in feed.changes}
    assert by_table == {
        "mastra_threads": cast.id("t"),
        "mastra_messages": cast.id("t"),
        "mastra_resources": None,
    }


@requirement("store:changes:pages")
async def test_the_change_feed_is_read_a_page_at_a_time(memory: MemoryStore, cast: Cast) -> None:
    start = (await memory.stats()).last_change or 0
    for number in range(5):
        await memory.save_thread(cast.thread(f"t{number}"))
    found: list[str] = []
    after = start
    while page := (await memory.changes(after=after, limit=2, resource_id=cast.ann)).changes:
        assert len(page) <= 2
        found += [change.id for change in page]
        after = page[-1].sequence
    assert found == cast.ids("t0", "t1", "t2", "t3", "t4")
    everybody = await memory.changes(after=start, limit=1000)
    assert set(found) <= {change.id for change in everybody.changes}
    assert everybody.last >= after
    rest = await memory.changes(after=everybody.last, limit=1, resource_id=cast.ann)
    assert rest.changes == []
    with pytest.raises(InvalidArgument):
        await memory.changes(after=0, limit=1001)
