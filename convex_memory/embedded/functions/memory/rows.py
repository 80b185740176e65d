"""What the `memory/*` functions share: whose rows are seen, and cursors over them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from convex_memory.embedded.documents import Documents, Row
from convex_memory.embedded.functions.function import Args, text_argument
from convex_memory.embedded.tables import MESSAGES, THREADS
from convex_memory.errors import InvalidArgument, NotFound


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


def write_cursor(question: str, *position: Any) -> str:
    """Return opaque text that continues `question` after `position`."""
    raw = json.dumps([question, *position], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(raw.encode()).rstrip(b"=").decode()


def read_cursor(args: Args, question: str, kinds: tuple[type, ...]) -> list[Any] | None:
    """Return the position in `args["cursor"]`, or None when there is no cursor.

    Args:
        args: The call's arguments.
        question: What the cursor must continue: the same words it was written with.
        kinds: The types of the position's parts.

    Raises:
        InvalidArgument: The cursor is not one that this question gave.
    """
    cursor = args.get("cursor")
    if cursor is None:
        return None
    position: list[Any]
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        asked, *position = json.loads(raw)
    except (AttributeError, ValueError, TypeError):
        asked, position = None, []
    if asked != question or [type(part) for part in position] != list(kinds):
        raise InvalidArgument(
            "This cursor does not continue this question. Pass the next_cursor of the answer "
            "before, with the same other arguments, or leave it out to start from the beginning."
        )
    return position


def now_iso(documents: Documents, args: Args) -> str:
    """Return the call's `now`, or the deployment's clock, as ISO-8601 UTC with milliseconds."""
    given = text_argument(args, "now", optional=True)
    return given if given is not None else to_iso(documents.now_ms())


def to_iso(milliseconds: float) -> str:
    """Return a time in milliseconds since the epoch as ISO-8601 UTC with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
