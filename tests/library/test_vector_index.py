"""The vector index: its answer is that of scoring every row that the transaction sees."""

from __future__ import annotations

import math
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.embedded.vector_index import following, kernel, scoring, searching
from convex_memory.embedded.vector_index.indexes import VectorIndexes
from tests.library.vector_rows import (
    SCOPE,
    delete,
    found,
    insert,
    new_database,
    patch,
    scored_one_by_one,
)

ORDINARY = st.floats(-1, 1, width=32)
EXTREME = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-40, 3e38, -3e38, 1e300, -1e300, 5e-324, 1e-310, 0.1, 1e6]
)
DIMENSION = 5


def vectors(length: int = DIMENSION) -> st.SearchStrategy[list[float]]:
    return st.one_of(
        st.lists(ORDINARY, min_size=length, max_size=length),
        st.lists(EXTREME, min_size=length, max_size=length),
        st.sampled_from([[0.0] * length, [1.0] * length, [-1.0] + [0.0] * (length - 1)]),
        # A hair apart: closer than codes can tell.
        st.integers(0, 7).map(lambda step: [1.0 + step * 2**-23] + [0.5] * (length - 1)),
    )


ROWS = st.lists(
    st.tuples(
        st.one_of(vectors(), vectors(), vectors(DIMENSION + 1)),
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "thread_id": st.sampled_from(["a", "b"]),
                    "n": st.sampled_from(
                        [
                            1,
                            1.0,
                            True,
                            "1",
                            None,
                            [1, 2],
                            {"x": 1},
                            -3,
                            2.5,
                            "a",
                            "b",
                            1e300,
                            [],
                            "",
                        ]
                    ),
                },
            ),
        ),
    ),
    max_size=60,
)
FILTERS = st.sampled_from(
    [
        None,
        {"thread_id": "a"},
        {"thread_id": "nobody"},
        {"thread_id": {"$in": ["a", "b"]}, "n": 1},
        {"n": True},
        {"n": None},
        {"n": {"$gt": 0}},
        {"thread_id": {"$ne": "a"}},
        {"$or": [{"thread_id": "a"}, {"n": "1"}]},
        {"n.x": 1},
        {"n": {"$gte": 1, "$lt": 2.5}},
        {"n": {"$gt": "1", "$lte": "a"}},
        {"n": {"$lt": "aa"}, "thread_id": {"$gte": "b"}},
        {"n": {"$nin": [1, None, "b"]}},
        {"n": {"$exists": False}},
        {"n": {"$exists": True}, "thread_id": {"$exists": False}},
        {"$nor": [{"n": {"$gt": 1}}, {"thread_id": "b"}, {"n": {"$size": 2}}]},
        {"$not": {"n": 1}},
        {"n": {"$in": [2, [1, 2], True]}},
        {"n": {"$ne": {"x": 1}}},
        {"n": {"$contains": "a"}},
        {"n": {"$regex": "^[ab]"}},
        {
            "$or": [
                {"n": {"$not": {"$lt": 2}}},
                {"n.x": {"$gt": 0}},
                {"n": {"$elemMatch": {"$gt": 1}}},
            ]
        },
        {
            "$and": [
                {"$or": [{"n": {"$lte": -3}}, {"n": {"$gt": 1e299}}]},
                {"thread_id": {"$ne": "a"}},
            ]
        },
    ]
)
SLOW_IS_FINE = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(new_database()) as connection:
        yield connection


# --- Exactness


@SLOW_IS_FINE
@given(
    rows=ROWS,
    later=ROWS,
    query=vectors(),
    limit=st.sampled_from([1, 2, 10, 256]),
    filter=FILTERS,
    comparable_only=st.booleans(),
    after=st.integers(0, 20),
    seed=st.integers(0, 2**32),
)
def test_the_answer_is_that_of_scoring_every_row(
    rows: list[tuple[list[float], Any]],
    later: list[tuple[list[float], Any]],
    query: list[float],
    limit: int,
    filter: dict[str, Any] | None,
    comparable_only: bool,
    after: int,
    seed: int,
) -> None:
    scope, indexes = replace(SCOPE, after=after), VectorIndexes()
    random = np.random.default_rng(seed)
    with closing(new_database()) as connection:

        def check() -> None:
            asked: dict[str, Any] = {"filter": filter, "comparable_only": comparable_only}
            wanted = scored_one_by_one(connection, query, limit, scope=scope, **asked)
            assert found(connection, indexes, query, limit, scope=scope, **asked) == wanted

        for vector, metadata in rows:
            insert(connection, vector, metadata)
        check()
        for vector, metadata in later:
            at = int(random.integers(1, len(rows) + 2))
            there = connection.execute(
                "SELECT 1 FROM mastra_vectors WHERE _sequence = ?", (at,)
            ).fetchone()
            what = random.integers(3)
            if there and what == 0:
                patch(connection, at, embedding=vector)
            elif there and what == 1:
                delete(connection, at)
            else:
                insert(connection, vector, metadata)
        check()


@pytest.mark.parametrize("dots", [kernel.dots_by_simsimd, kernel.dots_by_numpy])
@pytest.mark.parametrize("dimension", [2, 33, 384])
def test_many_rows_are_found_as_by_scoring_each(
    connection: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    dots: Any,
    dimension: int,
) -> None:
    monkeypatch.setattr(kernel, "_chosen", lambda: dots)
    random = np.random.default_rng(dimension)
    centres = random.standard_normal((20, dimension))
    for at in range(1500):
        vector = (centres[at % 20] + 0.3 * random.standard_normal(dimension)).astype(np.float32)
        insert(connection, vector.tolist(), {"thread_id": f"t{at % 7}", "at": at})
    indexes = VectorIndexes()
    for limit in (1, 10, 256):
        query = (centres[limit % 20] + 0.3 * random.standard_normal(dimension)).tolist()
        for filter in (
            None, {"thread_id": "t3"}, {"at": {"$gte": 700}}, {"at": {"$lt": 9}},
            {"thread_id": {"$gte": "t2", "$lt": "t21"}, "at": {"$ne": 100}},
        ):  # fmt: skip
            answer = found(connection, indexes, query, limit, filter=filter)
            assert answer == scored_one_by_one(connection, query, limit, filter=filter)
            assert len(answer) >= min(limit, 9)


def adversarial(random: np.random.Generator, dimension: int) -> list[float]:
    """Return what codes tell badly apart: ties, hairs, one huge coordinate, next to nothing."""
    base = np.random.default_rng(int(random.integers(4))).standard_normal(dimension)
    kind = random.integers(8)
    if kind == 0:
        return [float(number) for number in base]
    if kind == 1:
        base[int(random.integers(dimension))] *= 10.0 ** int(random.integers(3, 300))
    elif kind == 2:
        base = base * 5e-324 * 2.0 ** int(random.integers(1, 60))
    elif kind == 3:
        base = base * (1 + 2.0**-23 * random.integers(-3, 4, dimension))
    elif kind == 4:
        base = np.where(random.random(dimension) < 0.9, 0.0, base)
    elif kind == 5:
        base = np.sign(base) * 2.0 ** random.integers(-160, 125, dimension)
    elif kind == 6:
        base = -base.astype(np.float32).astype(np.float64) * 2.0 ** int(random.integers(-140, 120))
    return [float(number) for number in base.astype(np.float32 if kind == 7 else np.float64)]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    dimension=st.sampled_from([2, 7, 33, 96]),
    dots=st.sampled_from([kernel.dots_by_simsimd, kernel.dots_by_numpy]),
)
def test_adversarial_rows_are_found_as_by_scoring_each(
    seed: int, dimension: int, dots: Any
) -> None:
    random = np.random.default_rng(seed)
    with closing(new_database()) as connection, pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel, "_chosen", lambda: dots)
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(500):
            insert(connection, adversarial(random, dimension))
        connection.execute("COMMIT")
        indexes = VectorIndexes()
        for limit in (1, 10, 100, 256):
            query = adversarial(random, dimension)
            wanted = scored_one_by_one(connection, query, limit)
            assert found(connection, indexes, query, limit) == wanted
            assert len(wanted) == limit


def test_a_score_is_the_cosine() -> None:
    random = np.random.default_rng(3)
    rows = random.standard_normal((50, 96)).astype(np.float32)
    query = random.standard_normal(96)
    target = scoring.direction(query.tolist())
    assert target is not None
    units, _ = scoring.unit_rows([row.tobytes() + b"f" for row in rows], 96)
    cosines = [
        float(row @ query) / math.sqrt(float(row @ row) * float(query @ query))
        for row in rows.astype(np.float64)
    ]
    assert scoring.scores_of(units, target) == pytest.approx(cosines, abs=1e-6)


def test_equal_rows_score_equal_wherever_they_stand(connection: sqlite3.Connection) -> None:
    random = np.random.default_rng(4)
    vector = random.standard_normal(101).tolist()
    same = []
    for at in range(300):
        other = random.standard_normal(101).tolist()
        sequence = insert(connection, vector if at % 3 == 0 else other)
        same += [sequence] if at % 3 == 0 else []
    answer = found(connection, VectorIndexes(), vector, 100)
    assert [sequence for sequence, _ in answer] == same
    assert len({score for _, score in answer}) == 1


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel._chosen.cache_clear()
    assert kernel._chosen() is kernel.dots_by_simsimd
    kernel._chosen.cache_clear()

    def off_by_one(codes: Any, query: Any, out: Any) -> None:
        kernel.dots_by_numpy(codes, query, out)
        out[-1] += 1

    monkeypatch.setattr(kernel, "dots_by_simsimd", off_by_one)
    assert kernel._chosen() is kernel.dots_by_numpy
    kernel._chosen.cache_clear()
    monkeypatch.setitem(sys.modules, "simsimd", None)
    assert kernel._chosen() is kernel.dots_by_numpy
    kernel._chosen.cache_clear()


# --- Transactions


def begin(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM mastra_vectors").fetchone()
    return connection


QUERY = [1.0, 0.0]


def test_a_transaction_that_began_earlier_gets_its_own_answer(tmp_path: Path) -> None:
    indexes = VectorIndexes()
    with closing(new_database(tmp_path / "memory.db")) as writer:
        one = insert(writer, [1.0, 0.0])
        two = insert(writer, [1.0, 1.0])
        three = insert(writer, [0.0, 1.0])
        with closing(begin(tmp_path / "memory.db")) as earlier:
            assert [at for at, _ in found(writer, indexes, QUERY)] == [one, two, three]
            delete(writer, one)
            patch(writer, three, embedding=[1.0, 0.1])
            four = insert(writer, [1.0, 0.05])
            assert [at for at, _ in found(writer, indexes, QUERY)] == [four, three, two]
            before = scored_one_by_one(earlier, QUERY)
            assert [at for at, _ in before] == [one, two, three]
            assert found(earlier, indexes, QUERY) == before
            assert found(earlier, VectorIndexes(), QUERY) == before
        assert [at for at, _ in found(writer, indexes, QUERY)] == [four, three, two]


def test_what_is_rolled_back_was_never_there(tmp_path: Path) -> None:
    indexes = VectorIndexes()
    with closing(new_database(tmp_path / "memory.db")) as writer:
        one = insert(writer, [1.0, 1.0])
        assert [at for at, _ in found(writer, indexes, QUERY)] == [one]
        writer.execute("BEGIN IMMEDIATE")
        two = insert(writer, [1.0, 0.0])
        patch(writer, one, embedding=[0.0, 1.0])
        inside = found(writer, indexes, QUERY, writable=True)
        assert inside == [(two, 1.0), (one, 0.0)]
        writer.execute("ROLLBACK")
        # The same sequence again, and the same number of changes, with other vectors.
        assert insert(writer, [1.0, 0.5]) == two
        patch(writer, one, embedding=[1.0, 0.2])
        assert found(writer, indexes, QUERY) == scored_one_by_one(writer, QUERY)
        assert [at for at, _ in found(writer, indexes, QUERY)] == [one, two]


def test_a_row_that_goes_to_another_index_is_found_there_only(
    connection: sqlite3.Connection,
) -> None:
    indexes, other = VectorIndexes(), replace(SCOPE, name="j")
    one, two = insert(connection, [1.0, 0.0]), insert(connection, [0.0, 1.0], name="j")
    assert [at for at, _ in found(connection, indexes, QUERY)] == [one]
    assert [at for at, _ in found(connection, indexes, QUERY, scope=other)] == [two]
    patch(connection, one, indexName="j")
    assert found(connection, indexes, QUERY) == []
    assert [at for at, _ in found(connection, indexes, QUERY, scope=other)] == [one, two]


def test_changed_metadata_changes_what_a_filter_finds(connection: sqlite3.Connection) -> None:
    indexes = VectorIndexes()
    one = insert(connection, [1.0, 0.0], {"lang": "en"})
    two = insert(connection, [1.0, 0.0], {"lang": "de"})
    assert [at for at, _ in found(connection, indexes, QUERY, filter={"lang": "en"})] == [one]
    patch(connection, two, metadata={"lang": ["fr", "en"]})
    patch(connection, one, metadata={"lang": "de"})
    assert [at for at, _ in found(connection, indexes, QUERY, filter={"lang": "en"})] == [two]


def test_an_index_too_far_behind_is_read_anew(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = VectorIndexes()
    sequences = [insert(connection, [1.0, at / 100]) for at in range(50)]
    assert found(connection, indexes, QUERY) == scored_one_by_one(connection, QUERY)
    for sequence in sequences[:30]:
        delete(connection, sequence)
    # As if so much had changed since that the first changes were dropped.
    connection.execute("DELETE FROM vector_changes WHERE position <= 20")
    assert found(connection, indexes, QUERY) == scored_one_by_one(connection, QUERY)
    assert [at for at, _ in found(connection, indexes, QUERY, 1)] == [sequences[30]]


def test_the_log_of_changes_stays_short(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("BEGIN")
    connection.execute(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100300) "
        "INSERT INTO vector_changes (table_number, name, sequence) SELECT 13, 'i', x FROM n"
    )
    connection.execute("COMMIT")
    kept = connection.execute("SELECT count(*), max(position) FROM vector_changes").fetchone()
    assert kept[1] == 100300
    assert 100_000 <= kept[0] < 100_256


def test_readers_of_many_threads_agree_with_their_transactions(tmp_path: Path) -> None:
    path, indexes = tmp_path / "memory.db", VectorIndexes()
    failures: list[object] = []
    random = np.random.default_rng(5)
    done = threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            try:
                while not done.is_set():
                    connection.execute("BEGIN")
                    answer = found(connection, indexes, QUERY, 20)
                    wanted = scored_one_by_one(connection, QUERY, 20)
                    connection.execute("ROLLBACK")
                    if answer != wanted:
                        failures.append((answer, wanted))
            except BaseException as error:
                failures.append(error)

    with closing(new_database(path)) as writer:
        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        there: list[int] = []
        for _ in range(150):
            writer.execute("BEGIN IMMEDIATE")
            there += [insert(writer, random.standard_normal(2).tolist()) for _ in range(3)]
            patch(writer, there[int(random.integers(len(there)))], embedding=[1.0, 0.1])
            delete(writer, there.pop(int(random.integers(len(there)))))
            writer.execute("ROLLBACK" if random.integers(5) == 0 else "COMMIT")
            there = [row[0] for row in writer.execute("SELECT _sequence FROM mastra_vectors")]
        done.set()
        for reader in readers:
            reader.join()
    assert failures == []


def test_fields_beyond_those_that_are_coded_are_filtered_too(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "COLUMNS_MAX", 4)
    for at in range(40):
        insert(connection, [1.0, at], {f"f{number}": at % (number + 2) for number in range(6)})
    indexes = VectorIndexes()
    for number in range(6):
        filter = {f"f{number}": 1}
        wanted = scored_one_by_one(connection, QUERY, filter=filter)
        assert found(connection, indexes, QUERY, filter=filter) == wanted
        assert len(wanted) == min(10, len(range(1, 40, number + 2)))


def test_what_coded_fields_decide_needs_no_row(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(200):
        metadata = {"at": at, "day": f"2026-{at % 12 + 1:02}", "odd": at % 2 == 1}
        insert(connection, [1.0, at], metadata if at % 5 else None)
    indexes = VectorIndexes()
    found(connection, indexes, QUERY, filter={"at": 1, "day": "x", "odd": True})

    def refuse(*_: Any) -> None:
        raise AssertionError("rows were asked")

    monkeypatch.setattr(searching._Search, "_matching", refuse)
    for filter in (
        {"at": {"$gte": 50, "$lt": 60}},
        {"day": {"$gt": "2026-03", "$lte": "2026-05"}},
        {"day": {"$gt": "2026-035"}},
        {"odd": {"$ne": True}, "at": {"$nin": [4, 8]}},
        {"$or": [{"day": {"$in": ["2026-01", "2026-02"]}}, {"at": {"$exists": False}}]},
        {"day": {"$contains": "-1"}},
        {"$not": {"day": {"$lt": "2026-11"}}},
    ):
        wanted = scored_one_by_one(connection, QUERY, filter=filter)
        assert found(connection, indexes, QUERY, filter=filter) == wanted
        assert wanted
    # New values take their place in the order.
    new = insert(connection, [1.0, 0.0], {"at": 55.5, "day": "2026-04-30"})
    for filter in ({"at": {"$gt": 55, "$lt": 56}}, {"day": {"$gt": "2026-04", "$lt": "2026-05"}}):
        assert [at for at, _ in found(connection, indexes, QUERY, filter=filter)] == [new]
