"""`mastra/nativeVector:query`, `:read` and `:write`: tables with a vector index.

The caller's `config` names the table and its fields. On Convex such tables stand in the schema;
here they come into being on their first write, with the config's dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from convex_memory.conditions import Condition, some
from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.functions.function import Args, allow_only
from convex_memory.embedded.tables import NATIVE_VECTORS, TABLES, check_identifier
from convex_memory.embedded.vector_index import Scope, Wanted, is_finite_vector, nearest
from convex_memory.errors import DimensionMismatch, InvalidArgument
from convex_memory.limits import (
    DESCRIBE_COUNT_MAX,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
    VECTOR_RESULTS_DEFAULT,
    VECTOR_RESULTS_MAX,
)
from convex_memory.values import Value, strict_equal

_CONFIG_NAMES: Final = (
    "tableName",
    "vectorIndexName",
    "dimension",
    "idField",
    "idIndexName",
    "vectorField",
    "metadataField",
    "filterFields",
)
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class _Config:
    table: str
    dimension: int | None
    id_field: str
    vector_field: str
    metadata_field: str
    filter_fields: tuple[str, ...]


def query(documents: Documents, args: Args) -> Value:
    """Return `[{id, score}]`, the rows nearest to a vector, best first."""
    allow_only(args, "config", "vector", "limit", "filter")
    config = _config(args)
    limit = args.get("limit", VECTOR_RESULTS_DEFAULT)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit != int(limit):
        limit = 0
    if not 1 <= limit <= VECTOR_RESULTS_MAX:
        raise InvalidArgument(
            f"Native vector query: limit must be an integer between 1 and {VECTOR_RESULTS_MAX}"
        )
    conditions = _conditions(args.get("filter"))
    vector = _vector(args.get("vector"), "vector")
    dimension = _deployed_dimension(documents, config)
    if dimension is None:
        return []
    if len(vector) != dimension:
        raise _mismatch(config.table, dimension, len(vector))
    found = nearest(
        documents,
        _scope(config),
        vector,
        int(limit),
        wanted=_wanted(conditions) if conditions else None,
    )
    return [
        {"id": documents.id_of(NATIVE_VECTORS, each.sequence), "score": each.score}
        for each in found
    ]


def read(documents: Documents, args: Args) -> Value:
    """Hydrate search results, list rows by id, or count a table."""
    allow_only(args, "op", "config", "ids", "includeVector", "countLimit")
    config = _config(args)
    operation = _READS.get(str(args.get("op")))
    if operation is None:
        raise InvalidArgument(f"Native vector read: op must be one of {', '.join(_READS)}.")
    return operation(documents, config, args)


def write(documents: Documents, args: Args) -> Value:
    """Upsert, update or delete rows."""
    allow_only(args, "op", "config", "ids", "vectors", "metadata", "id", "vector")
    config = _config(args)
    operation = _WRITES.get(str(args.get("op")))
    if operation is None:
        raise InvalidArgument(f"Native vector write: op must be one of {', '.join(_WRITES)}.")
    operation(documents, config, args)
    return {"ok": True}


# --- Reads


def _get_by_convex_ids(documents: Documents, config: _Config, args: Args) -> Value:
    docs: list[Value] = []
    for document_id in _ids(args, "Native vector query: ids are required"):
        sequence = documents.sequence_of(NATIVE_VECTORS, str(document_id))
        row = documents.at(NATIVE_VECTORS, sequence) if sequence is not None else None
        if row is not None and row.fields["table"] == config.table:
            docs.append(_doc(documents, config, row, vector=bool(args.get("includeVector"))))
    return docs


def _list_by_ids(documents: Documents, config: _Config, args: Args) -> Value:
    rows = [
        _find(documents, config, record_id)
        for record_id in _ids(args, "Native vector query: ids are required")
    ]
    return [None if row is None else _doc(documents, config, row, vector=True) for row in rows]


def _describe(documents: Documents, config: _Config, args: Args) -> Value:
    asked = args.get("countLimit")
    asked = DESCRIBE_COUNT_MAX if asked is None else asked
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        raise InvalidArgument("countLimit must be a number.")
    limit = int(min(max(asked, 1), DESCRIBE_COUNT_MAX))
    count = documents.count(NATIVE_VECTORS, {"table": config.table}, limit + 1)
    return {"count": min(count, limit), "countIsLimited": count > limit}


_READS: Final[Mapping[str, Callable[[Documents, _Config, Args], Value]]] = {
    "getByConvexIds": _get_by_convex_ids,
    "listByIds": _list_by_ids,
    "describe": _describe,
}


# --- Writes


def _upsert(documents: Documents, config: _Config, args: Args) -> None:
    ids, vectors, metadata = args.get("ids"), args.get("vectors"), args.get("metadata")
    if not isinstance(ids, list) or not isinstance(vectors, list):
        raise InvalidArgument("Native vector upsert: ids and vectors are required")
    _check_matching(ids, vectors, metadata)
    dimension = _establish(documents, config, len(vectors[0]) if vectors else None)
    for at, (record_id, values) in enumerate(zip(ids, vectors, strict=True)):
        vector = _vector(values, f"vectors[{at}]")
        if len(vector) != dimension:
            raise _mismatch(config.table, dimension, len(vector))
        row = _find(documents, config, record_id)
        record: Record = {} if row is None else dict(row.fields["record"])
        record[config.id_field] = record_id
        if metadata is not None:
            for name in config.filter_fields:
                record.pop(name, None)
            record |= _with_filter_fields(config, metadata[at])
        documents.upsert(NATIVE_VECTORS, _fields(config, record_id, record, vector), row)


def _check_matching(ids: list[Any], vectors: list[Any], metadata: Any) -> None:
    what = "Native vector upsert:"
    if len(vectors) != len(ids):
        raise InvalidArgument(
            f"{what} vectors length ({len(vectors)}) must match ids length ({len(ids)})"
        )
    if metadata is not None:
        if not isinstance(metadata, list):
            raise InvalidArgument(f"{what} metadata must be an array matching ids when provided")
        if len(metadata) != len(ids):
            raise InvalidArgument(
                f"{what} metadata length ({len(metadata)}) must match ids length ({len(ids)})"
            )
        if not all(isinstance(entry, Mapping) for entry in metadata):
            raise InvalidArgument(f"{what} metadata entries must be objects when provided")
    if not all(isinstance(record_id, str) for record_id in ids):
        raise InvalidArgument(f"{what} ids must be text")
    if len(set(ids)) != len(ids):
        raise InvalidArgument(f"{what} ids must be unique")


def _update_by_id(documents: Documents, config: _Config, args: Args) -> None:
    record_id, metadata = args.get("id"), args.get("metadata")
    if not record_id:
        raise InvalidArgument("Native vector update: id is required")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidArgument("Native vector update: metadata must be an object when provided")
    row = _find(documents, config, record_id)
    if row is None:
        return
    vector = row.fields["embedding"]
    if args.get("vector") is not None:
        vector = _vector(args["vector"], "vector")
        dimension = _deployed_dimension(documents, config)
        if dimension is not None and len(vector) != dimension:
            raise _mismatch(config.table, dimension, len(vector))
    record = dict(row.fields["record"])
    if metadata is not None:
        merged = {**(record.get(config.metadata_field) or {}), **metadata}
        record |= _with_filter_fields(config, merged)
    documents.patch(NATIVE_VECTORS, row, _fields(config, record_id, record, vector))


def _delete_by_ids(documents: Documents, config: _Config, args: Args) -> None:
    for record_id in dict.fromkeys(_ids(args, "Native vector deleteByIds: ids are required")):
        row = _find(documents, config, record_id)
        if row is not None:
            documents.delete(NATIVE_VECTORS, row)


_WRITES: Final[Mapping[str, Callable[[Documents, _Config, Args], None]]] = {
    "upsert": _upsert,
    "updateById": _update_by_id,
    "deleteByIds": _delete_by_ids,
}


# --- Rows


def _scope(config: _Config) -> Scope:
    return Scope(NATIVE_VECTORS, "table", config.table, "record")


def _find(documents: Documents, config: _Config, record_id: Any) -> Row | None:
    return documents.first(NATIVE_VECTORS, table=config.table, recordId=record_id)


def _fields(config: _Config, record_id: str, record: Record, vector: list[float]) -> Record:
    return {"table": config.table, "recordId": record_id, "record": record, "embedding": vector}


def _doc(documents: Documents, config: _Config, row: Row, *, vector: bool) -> Record:
    doc = {
        **row.fields["record"],
        "_id": documents.id_of(NATIVE_VECTORS, row.sequence),
        "_creationTime": row.created,
    }
    if vector:
        doc[config.vector_field] = row.fields["embedding"]
    return doc


def _with_filter_fields(config: _Config, metadata: Mapping[str, Any]) -> Record:
    copies = {name: metadata[name] for name in config.filter_fields if name in metadata}
    return {config.metadata_field: dict(metadata), **copies}


def _deployed_dimension(documents: Documents, config: _Config) -> int | None:
    """Return the dimension of the table, or None while it has not been written to.

    Raises:
        InvalidArgument: The config names other id or vector fields than the table has.
    """
    row = documents.connection.execute(
        "SELECT dimension, id_field, vector_field FROM native_tables WHERE name = ?",
        (config.table,),
    ).fetchone()
    if row is None:
        return None
    if (row[1], row[2]) != (config.id_field, config.vector_field):
        raise InvalidArgument(
            f"Table {config.table} holds its ids in {row[1]} and its vectors in {row[2]}; the "
            f"config says {config.id_field} and {config.vector_field}."
        )
    return int(row[0])


def _establish(documents: Documents, config: _Config, length: int | None) -> int:
    """Make the table on its first write and return its dimension."""
    deployed = _deployed_dimension(documents, config)
    if deployed is not None:
        if config.dimension is not None and config.dimension != deployed:
            raise _mismatch(config.table, deployed, config.dimension)
        return deployed
    dimension = config.dimension if config.dimension is not None else length
    if dimension is None:
        return 0
    if not VECTOR_DIMENSION_MIN <= dimension <= VECTOR_DIMENSION_MAX:
        raise InvalidArgument(
            f"A vector index has between {VECTOR_DIMENSION_MIN} and {VECTOR_DIMENSION_MAX} "
            f"dimensions, not {dimension}."
        )
    documents.will_write()
    documents.connection.execute(
        "INSERT INTO native_tables VALUES (?, ?, ?, ?)",
        (config.table, dimension, config.id_field, config.vector_field),
    )
    return dimension


# --- Arguments


def _config(args: Args) -> _Config:
    config = args.get("config")
    if not isinstance(config, Mapping):
        raise InvalidArgument("config must be an object that names the table.")
    allow_only(config, *_CONFIG_NAMES)
    table = check_identifier(config.get("tableName"), "tableName")  # type: ignore[arg-type]
    if table in TABLES:
        raise InvalidArgument(f"{table} is not a native vector table; choose another tableName.")
    names = {
        name: check_identifier(config.get(name, default), name)
        for name, default in (
            ("idField", "id"),
            ("vectorField", "embedding"),
            ("metadataField", "metadata"),
        )
    }
    dimension = config.get("dimension")
    if dimension is not None and (
        isinstance(dimension, bool)
        or not isinstance(dimension, int | float)
        or dimension != int(dimension)
    ):
        raise InvalidArgument("config.dimension must be an integer.")
    filter_fields = config.get("filterFields") or []
    if not isinstance(filter_fields, list | tuple):
        raise InvalidArgument("config.filterFields must be an array of field names.")
    return _Config(
        table,
        None if dimension is None else int(dimension),
        names["idField"],
        names["vectorField"],
        names["metadataField"],
        tuple(check_identifier(name, "filterFields") for name in filter_fields),
    )


def _vector(values: Any, what: str) -> list[float]:
    if not is_finite_vector(values):
        raise InvalidArgument(f"{what} must be an array of finite numbers.")
    return [float(value) for value in values]


def _mismatch(table: str, wanted: int, got: int) -> DimensionMismatch:
    return DimensionMismatch(
        f"Expected a vector with dimensions {wanted}, received {got} (table {table}).",
        details={"dimension": wanted, "received": got},
    )


def _ids(args: Args, message: str) -> list[Any]:
    ids = args.get("ids")
    if not isinstance(ids, list):
        raise InvalidArgument(message)
    if not all(isinstance(record_id, str) for record_id in ids):
        raise InvalidArgument("ids must be an array of text.")
    return ids


def _conditions(given: Any) -> list[tuple[str, Any]]:
    """Read `{field, value}` or `{$or: [...]}` (also spelt `or`): any of them may hold."""
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise InvalidArgument("filter must be {field, value} or {$or: [{field, value}]}.")
    branches = given.get("$or", given.get("or"))
    each = branches if isinstance(branches, list) else [given]
    if not all(isinstance(one, Mapping) and set(one) == {"field", "value"} for one in each):
        raise InvalidArgument("filter must be {field, value} or {$or: [{field, value}]}.")
    return [(str(one["field"]), one["value"]) for one in each]


def _wanted(conditions: list[tuple[str, Any]]) -> Wanted:
    def matches(record: Mapping[str, Any]) -> bool:
        return any(strict_equal(record.get(name, _ABSENT), value) for name, value in conditions)

    return Wanted(some([Condition(name, "eq", value) for name, value in conditions]), matches)
