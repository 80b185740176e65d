"""What every tool is handed: the adapters, and whose memory it works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convex_memory.cache import ConvexServerCache
from convex_memory.deployment import Deployment
from convex_memory.native_vector import ConvexNativeVector, NativeIndex
from convex_memory.recall import Recall
from convex_memory.store import ConvexStore
from convex_memory.vector import ConvexVector


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters over one deployment.

    Attributes:
        resource_id: The resource whose threads, messages and working memory are seen.
        native_indexes: Indexes that stand in the deployment's schema, by name.
    """

    deployment: Deployment
    resource_id: str
    store: ConvexStore
    recall: Recall
    vector: ConvexVector
    native_vector: ConvexNativeVector
    native_indexes: Mapping[str, NativeIndex]
    cache: ConvexServerCache
