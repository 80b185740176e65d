"""`mastra/storage:handle`: every storage operation of the wire protocol.

A request is `{op, tableName, …}`. The logical table decides the route: a typed table, the rows
of one vector index, or generic documents; each route has its own table of operations.

Errors: on the routes of vectors and of background tasks a failure is answered softly
(`{ok: false, error}`), elsewhere the call fails. Either way nothing of it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from convex_memory.embedded.documents import REMOVED, Documents, Record, Row
from convex_memory.embedded.functions.function import Args, SoftRefusal, TableOperation
from convex_memory.embedded.functions.mastra import memory_operations
from convex_memory.embedded.tables import (
    BACKGROUND_TASKS,
    DOCUMENTS,
    TYPED_TABLES,
    VECTORS,
    WORKFLOW_SNAPSHOTS,
    Table,
)
from convex_memory.errors import FunctionError, InvalidArgument, LimitExceeded
from convex_memory.limits import DELETE_BATCH_ROWS, LOAD_MANY_IDS_MAX, QUERY_ROWS_MAX
from convex_memory.values import Value, strict_equal

VECTOR_PREFIX: Final = "mastra_vector_"
READS: Final = frozenset({"load", "loadMany", "queryTable"})
TABLE_OPERATIONS: Final[Mapping[str, TableOperation]] = {**memory_operations.OPERATIONS}
"""Operations that only one table has, by name."""
_CURSOR_PREFIX: Final = "after:"
_ABSENT: Final = object()


def reads(args: Args) -> bool:
    """Whether this request only reads."""
    operation = TABLE_OPERATIONS.get(str(args.get("op")))
    return args.get("op") in READS or (operation is not None and operation.reads)


def handle(documents: Documents, args: Args) -> Value:
    """Run one storage request and return its envelope."""
    name = args.get("tableName")
    if not isinstance(name, str):
        raise SoftRefusal("Cannot read properties of undefined (reading 'startsWith')")
    table = TYPED_TABLES.get(name)
    if table is not None:
        route: Route = TypedRoute(documents, table, name)
        soft = table is BACKGROUND_TASKS
    elif name.startswith(VECTOR_PREFIX):
        route, soft = VectorRoute(documents, name.removeprefix(VECTOR_PREFIX)), True
    else:
        route, soft = GenericRoute(documents, name), False
    try:
        return route.run(args)
    except FunctionError as error:
        if soft:
            raise SoftRefusal(error.message) from error
        raise


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
        raise SoftRefusal(f"Unsupported operation {args.get('op')}")

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
        record = _record(args, "record")
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
                key = str(record["id"])
                merged[key] = self.coalesce(merged.get(key), dict(record))
        for record in merged.values():
            self.put(record)
        return {"ok": True}

    def patch(self, args: Args) -> Value:
        """Change fields of one row; say whether there was one."""
        record = _record(args, "record")
        row = self.find(args.get("id"))
        if row is None:
            return {"ok": True, "result": False}
        record.pop("id", None)
        self.change(row, record)
        return {"ok": True, "result": True}

    def load(self, args: Args) -> Value:
        """Return one row by its keys, or null."""
        keys = _record(args, "keys")
        row = self.find(keys["id"]) if keys.get("id") else self.find_by_keys(keys)
        return {"ok": True, "result": None if row is None else self.show(row)}

    def find_by_keys(self, keys: Record) -> Row | None:
        """Return the oldest row whose shown fields all equal `keys`."""
        for row in self.rows(QUERY_ROWS_MAX):
            shown = self.show(row)
            if all(strict_equal(shown.get(name, _ABSENT), keys[name]) for name in keys):
                return row
        return None

    def load_many(self, args: Args) -> Value:
        """Return the rows with these ids, in the order asked for."""
        ids = _ids(args)
        if len(ids) > LOAD_MANY_IDS_MAX:
            raise LimitExceeded(f"loadMany supports at most {LOAD_MANY_IDS_MAX} ids per request")
        rows = [self.find(record_id) for record_id in dict.fromkeys(ids)]
        return {"ok": True, "result": [self.show(row) for row in rows if row is not None]}

    def query_table(self, args: Args) -> Value:
        """Take the first rows, then filter them, then cut to the limit."""
        limit = _limit(args)
        shown = [self.show(row) for row in self.rows(_rows_to_read(limit))]
        filters = _filters(args)
        kept = [record for record in shown if _matches(record, filters)]
        return {"ok": True, "result": kept if limit is None else kept[:limit]}

    def delete_many(self, args: Args) -> Value:
        """Delete the rows with these ids; absent ones are left alone."""
        for record_id in dict.fromkeys(_ids(args)):
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
    """A table with declared fields."""

    missing_id = "Record is missing an id"

    def __init__(self, documents: Documents, table: Table, name: str) -> None:
        super().__init__(documents)
        self.table = table
        self.name = name
        self.scope = {}

    def run_special(self, args: Args) -> Value:
        """Answer an operation that belongs to one table."""
        operation = TABLE_OPERATIONS.get(str(args.get("op")))
        if operation is None:
            return super().run_special(args)
        if self.table is not operation.table:
            if operation.soft:
                raise SoftRefusal(f"Unsupported operation {args['op']} for table {self.name}")
            raise InvalidArgument(f"{args['op']} is only supported for {operation.table.name}")
        return operation.run(self.documents, args)

    def find(self, record_id: Any) -> Row | None:
        """Return the row with this record id, or None."""
        return self.documents.first(self.table, id=record_id)

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
        limit = _limit(args)
        filters = _filters(args)
        equals, order = self._index(args.get("indexHint"), dict(filters))
        rest = [(name, value) for name, value in filters if name not in equals]
        if args.get("indexHint") is not None:
            rest = filters
        most = QUERY_ROWS_MAX if limit is None else min(limit, QUERY_ROWS_MAX)
        found: list[Value] = []
        for row in self.documents.scan(self.table, equals, order=order):
            if len(found) >= most:
                break
            doc = self.show(row)
            if _matches(doc, rest):
                found.append(doc)
        return {"ok": True, "result": found}

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
        if not _is_whole(size) or size < 1:
            raise InvalidArgument("queryTable pageSize must be a positive integer")
        if args.get("limit") is not None:
            raise InvalidArgument("queryTable limit cannot be combined with pageSize")
        after = _after(args.get("cursor"))
        rows = list(
            self.documents.scan(
                VECTORS, self.scope, where='"_sequence" > ?', bound=(after,), limit=int(size) + 1
            )
        )
        page, more = rows[: int(size)], len(rows) > size
        filters = _filters(args)
        shown = [self.show(row) for row in page]
        last = page[-1].sequence if page else after
        return {
            "ok": True,
            "result": [record for record in shown if _matches(record, filters)],
            "hasMore": more,
            "continuationCursor": f"{_CURSOR_PREFIX}{last}",
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
        return self.documents.first(DOCUMENTS, **self.scope, primaryKey=_as_key(record_id))

    def put(self, record: Record) -> None:
        """Store the record whole, in place of the one with its id."""
        row = self.find(record["id"])
        if row is None:
            key = {"primaryKey": _as_key(record["id"])}
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


# --- Arguments


def _record(args: Args, name: str) -> Record:
    value = args.get(name)
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} must be an object.")
    return dict(value)


def _ids(args: Args) -> list[Any]:
    ids = args.get("ids")
    if not isinstance(ids, list):
        raise InvalidArgument("ids must be an array of record ids.")
    return ids


def _filters(args: Args) -> list[tuple[str, Any]]:
    filters = args.get("filters") or []
    if not isinstance(filters, list):
        raise InvalidArgument("filters must be an array of {field, value}.")
    pairs = []
    for position, each in enumerate(filters):
        if not isinstance(each, Mapping) or "field" not in each or "value" not in each:
            raise InvalidArgument(f"filters[{position}] must be {{field, value}}.")
        pairs.append((str(each["field"]), each["value"]))
    return pairs


def _matches(record: Record, filters: list[tuple[str, Any]]) -> bool:
    return all(strict_equal(record.get(name, _ABSENT), value) for name, value in filters)


def _limit(args: Args) -> int | None:
    limit = args.get("limit")
    if not limit:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
        raise InvalidArgument("queryTable limit must be a number that is not negative")
    return math.floor(limit)


def _rows_to_read(limit: int | None) -> int:
    return QUERY_ROWS_MAX if limit is None else min(limit * 2, QUERY_ROWS_MAX)


def _is_whole(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    )


def _after(cursor: Any) -> int:
    if cursor is None:
        return 0
    digits = cursor.removeprefix(_CURSOR_PREFIX) if isinstance(cursor, str) else ""
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 18:
        raise InvalidArgument("queryTable cursor must come from an earlier page")
    return int(digits)


def _as_key(record_id: Any) -> str:
    """`String(id)` as JavaScript writes it."""
    if isinstance(record_id, str):
        return record_id
    if isinstance(record_id, bool):
        return "true" if record_id else "false"
    if isinstance(record_id, float) and record_id.is_integer():
        return str(int(record_id))
    return str(record_id)
