"""Background tasks, with those that old versions kept among the generic documents.

A task of an old version is a document of `mastra_documents` under this table's name, its fields
in camelCase. Reads find it after the rows of the table, where a row with its id hides it.
Changing a row removes the old copy; changing an old copy changes it where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import Args, TableOperation
from convex_memory.embedded.functions.mastra.requests import (
    ABSENT,
    filters_argument,
    ids_argument,
    limit_argument,
    record_argument,
)
from convex_memory.embedded.functions.mastra.routes import GenericRoute, TypedRoute
from convex_memory.embedded.tables import BACKGROUND_TASKS, DOCUMENTS
from convex_memory.errors import LimitExceeded
from convex_memory.limits import DELETE_BATCH_ROWS, LOAD_MANY_IDS_MAX, QUERY_ROWS_MAX
from convex_memory.values import Value, strict_equal

_RENAMED: Final = {
    "tool_call_id": "toolCallId",
    "tool_name": "toolName",
    "agent_id": "agentId",
    "run_id": "runId",
    "thread_id": "threadId",
    "resource_id": "resourceId",
    "suspend_payload": "suspendPayload",
    "retry_count": "retryCount",
    "max_retries": "maxRetries",
    "timeout_ms": "timeoutMs",
}
ALIASES: Final[Mapping[str, str]] = {**_RENAMED, **{old: new for new, old in _RENAMED.items()}}
"""Field → its other spelling, in both directions."""


class BackgroundTaskRoute(TypedRoute):
    """The table of background tasks and, behind it, the documents of old versions."""

    def __init__(
        self, documents: Documents, name: str, operations: Mapping[str, TableOperation]
    ) -> None:
        super().__init__(documents, BACKGROUND_TASKS, name, operations)
        self.legacy = GenericRoute(documents, name)

    def load(self, args: Args) -> Value:
        """Return one task by its keys, or null; old copies are found by id only."""
        keys = record_argument(args, "keys")
        if not keys.get("id"):
            return super().load(args)
        return {"ok": True, "result": self._task(keys["id"])}

    def load_many(self, args: Args) -> Value:
        """Return the tasks with these ids, in the order asked for."""
        ids = ids_argument(args)
        if len(ids) > LOAD_MANY_IDS_MAX:
            raise LimitExceeded(f"loadMany supports at most {LOAD_MANY_IDS_MAX} ids per request")
        found = [self._task(record_id) for record_id in dict.fromkeys(ids)]
        return {"ok": True, "result": [task for task in found if task is not None]}

    def query_table(self, args: Args) -> Value:
        """Read the rows of the table, then the old copies that no row hides."""
        limit = limit_argument(args)
        rows = self.matching_docs(args)
        for record in self._legacy_records(filters_argument(args)):
            if limit is not None and len(rows) >= limit:
                break
            rows.append(record)
        return {"ok": True, "result": rows}

    def patch(self, args: Args) -> Value:
        """Change fields of one task, wherever it is; say whether there was one."""
        record = record_argument(args, "record")
        record.pop("id", None)
        record_id = args.get("id")
        row, old = self.find(record_id), self.legacy.find(record_id)
        if row is not None:
            self.change(row, record)
            if old is not None:
                self.documents.delete(DOCUMENTS, old)
        elif old is not None:
            self._change_legacy(old, record)
        return {"ok": True, "result": row is not None or old is not None}

    def delete_many(self, args: Args) -> Value:
        """Delete the tasks with these ids, both copies of each."""
        super().delete_many(args)
        return self.legacy.delete_many(args)

    def clear(self, args: Args) -> Value:
        """Delete the oldest rows, then the oldest old copies, a batch at a time."""
        most = DELETE_BATCH_ROWS + 1
        rows = list(self.rows(most))
        old = list(self.legacy.rows(most - len(rows))) if len(rows) < most else []
        doomed = [(BACKGROUND_TASKS, row) for row in rows] + [(DOCUMENTS, row) for row in old]
        for table, row in doomed[:DELETE_BATCH_ROWS]:
            self.documents.delete(table, row)
        return {"ok": True, "hasMore": len(doomed) > DELETE_BATCH_ROWS}

    def _task(self, record_id: Any) -> Record | None:
        row = self.find(record_id)
        if row is not None:
            return self.show(row)
        old = self.legacy.find(record_id)
        return None if old is None else self.legacy.show(old)

    def _legacy_records(self, filters: list[tuple[str, Any]]) -> Iterator[Record]:
        """Yield old copies that match and that no row of the table hides."""
        for row in self.legacy.rows(QUERY_ROWS_MAX):
            record = self.legacy.show(row)
            if _matches_either_spelling(record, filters) and self.find(record.get("id")) is None:
                yield record

    def _change_legacy(self, row: Row, changes: Record) -> None:
        aliases = {ALIASES[name] for name in changes if name in ALIASES}
        kept = {name: value for name, value in row.fields["record"].items() if name not in aliases}
        self.documents.patch(DOCUMENTS, row, {"record": {**kept, **changes}})


def _matches_either_spelling(record: Record, filters: list[tuple[str, Any]]) -> bool:
    return all(
        strict_equal(record.get(name, ABSENT), value)
        or strict_equal(record.get(ALIASES.get(name, name), ABSENT), value)
        for name, value in filters
    )
