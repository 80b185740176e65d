"""The `vectors` toolset on Convex: an MCP client, `RemoteDeployment`, our functions over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from server.settings import Settings
from tests.application.connections import Caller, connected
from tests.bridge.serving import ADMIN_KEY, BRIDGE, ROOT, Bridge, bridge, node, run

pytestmark = pytest.mark.anyio

NOW: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z
CLIENT_TIMEOUT_S: Final = 60
BATCH: Final = 100
FETCHED: Final = 256
"""What one search of a Convex vector index returns at most."""
SCANNED: Final = 1000
"""Vectors of an index of ours that is compared whole."""
ARTICLES: Final = {
    "articles": {
        "tableName": "contract_articles",
        "dimension": 3,
        "filterFields": ["lang", "topic"],
    },
    "named": {
        "tableName": "contract_articles_named",
        "dimension": 3,
        "idField": "key",
        "vectorField": "values",
        "metadataField": "meta",
        "filterFields": ["lang"],
    },
}
"""Tables of `tests/bridge/our_functions/schema.ts`, as a user names them."""


@pytest.fixture(scope="module")
def running() -> Iterator[Bridge]:
    """Our functions, with tables for 2, 3 and 4 dimensions beside those of `convex/schema.ts`."""
    schema = BRIDGE / "our_functions" / "schema.ts"
    with bridge(ROOT / "convex", schema=schema) as served:
        yield served


@pytest.fixture(params=["memory/2026", "http/2025"])
async def caller(request: pytest.FixtureRequest, running: Bridge) -> AsyncIterator[Caller]:
    """An assistant whose memory is an empty deployment."""
    running.reset(NOW)
    environment = {
        "CONVEX_URL": running.url,
        "CONVEX_ADMIN_KEY": ADMIN_KEY,
        "CONVEX_NATIVE_VECTOR_INDEXES": json.dumps(ARTICLES),
    }
    async with AsyncExitStack() as stack:
        settings = Settings.from_environment(environment)
        yield await stack.enter_async_context(connected(str(request.param), settings))


one_caller = pytest.mark.parametrize("caller", ["memory/2026"], indirect=True)
"""For what the transport can make no difference to, and takes long."""


def axis(dimension: int, place: int = 0) -> list[float]:
    return [float(at == place) for at in range(dimension)]


def tilted(step: int, dimension: int = 3) -> list[float]:
    """A vector of which the cosine to the first axis falls as `step` rises."""
    angle = step / 10_000
    return [math.cos(angle), math.sin(angle), *[0.0] * (dimension - 2)]


async def fill(caller: Caller, index: str, items: list[dict[str, Any]]) -> None:
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        await caller.call("upsert_embeddings", index=index, items=part)


async def query(caller: Caller, index: str, **arguments: Any) -> tuple[list[str], bool]:
    """The ids found, best first, and whether the answer is exhausted."""
    given = {"vector": tilted(0), "top_k": 3, "max_chars": 50_000, **arguments}
    answer = await caller.call("vector_query", index=index, **given)
    return [match["id"] for match in answer["matches"]], answer["exhausted"]


# --- Which table


@pytest.mark.parametrize("dimension", [256, 384, 3072])
async def test_an_index_goes_into_the_table_of_its_dimension(
    caller: Caller, running: Bridge, dimension: int
) -> None:
    index = {"index": "notes", "dimension": dimension, "metric": "cosine"}
    assert await caller.call("create_index", **index) == index
    metadata = {"resource_id": "ann", "thread_id": "t1", "n": 1}
    vector = axis(dimension, 5)
    item = {"id": "a", "vector": vector, "metadata": metadata}
    await caller.call("upsert_embeddings", index="notes", items=[item])
    [row] = running.rows(f"memory_vectors_{dimension}")
    assert row["embedding"] == vector
    assert json.loads(row["metadata"]) == metadata
    assert (row["indexName"], row["id"]) == ("notes", "a")
    # A vector filter can only OR, so what has to hold together is one field.
    assert json.loads(row["indexResource"]) == ["notes", "ann"]
    assert json.loads(row["indexThread"]) == ["notes", "t1"]
    others = {256, 384, 512, 768, 1024, 1536, 2048, 3072} - {dimension}
    assert all(running.rows(f"memory_vectors_{other}") == [] for other in others)
    assert await query(caller, "notes", vector=vector) == (["a"], True)
    assert await caller.call("describe_index", index="notes") == {**index, "count": 1}


async def test_a_dimension_without_a_table_is_refused_with_what_there_is_and_how_to_add_one(
    caller: Caller,
) -> None:
    refusal = await caller.refused("create_index", index="odd", dimension=777)
    dimensions = [2, 3, 4, 256, 384, 512, 768, 1024, 1536, 2048, 3072]
    assert refusal.code == "invalid_argument"
    assert refusal.message == (
        "There is no native vector table for 777 dimensions: Convex fixes the dimensions of a "
        f"vector index when it is deployed. There are tables for {', '.join(map(str, dimensions))}"
        ". Use an embedding of one of these, or add memory_vectors_777: nativeVectors(777) in "
        "schema.ts and deploy again."
    )
    assert refusal.details == {"dimension": 777, "dimensions": dimensions}
    assert "odd" not in (await caller.call("list_indexes"))["indexes"]


async def test_indexes_of_one_dimension_share_a_table_and_do_not_see_each_other(
    caller: Caller, running: Bridge
) -> None:
    for index in ("one", "two"):
        await caller.call("create_index", index=index, dimension=3)
        item = {"id": "same", "vector": tilted(0), "metadata": {"thread_id": "t", "of": index}}
        await caller.call("upsert_embeddings", index=index, items=[item])
    assert len(running.rows("memory_vectors_3")) == 2
    for filter in (None, {"thread_id": "t"}):
        answer = await caller.call("vector_query", index="two", vector=tilted(0), filter=filter)
        assert [match["metadata"]["of"] for match in answer["matches"]] == ["two"]
    await caller.call("delete_index", index="one")
    assert await query(caller, "two") == (["same"], True)
    assert len(running.rows("memory_vectors_3")) == 1


# --- What goes down to Convex, and what does not


@one_caller
async def test_a_large_index_says_what_a_search_may_have_missed(caller: Caller) -> None:
    count = SCANNED + 100
    await caller.call("create_index", index="large", dimension=3)

    def metadata(number: int) -> dict[str, Any]:
        far = number >= count - 3
        return {"n": number, "thread_id": "far" if far else "near", "resource_id": f"r{number % 2}"}

    items = [
        {"id": f"v{number}", "vector": tilted(number), "metadata": metadata(number)}
        for number in range(count)
    ]
    await fill(caller, "large", items)
    last = [f"v{number}" for number in range(count - 3, count)]

    async def asked(filter: dict[str, Any], top_k: int = 3) -> tuple[list[str], bool]:
        return await query(caller, "large", filter=filter, top_k=top_k)

    # These are the three farthest of 1,100: only the vector index itself can know of them.
    assert await asked({"thread_id": "far"}) == (last, True)
    assert await asked({"thread_id": {"$in": ["far", "nobody"]}}) == (last, True)
    assert await asked({"thread_id": "nobody"}) == ([], True)
    # What is said beside it is asked of all that the narrowed search finds.
    odd = [id for id in last if int(id[1:]) % 2]
    assert await asked({"thread_id": "far", "resource_id": "r1"}) == (odd, True)
    assert await asked({"thread_id": "far", "n": {"$gte": count - 1}}) == (last[-1:], True)
    # 550 rows have this resource; of the 256 nearest of them none matches the rest.
    assert await asked({"resource_id": "r1", "n": {"$gte": 1000}}) == ([], False)
    # Anything else is asked of the 256 nearest of all.
    assert await asked({"n": {"$lt": 3}}) == (["v0", "v1", "v2"], True)
    assert await asked({"n": {"$gte": FETCHED - 1}}, top_k=1) == ([f"v{FETCHED - 1}"], True)
    assert await asked({"n": {"$gte": FETCHED - 1}}, top_k=2) == ([f"v{FETCHED - 1}"], False)
    assert await asked({"n": {"$gte": FETCHED}}) == ([], False)
    # An OR across fields is not something that narrows.
    either = {"$or": [{"thread_id": "far"}, {"n": 0}]}
    assert await asked(either, top_k=4) == (["v0"], False)
    # Unless every vector is to be compared.
    rest = await query(caller, "large", filter={"n": {"$gte": FETCHED}}, exact=True)
    assert rest == ([f"v{FETCHED + at}" for at in range(3)], True)
    assert await query(caller, "large", filter=either, top_k=4, exact=True) == (["v0", *last], True)
    assert await asked({}, top_k=FETCHED) == ([f"v{number}" for number in range(FETCHED)], True)


@one_caller
async def test_a_small_index_is_compared_whole_where_the_nearest_leave_gaps(
    caller: Caller,
) -> None:
    await caller.call("create_index", index="small", dimension=3)
    items = [
        {"id": f"v{number}", "vector": tilted(number), "metadata": {"n": number}}
        for number in range(FETCHED + 50)
    ]
    await fill(caller, "small", items)
    found = await query(caller, "small", filter={"n": {"$gte": FETCHED}}, top_k=2)
    assert found == ([f"v{FETCHED}", f"v{FETCHED + 1}"], True)
    assert await query(caller, "small", filter={"n": {"$lt": 0}}) == ([], True)


# --- Changes


async def test_metadata_is_merged_and_what_is_searched_by_follows(caller: Caller) -> None:
    await caller.call("create_index", index="notes", dimension=3)
    await caller.call(
        "upsert_embeddings",
        index="notes",
        items=[
            {"id": "a", "vector": tilted(0), "metadata": {"thread_id": "t1", "kept": True}},
            {"id": "b", "vector": tilted(9), "metadata": {"thread_id": "t2"}},
        ],
    )
    changes = {"thread_id": "t2", "new": [1, {"deep": None}]}
    updated = await caller.call("update_embedding", index="notes", id="a", metadata=changes)
    assert updated == {"id": "a", "updated": True}
    assert await query(caller, "notes", filter={"thread_id": "t1"}) == ([], True)
    assert await query(caller, "notes", filter={"thread_id": "t2"}) == (["a", "b"], True)
    await caller.call("update_embedding", index="notes", id="b", vector=tilted(0))
    answer = await caller.call(
        "vector_query", index="notes", vector=[5, 0, 0], include_vectors=True
    )
    assert answer["matches"] == [
        {"id": "a", "score": 1.0, "metadata": {"kept": True, **changes}, "vector": [1, 0, 0]},
        {"id": "b", "score": 1.0, "metadata": {"thread_id": "t2"}, "vector": [1, 0, 0]},
    ]
    refusal = await caller.refused("update_embedding", index="notes", id="zz", metadata={"n": 1})
    assert refusal.code == "not_found"


async def test_embeddings_are_deleted_by_id_or_by_filter(caller: Caller, running: Bridge) -> None:
    await caller.call("create_index", index="notes", dimension=2)
    items = [
        {"id": f"v{number}", "vector": [1, number], "metadata": {"thread_id": f"t{number % 3}"}}
        for number in range(6)
    ]
    await fill(caller, "notes", items)
    await caller.call("delete_embeddings", index="notes", ids=["v0", "nobody"])
    await caller.call("delete_embeddings", index="notes", filter={"thread_id": "t1"})
    await caller.call("delete_embeddings", index="notes", filter={"thread_id": {"$ne": "t2"}})
    assert sorted(row["id"] for row in running.rows("memory_vectors_2")) == ["v2", "v5"]
    assert (await caller.call("describe_index", index="notes"))["count"] == 2


async def test_a_deleted_index_is_gone_with_its_vectors(caller: Caller, running: Bridge) -> None:
    await caller.call("create_index", index="notes", dimension=2)
    refusal = await caller.refused("create_index", index="notes", dimension=3)
    assert (refusal.code, "2 dimensions, not 3" in refusal.message) == ("conflict", True)
    items = [{"id": f"v{number}", "vector": [1, number]} for number in range(30)]
    await fill(caller, "notes", items)
    deleted = await caller.call("delete_index", index="notes")
    assert deleted == {"index": "notes", "deleted": True}
    assert running.rows("memory_vectors_2") == running.rows("mastra_vectors") == []
    for tool, arguments in (
        ("delete_index", {}),
        ("describe_index", {}),
        ("vector_query", {"vector": [1, 0]}),
        ("upsert_embeddings", {"items": [{"vector": [1, 0]}]}),
    ):
        refusal = await caller.refused(tool, index="notes", **arguments)
        assert refusal.code == "not_found"
        assert "there are none yet" in refusal.message
    # Its name is free for another dimension.
    await caller.call("create_index", index="notes", dimension=3)
    assert await query(caller, "notes") == ([], True)


async def test_a_vector_of_another_length_is_refused_and_nothing_stored(
    caller: Caller, running: Bridge
) -> None:
    await caller.call("create_index", index="notes", dimension=3)
    items = [{"id": "a", "vector": [1, 2, 3]}, {"id": "b", "vector": [1, 2, 3]}]
    await caller.call("upsert_embeddings", index="notes", items=items[:1])
    for tool, arguments in (
        ("upsert_embeddings", {"items": [items[1], {"id": "c", "vector": [1, 2]}]}),
        ("vector_query", {"vector": [1, 2]}),
        ("update_embedding", {"id": "a", "vector": [1, 2, 3, 4]}),
    ):
        refusal = await caller.refused(tool, index="notes", **arguments)
        assert (refusal.code, "3" in refusal.message) == ("dimension_mismatch", True)
    [row] = running.rows("memory_vectors_3")
    assert (row["id"], row["embedding"]) == ("a", [1, 2, 3])


# --- Tables of the user's own


async def test_every_kind_of_index_is_listed(caller: Caller) -> None:
    for name in ("zebra", "apple"):
        await caller.call("create_index", index=name, dimension=384)
    listed = await caller.call("list_indexes")
    assert listed == {"indexes": ["apple", "articles", "named", "zebra"], "next_cursor": None}
    described = await caller.call("describe_index", index="articles")
    assert described == {"index": "articles", "dimension": 3, "metric": "cosine", "count": 0}


@pytest.mark.parametrize("index", ["articles", "named"])
async def test_a_declared_table_is_written_searched_and_changed(
    caller: Caller, running: Bridge, index: str
) -> None:
    table = str(ARTICLES[index]["tableName"])
    await caller.call("create_index", index=index, dimension=3)
    items = [
        {"id": "a", "vector": tilted(0), "metadata": {"lang": "en", "year": 2020}},
        {"id": "b", "vector": tilted(1), "metadata": {"lang": "de", "year": 2021}},
        {"id": "c", "vector": tilted(2), "metadata": {"lang": "en", "year": 2022}},
    ]
    await caller.call("upsert_embeddings", index=index, items=items)
    assert sorted(row["lang"] for row in running.rows(table)) == ["de", "en", "en"]
    assert await query(caller, index) == (["a", "b", "c"], True)
    assert await query(caller, index, filter={"lang": "en"}) == (["a", "c"], True)
    languages = {"lang": {"$in": ["de", "fr"]}}
    assert await query(caller, index, filter=languages) == (["b"], True)
    narrowed = {"lang": "en", "year": {"$gt": 2020}}
    assert await query(caller, index, filter=narrowed) == (["c"], True)
    assert await query(caller, index, filter={"year": {"$lt": 2022}}) == (["a", "b"], True)
    await caller.call("update_embedding", index=index, id="a", metadata={"lang": "de"})
    assert await query(caller, index, filter={"lang": "de"}) == (["a", "b"], True)
    answer = await caller.call("vector_query", index=index, vector=tilted(0), top_k=1)
    assert answer["matches"][0]["metadata"] == {"lang": "de", "year": 2020}
    absent = await caller.refused("update_embedding", index=index, id="zz", metadata={"n": 1})
    assert absent.code == "not_found"
    await caller.call("delete_embeddings", index=index, ids=["a", "c"])
    assert (await caller.call("describe_index", index=index))["count"] == 1
    by_filter = await caller.refused("delete_embeddings", index=index, filter={"lang": "de"})
    assert (by_filter.code, "give ids" in by_filter.message) == ("invalid_argument", True)


@one_caller
async def test_a_declared_table_says_what_a_search_may_have_missed(caller: Caller) -> None:
    items = [
        {
            "id": f"v{number}",
            "vector": tilted(number),
            "metadata": {"n": number, "lang": "en" if number < FETCHED + 10 else "de"},
        }
        for number in range(FETCHED + 20)
    ]
    await fill(caller, "articles", items)
    # Ten rows have this language, all behind the 256 nearest: Convex finds them by it.
    german = [f"v{number}" for number in range(FETCHED + 10, FETCHED + 20)]
    assert await query(caller, "articles", filter={"lang": "de"}, top_k=20) == (german, True)
    narrowed = {"lang": "de", "n": {"$gt": FETCHED + 17}}
    assert await query(caller, "articles", filter=narrowed) == (german[-2:], True)
    assert await query(caller, "articles", filter={"n": {"$gt": FETCHED}}) == ([], False)
    found = await query(caller, "articles", filter={"n": {"$gte": FETCHED - 1}}, top_k=1)
    assert found == ([f"v{FETCHED - 1}"], True)


async def test_what_the_schema_fixes_cannot_be_changed_at_run_time(caller: Caller) -> None:
    wrong = await caller.refused("create_index", index="articles", dimension=4)
    assert wrong.code == "invalid_argument"
    assert 'index "articles" has 3 dimensions, but 4 were requested' in wrong.message
    exact = await caller.refused("vector_query", index="articles", vector=tilted(0), exact=True)
    assert exact.code == "invalid_argument"
    assert "Leave exact out" in exact.message
    kept = await caller.refused("delete_index", index="articles")
    assert kept.code == "invalid_argument"
    assert "managed in convex/schema.ts" in kept.message


# --- Errors, as others read them

MASTRA_CLIENT: Final = """
import { ConvexNativeVector } from '@mastra/convex';
const [deploymentUrl, adminAuthToken] = process.argv.slice(1);
const indexes = { nowhere: { tableName: 'nowhere', dimension: 3 } };
const vector = new ConvexNativeVector({ id: 'v', deploymentUrl, adminAuthToken, indexes });
try {
  await vector.upsert({ indexName: 'nowhere', vectors: [[1, 0, 0]], ids: ['a'] });
} catch (error) {
  const cause = error.cause ?? error;
  console.log(JSON.stringify({ message: cause.message, details: cause.details }));
}
"""


async def test_mastras_client_reads_a_refusal_as_a_sentence(running: Bridge) -> None:
    arguments = ["--input-type=module", "--eval", MASTRA_CLIENT, running.url, ADMIN_KEY]
    told = json.loads(run([node(), *arguments], environment={}, timeout_s=CLIENT_TIMEOUT_S))
    head, sentence, end = told["message"].split("\n")
    assert (head.startswith("[Request ID: "), end) == (True, "")
    assert sentence.startswith(
        "Uncaught ConvexError: The schema declares no vector table nowhere. The native vector "
        "tables are contract_articles.by_embedding (3 dimensions), "
    )
    assert told["details"]["code"] == "not_found"
    assert f"Uncaught ConvexError: {told['details']['message']}" == sentence
