"""Threads of the store: Mastra's contract, clones, and pages by cursor."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.errors import (
    ConfigurationError,
    Conflict,
    FunctionNotDeployed,
    InvalidArgument,
    NotFound,
)
from convex_memory.records import Thread
from convex_memory.store import (
    CloneOptions,
    ConvexStore,
    MemoryStore,
    OrderBy,
    ThreadFilter,
)
from tests.contract.conversations import Cast, StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio

ID = "MASTRA_STORAGE_CONVEX_"


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


@pytest.fixture
def stock(deployment: Deployment, clock: Clock) -> MemoryStore:
    return ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).memory


@pytest.fixture(params=["ours", "stock"])
def memory(request: pytest.FixtureRequest, store: ConvexStore, stock: MemoryStore) -> MemoryStore:
    """The domain over all functions of the deployment, and over Mastra's alone."""
    return store.memory if request.param == "ours" else stock


# --- The store


@requirement("store:domains")
async def test_a_store_names_its_domains(deployment: Deployment, clock: Clock) -> None:
    counted = StockDeployment(deployment)
    store = ConvexStore(counted, id="mine")
    await store.init()
    await store.memory.init()
    assert store.id == "mine"
    assert store.get_store("memory") is store.memory
    assert store.get_store("telepathy") is None
    assert counted.operations == []


@requirement("store:domains")
@pytest.mark.parametrize("blank", ["", "  "])
async def test_a_store_needs_an_id_and_a_function(deployment: Deployment, blank: str) -> None:
    with pytest.raises(ConfigurationError, match="id must be provided"):
        ConvexStore(deployment, id=blank)
    with pytest.raises(ConfigurationError, match="storage_function"):
        ConvexStore(deployment, storage_function=blank)


@requirement("store:clear-all")
async def test_clearing_empties_the_domain(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    for number in range(30):
        await memory.save_thread(cast.thread(f"t{number}"))
    await memory.save_messages(cast.messages(60))
    await memory.update_resource(resource_id=cast.ann, working_memory="likes tea")
    await memory.dangerously_clear_all()
    assert (await memory.list_threads()).total == 0
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 0
    assert await memory.get_resource_by_id(resource_id=cast.ann) is None


@requirement("store:stock")
async def test_what_needs_our_functions_says_so(stock: MemoryStore, cast: Cast) -> None:
    await stock.save_conversation(thread=cast.thread(), messages=[cast.message("a")])
    with pytest.raises(FunctionNotDeployed, match="npx convex deploy"):
        await stock.changes(after=0, limit=1)


# --- Get and save


@requirement("store:threads:get")
async def test_a_saved_thread_is_read_back_as_it_was(memory: MemoryStore, cast: Cast) -> None:
    thread = cast.thread(
        title="Tea", metadata={"a": [1, {"b": None}], "n": 1.5, "ok": True}, created=1, updated=2
    )
    assert await memory.save_thread(thread) == thread
    assert await memory.get_thread_by_id(thread_id=thread.id) == thread


@requirement("store:threads:get:absent")
async def test_an_absent_thread_is_none(memory: MemoryStore, cast: Cast) -> None:
    assert await memory.get_thread_by_id(thread_id=cast.id("nobody")) is None


@requirement("store:threads:get:resource")
async def test_a_thread_of_another_resource_is_none(memory: MemoryStore, cast: Cast) -> None:
    thread = await memory.save_thread(cast.thread())
    for resource_id, found in ((cast.ann, thread), (cast.bob, None), ("", None)):
        assert await memory.get_thread_by_id(thread_id=thread.id, resource_id=resource_id) == found


@requirement("store:threads:get:metadata-text")
async def test_metadata_stored_as_text_is_read(
    deployment: Deployment, memory: MemoryStore, cast: Cast
) -> None:
    await cast.save_with_metadata_text(deployment, '{"a":1}')
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.metadata == {"a": 1}
    updated = await memory.update_thread(id=thread.id, title="T", metadata={"b": 2})
    assert updated.metadata == {"a": 1, "b": 2}


@requirement("store:threads:save:replaces")
async def test_saving_over_a_thread_replaces_it(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Old", metadata={"a": 1}))
    await memory.save_thread(cast.thread(title="New", metadata={"b": 2}, updated=5))
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) == cast.thread(
        title="New", metadata={"b": 2}, updated=5
    )


@requirement("store:threads:save:empty-title")
async def test_an_empty_title_is_stored_as_empty(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Had one"))
    await memory.save_thread(cast.thread(title=""))
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.title == ""


@requirement("store:threads:save:id")
async def test_a_thread_without_an_id_gets_one(memory: MemoryStore, cast: Cast) -> None:
    saved = await memory.save_thread(Thread(id="", resource_id=cast.ann))
    assert saved.id
    found = await memory.get_thread_by_id(thread_id=saved.id)
    assert found is not None
    assert found.resource_id == cast.ann


@requirement("store:threads:save:metadata")
async def test_metadata_that_cannot_be_stored_names_the_key(
    memory: MemoryStore, cast: Cast
) -> None:
    with pytest.raises(InvalidArgument, match=r"\$set"):
        await memory.save_thread(cast.thread(metadata={"deep": {"$set": 1}}))
    await memory.save_thread(cast.thread(metadata={"a": 1}))
    with pytest.raises(InvalidArgument, match=r"\$set"):
        await memory.update_thread(id=cast.id("t"), metadata={"$set": 1})
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.metadata == {"a": 1}


# --- Update


@requirement("store:threads:update:merges")
async def test_updating_merges_metadata_at_the_top(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Old", metadata={"a": {"x": 1}, "b": 1}))
    updated = await memory.update_thread(
        id=cast.id("t"), title="New", metadata={"a": {"y": 2}, "c": 3}
    )
    assert updated.title == "New"
    assert updated.metadata == {"a": {"y": 2}, "b": 1, "c": 3}
    assert await memory.get_thread_by_id(thread_id=updated.id) == updated


@requirement("store:threads:update:null")
@pytest.mark.parametrize("title", [None, "New"])
async def test_a_null_member_is_stored_as_null(
    memory: MemoryStore, cast: Cast, title: str | None
) -> None:
    await memory.save_thread(cast.thread(metadata={"a": 1}))
    updated = await memory.update_thread(id=cast.id("t"), title=title, metadata={"a": None})
    assert updated.metadata == {"a": None}


@requirement("store:threads:update:partial")
async def test_what_an_update_leaves_out_stays(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Title", metadata={"a": 1}))
    only_metadata = await memory.update_thread(id=cast.id("t"), metadata={"b": 2})
    assert (only_metadata.title, only_metadata.metadata) == ("Title", {"a": 1, "b": 2})
    only_title = await memory.update_thread(id=cast.id("t"), title="")
    assert (only_title.title, only_title.metadata) == ("", {"a": 1, "b": 2})
    nothing = await memory.update_thread(id=cast.id("t"))
    assert (nothing.title, nothing.metadata) == ("", {"a": 1, "b": 2})


@requirement("store:threads:update:stamp")
@pytest.mark.parametrize("title", [None, "New"])
async def test_updating_stamps_the_thread(
    memory: MemoryStore, cast: Cast, clock: Clock, title: str | None
) -> None:
    await memory.save_thread(cast.thread(created=1))
    clock.advance_ms(5000)
    updated = await memory.update_thread(id=cast.id("t"), title=title)
    assert updated.created_at == at(1)
    assert updated.updated_at.timestamp() * 1000 == clock.now_ms()


@requirement("store:threads:update:absent")
@pytest.mark.parametrize("title", [None, "New"])
async def test_updating_an_absent_thread_is_not_found(
    memory: MemoryStore, cast: Cast, title: str | None
) -> None:
    with pytest.raises(NotFound, match="not found") as refusal:
        await memory.update_thread(id=cast.id("t"), title=title, metadata={})
    assert refusal.value.id == f"{ID}UPDATE_THREAD_THREAD_NOT_FOUND"


# --- Delete


@requirement("store:threads:delete")
async def test_deleting_a_thread_deletes_its_messages(memory: MemoryStore, cast: Cast) -> None:
    for name in ("t", "u"):
        await memory.save_thread(cast.thread(name))
    await memory.save_messages(cast.messages(3))
    await memory.save_messages([cast.message("kept", thread="u")])
    await memory.delete_thread(thread_id=cast.id("t"))
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) is None
    assert (await memory.list_messages(thread_id=cast.id("t"))).messages == []
    assert (await memory.list_messages(thread_id=cast.id("u"))).total == 1
    assert await memory.get_thread_by_id(thread_id=cast.id("u")) is not None


@requirement("store:threads:delete:absent")
async def test_deleting_an_absent_thread_is_fine(memory: MemoryStore, cast: Cast) -> None:
    await memory.delete_thread(thread_id=cast.id("nobody"))


@requirement("store:threads:delete:unsaved")
async def test_messages_of_an_unsaved_thread_are_deleted(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_messages(cast.messages(2))
    await memory.delete_thread(thread_id=cast.id("t"))
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 0


@requirement("store:threads:delete:many")
async def test_a_thread_of_many_messages_is_deleted_whole(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(2100))
    await memory.delete_thread(thread_id=cast.id("t"))
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 0
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) is None


# --- List


@requirement("store:threads:list:order")
async def test_threads_are_listed_newest_first(memory: MemoryStore, cast: Cast) -> None:
    for name, created in (("b", 2), ("a", 1), ("c", 3)):
        await memory.save_thread(cast.thread(name, created=created))
    mine = ThreadFilter(resource_id=cast.ann)
    listed = await memory.list_threads(filter=mine)
    assert cast.names(listed.threads) == ["c", "b", "a"]
    oldest = await memory.list_threads(filter=mine, order_by=OrderBy(direction="ASC"))
    assert cast.names(oldest.threads) == ["a", "b", "c"]


@requirement("store:threads:list:ties")
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_threads_that_tie_keep_the_order_of_creation(
    memory: MemoryStore, cast: Cast, direction: str
) -> None:
    for name in ("b", "c", "a"):
        await memory.save_thread(cast.thread(name))
    listed = await memory.list_threads(
        filter=ThreadFilter(resource_id=cast.ann), order_by=OrderBy(direction=direction)
    )
    assert cast.names(listed.threads) == ["b", "c", "a"]


@requirement("store:threads:list:order-by")
@pytest.mark.parametrize(
    ("order_by", "names"),
    [
        (OrderBy(field="updated_at"), ["a", "b"]),
        (OrderBy(field="updatedAt", direction="ASC"), ["b", "a"]),
        (OrderBy(field="createdAt", direction="ASC"), ["a", "b"]),
        (OrderBy(field="title", direction="sideways"), ["b", "a"]),
    ],
)
async def test_threads_can_be_sorted_by_update(
    memory: MemoryStore, cast: Cast, order_by: OrderBy, names: list[str]
) -> None:
    await memory.save_thread(cast.thread("a", created=1, updated=9))
    await memory.save_thread(cast.thread("b", created=2, updated=3))
    listed = await memory.list_threads(filter=ThreadFilter(resource_id=cast.ann), order_by=order_by)
    assert cast.names(listed.threads) == names


@requirement("store:threads:list:pages")
async def test_pages_of_threads_say_what_they_are(memory: MemoryStore, cast: Cast) -> None:
    for number in range(5):
        await memory.save_thread(cast.thread(f"t{number}", created=number))
    mine = ThreadFilter(resource_id=cast.ann)
    pages = [await memory.list_threads(filter=mine, page=page, per_page=2) for page in range(4)]
    assert [cast.names(page.threads) for page in pages] == [["t4", "t3"], ["t2", "t1"], ["t0"], []]
    assert [page.has_more for page in pages] == [True, True, False, False]
    assert [(page.total, page.page, page.per_page) for page in pages] == [
        (5, number, 2) for number in range(4)
    ]
    default = await memory.list_threads(filter=mine)
    assert (default.page, default.per_page, default.has_more) == (0, 100, False)


@requirement("store:threads:list:everything")
async def test_false_lists_everything_and_zero_nothing(memory: MemoryStore, cast: Cast) -> None:
    for number in range(3):
        await memory.save_thread(cast.thread(f"t{number}"))
    mine = ThreadFilter(resource_id=cast.ann)
    everything = await memory.list_threads(filter=mine, per_page=False)
    assert len(everything.threads) == 3
    assert everything.per_page is False
    assert not everything.has_more
    nothing = await memory.list_threads(filter=mine, per_page=0)
    assert (nothing.threads, nothing.total, nothing.has_more) == ([], 3, True)


@requirement("store:threads:list:paging-errors")
@pytest.mark.parametrize(
    ("page", "per_page", "sentence"),
    [
        (0, -1, "per_page must be >= 0"),
        (0, 1.5, "per_page must be False or a safe integer"),
        (0, True, "per_page must be False or a safe integer"),
        (-1, 10, "page must be >= 0"),
        (0.5, 10, "page must be >= 0"),
        (1, False, "page must be 0"),
        (2**52, 4, "page value too large"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(
    memory: MemoryStore, page: Any, per_page: Any, sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence) as refusal:
        await memory.list_threads(page=page, per_page=per_page)
    assert refusal.value.id == f"{ID}LIST_THREADS_INVALID_PAGE"
    assert refusal.value.details == {"page": page, "per_page": per_page}


@requirement("store:threads:list:resource")
async def test_only_threads_of_the_resource_are_listed(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread("a"))
    await memory.save_thread(cast.thread("b", resource_id=cast.bob))
    for resource_id, names in ((cast.ann, {"a"}), (cast.bob, {"b"}), (cast.id("nobody"), set())):
        listed = await memory.list_threads(filter=ThreadFilter(resource_id=resource_id))
        assert set(cast.names(listed.threads)) == names
    tagged = await memory.save_thread(cast.thread("c", metadata={"tag": cast.namespace}))
    everybody = ThreadFilter(resource_id="", metadata={"tag": cast.namespace})
    assert (await memory.list_threads(filter=everybody)).threads == [tagged]


@requirement("store:threads:list:metadata")
@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, {"a", "b", "c"}),
        ({"kind": "x"}, {"a", "b"}),
        ({"kind": "x", "n": 1}, {"a"}),
        ({"n": True}, {"b"}),
        ({"n": "1"}, set()),
        ({"gone": None}, {"c"}),
        ({"list": [1]}, set()),
        ({"object": {"a": 1}}, set()),
    ],
)
async def test_every_member_of_a_metadata_filter_must_match(
    memory: MemoryStore, cast: Cast, wanted: dict[str, Any], names: set[str]
) -> None:
    await memory.save_thread(cast.thread("a", metadata={"kind": "x", "n": 1, "list": [1]}))
    await memory.save_thread(cast.thread("b", metadata={"kind": "x", "n": True}))
    await memory.save_thread(cast.thread("c", metadata={"gone": None, "object": {"a": 1}}))
    listed = await memory.list_threads(filter=ThreadFilter(resource_id=cast.ann, metadata=wanted))
    assert set(cast.names(listed.threads)) == names


@requirement("store:threads:list:metadata-keys")
@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("a.b", "Keys must start with a letter or underscore"),
        ("1a", "Keys must start with a letter or underscore"),
        ("a\n", "Keys must start with a letter or underscore"),
        ("", "Keys must start with a letter or underscore"),
        ("__proto__", 'Invalid metadata key: "__proto__".'),
        ("a" * 129, "exceeds maximum length of 128"),
    ],
)
async def test_a_metadata_key_that_mastra_refuses_is_refused(
    memory: MemoryStore, key: str, sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence) as refusal:
        await memory.list_threads(filter=ThreadFilter(metadata={"fine": 1, key: 1}))
    assert refusal.value.id == f"{ID}LIST_THREADS_INVALID_METADATA_KEY"
    assert refusal.value.details == {"metadata_keys": ["fine", key]}


# --- Clone


@requirement("store:threads:clone")
async def test_a_clone_has_the_messages_of_its_source(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Tea", metadata={"own": 1}))
    sent = cast.messages(3)
    await memory.save_messages(sent)
    clone = await memory.clone_thread(
        source_thread_id=cast.id("t"), new_thread_id=cast.id("copy"), metadata={"new": 2}
    )
    assert clone.thread.id == cast.id("copy")
    assert clone.thread.resource_id == cast.ann
    assert clone.thread.title == "Clone of Tea"
    origin = clone.thread.metadata["clone"]
    assert {**clone.thread.metadata, "clone": None} == {"new": 2, "clone": None}
    assert isinstance(origin, dict)
    assert origin["sourceThreadId"] == cast.id("t")
    assert origin["lastMessageId"] == cast.id("m2")
    assert [clone.message_ids[message.id] for message in sent] == [m.id for m in clone.messages]
    assert not {m.id for m in clone.messages} & {m.id for m in sent}
    assert [(m.text, m.role, m.type, m.created_at, m.resource_id) for m in clone.messages] == [
        (m.text, m.role, m.type, m.created_at, m.resource_id) for m in sent
    ]
    assert {message.thread_id for message in clone.messages} == {cast.id("copy")}
    assert await memory.get_thread_by_id(thread_id=cast.id("copy")) == clone.thread
    listed = await memory.list_messages(thread_id=cast.id("copy"))
    assert listed.messages == clone.messages
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 3


@requirement("store:threads:clone:overrides")
async def test_a_clone_takes_another_owner_and_title(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title="Tea"))
    await memory.save_messages(cast.messages(2))
    clone = await memory.clone_thread(
        source_thread_id=cast.id("t"), resource_id=cast.bob, title="Mine"
    )
    assert clone.thread.id not in ("", cast.id("t"))
    assert (clone.thread.resource_id, clone.thread.title) == (cast.bob, "Mine")
    assert {message.resource_id for message in clone.messages} == {cast.bob}
    untitled = await memory.clone_thread(source_thread_id=cast.id("t"), title="")
    assert untitled.thread.title == ""


@requirement("store:threads:clone:choice")
@pytest.mark.parametrize(
    ("limit", "wanted", "names"),
    [
        (None, [], ["m0", "m1", "m2", "m3"]),
        (2, [], ["m2", "m3"]),
        (9, [], ["m0", "m1", "m2", "m3"]),
        (None, ["m3", "m1", "none"], ["m1", "m3"]),
        (1, ["m0", "m1"], ["m1"]),
    ],
)
async def test_a_clone_takes_the_messages_asked_for(
    memory: MemoryStore, cast: Cast, limit: int | None, wanted: list[str], names: list[str]
) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(4))
    options = CloneOptions(message_limit=limit, message_ids=cast.ids(*wanted))
    clone = await memory.clone_thread(source_thread_id=cast.id("t"), options=options)
    assert [message.text for message in clone.messages] == [f"says {name}" for name in names]
    assert list(clone.message_ids) == cast.ids(*names)


@requirement("store:threads:clone:dates")
async def test_both_ends_of_a_date_range_are_cloned(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    seconds = (0, 1, 1.999, 2, 2.001, 3)
    await memory.save_messages([cast.message(f"m{s}", s) for s in seconds])
    for start, end in ((at(1), at(2)), ("2025-06-01T00:00:01Z", "2025-06-01T00:00:02.000Z")):
        clone = await memory.clone_thread(
            source_thread_id=cast.id("t"), options=CloneOptions(start=start, end=end)
        )
        assert [message.text for message in clone.messages] == ["says m1", "says m1.999", "says m2"]


@requirement("store:threads:clone:empty")
async def test_a_clone_of_nothing_names_no_last_message(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread(title=""))
    clone = await memory.clone_thread(source_thread_id=cast.id("t"))
    assert (clone.messages, clone.message_ids, clone.thread.title) == ([], {}, "")
    origin = clone.thread.metadata["clone"]
    assert isinstance(origin, dict)
    assert set(origin) == {"sourceThreadId", "clonedAt"}


@requirement("store:threads:clone:stamp")
async def test_a_clone_is_created_now(memory: MemoryStore, cast: Cast, clock: Clock) -> None:
    await memory.save_thread(cast.thread(created=1))
    await memory.save_messages(cast.messages(1))
    clock.advance_ms(1234)
    clone = await memory.clone_thread(source_thread_id=cast.id("t"))
    assert clone.thread.created_at == clone.thread.updated_at
    assert clone.thread.created_at.timestamp() * 1000 == clock.now_ms()
    assert [message.created_at for message in clone.messages] == [at(0)]


@requirement("store:threads:clone:refusals")
async def test_clones_that_cannot_be_are_refused(memory: MemoryStore, cast: Cast) -> None:
    await memory.save_thread(cast.thread())
    await memory.save_thread(cast.thread("taken"))
    with pytest.raises(NotFound, match=r"Source thread with id .* not found") as absent:
        await memory.clone_thread(source_thread_id=cast.id("nobody"))
    assert absent.value.id == f"{ID}CLONE_THREAD_SOURCE_NOT_FOUND"
    with pytest.raises(NotFound):
        await memory.clone_thread(source_thread_id=cast.id("t"), source_resource_id=cast.bob)
    with pytest.raises(Conflict, match="already exists") as taken:
        await memory.clone_thread(source_thread_id=cast.id("t"), new_thread_id=cast.id("taken"))
    assert taken.value.id == f"{ID}CLONE_THREAD_THREAD_EXISTS"
    with pytest.raises(InvalidArgument, match="message_limit"):
        await memory.clone_thread(
            source_thread_id=cast.id("t"), options=CloneOptions(message_limit=0)
        )


# --- Our own functions


@requirement("store:threads:count")
async def test_a_thread_is_read_with_its_count(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    thread = await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(3))
    counted = await memory.get_thread_with_count(thread_id=thread.id, resource_id=cast.ann)
    assert counted is not None
    assert (counted.thread.id, counted.messages) == (thread.id, 3)
    assert await memory.get_thread_with_count(thread_id=cast.id("nobody")) is None


@requirement("store:threads:page")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seconds=st.lists(st.integers(0, 3), max_size=12),
    limit=st.integers(1, 13),
    newest=st.booleans(),
)
async def test_pages_of_threads_are_the_whole_list(
    store: ConvexStore, seconds: list[int], limit: int, newest: bool
) -> None:
    cast = Cast(uuid.uuid4().hex)
    for number, second in enumerate(seconds):
        await store.memory.save_thread(cast.thread(f"t{number}", updated=second))
    expected = [f"t{number}" for number in sorted(range(len(seconds)), key=seconds.__getitem__)]
    if newest:
        expected.reverse()
    found: list[str] = []
    cursor = None
    while True:
        page = await store.memory.page_threads(
            limit=limit,
            resource_id=cast.ann,
            order="newest" if newest else "oldest",
            cursor=cursor,
        )
        assert len(page.threads) <= limit
        found += cast.names(page.threads)
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page.threads) == limit
    assert found == expected


@requirement("store:threads:page:stable")
async def test_a_cursor_over_threads_keeps_its_place(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    for number in range(4):
        await memory.save_thread(cast.thread(f"t{number}", created=number))
    first = await memory.page_threads(limit=2, resource_id=cast.ann)
    await memory.save_thread(cast.thread("later", created=9))
    rest = await memory.page_threads(limit=5, resource_id=cast.ann, cursor=first.cursor)
    assert cast.names(first.threads + rest.threads) == ["t3", "t2", "t1", "t0"]
    assert rest.cursor is None


@requirement("store:threads:page:by-creation")
async def test_threads_can_be_paged_by_creation(store: ConvexStore, cast: Cast) -> None:
    await store.memory.save_thread(cast.thread("a", created=1, updated=9))
    await store.memory.save_thread(cast.thread("b", created=2, updated=3))
    page = await store.memory.page_threads(
        limit=9, resource_id=cast.ann, by="created_at", order="oldest"
    )
    assert cast.names(page.threads) == ["a", "b"]
    updated = await store.memory.page_threads(limit=9, resource_id=cast.ann)
    assert cast.names(updated.threads) == ["a", "b"]


@requirement("store:threads:page:limits")
async def test_impossible_pages_of_threads_are_refused(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    for number in range(3):
        await memory.save_thread(cast.thread(f"t{number}", created=number))
    for limit in (0, 201):
        with pytest.raises(InvalidArgument):
            await memory.page_threads(limit=limit)
    page = await memory.page_threads(limit=1, resource_id=cast.ann)
    with pytest.raises(InvalidArgument):
        await memory.page_threads(limit=1, resource_id=cast.bob, cursor=page.cursor)
    with pytest.raises(InvalidArgument):
        await memory.page_threads(limit=1, resource_id=cast.ann, cursor="not a cursor")


@requirement("store:threads:patch")
async def test_a_patch_changes_what_it_names(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    await memory.save_thread(cast.thread(title="Old", metadata={"a": 1, "b": {"x": 1}, "c": 3}))
    patched = await memory.patch_thread(
        thread_id=cast.id("t"), metadata={"a": None, "b": {"y": 2}, "never": None}
    )
    assert (patched.title, patched.metadata) == ("Old", {"b": {"y": 2}, "c": 3})
    titled = await memory.patch_thread(thread_id=cast.id("t"), title="")
    assert (titled.title, titled.metadata) == ("", {"b": {"y": 2}, "c": 3})
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) == titled


@requirement("store:threads:patch:metadata-text")
async def test_a_patch_keeps_metadata_stored_as_text(
    deployment: Deployment, store: ConvexStore, cast: Cast
) -> None:
    await cast.save_with_metadata_text(deployment, '{"a":1,"b":2}')
    patched = await store.memory.patch_thread(thread_id=cast.id("t"), metadata={"b": None, "c": 3})
    assert patched.metadata == {"a": 1, "c": 3}


@requirement("store:threads:remove")
async def test_removing_tells_what_was_there(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(30))
    removal = await memory.remove_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert (removal.found, removal.messages) == (True, 30)
    again = await memory.remove_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert (again.found, again.messages) == (False, 0)
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 0


@requirement("store:threads:remove:many")
async def test_a_removed_thread_of_many_messages_is_gone_at_once(
    store: ConvexStore, cast: Cast
) -> None:
    memory = store.memory
    await memory.save_thread(cast.thread())
    await memory.save_messages(cast.messages(2050))
    removal = await memory.remove_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert removal.found
    assert (await memory.list_messages(thread_id=cast.id("t"))).total == 0
    assert (await memory.search_messages(query="says", limit=1, resource_id=cast.ann)).hits == []


@requirement("store:threads:scope")
async def test_threads_of_others_do_not_exist(store: ConvexStore, cast: Cast) -> None:
    memory = store.memory
    thread = await memory.save_thread(cast.thread(title="Ann's", metadata={"a": 1}))
    await memory.save_messages(cast.messages(2))
    stranger: dict[str, str] = {"thread_id": thread.id, "resource_id": cast.bob}
    assert await memory.get_thread_with_count(**stranger) is None
    assert (await memory.page_threads(limit=9, resource_id=cast.bob)).threads == []
    with pytest.raises(NotFound):
        await memory.patch_thread(thread_id=thread.id, resource_id=cast.bob, title="Bob's")
    with pytest.raises(NotFound):
        await memory.clone_thread(
            source_thread_id=thread.id, source_resource_id=cast.bob, resource_id=cast.bob
        )
    removal = await memory.remove_thread(**stranger)
    assert (removal.found, removal.messages) == (False, 0)
    counted = await memory.get_thread_with_count(thread_id=thread.id, resource_id=cast.ann)
    assert counted is not None
    assert (counted.thread.title, counted.messages) == ("Ann's", 2)
