"""What is noted of rows, where they go to a deployment that notes less."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from convex_memory.moving.export_file import RowLine

EXPIRIES: Final = ("expiresAt", "threadExpiresAt")

_CONSEQUENCES: Final = (
    (
        ("expiresAt", "threadExpiresAt"),
        "{count:,} messages and threads were to expire. This deployment does not let them expire: "
        "delete them yourself.",
    ),
    (
        ("supersededBy",),
        "{count:,} messages were superseded by others. This deployment finds both.",
    ),
    (
        ("embedder", "text"),
        "{count:,} vectors and indexes of them were made of texts. This deployment does not embed "
        "texts: search these indexes with vectors of the same embedder.",
    ),
)


class NotesFilter:
    """Leaves out of rows what a deployment cannot note, and rows that it would let live on.

    Args:
        known: What the deployment can note.
        now_ms: Milliseconds since the epoch; what has expired by then is left out.
    """

    def __init__(self, known: Iterable[str], now_ms: float) -> None:
        self._known = frozenset(known)
        self._now_ms = now_ms
        self._left_out: Counter[tuple[str, ...]] = Counter()

    def passed(self, row: RowLine) -> RowLine | None:
        """Return a row as the deployment can have it, or None when it has expired.

        Raises:
            ValueError: Its notes are no JSON object.
        """
        if row.notes is None:
            return row
        notes: Any = json.loads(row.notes)
        if not isinstance(notes, dict):
            raise ValueError("Notes are an object.")
        left_out = notes.keys() - self._known
        if not left_out:
            return row
        if any(notes.get(name, self._now_ms + 1) <= self._now_ms for name in EXPIRIES):
            return None
        for names, _ in _CONSEQUENCES:
            self._left_out[names] += not left_out.isdisjoint(names)
        kept = {name: value for name, value in notes.items() if name in self._known}
        return row._replace(notes=json.dumps(kept) if kept else None)

    def warnings(self) -> list[str]:
        """Return what was left out, as sentences."""
        return [
            told.format(count=self._left_out[names])
            for names, told in _CONSEQUENCES
            if self._left_out[names]
        ]
