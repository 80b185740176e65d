"""ConvexNativeVector: tables with a vector index of Convex's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from convex_memory.deployment import (
    NATIVE_VECTOR_ACTION,
    NATIVE_VECTOR_MUTATION,
    NATIVE_VECTOR_QUERY,
    Deployment,
)
from convex_memory.embeddings import (
    COSINE,
    IndexDescription,
    Metadata,
    Vector,
    VectorMatch,
    VectorMatches,
    id_of,
    ids_of,
    list_in,
    metadata_of,
    number_in,
    object_in,
    one_metadata_of,
    stored_metadata,
    stored_vector,
    top_k_of,
    vector_of,
)
from convex_memory.errors import InvalidArgument
from convex_memory.filters import Equality, parse
from convex_memory.limits import (
    DESCRIBE_COUNT_MAX,
    VECTOR_RESULTS_DEFAULT,
    VECTOR_RESULTS_MAX,
    VECTOR_UPSERT_BATCH,
)
from convex_memory.native_index import NativeIndex, plan_search
from convex_memory.values import Value

__all__ = ["ConvexNativeVector", "IndexDescription", "NativeIndex", "VectorMatch", "VectorMatches"]

_Item = TypeVar("_Item")


class ConvexNativeVector:
    """Embeddings in tables whose vector indexes Convex keeps, fixed by the deployed schema.

    Filters are those of `convex_memory.filters`. An equality on a filter field, or an OR of
    such, is searched for. For any other the best 256 records are fetched (narrowed by such an
    equality if it is part of the filter) and filtered here; the answer's `exhausted` says
    whether that may have missed some.

    Args:
        deployment: Where the functions run.
        indexes: The tables by index name.
        action: The path of the search action.
        query: The path of the reading query.
        mutation: The path of the writing mutation.
        describe_count_limit: Up to how many records `describe_index` counts, 1 to 10,000.

    Raises:
        InvalidArgument: The count limit is out of range.
    """

    def __init__(
        self,
        deployment: Deployment,
        indexes: Mapping[str, NativeIndex],
        *,
        action: str = NATIVE_VECTOR_ACTION,
        query: str = NATIVE_VECTOR_QUERY,
        mutation: str = NATIVE_VECTOR_MUTATION,
        describe_count_limit: int = DESCRIBE_COUNT_MAX,
    ) -> None:
        if not 1 <= describe_count_limit <= DESCRIBE_COUNT_MAX:
            raise InvalidArgument(f"describe_count_limit must be from 1 to {DESCRIBE_COUNT_MAX}.")
        self._deployment = deployment
        self._indexes = dict(indexes)
        self._action = action
        self._query = query
        self._mutation = mutation
        self._describe_count_limit = describe_count_limit

    async def create_index(self, index_name: str, dimension: int, metric: str = COSINE) -> None:
        """Check that the deployed index is the one asked for. Nothing is sent.

        Raises:
            InvalidArgument: It is not configured, or has another dimension or metric.
        """
        index = self._index(index_name)
        where = "ConvexNativeVector.createIndex:"
        if index.dimension != dimension:
            raise InvalidArgument(
                f'{where} deployed Convex index "{index_name}" has {index.dimension} dimensions, '
                f"but {dimension} were requested"
            )
        if metric != COSINE:
            raise InvalidArgument(f"{where} currently supports cosine only")

    async def list_indexes(self) -> list[str]:
        """The names of the configured indexes."""
        return list(self._indexes)

    async def describe_index(self, index_name: str) -> IndexDescription:
        """An index's dimension, metric and number of records, counted up to the limit.

        Raises:
            InvalidArgument: The index is not configured.
        """
        index = self._index(index_name)
        answer = await self._read(index, "describe", countLimit=self._describe_count_limit)
        described = object_in(self._query, answer)
        return IndexDescription(
            index_name,
            index.dimension,
            COSINE,
            int(number_in(self._query, described.get("count"))),
            described.get("countIsLimited") is True,
        )

    async def delete_index(self, index_name: str) -> None:
        """Refuse: what the schema declares cannot be deleted at run time.

        Raises:
            InvalidArgument: Always.
        """
        raise InvalidArgument(
            f'ConvexNativeVector.deleteIndex: index "{index_name}" cannot be deleted at run '
            "time; native Convex vector indexes are managed in convex/schema.ts."
        )

    async def upsert(
        self,
        index_name: str,
        vectors: Sequence[Vector],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata | None] | None = None,
    ) -> list[str]:
        """Insert records, or change those with the same id.

        A record sent without metadata keeps what is stored; one sent with metadata has it
        replaced. Transactions hold at most 100 records; sending the same call again is
        harmless.

        Args:
            index_name: The index.
            vectors: At least one, all of the index's dimension.
            ids: One per vector, all different; random ones where absent.
            metadata: One object, or `None`, per vector.

        Returns:
            The ids, in the order of the vectors.

        Raises:
            DimensionMismatch: A vector has another length than the index.
            InvalidArgument: The index is not configured, no vectors, lengths that differ, the
                same id twice, an element that is not a finite number, metadata that cannot be
                stored, or a filter field that holds an array or object.
        """
        index = self._index(index_name)
        where = "ConvexNativeVector.upsert"
        if not len(vectors):
            raise InvalidArgument(f"{where}: vectors is empty; send at least one.")
        listed = [
            vector_of(f"{where}: vectors[{position}]", vector, index.dimension)
            for position, vector in enumerate(vectors)
        ]
        chosen = ids_of(where, ids, len(listed))
        if len(set(chosen)) != len(chosen):
            raise InvalidArgument(f"{where}: ids must be unique")
        described = metadata_of(where, metadata, len(listed))
        for entry in described:
            index.check_filterable(where, entry or {})
        for batch in _batches(list(zip(chosen, listed, described, strict=True))):
            await self._upsert_batch(index, batch)
        return chosen

    async def query(
        self,
        index_name: str,
        query_vector: Vector | None,
        *,
        top_k: int = VECTOR_RESULTS_DEFAULT,
        filter: Mapping[str, object] | None = None,
        include_vector: bool = False,
    ) -> VectorMatches:
        """The records most similar to a vector.

        Args:
            index_name: The index.
            query_vector: Of the index's dimension.
            top_k: How many at most, 1 to 256.
            filter: What their metadata must satisfy.
            include_vector: Whether matches carry their vectors.

        Returns:
            The matches, best first; equal scores in the order of creation. `exhausted` is
            false when fewer than `top_k` of the best 256 satisfy the filter and there are
            more records than those.

        Raises:
            DimensionMismatch: The vector has another length than the index.
            InvalidArgument: The index is not configured, no vector, one that is not of finite
                numbers, a `top_k` out of range, or a malformed filter.
        """
        index = self._index(index_name)
        where = "ConvexNativeVector.query"
        if query_vector is None:
            raise InvalidArgument(
                f"{where}: queryVector is required; native Convex indexes have no "
                "metadata-only queries.",
                id="MASTRA_VECTOR_CONVEX_NATIVE_QUERY_MISSING_VECTOR",
            )
        vector = vector_of(f"{where}: query_vector", query_vector, index.dimension)
        limit, wanted = top_k_of(where, top_k), parse(filter)
        plan = plan_search(wanted, frozenset(index.filter_fields))
        fetched = limit if plan.complete else VECTOR_RESULTS_MAX
        scores, all_seen = await self._search(index, vector, fetched, plan.searches)
        matches = await self._hydrate(index, scores, include_vector)
        if plan.complete:
            return VectorMatches(matches[:limit], exhausted=True)
        kept = [match for match in matches if wanted.matches(match.metadata)][:limit]
        return VectorMatches(kept, exhausted=all_seen or len(kept) == limit)

    async def update_vector(
        self,
        index_name: str,
        *,
        id: str | None = None,
        filter: Mapping[str, object] | None = None,
        vector: Vector | None = None,
        metadata: Metadata | None = None,
    ) -> int:
        """Change one record; an absent one is ignored.

        Args:
            index_name: The index.
            id: The record.
            filter: Not supported; native tables are changed by id.
            vector: The new vector.
            metadata: Merged into the stored metadata at the top level.

        Returns:
            How many records were there to change, 1 or 0.

        Raises:
            DimensionMismatch: The vector has another length than the index.
            InvalidArgument: The index is not configured, a filter or no id, nothing to
                change, or a malformed argument.
        """
        index = self._index(index_name)
        where = "ConvexNativeVector.updateVector"
        if filter is not None or id is None:
            raise InvalidArgument(f"{where}: filter updates are not supported; give an id")
        if vector is None and metadata is None:
            raise InvalidArgument(f"{where}: give a vector or metadata to change")
        args: dict[str, Value] = {"id": id_of(where, id)}
        if vector is not None:
            args["vector"] = vector_of(f"{where}: vector", vector, index.dimension)
        if metadata is not None:
            args["metadata"] = one_metadata_of(where, metadata)
            index.check_filterable(where, metadata)
        # The function does not say whether it found the record.
        found = list_in(self._query, await self._read(index, "listByIds", ids=[args["id"]]))
        if found == [None]:
            return 0
        await self._write(index, "updateById", **args)
        return 1

    async def delete_vector(self, index_name: str, id: str) -> None:
        """Delete one record; an absent one is fine."""
        await self.delete_vectors(index_name, ids=[id])

    async def delete_vectors(
        self,
        index_name: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, object] | None = None,
    ) -> None:
        """Delete records by id; absent ones are fine.

        Args:
            index_name: The index.
            ids: At least one.
            filter: Not supported; native tables are changed by id.

        Raises:
            InvalidArgument: The index is not configured, a filter, or no ids.
        """
        index = self._index(index_name)
        where = "ConvexNativeVector.deleteVectors"
        if filter is not None:
            raise InvalidArgument(f"{where}: filter deletes are not supported; give ids")
        if ids is None or not len(ids):
            raise InvalidArgument(f"{where}: ids are required")
        for batch in _batches(ids_of(where, ids, len(ids))):
            await self._write(index, "deleteByIds", ids=list(batch))

    def _index(self, index_name: str) -> NativeIndex:
        index = self._indexes.get(index_name)
        if index is None:
            raise InvalidArgument(
                f'ConvexNativeVector: index "{index_name}" is not configured. '
                f"Configured: {', '.join(self._indexes) or 'none'}."
            )
        return index

    async def _upsert_batch(
        self, index: NativeIndex, batch: Sequence[tuple[str, list[float], Metadata | None]]
    ) -> None:
        # The function takes metadata for all or for none, and "none" means: keep what is stored.
        for with_metadata in (False, True):
            part = [record for record in batch if (record[2] is not None) is with_metadata]
            if not part:
                continue
            args: dict[str, Value] = {
                "ids": [id for id, _, _ in part],
                "vectors": [vector for _, vector, _ in part],
            }
            if with_metadata:
                args["metadata"] = [metadata for _, _, metadata in part]
            await self._write(index, "upsert", **args)

    async def _search(
        self,
        index: NativeIndex,
        vector: list[float],
        limit: int,
        searches: Iterable[Equality | None],
    ) -> tuple[dict[str, float], bool]:
        """The best score of each document id, and whether these are all that can be looked at."""
        scores: dict[str, float] = {}
        all_seen = True
        for equality in searches:
            args: dict[str, Value] = {"config": index.config(), "vector": vector, "limit": limit}
            if equality is not None:
                args["filter"] = {"field": equality.field, "value": equality.value}
            answer = await self._deployment.call("action", self._action, args, retry=True)
            hits = [object_in(self._action, hit) for hit in list_in(self._action, answer)]
            all_seen = all_seen and len(hits) < limit
            for hit in hits:
                score = float(number_in(self._action, hit.get("score")))
                document = str(hit.get("id"))
                scores[document] = max(score, scores.get(document, score))
        return scores, all_seen and len(scores) <= VECTOR_RESULTS_MAX

    async def _hydrate(
        self, index: NativeIndex, scores: Mapping[str, float], include_vector: bool
    ) -> list[VectorMatch]:
        matches: list[tuple[float, float, VectorMatch]] = []
        best = sorted(scores, key=lambda document: -scores[document])[:VECTOR_RESULTS_MAX]
        if not best:
            return []
        answer = await self._read(
            index, "getByConvexIds", ids=list(best), includeVector=include_vector
        )
        for listed in list_in(self._query, answer):
            row = object_in(self._query, listed)
            score = scores.get(str(row.get("_id")), -1.0)
            match = VectorMatch(
                str(row.get(index.id_field)),
                score,
                stored_metadata(row.get(index.metadata_field)),
                stored_vector(row.get(index.vector_field)) if include_vector else None,
            )
            matches.append((-score, number_in(self._query, row.get("_creationTime")), match))
        return [match for _, _, match in sorted(matches, key=lambda ranked: ranked[:2])]

    async def _read(self, index: NativeIndex, op: str, **args: Value) -> Value:
        request = {"op": op, "config": index.config(), **args}
        return await self._deployment.call("query", self._query, request)

    async def _write(self, index: NativeIndex, op: str, **args: Value) -> None:
        # Upserts, merges and deletes by id have the same effect when they are sent twice.
        request = {"op": op, "config": index.config(), **args}
        await self._deployment.call("mutation", self._mutation, request, retry=True)


def _batches(items: Sequence[_Item]) -> Iterable[Sequence[_Item]]:
    return (
        items[start : start + VECTOR_UPSERT_BATCH]
        for start in range(0, len(items), VECTOR_UPSERT_BATCH)
    )
