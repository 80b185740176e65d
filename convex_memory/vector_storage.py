"""Vector indexes over Mastra's storage function alone.

Works on every deployment. Searching and filtering read the whole index, a page at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from convex_memory.deployment import Deployment
from convex_memory.embeddings import (
    COSINE,
    IndexDescription,
    Metadata,
    VectorMatch,
    VectorMatches,
    list_in,
    number_in,
    object_in,
    stored_metadata,
    stored_vector,
    vector_of,
)
from convex_memory.errors import (
    FUNCTION_ERRORS,
    Conflict,
    FunctionError,
    InvalidResponse,
    NotFound,
)
from convex_memory.filters import Filter
from convex_memory.limits import VECTOR_PAGE_ROWS, VECTOR_UPSERT_BATCH
from convex_memory.records import iso_text, utc_now
from convex_memory.values import Value

INDEXES_TABLE: Final = "mastra_vector_indexes"
DATA_TABLE_PREFIX: Final = "mastra_vector_"
_DELETE_IDS_MAX: Final = 1000
"""Ids per `deleteMany`: far below what one array may hold, few enough for one transaction."""

Doc = Mapping[str, Value]
_Item = TypeVar("_Item")


class StorageVectors:
    """The operations of `ConvexVector` on `mastra/storage:handle`.

    Args:
        deployment: Where the function runs.
        function: Its path.
    """

    def __init__(self, deployment: Deployment, function: str) -> None:
        self._deployment = deployment
        self._function = function

    async def create_index(self, index_name: str, dimension: int) -> None:
        """Make the index; the same one again is fine, another dimension is `Conflict`."""
        found = await self._load(INDEXES_TABLE, index_name)
        if found is None:
            row: dict[str, Value] = {
                "id": index_name,
                "indexName": index_name,
                "dimension": dimension,
                "metric": COSINE,
                "createdAt": iso_text(utc_now()),
            }
            await self._call("insert", INDEXES_TABLE, record=row)
        elif number_in(self._function, found.get("dimension")) != dimension:
            raise Conflict(
                f"Index {index_name} exists with {found.get('dimension')} dimensions, not "
                f"{dimension}. Delete it first, or choose another name."
            )

    async def list_indexes(self) -> list[str]:
        """The names, in the order of creation."""
        reply = await self._call("queryTable", INDEXES_TABLE)
        rows = list_in(self._function, reply.get("result"))
        return [str(object_in(self._function, row).get("id")) for row in rows]

    async def describe_index(self, index_name: str) -> IndexDescription:
        """The index's dimension, and its vectors counted one page after the other."""
        dimension = await self._dimension(index_name)
        count = 0

        def add(rows: Sequence[Doc]) -> None:
            nonlocal count
            count += len(rows)

        await self._scan(index_name, add)
        return IndexDescription(index_name, dimension, COSINE, count)

    async def delete_index(self, index_name: str) -> None:
        """Forget the index and delete its vectors."""
        await self.truncate_index(index_name)
        await self._call("deleteMany", INDEXES_TABLE, ids=[index_name])
        # What others inserted before the index was gone.
        await self.truncate_index(index_name)

    async def truncate_index(self, index_name: str) -> None:
        """Delete the vectors, 25 a call."""
        while (await self._call("clearTable", DATA_TABLE_PREFIX + index_name)).get("hasMore"):
            pass

    async def upsert(
        self, index_name: str, records: Sequence[tuple[str, list[float], Metadata | None]]
    ) -> None:
        """Insert or replace records, in batches; a wrong dimension refuses all of them."""
        dimension = await self._dimension(index_name)
        for position, (_, vector, _) in enumerate(records):
            vector_of(f"vectors[{position}]", vector, dimension)
        for batch in batches(records, VECTOR_UPSERT_BATCH):
            rows = [record_of("embedding", *record) for record in batch]
            await self._call("batchInsert", DATA_TABLE_PREFIX + index_name, records=rows)

    async def query(
        self,
        index_name: str,
        vector: list[float],
        top_k: int,
        filter: Filter,
        *,
        with_vectors: bool,
        exact: bool,
    ) -> VectorMatches:
        """The best matches of a scan of the whole index, which is exact in any case."""
        vector_of("query_vector", vector, await self._dimension(index_name))
        best: list[VectorMatch] = []

        def rank(rows: Sequence[Doc]) -> None:
            nonlocal best
            kept = [row for row in rows if filter.matches(stored_metadata(row.get("metadata")))]
            vectors = [stored_vector(row.get("embedding")) for row in kept]
            best += [
                VectorMatch(
                    str(row.get("id")),
                    score,
                    stored_metadata(row.get("metadata")),
                    embedding if with_vectors else None,
                )
                for row, embedding, score in zip(
                    kept, vectors, cosine_scores(vector, vectors), strict=True
                )
            ]
            # Stable, and pages come in creation order: so do equal scores.
            best = sorted(best, key=lambda match: -match.score)[:top_k]

        await self._scan(index_name, rank)
        return VectorMatches(best, exhausted=True)

    async def update(
        self,
        index_name: str,
        target: str | Filter,
        vector: list[float] | None,
        metadata: Metadata | None,
    ) -> int:
        """Patch the record with this id, or every record that matches, one call each."""
        dimension = await self._dimension(index_name)
        if vector is not None:
            vector_of("vector", vector, dimension)
        rows = await self._targets(index_name, target)
        updated = 0
        for row in rows:
            record: dict[str, Value] = {} if vector is None else {"embedding": vector}
            if metadata is not None:
                record["metadata"] = {**(stored_metadata(row.get("metadata")) or {}), **metadata}
            table = DATA_TABLE_PREFIX + index_name
            reply = await self._call("patch", table, id=row.get("id"), record=record)
            updated += reply.get("result") is True
        return updated

    async def delete(self, index_name: str, target: Sequence[str] | Filter) -> None:
        """Delete the records with these ids, or every record that matches."""
        await self._dimension(index_name)
        if isinstance(target, Filter):
            target = [str(row.get("id")) for row in await self._targets(index_name, target)]
        for ids in batches(target, _DELETE_IDS_MAX):
            await self._call("deleteMany", DATA_TABLE_PREFIX + index_name, ids=list(ids))

    async def _targets(self, index_name: str, target: str | Filter) -> list[Doc]:
        if isinstance(target, str):
            found = await self._load(DATA_TABLE_PREFIX + index_name, target)
            return [] if found is None else [found]
        targets: list[Doc] = []

        def collect(rows: Sequence[Doc]) -> None:
            targets.extend(
                {"id": row.get("id"), "metadata": row.get("metadata")}
                for row in rows
                if target.matches(stored_metadata(row.get("metadata")))
            )

        await self._scan(index_name, collect)
        return targets

    async def _dimension(self, index_name: str) -> int:
        found = await self._load(INDEXES_TABLE, index_name)
        if found is None:
            raise NotFound(f"Index {index_name} not found. Create it first, or list_indexes.")
        return int(number_in(self._function, found.get("dimension")))

    async def _load(self, table: str, id: str) -> Doc | None:
        result = (await self._call("load", table, keys={"id": id})).get("result")
        return None if result is None else object_in(self._function, result)

    async def _scan(self, index_name: str, visit: Callable[[Sequence[Doc]], None]) -> None:
        cursor: str | None = None
        while True:
            request: dict[str, Value] = {} if cursor is None else {"cursor": cursor}
            reply = await self._call(
                "queryTable",
                DATA_TABLE_PREFIX + index_name,
                pageSize=VECTOR_PAGE_ROWS,
                **request,
            )
            rows = list_in(self._function, reply.get("result"))
            visit([object_in(self._function, row) for row in rows])
            if not reply.get("hasMore"):
                return
            following = reply.get("continuationCursor")
            if not isinstance(following, str) or not following or following == cursor:
                raise InvalidResponse(
                    "ConvexVector: paginated vector query did not return a valid continuation "
                    "cursor"
                )
            cursor = following

    async def _call(self, op: str, table: str, **fields: Value) -> Doc:
        # Everything sent from here has the same effect when it is sent twice.
        request = {"op": op, "tableName": table, **fields}
        reply = await self._deployment.call("mutation", self._function, request, retry=True)
        envelope = object_in(self._function, reply)
        if not envelope.get("ok"):
            refusal = FUNCTION_ERRORS.get(str(envelope.get("code")), FunctionError)
            raise refusal(str(envelope.get("error") or "Unknown Convex storage error"))
        return envelope


def record_of(
    vector_field: str, id: str, vector: list[float], metadata: Metadata | None
) -> dict[str, Value]:
    """One record as functions take it; without metadata the field is left out."""
    record: dict[str, Value] = {"id": id, vector_field: vector}
    return record if metadata is None else {**record, "metadata": metadata}


def batches(items: Sequence[_Item], size: int) -> Iterable[Sequence[_Item]]:
    """The items in order, at most `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def cosine_scores(query: list[float], vectors: Sequence[list[float]]) -> list[float]:
    """The cosine similarity of each vector to the query, rounded to float32.

    A vector of another length, and any vector when one of the two is zero, scores -1.
    """
    import numpy as np

    scores = [-1.0] * len(vectors)
    fitting = [at for at, vector in enumerate(vectors) if len(vector) == len(query)]
    if not fitting or not any(query):
        return scores
    target = np.array(query, dtype=np.float64)
    target /= np.abs(target).max()
    matrix = np.array([vectors[at] for at in fitting], dtype=np.float64)
    # Scaled by the largest element, so that no square overflows or vanishes.
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    matrix /= np.where(largest == 0, 1, largest)
    # einsum sums every row alike; a matrix product may not, and equal vectors must tie.
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix) * np.einsum("j,j->", target, target))
    products = np.einsum("ij,j->i", matrix, target)
    cosines = np.divide(products, norms, out=np.full(len(fitting), -1.0), where=norms > 0)
    for at, cosine in zip(fitting, np.clip(cosines, -1, 1).astype(np.float32), strict=True):
        scores[at] = float(cosine)
    return scores
