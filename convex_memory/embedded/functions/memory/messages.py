"""`memory/messages:*`: save, page, look around, get and remove messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from convex_memory.embedded import embedding_queue, forgetting
from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    choice_argument,
    text_argument,
    time_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.forgetting import (
    drop_discarded,
    may_come_back,
    owner_of,
)
from convex_memory.embedded.functions.memory.rows import (
    find_message,
    find_thread,
    is_removed,
    marks_of,
    no_thread,
    now_iso,
    read_cursor,
    removed_upto,
    scope_of,
    thread_named,
    write_cursor,
)
from convex_memory.embedded.tables import MESSAGES, THREADS
from convex_memory.errors import Conflict, InvalidArgument, NotFound
from convex_memory.limits import NEIGHBOURS_MAX, PAGE_MESSAGES_MAX, SAVE_MESSAGES_MAX
from convex_memory.text import changed_content, message_text
from convex_memory.values import Value

IDS_MAX: Final = 100
"""Message ids one call takes."""


def save(documents: Documents, args: Args) -> Value:
    """Store messages, and their thread if it is new, in one transaction."""
    allow_only(args, "messages", "thread", "onExisting", "now", "expiries", "supersedes")
    messages = _messages(args)
    replace = choice_argument(args, "onExisting", ("keep", "replace")) == "replace"
    now = now_iso(documents, args)
    created = _begin_thread(documents, args.get("thread"), now)
    touched: dict[str, None] = {}
    results: list[Record] = []
    for record in messages:
        status, row = _save_one(documents, record, replace=replace)
        results.append({"id": record["id"], "status": status, "createdAt": row.fields["createdAt"]})
        if status != "unchanged":
            touched[record["thread_id"]] = None
    _note(documents, messages, args)
    for result in results:
        result["embedding"] = embedding_state(documents, result["id"])
    for thread_id in touched:
        thread = documents.first(THREADS, id=thread_id)
        if thread is not None and thread.fields["updatedAt"] != now:
            documents.patch(THREADS, thread, {"updatedAt": now})
    return {"results": results, "threadCreated": created, "threads": list(touched)}


def page(documents: Documents, args: Args) -> Value:
    """Return one page of a thread by index range, whatever the thread's length."""
    allow_only(
        args, "threadId", "limit", "resourceId", "order", "cursor", "role", "since", "until",
        "charsMax",
    )  # fmt: skip
    thread = thread_named(documents, args)
    limit = whole_argument(args, "limit", 1, PAGE_MESSAGES_MAX)
    chars_max = whole_argument(args, "charsMax", 1, 2**53, 2**53) if "charsMax" in args else None
    newest = choice_argument(args, "order", ("newest", "oldest")) == "newest"
    question = f"messages:{thread.fields['id']}:{'newest' if newest else 'oldest'}"
    rows = _thread_rows(
        documents,
        thread.fields["id"],
        descending=newest,
        after=read_cursor(args, question, (str, int)),
        args=args,
    )
    taken: list[Row] = []
    chars = 0
    more = False
    for row in rows:
        if len(taken) >= limit or (taken and chars_max is not None and chars >= chars_max):
            more = True
            break
        taken.append(row)
        if chars_max is not None:
            chars += len(message_text(row.fields["content"]))
    cursor = (
        write_cursor(question, taken[-1].fields["createdAt"], taken[-1].sequence) if more else None
    )
    return {
        "thread": documents.doc(THREADS, thread),
        "messages": [documents.doc(MESSAGES, row) for row in taken],
        "cursor": cursor,
        "marks": marks_of(documents, taken),
    }


def around(documents: Documents, args: Args) -> Value:
    """Return a message with its neighbours in the thread, oldest first."""
    allow_only(args, "messageId", "before", "after", "threadId", "resourceId")
    before = whole_argument(args, "before", 0, NEIGHBOURS_MAX)
    after = whole_argument(args, "after", 0, NEIGHBOURS_MAX)
    message = _message_named(documents, args)
    earlier, later = neighbours(documents, message, before, after)
    thread = documents.first(THREADS, id=message.fields["thread_id"])
    rows = [*earlier, message, *later]
    return {
        "thread": documents.doc(THREADS, thread) if thread is not None else None,
        "messages": [documents.doc(MESSAGES, row) for row in rows],
        "index": len(earlier),
        "marks": marks_of(documents, rows),
    }


def get(documents: Documents, args: Args) -> Value:
    """Return messages by id, in the order asked for; absent ones are left out."""
    allow_only(args, "ids", "resourceId")
    scope = scope_of(args)
    found = [find_message(documents, each, scope) for each in dict.fromkeys(_ids(args))]
    rows = [row for row in found if row is not None]
    return {
        "messages": [documents.doc(MESSAGES, row) for row in rows],
        "marks": marks_of(documents, rows),
    }


def remove(documents: Documents, args: Args) -> Value:
    """Delete messages by id; say which there were."""
    allow_only(args, "ids", "threadId", "resourceId", "purgeAt")
    scope = scope_of(args)
    thread_id = text_argument(args, "threadId", optional=True)
    purge_at = time_argument(args, "purgeAt")
    removed: list[str] = []
    for message_id in dict.fromkeys(_ids(args)):
        row = find_message(documents, message_id, scope)
        if row is None:
            if purge_at is None and drop_discarded(documents, message_id, thread_id, scope):
                removed.append(message_id)
        elif thread_id in (None, row.fields["thread_id"]):
            if purge_at is None:
                documents.delete(MESSAGES, row)
            else:
                owner = owner_of(documents, row)
                forgetting.discard(documents, MESSAGES, row, purge_at, owner=owner)
            removed.append(message_id)
    return {"removed": removed}


def restore(documents: Documents, args: Args) -> Value:
    """Bring back deleted messages that are still kept; say which.

    Their thread has to be there. What went with it comes back with it.
    """
    allow_only(args, "ids", "resourceId")
    scope = scope_of(args)
    restored: list[str] = []
    for message_id in dict.fromkeys(_ids(args)):
        item = forgetting.discarded(documents, MESSAGES, message_id, scope)
        if item is not None and may_come_back(documents, item, scope):
            forgetting.put_back(documents, MESSAGES, item)
            restored.append(message_id)
    return {"restored": restored}


def update(documents: Documents, args: Args) -> Value:
    """Change what a message says, its metadata, or when it expires; the rest stays."""
    allow_only(args, "messageId", "threadId", "resourceId", "text", "metadata", "expiresAt", "now")
    row = _message_named(documents, args)
    text = text_argument(args, "text", optional=True)
    metadata = args.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata must be an object.")
    if "expiresAt" in args:
        documents.will_write()
        at = time_argument(args, "expiresAt")
        forgetting.set_expiry(documents.connection, MESSAGES, row.fields["id"], at)
    elif text is None and metadata is None:
        raise InvalidArgument("Give text, metadata or expiresAt to change.")
    if text is not None or metadata is not None:
        content = changed_content(row.fields["content"], text, metadata)
        row = documents.patch(MESSAGES, row, {"content": content})
        thread = documents.first(THREADS, id=row.fields["thread_id"])
        if thread is not None:
            documents.patch(THREADS, thread, {"updatedAt": now_iso(documents, args)})
    return {"message": documents.doc(MESSAGES, row), "marks": marks_of(documents, [row])}


def neighbours(
    documents: Documents, message: Row, before: int, after: int
) -> tuple[list[Row], list[Row]]:
    """Return the messages just before and just after one, each list oldest first."""
    position = [message.fields["createdAt"], message.sequence]
    thread_id = message.fields["thread_id"]
    earlier = _take(_thread_rows(documents, thread_id, descending=True, after=position), before)
    later = _take(_thread_rows(documents, thread_id, descending=False, after=position), after)
    return earlier[::-1], later


# --- Saving


def _begin_thread(documents: Documents, thread: Any, now: str) -> bool:
    """Create the thread the messages belong to, if it is new; say whether it was."""
    if thread is None:
        return False
    if not isinstance(thread, Mapping):
        raise InvalidArgument("thread must be an object {id, resourceId, title?, metadata?}.")
    allow_only(thread, "id", "resourceId", "title", "metadata", "expiresAt")
    thread_id, owner = text_argument(thread, "id"), text_argument(thread, "resourceId")
    if find_thread(documents, thread_id, owner) is not None:
        _expire_thread(documents, thread_id, thread)
        return False
    if documents.first(THREADS, id=thread_id) is not None:
        raise no_thread(thread_id)
    documents.insert(
        THREADS,
        {
            "id": thread_id,
            "resourceId": owner,
            "title": thread.get("title") or "",
            "metadata": thread.get("metadata") or {},
            "createdAt": now,
            "updatedAt": now,
        },
    )
    _expire_thread(documents, thread_id, thread)
    return True


def _expire_thread(documents: Documents, thread_id: str, thread: Mapping[str, Any]) -> None:
    if thread.get("expiresAt") is not None:
        at = time_argument(thread, "expiresAt")
        forgetting.set_expiry(documents.connection, THREADS, thread_id, at)


def _note(documents: Documents, messages: Sequence[Record], args: Args) -> None:
    """Note when the saved messages expire, and which others they supersede."""
    saved = {record["id"]: record for record in messages}
    for message_id, at in _pairs(args, "expiries", saved):
        expires_at = time_argument({"expiries": at}, "expiries")
        forgetting.set_expiry(documents.connection, MESSAGES, message_id, expires_at)
    for new_id, old_id in _pairs(args, "supersedes", saved):
        scope = saved[new_id].get("resourceId")
        if not isinstance(old_id, str) or find_message(documents, old_id, scope) is None:
            raise NotFound(f"There is no message {old_id!a} to supersede.")
        if new_id == old_id:
            raise InvalidArgument("A message cannot supersede itself.")
        if not forgetting.supersede(documents, old_id, new_id):
            raise InvalidArgument(
                f"Message {new_id!a} is superseded by {old_id!a}, so it cannot supersede that one."
            )


def _pairs(args: Args, name: str, saved: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs = args.get(name) or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and pair[0] in saved for pair in pairs
    ):
        raise InvalidArgument(f"{name} must be pairs that begin with the id of a message given.")
    return [(pair[0], pair[1]) for pair in pairs]


def embedding_state(documents: Documents, message_id: str) -> str:
    """Say whether a message has its vector: `embedded`, `pending`, or `off` without embedder."""
    bound = embedding_queue.message_binding(documents.connection)
    if bound is None:
        return "off"
    is_waiting = embedding_queue.is_waiting(documents.connection, bound.name, message_id)
    return "pending" if is_waiting else "embedded"


def _save_one(documents: Documents, record: Record, *, replace: bool) -> tuple[str, Row]:
    row = documents.first(MESSAGES, id=record["id"])
    if row is not None and is_removed(documents, row):
        forgetting.take_away(documents, row)
        row = None
    if row is None:
        return "stored", documents.insert(MESSAGES, record)
    if replace:
        return "replaced", documents.patch(MESSAGES, row, record)
    same = row.fields["content"] == record["content"] or _same_json(
        row.fields["content"], record["content"]
    )
    if not same or any(row.fields[name] != record[name] for name in ("thread_id", "role")):
        raise Conflict(
            f"A message with id {record['id']!a} is already stored with other content. Use "
            "another message id, or leave it out to have one made."
        )
    return "unchanged", row


def _same_json(left: Any, right: Any) -> bool:
    try:
        return bool(json.loads(left) == json.loads(right))
    except (TypeError, ValueError):
        return False


def _messages(args: Args) -> list[Record]:
    messages = args.get("messages")
    if not isinstance(messages, list) or not 1 <= len(messages) <= SAVE_MESSAGES_MAX:
        raise InvalidArgument(f"messages must be an array of 1 to {SAVE_MESSAGES_MAX} messages.")
    for position, record in enumerate(messages):
        if not isinstance(record, Mapping) or not record.get("id"):
            raise InvalidArgument(f"messages[{position}] must be an object with an id.")
    ids = [record["id"] for record in messages]
    if len(set(map(str, ids))) != len(ids):
        raise InvalidArgument("messages holds the same id twice; each message needs its own.")
    return [dict(record) for record in messages]


# --- Reading


def _thread_rows(
    documents: Documents,
    thread_id: str,
    *,
    descending: bool,
    after: Sequence[Any] | None,
    args: Args | None = None,
) -> Iterator[Row]:
    conditions: list[str] = []
    bound: list[Any] = []
    removed = removed_upto(documents, thread_id)
    if removed:
        conditions.append('"_sequence" > ?')
        bound.append(removed)
    if after is not None:
        comparison = "<" if descending else ">"
        conditions.append(f'("createdAt", "_sequence") {comparison} (?, ?)')
        bound += after
    for name, condition in (("since", '"createdAt" >= ?'), ("until", '"createdAt" < ?')):
        value = text_argument(args or {}, name, optional=True)
        if value is not None:
            conditions.append(condition)
            bound.append(value)
    role = text_argument(args or {}, "role", optional=True)
    if role is not None:
        conditions.append('"role" = ?')
        bound.append(role)
    return documents.scan(
        MESSAGES,
        {"thread_id": thread_id},
        order=("createdAt",),
        descending=descending,
        where=" AND ".join(conditions),
        bound=bound,
    )


def _take(rows: Iterator[Row], count: int) -> list[Row]:
    return [row for row, _ in zip(rows, range(count), strict=False)] if count else []


def _message_named(documents: Documents, args: Args) -> Row:
    message_id = text_argument(args, "messageId")
    row = find_message(documents, message_id, scope_of(args))
    thread_id = text_argument(args, "threadId", optional=True)
    if row is None or thread_id not in (None, row.fields["thread_id"]):
        raise NotFound(
            f"There is no message {message_id!a}" + (" in this thread." if thread_id else ".")
        )
    return row


def _ids(args: Args) -> list[str]:
    ids = args.get("ids")
    if (
        not isinstance(ids, list)
        or not 1 <= len(ids) <= IDS_MAX
        or not all(isinstance(each, str) and each for each in ids)
    ):
        raise InvalidArgument(f"ids must be an array of 1 to {IDS_MAX} message ids.")
    return ids
