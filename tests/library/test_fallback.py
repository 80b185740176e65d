"""When a store goes over Mastra's functions, and when it does not: one deployment, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from convex_memory.capabilities import VERSION_FUNCTION
from convex_memory.deployment import STORAGE_FUNCTION
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import InvalidArgument
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore, MemoryStore
from tests.contract.conversations import StockDeployment
from tests.library.watched import Watched

pytestmark = pytest.mark.anyio

TEXTS = (
    "The kettle is on the stove",
    "Green tea, from the kettle, is the best tea",
    "We went sailing past the CAFÉ",
    "A long story about kettles, sails, a café, and a very old stove that nobody lit any more",
    "tea",
    "What is it about?",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Watched]:
    async with EmbeddedDeployment(tmp_path / "memory") as embedded:
        yield Watched(embedded)


@pytest.fixture
def ours(deployment: Watched) -> MemoryStore:
    return ConvexStore(deployment).memory


@pytest.fixture
def wire(deployment: Watched) -> MemoryStore:
    """A store that takes the same deployment for one with Mastra's functions alone."""
    return ConvexStore(StockDeployment(deployment)).memory


def said(name: str, text: str = "tea") -> Message:
    return Message(id=name, thread_id="t", resource_id="ann", role="user", content=text)


async def fill(memory: MemoryStore) -> None:
    await memory.save_conversation(
        thread=Thread(id="t", resource_id="ann"),
        messages=[said(f"m{number}", text) for number, text in enumerate(TEXTS)],
    )
    await memory.save_thread(Thread(id="u", resource_id="ann"))


# --- With our functions

CALLS: dict[str, Callable[[MemoryStore], Awaitable[Any]]] = {
    "memory/messages:save": lambda memory: memory.save_conversation(
        thread=None, messages=[said("new")]
    ),
    "memory/messages:page": lambda memory: memory.page_messages(thread_id="t", limit=2),
    "memory/messages:around": lambda memory: memory.messages_around(
        message_id="m1", before=1, after=1
    ),
    "memory/messages:get": lambda memory: memory.get_messages(ids=["m1"]),
    "memory/messages:remove": lambda memory: memory.remove_messages(ids=["m1"]),
    "memory/meta:stats": lambda memory: memory.stats(resource_id="ann"),
    "memory/search:messages": lambda memory: memory.search_messages(query="tea", limit=1),
    "memory/threads:get": lambda memory: memory.get_thread_with_count(thread_id="t"),
    "memory/threads:list": lambda memory: memory.page_threads(limit=1),
    "memory/threads:update": lambda memory: memory.patch_thread(thread_id="t", title="Tea"),
    "memory/threads:remove": lambda memory: memory.remove_thread(thread_id="t"),
    "memory/working:get": lambda memory: memory.get_working_memory(resource_id="ann"),
    "memory/working:update": lambda memory: memory.update_working_memory(
        resource_id="ann", text="likes tea"
    ),
    "memory/changes:list": lambda memory: memory.changes(after=0, limit=1),
}


@pytest.mark.parametrize("path", CALLS)
async def test_with_our_functions_a_question_is_one_call(
    ours: MemoryStore, deployment: Watched, path: str
) -> None:
    await fill(ours)
    deployment.forget()
    await CALLS[path](ours)
    assert deployment.paths == [path]


async def test_with_our_functions_a_clone_is_one_call_and_a_look_at_it(
    ours: MemoryStore, deployment: Watched
) -> None:
    await fill(ours)
    deployment.forget()
    await ours.clone_thread(source_thread_id="t")
    assert deployment.paths == ["memory/threads:clone", STORAGE_FUNCTION]
    assert deployment.operations() == ["queryTable"]


async def test_a_store_asks_once_what_there_is(ours: MemoryStore, deployment: Watched) -> None:
    await fill(ours)
    for call in CALLS.values():
        await call(ours)
    assert deployment.paths.count(VERSION_FUNCTION) == 1
    assert deployment.paths[0] == VERSION_FUNCTION


# --- Without them


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("kettle", ["m0", "m1", "m3"]),
        ("KETTLES", ["m0", "m1", "m3"]),
        ("sails", ["m2", "m3"]),
        ("cafe", ["m2", "m3"]),
        ("tea", ["m4", "m1"]),
        ("what is it about the stove", ["m0", "m3"]),
        # With nothing but stop words, those are looked for.
        ("what is it about", ["m5", "m3", "m0", "m1"]),
        ("zebra", []),
        ("?!", []),
    ],
)
async def test_a_search_ranks_by_the_words_of_each_message(
    ours: MemoryStore, wire: MemoryStore, query: str, expected: list[str]
) -> None:
    await fill(ours)
    found = await wire.search_messages(query=query, limit=20, resource_id="ann")
    assert [hit.message.id for hit in found.hits] == expected
    assert (found.exhausted, found.cursor) == (True, None)
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    # Ours find these, and what else they know to belong there.
    known = await ours.search_messages(query=query, limit=20, resource_id="ann")
    assert {hit.message.id for hit in known.hits} >= set(expected)


PAGES: dict[str, Callable[[MemoryStore, str | None], Awaitable[Any]]] = {
    "messages": lambda memory, cursor: memory.page_messages(thread_id="t", limit=2, cursor=cursor),
    "threads": lambda memory, cursor: memory.page_threads(
        limit=1, resource_id="ann", cursor=cursor
    ),
    "search": lambda memory, cursor: memory.search_messages(
        query="tea kettle", limit=1, resource_id="ann", cursor=cursor
    ),
}


@pytest.mark.parametrize("kind", PAGES)
async def test_a_cursor_of_the_other_way_is_refused_with_what_to_do(
    ours: MemoryStore, wire: MemoryStore, kind: str
) -> None:
    await fill(ours)
    for gave, taking in ((wire, ours), (ours, wire)):
        cursor = (await PAGES[kind](gave, None)).cursor
        assert cursor is not None
        await PAGES[kind](gave, cursor)
        with pytest.raises(InvalidArgument, match="leave it out to start from the beginning"):
            await PAGES[kind](taking, cursor)


async def test_what_was_written_the_long_way_is_found_by_our_functions(
    ours: MemoryStore, wire: MemoryStore
) -> None:
    await fill(wire)
    await wire.patch_thread(thread_id="t", title="Tea", metadata={"a": 1})
    await wire.update_working_memory(resource_id="ann", thread_id="t", text="about tea")
    page = await ours.page_messages(thread_id="t", limit=20, order="oldest")
    assert [message.text for message in page.messages] == list(TEXTS)
    assert page.thread.title == "Tea"
    assert page.thread.metadata == {"a": 1, "workingMemory": "about tea"}
    found = await ours.search_messages(query="sailing", limit=5, resource_id="ann")
    assert {hit.message.id for hit in found.hits} >= {"m2", "m3"}
    clone = await wire.clone_thread(source_thread_id="t", new_thread_id="copy")
    counted = await ours.get_thread_with_count(thread_id="copy", resource_id="ann")
    assert counted is not None
    assert (counted.messages, len(clone.message_ids)) == (len(TEXTS), len(TEXTS))
