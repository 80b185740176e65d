"""Storage operations that only threads and resources have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convex_memory.embedded.documents import Documents, Record
from convex_memory.embedded.functions.function import Args, TableOperation
from convex_memory.embedded.functions.metadata import merged
from convex_memory.embedded.tables import RESOURCES, THREADS
from convex_memory.values import Value


def update_thread(documents: Documents, args: Args) -> Value:
    """Set title and `updatedAt`, merge metadata; null when there is no such thread.

    A `title` or `metadata` that is absent is left as it is.
    """
    row = documents.first(THREADS, id=args.get("id"))
    if row is None:
        return {"ok": True, "result": None}
    changes: Record = {name: args[name] for name in ("title", "updatedAt") if name in args}
    if "metadata" in args:
        changes["metadata"] = merged(row.fields.get("metadata"), args["metadata"])
    return {"ok": True, "result": documents.doc(THREADS, documents.patch(THREADS, row, changes))}


def update_resource(documents: Documents, args: Args) -> Value:
    """Change a resource's working memory and metadata; create the resource when missing."""
    row = documents.first(RESOURCES, id=args.get("resourceId"))
    given = {name: args[name] for name in ("workingMemory", "metadata") if name in args}
    if row is None:
        record = {
            "id": args.get("resourceId"),
            **given,
            "metadata": given.get("metadata") or {},
            "createdAt": args.get("createdAt"),
            "updatedAt": args.get("updatedAt"),
        }
        documents.insert(RESOURCES, record)
        return {"ok": True, "result": record}
    if "metadata" in given:
        given["metadata"] = merged(row.fields.get("metadata"), given["metadata"])
    row = documents.patch(RESOURCES, row, {**given, "updatedAt": args.get("updatedAt")})
    return {"ok": True, "result": documents.doc(RESOURCES, row)}


OPERATIONS: Final[Mapping[str, TableOperation]] = {
    "updateThread": TableOperation(THREADS, update_thread),
    "updateResource": TableOperation(RESOURCES, update_resource),
}
