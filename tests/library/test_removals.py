"""A thread that was removed and begun again while its old messages wait to be removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.memory import threads
from convex_memory.embedded.tables import MESSAGES
from convex_memory.errors import NotFound
from convex_memory.records import Message, Thread
from convex_memory.store import ConvexStore, MemoryStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddedDeployment]:
    # Two messages a batch, and nobody who goes on in idle time.
    monkeypatch.setattr(threads, "CASCADE_DELETE_ROWS", 2)
    monkeypatch.setattr(threads, "continue_removals", lambda documents: False)
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        yield deployment


def said(name: str, text: str = "tea") -> Message:
    return Message(id=name, thread_id="t", resource_id="r", role="user", content=text)


async def ids_in(memory: MemoryStore) -> list[str]:
    page = await memory.page_messages(thread_id="t", limit=50, order="oldest")
    return [message.id for message in page.messages]


async def remove_once(deployment: EmbeddedDeployment, **scope: str) -> object:
    return await deployment.call("mutation", "memory/threads:remove", {"threadId": "t", **scope})


async def test_the_new_thread_has_its_own_messages_only(deployment: EmbeddedDeployment) -> None:
    memory = ConvexStore(deployment).memory
    thread = Thread(id="t", resource_id="r")
    await memory.save_conversation(thread=thread, messages=[said(f"old{n}") for n in range(6)])
    assert await remove_once(deployment, resourceId="r") == {
        "found": True,
        "removedMessages": 6,
        "hasMore": True,
    }
    with pytest.raises(NotFound):
        await ids_in(memory)
    assert await memory.get_messages(ids=["old5"]) == []
    assert (await memory.search_messages(query="tea", limit=10)).hits == []

    receipts = await memory.save_conversation(thread=thread, messages=[said("new"), said("old5")])
    assert [receipt.status for receipt in receipts] == ["stored", "stored"]
    assert await ids_in(memory) == ["new", "old5"]
    counted = await memory.get_thread_with_count(thread_id="t")
    assert counted is not None
    assert counted.messages == 2
    found = await memory.search_messages(query="tea", limit=10)
    assert {hit.message.id for hit in found.hits} == {"new", "old5"}
    clone = await memory.clone_thread(source_thread_id="t")
    assert set(clone.message_ids) == {"new", "old5"}


async def test_removing_goes_on_and_spares_the_new_thread(deployment: EmbeddedDeployment) -> None:
    memory = ConvexStore(deployment).memory
    thread = Thread(id="t", resource_id="r")
    await memory.save_conversation(thread=thread, messages=[said(f"old{n}") for n in range(5)])
    await remove_once(deployment)
    await memory.save_conversation(thread=thread, messages=[said("new")])
    engine = deployment._engine
    assert engine is not None

    def batch(documents: Documents) -> bool:
        threads._remove_messages(documents, "t", 2)
        return threads._removing(documents, "t", None)

    assert [await engine.write(batch) for _ in range(2)] == [True, False]
    assert await ids_in(memory) == ["new"]
    rows = await engine.read(lambda documents: documents.count(MESSAGES, {"thread_id": "t"}))
    assert rows == 1


async def test_only_the_owner_may_go_on_with_a_removal(deployment: EmbeddedDeployment) -> None:
    memory = ConvexStore(deployment).memory
    thread = Thread(id="t", resource_id="r")
    await memory.save_conversation(thread=thread, messages=[said(f"old{n}") for n in range(5)])
    await remove_once(deployment, resourceId="r")
    nothing = {"found": False, "removedMessages": 0, "hasMore": False}
    assert await remove_once(deployment, resourceId="somebody else") == nothing
    again = await remove_once(deployment, resourceId="r")
    assert again == {"found": True, "removedMessages": 0, "hasMore": True}
    last = await remove_once(deployment, resourceId="r")
    assert last == {"found": True, "removedMessages": 0, "hasMore": False}
    assert await remove_once(deployment, resourceId="r") == nothing
