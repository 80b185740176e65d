"""`memory/threads:*`: get, list, update, remove and clone threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from convex_memory.embedded import forgetting
from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.forgetting import Discarded
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    choice_argument,
    text_argument,
    time_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import (
    find_thread,
    is_removed,
    now_iso,
    read_cursor,
    removed_upto,
    scope_of,
    thread_named,
    write_cursor,
)
from convex_memory.embedded.functions.metadata import merged_without_nulls
from convex_memory.embedded.tables import MESSAGES, THREADS
from convex_memory.errors import Conflict, InvalidArgument, LimitExceeded
from convex_memory.limits import CASCADE_DELETE_ROWS, CLONE_MESSAGES_MAX, PAGE_THREADS_MAX
from convex_memory.values import Value

_ORDERS: Final[Mapping[str, str]] = {"updatedAt": "by_updated", "createdAt": "by_created"}


def get(documents: Documents, args: Args) -> Value:
    """Return a thread, or null, and how many messages it has."""
    allow_only(args, "threadId", "resourceId")
    row = find_thread(documents, text_argument(args, "threadId"), scope_of(args))
    if row is None:
        return {"thread": None, "messages": 0}
    return {
        "thread": documents.doc(THREADS, row),
        "messages": documents.count(MESSAGES, {"thread_id": row.fields["id"]})
        - _waiting(documents, row.fields["id"]),
    }


def list_page(documents: Documents, args: Args) -> Value:
    """Return one page of threads, by when they were last written to or created."""
    allow_only(args, "limit", "resourceId", "order", "by", "cursor")
    limit = whole_argument(args, "limit", 1, PAGE_THREADS_MAX)
    by = choice_argument(args, "by", tuple(_ORDERS))
    order = choice_argument(args, "order", ("newest", "oldest"))
    scope = scope_of(args)
    question = f"threads:{scope}:{by}:{order}"
    after = read_cursor(args, question, (str, int))
    comparison = "<" if order == "newest" else ">"
    rows = list(
        documents.scan(
            THREADS,
            {} if scope is None else {"resourceId": scope},
            order=(by,),
            descending=order == "newest",
            where=f'("{by}", "_sequence") {comparison} (?, ?)' if after else "",
            bound=after or (),
            limit=limit + 1,
        )
    )
    last = rows[limit - 1] if len(rows) > limit else None
    return {
        "threads": [documents.doc(THREADS, row) for row in rows[:limit]],
        "cursor": None if last is None else write_cursor(question, last.fields[by], last.sequence),
    }


def update(documents: Documents, args: Args) -> Value:
    """Change title and metadata; what is not given stays."""
    allow_only(args, "threadId", "resourceId", "title", "metadata", "expiresAt", "now")
    row = thread_named(documents, args)
    if "expiresAt" in args:
        documents.will_write()
        at = time_argument(args, "expiresAt")
        forgetting.set_expiry(documents.connection, THREADS, row.fields["id"], at)
    changes: Record = {"updatedAt": now_iso(documents, args)}
    if args.get("title") is not None:
        changes["title"] = args["title"]
    if args.get("metadata") is not None:
        if not isinstance(args["metadata"], Mapping):
            raise InvalidArgument("metadata must be an object.")
        changes["metadata"] = merged_without_nulls(row.fields.get("metadata"), args["metadata"])
    return {"thread": documents.doc(THREADS, documents.patch(THREADS, row, changes))}


def remove(documents: Documents, args: Args) -> Value:
    """Remove a thread at once, and its messages a batch at a time.

    The first call tells how many messages go; they are out of sight from then on. What is left
    when nobody repeats the call is removed by the engine when it has nothing else to do. With
    `purgeAt` all of it can be restored until then; without, what is kept of it goes too.
    """
    allow_only(args, "threadId", "resourceId", "purgeAt")
    thread_id, scope = text_argument(args, "threadId"), scope_of(args)
    purge_at = time_argument(args, "purgeAt")
    row = find_thread(documents, thread_id, scope)
    gone = 0
    if row is not None:
        gone = documents.count(MESSAGES, {"thread_id": thread_id}) - _waiting(documents, thread_id)
        begin_removal(documents, row, purge_at)
    elif not _removing(documents, thread_id, scope):
        item = None
        if purge_at is None:
            item = forgetting.discarded(documents, THREADS, thread_id, scope)
        if item is not None:
            forgetting.drop_thread(documents, thread_id, item.owner)
        return {"found": item is not None, "removedMessages": 0, "hasMore": False}
    elif purge_at is None:
        _keep_nothing(documents, thread_id)
    _remove_messages(documents, thread_id, CASCADE_DELETE_ROWS)
    return {
        "found": True,
        "removedMessages": gone,
        "hasMore": _removing(documents, thread_id, scope),
    }


def begin_removal(documents: Documents, row: Row, purge_at: float | None) -> None:
    """Take a thread out of sight with its messages, which are removed later."""
    thread_id, owner = row.fields["id"], row.fields["resourceId"]
    finish_removal(documents, thread_id)
    if purge_at is None:
        documents.delete(THREADS, row)
        forgetting.drop_thread(documents, thread_id, owner)
    else:
        if forgetting.discarded(documents, THREADS, thread_id, owner) is not None:
            # An earlier thread of this id: only the last one can be restored.
            forgetting.drop_thread(documents, thread_id, owner, with_thread=True)
        forgetting.discard(documents, THREADS, row, purge_at, owner=owner)
    documents.connection.execute(
        "INSERT INTO removals (thread, resource, upto, purge_at) "
        "SELECT ?, ?, coalesce(max(_sequence), 0), ? FROM mastra_messages",
        (thread_id, owner, purge_at or 0),
    )


def _keep_nothing(documents: Documents, thread_id: str) -> None:
    """Have a removal that is under way delete for good, what it has kept included."""
    documents.will_write()
    removal = documents.connection.execute(
        "SELECT resource FROM removals WHERE thread = ?", (thread_id,)
    ).fetchone()
    forgetting.drop_thread(documents, thread_id, removal[0])
    documents.connection.execute("UPDATE removals SET purge_at = 0 WHERE thread = ?", (thread_id,))


def restore(documents: Documents, args: Args) -> Value:
    """Bring back a removed thread that is still kept: at once, its messages a batch at a time."""
    allow_only(args, "threadId", "resourceId")
    thread_id, scope = text_argument(args, "threadId"), scope_of(args)
    item = forgetting.discarded(documents, THREADS, thread_id, scope)
    restored = 0 if item is None else _restore_thread(documents, thread_id, item)
    row = find_thread(documents, thread_id, scope)
    kept: list[Discarded] = []
    if row is not None:
        owner, most = row.fields["resourceId"], CASCADE_DELETE_ROWS + 1
        kept = forgetting.discarded_with_thread(documents, thread_id, owner, most)
    if row is None or (item is None and not kept):
        return {"found": False, "thread": None, "restoredMessages": 0, "hasMore": False}
    for message in kept[:CASCADE_DELETE_ROWS]:
        restored += _restore_message(documents, message)
    return {
        "found": True,
        "thread": documents.doc(THREADS, row),
        "restoredMessages": restored,
        "hasMore": len(kept) > CASCADE_DELETE_ROWS,
    }


def _restore_thread(documents: Documents, thread_id: str, item: Discarded) -> int:
    """Put a thread back, and return how many of its messages had not gone yet."""
    if documents.first(THREADS, id=thread_id) is not None:
        raise Conflict(
            f"Thread {thread_id!a} has been begun anew since it was deleted. Clone or delete "
            "the new one, then restore."
        )
    waiting = _waiting(documents, thread_id)
    stopped = documents.connection.execute(
        "DELETE FROM removals WHERE thread = ? AND resource = ? AND purge_at > 0",
        (thread_id, item.owner),
    )
    # Else they are of an earlier thread of this id.
    finish_removal(documents, thread_id)
    forgetting.put_back(documents, THREADS, item)
    forgetting.keep_for_restoring(documents, thread_id, item.owner)
    return waiting if stopped.rowcount else 0


def _restore_message(documents: Documents, item: Discarded) -> bool:
    """Put a message back unless its id has been used anew; say whether it was."""
    stored = documents.first(MESSAGES, id=item.fields["id"])
    if stored is not None and not is_removed(documents, stored):
        forgetting.drop(documents, item)
        return False
    if stored is not None:
        forgetting.take_away(documents, stored)
    forgetting.put_back(documents, MESSAGES, item)
    return True


def continue_removals(documents: Documents) -> bool:
    """Remove a batch of messages whose thread is gone, then purge; say whether any was left."""
    row = documents.connection.execute("SELECT thread FROM removals LIMIT 1").fetchone()
    if row is None:
        return forgetting.purge(documents)
    _remove_messages(documents, row[0], CASCADE_DELETE_ROWS)
    return True


def finish_removal(documents: Documents, thread_id: str) -> None:
    """Remove all messages that still wait of an earlier thread of this id."""
    while _removing(documents, thread_id, None):
        documents.will_write()
        _remove_messages(documents, thread_id, CASCADE_DELETE_ROWS)


def _waiting(documents: Documents, thread_id: str) -> int:
    """Count messages of an earlier thread of this id that wait to be removed."""
    upto = removed_upto(documents, thread_id)
    if not upto:
        return 0
    count = documents.connection.execute(
        "SELECT count(*) FROM mastra_messages WHERE thread_id = ? AND _sequence <= ?",
        (thread_id, upto),
    ).fetchone()
    return int(count[0])


def _removing(documents: Documents, thread_id: str, scope: str | None) -> bool:
    row = documents.connection.execute(
        "SELECT resource FROM removals WHERE thread = ?", (thread_id,)
    ).fetchone()
    return row is not None and scope in (None, row[0])


def _remove_messages(documents: Documents, thread_id: str, most: int) -> None:
    rows = list(
        documents.scan(
            MESSAGES,
            {"thread_id": thread_id},
            order=("createdAt",),
            where='"_sequence" <= (SELECT upto FROM removals WHERE thread = ?)',
            bound=(thread_id,),
            limit=most + 1,
        )
    )
    for row in rows[:most]:
        forgetting.take_away(documents, row)
    if len(rows) <= most:
        documents.connection.execute("DELETE FROM removals WHERE thread = ?", (thread_id,))


def clone(documents: Documents, args: Args) -> Value:
    """Copy a thread and its messages, or some of them, in one transaction."""
    allow_only(
        args, "threadId", "newThreadId", "resourceId", "newResourceId", "title", "metadata",
        "messageLimit", "messageIds", "since", "until", "now",
    )  # fmt: skip
    source = thread_named(documents, args)
    new_id = text_argument(args, "newThreadId", optional=True) or str(uuid4())
    if documents.first(THREADS, id=new_id) is not None:
        raise Conflict(f"Thread with id {new_id} already exists")
    messages = _messages_to_clone(documents, source, args)
    now = now_iso(documents, args)
    owner = text_argument(args, "newResourceId", optional=True)
    thread = documents.insert(THREADS, _cloned_thread(source, messages, args, new_id, now, owner))
    new_ids: dict[str, str] = {}
    for message in messages:
        copy = {**message.fields, "id": str(uuid4()), "thread_id": new_id}
        if owner is not None:
            copy["resourceId"] = owner
        documents.insert(MESSAGES, copy)
        new_ids[message.fields["id"]] = copy["id"]
    _clone_marks(documents, new_ids)
    # Pairs, not an object: message ids need not be names Convex accepts for fields.
    return {
        "thread": documents.doc(THREADS, thread),
        "messageIds": [[old, new] for old, new in new_ids.items()],
    }


def _clone_marks(documents: Documents, new_ids: Mapping[str, str]) -> None:
    """Have copies expire as their originals do, and supersede the copies of what those do."""
    for old, new in new_ids.items():
        at = forgetting.expiry(documents.connection, MESSAGES, old)
        if at is not None:
            forgetting.set_expiry(documents.connection, MESSAGES, new, at)
        successor = forgetting.superseded_by(documents.connection, old)
        if successor is not None and successor in new_ids:
            forgetting.supersede(documents, new, new_ids[successor])


def _cloned_thread(
    source: Row, messages: list[Row], args: Args, new_id: str, now: str, owner: str | None
) -> Record:
    origin: Record = {"sourceThreadId": source.fields["id"], "clonedAt": now}
    if messages:
        origin["lastMessageId"] = messages[-1].fields["id"]
    title = args.get("title")
    if title is None:
        title = f"Clone of {source.fields['title']}" if source.fields["title"] else ""
    return {
        "id": new_id,
        "resourceId": owner or source.fields["resourceId"],
        "title": title,
        "metadata": {**(args.get("metadata") or {}), "clone": origin},
        "createdAt": now,
        "updatedAt": now,
    }


def _messages_to_clone(documents: Documents, source: Row, args: Args) -> list[Row]:
    conditions = {"since": '"createdAt" >= ?', "until": '"createdAt" <= ?'}
    given = {
        name: text_argument(args, name, optional=True)
        for name in conditions
        if args.get(name) is not None
    }
    rows: list[Row] = list(
        documents.scan(
            MESSAGES,
            {"thread_id": source.fields["id"]},
            order=("createdAt",),
            where=" AND ".join(('"_sequence" > ?', *(conditions[name] for name in given))),
            bound=[removed_upto(documents, source.fields["id"]), *given.values()],
        )
    )
    ids: Any = args.get("messageIds")
    if ids:
        wanted = set(ids)
        rows = [row for row in rows if row.fields["id"] in wanted]
    if args.get("messageLimit") is not None:
        limit = whole_argument(args, "messageLimit", 0, 2**53)
        rows = rows[len(rows) - limit :] if limit < len(rows) else rows
    if len(rows) > CLONE_MESSAGES_MAX:
        raise LimitExceeded(
            f"The clone would have {len(rows)} messages; at most {CLONE_MESSAGES_MAX} are copied "
            "in one transaction. Give messageLimit to copy the newest."
        )
    return rows
