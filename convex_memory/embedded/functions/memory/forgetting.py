"""`memory/forgetting:*`, and what becomes of deleted messages."""

from __future__ import annotations

from convex_memory.embedded import forgetting
from convex_memory.embedded.documents import Documents, Row
from convex_memory.embedded.forgetting import Discarded
from convex_memory.embedded.functions.function import Args, allow_only
from convex_memory.embedded.functions.mastra import cache
from convex_memory.embedded.functions.memory.rows import find_thread, is_removed, removed_upto
from convex_memory.embedded.functions.memory.threads import begin_removal, finish_removal
from convex_memory.embedded.tables import MESSAGES, THREADS
from convex_memory.values import Value


def sweep(documents: Documents, args: Args) -> Value:
    """Delete a batch of what is due; say whether there was any.

    What has expired is gone before any function runs; what is left is the trash, and cached keys
    that nobody touches any more.
    """
    allow_only(args)
    documents.will_write()
    purged = forgetting.purge(documents)
    return {"hasMore": cache.sweep(documents) or purged}


def expire(documents: Documents) -> None:
    """Delete what has expired. Runs before every function, so that none sees it."""
    for table, record_id in forgetting.due(documents):
        documents.will_write()
        row = documents.first(table, id=record_id)
        if row is None:
            forgetting.set_expiry(documents.connection, table, record_id, None)
        elif table is MESSAGES:
            documents.delete(table, row)
        else:
            begin_removal(documents, row, None)
            # All of it: vectors are searched by whoever knows their index, without a look here.
            finish_removal(documents, record_id)


# --- Deleted messages


def owner_of(documents: Documents, message: Row) -> str:
    """Return the resource a message belongs to: its own, else that of its thread, else none."""
    own = message.fields.get("resourceId")
    if own is None:
        thread = documents.first(THREADS, id=message.fields["thread_id"])
        own = "" if thread is None else thread.fields["resourceId"]
    return str(own)


def drop_discarded(
    documents: Documents, message_id: str, thread_id: str | None, scope: str | None
) -> bool:
    """Delete a message for good that can be restored; say whether there was one."""
    item = forgetting.discarded(documents, MESSAGES, message_id, scope)
    if item is None or thread_id not in (None, item.fields["thread_id"]):
        return False
    forgetting.drop(documents, item)
    return True


def may_come_back(documents: Documents, item: Discarded, scope: str | None) -> bool:
    """Whether a deleted message can be put back: its thread is there, and its id still free.

    What stands in its way of a thread that was removed is removed.
    """
    thread_id = item.fields["thread_id"]
    if find_thread(documents, thread_id, scope or item.owner or None) is None:
        return False
    if item.with_thread and forgetting.discarded(documents, THREADS, thread_id, item.owner):
        return False
    stored = documents.first(MESSAGES, id=item.fields["id"])
    if stored is not None:
        if not is_removed(documents, stored):
            return False
        forgetting.take_away(documents, stored)
    if item.sequence <= removed_upto(documents, thread_id):
        # Else it would be removed again, with the messages of an earlier thread of this id.
        finish_removal(documents, thread_id)
    return True
