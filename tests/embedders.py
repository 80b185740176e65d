"""An embedder for tests: words are directions, a few pairs of words mean the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from convex_memory.embedders import Embeddings
from convex_memory.errors import EmbedderError

DIMENSION: Final = 64
SAME: Final = {"feline": "cat", "automobile": "car", "physician": "doctor"}


class WordEmbedder:
    """Sums a fixed random direction per word.

    Attributes:
        id: As given.
        embedded: Every text it was asked to embed, in order.
        failure: Raised by the next call, once.
    """

    def __init__(self, id: str = "words", dimension: int = DIMENSION) -> None:
        self.id = id
        self.dimension: int | None = dimension
        self.embedded: list[str] = []
        self.failure: EmbedderError | None = None
        self._dimension = dimension

    def why_unavailable(self) -> str | None:
        return None

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.embedded += texts
        return Embeddings(np.stack([self._vector(text) for text in texts]))

    async def aclose(self) -> None:
        pass

    def _vector(self, text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        total = np.zeros(self._dimension)
        for word in re.findall(r"\w+", text.lower()):
            seed = hashlib.sha256(f"{self.id} {SAME.get(word, word)}".encode()).digest()
            total += np.random.default_rng(int.from_bytes(seed[:8], "big")).normal(
                size=self._dimension
            )
        norm = np.linalg.norm(total)
        unit = total / norm if norm else np.eye(1, self._dimension)[0]
        return unit.astype(np.float32)
