"""Where each message stands in its conversation, for ranking: small numbers, kept in memory.

One row of `message_turns` beside each message that is searched; threads, resources, roles and
speakers are numbers there, whose names are in `turn_names`. A search needs these of many
messages at once, so each connection keeps them as arrays and reads only what is new: rows of a
higher sequence, and those that `turn_changes` names.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from convex_memory.search_words import folded

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA: Final = (
    "CREATE TABLE turn_names (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE message_turns (sequence INTEGER PRIMARY KEY, thread INTEGER NOT NULL, "
    "resource INTEGER NOT NULL, role INTEGER NOT NULL, speaker INTEGER NOT NULL, "
    "asks INTEGER NOT NULL, created INTEGER NOT NULL)",
    "CREATE TABLE turn_changes (position INTEGER PRIMARY KEY AUTOINCREMENT, "
    "sequence INTEGER NOT NULL)",
)

CHANGES_KEPT: Final = 10_000
"""Changes that are kept; a connection further behind reads everything anew."""
_CHANGES_APPLIED_MAX: Final = 1_000
_SPREAD_MAX: Final = 8
"""Numbers a row of the table that finds positions may take."""
_SPEAKER_CHARS_MAX: Final = 64
_SPEAKER_MEMBERS: Final = ("speaker", "name", "author", "from")
"""Members of a message's metadata that say who speaks, first one first."""

_ASKS = re.compile(r"\?\W*(\[[^\]]*\]\s*)?$")
_PREFIX = re.compile(
    r"\s*(?:[\[(][^\])]{0,60}[\])]\s*)?([^\W\d_][\w.'-]{0,40}(?: [\w.'-]{1,40}){0,2}):\s"
)
"""`Ada Lovelace: …`, a time in brackets before it."""


def speaker_of(text: str, metadata: Any) -> str:
    """Return who speaks, as metadata or the beginning of the text says; empty if neither does."""
    if isinstance(metadata, Mapping):
        for name in _SPEAKER_MEMBERS:
            value = metadata.get(name)
            if isinstance(value, str) and value.strip():
                return value.strip()[:_SPEAKER_CHARS_MAX]
    found = _PREFIX.match(text)
    return found[1] if found else ""


def asks_something(text: str) -> bool:
    """Whether a text ends with a question."""
    return _ASKS.search(text[-400:]) is not None


def write(
    connection: sqlite3.Connection, sequence: int, fields: Mapping[str, Any], text: str, who: str
) -> None:
    """Note where a message stands; again, when it has changed."""
    newest = connection.execute("SELECT max(sequence) FROM message_turns").fetchone()[0]
    connection.execute(
        "INSERT OR REPLACE INTO message_turns VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            sequence,
            _number(connection, f"thread {fields['thread_id']}"),
            _number(connection, f"resource {fields.get('resourceId') or ''}"),
            _number(connection, f"role {fields['role']}"),
            _number(connection, f"speaker {folded(who)}"),
            asks_something(text),
            _milliseconds(fields["createdAt"]),
        ),
    )
    if newest is not None and sequence <= newest:
        changed(connection, sequence)


def remove(connection: sqlite3.Connection, sequence: int) -> None:
    """Forget a message that is not searched any more."""
    gone = connection.execute("DELETE FROM message_turns WHERE sequence = ?", (sequence,))
    if gone.rowcount:
        changed(connection, sequence)


def number_of(connection: sqlite3.Connection, kind: str, name: str) -> int:
    """Return the number of a thread, resource, role or speaker; -1 where there is none."""
    row = connection.execute(
        "SELECT number FROM turn_names WHERE name = ?", (f"{kind} {name}",)
    ).fetchone()
    return -1 if row is None else int(row[0])


def speakers_called(connection: sqlite3.Connection, names: Iterable[str]) -> list[int]:
    """Return the numbers of the speakers whose name is, or begins with, one of these words."""
    found: list[int] = []
    for name in names:
        begins = f"speaker {name}"
        # A space, which ends the word, sorts just before `!`.
        rows = connection.execute(
            "SELECT number FROM turn_names WHERE name = ? OR (name > ? AND name < ?)",
            (begins, f"{begins} ", f"{begins}!"),
        )
        found += [row[0] for row in rows]
    return found


def _number(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT number FROM turn_names WHERE name = ?", (name,)).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO turn_names (name) VALUES (?) RETURNING number", (name,)
        ).fetchone()
    return int(row[0])


def changed(connection: sqlite3.Connection, sequence: int) -> None:
    """Have every connection look again at a message it may have seen, or seen go."""
    position = connection.execute(
        "INSERT INTO turn_changes (sequence) VALUES (?) RETURNING position", (sequence,)
    ).fetchone()[0]
    if position % 100 == 0:
        connection.execute(
            "DELETE FROM turn_changes WHERE position <= ?", (position - CHANGES_KEPT,)
        )


def _milliseconds(created_at: Any) -> int:
    """Read a time; what is none, as other writers may have left it, is the beginning of time."""
    try:
        return int(datetime.fromisoformat(str(created_at)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0


class TurnsConnection(sqlite3.Connection):
    """A connection that keeps its turns from one transaction to the next."""

    turns: Turns | None = None


def turns_of(connection: sqlite3.Connection, *, keep: bool) -> Turns:
    """Return every message that is searched, as the connection's transaction sees it.

    Args:
        connection: The connection.
        keep: Whether they may be kept for its later transactions: never what this one wrote, for
            it may be rolled back.
    """
    if not keep or not isinstance(connection, TurnsConnection):
        turns = Turns()
        turns.follow(connection)
        return turns
    # Out of its place while it follows: what a failure leaves half done is not used again.
    kept, connection.turns = connection.turns or Turns(), None
    kept.follow(connection)
    connection.turns = kept
    return kept


_COLUMNS: Final = ("thread", "resource", "role", "speaker", "asks", "created")
_SELECT: Final = f"SELECT sequence, {', '.join(_COLUMNS)} FROM message_turns"


class Turns:
    """Every message that is searched, as one connection's snapshots show it.

    Attributes:
        sequence: Ascending.
        thread: Number of the thread. So are `resource` (that of no name where the message has
            none of its own), `role` and `speaker`.
        asks: Whether it ends with a question.
        created: When, in milliseconds since the epoch.
        place: Its place in its conversation, consecutive; far apart between conversations.
        before: Position of the message before it in its conversation, or -1.
        after: Position of the message after it, or -1.
        alive: Whether it is still there.
    """

    alive: NDArray[Any]
    _position: NDArray[Any]

    def __init__(self) -> None:
        self._seen = 0
        self._load([])

    @property
    def size(self) -> int:
        """How many positions there are, of messages that are gone too."""
        return len(self.sequence)

    def follow(self, connection: sqlite3.Connection) -> None:
        """Bring the arrays in step with the connection's snapshot."""
        last = connection.execute("SELECT coalesce(max(position), 0) FROM turn_changes").fetchone()
        newest = int(self.sequence[-1]) if self.size else 0
        in_step = last[0] == self._seen or self._apply_changes(connection, last[0], newest)
        if not in_step or not self._append_newer(connection, newest):
            self._load(connection.execute(f"{_SELECT} ORDER BY sequence"))
        self._seen = last[0]

    def positions(self, sequences: NDArray[Any]) -> NDArray[Any]:
        """Return the positions of sequences, those that are there only."""
        import numpy as np

        at: NDArray[Any] = np.empty(0, dtype=np.int64)
        if not self.size:
            return at
        first, newest = int(self.sequence[0]), int(self.sequence[-1])
        if newest - first >= _SPREAD_MAX * self.size:
            at = np.minimum(np.searchsorted(self.sequence, sequences), self.size - 1)
            at = at[self.sequence[at] == sequences]
            return self._alive_of(at)
        # Sequences stand close together: looked up in a table, many times faster than searched.
        if len(self._position) != newest - first + 1:
            self._position = np.full(newest - first + 1, -1, dtype=np.int64)
            self._position[self.sequence - first] = np.arange(self.size)
        at = self._position[sequences[(sequences >= first) & (sequences <= newest)] - first]
        return self._alive_of(at[at >= 0])

    def _alive_of(self, positions: NDArray[Any]) -> NDArray[Any]:
        alive: NDArray[Any] = positions[self.alive[positions]]
        return alive

    # --- Loading

    def _load(self, rows: Iterable[Any]) -> None:
        import numpy as np

        # One number after another: as tuples, 100,000 rows take twice the time.
        numbers = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        table = numbers.reshape(-1, 1 + len(_COLUMNS))
        self._take(table)
        self._position = np.empty(0, dtype=np.int64)
        self.alive = np.ones(len(table), dtype=bool)
        # By time, as a conversation is read; by sequence where times are equal.
        order = np.lexsort((self.sequence, self.created, self.thread))
        threads = self.thread[order]
        is_first = np.diff(threads, prepend=-1) != 0
        first = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
        self.place = np.empty(len(table), dtype=np.int64)
        self.place[order] = (threads << 32) + np.arange(len(order)) - first
        self.before = np.full(len(table), -1, dtype=np.int64)
        self.after = np.full(len(table), -1, dtype=np.int64)
        joined = np.flatnonzero(~is_first)
        self.before[order[joined]] = order[joined - 1]
        self.after[order[joined - 1]] = order[joined]
        is_last = np.append(is_first[1:], True)[: len(order)]
        self._last = dict(zip(threads[is_last].tolist(), order[is_last].tolist(), strict=True))

    def _take(self, table: NDArray[Any]) -> None:
        self.sequence = table[:, 0].copy()
        self.thread, self.resource, self.role, self.speaker, asks, self.created = (
            table[:, 1 + at].copy() for at in range(len(_COLUMNS))
        )
        self.asks = asks.astype(bool)

    def _append_newer(self, connection: sqlite3.Connection, newest: int) -> bool:
        """Add newer messages; False when one of them is not the last of its conversation."""
        import numpy as np

        rows = connection.execute(
            f"{_SELECT} WHERE sequence > ? ORDER BY sequence", (newest,)
        ).fetchall()
        if not rows:
            return True
        start = self.size
        before: list[int] = []
        places: list[int] = []
        for position, row in enumerate(rows, start):
            thread, created = row[1], row[6]
            at = self._last.get(thread, -1)
            if at < 0:
                place = thread << 32
            elif at < start:
                place, last_created = int(self.place[at]) + 1, int(self.created[at])
            else:
                place, last_created = places[at - start] + 1, rows[at - start][6]
            if at >= 0 and created < last_created:
                return False
            before.append(at)
            places.append(place)
            self._last[thread] = position
        table = np.asarray(rows, dtype=np.int64)
        for at, name in enumerate(("sequence", *_COLUMNS)):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, table[:, at].astype(column.dtype)]))
        self.place = np.concatenate([self.place, np.asarray(places, dtype=np.int64)])
        self.before = np.concatenate([self.before, np.asarray(before, dtype=np.int64)])
        self.after = np.concatenate([self.after, np.full(len(rows), -1, dtype=np.int64)])
        self.alive = np.concatenate([self.alive, np.ones(len(rows), dtype=bool)])
        for position, at in enumerate(before, start):
            if at >= 0:
                self.after[at] = position
        return True

    def _apply_changes(self, connection: sqlite3.Connection, last: int, newest: int) -> bool:
        """Take over changes of messages up to `newest`; False when that is not enough."""
        if last - self._seen > _CHANGES_APPLIED_MAX:
            return False
        import numpy as np

        oldest = connection.execute("SELECT min(position) FROM turn_changes").fetchone()[0]
        if oldest > self._seen + 1:
            return False
        changed = connection.execute(
            "SELECT DISTINCT sequence FROM turn_changes WHERE position > ? AND sequence <= ?",
            (self._seen, newest),
        ).fetchall()
        for (sequence,) in changed:
            row = connection.execute(f"{_SELECT} WHERE sequence = ?", (sequence,)).fetchone()
            at = int(np.searchsorted(self.sequence, sequence))
            is_known = self.sequence[at] == sequence
            if row is None:
                self.alive[at] = self.alive[at] and not is_known
            elif is_known and (row[1], row[6]) == (self.thread[at], self.created[at]):
                self.alive[at] = True
                self.resource[at], self.role[at], self.speaker[at], self.asks[at] = row[2:6]
            else:
                # It came back, or went elsewhere: places have to be counted anew.
                return False
        return True
