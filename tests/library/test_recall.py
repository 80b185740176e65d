"""Recall by words and meaning, and the runner that embeds what waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.errors import EmbedderRefused, EmbedderUnreachable, InvalidArgument
from convex_memory.indexing import EmbeddingRunner
from convex_memory.recall import Recall
from convex_memory.records import Message
from convex_memory.store import ConvexStore, SearchScope
from convex_memory.text import text_content
from convex_memory.text_vectors import TextVectors
from convex_memory.vector import ConvexVector
from tests.embedders import WordEmbedder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[EmbeddedDeployment]:
    async with EmbeddedDeployment(tmp_path / "memory") as deployment:
        yield deployment


@pytest.fixture
def store(deployment: EmbeddedDeployment) -> ConvexStore:
    return ConvexStore(deployment)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def runner(deployment: EmbeddedDeployment, embedder: WordEmbedder) -> EmbeddingRunner:
    return EmbeddingRunner(deployment, embedder)


@pytest.fixture
def recall(store: ConvexStore, runner: EmbeddingRunner) -> Recall:
    return Recall(store.memory, runner)


async def save(store: ConvexStore, *texts: str, thread: str = "t", **more: Any) -> None:
    await store.memory.save_messages(
        [
            Message(
                id=f"{thread}{number}",
                thread_id=thread,
                role="user",
                content=text,
                resource_id=more.get("resource_id", "ann"),
                created_at=f"2026-01-01T00:00:{number:02d}Z",  # type: ignore[arg-type]
            )
            for number, text in enumerate(texts)
        ]
    )


async def found(recall: Recall, query: str, **more: Any) -> list[str]:
    result = await recall.search(query, **{"limit": 20, "resource_id": "ann", **more})
    return [hit.message.id for hit in result.hits]


# --- By meaning


async def test_other_words_of_the_same_meaning_are_found_and_said_so(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    await save(store, "The cat sleeps", thread="a")
    await save(store, "Rain all day", thread="b")
    assert await runner.run_once() == 2
    result = await recall.search("feline", limit=5, resource_id="ann")
    assert [hit.message.id for hit in result.hits] == ["a0"]
    assert set(result.hits[0].reasons) == {"semantic"}
    assert (result.searched, result.pending, result.note) == (("lexical", "semantic"), 0, None)


async def test_words_and_meaning_add_up(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    await save(store, "cat", thread="a")
    await save(store, "cat basket", thread="b")
    await runner.run_once()
    result = await recall.search("cat", limit=5, resource_id="ann")
    assert [hit.message.id for hit in result.hits] == ["a0", "b0"]
    best = result.hits[0]
    assert best.reasons == {"lexical": pytest.approx(0.7), "semantic": pytest.approx(0.3)}
    assert best.score == pytest.approx(1.0)


async def test_what_waits_for_its_vector_is_found_by_its_words_at_once(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    await runner.begin()
    await save(store, "The cat sleeps")
    result = await recall.search("cat", limit=5, resource_id="ann")
    assert [hit.message.id for hit in result.hits] == ["t0"]
    assert result.pending == 1
    assert await found(recall, "feline") == []


async def test_texts_that_have_nothing_to_do_with_a_question_are_not_found(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    await save(store, "Rain all day", "Bread and butter")
    await runner.run_once()
    assert await found(recall, "zeppelin") == []


async def test_every_filter_holds_by_meaning_too(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    await save(store, "cat one", "cat two", thread="a")
    await save(store, "cat three", thread="b")
    await save(store, "cat four", thread="x", resource_id="bob")
    await runner.run_once()
    assert sorted(await found(recall, "feline")) == ["a0", "a1", "b0"]
    assert sorted(await found(recall, "feline", thread_id="a")) == ["a0", "a1"]
    assert await found(recall, "feline", since="2026-01-01T00:00:01Z") == ["a1"]
    assert await found(recall, "feline", role="assistant") == []
    assert await found(recall, "feline", metadata={"absent": 1}) == []
    assert await found(recall, "feline", resource_id="bob") == ["x0"]


@pytest.mark.parametrize("since", [2, 40, 57])
async def test_the_nearest_of_a_time_are_found_however_many_are_of_it(
    store: ConvexStore, runner: EmbeddingRunner, embedder: WordEmbedder, since: int
) -> None:
    """Few are compared one by one; of many, the nearest of all are looked through."""
    await save(store, *[f"cat {'dog ' * (at * 7 % 60)}" for at in range(60)])
    await runner.run_once()
    vector = (await embedder.embed(["cat"])).vectors[0].tolist()
    start = f"2026-01-01T00:00:{since:02d}Z"

    async def nearest(limit: int, since: str | None = None) -> dict[str, float]:
        scope = SearchScope(resource_id="ann", since=since)
        answer = await store.memory.candidates_by_meaning(vector, embedder.id, limit, scope)
        return dict(answer.scores)

    everything = await nearest(60)
    wanted = [each for each in everything if int(each[1:]) >= since]
    for limit in (1, 3, 60):
        found = await nearest(limit, start)
        assert list(found) == wanted[:limit]
        assert found == pytest.approx({each: everything[each] for each in found}, abs=1e-6)


async def test_metadata_of_any_shape_narrows_a_search(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    kept: list[dict[str, Any]] = [
        {"a b": 1},
        {'q"x': "y"},
        {"n": 2**53 - 1},
        {"up": True},
        {"": "x"},
    ]
    for at, metadata in enumerate(kept):
        content = text_content(f"cat {at}", metadata=metadata)
        await store.memory.save_messages(
            [Message(id=f"m{at}", thread_id="t", resource_id="ann", role="user", content=content)]
        )
    await save(store, "cat with nothing", '{"metadata": not JSON, cat')
    await runner.run_once()
    for at, metadata in enumerate(kept):
        assert await found(recall, "feline", metadata=metadata) == [f"m{at}"]
    assert await found(recall, "feline", metadata={"up": 1}) == []


async def test_pages_hold_every_hit_once(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    await save(store, *[f"cat number {n}" for n in range(7)])
    await runner.run_once()
    pages: list[list[str]] = []
    cursor = None
    while True:
        result = await recall.search("cat", limit=3, resource_id="ann", cursor=cursor)
        pages.append([hit.message.id for hit in result.hits])
        cursor = result.cursor
        assert result.exhausted is (cursor is None)
        if cursor is None:
            break
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {each for page in pages for each in page} == {f"t{n}" for n in range(7)}
    with pytest.raises(InvalidArgument, match="cursor"):
        await recall.search("dog", limit=3, resource_id="ann", cursor="bm8")


# --- The runner


async def test_a_changed_message_is_embedded_anew(
    store: ConvexStore, recall: Recall, runner: EmbeddingRunner, embedder: WordEmbedder
) -> None:
    await save(store, "cat")
    await runner.run_once()
    await save(store, "car")
    assert await found(recall, "feline") == []
    assert await runner.run_once() == 1
    assert await found(recall, "automobile") == ["t0"]
    assert [text for text in embedder.embedded if text in ("cat", "car")] == ["cat", "car"]


async def test_two_runners_embed_each_text_once(
    deployment: EmbeddedDeployment, store: ConvexStore
) -> None:
    embedders = [WordEmbedder(), WordEmbedder()]
    runners = [EmbeddingRunner(deployment, each) for each in embedders]
    await runners[0].begin()
    for thread in range(10):
        await save(store, *[f"text {thread} {n}" for n in range(30)], thread=f"t{thread}")
    async with anyio.create_task_group() as tasks:
        for each in runners:
            tasks.start_soon(each.run_once)
    texts = embedders[0].embedded + embedders[1].embedded
    assert sorted(texts) == sorted(f"text {t} {n}" for t in range(10) for n in range(30))
    assert await runners[0].pending() == 0


async def test_a_failure_gives_back_what_was_claimed(
    store: ConvexStore, runner: EmbeddingRunner, embedder: WordEmbedder
) -> None:
    await save(store, "cat", "car")
    embedder.failure = EmbedderUnreachable("It did not answer.")
    with pytest.raises(EmbedderUnreachable):
        await runner.run_once()
    assert await runner.pending() == 2
    assert await runner.run_once() == 2


async def test_a_refused_text_keeps_no_other_from_its_vector(
    store: ConvexStore, runner: EmbeddingRunner, embedder: WordEmbedder
) -> None:
    await save(store, "cat", "car")
    refusing = embedder.embed

    async def embed(texts: Any) -> Any:
        if "car" in texts:
            raise EmbedderRefused("Not that one.")
        return await refusing(texts)

    embedder.embed = embed  # type: ignore[method-assign]
    assert await runner.run_once() == 1
    assert await runner.pending() == 1


async def test_messages_of_another_embedder_are_searched_by_words_and_the_answer_says_why(
    deployment: EmbeddedDeployment, store: ConvexStore, runner: EmbeddingRunner
) -> None:
    await save(store, "The cat sleeps")
    await runner.run_once()
    other = EmbeddingRunner(deployment, WordEmbedder("other"))
    result = await Recall(store.memory, other).search("cat", limit=5, resource_id="ann")
    assert [hit.message.id for hit in result.hits] == ["t0"]
    assert result.searched == ("lexical",)
    assert result.note is not None
    assert "embedded by words" in result.note
    assert "convex-memory reembed" in result.note


async def test_messages_can_be_embedded_anew_by_another_embedder(
    deployment: EmbeddedDeployment, store: ConvexStore, runner: EmbeddingRunner
) -> None:
    await save(store, "cat", "car")
    await runner.run_once()
    other = EmbeddingRunner(deployment, WordEmbedder("other", 32))
    recall = Recall(store.memory, other)
    assert await other.reembed() == 2
    result = await recall.search("cat", limit=5, resource_id="ann")
    assert (result.searched, result.pending) == (("lexical", "semantic"), 2)
    assert await other.run_once() == 2
    assert await found(recall, "feline") == ["t0"]
    vector = ConvexVector(deployment)
    assert (await vector.describe_index("memory_messages_64")).count == 0
    assert (await vector.describe_index("memory_messages_32")).count == 2


async def test_vectors_of_messages_stand_where_mastra_looks_for_them(
    deployment: EmbeddedDeployment, store: ConvexStore, runner: EmbeddingRunner
) -> None:
    await save(store, "cat")
    await runner.run_once()
    matches = await ConvexVector(deployment).query(
        "memory_messages_64", [1.0] * 64, filter={"resource_id": "ann"}
    )
    assert [match.metadata for match in matches.matches] == [
        {
            "message_id": "t0",
            "thread_id": "t",
            "resource_id": "ann",
            "role": "user",
            "created_at": "2026-01-01T00:00:00.000Z",
        }
    ]


async def test_vectors_of_a_mastra_app_are_neither_mixed_nor_in_the_way(
    deployment: EmbeddedDeployment, store: ConvexStore, recall: Recall, runner: EmbeddingRunner
) -> None:
    vector = ConvexVector(deployment)
    for name, dimension in (("memory_messages_64", 64), ("memory_messages_8", 8)):
        await vector.create_index(name, dimension)
        await vector.upsert(
            name,
            [[float(n == 0) or 0.1 for n in range(dimension)]] * 300,
            metadata=[{"message_id": "t0", "resource_id": "ann", "thread_id": "t"}] * 300,
        )
    await save(store, "cat", "car")
    await runner.run_once()
    assert await found(recall, "feline") == ["t0"]
    assert (await vector.describe_index("memory_messages_8")).count == 300
    assert (await vector.describe_index("memory_messages_64")).count == 302


async def test_texts_can_be_put_into_an_index_and_found(
    deployment: EmbeddedDeployment, embedder: WordEmbedder, runner: EmbeddingRunner
) -> None:
    texts = TextVectors(deployment, embedder, capabilities=None)
    vector = ConvexVector(deployment)
    await vector.create_index("notes", await texts.dimension())
    await texts.upsert("notes", ["the cat", "a car"], ids=["a", "b"], metadata=[{"n": 1}, None])
    answer = await texts.query("notes", "feline", top_k=1)
    assert [(match.id, match.metadata) for match in answer.matches] == [("a", {"n": 1})]
    described = await vector.describe_index("notes")
    assert (described.embedder, described.pending, described.count) == ("words", 0, 2)
    other = WordEmbedder("other", 16)
    assert await EmbeddingRunner(deployment, other).reembed("notes") == 2
    assert await EmbeddingRunner(deployment, other).run_once() == 2
    answer = await TextVectors(deployment, other, capabilities=None).query("notes", "automobile")
    assert answer.matches[0].id == "b"
    assert {match.id: match.metadata for match in answer.matches} == {"a": {"n": 1}, "b": None}
