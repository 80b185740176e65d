"""Inverted lists: what a large index answers without `exact`, and what stays exact all the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convex_memory.embedded import EmbeddedDeployment
from convex_memory.embedded.vector_index import lists, nearly_nearest, saving
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from convex_memory.embedded.vector_index.only_one import only_one
from convex_memory.vector import ConvexVector
from tests.library.vector_rows import (
    SCOPE,
    Found,
    delete,
    documents_of,
    found,
    insert,
    new_database,
    patch,
    scored_one_by_one,
)

DIMENSION = 16
GROUPS = 25
ROWS = 1000


@pytest.fixture(autouse=True)
def _small_indexes_have_lists_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "ROWS_LEAST", 50)
    monkeypatch.setattr(lists, "ROWS_LEAST", 300)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(new_database(path)) as connection:
        yield connection


def around(groups: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Return vectors near the centres of groups that lie far apart."""
    centres = np.random.default_rng(1).standard_normal((GROUPS, DIMENSION))
    noise = np.random.default_rng(seed).standard_normal((len(groups), DIMENSION))
    return (centres[groups] + 0.2 * noise).astype(np.float32)


def fill(connection: sqlite3.Connection, count: int = ROWS, seed: int = 2) -> list[int]:
    vectors = around(np.arange(count) % GROUPS, seed).tolist()
    connection.execute("BEGIN IMMEDIATE")
    sequences = [
        insert(connection, vector, {"thread_id": f"t{at % 3}", "n": at})
        for at, vector in enumerate(vectors)
    ]
    connection.execute("COMMIT")
    return sequences


def nearly(
    connection: sqlite3.Connection, indexes: VectorIndexes, query: list[float], limit: int = 10
) -> tuple[Found, bool]:
    connection.execute("BEGIN")
    try:
        rows, is_exact = nearly_nearest(documents_of(connection, indexes), SCOPE, query, limit)
    finally:
        connection.execute("ROLLBACK")
    return [(each.sequence, each.score) for each in rows], is_exact


def listed(connection: sqlite3.Connection) -> VectorIndexes:
    """Return indexes that have made their lists."""
    indexes = VectorIndexes()
    found(connection, indexes, [1.0] * DIMENSION)
    of_scope = indexes.of(SCOPE)
    assert of_scope._saving._thread is not None
    of_scope._saving._thread.join()
    return indexes


def arrangement(indexes: VectorIndexes) -> lists.Lists:
    rows = indexes.of(SCOPE)._rows
    assert rows is not None
    assert rows.lists is not None
    return rows.lists


def queries(count: int = 20) -> list[list[float]]:
    some: list[list[float]] = around(np.arange(count) % GROUPS, 3).tolist()
    return some


def test_nearly_all_of_the_nearest_are_found_and_scored_exactly(
    connection: sqlite3.Connection,
) -> None:
    fill(connection)
    indexes = listed(connection)
    shares = []
    for query in queries():
        answer, is_exact = nearly(connection, indexes, query)
        assert not is_exact
        everything = dict(scored_one_by_one(connection, query, ROWS))
        assert answer == sorted(answer, key=lambda row: (-row[1], row[0]))
        assert all(everything[sequence] == score for sequence, score in answer)
        wanted = scored_one_by_one(connection, query)
        shares.append(len(set(answer) & set(wanted)) / 10)
        assert found(connection, indexes, query) == wanted
    assert np.mean(shares) > 0.9
    # It is not the whole that was looked at.
    looked_at = sum(stop - start for start, stop in arrangement(indexes).spans(around_first()))
    assert ROWS // lists.PROBED_PART <= looked_at < ROWS // 2


def around_first() -> NDArray[np.float32]:
    first = around(np.asarray([0]), 3)[0]
    unit: NDArray[np.float32] = first / np.linalg.norm(first)
    return unit


def test_a_filter_is_exact(connection: sqlite3.Connection) -> None:
    fill(connection)
    indexes = listed(connection)
    for query in queries(5):
        for filter in ({"thread_id": "t1"}, {"n": {"$lt": 500}}, {"n": 7}):
            wanted = scored_one_by_one(connection, query, filter=filter)
            assert found(connection, indexes, query, filter=filter) == wanted


def test_what_changes_shows_at_once(connection: sqlite3.Connection) -> None:
    sequences = fill(connection)
    indexes = listed(connection)
    query = queries(1)[0]
    new = insert(connection, query)
    opposite = [-number for number in query]
    # Far from the lists that are looked at, and no list at all has it.
    far = insert(connection, opposite)
    best, score = nearly(connection, indexes, query)[0][0]
    assert (best, round(score, 6)) == (new, 1)
    delete(connection, new)
    first = nearly(connection, indexes, query)[0][0][0]
    assert first != new
    delete(connection, first)
    assert first not in dict(nearly(connection, indexes, query)[0])
    patch(connection, sequences[13], embedding=query)
    assert nearly(connection, indexes, query)[0][0][0] == sequences[13]
    patch(connection, sequences[13], embedding=opposite)
    assert sequences[13] not in dict(nearly(connection, indexes, query)[0])
    assert {sequences[13], far} == set(dict(nearly(connection, indexes, opposite, 2)[0]))


def test_rows_in_no_list_yet_are_never_missed(connection: sqlite3.Connection) -> None:
    fill(connection)
    indexes = listed(connection)
    saved_up_to = connection.execute("SELECT inserted FROM vector_sidecars").fetchone()[0]
    random = np.random.default_rng(8)
    there = [row[0] for row in connection.execute("SELECT _sequence FROM mastra_vectors")]
    changed: set[int] = set()
    for query in queries(15):
        insert(connection, (np.asarray(query) + random.standard_normal(DIMENSION)).tolist())
        gone = there.pop(int(random.integers(len(there))))
        delete(connection, gone)
        moved = there[int(random.integers(len(there)))]
        patch(connection, moved, embedding=random.standard_normal(DIMENSION).tolist())
        changed.add(moved)
        answer, _ = nearly(connection, indexes, query)
        everything = dict(scored_one_by_one(connection, query, 2 * ROWS))
        assert all(everything[sequence] == score for sequence, score in answer)
        for row in scored_one_by_one(connection, query):
            if row[0] > saved_up_to or row[0] in changed:
                assert row in answer


def test_where_the_lists_hold_too_few_everything_is_searched(
    connection: sqlite3.Connection,
) -> None:
    sequences = fill(connection)
    indexes = listed(connection)
    query = queries(1)[0]
    answer, is_exact = nearly(connection, indexes, query, 256)
    assert is_exact
    assert answer == scored_one_by_one(connection, query, 256)
    for sequence in [row for row, _ in scored_one_by_one(connection, query, 240)]:
        delete(connection, sequence)
    answer, is_exact = nearly(connection, indexes, query)
    assert (answer == scored_one_by_one(connection, query)) or not is_exact
    assert len(answer) == 10
    assert len(sequences) == ROWS


def test_rows_without_direction_stand_in_no_way(connection: sqlite3.Connection) -> None:
    zeros = [insert(connection, [0.0] * DIMENSION) for _ in range(200)]
    shorter = [insert(connection, [1.0, 2.0]) for _ in range(5)]
    fill(connection)
    indexes = listed(connection)
    query = queries(1)[0]
    answer, is_exact = nearly(connection, indexes, query)
    assert not is_exact
    assert not {*zeros, *shorter} & set(dict(answer))
    assert nearly(connection, indexes, [0.0] * DIMENSION) == (
        scored_one_by_one(connection, [0.0] * DIMENSION),
        True,
    )


def test_nothing_but_rows_without_direction(connection: sqlite3.Connection) -> None:
    for _ in range(400):
        insert(connection, [0.0] * DIMENSION)
    indexes = listed(connection)
    query = queries(1)[0]
    assert nearly(connection, indexes, query) == (scored_one_by_one(connection, query), True)


def test_a_small_index_is_exact(connection: sqlite3.Connection) -> None:
    fill(connection, 299)
    indexes = listed(connection)
    query = queries(1)[0]
    assert nearly(connection, indexes, query) == (scored_one_by_one(connection, query), True)


def test_centres_serve_until_the_index_has_doubled(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, 400)
    first = arrangement(listed(connection))
    sequences = fill(connection, 300, 4)
    for sequence in sequences[::3]:
        delete(connection, sequence)
    second = arrangement(listed(connection))
    assert np.array_equal(second.centres, first.centres)
    assert (second.placed_for, int(second.starts[-1])) == (400, 600)
    fill(connection, 300, 5)
    indexes = listed(connection)
    assert arrangement(indexes).placed_for == 900
    for query in queries(5):
        assert found(connection, indexes, query) == scored_one_by_one(connection, query)


def test_one_process_makes_the_lists_and_all_use_them(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_ELSEWHERE_SECONDS", 0)
    fill(connection)
    one, other = VectorIndexes(), VectorIndexes()
    lock = path.parent / "vectors" / "writing.lock"
    lock.parent.mkdir()
    query = queries(1)[0]
    with only_one(lock) as is_one:
        assert is_one
        with only_one(lock) as is_another:
            assert not is_another
        assert nearly(connection, other, query)[1]
        other.finish()
        assert list(path.parent.glob("vectors/*.index")) == []
    found(connection, one, query)
    one.of(SCOPE)._saving._thread.join()  # type: ignore[union-attr]

    def refuse(*_: Any) -> None:
        raise AssertionError("lists were made again")

    monkeypatch.setattr(lists, "arranged", refuse)
    # It takes what is there, whatever it had before.
    found(connection, other, query)
    other.of(SCOPE)._saving._thread.join()  # type: ignore[union-attr]
    assert nearly(connection, other, query) == nearly(connection, one, query)
    assert not nearly(connection, other, query)[1]
    assert np.array_equal(arrangement(other).centres, arrangement(one).centres)


def test_who_closes_does_not_wait_for_lists(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection)
    made = lists.arranged

    def endless(view: Any, pause: lists.Pause) -> Any:
        while True:
            pause()

    monkeypatch.setattr(lists, "arranged", endless)
    indexes = VectorIndexes()
    query = queries(1)[0]
    found(connection, indexes, query)
    indexes.finish()
    assert list(path.parent.glob("vectors/*.index")) == []
    # The next one has the lock, and makes them.
    monkeypatch.setattr(lists, "arranged", made)
    assert not nearly(connection, listed(connection), query)[1]


@pytest.mark.anyio
async def test_an_answer_says_whether_it_is_exact(tmp_path: Path) -> None:
    vectors = around(np.arange(ROWS) % GROUPS, 2).tolist()
    query = queries(1)[0]
    for _ in range(2):
        async with EmbeddedDeployment(tmp_path) as deployment:
            adapter = ConvexVector(deployment)
            await adapter.create_index("i", DIMENSION)
            if not (await adapter.describe_index("i")).count:
                metadata = [{"even": at % 2 == 0} for at in range(ROWS)]
                await adapter.upsert(
                    "i", vectors, ids=[str(at) for at in range(ROWS)], metadata=metadata
                )
            await adapter.query("i", query)
            engine = deployment._engine
            assert engine is not None
            of_scope = engine._vectors.of(SCOPE)
            if of_scope._saving._thread is not None:
                of_scope._saving._thread.join()
            answer = await adapter.query("i", query)
            assert not answer.exhausted
            exact = await adapter.query("i", query, exact=True)
            assert exact.exhausted
            assert {each.id for each in answer.matches} & {each.id for each in exact.matches}
            even = await adapter.query("i", query, filter={"even": True})
            assert even.exhausted
            assert [each.id for each in even.matches] == [
                each.id
                for each in (await adapter.query("i", query, top_k=256, exact=True)).matches
                if int(each.id) % 2 == 0
            ][:10]
