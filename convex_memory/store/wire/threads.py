"""`memory/threads:*` over the storage function: get, list, update, remove and clone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from convex_memory.arguments import Args, choice_argument, text_argument, whole_argument
from convex_memory.cursors import read_cursor, write_cursor
from convex_memory.errors import Conflict, InvalidArgument, LimitExceeded
from convex_memory.limits import CLONE_MESSAGES_MAX, PAGE_THREADS_MAX
from convex_memory.records import Thread, checked_metadata
from convex_memory.store.deleting import delete_messages_in
from convex_memory.store.storage import MESSAGES, THREADS
from convex_memory.store.wire.rows import (
    POSITION_KINDS,
    Row,
    Rows,
    no_thread,
    position,
    scope_of,
)
from convex_memory.values import Value

_COPY_ROWS: Final = 500
_COPY_CHARS: Final = 2 << 20
"""What one call stores of a copy: Convex takes 16 MiB, and a character may be four bytes."""


async def get(rows: Rows, args: Args) -> Value:
    """Return a thread, or null, and how many messages it has, which are all read."""
    thread = await rows.thread(text_argument(args, "threadId"), scope_of(args))
    if thread is None:
        return {"thread": None, "messages": 0}
    return {"thread": thread, "messages": len(await rows.messages_in(thread["id"]))}


async def list_page(rows: Rows, args: Args) -> Value:
    """Return one page of threads, by when they were last written to or created; all are read."""
    limit = whole_argument(args, "limit", 1, PAGE_THREADS_MAX)
    by = choice_argument(args, "by", ("updatedAt", "createdAt"))
    order = choice_argument(args, "order", ("newest", "oldest"))
    scope = scope_of(args)
    question = f"wire:threads:{scope}:{by}:{order}"
    after = read_cursor(args, question, POSITION_KINDS)
    newest = order == "newest"
    found = sorted(await rows.threads(scope), key=lambda row: position(row, by), reverse=newest)
    if after is not None:
        place = (after[0], after[1], after[2])
        found = [
            row
            for row in found
            if (position(row, by) < place if newest else position(row, by) > place)
        ]
    more = len(found) > limit
    cursor = write_cursor(question, *position(found[limit - 1], by)) if more else None
    return {"threads": found[:limit], "cursor": cursor}


async def update(rows: Rows, args: Args) -> Value:
    """Change title and metadata; what is not given stays.

    A title, and members that are set, are one call. Setting members also writes the title as it
    was read, unless one is given, and removing members writes all metadata as it was read: a
    change that another process makes in between is undone.
    """
    thread = await rows.thread_named(args)
    return {"thread": await changed(rows, thread, args.get("title"), args.get("metadata"), args)}


async def changed(rows: Rows, thread: Row, title: str | None, metadata: Any, args: Args) -> Row:
    """Change a thread and return it as it is then; see `update`.

    Args:
        rows: The deployment.
        thread: The thread as it was read.
        title: Its new title; None keeps it.
        metadata: Members to set, and those to remove as None; None changes none.
        args: The call's arguments, for its `now`.

    Raises:
        NotFound: It is gone.
        InvalidArgument: The metadata cannot be stored.
    """
    now = text_argument(args, "now")
    record: dict[str, Value] = {"updatedAt": now}
    if title is not None:
        record["title"] = title
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise InvalidArgument("metadata must be an object.")
        stored = Thread.from_row(thread).metadata
        if None not in (*stored.values(), *metadata.values()):
            return await _merged(rows, thread, title, checked_metadata(metadata), now)
        both = {**stored, **metadata}
        record["metadata"] = checked_metadata({k: v for k, v in both.items() if v is not None})
    if not await rows.storage.run("patch", THREADS, id=thread["id"], record=record):
        raise no_thread(thread["id"])
    return {**thread, **record}


async def _merged(
    rows: Rows, thread: Row, title: str | None, metadata: Mapping[str, Value], now: str
) -> Row:
    row = await rows.storage.run(
        "updateThread",
        THREADS,
        id=thread["id"],
        title=thread.get("title") or "" if title is None else title,
        metadata=metadata,
        updatedAt=now,
    )
    if not isinstance(row, Mapping):
        raise no_thread(thread["id"])
    return row


async def remove(rows: Rows, args: Args) -> Value:
    """Delete a thread's messages in batches, then the thread, then what was saved meanwhile.

    A failure leaves the thread with the rest of its messages: removing it again goes on.
    """
    thread_id = text_argument(args, "threadId")
    if await rows.thread(thread_id, scope_of(args)) is None:
        return {"found": False, "removedMessages": 0, "hasMore": False}
    removed = await delete_messages_in(rows.storage, thread_id)
    await rows.storage.run("deleteMany", THREADS, ids=[thread_id])
    removed += await delete_messages_in(rows.storage, thread_id)
    return {"found": True, "removedMessages": removed, "hasMore": False}


# --- Cloning


async def clone(rows: Rows, args: Args) -> Value:
    """Copy a thread: its messages in batches, then the thread, so nobody finds it half full.

    When a call fails, the copies made so far are deleted, unless that fails, too.
    """
    source = await rows.thread_named(args)
    new_id = text_argument(args, "newThreadId", optional=True) or rows.new_id()
    if await rows.thread(new_id, None) is not None:
        raise Conflict(f"Thread with id {new_id} already exists")
    originals = _to_clone(await rows.messages_in(source["id"]), args)
    thread = _cloned_thread(source, originals, args, new_id)
    copies = [_copied(row, new_id, rows.new_id(), args) for row in originals]
    try:
        for batch in _batches(copies):
            await rows.storage.run("batchInsert", MESSAGES, records=batch)
        await rows.storage.run("insert", THREADS, record=thread)
    except Exception:
        await _give_up(rows, [copy["id"] for copy in copies])
        raise
    pairs = [[old["id"], new["id"]] for old, new in zip(originals, copies, strict=True)]
    return {"thread": thread, "messageIds": pairs}


async def _give_up(rows: Rows, ids: Sequence[str]) -> None:
    try:
        await rows.storage.run("deleteMany", MESSAGES, ids=list(ids))
    except Exception:
        # What failed first is what the caller is told.
        return


def _to_clone(found: Sequence[Row], args: Args) -> list[Row]:
    since, until, ids = args.get("since"), args.get("until"), set(args.get("messageIds") or ())
    chosen = [
        row
        for row in found
        if (since is None or row["createdAt"] >= since)
        and (until is None or row["createdAt"] <= until)
        and (not ids or row["id"] in ids)
    ]
    if args.get("messageLimit") is not None:
        chosen = chosen[max(0, len(chosen) - whole_argument(args, "messageLimit", 0, 2**53)) :]
    if len(chosen) > CLONE_MESSAGES_MAX:
        raise LimitExceeded(
            f"The clone would have {len(chosen)} messages; at most {CLONE_MESSAGES_MAX} are "
            "copied. Give messageLimit to copy the newest."
        )
    return chosen


def _cloned_thread(
    source: Row, originals: Sequence[Row], args: Args, new_id: str
) -> dict[str, Value]:
    now = text_argument(args, "now")
    origin: dict[str, Value] = {"sourceThreadId": source["id"], "clonedAt": now}
    if originals:
        origin["lastMessageId"] = originals[-1]["id"]
    title = args.get("title")
    if title is None:
        title = f"Clone of {source['title']}" if source.get("title") else ""
    return {
        "id": new_id,
        "resourceId": args.get("newResourceId") or source["resourceId"],
        "title": title,
        "metadata": checked_metadata({**(args.get("metadata") or {}), "clone": origin}),
        "createdAt": now,
        "updatedAt": now,
    }


def _copied(row: Row, thread_id: str, message_id: str, args: Args) -> dict[str, Any]:
    copy = {name: value for name, value in row.items() if not name.startswith("_")}
    copy |= {"id": message_id, "thread_id": thread_id}
    if args.get("newResourceId"):
        copy["resourceId"] = args["newResourceId"]
    return copy


def _batches(copies: Sequence[dict[str, Any]]) -> Iterator[list[Value]]:
    batch: list[Value] = []
    chars = 0
    for copy in copies:
        length = len(copy["content"])
        if batch and (len(batch) >= _COPY_ROWS or chars + length > _COPY_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(copy)
        chars += length
    if batch:
        yield batch
