"""Arrays that grow at their end while readers hold earlier views of them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


class Growing(Generic[_Scalar]):
    """An array with room at its end.

    A view never changes: what is appended later lies beyond it, or in another array.

    Args:
        first: What it begins with; not copied, and never written to.
        room: How many values are expected; so many need no copying as it grows.
    """

    __slots__ = ("_held", "_own", "size")

    def __init__(self, first: NDArray[_Scalar], room: int = 0) -> None:
        self._held = first
        self._own = False
        self.size = len(first)
        if room > self.size:
            self._take(room)

    def append(self, values: NDArray[Any]) -> None:
        """Add values at the end."""
        size = self.size + len(values)
        if not self._own or size > len(self._held):
            self._take(size + size // 2 + 64)
        self._held[self.size : size] = values
        self.size = size

    def _take(self, room: int) -> None:
        held = np.empty((room, *self._held.shape[1:]), self._held.dtype)
        held[: self.size] = self._held[: self.size]
        self._held, self._own = held, True

    def view(self) -> NDArray[_Scalar]:
        """Return what it holds now."""
        return self._held[: self.size]
