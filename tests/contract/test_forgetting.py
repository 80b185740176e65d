"""Changing and forgetting: edited, deleted for a while, expired and superseded messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.errors import Conflict, FunctionNotDeployed, InvalidArgument, NotFound
from convex_memory.records import Message
from convex_memory.store import ConvexStore, MemoryStore
from convex_memory.text import message_text, text_content
from tests.contract.conversations import Cast, StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire

pytestmark = pytest.mark.anyio

HOUR: Final = 3_600_000


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


@pytest.fixture
def memory(store: ConvexStore) -> MemoryStore:
    return store.memory


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


def after(clock: Clock, milliseconds: float = HOUR) -> datetime:
    """A moment that the test's clock reaches in so many milliseconds."""
    return datetime.fromtimestamp((clock.now_ms() + milliseconds) / 1000, UTC)


@dataclass(frozen=True)
class Sight:
    """All that can be read of a thread and its messages."""

    page: list[Message]
    marks: Mapping[str, Any]
    found: list[str]
    listed: list[str]
    count: int
    threads: list[Any]
    on_wire: list[str]


class Looking:
    """Looks at one resource's memory in every way there is."""

    def __init__(self, memory: MemoryStore, wire: Wire, cast: Cast) -> None:
        self._memory = memory
        self._wire = wire
        self._cast = cast

    async def page(self, thread: str = "t") -> list[str]:
        """The names of a thread's messages, oldest first."""
        found = await self._memory.page_messages(
            thread_id=self._cast.id(thread), limit=200, order="oldest"
        )
        return self._cast.names(found.messages)

    async def found(self, query: str = "says", resource_id: str | None = None) -> list[str]:
        """The names of the messages that hold one of the words, sorted."""
        found = await self._memory.search_messages(
            query=query, limit=100, resource_id=resource_id or self._cast.ann
        )
        return sorted(self._cast.names([hit.message for hit in found.hits if not hit.near]))

    async def superseded(self, thread: str = "t") -> dict[str, str]:
        """The name of a message → that of the one that superseded it."""
        page = await self._memory.page_messages(thread_id=self._cast.id(thread), limit=200)
        prefix = f"{self._cast.namespace}-"
        return {
            name.removeprefix(prefix): mark.superseded_by.removeprefix(prefix)
            for name, mark in page.marks.items()
            if mark.superseded_by is not None
        }

    async def on_wire(self, *names: str) -> list[str]:
        """The names of those of these messages that a client on the wire can load."""
        rows = await self._wire.result("loadMany", "mastra_messages", ids=self._cast.ids(*names))
        return [row["id"].removeprefix(f"{self._cast.namespace}-") for row in rows]

    async def all_of(self, thread: str, *names: str) -> Sight:
        """Everything."""
        thread_id = self._cast.id(thread)
        page = await self._memory.page_messages(thread_id=thread_id, limit=200, order="oldest")
        listed = await self._memory.list_messages(thread_id=thread_id, per_page=False)
        counted = await self._memory.get_thread_with_count(thread_id=thread_id)
        threads = await self._memory.page_threads(limit=50, resource_id=self._cast.ann)
        return Sight(
            page=page.messages,
            marks=page.marks,
            found=await self.found(),
            listed=self._cast.names(listed.messages),
            count=0 if counted is None else counted.messages,
            threads=threads.threads,
            on_wire=await self.on_wire(*names),
        )


@pytest.fixture
def looking(memory: MemoryStore, wire: Wire, cast: Cast) -> Looking:
    return Looking(memory, wire, cast)


async def save(memory: MemoryStore, cast: Cast, *names: str, thread: str = "t") -> None:
    """Save messages a second apart."""
    await memory.save_conversation(
        thread=cast.thread(thread, title="Tea", metadata={"n": 1}),
        messages=[cast.message(name, at_, thread=thread) for at_, name in enumerate(names)],
    )


async def save_over(
    memory: MemoryStore, cast: Cast, new: str, old: str, seconds: float = 60, **more: Any
) -> None:
    """Save a message that supersedes another."""
    await memory.save_conversation(
        thread=None,
        messages=[cast.message(new, seconds, **more)],
        supersedes={cast.id(new): cast.id(old)},
    )


# --- Changing what was said


@requirement("forgetting:update:text")
async def test_a_changed_message_keeps_its_place(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await memory.save_conversation(
        thread=cast.thread(),
        messages=[
            cast.message("a", 0),
            cast.message("b", 0, role="assistant", content=text_content("b", metadata={"n": 1})),
            cast.message("c", 0),
        ],
    )
    clock.advance_ms(5000)
    changed = await memory.update_message(
        message_id=cast.id("b"), text='{"not": "parsed"}', resource_id=cast.ann
    )
    [stored] = await memory.get_messages(ids=cast.ids("b"))
    assert changed.message == stored
    assert message_text(stored.content) == '{"not": "parsed"}'
    assert (stored.role, stored.created_at, stored.metadata) == ("assistant", at(0), {"n": 1})
    assert await looking.page() == ["a", "b", "c"]
    thread = await memory.get_thread_by_id(thread_id=cast.id("t"))
    assert thread is not None
    assert thread.updated_at.timestamp() * 1000 == clock.now_ms()


@requirement("forgetting:update:search")
async def test_search_follows_a_change(memory: MemoryStore, cast: Cast, looking: Looking) -> None:
    await memory.save_conversation(
        thread=cast.thread(), messages=[cast.message("a", content="a kettle")]
    )
    assert await looking.found("kettle") == ["a"]
    for text in ("a teapot", "a teapot"):
        await memory.update_message(message_id=cast.id("a"), text=text)
        assert await looking.found("kettle") == []
        assert await looking.found("teapot") == ["a"]


@requirement("forgetting:update:metadata")
async def test_metadata_is_merged(memory: MemoryStore, cast: Cast) -> None:
    content = text_content("says a", metadata={"a": 1, "b": {"c": 2}, "d": 3})
    await memory.save_conversation(
        thread=cast.thread(), messages=[cast.message("a", content=content)]
    )
    changed = await memory.update_message(
        message_id=cast.id("a"), metadata={"a": None, "b": {"e": 4}, "f": "new", "g": None}
    )
    assert changed.message.metadata == {"b": {"e": 4}, "d": 3, "f": "new"}
    assert message_text(changed.message.content) == "says a"
    assert await memory.get_messages(ids=cast.ids("a")) == [changed.message]


@requirement("forgetting:update:absent")
async def test_only_a_message_of_ones_own_is_changed(memory: MemoryStore, cast: Cast) -> None:
    await save(memory, cast, "a")
    before = await memory.get_messages(ids=cast.ids("a"))
    scopes: list[tuple[str, dict[str, Any]]] = [
        (cast.id("a"), {"resource_id": cast.bob}),
        (cast.id("a"), {"thread_id": cast.id("u")}),
        (cast.id("nobody"), {}),
    ]
    for message_id, scope in scopes:
        with pytest.raises(NotFound):
            await memory.update_message(message_id=message_id, text="Bob's", **scope)
    assert await memory.get_messages(ids=cast.ids("a")) == before


@requirement("forgetting:update:nothing")
async def test_a_change_of_nothing_is_refused(memory: MemoryStore, cast: Cast) -> None:
    await save(memory, cast, "a")
    with pytest.raises(InvalidArgument):
        await memory.update_message(message_id=cast.id("a"))


# --- Without our functions


@requirement("forgetting:mastra")
async def test_mastras_functions_alone_delete_for_good(
    deployment: Deployment, cast: Cast, clock: Clock
) -> None:
    stock = ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).memory
    await save(stock, cast, "a", "b")
    until = after(clock)
    removal = await stock.remove_messages(ids=cast.ids("a"), purge_at=until)
    assert (removal.ids, removal.restorable) == (cast.ids("a"), False)
    gone = await stock.remove_thread(thread_id=cast.id("t"), purge_at=until)
    assert (gone.found, gone.messages, gone.restorable) == (True, 1, False)
    await save(stock, cast, "a")
    refused: list[Any] = [
        stock.restore_messages(ids=cast.ids("a")),
        stock.restore_thread(thread_id=cast.id("t")),
        stock.update_message(message_id=cast.id("a"), expires_at=until),
        stock.update_message(message_id=cast.id("a"), expires_at=None),
        stock.patch_thread(thread_id=cast.id("t"), expires_at=until),
        stock.save_conversation(
            thread=None, messages=[cast.message("b")], expires_at={cast.id("b"): until}
        ),
        stock.save_conversation(
            thread=None, messages=[cast.message("b")], supersedes={cast.id("b"): cast.id("a")}
        ),
        stock.save_conversation(
            thread=cast.thread(), messages=[cast.message("b")], thread_expires_at=until
        ),
    ]
    for call in refused:
        with pytest.raises(FunctionNotDeployed):
            await call
    assert await stock.get_messages(ids=cast.ids("a", "b")) == [cast.message("a").format_2()]
    assert await stock.sweep() is False


# --- Messages, deleted for a while


@requirement("forgetting:messages:gone")
async def test_a_deleted_message_is_nowhere(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b", "c")
    removal = await memory.remove_messages(
        ids=cast.ids("b", "nobody"), resource_id=cast.ann, purge_at=after(clock)
    )
    assert (removal.ids, removal.restorable) == (cast.ids("b"), True)
    assert await memory.get_messages(ids=cast.ids("b")) == []
    with pytest.raises(NotFound):
        await memory.messages_around(message_id=cast.id("b"), before=1, after=1)
    with pytest.raises(NotFound):
        await memory.update_message(message_id=cast.id("b"), text="no")
    around = await memory.messages_around(message_id=cast.id("a"), before=0, after=1)
    assert cast.names(around.messages) == ["a", "c"]
    sight = await looking.all_of("t", "a", "b", "c")
    assert cast.names(sight.page) == sight.found == sight.listed == sight.on_wire == ["a", "c"]
    assert sight.count == 2
    clone = await memory.clone_thread(source_thread_id=cast.id("t"))
    assert len(clone.messages) == 2


@requirement("forgetting:messages:restore")
async def test_a_restored_message_is_back_in_its_place(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    # Said in the same millisecond: their order is that in which they were saved.
    await memory.save_conversation(
        thread=cast.thread(), messages=[cast.message(name, 1) for name in "abcd"]
    )
    before = await looking.all_of("t", *"abcd")
    await memory.remove_messages(ids=cast.ids("b", "d", "a"), purge_at=after(clock))
    assert await looking.page() == await looking.found() == ["c"]
    clock.advance_ms(HOUR - 1)
    restored = await memory.restore_messages(ids=cast.ids("a", "c", "d", "b", "nobody"))
    assert restored == cast.ids("a", "d", "b")
    assert await looking.all_of("t", *"abcd") == before
    around = await memory.messages_around(message_id=cast.id("b"), before=1, after=1)
    assert cast.names(around.messages) == ["a", "b", "c"]


@requirement("forgetting:messages:again")
async def test_twice_is_once(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    removed = [await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock)) for _ in "xy"]
    assert [each.ids for each in removed] == [cast.ids("a"), []]
    restored = [await memory.restore_messages(ids=cast.ids("a", "a")) for _ in "xy"]
    assert restored == [cast.ids("a"), []]
    assert await looking.page() == ["a", "b"]
    assert await memory.restore_messages(ids=[]) == []


@requirement("forgetting:messages:permanent")
async def test_what_is_deleted_for_good_stays_away(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b", "c")
    await memory.remove_messages(ids=cast.ids("a"))
    await memory.remove_messages(ids=cast.ids("b"), purge_at=after(clock))
    for thread, ids in (("u", []), ("t", cast.ids("b"))):
        removal = await memory.remove_messages(ids=cast.ids("b"), thread_id=cast.id(thread))
        assert (removal.ids, removal.restorable) == (ids, False)
    assert await memory.restore_messages(ids=cast.ids("a", "b")) == []
    assert await looking.page() == ["c"]


@requirement("forgetting:messages:late")
async def test_a_message_deleted_too_long_ago_stays_away(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock))
    clock.advance_ms(HOUR)
    assert await memory.restore_messages(ids=cast.ids("a")) == []
    assert (await memory.remove_messages(ids=cast.ids("a"))).ids == []
    assert await looking.page() == ["b"]


@requirement("forgetting:messages:others")
async def test_only_the_owner_deletes_and_restores(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    ids, until = cast.ids("a"), after(clock)
    stranger = {"resource_id": cast.bob}
    assert (await memory.remove_messages(ids=ids, purge_at=until, **stranger)).ids == []
    await memory.remove_messages(ids=ids, purge_at=until, resource_id=cast.ann)
    assert await memory.restore_messages(ids=ids, **stranger) == []
    assert (await memory.remove_messages(ids=ids, **stranger)).ids == []
    assert await memory.restore_messages(ids=ids, resource_id=cast.ann) == ids
    assert await looking.page() == ["a", "b"]


@requirement("forgetting:messages:taken")
async def test_a_message_does_not_come_back_over_another(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock))
    await memory.save_conversation(
        thread=None, messages=[cast.message("a", 9, content="something else")]
    )
    assert await memory.restore_messages(ids=cast.ids("a")) == []
    assert await looking.page() == ["b", "a"]
    assert await looking.found("something") == ["a"]


@requirement("forgetting:messages:thread")
async def test_a_message_needs_its_thread(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock))
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    assert await memory.restore_messages(ids=cast.ids("a", "b")) == []
    assert await looking.found() == []
    await memory.restore_thread(thread_id=cast.id("t"))
    assert await memory.restore_messages(ids=cast.ids("a", "b")) == cast.ids("a")
    assert await looking.page() == ["a", "b"]


@requirement("forgetting:messages:any")
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seconds=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    over=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=3),
    steps=st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=3),
    with_thread=st.booleans(),
    order=st.permutations(range(6)),
)
async def test_whatever_is_deleted_and_restored_all_is_as_it_was(
    memory: MemoryStore,
    cast: Cast,
    clock: Clock,
    looking: Looking,
    seconds: list[int],
    over: list[tuple[int, int]],
    steps: list[set[int]],
    with_thread: bool,
    order: list[int],
) -> None:
    clock.advance_ms(1)
    stem = f"x{clock.now_ms():.0f}"
    names = [f"{stem}-{number}" for number in range(len(seconds))]
    old_by_new = {
        cast.id(names[new]): cast.id(names[old]) for old, new in over if old < new < len(names)
    }
    await memory.save_conversation(
        thread=cast.thread(stem),
        messages=[
            cast.message(name, second, thread=stem)
            for name, second in zip(names, seconds, strict=True)
        ],
        supersedes=old_by_new,
    )
    before = await looking.all_of(stem, *names)
    deleted: set[str] = set()
    for step in steps:
        some = [names[number] for number in sorted(step) if number < len(names)]
        if some:
            await memory.remove_messages(ids=cast.ids(*some), purge_at=after(clock))
            deleted |= set(some)
    left = [name for name in cast.names(before.page) if name not in deleted]
    assert await looking.page(stem) == left
    if with_thread:
        await memory.remove_thread(thread_id=cast.id(stem), purge_at=after(clock))
        back = await memory.restore_thread(thread_id=cast.id(stem), resource_id=cast.ann)
        assert back.messages == len(left)
        assert await looking.page(stem) == left
    waiting = [each for number in order if (each := f"{stem}-{number}") in deleted]
    for some in (waiting[: len(waiting) // 2], waiting[len(waiting) // 2 :]):
        assert await memory.restore_messages(ids=cast.ids(*some)) == cast.ids(*some)
    assert await looking.all_of(stem, *names) == before


# --- Threads, deleted for a while


@requirement("forgetting:threads:gone")
async def test_a_deleted_thread_is_nowhere(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await save(memory, cast, "o", thread="u")
    removal = await memory.remove_thread(
        thread_id=cast.id("t"), resource_id=cast.ann, purge_at=after(clock)
    )
    assert (removal.found, removal.messages, removal.restorable) == (True, 2, True)
    assert await memory.get_thread_by_id(thread_id=cast.id("t")) is None
    assert await memory.get_thread_with_count(thread_id=cast.id("t")) is None
    with pytest.raises(NotFound):
        await looking.page()
    with pytest.raises(NotFound):
        await memory.patch_thread(thread_id=cast.id("t"), title="no")
    with pytest.raises(NotFound):
        await memory.clone_thread(source_thread_id=cast.id("t"))
    assert cast.names(await memory.get_messages(ids=cast.ids("a", "b", "o"))) == ["o"]
    sight = await looking.all_of("u", "a", "b", "o")
    assert sight.found == sight.on_wire == ["o"]
    assert cast.names(sight.threads) == ["u"]
    assert (await memory.list_messages(thread_id=cast.id("t"))).messages == []


@requirement("forgetting:threads:restore")
async def test_a_restored_thread_is_as_it_was(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await memory.save_conversation(
        thread=cast.thread(title="Tea", metadata={"n": 1}),
        messages=[cast.message(name, 1) for name in "abcd"],
    )
    clock.advance_ms(1000)
    await save(memory, cast, "o", thread="u")
    before = await looking.all_of("t", *"abcd", "o")
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    clock.advance_ms(HOUR - 1)
    back = await memory.restore_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert (back.thread, back.messages) == (before.threads[1], 4)
    assert await looking.all_of("t", *"abcd", "o") == before


@requirement("forgetting:threads:apart")
async def test_a_message_deleted_before_its_thread_stays_deleted(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b", "c")
    await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock))
    await memory.remove_messages(ids=cast.ids("c"))
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    assert (await memory.restore_thread(thread_id=cast.id("t"))).messages == 1
    assert await looking.page() == ["b"]
    assert await memory.restore_messages(ids=cast.ids("a", "c")) == cast.ids("a")
    assert await looking.page() == ["a", "b"]


@requirement("forgetting:threads:anew")
async def test_a_thread_begun_anew_is_not_restored_over(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    await save(memory, cast, "new")
    with pytest.raises(Conflict):
        await memory.restore_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert await looking.page() == await looking.found() == ["new"]
    # Deleted in its turn, it is the one that comes back.
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    assert (await memory.restore_thread(thread_id=cast.id("t"))).messages == 1
    assert await looking.page() == await looking.found() == ["new"]


@requirement("forgetting:threads:again")
async def test_a_thread_goes_and_comes_once(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    for found in (True, False):
        removal = await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
        assert removal.found is found
    await memory.restore_thread(thread_id=cast.id("t"))
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("t"))
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("nobody"))
    assert await looking.page() == ["a", "b"]


@requirement("forgetting:threads:permanent")
async def test_a_thread_deleted_for_good_stays_away(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_messages(ids=cast.ids("b"), purge_at=after(clock))
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    for found in (True, False):
        removal = await memory.remove_thread(thread_id=cast.id("t"))
        assert (removal.found, removal.messages, removal.restorable) == (found, 0, False)
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("t"))
    await save(memory, cast, "new")
    assert await memory.restore_messages(ids=cast.ids("a", "b")) == []
    assert await looking.page() == ["new"]


@requirement("forgetting:threads:late")
async def test_a_thread_deleted_too_long_ago_stays_away(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    clock.advance_ms(HOUR)
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("t"))
    assert (await memory.remove_thread(thread_id=cast.id("t"))).found is False
    assert await memory.get_messages(ids=cast.ids("a", "b")) == []


@requirement("forgetting:threads:others")
async def test_only_the_owner_deletes_and_restores_a_thread(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    stranger = {"thread_id": cast.id("t"), "resource_id": cast.bob}
    assert (await memory.remove_thread(**stranger, purge_at=after(clock))).found is False
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    assert (await memory.remove_thread(**stranger)).found is False
    with pytest.raises(NotFound):
        await memory.restore_thread(**stranger)
    await memory.restore_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert await looking.page() == ["a", "b"]


@requirement("forgetting:threads:owners")
@pytest.mark.parametrize("for_good", [True, False])
async def test_the_next_owner_of_an_id_takes_nothing_away(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking, for_good: bool
) -> None:
    await save(memory, cast, "a", "b")
    await memory.remove_thread(thread_id=cast.id("t"), resource_id=cast.ann, purge_at=after(clock))
    bobs = {"thread_id": cast.id("t"), "resource_id": cast.bob}
    await memory.save_conversation(
        thread=cast.thread(resource_id=cast.bob),
        messages=[cast.message("a", resource_id=cast.bob)],
    )
    await memory.remove_thread(**bobs, purge_at=None if for_good else after(clock))
    back = await memory.restore_thread(thread_id=cast.id("t"), resource_id=cast.ann)
    assert (back.thread.resource_id, back.messages) == (cast.ann, 2)
    assert await looking.page() == await looking.found() == ["a", "b"]
    assert await looking.found(resource_id=cast.bob) == []


@requirement("forgetting:sweep")
async def test_sweeping_comes_to_an_end(memory: MemoryStore, cast: Cast, clock: Clock) -> None:
    await save(memory, cast, "a", "b")
    await save(memory, cast, "c", thread="u")
    await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock))
    await memory.remove_thread(thread_id=cast.id("u"), purge_at=after(clock))
    await memory.sweep()
    assert (await memory.restore_thread(thread_id=cast.id("u"))).messages == 1
    await memory.remove_thread(thread_id=cast.id("u"), purge_at=after(clock))
    clock.advance_ms(HOUR)
    rounds = 0
    while await memory.sweep():
        rounds += 1
        assert rounds < 10
    assert await memory.restore_messages(ids=cast.ids("a")) == []
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("u"))
    assert cast.names(await memory.get_messages(ids=cast.ids("a", "b", "c"))) == ["b"]


# --- Expiry


@requirement("forgetting:expiry:messages")
async def test_a_message_is_gone_from_its_time_on(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    until = after(clock)
    await memory.save_conversation(
        thread=cast.thread(),
        messages=[cast.message("a", 0), cast.message("b", 1)],
        expires_at={cast.id("a"): until},
    )
    clock.advance_ms(HOUR - 1)
    page = await memory.page_messages(thread_id=cast.id("t"), limit=9, order="oldest")
    assert cast.names(page.messages) == ["a", "b"]
    assert {name: mark.expires_at for name, mark in page.marks.items()} == {cast.id("a"): until}
    around = await memory.messages_around(message_id=cast.id("b"), before=1, after=0)
    marked = await memory.get_marked_messages(ids=cast.ids("a", "b"))
    assert around.marks == marked.marks == page.marks
    clock.advance_ms(1)
    with pytest.raises(NotFound):
        await memory.messages_around(message_id=cast.id("a"), before=1, after=1)
    with pytest.raises(NotFound):
        await memory.update_message(message_id=cast.id("a"), expires_at=None)
    assert (await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock))).ids == []
    sight = await looking.all_of("t")
    assert cast.names(sight.page) == sight.found == ["b"]
    assert (sight.count, sight.marks) == (1, {})
    assert await memory.get_messages(ids=cast.ids("a")) == []


@requirement("forgetting:expiry:threads")
async def test_a_thread_is_gone_with_its_messages_from_its_time_on(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "o", thread="u")
    await memory.save_conversation(
        thread=cast.thread(),
        messages=cast.messages(3),
        thread_expires_at=after(clock),
    )
    clock.advance_ms(HOUR - 1)
    assert await looking.found() == ["m0", "m1", "m2", "o"]
    clock.advance_ms(1)
    assert await memory.get_thread_with_count(thread_id=cast.id("t")) is None
    with pytest.raises(NotFound):
        await looking.page()
    assert await memory.get_messages(ids=cast.ids("m0", "m2")) == []
    sight = await looking.all_of("u")
    assert sight.found == ["o"]
    assert cast.names(sight.threads) == ["u"]
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("t"))
    await memory.save_conversation(thread=cast.thread(), messages=[cast.message("m1", 5)])
    assert await looking.page() == ["m1"]
    assert await looking.found() == ["m1", "o"]


@requirement("forgetting:expiry:wire")
async def test_what_has_expired_is_gone_on_the_wire(
    memory: MemoryStore, cast: Cast, clock: Clock, wire: Wire, looking: Looking
) -> None:
    await memory.save_conversation(
        thread=cast.thread(), messages=cast.messages(2), thread_expires_at=after(clock)
    )
    await memory.save_conversation(
        thread=cast.thread("u"),
        messages=[cast.message("a", thread="u"), cast.message("b", thread="u")],
        expires_at={cast.id("a"): after(clock)},
    )
    clock.advance_ms(HOUR)
    assert await looking.on_wire("m0", "m1", "a", "b") == ["b"]
    assert await wire.load("mastra_threads", id=cast.id("t")) is None
    rows = await wire.result(
        "queryTable", "mastra_messages", filters=[{"field": "thread_id", "value": cast.id("t")}]
    )
    assert rows == []


@requirement("forgetting:expiry:change")
async def test_a_time_of_expiry_can_be_changed(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    changed = await memory.update_message(message_id=cast.id("a"), expires_at=after(clock, HOUR))
    assert changed.mark.expires_at == after(clock, HOUR)
    thread = await memory.patch_thread(thread_id=cast.id("t"), expires_at=after(clock, HOUR))
    assert (thread.title, thread.metadata) == ("Tea", {"n": 1})
    changed = await memory.update_message(message_id=cast.id("a"), text="says more")
    assert changed.mark.expires_at == after(clock, HOUR)
    changed = await memory.update_message(
        message_id=cast.id("a"), expires_at=after(clock, 2 * HOUR).isoformat()
    )
    assert changed.mark.expires_at == after(clock, 2 * HOUR)
    changed = await memory.update_message(message_id=cast.id("a"), expires_at=None)
    assert changed.mark.expires_at is None
    await memory.patch_thread(thread_id=cast.id("t"), expires_at=None)
    clock.advance_ms(3 * HOUR)
    assert await looking.page() == ["a", "b"]


@requirement("forgetting:expiry:refusals")
async def test_a_time_that_is_none_is_refused(
    memory: MemoryStore, deployment: Deployment, cast: Cast, looking: Looking
) -> None:
    await save(memory, cast, "a")
    for when in ("tomorrow", "1969-12-31T23:59:59Z", datetime(2030, 1, 1)):  # noqa: DTZ001
        with pytest.raises(InvalidArgument):
            await memory.update_message(message_id=cast.id("a"), expires_at=when)
        with pytest.raises(InvalidArgument):
            await memory.remove_messages(ids=cast.ids("a"), purge_at=when)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("memory/messages:update", {"messageId": cast.id("a"), "expiresAt": -1}),
        ("memory/messages:remove", {"ids": cast.ids("a"), "purgeAt": -1}),
        ("memory/threads:remove", {"threadId": cast.id("t"), "purgeAt": 2**60}),
    ]
    for path, args in calls:
        with pytest.raises(InvalidArgument):
            await deployment.call("mutation", path, args)
    with pytest.raises(InvalidArgument):
        await memory.save_conversation(
            thread=None,
            messages=[cast.message("b")],
            expires_at={cast.id("a"): "2030-01-01"},
        )
    assert await looking.page() == ["a"]


@requirement("forgetting:expiry:deleted")
async def test_what_expires_while_it_is_deleted_is_not_restored(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await memory.save_conversation(
        thread=cast.thread(),
        messages=[cast.message(name, n) for n, name in enumerate("abc")],
        expires_at={cast.id(name): after(clock) for name in "ab"},
    )
    await memory.remove_messages(ids=cast.ids("a"), purge_at=after(clock, 2 * HOUR))
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock, 2 * HOUR))
    clock.advance_ms(HOUR)
    assert (await memory.restore_thread(thread_id=cast.id("t"))).messages == 1
    assert await memory.restore_messages(ids=cast.ids("a", "b")) == []
    assert await looking.page() == ["c"]
    await memory.patch_thread(thread_id=cast.id("t"), expires_at=after(clock))
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock, 2 * HOUR))
    clock.advance_ms(HOUR)
    with pytest.raises(NotFound):
        await memory.restore_thread(thread_id=cast.id("t"))


# --- Superseding


@requirement("forgetting:supersede:search")
async def test_a_superseded_message_stays_and_is_not_found(
    memory: MemoryStore, cast: Cast, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await save_over(memory, cast, "c", "a", content="says otherwise", thread="u")
    assert await looking.found() == ["b", "c"]
    assert await looking.found("otherwise") == ["c"]
    page = await memory.page_messages(thread_id=cast.id("t"), limit=9, order="oldest")
    assert cast.names(page.messages) == ["a", "b"]
    assert await looking.superseded() == {"a": "c"}
    around = await memory.messages_around(message_id=cast.id("b"), before=1, after=0)
    marked = await memory.get_marked_messages(ids=cast.ids("a", "b", "c"))
    assert around.marks == marked.marks == page.marks
    counted = await memory.get_thread_with_count(thread_id=cast.id("t"))
    assert counted is not None
    assert counted.messages == 2


@requirement("forgetting:supersede:back")
async def test_when_the_successor_goes_the_old_is_found_again(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a")
    await save_over(memory, cast, "b", "a")
    await memory.remove_messages(ids=cast.ids("b"), purge_at=after(clock))
    assert (await looking.found(), await looking.superseded()) == (["a"], {})
    await memory.restore_messages(ids=cast.ids("b"))
    assert (await looking.found(), await looking.superseded()) == (["b"], {"a": "b"})
    # The old one goes and comes by itself, too, before its successor or after it.
    for gone in ("ab", "ba"):
        for back in ("ab", "ba"):
            for name in gone:
                await memory.remove_messages(ids=cast.ids(name), purge_at=after(clock))
            assert (await looking.found(), await looking.page()) == ([], [])
            for name in back:
                assert await memory.restore_messages(ids=cast.ids(name)) == cast.ids(name)
            assert (await looking.found(), await looking.superseded()) == (["b"], {"a": "b"})
    await memory.remove_messages(ids=cast.ids("b"))
    assert (await looking.found(), await looking.superseded()) == (["a"], {})


@requirement("forgetting:expiry:supersede")
async def test_when_the_successor_expires_the_old_is_found_again(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a")
    await memory.save_conversation(
        thread=None,
        messages=[cast.message("b", 5)],
        supersedes={cast.id("b"): cast.id("a")},
        expires_at={cast.id("b"): after(clock)},
    )
    assert await looking.found() == ["b"]
    clock.advance_ms(HOUR)
    assert (await looking.found(), await looking.superseded()) == (["a"], {})


@requirement("forgetting:supersede:chain")
async def test_the_last_of_a_chain_counts(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a")
    await save_over(memory, cast, "b", "a", 1)
    await save_over(memory, cast, "c", "b", 2)
    whole = {"a": "b", "b": "c"}
    assert (await looking.found(), await looking.superseded()) == (["c"], whole)
    await memory.remove_messages(ids=cast.ids("c"), purge_at=after(clock))
    assert (await looking.found(), await looking.superseded()) == (["b"], {"a": "b"})
    await memory.restore_messages(ids=cast.ids("c"))
    await memory.remove_messages(ids=cast.ids("b"), purge_at=after(clock))
    assert (await looking.found(), await looking.superseded()) == (["a", "c"], {})
    await memory.restore_messages(ids=cast.ids("b"))
    assert (await looking.found(), await looking.superseded()) == (["c"], whole)


@requirement("forgetting:supersede:thread")
async def test_a_restored_thread_has_its_marks(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a")
    await save_over(memory, cast, "b", "a", 1)
    # Out of its time: it is not the last of the thread that supersedes.
    await save_over(memory, cast, "c", "b", -1)
    before = await looking.all_of("t", "a", "b", "c")
    assert before.found == ["c"]
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=after(clock))
    await memory.restore_thread(thread_id=cast.id("t"))
    assert await looking.all_of("t", "a", "b", "c") == before


@requirement("forgetting:supersede:owners")
async def test_another_message_of_a_deleted_ones_id_supersedes_nothing(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await save_over(memory, cast, "b2", "b")
    await save_over(memory, cast, "a2", "a")
    gone = cast.ids("a", "a2", "b2", "b")
    for each in gone:
        await memory.remove_messages(ids=[each], purge_at=after(clock))
    # The one that superseded, and the one that was superseded: both ids are Bob's now.
    await memory.save_conversation(
        thread=cast.thread("u", resource_id=cast.bob),
        messages=[cast.message(name, thread="u", resource_id=cast.bob) for name in ("a2", "b")],
    )
    assert await memory.restore_messages(ids=gone, resource_id=cast.ann) == cast.ids("a", "b2")
    assert await looking.found() == ["a", "b2"]
    assert await looking.found(resource_id=cast.bob) == ["a2", "b"]


@requirement("forgetting:supersede:update")
async def test_a_superseded_message_that_is_changed_is_not_found(
    memory: MemoryStore, cast: Cast, looking: Looking
) -> None:
    await save(memory, cast, "a")
    await save_over(memory, cast, "b", "a")
    changed = await memory.update_message(message_id=cast.id("a"), text="says kettle")
    assert changed.mark.superseded_by == cast.id("b")
    assert await looking.found("kettle") == []
    await memory.remove_messages(ids=cast.ids("b"))
    assert await looking.found("kettle") == ["a"]


@requirement("forgetting:supersede:clone")
async def test_copies_have_the_marks_of_their_originals(
    memory: MemoryStore, cast: Cast, clock: Clock
) -> None:
    await save(memory, cast, "a", "b")
    await memory.save_conversation(
        thread=None,
        messages=[cast.message("c", 9)],
        supersedes={cast.id("c"): cast.id("a")},
        expires_at={cast.id("c"): after(clock)},
    )
    clone = await memory.clone_thread(source_thread_id=cast.id("t"))
    copies = clone.message_ids
    page = await memory.page_messages(thread_id=clone.thread.id, limit=9)
    assert {name: (mark.superseded_by, mark.expires_at) for name, mark in page.marks.items()} == {
        copies[cast.id("a")]: (copies[cast.id("c")], None),
        copies[cast.id("c")]: (None, after(clock)),
    }
    found = await memory.search_messages(query="says", limit=9, thread_id=clone.thread.id)
    assert {hit.message.id for hit in found.hits if not hit.near} == {
        copies[cast.id("b")],
        copies[cast.id("c")],
    }


@requirement("forgetting:supersede:again")
async def test_saving_the_same_again_changes_nothing(
    memory: MemoryStore, cast: Cast, clock: Clock, looking: Looking
) -> None:
    await save(memory, cast, "a")
    sent: dict[str, Any] = {
        "thread": cast.thread(),
        "messages": [cast.message("b", 1)],
        "supersedes": {cast.id("b"): cast.id("a")},
        "expires_at": {cast.id("b"): after(clock)},
    }
    statuses = []
    sights = []
    for _ in range(3):
        [receipt] = await memory.save_conversation(**sent)
        statuses.append(receipt.status)
        sights.append(await looking.all_of("t", "a", "b"))
    assert statuses == ["stored", "unchanged", "unchanged"]
    assert sights[0] == sights[1] == sights[2]
    assert sights[0].found == ["b"]


@requirement("forgetting:supersede:refusals")
async def test_what_cannot_be_superseded_stays_as_it_is(
    memory: MemoryStore, cast: Cast, looking: Looking
) -> None:
    await save(memory, cast, "a", "b")
    await memory.save_conversation(
        thread=cast.thread("u", resource_id=cast.bob),
        messages=[cast.message("x", thread="u", resource_id=cast.bob)],
    )
    for old in ("nobody", "x"):
        with pytest.raises(NotFound):
            await save_over(memory, cast, "new", old)
    with pytest.raises(InvalidArgument):
        await save_over(memory, cast, "new", "new")
    with pytest.raises(InvalidArgument):
        await memory.save_conversation(
            thread=None,
            messages=[cast.message("new")],
            supersedes={cast.id("a"): cast.id("b")},
        )
    await save_over(memory, cast, "b", "a", 1)
    with pytest.raises(InvalidArgument):
        # Round in a circle, neither would be found.
        await save_over(memory, cast, "a", "b", 0)
    assert await memory.get_messages(ids=cast.ids("new")) == []
    assert await looking.found() == ["b"]
    assert await looking.found(resource_id=cast.bob) == ["x"]
