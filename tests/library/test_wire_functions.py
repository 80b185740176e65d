"""Our functions over Mastra's own: what is read and written, and what is left when a call fails.

That they answer as ours do, the contract suite shows on its leg `mastra`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx2
import pytest

from convex_memory.capabilities import VERSION_FUNCTION
from convex_memory.deployment import STORAGE_FUNCTION
from convex_memory.embedded.functions import FUNCTIONS
from convex_memory.errors import (
    FunctionError,
    FunctionNotDeployed,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Unreachable,
)
from convex_memory.records import Message, Thread
from convex_memory.remote import RemoteDeployment
from convex_memory.store import ConvexStore, MemoryStore, wire
from convex_memory.store.storage import MESSAGES, RESOURCES, THREADS, StorageFunction
from convex_memory.store.wire import search, threads
from convex_memory.store.wire.rows import Rows
from tests.bridge.serving import BRIDGE, Bridge, bridge
from tests.library.watched import Watched, filtered_by, nothing

pytestmark = pytest.mark.anyio

NOW_MS = 1_767_225_600_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def mastra() -> Iterator[Bridge]:
    """Mastra's functions alone."""
    with bridge(BRIDGE / "mastra_reference") as running:
        yield running


@pytest.fixture
async def deployment(mastra: Bridge) -> AsyncIterator[Watched]:
    mastra.reset(NOW_MS)
    transport = httpx2.AsyncHTTPTransport(verify=False)
    async with RemoteDeployment(mastra.url, mastra.admin_key, transport=transport) as remote:
        yield Watched(remote)


@pytest.fixture
def memory(deployment: Watched) -> MemoryStore:
    return ConvexStore(deployment).memory


def thread(name: str = "t", owner: str = "ann", title: str = "", **more: Any) -> Thread:
    return Thread(id=name, resource_id=owner, title=title, **more)


def said(name: str, text: str = "", home: str = "t", owner: str = "ann") -> Message:
    return Message(
        id=name, thread_id=home, resource_id=owner, role="user", content=text or f"says {name}"
    )


def names(found: list[Message]) -> list[str]:
    return [message.id for message in found]


async def ids_in(memory: MemoryStore, thread_id: str = "t") -> list[str]:
    page = await memory.page_messages(thread_id=thread_id, limit=200, order="oldest")
    return names(page.messages)


def too_much(request: Mapping[str, Any]) -> FunctionError:
    return FunctionError("Too many bytes read in a single function execution.")


# --- Which functions are called


async def test_only_the_storage_function_is_called(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_conversation(thread=thread(), messages=[said("a"), said("b")])
    await memory.page_messages(thread_id="t", limit=1)
    await memory.messages_around(message_id="a", before=1, after=1)
    await memory.get_messages(ids=["a"])
    await memory.search_messages(query="says", limit=1, resource_id="ann")
    await memory.get_thread_with_count(thread_id="t")
    await memory.page_threads(limit=1)
    await memory.patch_thread(thread_id="t", title="Tea")
    await memory.clone_thread(source_thread_id="t")
    await memory.update_working_memory(resource_id="ann", text="likes tea")
    await memory.get_working_memory(resource_id="ann")
    await memory.stats()
    await memory.remove_messages(ids=["a"])
    await memory.remove_thread(thread_id="t")
    assert deployment.paths[0] == VERSION_FUNCTION
    assert set(deployment.paths[1:]) == {STORAGE_FUNCTION}


async def test_what_mastras_functions_cannot_do_says_what_to_do(memory: MemoryStore) -> None:
    with pytest.raises(FunctionNotDeployed, match=r"memory/changes:list.*`convex-memory functions"):
        await memory.changes(after=0, limit=1)


@pytest.mark.parametrize(
    ("path", "args"),
    [
        ("memory/threads:remove", {"threadId": "t", "purgeAt": NOW_MS}),
        ("memory/messages:save", {"messages": [], "expiries": [["a", NOW_MS]]}),
        (
            "memory/messages:save",
            {
                "messages": [{**said("a").to_row()}],
                "thread": {"id": "t", "resourceId": "ann", "expiresAt": NOW_MS},
                "now": "2026-01-01T00:00:00.000Z",
            },
        ),
    ],
)
async def test_what_only_our_functions_do_is_not_left_undone_in_silence(
    deployment: Watched, path: str, args: dict[str, Any]
) -> None:
    functions = wire.WireFunctions(StorageFunction(deployment), str)
    with pytest.raises(FunctionNotDeployed, match=r"know no (purgeAt|expir).*npx convex deploy"):
        await functions.call(path, args)
    assert deployment.operations() == []


async def test_what_a_message_says_can_be_changed(memory: MemoryStore, deployment: Watched) -> None:
    await memory.save_conversation(thread=thread(), messages=[said("a")])
    functions = wire.WireFunctions(StorageFunction(deployment), str)
    now = "2030-01-01T00:00:00.000Z"
    here: dict[str, Any] = {"messageId": "a", "now": now}
    answer: Any = None
    for changes in (
        {"text": "tea", "metadata": {"n": 1, "m": 2}},
        {"metadata": {"m": None}, "resourceId": "ann"},
    ):
        answer = await functions.call("memory/messages:update", here | changes)
    changed = Message.from_row(answer["message"])
    assert (changed.text, changed.metadata) == ("tea", {"n": 1})
    assert await memory.get_messages(ids=["a"]) == [changed]
    stamped = await memory.get_thread_by_id(thread_id="t")
    assert stamped is not None
    assert stamped.to_row()["updatedAt"] == now
    for refused in ({"resourceId": "bob"}, {"threadId": "u"}, {"messageId": "nobody"}):
        with pytest.raises(NotFound, match="There is no message"):
            await functions.call("memory/messages:update", {**here, "text": "milk", **refused})
    with pytest.raises(InvalidArgument):
        await functions.call("memory/messages:update", here)


# --- Saving


async def test_messages_are_stored_before_their_thread(
    memory: MemoryStore, deployment: Watched
) -> None:
    async def lose_the_thread(request: Mapping[str, Any]) -> None:
        if request["op"] == "insert":
            raise Unreachable("gone")

    deployment.before = lose_the_thread
    with pytest.raises(Unreachable):
        await memory.save_conversation(thread=thread(title="Tea"), messages=[said("a"), said("b")])
    assert await memory.get_thread_by_id(thread_id="t") is None
    assert names(await memory.get_messages(ids=["a", "b"])) == ["a", "b"]
    deployment.before = nothing
    receipts = await memory.save_conversation(
        thread=thread(title="Tea"), messages=[said("a"), said("b")]
    )
    assert [receipt.status for receipt in receipts] == ["unchanged", "unchanged"]
    assert await ids_in(memory) == ["a", "b"]
    begun = await memory.get_thread_by_id(thread_id="t")
    assert begun is not None
    assert begun.title == "Tea"


async def test_a_refused_save_leaves_nothing(memory: MemoryStore, deployment: Watched) -> None:
    async def refuse(request: Mapping[str, Any]) -> None:
        if request["op"] == "batchInsert":
            raise FunctionError("Value is too large.")

    deployment.before = refuse
    with pytest.raises(FunctionError, match="too large"):
        await memory.save_conversation(thread=thread(), messages=[said("a")])
    assert await memory.get_thread_by_id(thread_id="t") is None
    assert await memory.get_messages(ids=["a"]) == []


async def test_saves_of_one_process_begin_a_thread_once(
    memory: MemoryStore, deployment: Watched
) -> None:
    await asyncio.gather(
        *(
            memory.save_conversation(thread=thread(title=f"Of {name}"), messages=[said(name)])
            for name in "abc"
        )
    )
    assert sorted(await ids_in(memory)) == ["a", "b", "c"]
    [begun] = [each for each in deployment.requests if each["op"] == "insert"]
    stored = await memory.get_thread_by_id(thread_id="t")
    assert stored is not None
    assert stored.title == begun["record"]["title"]


async def test_a_thread_that_somebody_begins_meanwhile_stays_theirs(
    memory: MemoryStore, deployment: Watched
) -> None:
    async def begin(request: Mapping[str, Any]) -> None:
        if request["op"] == "batchInsert":
            deployment.before = nothing
            await memory.save_thread(thread(owner="bob", title="Bob's"))

    deployment.before = begin
    await memory.save_conversation(thread=thread(title="Ann's"), messages=[said("a")])
    theirs = await memory.get_thread_by_id(thread_id="t")
    assert theirs is not None
    assert (theirs.resource_id, theirs.title) == ("bob", "Bob's")


async def test_a_hundred_messages_are_one_write(memory: MemoryStore, deployment: Watched) -> None:
    await memory.save_thread(thread())
    deployment.forget()
    many = [said(f"m{number}") for number in range(100)]
    receipts = await memory.save_conversation(thread=thread(), messages=many)
    assert [receipt.status for receipt in receipts] == ["stored"] * 100
    writes = [op for op in deployment.operations() if op not in ("load", "loadMany")]
    assert writes == ["batchInsert", "patch"]
    assert await ids_in(memory) == [message.id for message in many]


# --- Reading


async def test_those_who_wait_for_a_thread_share_a_reading(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_conversation(thread=thread(), messages=[said(f"m{n}") for n in range(9)])
    deployment.forget()
    rows = Rows(StorageFunction(deployment), str)
    found = await asyncio.gather(*(rows.messages_in("t") for _ in range(9)))
    assert [[row["id"] for row in each] for each in found] == [[f"m{n}" for n in range(9)]] * 9
    assert deployment.operations() == ["queryTable"]


async def test_a_reading_begun_before_a_write_is_not_shared_after_it(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_conversation(thread=thread(), messages=[said("a")])
    reached, released = asyncio.Event(), asyncio.Event()
    held: list[list[str]] = []

    async def hold(request: Mapping[str, Any]) -> None:
        if request["op"] == "queryTable":
            deployment.before = nothing
            reached.set()
            await released.wait()

    async def early() -> None:
        held.append(await ids_in(memory))

    deployment.before = hold
    first = asyncio.create_task(early())
    await reached.wait()
    await memory.save_conversation(thread=thread(), messages=[said("b")])
    second = asyncio.create_task(ids_in(memory))
    await asyncio.sleep(0)
    released.set()
    assert await second == ["a", "b"]
    await first
    assert held[0][0] == "a"


async def test_a_thread_that_is_too_large_says_so(memory: MemoryStore, deployment: Watched) -> None:
    await memory.save_conversation(thread=thread(), messages=[said("a"), said("b")])

    async def refuse(request: Mapping[str, Any]) -> None:
        if filtered_by(request, "thread_id") == "t":
            raise too_much(request)

    deployment.before = refuse
    with pytest.raises(LimitExceeded, match=r"thread 't' in one piece: Too many bytes.*npx convex"):
        await memory.page_messages(thread_id="t", limit=1)
    # One message needs no thread.
    alone = await memory.messages_around(message_id="a", before=0, after=0)
    assert names(alone.messages) == ["a"]


async def test_a_message_without_a_resource_is_its_threads(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_thread(thread())
    row = {name: value for name, value in said("old").to_row().items() if name != "resourceId"}
    request: dict[str, Any] = {"op": "insert", "tableName": MESSAGES, "record": row}
    await deployment.call("mutation", STORAGE_FUNCTION, request)

    async def seen_by(owner: str) -> tuple[list[str], list[str]]:
        found = await memory.search_messages(query="says", limit=9, resource_id=owner)
        got = await memory.get_messages(ids=["old"], resource_id=owner)
        return names([hit.message for hit in found.hits]), names(got)

    assert await seen_by("ann") == (["old"], ["old"])
    assert await seen_by("bob") == ([], [])
    assert (await memory.remove_messages(ids=["old"], resource_id="bob")).ids == []
    assert (await memory.stats(resource_id="ann")).messages == 0


# --- Searching


async def fill(memory: MemoryStore, *threads_named: str) -> None:
    """Save three messages about tea in each thread, the threads a second after one another."""
    for name in threads_named:
        texts = [said(f"{name}{n}", "tea", home=name) for n in range(3)]
        await memory.save_messages(texts)
        # The clock of the tests stands still.
        second = threads_named.index(name)
        await memory.save_thread(
            Thread.from_row({**thread(name).to_row(), "updatedAt": f"2026-01-01T00:00:0{second}Z"})
        )


async def found_by(memory: MemoryStore, **more: Any) -> tuple[set[str], bool]:
    found = await memory.search_messages(query="tea", limit=100, resource_id="ann", **more)
    return {hit.message.thread_id for hit in found.hits}, found.exhausted


async def test_too_many_messages_are_searched_newest_thread_first(
    memory: MemoryStore, deployment: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MESSAGES_MAX", 4)
    monkeypatch.setattr(search, "READS_AT_ONCE", 1)
    await fill(memory, "a", "b", "c")

    async def refuse(request: Mapping[str, Any]) -> None:
        if request["tableName"] == MESSAGES and filtered_by(request, "resourceId"):
            raise too_much(request)

    deployment.before = refuse
    assert await found_by(memory) == ({"c", "b"}, False)
    deployment.forget()
    assert await found_by(memory) == ({"c", "b"}, False)
    # What was too much once is not tried again.
    assert [filtered_by(each, "resourceId") for each in deployment.requests] == ["ann", None, None]
    monkeypatch.setattr(search, "MESSAGES_MAX", 100)
    assert await found_by(memory) == ({"a", "b", "c"}, True)


async def test_a_thread_that_cannot_be_read_is_searched_by_nobody_but_said(
    memory: MemoryStore, deployment: Watched
) -> None:
    await fill(memory, "a", "b")
    unreadable = {"b"}

    async def refuse(request: Mapping[str, Any]) -> None:
        home = filtered_by(request, "thread_id")
        if request["tableName"] == MESSAGES and (home is None or home in unreadable):
            if request["op"] == "queryTable":
                raise too_much(request)

    deployment.before = refuse
    assert await found_by(memory) == ({"a"}, False)
    assert await found_by(memory, thread_id="a") == ({"a"}, True)
    with pytest.raises(LimitExceeded):
        await found_by(memory, thread_id="b")
    unreadable.add("a")
    with pytest.raises(LimitExceeded):
        await found_by(memory)


async def test_hits_can_be_ids_alone(memory: MemoryStore, deployment: Watched) -> None:
    await fill(memory, "a")
    functions = wire.WireFunctions(StorageFunction(deployment), str)
    asked: dict[str, Any] = {"query": "tea", "limit": 200, "idsOnly": True}
    answer: Any = await functions.call("memory/search:messages", asked)
    assert [hit["id"] for hit in answer["hits"]] == ["a2", "a1", "a0"]
    assert all(set(hit) == {"id", "score"} for hit in answer["hits"])
    assert (answer["exhausted"], answer["cursor"]) == (True, None)


async def test_counts_go_thread_by_thread_where_they_must(
    memory: MemoryStore, deployment: Watched
) -> None:
    await fill(memory, "a", "b")
    await memory.save_conversation(
        thread=thread("x", owner="bob"), messages=[said("x0", home="x", owner="bob")]
    )

    async def refuse(request: Mapping[str, Any]) -> None:
        if request["tableName"] == MESSAGES and filtered_by(request, "thread_id") is None:
            raise too_much(request)

    deployment.before = refuse
    mine, all_of_them = await memory.stats(resource_id="ann"), await memory.stats()
    assert (mine.threads, mine.messages, mine.resources, mine.vector_indexes) == (2, 6, 0, None)
    assert (all_of_them.threads, all_of_them.messages, all_of_them.vector_indexes) == (3, 7, 0)


# --- Changing


async def test_a_change_of_a_thread_writes_no_more_than_it_must(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_thread(thread(title="Old", metadata={"a": 1, "b": 2}))

    async def written(**changes: Any) -> Mapping[str, Any]:
        deployment.forget()
        await memory.patch_thread(thread_id="t", **changes)
        [load, write] = deployment.requests
        assert load["op"] == "load"
        return {name: write.get(name) for name in ("op", "title", "metadata", "record")}

    titled = await written(title="New")
    assert titled["op"] == "patch"
    assert set(titled["record"]) == {"title", "updatedAt"}
    merged = await written(metadata={"c": 3})
    assert (merged["op"], merged["title"], merged["metadata"]) == ("updateThread", "New", {"c": 3})
    reduced = await written(metadata={"a": None})
    assert reduced["op"] == "patch"
    assert reduced["record"]["metadata"] == {"b": 2, "c": 3}
    assert "title" not in reduced["record"]


async def test_a_thread_that_goes_away_meanwhile_is_not_found(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_thread(thread(metadata={"a": 1}))
    each_kind: list[dict[str, Any]] = [
        {"title": "New"},
        {"metadata": {"b": 2}},
        {"metadata": {"a": None}},
    ]
    for changes in each_kind:

        async def delete(request: Mapping[str, Any]) -> None:
            if request["op"] in ("patch", "updateThread"):
                deployment.before = nothing
                await memory.delete_thread(thread_id="t")

        deployment.before = delete
        with pytest.raises(NotFound):
            await memory.patch_thread(thread_id="t", **changes)
        await memory.save_thread(thread(metadata={"a": 1}))


async def test_what_one_process_appends_at_once_is_all_kept(memory: MemoryStore) -> None:
    await memory.save_thread(thread())
    for here in ({}, {"thread_id": "t"}):
        await asyncio.gather(
            *(
                memory.update_working_memory(
                    resource_id="ann", text=f"note {n}", mode="append", **here
                )
                for n in range(5)
            )
        )
        kept = await memory.get_working_memory(resource_id="ann", **here)
        assert kept.text is not None
        assert sorted(kept.text.split("\n")) == [f"note {n}" for n in range(5)]


async def test_replacing_working_memory_is_one_call(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.update_working_memory(resource_id="ann", text="likes tea")
    assert deployment.operations(RESOURCES) == ["updateResource"]


# --- Removing


async def test_a_removal_that_failed_is_gone_on_with(
    memory: MemoryStore, deployment: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convex_memory.store.deleting._ROWS", 2)
    await memory.save_conversation(thread=thread(), messages=[said(f"m{n}") for n in range(5)])

    async def lose_the_second(request: Mapping[str, Any]) -> None:
        if request["op"] == "deleteMany" and deployment.operations().count("deleteMany") == 2:
            raise Unreachable("gone")

    deployment.before = lose_the_second
    with pytest.raises(Unreachable):
        await memory.remove_thread(thread_id="t", resource_id="ann")
    deployment.before = nothing
    assert await ids_in(memory) == ["m2", "m3", "m4"]
    removal = await memory.remove_thread(thread_id="t", resource_id="ann")
    assert (removal.found, removal.messages) == (True, 3)
    assert await memory.get_thread_by_id(thread_id="t") is None


async def test_messages_that_are_many_bytes_are_removed_in_smaller_batches(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_conversation(thread=thread(), messages=[said(f"m{n}") for n in range(40)])
    limits: list[int] = []

    async def refuse(request: Mapping[str, Any]) -> None:
        if request["op"] == "queryTable":
            limits.append(request["limit"])
            if request["limit"] > 15:
                raise too_much(request)

    deployment.before = refuse
    removal = await memory.remove_thread(thread_id="t")
    assert (removal.found, removal.messages) == (True, 40)
    assert limits[:6] == [1000, 125, 15, 15, 15, 1000]


async def test_what_is_saved_while_a_thread_goes_away_goes_with_it(
    memory: MemoryStore, deployment: Watched
) -> None:
    await memory.save_conversation(thread=thread(), messages=[said("a")])

    async def save_late(request: Mapping[str, Any]) -> None:
        if request["op"] == "deleteMany" and request["tableName"] == THREADS:
            deployment.before = nothing
            await memory.save_messages([said("late")])

    deployment.before = save_late
    removal = await memory.remove_thread(thread_id="t")
    assert removal.messages == 2
    assert await memory.get_messages(ids=["late"]) == []


# --- Cloning


async def test_a_clone_is_written_in_batches_its_thread_last(
    memory: MemoryStore, deployment: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_COPY_ROWS", 2)
    await memory.save_conversation(thread=thread(), messages=[said(f"m{n}") for n in range(5)])
    deployment.forget()
    clone = await memory.clone_thread(source_thread_id="t", new_thread_id="copy")
    writes = [op for op in deployment.operations() if op not in ("load", "queryTable")]
    assert writes == ["batchInsert"] * 3 + ["insert"]
    assert list(clone.message_ids) == [f"m{n}" for n in range(5)]
    assert await ids_in(memory, "copy") == list(clone.message_ids.values())


async def test_a_long_message_is_copied_in_a_batch_of_its_own(
    memory: MemoryStore, deployment: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_COPY_CHARS", 300)
    texts = ["short", "long " * 100, "short", "short"]
    sent = [said(f"m{n}", text) for n, text in enumerate(texts)]
    await memory.save_conversation(thread=thread(), messages=sent)
    deployment.forget()
    await memory.clone_thread(source_thread_id="t", new_thread_id="copy")
    sizes = [len(each["records"]) for each in deployment.requests if each["op"] == "batchInsert"]
    assert sizes == [1, 1, 2]


async def test_a_clone_that_fails_leaves_no_copies(
    memory: MemoryStore, deployment: Watched, mastra: Bridge
) -> None:
    await memory.save_conversation(thread=thread(), messages=[said("a"), said("b")])

    async def refuse(request: Mapping[str, Any]) -> None:
        if request["op"] == "insert":
            raise Unreachable("gone")

    deployment.before = refuse
    with pytest.raises(Unreachable):
        await memory.clone_thread(source_thread_id="t", new_thread_id="copy")
    assert [row["id"] for row in mastra.rows(MESSAGES)] == ["a", "b"]
    assert [row["id"] for row in mastra.rows(THREADS)] == ["t"]


async def test_a_clone_of_too_many_messages_is_refused(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CLONE_MESSAGES_MAX", 2)
    await memory.save_conversation(thread=thread(), messages=[said(n) for n in "abc"])
    with pytest.raises(LimitExceeded, match="3 messages"):
        await memory.clone_thread(source_thread_id="t")


def test_only_functions_that_there_are_have_a_twin() -> None:
    assert set(FUNCTIONS) >= wire.PATHS
