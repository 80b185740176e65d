"""Where a storage request goes: a typed table, one vector index, or generic documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from convex_memory.embedded import forgetting
from convex_memory.embedded.documents import REMOVED, Documents, Record, Row
from convex_memory.embedded.functions.function import Args, SoftRefusal, TableOperation
from convex_memory.embedded.functions.mastra.requests import (
    ABSENT,
    CURSOR_PREFIX,
    as_key,
    cursor_argument,
    filters_argument,
    ids_argument,
    is_whole,
    limit_argument,
    matches,
    record_argument,
    rows_to_read,
)
from convex_memory.embedded.tables import (
    DOCUMENTS,
    MESSAGES,
    VECTORS,
    WORKFLOW_SNAPSHOTS,
    Table,
)
from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import DELETE_BATCH_ROWS, LOAD_MANY_IDS_MAX, QUERY_ROWS_MAX
from convex_memory.values import Value, strict_equal


class Route:
    """The operations that every logical table has.

    The routes differ in how a record becomes a row (`put`, `change`), how a row is found
    (`find`) and shown (`show`); the operations over them are the same.
    """

    table: Table
    scope: Record
    missing_id: str

    def __init__(self, documents: Documents) -> None:
        self.documents = documents

    def run(self, args: Args) -> Value:
        """Answer one request, softly refusing an operation this route does not have."""
        operation = _OPERATIONS.get(str(args.get("op")))
        if operation is None:
            return self.run_special(args)
        return operation(self, args)

    def run_special(self, args: Args) -> Value:
        """Answer an operation that only some tables have."""
        raise SoftRefusal(f"Unsupported operation {args.get('op', 'undefined')}")

    # --- What differs

    def find(self, record_id: Any) -> Row | None:
        """Return the row with this record id, or None."""
        raise AssertionError

    def put(self, record: Record) -> None:
        """Insert the record or overwrite the row with its id."""
        raise AssertionError

    def change(self, row: Row, record: Record) -> None:
        """Patch a row."""
        raise AssertionError

    def show(self, row: Row) -> Record:
        """Return what a reader of this route gets for a row."""
        return self.documents.doc(self.table, row)

    def coalesce(self, earlier: Record | None, later: Record) -> Record:
        """Return what two records of one batch with the same id amount to."""
        return later

    def rows(self, limit: int) -> Iterator[Row]:
        """Yield the route's rows in creation order."""
        return self.documents.scan(self.table, self.scope, limit=limit)

    # --- Operations

    def insert(self, args: Args) -> Value:
        """Upsert one record by its id."""
        record = record_argument(args, "record")
        if not record.get("id"):
            raise InvalidArgument(self.missing_id)
        self.put(record)
        return {"ok": True}

    def batch_insert(self, args: Args) -> Value:
        """Upsert many records; those without an id are left out."""
        records = args.get("records")
        if not isinstance(records, list):
            raise InvalidArgument("records must be an array of objects.")
        merged: dict[str, Record] = {}
        for position, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise InvalidArgument(f"records[{position}] must be an object.")
            if record.get("id"):
                key = as_key(record["id"])
                merged[key] = self.coalesce(merged.get(key), dict(record))
        for record in merged.values():
            self.put(record)
        return {"ok": True}

    def patch(self, args: Args) -> Value:
        """Change fields of one row; say whether there was one."""
        record = record_argument(args, "record")
        row = self.find(args.get("id"))
        if row is None:
            return {"ok": True, "result": False}
        record.pop("id", None)
        self.change(row, record)
        return {"ok": True, "result": True}

    def load(self, args: Args) -> Value:
        """Return one row by its keys, or null."""
        keys = record_argument(args, "keys")
        row = self.find(keys["id"]) if keys.get("id") else self.find_by_keys(keys)
        return {"ok": True, "result": None if row is None else self.show(row)}

    def find_by_keys(self, keys: Record) -> Row | None:
        """Return the oldest row whose shown fields all equal `keys`."""
        for row in self.rows(QUERY_ROWS_MAX):
            shown = self.show(row)
            if all(strict_equal(shown.get(name, ABSENT), keys[name]) for name in keys):
                return row
        return None

    def load_many(self, args: Args) -> Value:
        """Return the rows with these ids, in the order asked for."""
        ids = ids_argument(args)
        if len(ids) > LOAD_MANY_IDS_MAX:
            raise LimitExceeded(f"loadMany supports at most {LOAD_MANY_IDS_MAX} ids per request")
        rows = [self.find(record_id) for record_id in dict.fromkeys(ids)]
        return {"ok": True, "result": [self.show(row) for row in rows if row is not None]}

    def query_table(self, args: Args) -> Value:
        """Take the first rows, then filter them, then cut to the limit."""
        limit = limit_argument(args)
        shown = [self.show(row) for row in self.rows(rows_to_read(limit))]
        filters = filters_argument(args)
        kept = [record for record in shown if matches(record, filters)]
        return {"ok": True, "result": kept if limit is None else kept[:limit]}

    def delete_many(self, args: Args) -> Value:
        """Delete the rows with these ids; absent ones are left alone."""
        for record_id in dict.fromkeys(ids_argument(args)):
            row = self.find(record_id)
            if row is not None:
                self.documents.delete(self.table, row)
        return {"ok": True}

    def clear(self, args: Args) -> Value:
        """Delete the oldest rows, a batch at a time."""
        rows = list(self.rows(DELETE_BATCH_ROWS + 1))
        for row in rows[:DELETE_BATCH_ROWS]:
            self.documents.delete(self.table, row)
        return {"ok": True, "hasMore": len(rows) > DELETE_BATCH_ROWS}


class TypedRoute(Route):
    """A table with declared fields; `operations` are those that only some tables have."""

    missing_id = "Record is missing an id"

    def __init__(
        self,
        documents: Documents,
        table: Table,
        name: str,
        operations: Mapping[str, TableOperation],
    ) -> None:
        super().__init__(documents)
        self.table = table
        self.name = name
        self.scope = {}
        self.operations = operations

    def run_special(self, args: Args) -> Value:
        """Answer an operation that belongs to one table."""
        operation = self.operations.get(str(args.get("op")))
        if operation is None:
            return super().run_special(args)
        if self.table is not operation.table:
            if operation.soft:
                raise SoftRefusal(f"Unsupported operation {args['op']} for table {self.name}")
            raise InvalidArgument(f"{args['op']} is only supported for {operation.table.name}")
        return operation.run(self.documents, args)

    def find(self, record_id: Any) -> Row | None:
        """Return the row with this record id, or None."""
        row = self.documents.first(self.table, id=record_id)
        if row is not None and self.table is MESSAGES and forgetting.waits(self.documents, row):
            if self.documents.writable:
                forgetting.take_away(self.documents, row)
            return None
        return row

    def rows(self, limit: int) -> Iterator[Row]:
        """Yield the table's rows in creation order, without messages that wait to be removed."""
        return self.documents.scan(self.table, {}, where=self._left_out(), limit=limit)

    def clear(self, args: Args) -> Value:
        """Delete the oldest rows, a batch at a time, and what is kept of deleted ones."""
        forgetting.drop_all(self.documents, self.table)
        return super().clear(args)

    def put(self, record: Record) -> None:
        """Insert the record or patch the row with its id."""
        self.documents.upsert(self.table, record, self.find(record["id"]))

    def change(self, row: Row, record: Record) -> None:
        """Patch a row."""
        self.documents.patch(self.table, row, record)

    def coalesce(self, earlier: Record | None, later: Record) -> Record:
        """Merge field by field, the later record winning."""
        return {**(earlier or {}), **later}

    def find_by_keys(self, keys: Record) -> Row | None:
        """Find a workflow snapshot by its run, anything else by looking at each row."""
        if self.table is WORKFLOW_SNAPSHOTS:
            workflow, run = keys.get("workflow_name"), keys.get("run_id")
            if isinstance(workflow, str) and isinstance(run, str):
                return self.documents.first(self.table, workflow_name=workflow, run_id=run)
        return super().find_by_keys(keys)

    def query_table(self, args: Args) -> Value:
        """Read through the index that the filters cover best, in its order."""
        return {"ok": True, "result": self.matching_docs(args)}

    def matching_docs(self, args: Args) -> list[Value]:
        """Return what `query_table` answers with."""
        limit = limit_argument(args)
        filters = filters_argument(args)
        equals, order = self._index(args.get("indexHint"), dict(filters))
        rest = [(name, value) for name, value in filters if name not in equals]
        if args.get("indexHint") is not None:
            rest = filters
        most = QUERY_ROWS_MAX if limit is None else min(limit, QUERY_ROWS_MAX)
        found: list[Value] = []
        for row in self.documents.scan(
            self.table, {**self._comparable(rest), **equals}, order=order, where=self._left_out()
        ):
            if len(found) >= most:
                break
            doc = self.show(row)
            if matches(doc, rest):
                found.append(doc)
        return found

    def _left_out(self) -> str:
        return forgetting.waiting_left_out(self.documents) if self.table is MESSAGES else ""

    def _comparable(self, filters: list[tuple[str, Any]]) -> Record:
        """Return the filters that SQL can apply, so that fewer rows have to be decoded."""
        fields = self.table.fields
        kinds = ("string", "number", "boolean")
        return {
            name: value for name, value in filters if name in fields and fields[name].kind in kinds
        }

    def _index(self, hint: Any, filters: Record) -> tuple[Record, tuple[str, ...]]:
        """Choose an index: the values its leading fields must equal, and the fields after."""
        if hint is not None:
            return self._hinted_index(hint)
        best: tuple[str, ...] = ()
        covered = 0
        for fields in self.table.indexes.values():
            run = 0
            while run < len(fields) and fields[run] in filters:
                run += 1
            if run > covered:
                best, covered = fields, run
        return {name: filters[name] for name in best[:covered]}, best[covered:]

    def _hinted_index(self, hint: Any) -> tuple[Record, tuple[str, ...]]:
        if not isinstance(hint, Mapping):
            raise InvalidArgument("indexHint must be an object.")
        index = hint.get("index")
        if index not in ("by_workflow", "by_workflow_run"):
            return {}, ()
        if self.table is not WORKFLOW_SNAPSHOTS:
            raise InvalidArgument(f"{self.name} has no index {index}.")
        equals = {"workflow_name": hint.get("workflowName")}
        if index == "by_workflow_run":
            equals["run_id"] = hint.get("runId")
        return equals, ()


class VectorRoute(Route):
    """The rows of one vector index (`mastra_vector_<index>`)."""

    table = VECTORS
    missing_id = "Vector record is missing an id"

    def __init__(self, documents: Documents, index: str) -> None:
        super().__init__(documents)
        self.scope = {"indexName": index}

    def find(self, record_id: Any) -> Row | None:
        """Return the index's row with this record id, or None."""
        return self.documents.first(VECTORS, **self.scope, id=record_id)

    def find_by_keys(self, keys: Record) -> Row | None:
        """Find nothing: vectors are loaded by id only."""
        return None

    def put(self, record: Record) -> None:
        """Insert a vector, or set both embedding and metadata of the one there is."""
        fields: Record = {
            name: record[name] for name in ("embedding", "metadata") if name in record
        }
        row = self.find(record["id"])
        if row is None:
            self.documents.insert(VECTORS, {"id": record["id"], **self.scope, **fields})
        else:
            both: Record = {"embedding": REMOVED, "metadata": REMOVED, **fields}
            self.documents.patch(VECTORS, row, both)

    def change(self, row: Row, record: Record) -> None:
        """Patch a vector's row."""
        record.pop("indexName", None)
        self.documents.patch(VECTORS, row, record)

    def query_table(self, args: Args) -> Value:
        """Read a page of the index, or its first rows."""
        if args.get("pageSize") is not None:
            return self._page(args)
        if "cursor" in args:
            raise InvalidArgument("queryTable cursor requires pageSize")
        return super().query_table(args)

    def _page(self, args: Args) -> Value:
        size = args["pageSize"]
        if not is_whole(size) or size < 1:
            raise InvalidArgument("queryTable pageSize must be a positive integer")
        if args.get("limit") is not None:
            raise InvalidArgument("queryTable limit cannot be combined with pageSize")
        after = cursor_argument(args.get("cursor"))
        rows = list(
            self.documents.scan(
                VECTORS, self.scope, where='"_sequence" > ?', bound=(after,), limit=int(size) + 1
            )
        )
        page, more = rows[: int(size)], len(rows) > size
        filters = filters_argument(args)
        shown = [self.show(row) for row in page]
        last = page[-1].sequence if page else after
        return {
            "ok": True,
            "result": [record for record in shown if matches(record, filters)],
            "hasMore": more,
            "continuationCursor": f"{CURSOR_PREFIX}{last}",
        }


class GenericRoute(Route):
    """A table nobody declared: whole records in `mastra_documents`."""

    table = DOCUMENTS

    def __init__(self, documents: Documents, name: str) -> None:
        super().__init__(documents)
        self.scope = {"table": name}
        self.missing_id = f"Record for table {name} is missing an id"

    def find(self, record_id: Any) -> Row | None:
        """Return the document with this record id, or None."""
        return self.documents.first(DOCUMENTS, **self.scope, primaryKey=as_key(record_id))

    def put(self, record: Record) -> None:
        """Store the record whole, in place of the one with its id."""
        row = self.find(record["id"])
        if row is None:
            key = {"primaryKey": as_key(record["id"])}
            self.documents.insert(DOCUMENTS, {**self.scope, **key, "record": record})
        else:
            self.documents.patch(DOCUMENTS, row, {"record": record})

    def change(self, row: Row, record: Record) -> None:
        """Merge the fields into the stored record."""
        self.documents.patch(DOCUMENTS, row, {"record": {**row.fields["record"], **record}})

    def show(self, row: Row) -> Record:
        """Return the stored record, without system fields."""
        record: Record = row.fields["record"]
        return record


_OPERATIONS: Final[Mapping[str, Callable[[Route, Args], Value]]] = {
    "insert": lambda route, args: route.insert(args),
    "batchInsert": lambda route, args: route.batch_insert(args),
    "patch": lambda route, args: route.patch(args),
    "load": lambda route, args: route.load(args),
    "loadMany": lambda route, args: route.load_many(args),
    "queryTable": lambda route, args: route.query_table(args),
    "deleteMany": lambda route, args: route.delete_many(args),
    "clearTable": lambda route, args: route.clear(args),
    "dropTable": lambda route, args: route.clear(args),
}
