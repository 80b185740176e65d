"""The indexes of one database that were searched, shared by all its connections."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convex_memory.embedded.vector_index.following import FollowedIndex
    from convex_memory.embedded.vector_index.scope import Scope


class VectorIndexes:
    """The indexes of one database, each made when it is first searched."""

    def __init__(self) -> None:
        self._followed: dict[tuple[str, str], FollowedIndex] = {}
        self._lock = threading.Lock()

    def of(self, scope: Scope) -> FollowedIndex:
        """Return the index of a scope."""
        # Imported on first use: it needs numpy, and most calls search no vectors.
        from convex_memory.embedded.vector_index.following import FollowedIndex

        key = (scope.table.name, scope.name)
        with self._lock:
            return self._followed.setdefault(key, FollowedIndex())

    def finish(self) -> None:
        """Wait for what is being written beside the work."""
        with self._lock:
            followed = list(self._followed.values())
        for each in followed:
            each.finish()
