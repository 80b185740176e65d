"""ConvexVector on both of its routes, and the vector tables of `mastra/storage:handle`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest

from convex_memory.deployment import STORAGE_FUNCTION, Deployment, Kind
from convex_memory.embeddings import Vector
from convex_memory.errors import (
    Conflict,
    DimensionMismatch,
    FunctionNotDeployed,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
    NotFound,
)
from convex_memory.values import Value
from convex_memory.vector import ConvexVector, IndexDescription, VectorMatch
from tests.contract.conversations import StockDeployment
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory functions", "storage function"])
def vector(request: pytest.FixtureRequest, deployment: Deployment) -> ConvexVector:
    whole = request.param == "memory functions"
    return ConvexVector(deployment if whole else StockDeployment(deployment))


@pytest.fixture
async def index(vector: ConvexVector, namespace: str) -> str:
    """An index of three dimensions."""
    name = f"{namespace}_index"
    await vector.create_index(name, 3)
    return name


def ids_of(matches: list[VectorMatch]) -> list[str]:
    return [match.id for match in matches]


# --- Indexes


@requirement("vector:create")
async def test_making_an_index_twice_changes_nothing(vector: ConvexVector, index: str) -> None:
    await vector.upsert(index, [[1, 0, 0]], ids=["a"])
    await vector.create_index(index, 3, "cosine")
    assert await vector.describe_index(index) == IndexDescription(index, 3, "cosine", 1)


@requirement("vector:create:conflict")
async def test_another_dimension_than_the_existing_one_is_a_conflict(
    vector: ConvexVector, index: str
) -> None:
    with pytest.raises(Conflict, match="3 dimensions, not 4"):
        await vector.create_index(index, 4)
    assert (await vector.describe_index(index)).dimension == 3


@requirement("vector:create:refusals")
@pytest.mark.parametrize("dimension", [0, -1, 1, 4097, 2.0, True, "3"], ids=repr)
async def test_a_dimension_out_of_range_is_refused(
    vector: ConvexVector, namespace: str, dimension: Any
) -> None:
    with pytest.raises(InvalidArgument, match="dimension must be an integer from 2 to 4096"):
        await vector.create_index(namespace, dimension)


@requirement("vector:create:refusals")
async def test_names_and_metrics_that_are_not_offered_are_refused(vector: ConvexVector) -> None:
    with pytest.raises(InvalidArgument, match="metric must be cosine"):
        await vector.create_index("i", 3, "euclidean")
    with pytest.raises(InvalidArgument, match="cannot be called 'indexes'"):
        await vector.create_index("indexes", 3)
    for name in ("", "n" * 513, cast(str, 5)):
        with pytest.raises(InvalidArgument, match="text of 1 to 512 characters"):
            await vector.create_index(name, 3)


@requirement("vector:list")
async def test_all_indexes_are_listed(vector: ConvexVector, index: str, namespace: str) -> None:
    await vector.create_index(f"{namespace}_other", 2)
    names = [name for name in await vector.list_indexes() if name.startswith(namespace)]
    assert names == [index, f"{namespace}_other"]


@requirement("vector:describe")
async def test_a_description_counts_the_vectors(vector: ConvexVector, index: str) -> None:
    assert await vector.describe_index(index) == IndexDescription(index, 3, "cosine", 0)
    await vector.upsert(index, [[1, 0, number] for number in range(300)])
    assert await vector.describe_index(index) == IndexDescription(index, 3, "cosine", 300)


@requirement("vector:delete-index")
async def test_a_deleted_index_is_unknown_and_empty_when_made_again(
    vector: ConvexVector, index: str
) -> None:
    await vector.upsert(index, [[1, 0, number] for number in range(60)])
    await vector.delete_index(index)
    assert index not in await vector.list_indexes()
    with pytest.raises(NotFound):
        await vector.describe_index(index)
    await vector.create_index(index, 2)
    assert await vector.describe_index(index) == IndexDescription(index, 2, "cosine", 0)


@requirement("vector:truncate")
async def test_truncating_removes_the_vectors_and_keeps_the_index(
    vector: ConvexVector, index: str
) -> None:
    await vector.upsert(index, [[1, 0, number] for number in range(60)])
    await vector.truncate_index(index)
    assert await vector.describe_index(index) == IndexDescription(index, 3, "cosine", 0)
    assert (await vector.query(index, [1, 0, 0])).matches == []


@requirement("vector:unknown")
async def test_an_unknown_index_is_not_found(vector: ConvexVector, namespace: str) -> None:
    with pytest.raises(NotFound, match=namespace):
        await vector.describe_index(namespace)
    with pytest.raises(NotFound, match=namespace):
        await vector.upsert(namespace, [[1, 0, 0]])
    with pytest.raises(NotFound, match=namespace):
        await vector.query(namespace, [1, 0, 0])
    with pytest.raises(NotFound, match=namespace):
        await vector.update_vector(namespace, id="a", metadata={"b": 1})
    with pytest.raises(NotFound, match=namespace):
        await vector.delete_vectors(namespace, filter={"a": 1})
    with pytest.raises(NotFound, match=namespace):
        await vector.delete_vector(namespace, "a")


@requirement("vector:unknown")
async def test_deleting_and_truncating_an_unknown_index_is_fine(
    vector: ConvexVector, namespace: str
) -> None:
    await vector.delete_index(namespace)
    await vector.truncate_index(namespace)
    assert namespace not in await vector.list_indexes()


@requirement("vector:isolation")
async def test_indexes_do_not_see_each_others_vectors(
    vector: ConvexVector, index: str, namespace: str
) -> None:
    other = f"{namespace}_other"
    await vector.create_index(other, 3)
    await vector.upsert(index, [[1, 0, 0]], ids=["same"], metadata=[{"of": "index"}])
    await vector.upsert(other, [[0, 1, 0]], ids=["same"], metadata=[{"of": "other"}])
    await vector.delete_vectors(other, filter={"of": "index"})
    assert (await vector.query(index, [1, 0, 0])).matches == [
        VectorMatch("same", 1.0, {"of": "index"})
    ]
    await vector.delete_index(other)
    assert (await vector.describe_index(index)).count == 1


# --- Upsert


@requirement("vector:upsert")
async def test_vectors_are_stored_under_the_ids_given_or_random_ones(
    vector: ConvexVector, index: str
) -> None:
    assert await vector.upsert(index, [[1, 0, 0], [0, 1, 0]], ids=["a", "b"]) == ["a", "b"]
    random = await vector.upsert(index, [[0, 0, 1], [0, 1, 1]])
    assert len(set(random)) == 2
    found = ids_of((await vector.query(index, [1, 1, 1])).matches)
    assert sorted(found) == sorted(["a", "b", *random])


@requirement("vector:upsert:replace")
async def test_the_same_id_replaces_vector_and_metadata(vector: ConvexVector, index: str) -> None:
    await vector.upsert(index, [[1, 0, 0]], ids=["a"], metadata=[{"old": 1, "kept": 1}])
    await vector.upsert(index, [[0, 1, 0]], ids=["a"], metadata=[{"new": 2}])
    found = await vector.query(index, [0, 1, 0], include_vector=True)
    assert found.matches == [VectorMatch("a", 1.0, {"new": 2}, [0.0, 1.0, 0.0])]
    await vector.upsert(index, [[0, 0, 1]], ids=["a"])
    assert (await vector.query(index, [0, 0, 1])).matches == [VectorMatch("a", 1.0, None)]


@requirement("vector:upsert:duplicates")
async def test_of_equal_ids_in_one_call_the_last_wins(vector: ConvexVector, index: str) -> None:
    vectors = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    ids = await vector.upsert(
        index, vectors, ids=["a", "b", "a"], metadata=[{"n": 1}, {"n": 2}, {"n": 3}]
    )
    assert ids == ["a", "b", "a"]
    found = (await vector.query(index, [0, 0, 1])).matches
    assert found == [VectorMatch("a", 1.0, {"n": 3}), VectorMatch("b", 0.0, {"n": 2})]


@requirement("vector:upsert:many")
async def test_more_vectors_than_one_transaction_holds_are_stored_and_ranked(
    vector: ConvexVector, index: str
) -> None:
    vectors = [[1.0, number / 1000, 0.0] for number in range(700)]
    ids = [f"v{number}" for number in range(700)]
    await vector.upsert(index, vectors, ids=ids, metadata=[{"n": n} for n in range(700)])
    assert (await vector.describe_index(index)).count == 700
    assert ids_of((await vector.query(index, [1, 0, 0], top_k=3)).matches) == ["v0", "v1", "v2"]
    last = await vector.query(index, [1, 0, 0], top_k=2, filter={"n": {"$gte": 698}})
    assert ids_of(last.matches) == ["v698", "v699"]


@requirement("vector:upsert:arrays")
async def test_tuples_and_numpy_arrays_are_vectors_too(vector: ConvexVector, index: str) -> None:
    matrix = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    await vector.upsert(index, cast(list[Vector], matrix), ids=["a", "b"])
    await vector.upsert(index, [(0, 0, 1), list(np.array([0.0, 0.6, 0.8]))], ids=["c", "d"])
    await vector.update_vector(index, id="a", vector=np.array([0, 0, 2], dtype=np.int64))
    found = await vector.query(index, np.array([0, 0, 1], dtype=np.float32), include_vector=True)
    assert ids_of(found.matches) == ["a", "c", "d", "b"]
    assert found.matches[0].vector == [0.0, 0.0, 2.0]


@requirement("vector:upsert:dimension")
async def test_a_wrong_length_refuses_the_whole_call(vector: ConvexVector, index: str) -> None:
    with pytest.raises(DimensionMismatch, match=r"vectors\[101\] has 2 dimensions"):
        await vector.upsert(index, [[1, 0, 0]] * 101 + [[1, 0]])
    with pytest.raises(DimensionMismatch, match="has 4 dimensions"):
        await vector.upsert(index, [[1, 0, 0, 0]] * 2)
    assert (await vector.describe_index(index)).count == 0


@requirement("vector:upsert:refusals")
@pytest.mark.parametrize(
    ("vectors", "options", "said"),
    [
        ([], {}, "vectors is empty"),
        ([[]], {}, r"vectors\[0\] is empty"),
        (["abc"], {}, r"vectors\[0\] must be a list of numbers, not str"),
        ([None], {}, r"vectors\[0\] must be a list of numbers, not NoneType"),
        ([[1, 2, "3"]], {}, r"vectors\[0\] holds str at position 2"),
        ([[1, True, 3]], {}, r"vectors\[0\] holds bool at position 1"),
        ([[1, 2, 3], [1, float("nan"), 3]], {}, r"vectors\[1\] is not finite at position 1"),
        ([[1, 2, -math.inf]], {}, r"vectors\[0\] is not finite at position 2"),
        ([[1, 2, 10**400]], {}, r"vectors\[0\] is not finite at position 2"),
        ([[1, 2, 3]], {"ids": ["a", "b"]}, r"ids length \(2\) must match vectors \(1\)"),
        ([[1, 2, 3]], {"ids": []}, r"ids length \(0\) must match vectors \(1\)"),
        ([[1, 2, 3]], {"ids": [""]}, "text of 1 to 512 characters"),
        ([[1, 2, 3]], {"ids": "a"}, "list of ids"),
        ([[1, 2, 3]], {"metadata": [{}, {}]}, r"metadata length \(2\) must match vectors \(1\)"),
        ([[1, 2, 3]], {"metadata": {"a": 1}}, "must be a list of objects"),
        ([[1, 2, 3]], {"metadata": ["x"]}, r"metadata\[0\] must be an object"),
        ([[1, 2, 3]], {"metadata": [{"a": {"$b": 1}}]}, r"\$b starts with"),
        ([[1, 2, 3]], {"metadata": [{"größe": 1}]}, "outside printable ASCII"),
        ([[1, 2, 3]], {"metadata": [{"a": math.inf}]}, "must be finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_malformed_vectors_ids_and_metadata_are_refused(
    vector: ConvexVector, index: str, vectors: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await vector.upsert(index, vectors, **options)
    assert (await vector.describe_index(index)).count == 0


@requirement("vector:upsert:refusals")
async def test_metadata_that_is_too_deep_is_refused(vector: ConvexVector, index: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"inner": deep}
    with pytest.raises(LimitExceeded, match="nested too deeply"):
        await vector.upsert(index, [[1, 0, 0]], metadata=[deep])


@requirement("vector:metadata")
async def test_metadata_survives_as_it_was_sent(vector: ConvexVector, index: str) -> None:
    metadata: dict[str, Value] = {
        "text": "naïve 🦉",
        "int": 3,
        "float": 2.5,
        "yes": True,
        "none": None,
        "list": [1, "a", {"b": []}],
        "object": {"with space": {"x": -0.5}},
        "": "empty key",
    }
    await vector.upsert(index, [[1, 0, 0], [0, 1, 0]], ids=["a", "b"], metadata=[metadata, None])
    found = (await vector.query(index, [1, 0, 0])).matches
    assert [match.metadata for match in found] == [metadata, None]


# --- Query


@requirement("vector:query:order")
async def test_matches_come_best_first_with_cosine_scores(vector: ConvexVector, index: str) -> None:
    vectors = [[0, 1, 0], [-1, 0, 0], [3, 4, 0], [100, 0, 0]]
    await vector.upsert(index, vectors, ids=["none", "opposite", "near", "same"])
    found = await vector.query(index, [2, 0, 0])
    assert ids_of(found.matches) == ["same", "near", "none", "opposite"]
    assert [match.score for match in found.matches] == pytest.approx([1, 0.6, 0, -1], abs=1e-6)
    assert found.exhausted is True


@requirement("vector:query:order")
async def test_very_large_and_very_small_vectors_are_ranked(
    vector: ConvexVector, index: str
) -> None:
    vectors = [[1e30, 0, 0], [1e-30, 1e-30, 0], [0, 3e30, 4e30]]
    await vector.upsert(index, vectors, ids=["large", "small", "across"])
    found = await vector.query(index, [1, 0, 0])
    assert ids_of(found.matches) == ["large", "small", "across"]
    assert found.matches[0].score == pytest.approx(1)
    assert found.matches[1].score == pytest.approx(math.sqrt(0.5), abs=1e-6)


@requirement("vector:query:ties")
async def test_equal_scores_come_in_the_order_of_creation(vector: ConvexVector, index: str) -> None:
    ids = [f"{number * 37 % 300:03}" for number in range(300)]
    await vector.upsert(index, [[0.3, 0.7, 0.1]] * 300, ids=ids)
    await vector.upsert(index, [[0.3, 0.7, 0.1]], ids=[ids[0]], metadata=[{"again": True}])
    found = await vector.query(index, [0.2, 0.5, 0.9], top_k=256)
    assert ids_of(found.matches) == ids[:256]
    assert len({match.score for match in found.matches}) == 1


@requirement("vector:query:top-k")
async def test_at_most_top_k_matches_come_ten_by_default(vector: ConvexVector, index: str) -> None:
    await vector.upsert(index, [[1, number, 0] for number in range(30)])
    assert len((await vector.query(index, [1, 0, 0])).matches) == 10
    assert len((await vector.query(index, [1, 0, 0], top_k=1)).matches) == 1
    assert len((await vector.query(index, [1, 0, 0], top_k=256)).matches) == 30


@requirement("vector:query:top-k")
@pytest.mark.parametrize("top_k", [0, -1, 257, 1.0, True, None], ids=repr)
async def test_a_top_k_out_of_range_is_refused(
    vector: ConvexVector, index: str, top_k: Any
) -> None:
    with pytest.raises(InvalidArgument, match="top_k must be an integer from 1 to 256"):
        await vector.query(index, [1, 0, 0], top_k=top_k)


@requirement("vector:query:vectors")
async def test_vectors_come_only_when_they_are_asked_for(vector: ConvexVector, index: str) -> None:
    await vector.upsert(index, [[0.5, -2.25, 3]], ids=["a"])
    assert (await vector.query(index, [1, 0, 0])).matches[0].vector is None
    found = await vector.query(index, [1, 0, 0], include_vector=True)
    assert found.matches[0].vector == [0.5, -2.25, 3.0]


@requirement("vector:query:filter")
@pytest.mark.parametrize(
    ("given_filter", "expected"),
    [
        (None, "abcd"),
        ({}, "abcd"),
        ({"lang": "en"}, "ab"),
        ({"metadata": {"lang": "en"}}, "ab"),
        ({"lang": {"$eq": "de"}}, "c"),
        ({"lang": {"$ne": "en"}}, "c"),
        ({"year": {"$gt": 1990}}, "bc"),
        ({"year": {"$gte": 1990, "$lt": 2000}}, "ab"),
        ({"year": {"$lte": 1990}}, "a"),
        ({"lang": {"$in": ["de", "fr"]}}, "c"),
        ({"lang": {"$nin": ["de", "fr"]}}, "ab"),
        ({"$and": [{"lang": "en"}, {"year": 1990}]}, "a"),
        ({"$or": [{"lang": "de"}, {"year": 1990}]}, "ac"),
        ({"$nor": [{"lang": "de"}, {"year": 1990}]}, "b"),
        ({"$not": {"lang": "en"}}, "c"),
        ({"year": {"$not": {"$gt": 1990}}}, "a"),
        ({"draft": {"$exists": True}}, "b"),
        ({"draft": {"$exists": False}}, "ac"),
        ({"draft": None}, "b"),
        ({"lang": {"$regex": "^[d-f]e$"}}, "c"),
        ({"title": {"$contains": "deep"}}, "a"),
        ({"tags": "x"}, "ac"),
        ({"tags": {"$all": ["x", "y"]}}, "a"),
        ({"tags": {"$size": 1}}, "c"),
        ({"parts": {"$elemMatch": {"kind": "intro", "pages": {"$gt": 5}}}}, "b"),
        ({"author.name": "Le Guin"}, "a"),
        ({"flag": True}, "a"),
        ({"flag": 1}, "b"),
        ({"lang": {"$in": []}}, ""),
    ],
    ids=repr,
)
async def test_every_operator_of_the_filter_grammar_applies(
    vector: ConvexVector, index: str, given_filter: dict[str, Any] | None, expected: str
) -> None:
    metadata: list[dict[str, Value] | None] = [
        {
            "lang": "en",
            "year": 1990,
            "title": "the deep",
            "tags": ["x", "y"],
            "author": {"name": "Le Guin"},
            "flag": True,
        },
        {
            "lang": "en",
            "year": 1999,
            "draft": None,
            "parts": [{"kind": "intro", "pages": 9}, {"kind": "end", "pages": 1}],
            "flag": 1,
        },
        {"lang": "de", "year": 2001, "tags": ["x"], "parts": [{"kind": "intro", "pages": 2}]},
        None,
    ]
    vectors = [[1, 0.1 * number, 0] for number in range(4)]
    await vector.upsert(index, vectors, ids=list("abcd"), metadata=metadata)
    found = await vector.query(index, [1, 0, 0], filter=given_filter)
    assert ids_of(found.matches) == list(expected)


@requirement("vector:query:zero")
async def test_a_vector_without_direction_scores_minus_one(
    vector: ConvexVector, index: str
) -> None:
    await vector.upsert(index, [[0, 0, 0], [0, 1, 0]], ids=["zero", "other"])
    found = (await vector.query(index, [1, 0, 0])).matches
    assert found == [VectorMatch("other", 0.0), VectorMatch("zero", -1.0)]
    nowhere = (await vector.query(index, [0, 0, 0])).matches
    assert nowhere == [VectorMatch("zero", -1.0), VectorMatch("other", -1.0)]


@requirement("vector:query:refusals")
async def test_malformed_queries_are_refused(vector: ConvexVector, index: str) -> None:
    with pytest.raises(InvalidArgument, match="queryVector is required") as missing:
        await vector.query(index, None)
    assert missing.value.id == "MASTRA_VECTOR_CONVEX_QUERY_MISSING_VECTOR"
    with pytest.raises(DimensionMismatch):
        await vector.query(index, [1, 0])
    with pytest.raises(InvalidArgument, match="query_vector is not finite at position 0"):
        await vector.query(index, [math.nan, 0, 0])
    with pytest.raises(InvalidArgument, match=r"unknown operator \$near"):
        await vector.query(index, [1, 0, 0], filter={"a": {"$near": 1}})


# --- Update


@requirement("vector:update")
async def test_updating_changes_what_is_given_and_keeps_the_rest(
    vector: ConvexVector, index: str
) -> None:
    await vector.upsert(index, [[1, 0, 0]], ids=["a"], metadata=[{"x": 1, "y": {"z": 1}}])
    assert await vector.update_vector(index, id="a", metadata={"y": {"w": 2}, "n": None}) == 1
    found = await vector.query(index, [1, 0, 0])
    assert found.matches == [VectorMatch("a", 1.0, {"x": 1, "y": {"w": 2}, "n": None})]
    assert await vector.update_vector(index, id="a", vector=[0, 1, 0]) == 1
    found = await vector.query(index, [0, 1, 0])
    assert found.matches == [VectorMatch("a", 1.0, {"x": 1, "y": {"w": 2}, "n": None})]


@requirement("vector:update")
async def test_updating_an_absent_record_is_ignored(vector: ConvexVector, index: str) -> None:
    assert await vector.update_vector(index, id="absent", metadata={"x": 1}) == 0
    assert await vector.update_vector(index, id="absent", vector=[1, 0, 0]) == 0
    assert (await vector.describe_index(index)).count == 0


@requirement("vector:update")
async def test_updating_a_record_without_metadata_gives_it_some(
    vector: ConvexVector, index: str
) -> None:
    await vector.upsert(index, [[1, 0, 0]], ids=["a"])
    await vector.update_vector(index, id="a", metadata={"x": 1})
    assert (await vector.query(index, [1, 0, 0])).matches == [VectorMatch("a", 1.0, {"x": 1})]


@requirement("vector:update:filter")
async def test_all_records_that_match_a_filter_are_updated(
    vector: ConvexVector, index: str
) -> None:
    metadata: list[Mapping[str, Value]] = [{"n": number} for number in range(5)]
    await vector.upsert(index, [[1, 0, 0]] * 5, ids=list("abcde"), metadata=metadata)
    updated = await vector.update_vector(
        index, filter={"n": {"$gte": 3}}, metadata={"high": True}, vector=[0, 1, 0]
    )
    assert updated == 2
    found = await vector.query(index, [0, 1, 0], filter={"high": True})
    assert found.matches == [
        VectorMatch("d", 1.0, {"n": 3, "high": True}),
        VectorMatch("e", 1.0, {"n": 4, "high": True}),
    ]
    assert await vector.update_vector(index, filter={"n": 99}, metadata={"x": 1}) == 0


@requirement("vector:update:refusals")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": "a", "filter": {"x": 1}, "metadata": {}}, "id and filter are mutually exclusive"),
        ({"metadata": {"x": 1}}, "Either id or filter must be provided"),
        ({"filter": {}, "metadata": {"x": 1}}, "cannot update with empty filter"),
        ({"filter": {"$and": []}, "metadata": {"x": 1}}, "cannot update with empty filter"),
        ({"id": "a"}, "give a vector or metadata"),
        ({"id": "", "metadata": {}}, "text of 1 to 512 characters"),
        ({"id": "a", "metadata": [1]}, "metadata must be an object"),
        ({"id": "a", "metadata": {"$x": 1}}, r"\$x starts with"),
        ({"id": "a", "vector": [1, 2]}, "2 dimensions"),
        ({"id": "a", "vector": [1, 2, None]}, "holds NoneType at position 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_ambiguous_or_empty_updates_are_refused(
    vector: ConvexVector, index: str, options: dict[str, Any], said: str
) -> None:
    await vector.upsert(index, [[1, 0, 0]], ids=["a"])
    with pytest.raises(InvalidArgument, match=said):
        await vector.update_vector(index, **options)
    assert (await vector.query(index, [1, 0, 0])).matches == [VectorMatch("a", 1.0)]


# --- Delete


@requirement("vector:delete")
async def test_records_are_deleted_by_id_and_absent_ones_are_fine(
    vector: ConvexVector, index: str
) -> None:
    await vector.upsert(index, [[1, 0, 0]] * 4, ids=list("abcd"))
    await vector.delete_vector(index, "a")
    await vector.delete_vector(index, "absent")
    await vector.delete_vectors(index, ids=["b", "absent", "c", "b"])
    assert ids_of((await vector.query(index, [1, 0, 0])).matches) == ["d"]


@requirement("vector:delete:filter")
async def test_all_records_that_match_a_filter_are_deleted(
    vector: ConvexVector, index: str
) -> None:
    metadata: list[Mapping[str, Value]] = [{"m": f"m{number % 150}"} for number in range(300)]
    await vector.upsert(index, [[1, 0, 0]] * 300, metadata=metadata)
    await vector.delete_vectors(index, filter={"m": {"$in": ["m1", "m2", "absent"]}})
    assert (await vector.describe_index(index)).count == 296
    await vector.delete_vectors(index, filter={"m": {"$ne": "m3"}})
    assert (await vector.describe_index(index)).count == 2


@requirement("vector:delete:refusals")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ids": ["a"], "filter": {"x": 1}}, "ids and filter are mutually exclusive"),
        ({}, "Either filter or ids must be provided"),
        ({"ids": []}, "cannot delete with empty ids array"),
        ({"filter": {}}, "cannot delete with empty filter"),
        ({"filter": {"$nor": []}}, "cannot delete with empty filter"),
        ({"ids": "a"}, "list of ids"),
        ({"ids": [1]}, "text of 1 to 512 characters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_ambiguous_or_empty_deletes_are_refused(
    vector: ConvexVector, index: str, options: dict[str, Any], said: str
) -> None:
    await vector.upsert(index, [[1, 0, 0]], ids=["a"])
    with pytest.raises(InvalidArgument, match=said):
        await vector.delete_vectors(index, **options)
    assert (await vector.describe_index(index)).count == 1


# --- Both routes


@requirement("vector:routes")
async def test_what_one_route_writes_the_other_reads_alike(
    deployment: Deployment, namespace: str
) -> None:
    functions, storage = ConvexVector(deployment), ConvexVector(StockDeployment(deployment))
    index = f"{namespace}_index"
    await functions.create_index(index, 4)
    await storage.create_index(index, 4)
    numbers = np.random.default_rng(7).normal(size=(40, 4))
    metadata: list[Mapping[str, Value]] = [{"n": number} for number in range(40)]
    ids = [f"v{number}" for number in range(40)]
    await functions.upsert(
        index, cast(list[Vector], numbers[:20]), ids=ids[:20], metadata=metadata[:20]
    )
    await storage.upsert(
        index, cast(list[Vector], numbers[20:]), ids=ids[20:], metadata=metadata[20:]
    )
    wanted = {"n": {"$gte": 5}}
    one = await functions.query(index, numbers[3], filter=wanted, include_vector=True)
    other = await storage.query(index, numbers[3], filter=wanted, include_vector=True)
    assert ids_of(one.matches) == ids_of(other.matches)
    assert [match.metadata for match in one.matches] == [match.metadata for match in other.matches]
    assert [match.vector for match in one.matches] == [match.vector for match in other.matches]
    assert [match.score for match in one.matches] == pytest.approx(
        [match.score for match in other.matches], abs=1e-6
    )
    assert await functions.describe_index(index) == await storage.describe_index(index)
    await storage.delete_index(index)
    assert index not in await functions.list_indexes()


@requirement("vector:cursor")
@pytest.mark.parametrize("cursor", [None, "", "same", 7], ids=repr)
async def test_a_scan_that_cannot_go_on_says_so(cursor: Value) -> None:
    class Stuck(StockDeployment):
        async def call(self, kind: Kind, path: str, args: Mapping[str, Value], **_: Any) -> Value:
            if path.startswith("memory/"):
                raise FunctionNotDeployed(path)
            if args["op"] == "load":
                return {"ok": True, "result": {"dimension": 3}}
            return {"ok": True, "result": [], "hasMore": True, "continuationCursor": cursor}

    with pytest.raises(InvalidResponse, match="valid continuation cursor"):
        await ConvexVector(Stuck(cast(Deployment, None))).query("i", [1, 0, 0])


# --- The wire


class Wire:
    """`mastra/storage:handle` on one vector table."""

    def __init__(self, deployment: Deployment, index: str) -> None:
        self._deployment = deployment
        self.index = index

    async def send(self, op: str, **fields: Value) -> dict[str, Any]:
        request = {"op": op, "tableName": f"mastra_vector_{self.index}", **fields}
        answer = await self._deployment.call("mutation", STORAGE_FUNCTION, request)
        return dict(cast(Mapping[str, Any], answer))

    async def rows(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], (await self.send("queryTable"))["result"])


@pytest.fixture
def wire(deployment: Deployment, namespace: str) -> Wire:
    return Wire(deployment, f"{namespace}_wire")


@requirement("vector:wire:insert")
async def test_wire_insert_sets_embedding_and_metadata(wire: Wire) -> None:
    record: dict[str, Value] = {"id": "a", "embedding": [1, 2], "metadata": {"x": 1}, "z": True}
    assert await wire.send("insert", record=record) == {"ok": True}
    (row,) = await wire.rows()
    assert {name: row[name] for name in row if not name.startswith("_")} == {
        "id": "a",
        "indexName": wire.index,
        "embedding": [1, 2],
        "metadata": {"x": 1},
    }
    assert isinstance(row["_id"], str)
    assert row["_creationTime"] > 0
    await wire.send("insert", record={"id": "a", "embedding": [3]})
    (row,) = await wire.rows()
    assert row["embedding"] == [3]
    assert "metadata" not in row


@requirement("vector:wire:batch")
async def test_wire_batch_insert_skips_missing_ids_and_keeps_the_last_duplicate(
    wire: Wire,
) -> None:
    records: list[Value] = [
        {"id": "a", "embedding": [1], "metadata": {"first": True}},
        {"embedding": [2]},
        {"id": "", "embedding": [3]},
        {"id": "b", "embedding": [4]},
        {"id": "a", "embedding": [5]},
    ]
    assert await wire.send("batchInsert", records=records) == {"ok": True}
    rows = {row["id"]: row for row in await wire.rows()}
    assert {id: row["embedding"] for id, row in rows.items()} == {"a": [5], "b": [4]}
    assert "metadata" not in rows["a"]


@requirement("vector:wire:patch")
async def test_wire_patch_changes_what_it_is_given(wire: Wire) -> None:
    await wire.send("insert", record={"id": "a", "embedding": [1], "metadata": {"x": 1}})
    reply = await wire.send("patch", id="a", record={"metadata": {"y": 2}, "indexName": "z"})
    assert reply == {"ok": True, "result": True}
    (row,) = await wire.rows()
    assert (row["embedding"], row["metadata"]) == ([1], {"y": 2})
    reply = await wire.send("patch", id="absent", record={"metadata": {}})
    assert reply == {"ok": True, "result": False}


@requirement("vector:wire:load")
async def test_wire_load_and_load_many_find_by_id(wire: Wire) -> None:
    for id in "abc":
        await wire.send("insert", record={"id": id, "embedding": [1]})
    assert (await wire.send("load", keys={"id": "b"}))["result"]["id"] == "b"
    assert await wire.send("load", keys={"id": "absent"}) == {"ok": True, "result": None}
    assert await wire.send("load", keys={"indexName": wire.index}) == {"ok": True, "result": None}
    found = (await wire.send("loadMany", ids=["c", "absent", "a", "c"]))["result"]
    assert [row["id"] for row in found] == ["c", "a"]
    reply = await wire.send("loadMany", ids=[str(number) for number in range(11)])
    assert reply == {"ok": False, "error": "loadMany supports at most 10 ids per request"}


@requirement("vector:wire:pages")
async def test_wire_pages_cover_the_index_while_rows_come_and_go(wire: Wire) -> None:
    for number in range(7):
        await wire.send("insert", record={"id": f"v{number}", "embedding": [number]})
    first = await wire.send("queryTable", pageSize=3)
    assert [row["id"] for row in first["result"]] == ["v0", "v1", "v2"]
    assert first["hasMore"] is True
    await wire.send("deleteMany", ids=["v1", "v2", "v3"])
    await wire.send("insert", record={"id": "v7", "embedding": [7]})
    seen: list[str] = []
    reply = first
    while reply["hasMore"]:
        assert reply["continuationCursor"]
        reply = await wire.send("queryTable", pageSize=3, cursor=reply["continuationCursor"])
        seen += [row["id"] for row in reply["result"]]
    assert seen == ["v4", "v5", "v6", "v7"]


@requirement("vector:wire:pages")
async def test_wire_filters_apply_to_each_page(wire: Wire) -> None:
    for number in range(4):
        await wire.send("insert", record={"id": f"v{number}", "embedding": [number]})
    only: list[Value] = [{"field": "id", "value": "v3"}]
    reply = await wire.send("queryTable", pageSize=2, filters=only)
    assert reply["result"] == []
    assert reply["hasMore"] is True
    reply = await wire.send(
        "queryTable", pageSize=2, filters=only, cursor=reply["continuationCursor"]
    )
    assert [row["id"] for row in reply["result"]] == ["v3"]


@requirement("vector:wire:pages")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cursor": None}, "queryTable cursor requires pageSize"),
        ({"cursor": "x"}, "queryTable cursor requires pageSize"),
        ({"pageSize": 0}, "queryTable pageSize must be a positive integer"),
        ({"pageSize": 1.5}, "queryTable pageSize must be a positive integer"),
        ({"pageSize": 2, "limit": 1}, "queryTable limit cannot be combined with pageSize"),
    ],
)
async def test_wire_misuse_of_pages_is_a_soft_error(
    wire: Wire, fields: dict[str, Value], said: str
) -> None:
    assert await wire.send("queryTable", **fields) == {"ok": False, "error": said}


@requirement("vector:wire:delete")
async def test_wire_deletes_touch_only_this_index(wire: Wire, deployment: Deployment) -> None:
    other = Wire(deployment, f"{wire.index}_other")
    await other.send("insert", record={"id": "v0", "embedding": [1]})
    records: list[Value] = [{"id": f"v{number}", "embedding": [1]} for number in range(52)]
    await wire.send("batchInsert", records=records)
    assert await wire.send("deleteMany", ids=["v0", "v0", "absent"]) == {"ok": True}
    replies = [(await wire.send("clearTable"))["hasMore"] for _ in range(3)]
    assert replies == [True, True, False]
    assert await wire.rows() == []
    assert [row["id"] for row in await other.rows()] == ["v0"]


@requirement("vector:wire:soft")
async def test_wire_failures_on_a_vector_table_are_soft(wire: Wire) -> None:
    reply = await wire.send("insert", record={"embedding": [1]})
    assert reply == {"ok": False, "error": "Vector record is missing an id"}
    assert (await wire.send("insert", record={"id": "a"}))["ok"] is False
    reply = await wire.send("updateThread", id="a")
    assert reply == {"ok": False, "error": "Unsupported operation updateThread"}
    assert await wire.rows() == []
