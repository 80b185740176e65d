"""ConvexNativeVector, and `mastra/nativeVector:{query,read,write}` under it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from convex_memory.deployment import (
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    Deployment,
    Kind,
)
from convex_memory.errors import DimensionMismatch, FunctionError, InvalidArgument
from convex_memory.native_vector import (
    ConvexNativeVector,
    IndexDescription,
    NativeIndex,
    VectorMatch,
)
from convex_memory.values import Value
from tests.contract.requirements import requirement

pytestmark = pytest.mark.anyio

INDEX = "articles"
"""Three dimensions; the filter fields are `lang` and `topic`."""


def ids_of(matches: list[VectorMatch]) -> list[str]:
    return [match.id for match in matches]


class Watched:
    """A deployment whose calls are remembered, and whose searches may be meddled with."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.lost: set[str] = set()

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        self.calls.append((path, args))
        answer = await self._deployment.call(kind, path, args, timeout_ms=timeout_ms, retry=retry)
        if args.get("op") == "getByConvexIds":
            rows = cast(list[Mapping[str, Value]], answer)
            return [row for row in rows if row["id"] not in self.lost]
        return answer

    async def aclose(self) -> None:
        return

    def searches(self) -> list[Mapping[str, Any]]:
        return [args for path, args in self.calls if path == NATIVE_VECTOR_ACTION]


@pytest.fixture
def watched(deployment: Deployment) -> Watched:
    return Watched(deployment)


@pytest.fixture
def watching(watched: Watched, native_indexes: Mapping[str, NativeIndex]) -> ConvexNativeVector:
    """The adapter over the watched deployment."""
    return ConvexNativeVector(watched, native_indexes)


ROWS: list[tuple[str, list[float], dict[str, Value] | None]] = [
    ("a", [1, 0, 0], {"lang": "en", "topic": "sea", "year": 1990}),
    ("b", [0.8, 0.6, 0], {"lang": "de", "topic": "sea", "year": 1999}),
    ("c", [0.6, 0.8, 0], {"lang": "en", "topic": "sky", "year": 2001, "tags": ["x"]}),
    ("d", [0, 1, 0], {"lang": None, "topic": 1}),
    ("e", [0, 0, 1], {"topic": True}),
    ("f", [-1, 0, 0], None),
]


async def fill(native_vector: ConvexNativeVector) -> None:
    await native_vector.upsert(
        INDEX,
        [vector for _, vector, _ in ROWS],
        ids=[id for id, _, _ in ROWS],
        metadata=[metadata for _, _, metadata in ROWS],
    )


# --- Indexes


@requirement("native:config")
async def test_only_configured_indexes_exist(native_vector: ConvexNativeVector) -> None:
    assert await native_vector.list_indexes() == [INDEX]
    said = 'ConvexNativeVector: index "other" is not configured'
    with pytest.raises(InvalidArgument, match=said):
        await native_vector.describe_index("other")
    with pytest.raises(InvalidArgument, match=said):
        await native_vector.create_index("other", 3)
    with pytest.raises(InvalidArgument, match=said):
        await native_vector.upsert("other", [[1, 0, 0]])
    with pytest.raises(InvalidArgument, match=said):
        await native_vector.query("other", [1, 0, 0])
    with pytest.raises(InvalidArgument, match=said):
        await native_vector.update_vector("other", id="a", metadata={})
    with pytest.raises(InvalidArgument, match=said):
        await native_vector.delete_vector("other", "a")


@requirement("native:config")
async def test_creating_an_index_only_checks_it(
    watching: ConvexNativeVector, watched: Watched
) -> None:
    await watching.create_index(INDEX, 3)
    with pytest.raises(
        InvalidArgument,
        match=f'deployed Convex index "{INDEX}" has 3 dimensions, but 4 were requested',
    ):
        await watching.create_index(INDEX, 4)
    with pytest.raises(InvalidArgument, match="currently supports cosine only"):
        await watching.create_index(INDEX, 3, "euclidean")
    assert watched.calls == []


@requirement("native:config")
async def test_a_configuration_out_of_range_is_refused(deployment: Deployment) -> None:
    for dimension in (1, 4097, cast(int, 2.5)):
        with pytest.raises(InvalidArgument, match="integer from 2 to 4096"):
            NativeIndex("t", dimension)
    for limit in (0, 10_001):
        with pytest.raises(InvalidArgument, match="describe_count_limit"):
            ConvexNativeVector(deployment, {}, describe_count_limit=limit)


@requirement("native:describe")
async def test_a_description_counts_up_to_its_limit(
    deployment: Deployment,
    native_vector: ConvexNativeVector,
    native_indexes: Mapping[str, NativeIndex],
) -> None:
    assert await native_vector.describe_index(INDEX) == IndexDescription(INDEX, 3, "cosine", 0)
    await fill(native_vector)
    assert await native_vector.describe_index(INDEX) == IndexDescription(INDEX, 3, "cosine", 6)
    for limit, limited in ((5, True), (6, False)):
        counting = ConvexNativeVector(deployment, native_indexes, describe_count_limit=limit)
        assert await counting.describe_index(INDEX) == IndexDescription(
            INDEX, 3, "cosine", limit, limited
        )


# --- Upsert


@requirement("native:upsert")
async def test_records_are_stored_under_the_ids_given_or_random_ones(
    native_vector: ConvexNativeVector,
) -> None:
    assert await native_vector.upsert(INDEX, [[1, 0, 0]], ids=["a"]) == ["a"]
    random = await native_vector.upsert(INDEX, np.array([[0, 1, 0], [0, 0, 1]]).tolist())
    assert len(set(random)) == 2
    found = await native_vector.query(INDEX, [1, 1, 1])
    assert sorted(ids_of(found.matches)) == sorted(["a", *random])


@requirement("native:upsert")
async def test_records_are_sent_a_hundred_at_a_time(
    watching: ConvexNativeVector, watched: Watched
) -> None:
    await watching.upsert(INDEX, [[1, 0, number] for number in range(250)])
    assert [len(args["ids"]) for _, args in watched.calls] == [100, 100, 50]
    assert (await watching.describe_index(INDEX)).count == 250


@requirement("native:upsert:metadata")
async def test_without_metadata_the_stored_one_stays_with_it_it_is_replaced(
    native_vector: ConvexNativeVector,
) -> None:
    await fill(native_vector)
    await native_vector.upsert(
        INDEX,
        [[0, 0, 2], [0, 0, 3], [0, 0, 4]],
        ids=["a", "b", "new"],
        metadata=[None, {"topic": "wind"}, None],
    )
    found = await native_vector.query(INDEX, [0, 0, 1], top_k=4)
    by_id = {match.id: match.metadata for match in found.matches}
    assert by_id == {
        "a": {"lang": "en", "topic": "sea", "year": 1990},
        "b": {"topic": "wind"},
        "new": None,
        "e": {"topic": True},
    }
    assert (await native_vector.query(INDEX, [1, 0, 0], filter={"lang": "de"})).matches == []


@requirement("native:upsert:refusals")
@pytest.mark.parametrize(
    ("vectors", "options", "said"),
    [
        ([], {}, "vectors is empty"),
        ([[1, 0]], {}, "has 2 dimensions"),
        ([[1, 0, "x"]], {}, "holds str at position 2"),
        ([[1, math.nan, 0]], {}, "not finite at position 1"),
        ([[1, 0, 0]], {"ids": ["a", "b"]}, r"ids length \(2\) must match vectors \(1\)"),
        ([[1, 0, 0]] * 2, {"ids": ["a", "a"]}, "ids must be unique"),
        ([[1, 0, 0]], {"metadata": []}, r"metadata length \(0\) must match vectors \(1\)"),
        ([[1, 0, 0]], {"metadata": [5]}, r"metadata\[0\] must be an object"),
        ([[1, 0, 0]], {"metadata": [{"$a": 1}]}, r"\$a starts with"),
        ([[1, 0, 0]], {"metadata": [{"lang": ["en"]}]}, "lang is a filter field"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_malformed_records_are_refused_before_any_call(
    watching: ConvexNativeVector,
    watched: Watched,
    vectors: Any,
    options: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await watching.upsert(INDEX, vectors, **options)
    assert watched.calls == []


# --- Query


@requirement("native:query")
async def test_matches_come_best_first_and_ties_in_creation_order(
    native_vector: ConvexNativeVector,
) -> None:
    await fill(native_vector)
    found = await native_vector.query(INDEX, [2, 0, 0])
    assert ids_of(found.matches) == ["a", "b", "c", "d", "e", "f"]
    assert [match.score for match in found.matches] == pytest.approx(
        [1, 0.8, 0.6, 0, 0, -1], abs=1e-6
    )
    assert found.matches[1].metadata == {"lang": "de", "topic": "sea", "year": 1999}
    assert found.exhausted is True
    assert ids_of((await native_vector.query(INDEX, [1, 0, 0], top_k=2)).matches) == ["a", "b"]


@requirement("native:query")
async def test_a_query_of_an_empty_table_finds_nothing(native_vector: ConvexNativeVector) -> None:
    found = await native_vector.query(INDEX, [1, 0, 0])
    assert (found.matches, found.exhausted) == ([], True)


@requirement("native:query:vectors")
async def test_vectors_come_only_when_they_are_asked_for(
    native_vector: ConvexNativeVector,
) -> None:
    await native_vector.upsert(INDEX, [[0.5, -2.25, 3]], ids=["a"])
    assert (await native_vector.query(INDEX, [1, 0, 0])).matches[0].vector is None
    found = await native_vector.query(INDEX, [1, 0, 0], include_vector=True)
    assert found.matches[0].vector == [0.5, -2.25, 3.0]


@requirement("native:query:equality")
@pytest.mark.parametrize(
    ("given_filter", "sent", "expected"),
    [
        ({"lang": "en"}, {"field": "lang", "value": "en"}, "ac"),
        ({"lang": {"$eq": "de"}}, {"field": "lang", "value": "de"}, "b"),
        ({"metadata": {"topic": "sea"}}, {"field": "topic", "value": "sea"}, "ab"),
        ({"topic": 1}, {"field": "topic", "value": 1}, "d"),
        ({"topic": True}, {"field": "topic", "value": True}, "e"),
        ({"lang": None}, {"field": "lang", "value": None}, "d"),
        ({"lang": "fr"}, {"field": "lang", "value": "fr"}, ""),
    ],
    ids=repr,
)
async def test_an_equality_on_a_filter_field_is_searched_for(
    watching: ConvexNativeVector,
    watched: Watched,
    given_filter: dict[str, Any],
    sent: dict[str, Value],
    expected: str,
) -> None:
    await fill(watching)
    found = await watching.query(INDEX, [1, 0, 0], filter=given_filter)
    assert ids_of(found.matches) == list(expected)
    assert found.exhausted is True
    assert [args["filter"] for args in watched.searches()] == [sent]
    assert watched.searches()[0]["limit"] == 10


@requirement("native:query:or")
@pytest.mark.parametrize(
    ("given_filter", "searches", "expected"),
    [
        ({"$or": [{"lang": "de"}, {"lang": "en"}]}, 2, "abc"),
        ({"$or": [{"topic": "sea"}, {"lang": "en"}]}, 2, "abc"),
        ({"lang": {"$in": ["en", "fr", None]}}, 3, "acd"),
        ({"$or": [{"lang": {"$in": ["de"]}}, {"topic": True}]}, 2, "be"),
        ({"$or": []}, 0, ""),
    ],
    ids=repr,
)
async def test_an_or_of_equalities_is_one_search_each_merged_by_best_score(
    watching: ConvexNativeVector,
    watched: Watched,
    given_filter: dict[str, Any],
    searches: int,
    expected: str,
) -> None:
    await fill(watching)
    found = await watching.query(INDEX, [1, 0, 0], filter=given_filter)
    assert ids_of(found.matches) == list(expected)
    assert found.exhausted is True
    assert len(watched.searches()) == searches
    assert not any("$or" in str(args) for args in watched.searches())
    first = await watching.query(INDEX, [1, 0, 0], filter=given_filter, top_k=1)
    assert ids_of(first.matches) == list(expected[:1])


@requirement("native:query:rich")
@pytest.mark.parametrize(
    ("given_filter", "sent", "expected"),
    [
        ({"year": {"$gte": 1995}}, [None], "bc"),
        ({"year": 1990}, [None], "a"),
        ({"lang": {"$ne": "en"}}, [None], "bde"),
        ({"tags": "x"}, [None], "c"),
        ({"lang": "en", "year": {"$lt": 2000}}, ["en"], "a"),
        ({"$and": [{"lang": "en"}, {"topic": "sky"}]}, ["en"], "c"),
        ({"$and": [{"lang": {"$in": ["en", "de"]}}, {"topic": "sea"}]}, ["sea"], "ab"),
        ({"$or": [{"lang": "de"}, {"year": 2001}]}, [None], "bc"),
        ({"lang": {"$in": [str(number) for number in range(20)] + ["de"]}}, [None], "b"),
    ],
    ids=repr,
)
async def test_any_other_filter_looks_at_the_best_256(
    watching: ConvexNativeVector,
    watched: Watched,
    given_filter: dict[str, Any],
    sent: list[str | None],
    expected: str,
) -> None:
    await fill(watching)
    found = await watching.query(INDEX, [1, 0, 0], filter=given_filter)
    assert ids_of(found.matches) == list(expected)
    assert found.exhausted is True
    values = [args.get("filter", {}).get("value") for args in watched.searches()]
    assert values == sent
    assert {args["limit"] for args in watched.searches()} == {256}


@requirement("native:query:exhausted")
async def test_an_answer_says_whether_it_may_miss_matches(
    native_vector: ConvexNativeVector,
) -> None:
    # Best first by `n`, so that the filter's last matches are beyond the best 256.
    metadata: list[Mapping[str, Value]] = [{"lang": "en", "n": number} for number in range(260)]
    await native_vector.upsert(
        INDEX, [[1, number / 100, 0] for number in range(260)], metadata=metadata
    )

    async def ask(filter: Mapping[str, Any], top_k: int) -> tuple[int, bool]:
        found = await native_vector.query(INDEX, [1, 0, 0], filter=filter, top_k=top_k)
        return len(found.matches), found.exhausted

    assert await ask({"n": {"$gte": 250}}, 10) == (6, False)
    assert await ask({"n": {"$gte": 250}}, 6) == (6, True)
    assert await ask({"n": {"$lt": 5}}, 10) == (5, False)
    assert await ask({"lang": "en"}, 10) == (10, True)
    assert await ask({"lang": "de", "n": {"$lt": 5}}, 10) == (0, True)


@requirement("native:query:vanished")
async def test_records_that_vanish_in_between_are_left_out(
    watching: ConvexNativeVector, watched: Watched
) -> None:
    await fill(watching)
    watched.lost = {"a", "c"}
    assert ids_of((await watching.query(INDEX, [1, 0, 0], top_k=4)).matches) == ["b", "d"]


@requirement("native:query:refusals")
async def test_malformed_queries_are_refused(native_vector: ConvexNativeVector) -> None:
    with pytest.raises(InvalidArgument, match="queryVector is required") as missing:
        await native_vector.query(INDEX, None)
    assert missing.value.id == "MASTRA_VECTOR_CONVEX_NATIVE_QUERY_MISSING_VECTOR"
    for top_k in (0, 257, cast(int, 1.5), True):
        with pytest.raises(InvalidArgument, match="top_k must be an integer from 1 to 256"):
            await native_vector.query(INDEX, [1, 0, 0], top_k=top_k)
    with pytest.raises(DimensionMismatch, match="has 2 dimensions"):
        await native_vector.query(INDEX, [1, 0])
    with pytest.raises(InvalidArgument, match=r"unknown operator \$near"):
        await native_vector.query(INDEX, [1, 0, 0], filter={"lang": {"$near": 1}})


# --- Update and delete


@requirement("native:update")
async def test_updating_changes_the_vector_and_merges_metadata(
    native_vector: ConvexNativeVector,
) -> None:
    await fill(native_vector)
    await native_vector.update_vector(INDEX, id="a", vector=[0, 0, 1], metadata={"lang": "fr"})
    await native_vector.update_vector(INDEX, id="absent", metadata={"lang": "fr"})
    found = await native_vector.query(INDEX, [0, 0, 1], filter={"lang": "fr"})
    assert found.matches == [VectorMatch("a", 1.0, {"lang": "fr", "topic": "sea", "year": 1990})]
    assert (await native_vector.describe_index(INDEX)).count == 6


@requirement("native:delete")
async def test_records_are_deleted_by_id(native_vector: ConvexNativeVector) -> None:
    await fill(native_vector)
    await native_vector.delete_vector(INDEX, "a")
    await native_vector.delete_vectors(INDEX, ids=["b", "absent", "c"])
    assert ids_of((await native_vector.query(INDEX, [1, 0, 0])).matches) == ["d", "e", "f"]


@requirement("native:refusals")
async def test_what_native_tables_cannot_do_is_refused(
    watching: ConvexNativeVector, watched: Watched
) -> None:
    with pytest.raises(InvalidArgument, match="filter updates are not supported"):
        await watching.update_vector(INDEX, filter={"lang": "en"}, metadata={})
    with pytest.raises(InvalidArgument, match="give an id"):
        await watching.update_vector(INDEX, metadata={})
    with pytest.raises(InvalidArgument, match="give a vector or metadata"):
        await watching.update_vector(INDEX, id="a")
    with pytest.raises(InvalidArgument, match="metadata must be an object"):
        await watching.update_vector(INDEX, id="a", metadata=cast(Any, [1]))
    with pytest.raises(InvalidArgument, match="topic is a filter field"):
        await watching.update_vector(INDEX, id="a", metadata={"topic": {}})
    with pytest.raises(DimensionMismatch):
        await watching.update_vector(INDEX, id="a", vector=[1])
    with pytest.raises(InvalidArgument, match="filter deletes are not supported"):
        await watching.delete_vectors(INDEX, filter={"lang": "en"})
    with pytest.raises(InvalidArgument, match="ids are required"):
        await watching.delete_vectors(INDEX, ids=[])
    with pytest.raises(InvalidArgument, match=r"managed in convex/schema\.ts"):
        await watching.delete_index(INDEX)
    assert watched.calls == []


# --- The wire


class Wire:
    """The native vector functions on one table."""

    def __init__(self, deployment: Deployment, index: NativeIndex) -> None:
        self._deployment = deployment
        self.config = index.config()

    async def query(self, **fields: Value) -> list[dict[str, Any]]:
        answer = await self._deployment.call(
            "action", NATIVE_VECTOR_ACTION, {"config": self.config, **fields}
        )
        return cast(list[dict[str, Any]], answer)

    async def read(self, op: str, **fields: Value) -> Any:
        return await self._deployment.call(
            "query", NATIVE_VECTOR_QUERY, {"op": op, "config": self.config, **fields}
        )

    async def write(self, op: str, **fields: Value) -> Value:
        return await self._deployment.call(
            "mutation", NATIVE_VECTOR_MUTATION, {"op": op, "config": self.config, **fields}
        )

    async def rows(self, *ids: str) -> list[dict[str, Any]]:
        """The rows with these ids, without system fields."""
        listed = cast(list[dict[str, Any]], await self.read("listByIds", ids=list(ids)))
        return [
            {name: value for name, value in row.items() if not name.startswith("_")}
            for row in listed
        ]


@pytest.fixture
def wire(deployment: Deployment, native_indexes: Mapping[str, NativeIndex]) -> Wire:
    return Wire(deployment, native_indexes[INDEX])


@pytest.fixture
async def filled(wire: Wire) -> Wire:
    rows = [row for row in ROWS if row[2] is not None]
    await wire.write(
        "upsert",
        ids=[id for id, _, _ in rows],
        vectors=[vector for _, vector, _ in rows],
        metadata=[metadata for _, _, metadata in rows],
    )
    return wire


async def names(wire: Wire, hits: list[dict[str, Any]]) -> list[str]:
    """The record ids of search hits."""
    rows = await wire.read("getByConvexIds", ids=[hit["id"] for hit in hits])
    return [row["id"] for row in rows]


@requirement("native:wire:query")
async def test_wire_query_answers_document_ids_and_scores_best_first(filled: Wire) -> None:
    hits = await filled.query(vector=[1, 0, 0], limit=3)
    assert await names(filled, hits) == ["a", "b", "c"]
    assert [set(hit) for hit in hits] == [{"id", "score"}] * 3
    assert [hit["score"] for hit in hits] == pytest.approx([1, 0.8, 0.6], abs=1e-6)


@requirement("native:wire:query:default")
async def test_wire_query_answers_ten_by_default(wire: Wire) -> None:
    ids = [f"v{number}" for number in range(12)]
    await wire.write("upsert", ids=list(ids), vectors=[[1, number, 0] for number in range(12)])
    assert len(await wire.query(vector=[1, 0, 0])) == 10
    assert len(await wire.query(vector=[1, 0, 0], limit=256)) == 12


@requirement("native:wire:query")
@pytest.mark.parametrize("limit", [0, -1, 257, 1.5])
async def test_wire_query_refuses_a_limit_out_of_range(filled: Wire, limit: float) -> None:
    with pytest.raises(
        FunctionError, match="Native vector query: limit must be an integer between 1 and 256"
    ):
        await filled.query(vector=[1, 0, 0], limit=limit)


@requirement("native:wire:query")
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("lang", "en", "ac"),
        ("topic", 1, "d"),
        ("topic", True, "e"),
        ("topic", "1", ""),
        ("lang", None, "d"),
    ],
)
async def test_wire_query_filters_by_strict_equality_where_null_is_not_absent(
    filled: Wire, field: str, value: Value, expected: str
) -> None:
    hits = await filled.query(vector=[1, 0, 0], filter={"field": field, "value": value})
    assert await names(filled, hits) == list(expected)


@requirement("native:wire:get")
async def test_wire_get_answers_in_the_order_of_ids_without_missing_ones(filled: Wire) -> None:
    hits = await filled.query(vector=[1, 0, 0], limit=3)
    a, b, c = (hit["id"] for hit in hits)
    await filled.write("deleteByIds", ids=["b"])
    rows = await filled.read("getByConvexIds", ids=[c, b, a])
    assert [(row["_id"], row["id"]) for row in rows] == [(c, "c"), (a, "a")]
    assert all(row["_creationTime"] > 0 for row in rows)
    assert all("embedding" not in row for row in rows)
    assert rows[1]["metadata"] == {"lang": "en", "topic": "sea", "year": 1990}
    assert (rows[1]["lang"], rows[1]["topic"]) == ("en", "sea")
    assert "year" not in rows[1]
    (with_vector,) = await filled.read("getByConvexIds", ids=[a], includeVector=True)
    assert with_vector["embedding"] == [1, 0, 0]
    (without,) = await filled.read("getByConvexIds", ids=[a], includeVector=False)
    assert "embedding" not in without


@requirement("native:wire:get")
async def test_wire_get_requires_ids(filled: Wire) -> None:
    with pytest.raises(FunctionError, match="Native vector query: ids are required"):
        await filled.read("getByConvexIds")
    assert await filled.read("getByConvexIds", ids=[]) == []


@requirement("native:wire:list")
async def test_wire_list_answers_null_for_missing_ones_and_vectors(filled: Wire) -> None:
    rows = await filled.read("listByIds", ids=["c", "absent", "a"])
    assert [row and row["id"] for row in rows] == ["c", None, "a"]
    assert rows[2]["embedding"] == [1, 0, 0]


@requirement("native:wire:describe")
@pytest.mark.parametrize(
    ("limit", "count", "limited"),
    [(None, 5, False), (5, 5, False), (4, 4, True), (0, 1, True), (-3, 1, True), (10**6, 5, False)],
)
async def test_wire_describe_clamps_its_limit(
    filled: Wire, limit: int | None, count: int, limited: bool
) -> None:
    fields: dict[str, Value] = {} if limit is None else {"countLimit": limit}
    answer = await filled.read("describe", **fields)
    assert answer == {"count": count, "countIsLimited": limited}


@requirement("native:wire:upsert")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "ids and vectors are required"),
        ({"ids": ["a"]}, "ids and vectors are required"),
        ({"vectors": [[1, 0, 0]]}, "ids and vectors are required"),
        (
            {"ids": ["a", "a"], "vectors": [[1, 0, 0]], "metadata": [{}]},
            r"vectors length \(1\) must match ids length \(2\)",
        ),
        (
            {"ids": ["a", "a"], "vectors": [[1, 0, 0]] * 2, "metadata": {}},
            "metadata must be an array matching ids when provided",
        ),
        (
            {"ids": ["a", "a"], "vectors": [[1, 0, 0]] * 2, "metadata": [1]},
            r"metadata length \(1\) must match ids length \(2\)",
        ),
        (
            {"ids": ["a", "a"], "vectors": [[1, 0, 0]] * 2, "metadata": [{}, 1]},
            "metadata entries must be objects when provided",
        ),
        ({"ids": ["a", "a"], "vectors": [[1, 0, 0]] * 2}, "ids must be unique"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_wire_upsert_checks_in_order_and_stores_nothing(
    filled: Wire, fields: dict[str, Value], said: str
) -> None:
    with pytest.raises(FunctionError, match=f"Native vector upsert: {said}"):
        await filled.write("upsert", **fields)
    assert (await filled.rows("a"))[0]["metadata"]["year"] == 1990


@requirement("native:wire:upsert")
async def test_wire_upsert_copies_filter_fields_and_removes_them_with_new_metadata(
    wire: Wire,
) -> None:
    vectors: list[Value] = [[1, 0, 0]]
    metadata: list[Value] = [{"lang": "en", "topic": "sea", "x": 1}]
    assert await wire.write("upsert", ids=["a"], vectors=vectors, metadata=metadata) == {"ok": True}
    stored = {"id": "a", "embedding": [1, 0, 0], "metadata": metadata[0]}
    assert await wire.rows("a") == [{**stored, "lang": "en", "topic": "sea"}]
    await wire.write("upsert", ids=["a"], vectors=[[0, 1, 0]])
    stored["embedding"] = [0, 1, 0]
    assert await wire.rows("a") == [{**stored, "lang": "en", "topic": "sea"}]
    await wire.write("upsert", ids=["a"], vectors=vectors, metadata=[{"topic": "sky"}])
    assert await wire.rows("a") == [
        {"id": "a", "embedding": [1, 0, 0], "metadata": {"topic": "sky"}, "topic": "sky"}
    ]


@requirement("native:wire:upsert")
async def test_wire_upsert_without_metadata_stores_none(wire: Wire) -> None:
    await wire.write("upsert", ids=["a"], vectors=[[1, 0, 0]])
    assert await wire.rows("a") == [{"id": "a", "embedding": [1, 0, 0]}]


@requirement("native:wire:upsert")
async def test_wire_fields_are_named_by_the_config(
    deployment: Deployment, native_indexes: Mapping[str, NativeIndex]
) -> None:
    index = native_indexes[INDEX]
    named = replace(
        index,
        table_name=f"{index.table_name}_named",
        id_field="key",
        vector_field="values",
        metadata_field="meta",
        filter_fields=("lang",),
    )
    wire = Wire(deployment, named)
    await wire.write("upsert", ids=["a"], vectors=[[1, 0, 0]], metadata=[{"lang": "en"}])
    assert await wire.rows("a") == [
        {"key": "a", "values": [1, 0, 0], "meta": {"lang": "en"}, "lang": "en"}
    ]
    adapter = ConvexNativeVector(deployment, {"named": named})
    found = await adapter.query("named", [1, 0, 0], filter={"lang": "en"}, include_vector=True)
    assert found.matches == [VectorMatch("a", 1.0, {"lang": "en"}, [1.0, 0.0, 0.0])]


@requirement("native:wire:update")
async def test_wire_update_merges_metadata_and_refreshes_filter_fields(filled: Wire) -> None:
    metadata: dict[str, Value] = {"lang": "fr", "year": None}
    assert await filled.write("updateById", id="a", metadata=metadata) == {"ok": True}
    assert await filled.rows("a") == [
        {
            "id": "a",
            "embedding": [1, 0, 0],
            "metadata": {"lang": "fr", "topic": "sea", "year": None},
            "lang": "fr",
            "topic": "sea",
        }
    ]
    assert await filled.write("updateById", id="a", vector=[0, 0, 1]) == {"ok": True}
    (row,) = await filled.rows("a")
    assert (row["embedding"], row["metadata"]["lang"]) == ([0, 0, 1], "fr")


@requirement("native:wire:update")
async def test_wire_update_of_a_missing_row_is_fine_and_its_errors_are_told(filled: Wire) -> None:
    assert await filled.write("updateById", id="absent", vector=[1, 0, 0]) == {"ok": True}
    assert await filled.read("listByIds", ids=["absent"]) == [None]
    with pytest.raises(FunctionError, match="Native vector update: id is required"):
        await filled.write("updateById", vector=[1, 0, 0])
    with pytest.raises(
        FunctionError, match="Native vector update: metadata must be an object when provided"
    ):
        await filled.write("updateById", id="a", metadata=[1])


@requirement("native:wire:delete")
async def test_wire_delete_removes_existing_rows(filled: Wire) -> None:
    assert await filled.write("deleteByIds", ids=["a", "absent", "c"]) == {"ok": True}
    rows = await filled.read("listByIds", ids=["a", "b", "c"])
    assert [row and row["id"] for row in rows] == [None, "b", None]
    with pytest.raises(FunctionError, match="Native vector deleteByIds: ids are required"):
        await filled.write("deleteByIds")


@requirement("native:wire:delete:twice")
async def test_wire_delete_takes_an_id_twice(filled: Wire) -> None:
    assert await filled.write("deleteByIds", ids=["a", "a"]) == {"ok": True}
    assert await filled.read("listByIds", ids=["a"]) == [None]


@requirement("native:wire:closed")
async def test_wire_unknown_arguments_are_refused(filled: Wire) -> None:
    with pytest.raises(FunctionError):
        await filled.query(vector=[1, 0, 0], extra=1)
    with pytest.raises(FunctionError):
        await filled.read("describe", extra=1)
    with pytest.raises(FunctionError):
        await filled.write("deleteByIds", ids=["a"], extra=1)
    with pytest.raises(FunctionError):
        await filled.write("deleteByIds", ids=["a"], config={**filled.config, "extra": 1})
    with pytest.raises(FunctionError):
        await filled.write("drop", ids=["a"])
    assert (await filled.read("describe"))["count"] == 5
