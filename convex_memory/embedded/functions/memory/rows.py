"""What the `memory/*` functions share: whose rows are seen, and cursors over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from convex_memory.cursors import read_cursor as read_cursor
from convex_memory.cursors import write_cursor as write_cursor
from convex_memory.embedded.documents import Documents, Row
from convex_memory.embedded.functions.function import Args, text_argument
from convex_memory.embedded.tables import MESSAGES, THREADS
from convex_memory.errors import NotFound
from convex_memory.values import Value


def scope_of(args: Args) -> str | None:
    """Return the resource a call is limited to, or None when it sees every resource."""
    scope: str | None = text_argument(args, "resourceId", optional=True)
    return scope


def find_thread(documents: Documents, thread_id: str, scope: str | None) -> Row | None:
    """Return a thread, or None when there is none or it belongs to another resource."""
    row = documents.first(THREADS, id=thread_id)
    if row is None or (scope is not None and row.fields["resourceId"] != scope):
        return None
    return row


def thread_named(documents: Documents, args: Args) -> Row:
    """Return the thread that `threadId` names, within the call's scope.

    Raises:
        NotFound: There is none, or it belongs to another resource.
    """
    thread_id = text_argument(args, "threadId")
    row = find_thread(documents, thread_id, scope_of(args))
    if row is None:
        raise no_thread(thread_id)
    return row


def no_thread(thread_id: str) -> NotFound:
    """Return the refusal for a thread that is absent or somebody else's."""
    return NotFound(
        f"There is no thread {thread_id!a}. List the threads there are, or save a message with "
        "this thread id to begin one."
    )


def find_message(documents: Documents, message_id: str, scope: str | None) -> Row | None:
    """Return a message, or None when there is none or it belongs to another resource."""
    row = documents.first(MESSAGES, id=message_id)
    if row is None or is_removed(documents, row) or not in_scope(documents, row, scope):
        return None
    return row


def in_scope(documents: Documents, message: Row, scope: str | None) -> bool:
    """Whether a message may be seen: its own resource decides, else its thread's."""
    if scope is None:
        return True
    if "resourceId" in message.fields:
        return bool(message.fields["resourceId"] == scope)
    return find_thread(documents, message.fields["thread_id"], scope) is not None


def removed_upto(documents: Documents, thread_id: str) -> int:
    """Return the last sequence of a removed thread's messages that wait to be removed, or 0.

    A thread may be begun again under the same id meanwhile: its new messages come after.
    """
    row = documents.connection.execute(
        "SELECT upto FROM removals WHERE thread = ?", (thread_id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def is_removed(documents: Documents, message: Row) -> bool:
    """Whether the message's thread was removed, and the message waits to be."""
    return message.sequence <= removed_upto(documents, message.fields["thread_id"])


def marks_of(documents: Documents, messages: Sequence[Row]) -> list[Value]:
    """Return what is noted of messages: `{id, expiresAt?, supersededBy?}` where there is any."""
    ids = json.dumps([row.fields["id"] for row in messages])
    marks: dict[str, dict[str, Value]] = {}
    for name, sql in _MARKS.items():
        for record_id, value in documents.connection.execute(sql, (ids,)):
            marks.setdefault(record_id, {"id": record_id})[name] = value
    return list(marks.values())


_MARKS: Final = {
    "expiresAt": (
        "SELECT e.id, e.at FROM json_each(?) j "
        "JOIN expiries e ON e.kind = 'message' AND e.id = j.value"
    ),
    "supersededBy": (
        "SELECT s.message, s.by FROM json_each(?) j JOIN supersessions s ON s.message = j.value"
    ),
}
"""What may be noted of a message → how to find it."""


def now_iso(documents: Documents, args: Args) -> str:
    """Return the call's `now`, or the deployment's clock, as ISO-8601 UTC with milliseconds."""
    given = text_argument(args, "now", optional=True)
    return given if given is not None else to_iso(documents.now_ms())


def to_iso(milliseconds: float) -> str:
    """Return a time in milliseconds since the epoch as ISO-8601 UTC with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
