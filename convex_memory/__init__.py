"""Convex Memory, the library: adapters over the functions of a deployment.

    from convex_memory import ConvexStore, EmbeddedDeployment

    async with EmbeddedDeployment("memory-folder") as deployment:
        store = ConvexStore(deployment)

Names are loaded when they are first used: importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

# Type checkers know the name; loading `typing` would cost more than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from convex_memory.cache import ConvexServerCache
    from convex_memory.deployment import Deployment, Kind
    from convex_memory.embedded import EmbeddedDeployment
    from convex_memory.embedders import Embedder, Embeddings, open_embedder
    from convex_memory.embeddings import IndexDescription, VectorMatch, VectorMatches
    from convex_memory.errors import (
        ConfigurationError,
        Conflict,
        ConvexMemoryError,
        DeploymentError,
        DeploymentTimeout,
        DimensionMismatch,
        EmbedderError,
        EmbedderRefused,
        EmbedderUnavailable,
        EmbedderUnreachable,
        Forbidden,
        FunctionError,
        FunctionNotDeployed,
        InvalidArgument,
        InvalidResponse,
        LimitExceeded,
        NotFound,
        Overloaded,
        StorageFailed,
        Unauthorized,
        Unreachable,
    )
    from convex_memory.native_index import NativeIndex
    from convex_memory.native_vector import ConvexNativeVector
    from convex_memory.recall import Recall, Recalled, RecalledMessage
    from convex_memory.records import Message, Resource, Thread
    from convex_memory.remote import RemoteDeployment
    from convex_memory.scoped import ScopedDeployment
    from convex_memory.store import ConvexStore
    from convex_memory.values import Value
    from convex_memory.vector import ConvexVector

_HOMES = {
    "cache": ("ConvexServerCache",),
    "deployment": ("Deployment", "Kind"),
    "embedded": ("EmbeddedDeployment",),
    "embedders": ("Embedder", "Embeddings", "open_embedder"),
    "embeddings": ("IndexDescription", "VectorMatch", "VectorMatches"),
    "errors": (
        "ConfigurationError",
        "Conflict",
        "ConvexMemoryError",
        "DeploymentError",
        "DeploymentTimeout",
        "DimensionMismatch",
        "EmbedderError",
        "EmbedderRefused",
        "EmbedderUnavailable",
        "EmbedderUnreachable",
        "Forbidden",
        "FunctionError",
        "FunctionNotDeployed",
        "InvalidArgument",
        "InvalidResponse",
        "LimitExceeded",
        "NotFound",
        "Overloaded",
        "StorageFailed",
        "Unauthorized",
        "Unreachable",
    ),
    "native_index": ("NativeIndex",),
    "native_vector": ("ConvexNativeVector",),
    "recall": ("Recall", "Recalled", "RecalledMessage"),
    "records": ("Message", "Resource", "Thread"),
    "remote": ("RemoteDeployment",),
    "scoped": ("ScopedDeployment",),
    "store": ("ConvexStore",),
    "values": ("Value",),
    "vector": ("ConvexVector",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    # Deployments
    "Deployment",
    "EmbeddedDeployment",
    "Kind",
    "RemoteDeployment",
    "ScopedDeployment",
    "Value",
    # Adapters
    "ConvexNativeVector",
    "ConvexServerCache",
    "ConvexStore",
    "ConvexVector",
    "NativeIndex",
    "Recall",
    # Embedders
    "Embedder",
    "Embeddings",
    "open_embedder",
    # What they take and give
    "IndexDescription",
    "Message",
    "Recalled",
    "RecalledMessage",
    "Resource",
    "Thread",
    "VectorMatch",
    "VectorMatches",
    # Errors
    "ConfigurationError",
    "Conflict",
    "ConvexMemoryError",
    "DeploymentError",
    "DeploymentTimeout",
    "DimensionMismatch",
    "EmbedderError",
    "EmbedderRefused",
    "EmbedderUnavailable",
    "EmbedderUnreachable",
    "Forbidden",
    "FunctionError",
    "FunctionNotDeployed",
    "InvalidArgument",
    "InvalidResponse",
    "LimitExceeded",
    "NotFound",
    "Overloaded",
    "StorageFailed",
    "Unauthorized",
    "Unreachable",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
