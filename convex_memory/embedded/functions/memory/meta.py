"""`memory/meta:*`: what this deployment is and how much it holds."""

from __future__ import annotations

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import Args, allow_only
from convex_memory.embedded.functions.memory.rows import scope_of
from convex_memory.embedded.tables import (
    CACHE,
    MESSAGES,
    RESOURCES,
    THREADS,
    VECTOR_INDEXES,
    VECTORS,
)
from convex_memory.values import Value

FUNCTIONS_VERSION = "1"
"""Raised when a `memory/*` function changes in a way that callers must know."""


def stats(documents: Documents, args: Args) -> Value:
    """Count what there is, of one resource or of all."""
    allow_only(args, "resourceId")
    scope = scope_of(args)
    if scope is not None:
        return {
            "threads": documents.count(THREADS, {"resourceId": scope}),
            "messages": documents.count(MESSAGES, {"resourceId": scope}),
            "resources": documents.count(RESOURCES, {"id": scope}),
            "vectorIndexes": None,
            "vectors": None,
            "cacheKeys": None,
            "lastChange": None,
        }
    last = documents.connection.execute("SELECT max(sequence) FROM changes").fetchone()[0]
    return {
        "threads": documents.count(THREADS, {}),
        "messages": documents.count(MESSAGES, {}),
        "resources": documents.count(RESOURCES, {}),
        "vectorIndexes": documents.count(VECTOR_INDEXES, {}),
        "vectors": documents.count(VECTORS, {}),
        "cacheKeys": documents.count(CACHE, {}),
        "lastChange": last or 0,
    }
