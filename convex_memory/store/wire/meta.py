"""`memory/meta:stats` over the storage function: how much there is."""

from __future__ import annotations

from convex_memory.arguments import Args
from convex_memory.errors import LimitExceeded
from convex_memory.store.storage import RESOURCES
from convex_memory.store.wire.rows import Row, Rows, at_once, scope_of
from convex_memory.values import Value

_INDEXES = "mastra_vector_indexes"


async def stats(rows: Rows, args: Args) -> Value:
    """Count what there is, of one resource or of all, by reading it.

    Vectors and cached keys are null: the one would be a read of all vectors, the other cannot be
    listed. There is no change feed, so there is no last change.
    """
    scope = scope_of(args)
    threads = await rows.threads(scope)
    answer: dict[str, Value] = {
        "threads": len(threads),
        "messages": await _messages(rows, scope, threads),
        "vectorIndexes": None,
        "vectors": None,
        "cacheKeys": None,
        "lastChange": None,
    }
    if scope is not None:
        found = await rows.storage.run("load", RESOURCES, keys={"id": scope})
        answer["resources"] = 0 if found is None else 1
    else:
        answer["resources"] = len(await rows.storage.rows(RESOURCES))
        answer["vectorIndexes"] = len(await rows.storage.rows(_INDEXES))
    return answer


async def _messages(rows: Rows, scope: str | None, threads: list[Row]) -> int:
    try:
        return len(await rows.messages_of(scope))
    except LimitExceeded:
        # Too many for one call: thread by thread, without those whose thread was never saved.
        async def of_thread(thread: Row) -> int:
            return len(await rows.in_scope(await rows.messages_in(thread["id"]), scope))

        return sum(await at_once(of_thread, threads))
