"""`memory/messages:*` over the storage function: save, page, look around, get and remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from convex_memory.arguments import Args, choice_argument, text_argument, whole_argument
from convex_memory.cursors import read_cursor, write_cursor
from convex_memory.errors import Conflict, InvalidArgument, NotFound
from convex_memory.json_text import MALFORMED, parsed
from convex_memory.limits import NEIGHBOURS_MAX, PAGE_MESSAGES_MAX, SAVE_MESSAGES_MAX
from convex_memory.records import checked_metadata
from convex_memory.store.storage import MESSAGES, THREADS
from convex_memory.store.wire.rows import (
    POSITION_KINDS,
    Row,
    Rows,
    no_thread,
    position,
    refuse_beyond,
    scope_of,
)
from convex_memory.text import changed_content, message_text
from convex_memory.values import Value

_IDS_MAX: Final = 100
_CHARS_MAX: Final = 2**53
_THREAD: Final = frozenset({"id", "resourceId", "title", "metadata"})


# --- Saving


async def save(rows: Rows, args: Args) -> Value:
    """Store messages, then their thread if it is new, then stamp the threads they are in.

    All messages are stored in one call, or none is. A failure after that leaves messages whose
    thread is not begun or not stamped; saving them again does the rest. A message of the same id
    that another process stores between the look and the write is overwritten.
    """
    records = _records(args)
    keep = choice_argument(args, "onExisting", ("keep", "replace")) == "keep"
    now = text_argument(args, "now")
    begun = await _thread_to_begin(rows, args.get("thread"), now)
    stored = await rows.messages_by_id([record["id"] for record in records])
    results: list[Value] = []
    written: list[Row] = []
    for record in records:
        before = stored.get(record["id"])
        status, row = "stored", record
        if before is not None and keep:
            _refuse_another(before, record)
            status, row = "unchanged", before
        elif before is not None:
            status = "replaced"
        if status != "unchanged":
            written.append(record)
        results.append(
            {
                "id": record["id"],
                "status": status,
                "createdAt": row["createdAt"],
                "embedding": "off",
            }
        )
    if written:
        await rows.storage.run("batchInsert", MESSAGES, records=written)
    created = begun is not None and await _begin(rows, begun)
    touched = list(dict.fromkeys(record["thread_id"] for record in written))
    for thread_id in touched:
        if not (created and begun is not None and thread_id == begun["id"]):
            await rows.storage.run("patch", THREADS, id=thread_id, record={"updatedAt": now})
    return {"results": results, "threadCreated": created, "threads": touched}


def _records(args: Args) -> list[Row]:
    messages = args.get("messages")
    if not isinstance(messages, Sequence) or not 1 <= len(messages) <= SAVE_MESSAGES_MAX:
        raise InvalidArgument(f"messages must be an array of 1 to {SAVE_MESSAGES_MAX} messages.")
    if len({record["id"] for record in messages}) != len(messages):
        raise InvalidArgument("messages holds the same id twice; each message needs its own.")
    return list(messages)


async def _thread_to_begin(rows: Rows, thread: Any, now: str) -> dict[str, Any] | None:
    """Return the row of the thread the messages belong to when it is new, else None.

    Raises:
        NotFound: It belongs to another resource.
    """
    if thread is None:
        return None
    refuse_beyond("memory/messages:save", thread, _THREAD)
    thread_id, owner = text_argument(thread, "id"), text_argument(thread, "resourceId")
    stored = await rows.thread(thread_id, None)
    if stored is not None:
        if stored.get("resourceId") != owner:
            raise no_thread(thread_id)
        return None
    return {
        "id": thread_id,
        "resourceId": owner,
        "title": thread.get("title") or "",
        "metadata": checked_metadata(thread.get("metadata") or {}),
        "createdAt": now,
        "updatedAt": now,
    }


async def _begin(rows: Rows, thread: dict[str, Any]) -> bool:
    # Looked for once more: storing over one that somebody began meanwhile would rename it, or
    # take it from its owner.
    if await rows.thread(thread["id"], None) is not None:
        return False
    await rows.storage.run("insert", THREADS, record=thread)
    return True


def _refuse_another(stored: Row, record: Row) -> None:
    same = _same_content(stored.get("content"), record["content"])
    if not same or any(stored.get(name) != record[name] for name in ("thread_id", "role")):
        raise Conflict(
            f"A message with id {record['id']!a} is already stored with other content. Use "
            "another message id, or leave it out to have one made."
        )


def _same_content(left: Any, right: Any) -> bool:
    if left == right:
        return True
    try:
        return bool(parsed(left) == parsed(right))
    except (*MALFORMED, TypeError):
        return False


# --- Reading


async def page(rows: Rows, args: Args) -> Value:
    """Return one page of a thread, which is read whole."""
    limit = whole_argument(args, "limit", 1, PAGE_MESSAGES_MAX)
    chars_max = whole_argument(args, "charsMax", 1, _CHARS_MAX, _CHARS_MAX)
    order = choice_argument(args, "order", ("newest", "oldest"))
    thread = await rows.thread_named(args)
    question = f"wire:messages:{thread['id']}:{order}"
    after = read_cursor(args, question, POSITION_KINDS)
    found = _beyond(await rows.messages_in(thread["id"]), order == "newest", after)
    taken, more = _cut((row for row in found if is_wanted(row, args)), limit, chars_max)
    cursor = write_cursor(question, *position(taken[-1], "createdAt")) if more else None
    return {"thread": thread, "messages": taken, "cursor": cursor, "marks": []}


def _beyond(found: Sequence[Row], newest: bool, after: Sequence[Any] | None) -> list[Row]:
    ordered = list(reversed(found)) if newest else list(found)
    if after is None:
        return ordered
    place = (after[0], after[1], after[2])
    return [
        row
        for row in ordered
        if (position(row, "createdAt") < place if newest else position(row, "createdAt") > place)
    ]


def _cut(found: Iterable[Row], limit: int, chars_max: int) -> tuple[list[Row], bool]:
    """Return the rows of a page, and whether there are more."""
    taken: list[Row] = []
    chars = 0
    for row in found:
        if len(taken) >= limit or (taken and chars >= chars_max):
            return taken, True
        taken.append(row)
        chars += len(message_text(row["content"]))
    return taken, False


def is_wanted(row: Row, args: Args) -> bool:
    """Whether a message is of the `role`, and of the time from `since` until before `until`."""
    at = str(row.get("createdAt"))
    return (
        args.get("role") in (None, row.get("role"))
        and (args.get("since") is None or at >= args["since"])
        and (args.get("until") is None or at < args["until"])
    )


async def around(rows: Rows, args: Args) -> Value:
    """Return a message with its neighbours in the thread, which is read whole."""
    before = whole_argument(args, "before", 0, NEIGHBOURS_MAX)
    after = whole_argument(args, "after", 0, NEIGHBOURS_MAX)
    message = await _message_named(rows, args)
    home = str(message.get("thread_id"))
    found = await rows.messages_in(home) if before or after else [message]
    place = next((at for at, row in enumerate(found) if row.get("id") == message["id"]), None)
    if place is None:
        raise _no_message(args)
    first = max(0, place - before)
    return {
        "thread": await rows.thread(home, None),
        "messages": found[first : place + after + 1],
        "index": place - first,
        "marks": [],
    }


async def get(rows: Rows, args: Args) -> Value:
    """Return messages by id, in the order asked for; absent ones are left out."""
    return {"messages": await _seen(rows, _ids(args), args), "marks": []}


async def update(rows: Rows, args: Args) -> Value:
    """Change what a message says or its metadata, then stamp its thread.

    The content is read and then written: what another process writes in between is lost.
    """
    message = await _message_named(rows, args)
    text = text_argument(args, "text", optional=True)
    metadata = args.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata must be an object.")
    if text is None and metadata is None:
        raise InvalidArgument("Give text or metadata to change.")
    record = {"content": changed_content(str(message["content"]), text, metadata)}
    if not await rows.storage.run("patch", MESSAGES, id=message["id"], record=record):
        raise _no_message(args)
    stamp = {"updatedAt": text_argument(args, "now")}
    await rows.storage.run("patch", THREADS, id=message["thread_id"], record=stamp)
    return {"message": {**message, **record}, "marks": []}


async def remove(rows: Rows, args: Args) -> Value:
    """Delete messages by id; say which there were when they were looked for."""
    removed = [str(row.get("id")) for row in await _seen(rows, _ids(args), args)]
    if removed:
        await rows.storage.run("deleteMany", MESSAGES, ids=removed)
    return {"removed": removed}


async def _message_named(rows: Rows, args: Args) -> Row:
    """Return the message that `messageId` names, within the call's scope and thread.

    Raises:
        NotFound: There is none.
    """
    found = await _seen(rows, [text_argument(args, "messageId")], args)
    if not found:
        raise _no_message(args)
    return found[0]


def _no_message(args: Args) -> NotFound:
    return NotFound(
        f"There is no message {args['messageId']!a}"
        + (" in this thread." if args.get("threadId") else ".")
    )


async def _seen(rows: Rows, ids: Sequence[str], args: Args) -> list[Row]:
    """Return the messages of these ids that are in the call's scope and thread."""
    thread_id = text_argument(args, "threadId", optional=True)
    stored = await rows.messages_by_id(ids)
    here = [row for row in stored.values() if thread_id in (None, row.get("thread_id"))]
    return await rows.in_scope(here, scope_of(args))


def _ids(args: Args) -> list[str]:
    ids = args.get("ids")
    if (
        not isinstance(ids, list)
        or not 1 <= len(ids) <= _IDS_MAX
        or not all(isinstance(each, str) and each for each in ids)
    ):
        raise InvalidArgument(f"ids must be an array of 1 to {_IDS_MAX} message ids.")
    return ids
