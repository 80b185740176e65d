"""Texts longer than a model reads: cut into windows, embedded one by one, and averaged.

Windows overlap, and end where a sentence or line ends if one does in their last third, else
between two words. The vector of the text is the mean of its windows' vectors, each weighted with
the window's length, at length 1 again. A text with more than `WINDOWS_MAX` windows is read in
that many places, evenly spread from its beginning to its end, and the answer names it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOWS_MAX: Final = 32
"""Windows of one text that are embedded: what one text can cost."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Borders:
    """Where a text may be cut: ascending positions, in the unit that windows are measured in.

    Args:
        length: The length of the text.
        words: Where words begin.
        sentences: Where sentences and lines have ended.
    """

    length: int
    words: Sequence[int]
    sentences: Sequence[int]


@dataclass(frozen=True, slots=True)
class Owner:
    """Which text a window belongs to, and what the window counts for in its mean."""

    position: int
    weight: int


def windows_of(borders: Borders, size: int, overlap: int) -> list[slice]:
    """The windows that cover a text.

    Args:
        borders: Where it may be cut; where no border is near, it is cut anyway.
        size: The length of the longest window.
        overlap: About how much of a window the next one begins with; below half of `size`.
    """
    windows, start = [], 0
    while borders.length - start > size:
        end = _end(borders, start, size)
        windows.append(slice(start, end))
        at = bisect_left(borders.words, end - overlap)
        start = min(end, borders.words[at]) if at < len(borders.words) else end
    windows.append(slice(start, borders.length))
    return windows


def _end(borders: Borders, start: int, size: int) -> int:
    for cuts, least in ((borders.sentences, size * 2 // 3), (borders.words, size // 2)):
        at = bisect_right(cuts, start + size) - 1
        if at >= 0 and cuts[at] > start + least:
            return cuts[at]
    return start + size


def places_in(length: int, size: int) -> list[slice]:
    """`WINDOWS_MAX` parts of this size, evenly spread over a text that is longer than all."""
    return [
        slice(start, start + size)
        for start in ((length - size) * place // (WINDOWS_MAX - 1) for place in range(WINDOWS_MAX))
    ]


def spread(items: Sequence[Item]) -> list[Item]:
    """At most `WINDOWS_MAX` items: the first, the last, and evenly between."""
    if len(items) <= WINDOWS_MAX:
        return list(items)
    last = len(items) - 1
    return [items[last * at // (WINDOWS_MAX - 1)] for at in range(WINDOWS_MAX)]


def pooled(
    vectors: NDArray[np.float32], owners: Sequence[Owner], count: int
) -> NDArray[np.float32]:
    """The vectors of texts from those of their windows.

    Args:
        vectors: One row for each window.
        owners: Which text each belongs to.
        count: How many texts there are; each owns at least one window.

    Returns:
        One row for each text, of length 1. A text of one window keeps its vector to the bit.
    """
    import numpy as np

    if [owner.position for owner in owners] == list(range(count)):
        return vectors
    means: NDArray[Any] = np.zeros((count, vectors.shape[1]), np.float64)
    weights = np.array([owner.weight for owner in owners], np.float64)
    np.add.at(means, [owner.position for owner in owners], vectors * weights[:, np.newaxis])
    return normalised(means)


def normalised(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows at length 1; the rows must be finite and not all zero."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)
