"""Inverted lists: rows that point the same way stand together, so that few need be looked at.

Spherical k-means over the codes of a sample puts the centres; each row stands in the list of the
centre nearest to it. A search looks through the lists whose centres are nearest to the query. So
its answer is approximate, the one thing here that is: what it returns is scored exactly, but a
row in a list that was not looked through is missed. Recall is stated in `PROBED_PART`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from convex_memory.embedded.vector_index.scoring import Floats

if TYPE_CHECKING:
    from convex_memory.embedded.vector_index.view import View

Places = NDArray[np.int64]

ROWS_LEAST: Final = 200_000
"""An index of fewer rows is scanned whole: exact, in some 13 ms at 384 dimensions."""
PROBED_PART: Final = 8
"""One in so many rows is looked at: recall@10 is 0.96 on a million real sentences in 256
dimensions, 0.99 on random vectors in clusters (`bench.many_vectors`)."""
_LISTS_PER_ROOT: Final = 2
"""Lists, in square roots of the number of rows."""
_SAMPLE_PER_LIST: Final = 32
_ROUNDS: Final = 6
_GROWTH: Final = 2
"""Centres serve until the index has so many times the rows they were put for."""
_BLOCK_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class Lists:
    """Which rows of the file stand in which list.

    Attributes:
        centres: (lists, dimension).
        starts: (lists + 1,); list `i` is the rows from `starts[i]` up to `starts[i + 1]`.
        placed_for: How many rows there were when the centres were put.
    """

    centres: Floats
    starts: Places
    placed_for: int

    def spans(self, target: Floats) -> list[tuple[int, int]]:
        """Return where the rows to look at stand, as (first, beyond the last), ascending."""
        # Not BLAS: its threads wait for each other longer than this takes.
        order = np.argsort(np.einsum("ij,j->i", self.centres, -target), kind="stable")
        lengths = np.cumsum(self.starts[order + 1] - self.starts[order])
        enough = int(np.searchsorted(lengths, int(self.starts[-1]) // PROBED_PART)) + 1
        chosen = np.sort(order[:enough])
        first, beyond = self.starts[chosen], self.starts[chosen + 1]
        # Neighbours are read in one go.
        apart = np.flatnonzero(first[1:] != beyond[:-1]) + 1
        begins = first[np.concatenate([[0], apart])]
        ends = beyond[np.concatenate([apart - 1, [len(chosen) - 1]])]
        return [
            (begin, end)
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
            if begin < end
        ]


Pause = Callable[[], None]
"""Called every tenth of a second or so of work; what it raises ends the work."""


def arranged(view: View, pause: Pause) -> tuple[Places, Lists | None]:
    """Return the rows of an index in the order in which a file has them, and their lists.

    Without lists they stand in the order of creation. Takes 30 s of two cores for a million rows
    of 384 numbers, and a tenth of it where the centres of the index's file still serve.
    """
    order = np.argsort(view.sequence, kind="stable")
    if view.live is not None:
        order = order[view.live[order]]
    if len(order) < ROWS_LEAST:
        return order, None
    known = view.lists
    if known is not None and len(order) <= _GROWTH * known.placed_for:
        centres, placed_for = known.centres, known.placed_for
        of_rows = np.empty(len(order), dtype=np.int32)
        old = order < known.starts[-1]
        of_rows[old] = np.searchsorted(known.starts, order[old], side="right") - 1
        of_rows[~old] = _nearest_centres(view, order[~old], centres, pause)
    else:
        centres, placed_for = _centres(view, order, pause), len(order)
        of_rows = _nearest_centres(view, order, centres, pause)
    by_list = np.argsort(of_rows, kind="stable")
    starts = np.searchsorted(of_rows[by_list], np.arange(len(centres) + 1)).astype(np.int64)
    return order[by_list], Lists(centres, starts, placed_for)


def _centres(view: View, order: Places, pause: Pause) -> Floats:
    """Put centres among a sample of the rows."""
    random = np.random.default_rng(len(order))
    count = int(_LISTS_PER_ROOT * math.sqrt(len(order)))
    # A row that cannot be compared has no direction, and stands in any list.
    among = order[view.scale[order] > 0] if view.has_incomparable else order
    count = max(1, min(count, len(among)))
    some = np.sort(random.permutation(among)[: count * _SAMPLE_PER_LIST])
    if not len(some):
        return np.ones((1, view.dimension), dtype=np.float32)
    sample = np.concatenate(list(_rows(view, some)))
    centres = sample[random.permutation(len(sample))[:count]].copy()
    for _ in range(_ROUNDS):
        nearest = _best(sample, centres, pause)
        by_list = np.argsort(nearest, kind="stable")
        bounds = np.searchsorted(nearest[by_list], np.arange(count + 1))
        filled = bounds[1:] > bounds[:-1]
        centres[filled] = np.add.reduceat(sample[by_list], bounds[:-1][filled], axis=0)
        # A centre that nothing is near to begins again somewhere else.
        centres[~filled] = sample[random.integers(0, len(sample), int((~filled).sum()))]
        norms = np.linalg.norm(centres, axis=1, keepdims=True)
        centres /= np.where(norms > 0, norms, 1)
    return _neighbours_together(centres, pause)


def _neighbours_together(centres: Floats, pause: Pause) -> Floats:
    """Order centres so that those near each other are, so that fewer pieces are read."""
    some = centres[:: max(1, int(math.sqrt(len(centres))))]
    for _ in range(_ROUNDS):
        groups = _best(centres, some, pause)
        sums = np.zeros_like(some)
        np.add.at(sums, groups, centres)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        some = np.where(norms > 0, sums / np.where(norms > 0, norms, 1), some)
    found: Floats = centres[np.argsort(_best(centres, some, pause), kind="stable")]
    return found


def _nearest_centres(view: View, at: Places, centres: Floats, pause: Pause) -> NDArray[np.int32]:
    parts = [_best(rows, centres, pause) for rows in _rows(view, at)]
    return np.concatenate([np.empty(0, dtype=np.int32), *parts])


def _best(rows: Floats, centres: Floats, pause: Pause) -> NDArray[np.int32]:
    found = np.empty(len(rows), dtype=np.int32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        pause()
        block = rows[start : start + _BLOCK_ROWS]
        found[start : start + len(block)] = (block @ centres.T).argmax(axis=1)
    return found


def _rows(view: View, at: Places) -> Iterator[Floats]:
    """Yield rows as their codes say they are."""
    for start in range(0, len(at), _BLOCK_ROWS):
        some = at[start : start + _BLOCK_ROWS]
        yield view.gathered(some).astype(np.float32) * view.scale[some, None]
