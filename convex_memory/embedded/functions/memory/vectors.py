"""`memory/vectors:*`: vector indexes that are made at run time, searched where the rows are.

They are the indexes of the wire protocol (`mastra_vector_indexes`, `mastra_vectors`), so a
Mastra app's `ConvexVector` sees the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from convex_memory.embedded.documents import REMOVED, Documents, Record, Row
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    choice_argument,
    text_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import now_iso
from convex_memory.embedded.tables import VECTOR_INDEXES, VECTORS
from convex_memory.embedded.vector_scan import Scope, is_finite_vector, nearest
from convex_memory.errors import Conflict, DimensionMismatch, InvalidArgument, NotFound
from convex_memory.filters import Filter, from_wire
from convex_memory.limits import (
    MESSAGE_ID_CHARS_MAX,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
    VECTOR_RESULTS_MAX,
    VECTOR_UPSERT_BATCH,
)
from convex_memory.values import Value

REMOVE_BATCH_ROWS: Final = 2000
"""Vectors one `remove` call deletes."""


def create_index(documents: Documents, args: Args) -> Value:
    """Make an index; making the same one again changes nothing."""
    allow_only(args, "indexName", "dimension", "metric", "now")
    name = _name(args)
    dimension = whole_argument(args, "dimension", VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX)
    metric = choice_argument(args, "metric", ("cosine",))
    row = documents.first(VECTOR_INDEXES, indexName=name)
    if row is not None:
        if row.fields["dimension"] != dimension:
            raise Conflict(
                f"Index {name!a} exists with {row.fields['dimension']:g} dimensions, not "
                f"{dimension}. Use another name, or delete it first."
            )
        return {"created": False}
    documents.insert(
        VECTOR_INDEXES,
        {
            "id": name,
            "indexName": name,
            "dimension": dimension,
            "metric": metric,
            "createdAt": now_iso(documents, args),
        },
    )
    return {"created": True}


def describe(documents: Documents, args: Args) -> Value:
    """Return an index's dimension, metric and number of vectors."""
    allow_only(args, "indexName")
    index = _index(documents, args)
    return {
        "indexName": index["indexName"],
        "dimension": index["dimension"],
        "metric": index["metric"],
        "count": documents.count(VECTORS, {"indexName": index["indexName"]}),
    }


def list_indexes(documents: Documents, args: Args) -> Value:
    """Return every index, oldest first."""
    allow_only(args)
    return {
        "indexes": [
            {name: row.fields[name] for name in ("indexName", "dimension", "metric")}
            for row in documents.scan(VECTOR_INDEXES, {})
        ]
    }


def upsert(documents: Documents, args: Args) -> Value:
    """Store vectors, each in place of the one with its id; all of them or none."""
    allow_only(args, "indexName", "items")
    index = _index(documents, args)
    items = args.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= VECTOR_UPSERT_BATCH:
        raise InvalidArgument(f"items must be an array of 1 to {VECTOR_UPSERT_BATCH} vectors.")
    for position, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise InvalidArgument(f"items[{position}] must be {{id, vector, metadata?}}.")
        allow_only(item, "id", "vector", "metadata")
        record: Record = {
            "id": text_argument(item, "id"),
            "indexName": index["indexName"],
            "embedding": _vector(item.get("vector"), f"items[{position}].vector", index),
        }
        if item.get("metadata") is not None:
            record["metadata"] = _metadata(item["metadata"])
        row = _find(documents, index, record["id"])
        if row is None:
            documents.insert(VECTORS, record)
        else:
            # The vector is new: metadata said of the old one no longer holds.
            documents.patch(VECTORS, row, {"metadata": REMOVED, **record})
    return {"upserted": len(items)}


def update(documents: Documents, args: Args) -> Value:
    """Change the vector, the metadata, or both, of one vector or of all that match."""
    allow_only(args, "indexName", "id", "filter", "vector", "metadata")
    index = _index(documents, args)
    changes: Record = {}
    if args.get("vector") is not None:
        changes["embedding"] = _vector(args["vector"], "vector", index)
    metadata = _metadata(args["metadata"]) if args.get("metadata") is not None else None
    if not changes and metadata is None:
        raise InvalidArgument("Give a vector or metadata to change.")
    updated = 0
    for row in list(_selected(documents, index, args, "id")):
        if metadata is not None:
            changes["metadata"] = {**(row.fields.get("metadata") or {}), **metadata}
        documents.patch(VECTORS, row, changes)
        updated += 1
    return {"updated": updated}


def remove(documents: Documents, args: Args) -> Value:
    """Delete vectors by id or by filter, a batch at a time."""
    allow_only(args, "indexName", "ids", "filter")
    index = _index(documents, args)
    removed = 0
    for row in _selected(documents, index, args, "ids"):
        if removed == REMOVE_BATCH_ROWS:
            return {"removed": removed, "hasMore": True}
        documents.delete(VECTORS, row)
        removed += 1
    return {"removed": removed, "hasMore": False}


def delete_index(documents: Documents, args: Args) -> Value:
    """Delete an index with all its vectors, or its vectors only, in one transaction."""
    allow_only(args, "indexName", "keepIndex")
    name = _name(args)
    row = documents.first(VECTOR_INDEXES, indexName=name)
    documents.will_write()
    removed = documents.connection.execute(
        "DELETE FROM mastra_vectors WHERE indexName = ?", (name,)
    ).rowcount
    if row is not None and args.get("keepIndex") is not True:
        documents.delete(VECTOR_INDEXES, row)
    return {"found": row is not None, "removed": removed}


def search(documents: Documents, args: Args) -> Value:
    """Return the vectors most similar to one, best first, equal ones in creation order."""
    allow_only(args, "indexName", "vector", "limit", "filter", "includeVector")
    index = _index(documents, args)
    limit = whole_argument(args, "limit", 1, VECTOR_RESULTS_MAX)
    vector = _vector(args.get("vector"), "vector", index)
    wanted = from_wire(args["filter"]) if args.get("filter") is not None else None
    scope = Scope(VECTORS, "indexName", index["indexName"], "metadata")
    matches: list[Value] = []
    for each in nearest(documents, scope, vector, limit, keep=_keep(wanted)):
        row = documents.at(VECTORS, each.sequence)
        if row is not None:
            matches.append(_match(row, each.score, bool(args.get("includeVector"))))
    count = documents.count(VECTORS, {"indexName": index["indexName"]})
    return {"matches": matches, "exhausted": True, "count": count}


# --- Rows


def _match(row: Row, score: float, include_vector: bool) -> Record:
    match = {"id": row.fields["id"], "score": score, "metadata": row.fields.get("metadata")}
    if include_vector:
        match["vector"] = row.fields["embedding"]
    return match


def _keep(wanted: Filter | None) -> Callable[[Any], bool] | None:
    if wanted is None:
        return None

    def keep(metadata: str | None) -> bool:
        return wanted.matches(None if metadata is None else json.loads(metadata))

    return keep


def _find(documents: Documents, index: Record, record_id: str) -> Row | None:
    return documents.first(VECTORS, indexName=index["indexName"], id=record_id)


def _selected(documents: Documents, index: Record, args: Args, ids_name: str) -> Iterator[Row]:
    """Yield the rows that ids (or one id) or a filter name; exactly one of them is given."""
    ids, wanted = args.get(ids_name), args.get("filter")
    if (ids is None) == (wanted is None):
        raise InvalidArgument(f"Give either {ids_name} or filter, not both and not neither.")
    if ids is not None:
        for record_id in dict.fromkeys(ids if isinstance(ids, list) else [ids]):
            row = _find(documents, index, record_id)
            if row is not None:
                yield row
        return
    condition = from_wire(wanted)
    for row in documents.scan(VECTORS, {"indexName": index["indexName"]}):
        if condition.matches(row.fields.get("metadata")):
            yield row


# --- Arguments


def _name(args: Args) -> str:
    name: str = text_argument(args, "indexName")
    if len(name) > MESSAGE_ID_CHARS_MAX:
        raise InvalidArgument(f"indexName has at most {MESSAGE_ID_CHARS_MAX} characters.")
    return name


def _index(documents: Documents, args: Args) -> Record:
    name = _name(args)
    row = documents.first(VECTOR_INDEXES, indexName=name)
    if row is None:
        there = [each.fields["indexName"] for each in documents.scan(VECTOR_INDEXES, {}, limit=20)]
        choices = f"the indexes are {', '.join(there)}" if there else "there are none yet"
        raise NotFound(f"There is no index {name!a}; {choices}. Create it first.")
    return {**row.fields, "dimension": int(row.fields["dimension"])}


def _vector(values: Any, what: str, index: Record) -> list[float]:
    if not is_finite_vector(values):
        raise InvalidArgument(f"{what} must be an array of finite numbers.")
    if len(values) != index["dimension"]:
        raise DimensionMismatch(
            f"{what} has {len(values)} dimensions; index {index['indexName']!a} has "
            f"{index['dimension']}.",
            details={"dimension": index["dimension"], "received": len(values)},
        )
    return [float(value) for value in values]


def _metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata must be an object.")
    return dict(metadata)
