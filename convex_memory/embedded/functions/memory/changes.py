"""`memory/changes:list`: what was written, in order, by whichever process."""

from __future__ import annotations

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import Args, allow_only, whole_argument
from convex_memory.embedded.functions.memory.rows import scope_of
from convex_memory.limits import CHANGES_PAGE_MAX
from convex_memory.values import Value


def list_after(documents: Documents, args: Args) -> Value:
    """Return the writes after a sequence number, and the oldest and the newest number there is.

    The oldest are forgotten in time: whoever has read less far than just before `first` has
    missed some, and starts over from the rows themselves.
    """
    allow_only(args, "after", "limit", "resourceId")
    after = whole_argument(args, "after", 0, 2**53)
    limit = whole_argument(args, "limit", 1, CHANGES_PAGE_MAX)
    rows = documents.connection.execute(
        "SELECT sequence, table_name, id, kind, thread, resource FROM changes "
        "WHERE sequence > :after AND (:scope IS NULL OR resource = :scope) "
        "ORDER BY sequence LIMIT :limit",
        {"after": after, "scope": scope_of(args), "limit": limit},
    ).fetchall()
    # Two statements: SQLite looks up one end of the table at a time.
    last = documents.connection.execute("SELECT max(sequence) FROM changes").fetchone()[0] or 0
    first = documents.connection.execute("SELECT min(sequence) FROM changes").fetchone()[0]
    names = ("sequence", "table", "id", "kind", "threadId", "resourceId")
    return {
        "changes": [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in rows
        ],
        "first": last + 1 if first is None else first,
        "last": last,
    }
