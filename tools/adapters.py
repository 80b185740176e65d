"""What every tool is handed: the adapters, and whose memory it works on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import Deployment
from convex_memory.indexing import EmbeddingRunner
from convex_memory.limits import RESTORABLE_MS_DEFAULT
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.recall import Recall
from convex_memory.store import ConvexStore
from convex_memory.text_vectors import TextVectors
from convex_memory.vector import ConvexVector

_IDS: Final = uuid.UUID("6b1f0b5e-6c0a-4d55-9d0c-7a3f6d3f0f11")
"""The namespace of ids that repeat themselves when a call does."""


def new_id() -> str:
    """Return an id that nobody has."""
    return str(uuid.uuid4())


def ids_of(call: str) -> Callable[[], str]:
    """Return what makes the ids of one call: the same ones, in the same order, when it is repeated.

    Args:
        call: What tells this call from every other.
    """
    numbers = count()
    return lambda: str(uuid.uuid5(_IDS, f"{call}/{next(numbers)}"))


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters over one deployment.

    Attributes:
        resource_id: The resource whose threads, messages and working memory are seen.
        native_indexes: Indexes that stand in the deployment's schema, by name.
        indexing: What embeds messages, in the background, and questions; None when it is off.
        text_vectors: Indexes of texts; None when there is no embedder.
        restorable_ms: How long what is deleted can be restored, in milliseconds; 0 deletes it
            for good at once.
        new_id: Makes the ids that a caller left out.
    """

    deployment: Deployment
    resource_id: str
    store: ConvexStore
    recall: Recall
    vector: ConvexVector
    native_vector: ConvexNativeVector
    native_indexes: Mapping[str, NativeIndex]
    cache: ConvexServerCache
    indexing: EmbeddingRunner | None = None
    text_vectors: TextVectors | None = None
    restorable_ms: int = RESTORABLE_MS_DEFAULT
    new_id: Callable[[], str] = new_id
