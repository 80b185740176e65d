"""What every tool is handed: the adapters, and whose memory it works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import Deployment
from convex_memory.indexing import EmbeddingRunner
from convex_memory.limits import RESTORABLE_MS_DEFAULT
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.recall import Recall
from convex_memory.store import ConvexStore
from convex_memory.text_vectors import TextVectors
from convex_memory.vector import ConvexVector


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
