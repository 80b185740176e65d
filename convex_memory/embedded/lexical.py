"""Search over messages by words: postings of the full-text index, ranked by `windows`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from convex_memory.embedded import turns
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.tables import MESSAGES
from convex_memory.query_dates import NamedDate, dates_named
from convex_memory.search_words import TERMS_MAX, misspelt, telling_words
from convex_memory.windows import (
    DATE,
    GUESS,
    HOLDERS_MAX,
    LATE_DAYS,
    LATE_SHARE,
    SPEAKER,
    rarity,
    window_scores,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS_MAX: Final = 64
"""Words of a question that are looked up; the rarest `TERMS_MAX` of them count."""
GUESSED_MAX: Final = 4
"""Words of a question that nobody wrote and whose spelling is guessed at."""
_SORTED_FIRST: Final = 512
_PATH_SAFE: Final = re.compile(r'[^"\\\x00]+')
"""Names that may stand in a path of SQLite's JSON functions."""
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a message must satisfy; None asks nothing.

    `since_ms` is inclusive, `until_ms` exclusive, in milliseconds since the epoch. Of `metadata`
    only what SQL can tell is asked: the caller looks at what is found.
    """

    resource: str | None = None
    thread: str | None = None
    role: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def are_equalities(self) -> bool:
        """Whether nothing else is asked than what the vector index knows to look for."""
        return self.since_ms is None and self.until_ms is None and not self.metadata


@dataclass(frozen=True, slots=True)
class Found:
    """One message found.

    Attributes:
        sequence: Its row.
        score: Higher is better; 1 is the best of the answer.
        near: Whether it holds no word of the question, only stands beside one that does.
        is_own: Whether it says itself whose it is, so that nobody else need be asked.
    """

    sequence: int
    score: float
    near: bool
    is_own: bool


def search(documents: Documents, question: str, conditions: Conditions) -> Iterator[Found]:
    """Yield messages that hold words of a question, or stand beside some, best first.

    Equal scores come newest first. Some of them may be out of sight by now, or of a thread of
    another resource: the caller looks at each.
    """
    import numpy as np

    words, named = telling_words(question)[:WORDS_MAX], dates_named(question)
    if not words:
        return
    stand = turns.turns_of(documents.connection, keep=not documents.writable)
    scope, wanted = _masks(documents, stand, conditions)
    messages = int(scope.sum())
    if not messages:
        return
    holding, guessed = _holding(documents, stand, words, scope)
    weights = [rarity(len(each), messages) for each in holding]
    if guessed:
        weights = [
            weight * (GUESS if each.tobytes() in guessed else 1)
            for each, weight in zip(holding, weights, strict=True)
        ]
    score, own = np.zeros(stand.size), np.zeros(stand.size)
    for positions, weight in zip(holding, weights, strict=True):
        own[positions] += weight
    if holding:
        _add_windows(stand, holding, weights, own, wanted, score)
    _add_dates(stand, named, scope, messages, score)
    found = np.flatnonzero(score)
    found = found[wanted[found] & scope[found]]
    asked = turns.speakers_called(documents.connection, words)
    if asked:
        score[found[np.isin(stand.speaker[found], asked)]] *= 1 + SPEAKER
    scale = float(score[found].max(initial=0.0)) or 1.0
    if len(guessed) == len(holding) > 0 and not named:
        scale /= GUESS
    nobody = turns.number_of(documents.connection, "resource", "")
    for at in _best_first(found, score, stand):
        yield Found(
            int(stand.sequence[at]),
            float(score[at]) / scale,
            near=not own[at],
            is_own=conditions.resource is None or int(stand.resource[at]) != nobody,
        )


def wanted_messages(documents: Documents, conditions: Conditions) -> tuple[list[int], int]:
    """Return the messages that satisfy conditions, by sequence, and of how many.

    Messages of threads of other resources may be among them, as in `search`.
    """
    stand = turns.turns_of(documents.connection, keep=not documents.writable)
    scope, wanted = _masks(documents, stand, conditions)
    found: list[int] = stand.sequence[scope & wanted].tolist()
    return found, int(scope.sum())


def _best_first(
    found: NDArray[Any], score: NDArray[Any], stand: turns.Turns
) -> Iterator[NDArray[Any]]:
    """Yield positions by score, equal ones newest first; sorted only as far as they are taken."""
    import numpy as np

    taken = _SORTED_FIRST
    while len(found):
        first = found
        if len(found) > taken:
            least = np.partition(score[found], len(found) - taken)[len(found) - taken]
            first, found = found[score[found] >= least], found[score[found] < least]
        else:
            found = found[:0]
        yield from first[np.lexsort((-stand.sequence[first], -score[first]))]
        taken *= 8


def _masks(
    documents: Documents, stand: turns.Turns, conditions: Conditions
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return which messages are the caller's to search, and which the conditions want."""
    import numpy as np

    connection = documents.connection
    scope = stand.alive.copy()
    if conditions.resource is not None:
        owner = turns.number_of(connection, "resource", conditions.resource)
        nobody = turns.number_of(connection, "resource", "")
        # A message without a resource of its own is its thread's, which is looked up later.
        scope &= (stand.resource == owner) | (stand.resource == nobody)
    if conditions.thread is not None:
        scope &= stand.thread == turns.number_of(connection, "thread", conditions.thread)
    wanted = np.ones(stand.size, dtype=bool)
    if conditions.role is not None:
        wanted &= stand.role == turns.number_of(connection, "role", conditions.role)
    if conditions.since_ms is not None:
        wanted &= stand.created >= conditions.since_ms
    if conditions.until_ms is not None:
        wanted &= stand.created < conditions.until_ms
    if conditions.metadata:
        described = np.zeros(stand.size, dtype=bool)
        described[stand.positions(_described(documents, conditions.metadata))] = True
        wanted &= described
    return scope, wanted


def _described(documents: Documents, metadata: Mapping[str, Any]) -> NDArray[Any]:
    """Return the messages that may have such metadata, and hardly any other."""
    import numpy as np

    # What is no JSON must not reach json_extract, which would fail.
    asked = ["instr(content, '\"metadata\"')", "json_valid(content)"]
    bound: list[Any] = []
    for name, value in metadata.items():
        if not _PATH_SAFE.fullmatch(name):
            continue
        bound.append(f'$.metadata."{name}"')
        if isinstance(value, str | bool) or (isinstance(value, int | float) and abs(value) < 2**53):
            asked.append("json_extract(content, ?) = ?")
            bound.append(value)
        else:
            asked.append("json_type(content, ?) IS NOT NULL")
    condition = "1"
    for each in reversed(asked):
        condition = f"CASE WHEN {each} THEN {condition} END"
    text = documents.connection.execute(
        f"SELECT group_concat(_sequence) FROM {MESSAGES.name} WHERE {condition}", bound
    ).fetchone()[0]
    return np.fromstring(text or "", dtype=np.int64, sep=",")


def _holding(
    documents: Documents, stand: turns.Turns, words: Sequence[str], scope: NDArray[Any]
) -> tuple[list[NDArray[Any]], set[bytes]]:
    """Return for each word the positions of the messages that hold it, the rarest words first.

    And which of them, as bytes, hold what a word that nobody wrote may have been meant to be.
    """
    holding: dict[bytes, NDArray[Any]] = {}
    unknown: list[str] = []
    for word in words:
        positions = _in_scope(stand, _postings(documents, f'"{word}"'), scope)
        if len(positions):
            # Words of one stem are one word.
            holding.setdefault(positions.tobytes(), positions)
        else:
            unknown.append(word)
    guessed: set[bytes] = set()
    for word in unknown[:GUESSED_MAX]:
        expression = " OR ".join(f'"{each}"' for each in misspelt(word))
        if expression:
            positions = _in_scope(stand, _postings(documents, expression), scope)
            key = positions.tobytes()
            if len(positions) and key not in holding:
                holding[key] = positions
                guessed.add(key)
    rarest = sorted(holding.values(), key=len)[:TERMS_MAX]
    return rarest, guessed


def _in_scope(stand: turns.Turns, sequences: NDArray[Any], scope: NDArray[Any]) -> NDArray[Any]:
    positions = stand.positions(sequences)
    within: NDArray[Any] = positions[scope[positions]]
    return within


def _postings(documents: Documents, expression: str) -> NDArray[Any]:
    import numpy as np

    # One text is read many times faster than as many rows.
    text = documents.connection.execute(
        "SELECT group_concat(rowid) FROM message_text WHERE message_text MATCH ?", (expression,)
    ).fetchone()[0]
    return np.fromstring(text or "", dtype=np.int64, sep=",")


def _add_windows(
    stand: turns.Turns,
    holding: Sequence[NDArray[Any]],
    weights: Sequence[float],
    own: NDArray[Any],
    wanted: NDArray[Any],
    score: NDArray[Any],
) -> None:
    import numpy as np

    holders = np.flatnonzero(own)
    if len(holders) > HOLDERS_MAX:
        # Those that are wanted themselves come first.
        rank = own[holders] + np.where(wanted[holders], own.max(), 0)
        holders = holders[np.argpartition(-rank, HOLDERS_MAX)[:HOLDERS_MAX]]
    holders = holders[np.argsort(stand.place[holders])]
    at = np.full(stand.size, -1)
    at[holders] = np.arange(len(holders))
    held = [at[positions][at[positions] >= 0] for positions in holding]
    window = window_scores(stand.place[holders], stand.asks[holders], held, weights)
    places = _stepped(stand, holders[window.holder], window.step)
    there = places >= 0
    score[places[there]] = window.score[there]


def _stepped(stand: turns.Turns, positions: NDArray[Any], steps: NDArray[Any]) -> NDArray[Any]:
    """Return the positions so many messages on, or back, in the conversation; -1 past its end."""
    import numpy as np

    positions = positions.copy()
    for count in range(1, int(np.abs(steps).max(initial=0)) + 1):
        onward, back = (steps >= count) & (positions >= 0), (steps <= -count) & (positions >= 0)
        positions[onward] = stand.after[positions[onward]]
        positions[back] = stand.before[positions[back]]
    return positions


# --- Dates


def _add_dates(
    stand: turns.Turns,
    named: Sequence[NamedDate],
    scope: NDArray[Any],
    messages: int,
    score: NDArray[Any],
) -> None:
    """Have messages of the days that the question names count more, and those soon after."""
    import numpy as np

    if not named:
        return
    day = stand.created // _DAY_MS
    known = day[scope & (stand.created > 0)]
    if not len(known):
        return
    years = range(_year_of(int(known.min())), _year_of(int(known.max())) + 1)
    share = np.zeros(stand.size)
    for each in named:
        for first, end in each.spans(years):
            begins, ends = _day_of(first), _day_of(end)
            late = LATE_DAYS if each.month is not None else 0
            share = np.maximum(
                share, np.where((day >= begins) & (day < ends + late), LATE_SHARE, 0)
            )
            share = np.maximum(share, (day >= begins) & (day < ends))
    share *= scope
    dated = int(np.count_nonzero(share))
    if dated:
        score += DATE * rarity(dated, messages) * share


def _day_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _year_of(day: int) -> int:
    return datetime.fromtimestamp(day * 86_400, UTC).year
