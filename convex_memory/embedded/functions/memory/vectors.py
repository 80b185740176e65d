"""`memory/vectors:*`: vector indexes that are made at run time, searched where the rows are.

They are the indexes of the wire protocol (`mastra_vector_indexes`, `mastra_vectors`), so a
Mastra app's `ConvexVector` sees the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from convex_memory.embedded import embedding_queue
from convex_memory.embedded.documents import REMOVED, Documents, Record, Row
from convex_memory.embedded.embedding_queue import Binding
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    choice_argument,
    text_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import now_iso
from convex_memory.embedded.tables import VECTOR_INDEXES, VECTORS
from convex_memory.embedded.vector_blobs import packed
from convex_memory.embedded.vector_index import (
    Scope,
    count,
    forget_file,
    is_finite_vector,
    nearest,
    nearly_nearest,
    wanted_by,
)
from convex_memory.errors import (
    Conflict,
    DimensionMismatch,
    InvalidArgument,
    LimitExceeded,
    NotFound,
)
from convex_memory.filters import from_wire
from convex_memory.limits import (
    EMBED_TEXT_CHARS_MAX,
    MESSAGE_ID_CHARS_MAX,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
    VECTOR_RESULTS_MAX,
    VECTOR_UPSERT_BATCH,
)
from convex_memory.principals import namespace_in
from convex_memory.values import FiniteFloats, Value

_METRIC: Final = "cosine"
CHOICES_MAX: Final = 20
"""Indexes that a refusal names."""
REMOVE_BATCH_ROWS: Final = 2000
"""Vectors one `remove` call deletes."""


def create_index(documents: Documents, args: Args) -> Value:
    """Make an index; making the same one again changes nothing."""
    allow_only(args, "indexName", "dimension", "metric", "now")
    name = _name(args)
    dimension = whole_argument(args, "dimension", VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX)
    choice_argument(args, "metric", (_METRIC,))
    return {"created": index_of_dimension(documents, name, dimension, now_iso(documents, args))}


def index_of_dimension(documents: Documents, name: str, dimension: int, now: str) -> bool:
    """Make an index unless there is one; say whether it was made.

    Raises:
        Conflict: There is one of another dimension.
    """
    row = documents.first(VECTOR_INDEXES, indexName=name)
    if row is not None:
        if row.fields["dimension"] != dimension:
            raise Conflict(
                f"Index {name!a} exists with {row.fields['dimension']:g} dimensions, not "
                f"{dimension}. Use another name, or delete it first."
            )
        return False
    documents.insert(
        VECTOR_INDEXES,
        {
            "id": name,
            "indexName": name,
            "dimension": dimension,
            "metric": _METRIC,
            "createdAt": now,
        },
    )
    return True


def describe(documents: Documents, args: Args) -> Value:
    """Return an index's dimension, metric and number of vectors."""
    allow_only(args, "indexName")
    index = _index(documents, args)
    return {
        "indexName": index["indexName"],
        "dimension": index["dimension"],
        "metric": index["metric"],
        "count": documents.count(VECTORS, {"indexName": index["indexName"]}),
        **_embedded_by(documents, index["indexName"]),
    }


def list_indexes(documents: Documents, args: Args) -> Value:
    """Return every index, or those of one name space, oldest first."""
    allow_only(args, "namespace")
    within = text_argument(args, "namespace", optional=True)
    return {
        "indexes": [
            {name: row.fields[name] for name in ("indexName", "dimension", "metric")}
            for row in _indexes(documents, within)
        ]
    }


def upsert(documents: Documents, args: Args) -> Value:
    """Store vectors, each in place of the one with its id; all of them or none.

    With `embedder`, every item has the text its vector was made from, and the text is kept: an
    index holds vectors of one embedder, or vectors that callers made, never both.
    """
    allow_only(args, "indexName", "items", "embedder")
    index = _index(documents, args)
    bound = _bound_for_upsert(documents, index, text_argument(args, "embedder", optional=True))
    items = args.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= VECTOR_UPSERT_BATCH:
        raise InvalidArgument(f"items must be an array of 1 to {VECTOR_UPSERT_BATCH} vectors.")
    records = [_record(index, item, position) for position, item in enumerate(items)]
    vectors = packed([record["embedding"] for record in records], index["dimension"])
    for record, vector in zip(records, vectors, strict=True):
        record["embedding"] = vector
    there = _rows_of(documents, index["indexName"], [record["id"] for record in records])
    for position, record in enumerate(records):
        there[record["id"]] = _put(
            documents, record, there.get(record["id"]), bound.after if bound else 0
        )
        if bound is not None:
            embedding_queue.keep_text(
                documents.connection, bound.name, record["id"], _text(items[position], position)
            )
    return {"upserted": len(items)}


def _record(index: Record, item: Any, position: int) -> Record:
    if not isinstance(item, Mapping):
        raise InvalidArgument(f"items[{position}] must be {{id, vector, metadata?}}.")
    allow_only(item, "id", "vector", "metadata", "text")
    return _record_of(
        index,
        text_argument(item, "id"),
        vector_argument(item.get("vector"), f"items[{position}].vector", index),
        None if item.get("metadata") is None else _metadata(item["metadata"]),
    )


def _record_of(
    index: Record, record_id: str, vector: FiniteFloats, metadata: Record | None
) -> Record:
    record: Record = {"id": record_id, "indexName": index["indexName"], "embedding": vector}
    if metadata is not None:
        record["metadata"] = metadata
    return record


def put_vector(
    documents: Documents, bound: Binding, record_id: str, vector: Any, metadata: Record | None
) -> None:
    """Store the vector that an index's embedder made; without metadata, keep that which is there.

    Raises:
        DimensionMismatch: The vector has another length than the index.
    """
    index = {"indexName": bound.name, "dimension": bound.dimension}
    checked = vector_argument(vector, "vector", index)
    row = _find(documents, index, record_id)
    if metadata is None:
        metadata = None if row is None else row.fields.get("metadata")
    text = embedding_queue.kept_text(documents.connection, bound.name, record_id)
    _put(documents, _record_of(index, record_id, checked, metadata), row, bound.after)
    if text is not None:
        embedding_queue.keep_text(documents.connection, bound.name, record_id, text)


def drop_vector(documents: Documents, index_name: str, record_id: str) -> None:
    """Delete one vector; an absent one is fine."""
    row = _find(documents, {"indexName": index_name}, record_id)
    if row is not None:
        documents.delete(VECTORS, row)


def _put(documents: Documents, record: Record, row: Row | None, after: int) -> Row:
    """Store a record in place of the row with its id, where there is one."""
    if row is not None and row.sequence <= after:
        # Its place in the order says that an earlier embedder made it.
        documents.delete(VECTORS, row)
        row = None
    if row is None:
        return documents.insert(VECTORS, record)
    # The vector is new: metadata said of the old one no longer holds.
    return documents.patch(VECTORS, row, {"metadata": REMOVED, **record})


def update(documents: Documents, args: Args) -> Value:
    """Change the vector, the metadata, or both, of one vector or of all that match."""
    allow_only(args, "indexName", "id", "filter", "vector", "metadata")
    index = _index(documents, args)
    changes: Record = {}
    if args.get("vector") is not None:
        _bound_for_upsert(documents, index, None)
        changes["embedding"] = vector_argument(args["vector"], "vector", index)
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
    embedding_queue.unbind(documents.connection, name)
    forget_file(documents.connection, VECTORS, name)
    removed = documents.connection.execute(
        "DELETE FROM mastra_vectors WHERE indexName = ?", (name,)
    ).rowcount
    if row is not None and args.get("keepIndex") is not True:
        documents.delete(VECTOR_INDEXES, row)
    return {"found": row is not None, "removed": removed}


def search(documents: Documents, args: Args) -> Value:
    """Return the vectors most similar to one, best first, equal ones in creation order.

    Without a filter and without `exact`, a very large index is not searched whole: the answer's
    `exhausted` is then false (see `nearly_nearest`).
    """
    allow_only(args, "indexName", "vector", "limit", "filter", "includeVector", "exact", "embedder")
    index = _index(documents, args)
    bound = embedding_queue.binding(documents.connection, index["indexName"])
    asking = text_argument(args, "embedder", optional=True)
    if asking is not None and (bound is None or bound.embedder != asking):
        raise _other_embedder(index["indexName"], bound, asking)
    limit = whole_argument(args, "limit", 1, VECTOR_RESULTS_MAX)
    vector = vector_argument(args.get("vector"), "vector", index)
    wanted = from_wire(args["filter"]) if args.get("filter") is not None else None
    scope = Scope(
        VECTORS, "indexName", index["indexName"], "metadata", after=bound.after if bound else 0
    )
    found, is_exact = (
        nearly_nearest(documents, scope, vector, limit)
        if (wanted is None or wanted.is_empty) and args.get("exact") is not True
        else (nearest(documents, scope, vector, limit, wanted=wanted_by(wanted)), True)
    )
    matches: list[Value] = []
    for each in found:
        row = documents.at(VECTORS, each.sequence)
        if row is not None:
            matches.append(_match(row, each.score, bool(args.get("includeVector"))))
    return {
        "matches": matches,
        "exhausted": is_exact,
        "count": count(documents, scope, index["dimension"]),
        "pending": embedding_queue.waiting(documents.connection, bound.name) if bound else 0,
    }


# --- Rows


def _match(row: Row, score: float, include_vector: bool) -> Record:
    match = {"id": row.fields["id"], "score": score, "metadata": row.fields.get("metadata")}
    if include_vector:
        match["vector"] = row.fields["embedding"]
    return match


def _find(documents: Documents, index: Record, record_id: str) -> Row | None:
    return documents.first(VECTORS, indexName=index["indexName"], id=record_id)


def _rows_of(documents: Documents, index_name: str, ids: Sequence[str]) -> dict[str, Row]:
    """Return the rows that are there by id, of several with one id the oldest."""
    # Named, for the order of the rows tempts the planner to go through all of the index.
    where = (
        '"_sequence" IN (SELECT "_sequence" FROM "mastra_vectors" '
        'INDEXED BY "mastra_vectors.by_index_id" WHERE "indexName" = ? '
        f'AND "id" IN ({", ".join("?" * len(ids))}))'
    )
    found: dict[str, Row] = {}
    for row in documents.scan(VECTORS, {}, where=where, bound=(index_name, *ids)):
        found.setdefault(row.fields["id"], row)
    return found


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


# --- Embedders


def _embedded_by(documents: Documents, index_name: str) -> Record:
    bound = embedding_queue.binding(documents.connection, index_name)
    if bound is None:
        return {"embedder": None, "pending": 0}
    pending = embedding_queue.waiting(documents.connection, index_name)
    return {"embedder": bound.embedder, "pending": pending}


def _bound_for_upsert(documents: Documents, index: Record, embedder: str | None) -> Binding | None:
    name = index["indexName"]
    bound = embedding_queue.binding(documents.connection, name)
    if embedder is None:
        if bound is not None:
            raise Conflict(
                f"Index {name!a} holds vectors that {bound.embedder} made of texts; vectors of "
                "other origin cannot be compared with them. Give text, or use another index."
            )
        return None
    if bound is None:
        if documents.first(VECTORS, indexName=name) is not None:
            raise _other_embedder(name, None, embedder)
        documents.will_write()
        bound = embedding_queue.bind(
            documents.connection, Binding(name, embedder, index["dimension"])
        )
    if bound.embedder != embedder or bound.of_messages:
        raise _other_embedder(name, bound, embedder)
    return bound


def _other_embedder(name: str, bound: Binding | None, given: str) -> Conflict:
    if bound is None:
        return Conflict(
            f"Index {name!a} holds vectors that callers made, so texts embedded by {given} cannot "
            "be compared with them. Give a vector, or use another index for texts."
        )
    if bound.of_messages and bound.embedder == given:
        return Conflict(f"Index {name!a} holds the vectors of messages; use another for texts.")
    return Conflict(
        f"Index {name!a} holds texts embedded by {bound.embedder}, not by {given}. Set "
        "MEMORY_EMBEDDER to that one, or embed them anew: `convex-memory reembed`.",
        details={"embedder": bound.embedder},
    )


# --- Arguments


def _text(item: Mapping[str, Any], position: int) -> str:
    text = item.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(f"items[{position}].text must be text, and not blank.")
    if len(text) > EMBED_TEXT_CHARS_MAX:
        raise LimitExceeded(
            f"items[{position}].text has {len(text):,} characters; at most "
            f"{EMBED_TEXT_CHARS_MAX:,} are kept. Split it into several items."
        )
    return text


def _name(args: Args) -> str:
    name: str = text_argument(args, "indexName")
    if len(name) > MESSAGE_ID_CHARS_MAX:
        raise InvalidArgument(f"indexName has at most {MESSAGE_ID_CHARS_MAX} characters.")
    return name


def _index(documents: Documents, args: Args) -> Record:
    name = _name(args)
    row = documents.first(VECTOR_INDEXES, indexName=name)
    if row is None:
        # Of a name space no other hears: its own are named, and outside of all those outside.
        found = islice(_indexes(documents, namespace_in(name)), CHOICES_MAX)
        there = [each.fields["indexName"] for each in found]
        choices = f"the indexes are {', '.join(there)}" if there else "there are none yet"
        raise NotFound(f"There is no index {name!a}; {choices}. Create it first.")
    return {**row.fields, "dimension": int(row.fields["dimension"])}


def _indexes(documents: Documents, namespace: str | None) -> Iterator[Row]:
    """Yield the indexes of a name space, those outside of all (empty), or all (None)."""
    if namespace:
        # A name space ends in a colon; in the order of the index, what has it ends before `;`.
        where, bound = '"indexName" >= ? AND "indexName" < ?', [namespace, f"{namespace[:-1]};"]
        yield from documents.scan(VECTOR_INDEXES, {}, where=where, bound=bound)
        return
    for row in documents.scan(VECTOR_INDEXES, {}):
        if namespace is None or not namespace_in(row.fields["indexName"]):
            yield row


def vector_argument(values: Any, what: str, index: Record) -> FiniteFloats:
    """Return a vector of an index's dimension.

    Raises:
        InvalidArgument: It is no array of finite numbers.
        DimensionMismatch: It has another length.
    """
    if not is_finite_vector(values):
        raise InvalidArgument(f"{what} must be an array of finite numbers.")
    if len(values) != index["dimension"]:
        raise DimensionMismatch(
            f"{what} has {len(values)} dimensions; index {index['indexName']!a} has "
            f"{index['dimension']}.",
            details={"dimension": index["dimension"], "received": len(values)},
        )
    return values if isinstance(values, FiniteFloats) else FiniteFloats(map(float, values))


def _metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata must be an object.")
    return dict(metadata)
