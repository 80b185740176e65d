"""How long texts are cut and their windows averaged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.embedders.windows import (
    WINDOWS_MAX,
    Borders,
    Owner,
    normalised,
    places_in,
    pooled,
    spread,
    windows_of,
)

borders = st.integers(0, 3000).flatmap(
    lambda length: st.builds(
        Borders,
        st.just(length),
        st.sets(st.integers(0, length)).map(sorted),
        st.sets(st.integers(0, length)).map(sorted),
    )
)


@given(borders, st.integers(10, 300), st.data())
def test_windows_cover_the_text_overlap_and_are_never_too_long(
    borders: Borders, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size // 2 - 1))
    windows = windows_of(borders, size, overlap)
    assert windows[0].start == 0
    assert windows[-1].stop == borders.length
    for window in windows:
        assert 0 <= window.stop - window.start <= size
    for before, after in pairwise(windows):
        assert before.start < after.start <= before.stop < after.stop
        assert before.stop - after.start <= overlap


def test_a_window_ends_with_a_sentence_else_between_words_else_anywhere() -> None:
    words = list(range(0, 1000, 7))
    assert windows_of(Borders(150, words, [50, 80, 90, 110]), 100, 0)[0] == slice(0, 90)
    assert windows_of(Borders(150, words, [50]), 100, 0)[0] == slice(0, 98)
    assert windows_of(Borders(150, [0], []), 100, 0)[0] == slice(0, 100)


def test_the_next_window_begins_with_a_word_of_the_last_one() -> None:
    words = list(range(0, 1000, 7))
    first, second = windows_of(Borders(150, words, [90]), 100, 20)
    assert (first.stop, second.start) == (90, 70)


def test_what_fits_is_one_window() -> None:
    assert windows_of(Borders(100, [], []), 100, 10) == [slice(0, 100)]
    assert windows_of(Borders(0, [], []), 100, 10) == [slice(0, 0)]


@given(st.integers(0, 500))
def test_at_most_so_many_are_chosen_from_the_first_to_the_last(count: int) -> None:
    chosen = spread(range(count))
    assert len(chosen) == min(count, WINDOWS_MAX)
    assert chosen == sorted(set(chosen))
    if count:
        assert (chosen[0], chosen[-1]) == (0, count - 1)


def test_places_lie_evenly_from_beginning_to_end() -> None:
    places = places_in(1_000_000, 2000)
    assert len(places) == WINDOWS_MAX
    assert places[0] == slice(0, 2000)
    assert places[-1] == slice(998_000, 1_000_000)
    gaps = {after.start - before.start for before, after in pairwise(places)}
    assert max(gaps) - min(gaps) <= 1


def test_the_mean_is_weighted_by_length_and_has_length_one() -> None:
    vectors = np.eye(3, dtype=np.float32)
    owners = [Owner(1, 5), Owner(0, 30), Owner(0, 40)]
    means = pooled(vectors, owners, 2)
    assert means.dtype == np.float32
    assert means == pytest.approx(np.array([[0, 0.6, 0.8], [1, 0, 0]], np.float32))


def test_one_window_a_text_is_left_as_it_is() -> None:
    vectors = normalised(np.random.default_rng(1).normal(size=(4, 8)))
    assert pooled(vectors, [Owner(at, 3) for at in range(4)], 4) is vectors
