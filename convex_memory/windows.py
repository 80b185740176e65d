"""Ranking the messages of conversations by words: a message is found by what surrounds it, too.

In a conversation the words of a question often stand beside its answer: in the question that was
asked then, or in the reply. So a word counts for the messages around the one that holds it, less
with every step:

    score(m) = Σ over words  idf(word) · √( Σ over messages n near m that hold it  weight(m - n)² )

with weight 1 for the message itself, `BEFORE ** k` for one k messages earlier and `AFTER ** k` for
one k later; `ANSWER` times as much where the message just before it asks something. The square
root has a word count about once, however many neighbours repeat it.

The constants come from leaving one conversation out at a time on LoCoMo (`bench/recall.py`); each
may change by a third without much effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEFORE: Final = 0.75
AFTER: Final = 0.55
REACH_BEFORE: Final = 4
REACH_AFTER: Final = 3
ANSWER: Final = 1.4
SPEAKER: Final = 0.15
"""How much more a message counts whose speaker the question names."""
DATE: Final = 1.5
"""What a date that the question names counts, in units of its idf."""
LATE_DAYS: Final = 14
LATE_SHARE: Final = 0.5
"""How long, and how much, what was said after a named day or month still counts as of it."""
GUESS: Final = 0.3
"""What a word counts that was found only by guessing at another spelling."""
HOLDERS_MAX: Final = 2000
"""Messages that hold words of the question and are looked at with their neighbours: those whose
words are the rarest."""

_GAP: Final = REACH_BEFORE + REACH_AFTER + 2
"""A distance at which messages no longer touch each other's windows."""


@dataclass(frozen=True, slots=True)
class Window:
    """Scores of places in conversations.

    Attributes:
        holder: For each place, the position of the nearest holder.
        step: How many messages after that holder the place is; negative before it.
        score: Its score.
    """

    holder: NDArray[Any]
    step: NDArray[Any]
    score: NDArray[Any]


def rarity(holding: int, messages: int) -> float:
    """What a word counts that so many of the messages hold (BM25's idf, never negative)."""
    return math.log(1 + (messages - holding + 0.5) / (holding + 0.5))


def window_scores(
    places: NDArray[Any],
    asks: NDArray[Any],
    holding: Sequence[NDArray[Any]],
    weights: Sequence[float],
) -> Window:
    """Score the messages that hold words, and the places around them.

    Args:
        places: For each holder, ascending: its place, the same number apart from another as it
            is messages away in its conversation, far apart in others.
        asks: For each holder, whether it asks something.
        holding: For each word, the positions in `places` of the messages that hold it.
        weights: What each word counts.

    Returns:
        Every place with a score, in order of place; some may hold no message.
    """
    import numpy as np

    steps = np.minimum(np.diff(places, prepend=places[:1]), _GAP)
    at = np.cumsum(steps) + _GAP
    width = int(at[-1]) + _GAP + 1
    total = np.zeros(width)
    for held, weight in zip(holding, weights, strict=True):
        here, asked = np.zeros(width), np.zeros(width)
        here[at[held]] = 1
        asked[at[held[asks[held]]]] = 1
        near = here.copy()
        for k in range(1, REACH_BEFORE + 1):
            near[k:] += BEFORE ** (2 * k) * here[:-k]
        near[1:] += BEFORE**2 * (ANSWER**2 - 1) * asked[:-1]
        for k in range(1, REACH_AFTER + 1):
            near[:-k] += AFTER ** (2 * k) * here[k:]
        total += weight * np.sqrt(near)
    live = np.flatnonzero(total > 0)
    left = np.clip(np.searchsorted(at, live, side="right") - 1, 0, len(at) - 1)
    right = np.clip(left + 1, 0, len(at) - 1)
    holder = np.where(np.abs(at[left] - live) <= np.abs(at[right] - live), left, right)
    return Window(holder, live - at[holder], total[live])
