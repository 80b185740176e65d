"""`memory/working:*`: the working memory of a resource, or of one thread.

It stands where Mastra keeps it: in the resource's `workingMemory`, or in the thread's metadata
under that name. Reading, changing and writing it is one transaction.
"""

from __future__ import annotations

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    choice_argument,
    text_argument,
)
from convex_memory.embedded.functions.memory.rows import (
    now_iso,
    thread_named,
)
from convex_memory.embedded.functions.metadata import as_object, merged_without_nulls
from convex_memory.embedded.tables import RESOURCES, THREADS
from convex_memory.errors import InvalidArgument
from convex_memory.values import Value
from convex_memory.working_memory import changed_text


def get(documents: Documents, args: Args) -> Value:
    """Return the working memory, or null where there is none yet."""
    allow_only(args, "resourceId", "threadId")
    text, updated_at = _stored(documents, args)
    return {"workingMemory": text, "updatedAt": updated_at}


def update(documents: Documents, args: Args) -> Value:
    """Replace, extend or merge the working memory."""
    allow_only(args, "resourceId", "threadId", "text", "mode", "now")
    given = args.get("text")
    if not isinstance(given, str):
        raise InvalidArgument("text must be text.")
    mode = choice_argument(args, "mode", ("replace", "append", "merge"))
    stored, _ = _stored(documents, args)
    text = changed_text(stored, given, mode)
    now = now_iso(documents, args)
    if args.get("threadId") is not None:
        thread = thread_named(documents, args)
        metadata = merged_without_nulls(thread.fields.get("metadata"), {"workingMemory": text})
        documents.patch(THREADS, thread, {"metadata": metadata, "updatedAt": now})
    else:
        resource_id = text_argument(args, "resourceId")
        row = documents.first(RESOURCES, id=resource_id)
        if row is None:
            documents.insert(
                RESOURCES,
                {
                    "id": resource_id,
                    "workingMemory": text,
                    "metadata": {},
                    "createdAt": now,
                    "updatedAt": now,
                },
            )
        else:
            documents.patch(RESOURCES, row, {"workingMemory": text, "updatedAt": now})
    return {"workingMemory": text, "updatedAt": now}


def _stored(documents: Documents, args: Args) -> tuple[str | None, str | None]:
    resource_id = text_argument(args, "resourceId")
    if args.get("threadId") is not None:
        fields = thread_named(documents, args).fields
        text = as_object(fields.get("metadata")).get("workingMemory")
        return (text if isinstance(text, str) else None), fields["updatedAt"]
    row = documents.first(RESOURCES, id=resource_id)
    if row is None:
        return None, None
    return row.fields.get("workingMemory"), row.fields["updatedAt"]
