"""`memory/working:*` over the storage function: the working memory of a resource or a thread.

It stands where Mastra keeps it: in the resource's `workingMemory`, or in the thread's metadata
under that name. Reading and writing it are two calls, so `append` and `merge` lose what another
process writes in between.
"""

from __future__ import annotations

from convex_memory.arguments import Args, choice_argument, text_argument
from convex_memory.errors import InvalidArgument
from convex_memory.records import Thread
from convex_memory.store.fields import row_in
from convex_memory.store.storage import RESOURCES
from convex_memory.store.wire.rows import Row, Rows
from convex_memory.store.wire.threads import changed
from convex_memory.values import Value
from convex_memory.working_memory import changed_text


async def get(rows: Rows, args: Args) -> Value:
    """Return the working memory, or null where there is none yet."""
    text, row = await _stored(rows, args)
    return {"workingMemory": text, "updatedAt": None if row is None else row.get("updatedAt")}


async def update(rows: Rows, args: Args) -> Value:
    """Replace, extend or merge the working memory; of a resource, `replace` is one call."""
    given = args.get("text")
    if not isinstance(given, str):
        raise InvalidArgument("text must be text.")
    mode = choice_argument(args, "mode", ("replace", "append", "merge"))
    now = text_argument(args, "now")
    stored, thread = None, None
    if mode != "replace" or args.get("threadId") is not None:
        stored, thread = await _stored(rows, args)
    text = changed_text(stored, given, mode)
    if args.get("threadId") is not None and thread is not None:
        await changed(rows, thread, None, {"workingMemory": text}, args)
    else:
        await rows.storage.run(
            "updateResource",
            RESOURCES,
            resourceId=text_argument(args, "resourceId"),
            workingMemory=text,
            createdAt=now,
            updatedAt=now,
        )
    return {"workingMemory": text, "updatedAt": now}


async def _stored(rows: Rows, args: Args) -> tuple[str | None, Row | None]:
    """Return the text, and the row of the thread or resource that keeps it."""
    resource_id = text_argument(args, "resourceId")
    if args.get("threadId") is not None:
        thread = await rows.thread_named(args)
        text = Thread.from_row(thread).metadata.get("workingMemory")
        return (text if isinstance(text, str) else None), thread
    found = await rows.storage.run("load", RESOURCES, keys={"id": resource_id})
    if found is None:
        return None, None
    row = row_in(found, "resource")
    text = row.get("workingMemory")
    return (text if isinstance(text, str) else None), row
