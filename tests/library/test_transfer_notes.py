"""What is noted of rows beside them moves with them: expiry, succession, texts and embedders."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from convex_memory.deployment import Kind
from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.snapshot import Snapshot
from convex_memory.errors import Conflict, DeploymentTimeout
from convex_memory.moving import (
    ExportWriter,
    Header,
    Imported,
    ImportOptions,
    export_rows,
    import_rows,
    inventory_of,
)
from convex_memory.values import Value

pytestmark = pytest.mark.anyio

TIME = "2026-01-01T00:00:00.000Z"
EMBEDDER = "tests:three"
SOON = 5_000.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[[str], EmbeddedDeployment]


@pytest.fixture
async def make(tmp_path: Path, clock: Clock) -> AsyncIterator[Make]:
    made: list[EmbeddedDeployment] = []

    def make(name: str) -> EmbeddedDeployment:
        made.append(EmbeddedDeployment(tmp_path / name, now_ms=clock))
        return made[-1]

    yield make
    for deployment in made:
        await deployment.aclose()


class Forgetful:
    """A deployment that notes nothing of rows."""

    def __init__(self, deployment: EmbeddedDeployment) -> None:
        self._deployment = deployment

    async def call(self, kind: Kind, path: str, args: Any, **rest: Any) -> Value:
        assert "notes" not in args
        answer: Any = await self._deployment.call(kind, path, args, **rest)
        value: Value = answer | {"notes": []} if path == "memory/transfer:tables" else answer
        return value

    async def aclose(self) -> None:
        await self._deployment.aclose()


def message(message_id: str, thread: str = "t", text: str = "a teapot") -> dict[str, Any]:
    content = json.dumps({"format": 2, "parts": [{"type": "text", "text": text}]})
    return {
        "id": message_id,
        "thread_id": thread,
        "content": content,
        "role": "user",
        "type": "v2",
        "createdAt": TIME,
        "resourceId": "ann",
    }


async def save(deployment: EmbeddedDeployment, *ids: str, thread: str = "t", **more: Any) -> None:
    await deployment.call(
        "mutation",
        "memory/messages:save",
        {
            "messages": [message(each, thread) for each in ids],
            "thread": {"id": thread, "resourceId": "ann"},
            **more,
        },
    )


async def moved(
    tmp_path: Path, source: EmbeddedDeployment, target: Any, clock: Clock, **options: Any
) -> Imported:
    path = tmp_path / "e.jsonl"
    async with Snapshot(source, now_ms=clock) as snapshot:
        inventory = await inventory_of(snapshot)
        with path.open("wb") as file:
            writer = ExportWriter(file.write)
            tables = inventory.chosen(None)
            writer.begin(Header("1", TIME, inventory.kind, "snapshot", tables))
            await export_rows(snapshot, writer, tables)
            writer.end()
    return await import_rows(target, str(path), "target", ImportOptions(**options))


async def ids_of(deployment: EmbeddedDeployment, table: str = "mastra_messages") -> list[str]:
    answer: Any = await deployment.call("query", "memory/transfer:page", {"table": table})
    return [json.loads(text)["id"] for text in answer["rows"]]


async def found(deployment: EmbeddedDeployment) -> set[str]:
    answer: Any = await deployment.call(
        "query", "memory/search:messages", {"query": "teapot", "limit": 9}
    )
    return {hit["message"]["id"] for hit in answer["hits"]}


# --- Expiry and succession


async def test_expiries_and_successors_move(tmp_path: Path, make: Make, clock: Clock) -> None:
    here, there = make("here"), make("there")
    await save(here, "old", "stays", "goes", expiries=[["goes", SOON]])
    await save(here, "new", supersedes=[["new", "old"]])
    await save(here, "with", thread="u")
    await here.call("mutation", "memory/threads:update", {"threadId": "u", "expiresAt": SOON})
    assert await moved(tmp_path, here, there, clock) == Imported(stored=7)
    assert await moved(tmp_path, here, there, clock) == Imported(unchanged=7)
    assert await found(there) == await found(here) == {"stays", "goes", "new", "with"}
    page: Any = await there.call("query", "memory/messages:page", {"threadId": "t", "limit": 9})
    assert {mark.pop("id"): mark for mark in page["marks"]} == {
        "goes": {"expiresAt": SOON},
        "old": {"supersededBy": "new"},
    }
    clock.now = SOON
    assert await ids_of(there) == await ids_of(here) == ["old", "stays", "new"]
    assert await ids_of(there, "mastra_threads") == ["t"]


async def test_what_has_expired_before_it_arrives_does_not_live_on(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    await save(here, "goes", "stays", expiries=[["goes", SOON]])
    await save(here, "with", thread="u")
    await here.call("mutation", "memory/threads:update", {"threadId": "u", "expiresAt": SOON})
    empty = make("empty")
    await moved(tmp_path, here, empty, clock)
    clock.now = SOON
    path = tmp_path / "e.jsonl"
    result = await import_rows(there, str(path), "there", ImportOptions())
    assert result == Imported(stored=2, dropped=3)
    assert await ids_of(there) == ["stays"]
    assert await ids_of(there, "mastra_threads") == ["t"]


async def test_where_nothing_expires_the_expired_stay_out_and_the_rest_is_told(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    # Long after this test runs, and long before.
    await save(here, "later", "sooner", "plain", expiries=[["later", 9e15], ["sooner", SOON]])
    await save(here, "next", supersedes=[["next", "plain"]])
    result = await moved(tmp_path, here, Forgetful(there), clock)
    assert (result.stored, result.dropped) == (4, 1)
    assert await ids_of(there) == ["later", "plain", "next"]
    expiry, succession = result.warnings
    assert expiry.startswith("1 messages and threads were to expire.")
    assert succession.startswith("1 messages were superseded")


async def test_an_interrupted_import_goes_on_where_nothing_is_noted(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    class Stopping(Forgetful):
        left = 3

        async def call(self, kind: Kind, path: str, args: Any, **rest: Any) -> Value:
            if path == "memory/transfer:restore":
                self.left -= 1
                if not self.left:
                    raise DeploymentTimeout("No answer.")
            return await super().call(kind, path, args, **rest)

    here, there = make("here"), make("there")
    for start in range(0, 1500, 100):
        ids = [f"m{n}" for n in range(start, start + 100)]
        await save(here, *ids, expiries=[[each, 9e15] for each in ids])
    with pytest.raises(DeploymentTimeout):
        await moved(tmp_path, here, Stopping(there), clock)
    path = str(tmp_path / "e.jsonl")
    result = await import_rows(Forgetful(there), path, "target", ImportOptions())
    assert result.skipped > 0
    assert (result.rows, result.kept) == (1501, 0)
    answer: Any = await there.call("query", "memory/meta:stats", {})
    assert answer["messages"] == 1500


async def test_notes_that_differ_are_kept_or_replaced_like_rows(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    for deployment in (here, there):
        await save(deployment, "a", "b", "c", now=TIME)
    await here.call("mutation", "memory/messages:update", {"messageId": "a", "expiresAt": SOON})
    await there.call("mutation", "memory/messages:update", {"messageId": "b", "expiresAt": SOON})
    await save(there, "d", supersedes=[["d", "c"]], now=TIME)
    kept = await moved(tmp_path, here, there, clock)
    assert (kept.unchanged, kept.kept) == (1, 3)
    assert await found(there) == {"a", "b", "d"}
    replaced = await moved(tmp_path, here, there, clock, replace=True)
    assert (replaced.unchanged, replaced.replaced) == (1, 3)
    assert await found(there) == {"a", "b", "c", "d"}
    clock.now = SOON
    assert await ids_of(there) == ["b", "c", "d"]


async def test_what_was_deleted_for_a_while_does_not_move(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    await save(here, "a", "b")
    await here.call("mutation", "memory/messages:remove", {"ids": ["a"], "purgeAt": 9e15})
    await moved(tmp_path, here, there, clock)
    assert await ids_of(there) == ["b"]


# --- Embedders


async def create(deployment: EmbeddedDeployment, index: str) -> None:
    await deployment.call(
        "mutation", "memory/vectors:createIndex", {"indexName": index, "dimension": 3}
    )


async def upsert(
    deployment: EmbeddedDeployment, index: str, *ids: str, embedder: str | None = EMBEDDER
) -> None:
    items: list[Any] = [
        {"id": each, "vector": [1, n, 0]} | ({"text": f"about {each}"} if embedder else {})
        for n, each in enumerate(ids)
    ]
    more = {"embedder": embedder} if embedder else {}
    await deployment.call(
        "mutation", "memory/vectors:upsert", {"indexName": index, "items": items, **more}
    )


async def described(deployment: EmbeddedDeployment, index: str) -> tuple[int, str | None, int]:
    answer: Any = await deployment.call("query", "memory/vectors:describe", {"indexName": index})
    return (answer["count"], answer["embedder"], answer["pending"])


async def test_texts_and_their_embedder_move_with_the_vectors(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    for index in ("texts", "callers"):
        await create(here, index)
    await upsert(here, "texts", "a", "b", "c")
    await upsert(here, "callers", "a", embedder=None)
    assert await moved(tmp_path, here, there, clock) == Imported(stored=6)
    assert await moved(tmp_path, here, there, clock) == Imported(unchanged=6)
    assert await described(there, "texts") == (3, EMBEDDER, 0)
    assert await described(there, "callers") == (1, None, 0)
    await upsert(there, "texts", "d")
    with pytest.raises(Conflict):
        await upsert(there, "texts", "e", embedder=None)
    # The texts came along: all of them can be embedded anew.
    again: dict[str, Any] = {"indexName": "texts", "embedder": "other", "dimension": 3}
    answer: Any = await there.call("mutation", "memory/embeddings:reembed", again)
    assert answer["pending"] == 4


async def embed_some(deployment: EmbeddedDeployment, count: int) -> None:
    """Embed some of what waits, the newest first."""
    answer: Any = await deployment.call(
        "mutation",
        "memory/embeddings:claim",
        {"embedder": EMBEDDER, "limit": count, "leaseMs": 1000},
    )
    items: list[Any] = [{"ticket": item["ticket"], "vector": [1, 0, 0]} for item in answer["items"]]
    stored: Any = await deployment.call(
        "mutation", "memory/embeddings:store", {"embedder": EMBEDDER, "items": items}
    )
    assert stored["stored"] == count


async def pending(deployment: EmbeddedDeployment) -> int:
    answer: Any = await deployment.call("query", "memory/embeddings:status", {})
    return int(answer["pending"])


async def test_messages_that_are_embedded_need_not_be_embedded_again(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    begin: dict[str, Any] = {"embedder": EMBEDDER, "dimension": 3}
    await here.call("mutation", "memory/embeddings:begin", begin)
    await save(here, *(f"m{n}" for n in range(10)))
    await embed_some(here, 7)
    # A message of the target's own waits for its vector there.
    await save(there, "own", thread="own")
    result = await moved(tmp_path, here, there, clock)
    assert (result.stored, result.kept) == (1 + 10 + 1 + 7, 0)
    answer: Any = await there.call("mutation", "memory/embeddings:begin", begin)
    assert (answer["changed"], answer["pending"]) == (False, 3 + 1)
    clock.now += 10_000
    await embed_some(there, 4)
    assert await pending(there) == 0
    assert (await moved(tmp_path, here, there, clock)).unchanged == 19


async def test_vectors_of_an_earlier_embedder_do_not_move(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    await create(here, "texts")
    await upsert(here, "texts", "a", "b")
    again: dict[str, Any] = {"indexName": "texts", "embedder": "other", "dimension": 3}
    await here.call("mutation", "memory/embeddings:reembed", again)
    assert (await moved(tmp_path, here, there, clock)).stored == 1
    assert await ids_of(there, "mastra_vectors") == []


async def test_vectors_of_different_origin_are_never_mixed(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    texts, callers, others = make("texts"), make("callers"), make("others")
    for deployment in (texts, callers, others):
        await create(deployment, "i")
    await upsert(texts, "i", "a")
    await upsert(callers, "i", "a", embedder=None)
    await upsert(others, "i", "a", embedder="other")
    for source, target in ((texts, callers), (callers, texts), (texts, others)):
        before = await described(target, "i")
        for replace in (False, True):
            with pytest.raises(Conflict, match="Vector index 'i' is there already"):
                await moved(tmp_path, source, target, clock, replace=replace)
        assert await described(target, "i") == before
    # An index that is there, and empty, is as good as none.
    empty = make("empty")
    await create(empty, "i")
    await moved(tmp_path, texts, empty, clock)
    assert await described(empty, "i") == (1, EMBEDDER, 0)


async def test_where_nothing_is_embedded_vectors_move_without_their_texts(
    tmp_path: Path, make: Make, clock: Clock
) -> None:
    here, there = make("here"), make("there")
    await create(here, "texts")
    await upsert(here, "texts", "a", "b")
    result = await moved(tmp_path, here, Forgetful(there), clock)
    assert result.stored == 3
    [warning] = result.warnings
    assert warning.startswith("3 vectors and indexes of them were made of texts.")
    assert await described(there, "texts") == (2, None, 0)
