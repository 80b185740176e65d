"""Every function of the embedded deployment, by path. `convex/` has the same, file for file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convex_memory.deployment import (
    CACHE_FUNCTION,
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    STORAGE_FUNCTION,
)
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import (
    Args,
    Function,
    action,
    allow_only,
    always,
    mutation,
    query,
)
from convex_memory.embedded.functions.mastra import cache, native_vector, storage
from convex_memory.embedded.functions.memory import (
    changes,
    embeddings,
    forgetting,
    messages,
    meta,
    principal,
    schedules,
    search,
    threads,
    transfer,
    vectors,
    working,
)
from convex_memory.values import Value


def _version(documents: Documents, args: Args) -> Value:
    """Tell which of our functions this deployment has."""
    allow_only(args)
    return {
        "version": meta.FUNCTIONS_VERSION,
        "functions": sorted(path for path in FUNCTIONS if path.startswith("memory/")),
    }


FUNCTIONS: Final[Mapping[str, Function]] = {
    STORAGE_FUNCTION: mutation(storage.handle, storage.reads, small=storage.loads),
    CACHE_FUNCTION: mutation(cache.handle, cache.reads, small=always),
    NATIVE_VECTOR_ACTION: action(native_vector.query),
    NATIVE_VECTOR_QUERY: query(native_vector.read),
    NATIVE_VECTOR_MUTATION: mutation(native_vector.write),
    "memory/meta:version": query(_version, small=always),
    "memory/meta:stats": query(meta.stats),
    "memory/principal:query": principal.gate("query", lambda: FUNCTIONS),
    "memory/principal:mutation": principal.gate("mutation", lambda: FUNCTIONS),
    "memory/principal:action": principal.gate("action", lambda: FUNCTIONS),
    "memory/messages:save": mutation(messages.save),
    "memory/messages:page": query(messages.page, small=always),
    "memory/messages:around": query(messages.around, small=always),
    "memory/messages:get": query(messages.get, small=always),
    "memory/messages:update": mutation(messages.update),
    "memory/messages:remove": mutation(messages.remove),
    "memory/messages:restore": mutation(messages.restore),
    "memory/threads:get": query(threads.get, small=always),
    "memory/threads:list": query(threads.list_page, small=always),
    "memory/threads:update": mutation(threads.update),
    "memory/threads:remove": mutation(threads.remove),
    "memory/threads:restore": mutation(threads.restore),
    "memory/threads:clone": mutation(threads.clone),
    "memory/search:messages": query(search.messages),
    "memory/search:semantic": action(search.semantic),
    "memory/working:get": query(working.get, small=always),
    "memory/working:update": mutation(working.update),
    "memory/vectors:search": action(vectors.search),
    "memory/vectors:upsert": mutation(vectors.upsert),
    "memory/vectors:update": mutation(vectors.update),
    "memory/vectors:remove": mutation(vectors.remove),
    "memory/vectors:createIndex": mutation(vectors.create_index),
    "memory/vectors:deleteIndex": mutation(vectors.delete_index),
    "memory/vectors:describe": query(vectors.describe),
    "memory/vectors:list": query(vectors.list_indexes),
    "memory/embeddings:begin": mutation(embeddings.begin),
    "memory/embeddings:status": query(embeddings.status),
    "memory/embeddings:claim": mutation(embeddings.claim),
    "memory/embeddings:store": mutation(embeddings.store),
    "memory/embeddings:release": mutation(embeddings.release),
    "memory/embeddings:reembed": mutation(embeddings.reembed),
    "memory/forgetting:sweep": mutation(forgetting.sweep),
    "memory/schedules:claim": mutation(schedules.claim),
    "memory/changes:list": query(changes.list_after, small=always),
    "memory/transfer:tables": query(transfer.tables),
    "memory/transfer:page": query(transfer.page),
    "memory/transfer:restore": mutation(transfer.restore, transfer.changes_nothing),
}
"""Function path → function."""
