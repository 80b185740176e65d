"""Calls that change nothing, whoever makes them: what `doctor` tries the functions with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from convex_memory.deployment import (
    CACHE_FUNCTION,
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    STORAGE_FUNCTION,
    Kind,
)
from convex_memory.values import Value
from server.settings import Settings

ABSENT_ID: Final = "convex-memory-doctor"
"""An id, key and filter value that nothing stored has."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One such call.

    Args:
        kind: How the function is declared.
        path: Where it is.
        args: What it is called with.
        power: What those who may call the function can do.
        setting: The environment variable that names the path.
    """

    kind: Kind
    path: str
    args: Mapping[str, Value]
    power: str = "use it"
    setting: str = ""


def configured(settings: Settings) -> tuple[Probe, ...]:
    """Return the functions of the wire protocol where the settings have them.

    They are storage, cache, and the vector action, query and mutation, in this order.
    """
    return (
        _storage(settings.storage_function),
        _cache(settings.cache_function, settings.cache_prefix),
        *_native(
            settings.native_vector_action,
            settings.native_vector_query,
            settings.native_vector_mutation,
        ),
    )


def standard(settings: Settings) -> tuple[Probe, ...]:
    """Return the same functions where they are if nobody says otherwise."""
    return (
        _storage(STORAGE_FUNCTION),
        _cache(CACHE_FUNCTION, settings.cache_prefix),
        *_native(NATIVE_VECTOR_ACTION, NATIVE_VECTOR_QUERY, NATIVE_VECTOR_MUTATION),
    )


def ours() -> tuple[Probe, ...]:
    """Return every function of `memory/`, called with nothing."""
    from convex_memory.embedded.functions import FUNCTIONS

    return tuple(
        Probe(function.kind, path, {})
        for path, function in FUNCTIONS.items()
        if path.startswith("memory/")
    )


def _storage(path: str) -> Probe:
    return Probe(
        "mutation",
        path,
        {"op": "load", "tableName": "mastra_threads", "keys": {"id": ABSENT_ID}},
        "read, change and delete every thread, message and working memory",
        "CONVEX_STORAGE_FUNCTION",
    )


def _cache(path: str, prefix: str) -> Probe:
    return Probe(
        "mutation",
        path,
        {"op": "get", "key": f"{prefix}{ABSENT_ID}"},
        "read, change and delete everything in the cache",
        "CONVEX_CACHE_FUNCTION",
    )


def _native(action: str, query: str, mutation: str) -> tuple[Probe, ...]:
    config = {"tableName": "convex_memory_doctor", "vectorIndexName": "by_embedding"}
    ids: list[Value] = []
    return (
        Probe(
            "action",
            action,
            {"config": config, "vector": [1.0, 0.0], "limit": 1},
            "search every vector index",
            "CONVEX_NATIVE_VECTOR_ACTION",
        ),
        Probe(
            "query",
            query,
            {"op": "getByConvexIds", "config": config, "ids": ids},
            "read rows of any table",
            "CONVEX_NATIVE_VECTOR_QUERY",
        ),
        Probe(
            "mutation",
            mutation,
            {"op": "deleteByIds", "config": config, "ids": ids},
            "change and delete rows of any table",
            "CONVEX_NATIVE_VECTOR_MUTATION",
        ),
    )
