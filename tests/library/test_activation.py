"""How many buffered chunks become active, and which."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.embedded.functions.mastra.activation import (
    activation_boundary,
    candidates_and_others,
)
from convex_memory.errors import InvalidArgument
from tests.contract.boundaries import WORKED_VALUES

RATIOS = st.sampled_from((0.0, 0.2, 0.5, 0.8, 0.9, 1.0))
TOKENS = st.lists(st.integers(0, 6000), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("chunks", "ratio", "threshold", "pending", "force", "count"), WORKED_VALUES
)
def test_the_boundary_is_the_worked_one(
    chunks: list[int], ratio: float, threshold: int, pending: int, force: bool, count: int
) -> None:
    found = activation_boundary(
        chunks, ratio=ratio, threshold=threshold, pending=pending, force=force
    )
    assert found == count


@pytest.mark.parametrize(
    ("chunks", "pending", "count"),
    [
        pytest.param([600, 0, 0], 1000, 1, id="the first of those that reach the target"),
        pytest.param([100, 0, 0, 50_000], 1000, 1, id="the first of those short of it"),
        pytest.param([500], 1000, 1, id="exactly on the target"),
        pytest.param([0, 0, 500], 1000, 3, id="nothing until the last"),
        pytest.param([0, 0], 1000, 1, id="nothing at all"),
    ],
)
def test_of_boundaries_that_tie_the_first_is_taken(
    chunks: list[int], pending: int, count: int
) -> None:
    assert activation_boundary(chunks, ratio=0.5, threshold=1000, pending=pending) == count


@given(TOKENS, RATIOS, st.integers(0, 50_000), st.integers(0, 50_000), st.booleans())
def test_the_boundary_is_that_of_the_rules_as_they_are_written_down(
    chunks: list[int], ratio: float, threshold: int, pending: int, force: bool
) -> None:
    found = activation_boundary(
        chunks, ratio=ratio, threshold=threshold, pending=pending, force=force
    )
    assert found == _by_the_rules(chunks, ratio, threshold, pending, force)


def _by_the_rules(
    chunks: list[int], ratio: float, threshold: int, pending: int, force: bool
) -> int:
    floor = threshold * (1 - ratio)
    target = max(0, pending - floor)
    sums = list(enumerate(accumulate(chunks), 1))
    over = min((pair for pair in sums if pair[1] >= target), key=lambda pair: pair[1], default=None)
    under = max(
        (pair for pair in sums if 0 < pair[1] < target), key=lambda pair: pair[1], default=None
    )
    least = min(1000, floor)
    if force and over and pending - over[1] >= least:
        return over[0]
    if over and over[1] - target <= 0.95 * floor and pending - over[1] >= least:
        return over[0]
    if under and pending - under[1] >= least:
        return under[0]
    return over[0] if over else 1


# --- Lists that callers send


def chunk(chunk_id: str, tokens: int = 1) -> dict[str, Any]:
    return {"id": chunk_id, "messageTokens": tokens}


BUFFER: list[Any] = [chunk("a"), chunk("b"), chunk("c")]


def test_without_a_list_the_buffer_is_what_may_be_activated() -> None:
    for no_list in (None, "[]", 5):
        assert candidates_and_others(BUFFER, no_list) == (BUFFER, [])


def test_a_list_that_was_read_from_the_buffer_brings_its_token_counts() -> None:
    fresh = [chunk("a", 7), chunk("b", 8), chunk("c", 9)]
    assert candidates_and_others(BUFFER, fresh) == (fresh, [])


def test_what_was_appended_after_the_list_was_read_stays() -> None:
    fresh = [chunk("a", 7)]
    assert candidates_and_others(BUFFER, fresh) == (fresh, [chunk("b"), chunk("c")])


def test_what_was_activated_after_the_list_was_read_is_not_activated_again() -> None:
    fresh = [chunk("gone", 5), chunk("a", 7), chunk("b", 8), chunk("c", 9)]
    assert candidates_and_others(BUFFER, fresh) == (fresh[1:], [])
    assert candidates_and_others(BUFFER, [chunk("ombuf-gone")]) == ([], BUFFER)


def test_a_list_of_the_callers_own_is_taken_as_it_is() -> None:
    own = [chunk("x"), chunk("y")]
    assert candidates_and_others(BUFFER, own) == (own, [])
    assert candidates_and_others(BUFFER, []) == ([], [])


def test_a_chunk_that_is_sent_twice_counts_once() -> None:
    twice = [chunk("a", 7), chunk("a", 8)]
    candidates, others = candidates_and_others(BUFFER, twice)
    assert [each["id"] for each in (*candidates, *others)] == ["a", "b", "c"]


def test_a_list_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="bufferedChunks"):
        candidates_and_others(BUFFER, [None])
