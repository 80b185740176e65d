"""`memory/embeddings:*`: texts that wait for vectors, of messages and of indexes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from convex_memory.deployment import Deployment
from convex_memory.errors import Conflict, DimensionMismatch, InvalidArgument, NotFound
from convex_memory.store import ConvexStore, MemoryStore
from tests.contract.conversations import Cast
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire

pytestmark = pytest.mark.anyio

LEASE: Final = 60_000
UP: Final = [0, 0, 1]
INDEX: Final = "memory_messages_3"


class Embedding:
    """The functions, as a server with an embedder calls them."""

    def __init__(self, deployment: Deployment, cast: Cast) -> None:
        self._deployment = deployment
        self._cast = cast

    async def call(self, name: str, **args: Any) -> Any:
        return await self._deployment.call("mutation", f"memory/embeddings:{name}", args)

    async def begin(self, embedder: str = "one", dimension: int = 3, **more: Any) -> Any:
        return await self.call("begin", embedder=embedder, dimension=dimension, **more)

    async def status(self, **args: Any) -> Any:
        return await self._deployment.call("query", "memory/embeddings:status", args)

    async def claim(self, embedder: str = "one", limit: int = 256) -> list[dict[str, Any]]:
        answer = await self.call("claim", embedder=embedder, limit=limit, leaseMs=LEASE)
        return list(answer["items"])

    async def store(
        self,
        claimed: Sequence[dict[str, Any]],
        vector: Sequence[float] = UP,
        embedder: str = "one",
    ) -> tuple[int, int]:
        """Store one vector for all; return how many were stored and how many were stale."""
        items = [{"ticket": each["ticket"], "vector": list(vector)} for each in claimed]
        answer = await self.call("store", embedder=embedder, items=items)
        return answer["stored"], answer["stale"]

    async def embed_all(self, embedder: str = "one", vector: Sequence[float] = UP) -> int:
        claimed = await self.claim(embedder)
        return (await self.store(claimed, vector, embedder))[0] if claimed else 0

    async def search(
        self, index: str = INDEX, vector: Sequence[float] = UP, **more: Any
    ) -> list[dict[str, Any]]:
        args = {"indexName": index, "vector": list(vector), "limit": 50, **more}
        answer: Any = await self._deployment.call("action", "memory/vectors:search", args)
        return list(answer["matches"])

    async def found(
        self, index: str = INDEX, vector: Sequence[float] = UP, **more: Any
    ) -> list[str]:
        """The names of the vectors of an index, sorted."""
        prefix = f"{self._cast.namespace}-"
        matches = await self.search(index, vector, **more)
        return sorted(each["id"].removeprefix(prefix) for each in matches)

    async def vectors(self, name: str, kind: Any = "mutation", **args: Any) -> Any:
        return await self._deployment.call(kind, f"memory/vectors:{name}", args)

    async def upsert(self, index: str, *items: dict[str, Any], embedder: str | None = "one") -> Any:
        more = {} if embedder is None else {"embedder": embedder}
        return await self.vectors("upsert", indexName=index, items=list(items), **more)


@pytest.fixture
def cast(namespace: str) -> Cast:
    return Cast(namespace)


@pytest.fixture
def memory(store: ConvexStore) -> MemoryStore:
    return store.memory


@pytest.fixture
def embedding(deployment: Deployment, cast: Cast) -> Embedding:
    return Embedding(deployment, cast)


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


async def save(memory: MemoryStore, cast: Cast, *names: str, thread: str = "t") -> list[str]:
    """Save messages a second apart; return what their receipts say of vectors."""
    receipts = await memory.save_conversation(
        thread=cast.thread(thread),
        messages=[cast.message(name, second, thread=thread) for second, name in enumerate(names)],
    )
    return [receipt.embedding for receipt in receipts]


def later(clock: Clock) -> datetime:
    return datetime.fromtimestamp((clock.now_ms() + LEASE) / 1000, UTC)


def texts_of(claimed: Sequence[dict[str, Any]]) -> list[str]:
    return [each["text"] for each in claimed]


# --- Messages


@requirement("embeddings:off")
async def test_before_somebody_begins_nothing_waits(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    assert await save(memory, cast, "a") == ["off"]
    assert await embedding.status(embedder="one") == {
        "indexName": None,
        "embedder": None,
        "dimension": None,
        "pending": 0,
        "waiting": 0,
    }
    assert await embedding.claim() == []


@requirement("embeddings:begin")
async def test_from_the_beginning_on_every_message_waits(
    memory: MemoryStore, cast: Cast, embedding: Embedding, wire: Wire
) -> None:
    await save(memory, cast, "a", "b")
    status = {"indexName": INDEX, "embedder": "one", "dimension": 3, "pending": 2}
    assert await embedding.begin() == {**status, "changed": True}
    assert await embedding.begin() == {**status, "changed": False}
    assert await embedding.begin(switch=True) == {**status, "changed": False}
    assert await save(memory, cast, "c") == ["pending"]
    await wire.insert("mastra_messages", dict(cast.message("d").to_row()))
    assert await embedding.status() == {**status, "pending": 4}
    described = await embedding.vectors("describe", "query", indexName=INDEX)
    assert (described["dimension"], described["embedder"], described["pending"]) == (3, "one", 4)


@requirement("embeddings:claim")
async def test_texts_are_handed_out_once(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await save(memory, cast, "a", "b")
    await embedding.begin()
    await save(memory, cast, "c", "d")
    first = await embedding.claim(limit=3)
    assert texts_of(first) == ["says d", "says c", "says b"]
    assert texts_of(await embedding.claim()) == ["says a"]
    assert await embedding.claim() == []
    assert (await embedding.status())["pending"] == 4


@requirement("embeddings:claim:nothing")
async def test_a_message_without_text_waits_for_nothing(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await memory.save_conversation(
        thread=cast.thread(),
        messages=[cast.message("a", content={"format": 2, "parts": []}), cast.message("b")],
    )
    assert texts_of(await embedding.claim()) == ["says b"]
    assert (await embedding.status())["pending"] == 1


@requirement("embeddings:claim:lease")
async def test_a_claim_runs_out(
    memory: MemoryStore, cast: Cast, embedding: Embedding, clock: Clock
) -> None:
    await embedding.begin()
    await save(memory, cast, "a")
    claimed = await embedding.claim()
    clock.advance_ms(LEASE - 1)
    assert await embedding.claim() == []
    clock.advance_ms(1)
    again = await embedding.claim()
    assert texts_of(again) == ["says a"]
    # Who comes late with a vector of the same text is as good as the other.
    assert await embedding.store(claimed) == (1, 0)
    assert await embedding.store(again) == (0, 1)
    assert await embedding.found() == ["a"]


@requirement("embeddings:release")
async def test_what_is_given_back_is_handed_out_again(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    claimed = await embedding.claim()
    tickets = [each["ticket"] for each in claimed]
    assert await embedding.call("release", tickets=tickets[:1]) is None
    assert await embedding.claim() == claimed[:1]
    await embedding.store(claimed)
    # Nothing is left of them to give back.
    assert await embedding.call("release", tickets=tickets) is None
    assert await embedding.claim() == []


@requirement("embeddings:store")
async def test_a_stored_vector_is_found(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    [newer, older] = await embedding.claim()
    assert await embedding.store([older], [1, 0, 0]) == (1, 0)
    assert (await embedding.status())["pending"] == 1
    [match] = await embedding.search(vector=[2, 0, 0], embedder="one")
    assert match == {
        "id": cast.id("a"),
        "score": 1,
        "metadata": {
            "message_id": cast.id("a"),
            "thread_id": cast.id("t"),
            "resource_id": cast.ann,
            "role": "user",
            "created_at": "2025-06-01T00:00:00.000Z",
        },
    }
    assert await save(memory, cast, "a", "b") == ["embedded", "pending"]
    assert await embedding.store([newer], [0, 1, 0]) == (1, 0)
    assert [each["id"] for each in await embedding.search(vector=[0.1, 1, 0])] == cast.ids("b", "a")


@requirement("embeddings:store:twice")
async def test_a_vector_is_stored_once(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a")
    claimed = await embedding.claim()
    assert await embedding.store(claimed) == (1, 0)
    assert await embedding.store(claimed, [1, 0, 0]) == (0, 1)
    assert await embedding.store([{"ticket": 2**40}]) == (0, 1)
    [match] = await embedding.search()
    assert match["score"] == 1


@requirement("embeddings:store:refusals")
async def test_a_refused_vector_changes_nothing(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    claimed = await embedding.claim()
    good = {"ticket": claimed[0]["ticket"], "vector": UP}
    with pytest.raises(DimensionMismatch):
        await embedding.store(claimed, [1, 0])
    for items in ([], [good] * 101, [good, {"ticket": claimed[1]["ticket"], "vector": []}]):
        with pytest.raises(InvalidArgument):
            await embedding.call("store", embedder="one", items=items)
    with pytest.raises(Conflict):
        await embedding.store(claimed, embedder="two")
    assert (await embedding.found(), (await embedding.status())["pending"]) == ([], 2)
    assert await embedding.store(claimed) == (2, 0)


@requirement("embeddings:stale")
async def test_a_vector_of_an_older_text_is_dropped(
    memory: MemoryStore, cast: Cast, embedding: Embedding, wire: Wire
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b", "c", "d")
    claimed = await embedding.claim()
    await memory.update_message(message_id=cast.id("a"), text="otherwise")
    content = cast.message("b", content="on the wire").to_row()["content"]
    await wire.result("patch", "mastra_messages", id=cast.id("b"), record={"content": content})
    await memory.remove_messages(ids=cast.ids("c"))
    assert await embedding.store(claimed) == (1, 3)
    assert await embedding.found() == ["d"]
    assert sorted(texts_of(await embedding.claim())) == ["on the wire", "otherwise"]


@requirement("embeddings:edited")
async def test_what_was_said_before_is_not_found(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    await embedding.embed_all()
    await memory.update_message(message_id=cast.id("a"), text="otherwise")
    assert await embedding.found() == ["b"]
    assert texts_of(await embedding.claim()) == ["otherwise"]
    # What its vector does not depend on leaves it alone.
    await memory.update_message(message_id=cast.id("b"), expires_at="2100-01-01")
    await memory.patch_thread(thread_id=cast.id("t"), title="Tea")
    assert await embedding.found() == ["b"]
    assert (await embedding.status())["pending"] == 1


@requirement("embeddings:deleted")
async def test_a_vector_goes_with_its_message(
    memory: MemoryStore, cast: Cast, embedding: Embedding, clock: Clock
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b", "c", "d")
    await save(memory, cast, "x", "y", thread="u")
    await embedding.embed_all()
    await save(memory, cast, "e")
    await memory.remove_messages(ids=cast.ids("a", "e"))
    await memory.remove_messages(ids=cast.ids("b"), purge_at=later(clock))
    await memory.delete_messages(cast.ids("c"))
    assert await embedding.found() == ["d", "x", "y"]
    await memory.remove_thread(thread_id=cast.id("u"))
    assert await embedding.found() == ["d"]
    assert (await embedding.status())["pending"] == 0
    assert await embedding.claim() == []


@requirement("embeddings:expired")
async def test_a_vector_expires_with_its_message(
    memory: MemoryStore, cast: Cast, embedding: Embedding, clock: Clock
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    await save(memory, cast, "x", thread="u")
    await embedding.embed_all()
    await save(memory, cast, "c")
    for name in "ac":
        await memory.update_message(message_id=cast.id(name), expires_at=later(clock))
    await memory.patch_thread(thread_id=cast.id("u"), expires_at=later(clock))
    assert await embedding.found() == ["a", "b", "x"]
    clock.advance_ms(LEASE)
    assert await embedding.found() == ["b"]
    assert (await embedding.status())["pending"] == 0
    assert await embedding.claim() == []


@requirement("embeddings:restored")
async def test_a_restored_message_waits_for_its_vector(
    memory: MemoryStore, cast: Cast, embedding: Embedding, clock: Clock
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    await embedding.embed_all()
    await memory.remove_messages(ids=cast.ids("a"), purge_at=later(clock))
    await memory.restore_messages(ids=cast.ids("a"))
    assert texts_of(await embedding.claim()) == ["says a"]
    await memory.remove_thread(thread_id=cast.id("t"), purge_at=later(clock))
    assert (await embedding.status())["pending"] == 0
    await memory.restore_thread(thread_id=cast.id("t"))
    assert sorted(texts_of(await embedding.claim())) == ["says a", "says b"]


@requirement("embeddings:superseded")
async def test_a_superseded_message_has_no_vector(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    async def save_over(new: str, old: str) -> None:
        await memory.save_conversation(
            thread=None,
            messages=[cast.message(new, 9)],
            supersedes={cast.id(new): cast.id(old)},
        )

    await save(memory, cast, "a", "b", "c")
    await save_over("x", "c")
    # Superseded before anybody embeds, while it waits, and once it has its vector.
    await embedding.begin()
    assert (await embedding.status())["pending"] == 3
    await save_over("y", "b")
    assert await embedding.embed_all() == 3
    assert await embedding.found() == ["a", "x", "y"]
    await save_over("z", "a")
    assert await embedding.embed_all() == 1
    assert await embedding.found() == ["x", "y", "z"]
    await memory.remove_messages(ids=cast.ids("x", "y", "z"))
    assert sorted(texts_of(await embedding.claim())) == ["says a", "says b", "says c"]


@requirement("embeddings:begin:other")
async def test_another_embedder_is_refused(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a")
    for embedder, dimension in (("two", 3), ("one", 2)):
        with pytest.raises(Conflict, match="one"):
            await embedding.begin(embedder, dimension)
    assert await embedding.claim("two") == []
    await embedding.embed_all()
    with pytest.raises(Conflict):
        await embedding.search(embedder="two")
    assert await embedding.found(embedder="one") == ["a"]


@requirement("embeddings:begin:switch")
async def test_a_changed_embedder_embeds_everything_anew(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b", "c")
    claimed = await embedding.claim()
    await embedding.store(claimed[:2])
    changed = await embedding.begin("two", 2, switch=True)
    assert changed == {
        "indexName": "memory_messages_2",
        "embedder": "two",
        "dimension": 2,
        "pending": 3,
        "changed": True,
    }
    assert await embedding.claim("one") == []
    assert await embedding.found("memory_messages_2", [0, 1]) == []
    first = await embedding.claim("two", limit=2)
    assert await embedding.store(first, [0, 1], "two") == (2, 0)
    await memory.remove_messages(ids=cast.ids("a"))
    assert await embedding.embed_all("two", [0, 1]) == 0
    assert await embedding.found("memory_messages_2", [0, 1]) == ["b", "c"]
    assert await embedding.found(INDEX) == []
    back = await embedding.begin("one", 3, switch=True)
    assert (back["indexName"], back["pending"]) == (INDEX, 2)
    assert await embedding.embed_all() == 2
    assert await embedding.found(INDEX) == ["b", "c"]


@requirement("embeddings:begin:same-size")
async def test_vectors_of_an_earlier_embedder_are_not_compared(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    await embedding.embed_all()
    await embedding.begin("two", 3, switch=True)
    assert await embedding.found(embedder="two") == []
    claimed = await embedding.claim("two", limit=1)
    await embedding.store(claimed, embedder="two")
    assert await embedding.found() == ["b"]
    assert await embedding.embed_all("two") == 1
    assert await embedding.found() == ["a", "b"]


@requirement("embeddings:foreign")
async def test_vectors_of_others_are_not_compared(
    memory: MemoryStore, cast: Cast, embedding: Embedding
) -> None:
    await embedding.vectors("createIndex", indexName=INDEX, dimension=3)
    await embedding.upsert(
        INDEX, {"id": cast.id("x"), "vector": UP}, {"id": cast.id("a"), "vector": UP}, embedder=None
    )
    assert await embedding.found() == ["a", "x"]
    await save(memory, cast, "a")
    await embedding.begin()
    assert await embedding.found() == []
    await embedding.embed_all()
    assert await embedding.found() == ["a"]
    for embedder in (None, "one", "two"):
        item = {"id": "y", "vector": UP, **({"text": "y"} if embedder else {})}
        with pytest.raises(Conflict):
            await embedding.upsert(INDEX, item, embedder=embedder)


@requirement("embeddings:status")
async def test_everything_that_waits_is_counted(
    memory: MemoryStore, cast: Cast, embedding: Embedding, namespace: str
) -> None:
    await embedding.begin()
    await save(memory, cast, "a", "b")
    await embedding.vectors("createIndex", indexName=namespace, dimension=3)
    await embedding.upsert(namespace, {"id": "x", "vector": UP, "text": "ex"}, embedder="old")
    await embedding.call("reembed", indexName=namespace, embedder="one", dimension=3)
    assert (await embedding.status())["pending"] == 2
    assert (await embedding.status(embedder="one"))["waiting"] == 3
    assert (await embedding.status(embedder="old"))["waiting"] == 0
    assert await embedding.status(indexName=namespace) == {
        "indexName": namespace,
        "embedder": "one",
        "dimension": 3,
        "pending": 1,
    }
    assert await embedding.embed_all() == 3
    assert (await embedding.status(embedder="one"))["waiting"] == 0


@requirement("embeddings:arguments")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("begin", {"embedder": "", "dimension": 3}),
        ("begin", {"embedder": "one", "dimension": 1}),
        ("begin", {"embedder": "one", "dimension": 4097}),
        ("claim", {"embedder": "one", "limit": 0, "leaseMs": LEASE}),
        ("claim", {"embedder": "one", "limit": 257, "leaseMs": LEASE}),
        ("claim", {"embedder": "one", "limit": 1.5, "leaseMs": LEASE}),
        ("claim", {"embedder": "one", "limit": 1, "leaseMs": 99}),
        ("claim", {"embedder": "one", "limit": 1, "leaseMs": 600_001}),
        ("release", {"tickets": []}),
        ("release", {"tickets": [1] * 257}),
        ("release", {"tickets": [-1]}),
        ("store", {"embedder": "one", "items": [{"ticket": 1.5, "vector": UP}]}),
    ],
    ids=str,
)
async def test_what_is_out_of_range_is_refused(
    embedding: Embedding, name: str, args: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await embedding.call(name, **args)
    assert (await embedding.status())["embedder"] is None


# --- Indexes of texts


@pytest.fixture
async def index(embedding: Embedding, namespace: str) -> str:
    """An index of two dimensions."""
    await embedding.vectors("createIndex", indexName=namespace, dimension=2)
    return namespace


def text_item(name: str, vector: Sequence[float] = (0, 1), **more: Any) -> dict[str, Any]:
    return {"id": name, "vector": list(vector), "text": f"the text of {name}", **more}


@requirement("embeddings:texts")
async def test_an_index_of_texts_belongs_to_its_embedder(embedding: Embedding, index: str) -> None:
    assert await embedding.upsert(index, text_item("a", metadata={"n": 1}), text_item("b")) == {
        "upserted": 2
    }
    described = await embedding.vectors("describe", "query", indexName=index)
    assert (described["count"], described["embedder"], described["pending"]) == (2, "one", 0)
    assert await embedding.found(index, [0, 1], embedder="one") == ["a", "b"]
    assert await embedding.found(index, [0, 1]) == ["a", "b"]
    with pytest.raises(Conflict, match="one"):
        await embedding.search(index, [0, 1], embedder="two")
    await embedding.upsert(index, text_item("a", [1, 0]))
    [best, _] = await embedding.search(index, [1, 0])
    assert (best["id"], best["metadata"]) == ("a", None)


@requirement("embeddings:texts:refusals")
async def test_texts_and_vectors_never_mix(embedding: Embedding, index: str, cast: Cast) -> None:
    vector = {"id": "v", "vector": [1, 0]}
    for item in (vector, {**vector, "text": ""}, {**vector, "text": " \n"}):
        with pytest.raises(InvalidArgument):
            await embedding.upsert(index, text_item("a"), item)
    assert (await embedding.status(indexName=index))["embedder"] is None
    assert await embedding.found(index, [0, 1]) == []

    await embedding.upsert(index, text_item("a"))
    with pytest.raises(Conflict):
        await embedding.upsert(index, vector, embedder=None)
    with pytest.raises(Conflict):
        await embedding.upsert(index, text_item("b"), embedder="two")
    with pytest.raises(Conflict):
        await embedding.vectors("update", indexName=index, id="a", vector=[1, 0])
    assert await embedding.found(index, [0, 1]) == ["a"]

    other = cast.id("vectors")
    await embedding.vectors("createIndex", indexName=other, dimension=2)
    await embedding.upsert(other, vector, embedder=None)
    with pytest.raises(Conflict):
        await embedding.upsert(other, text_item("a"))
    with pytest.raises(Conflict):
        await embedding.search(other, [0, 1], embedder="one")
    with pytest.raises(NotFound):
        await embedding.call("reembed", indexName=other, embedder="one", dimension=2)
    assert await embedding.found(other, [1, 0]) == ["v"]


@requirement("embeddings:texts:metadata")
async def test_changed_metadata_leaves_the_text(embedding: Embedding, index: str) -> None:
    await embedding.upsert(index, text_item("a", metadata={"n": 1}))
    await embedding.vectors("update", indexName=index, id="a", metadata={"m": 2})
    [match] = await embedding.search(index, [0, 1])
    assert (match["score"], match["metadata"]) == (1, {"n": 1, "m": 2})
    await embedding.call("reembed", indexName=index, embedder="two", dimension=2)
    assert texts_of(await embedding.claim("two")) == ["the text of a"]


@requirement("embeddings:texts:reembed")
async def test_an_index_is_embedded_anew(embedding: Embedding, index: str) -> None:
    await embedding.upsert(index, text_item("a", metadata={"n": 1}), text_item("b"))
    changed = await embedding.call("reembed", indexName=index, embedder="two", dimension=3)
    assert changed == {
        "indexName": index,
        "embedder": "two",
        "dimension": 3,
        "pending": 2,
        "changed": True,
    }
    assert await embedding.found(index, UP) == []
    with pytest.raises(DimensionMismatch):
        await embedding.search(index, [0, 1])
    older, newer = sorted(await embedding.claim("two"), key=lambda each: str(each["text"]))
    assert texts_of([older, newer]) == ["the text of a", "the text of b"]
    # What is put in meanwhile does not wait.
    await embedding.upsert(index, text_item("b", UP), text_item("c", UP), embedder="two")
    assert await embedding.store([older], UP, "two") == (1, 0)
    matches = await embedding.search(index, UP, embedder="two")
    assert {each["id"]: each["metadata"] for each in matches} == {
        "a": {"n": 1},
        "b": None,
        "c": None,
    }


@requirement("embeddings:texts:gone")
async def test_what_was_deleted_is_not_embedded_anew(
    embedding: Embedding, index: str, wire: Wire
) -> None:
    await embedding.upsert(index, *(text_item(name) for name in "abcd"))
    await embedding.vectors("remove", indexName=index, ids=["a"])
    await wire.send("deleteMany", f"mastra_vector_{index}", ids=["b"])
    await embedding.call("reembed", indexName=index, embedder="two", dimension=2)
    claimed = await embedding.claim("two")
    assert sorted(texts_of(claimed)) == ["the text of c", "the text of d"]
    await embedding.vectors("remove", indexName=index, ids=["c"])
    assert await embedding.store(claimed, [0, 1], "two") == (1, 1)
    assert await embedding.found(index, [0, 1]) == ["d"]


@requirement("embeddings:texts:emptied")
@pytest.mark.parametrize("keep", [True, False])
async def test_an_emptied_index_belongs_to_nobody(
    embedding: Embedding, index: str, keep: bool
) -> None:
    await embedding.upsert(index, text_item("a"), text_item("b"))
    await embedding.call("reembed", indexName=index, embedder="one", dimension=2)
    await embedding.vectors("deleteIndex", indexName=index, keepIndex=keep)
    assert await embedding.claim() == []
    await embedding.vectors("createIndex", indexName=index, dimension=2)
    assert (await embedding.status(indexName=index))["embedder"] is None
    await embedding.upsert(index, {"id": "v", "vector": [1, 0]}, embedder=None)
    assert await embedding.found(index, [1, 0]) == ["v"]
