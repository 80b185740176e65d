"""ConvexVector: named indexes of embeddings with metadata, made at run time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from convex_memory.capabilities import Capabilities
from convex_memory.deployment import STORAGE_FUNCTION, Deployment
from convex_memory.embeddings import (
    COSINE,
    IndexDescription,
    Metadata,
    Vector,
    VectorMatch,
    VectorMatches,
    dimension_of,
    id_of,
    ids_of,
    metadata_of,
    one_metadata_of,
    top_k_of,
    vector_of,
)
from convex_memory.errors import DimensionMismatch, InvalidArgument
from convex_memory.filters import Filter, parse
from convex_memory.limits import VECTOR_RESULTS_DEFAULT, VECTOR_UPSERT_BATCH
from convex_memory.vector_functions import VECTOR_FUNCTIONS, FunctionVectors
from convex_memory.vector_storage import StorageVectors

__all__ = ["ConvexVector", "IndexDescription", "VectorMatch", "VectorMatches"]


class ConvexVector:
    """Embeddings on any deployment, by cosine similarity.

    On a deployment with our `memory/vectors:*` functions they filter and rank. On one that
    has Mastra's storage function alone, queries, counts and filters read the whole index, 256
    records a page, and rank here; that is for small indexes.

    Filters are those of `convex_memory.filters`. Metadata keys are printable ASCII and do not
    begin with `$`.

    Args:
        deployment: Where the functions run.
        storage_function: The path of Mastra's storage function.
        capabilities: What is known of the deployment's functions, to share the question
            between adapters.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        storage_function: str = STORAGE_FUNCTION,
        capabilities: Capabilities | None = None,
    ) -> None:
        self._capabilities = capabilities or Capabilities(deployment)
        self._storage = StorageVectors(deployment, storage_function)
        self._functions = FunctionVectors(deployment)

    async def create_index(self, index_name: str, dimension: int, metric: str = COSINE) -> None:
        """Make an index. The same one again changes nothing.

        Args:
            index_name: 1 to 512 characters; `indexes` is taken by the protocol.
            dimension: The length of its vectors, 2 to 4096.
            metric: Only `cosine`.

        Raises:
            InvalidArgument: A name, dimension or metric that is not offered.
            Conflict: The index exists with another dimension.
            DeploymentError: The deployment gave no usable answer.
        """
        _index_name("create_index", index_name)
        dimension_of("create_index", dimension)
        if metric != COSINE:
            raise InvalidArgument("create_index: the metric must be cosine; there is no other.")
        await (await self._route()).create_index(index_name, dimension)

    async def list_indexes(self) -> list[str]:
        """The names of all indexes."""
        return await (await self._route()).list_indexes()

    async def describe_index(self, index_name: str) -> IndexDescription:
        """An index's dimension, metric and number of vectors.

        Raises:
            NotFound: There is no such index.
        """
        _index_name("describe_index", index_name)
        return await (await self._route()).describe_index(index_name)

    async def delete_index(self, index_name: str) -> None:
        """Delete an index with all its vectors. An unknown one is fine."""
        _index_name("delete_index", index_name)
        await (await self._route()).delete_index(index_name)

    async def truncate_index(self, index_name: str) -> None:
        """Delete an index's vectors and keep the index. An unknown one is fine."""
        _index_name("truncate_index", index_name)
        await (await self._route()).truncate_index(index_name)

    async def upsert(
        self,
        index_name: str,
        vectors: Sequence[Vector],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata | None] | None = None,
    ) -> list[str]:
        """Insert records, or replace those with the same id, vector and metadata both.

        Batches of 100 are one transaction each; sending the same call again is harmless.

        Args:
            index_name: The index.
            vectors: At least one, all of the index's dimension.
            ids: One per vector; random ones where absent. Of equal ids the last wins.
            metadata: One object, or `None`, per vector.

        Returns:
            The ids, in the order of the vectors.

        Raises:
            NotFound: There is no such index.
            DimensionMismatch: A vector has another length than the index. Nothing was stored.
            InvalidArgument: No vectors, lengths that differ, an element that is not a finite
                number, or a metadata key that cannot be stored; the message says where.
            LimitExceeded: Metadata that is too large or too deep.
        """
        _index_name("upsert", index_name)
        if not len(vectors):
            raise InvalidArgument("upsert: vectors is empty; send at least one.")
        listed = []
        for position, vector in enumerate(vectors):
            if position % VECTOR_UPSERT_BATCH == 0:
                # Thousands of vectors keep nobody else waiting.
                await asyncio.sleep(0)
            listed.append(vector_of(f"upsert: vectors[{position}]", vector))
        for position, vector in enumerate(listed):
            if len(vector) != len(listed[0]):
                raise DimensionMismatch(
                    f"upsert: vectors[{position}] has {len(vector)} dimensions and vectors[0] "
                    f"has {len(listed[0])}; all vectors of an index have the same."
                )
        chosen = ids_of("upsert", ids, len(listed))
        described = metadata_of("upsert", metadata, len(listed))
        last = {
            id: (id, vector, entry)
            for id, vector, entry in zip(chosen, listed, described, strict=True)
        }
        await (await self._route()).upsert(index_name, list(last.values()))
        return chosen

    async def query(
        self,
        index_name: str,
        query_vector: Vector | None,
        *,
        top_k: int = VECTOR_RESULTS_DEFAULT,
        filter: Mapping[str, object] | None = None,
        include_vector: bool = False,
        exact: bool = False,
    ) -> VectorMatches:
        """The records most similar to a vector.

        Args:
            index_name: The index.
            query_vector: Of the index's dimension.
            top_k: How many at most, 1 to 256.
            filter: What their metadata must satisfy.
            include_vector: Whether matches carry their vectors.
            exact: Whether every vector of the index is compared, however long that takes. The
                embedded deployment does so anyway, up to 200,000 vectors or with a filter.

        Returns:
            The matches, best first; equal scores in the order of creation. A record stored
            without direction (a zero vector) scores -1. Where not every vector was compared
            that might belong there, `exhausted` is false.

        Raises:
            NotFound: There is no such index.
            DimensionMismatch: The vector has another length than the index.
            InvalidArgument: No vector, one that is not of finite numbers, a `top_k` out of
                range, or a malformed filter.
        """
        _index_name("query", index_name)
        if query_vector is None:
            raise InvalidArgument(
                "queryVector is required for Convex queries. Metadata-only queries are not "
                "supported by this vector store.",
                id="MASTRA_VECTOR_CONVEX_QUERY_MISSING_VECTOR",
            )
        vector = vector_of("query: query_vector", query_vector)
        limit, wanted = top_k_of("query", top_k), parse(filter)
        return await (await self._route()).query(
            index_name, vector, limit, wanted, with_vectors=include_vector, exact=exact
        )

    async def update_vector(
        self,
        index_name: str,
        *,
        id: str | None = None,
        filter: Mapping[str, object] | None = None,
        vector: Vector | None = None,
        metadata: Metadata | None = None,
    ) -> int:
        """Change one record, or all that match a filter.

        Args:
            index_name: The index.
            id: The record; an absent one is ignored. Excludes `filter`.
            filter: Which records; not the empty filter.
            vector: The new vector.
            metadata: Merged into the stored metadata at the top level.

        Returns:
            How many records were changed.

        Raises:
            NotFound: There is no such index.
            DimensionMismatch: The vector has another length than the index.
            InvalidArgument: Both or neither of `id` and `filter`, an empty filter, nothing to
                change, or a malformed argument.
        """
        _index_name("update_vector", index_name)
        where = "ConvexVector.updateVector:"
        if id is not None and filter is not None:
            raise InvalidArgument(f"{where} id and filter are mutually exclusive")
        if id is None and filter is None:
            raise InvalidArgument(f"{where} Either id or filter must be provided")
        if vector is None and metadata is None:
            raise InvalidArgument(f"{where} give a vector or metadata to change")
        target = _filter_for(f"{where} cannot update with empty filter", filter)
        return await (await self._route()).update(
            index_name,
            target or id_of("update_vector", id),
            None if vector is None else vector_of("update_vector: vector", vector),
            None if metadata is None else one_metadata_of("update_vector", metadata),
        )

    async def delete_vector(self, index_name: str, id: str) -> None:
        """Delete one record; an absent one is fine.

        Raises:
            NotFound: There is no such index.
        """
        await self.delete_vectors(index_name, ids=[id])

    async def delete_vectors(
        self,
        index_name: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, object] | None = None,
    ) -> None:
        """Delete records by id, or all that match a filter. Absent ids are fine.

        Raises:
            NotFound: There is no such index.
            InvalidArgument: Both or neither of `ids` and `filter`, or an empty one.
        """
        _index_name("delete_vectors", index_name)
        where = "ConvexVector.deleteVectors:"
        if ids is not None and filter is not None:
            raise InvalidArgument(f"{where} ids and filter are mutually exclusive")
        if ids is None and filter is None:
            raise InvalidArgument(f"{where} Either filter or ids must be provided")
        if ids is not None and not len(ids):
            raise InvalidArgument(f"{where} cannot delete with empty ids array")
        target = _filter_for(f"{where} cannot delete with empty filter", filter)
        chosen = [] if ids is None else ids_of("delete_vectors", ids, len(ids))
        await (await self._route()).delete(index_name, target or list(dict.fromkeys(chosen)))

    async def _route(self) -> StorageVectors | FunctionVectors:
        for path in VECTOR_FUNCTIONS:
            if not await self._capabilities.has(path):
                return self._storage
        return self._functions


def _index_name(where: str, index_name: str) -> None:
    if id_of(where, index_name) == "indexes":
        raise InvalidArgument(
            f"{where}: an index cannot be called 'indexes'; the protocol keeps its list of "
            "indexes under that name."
        )


def _filter_for(refusal: str, filter: Mapping[str, object] | None) -> Filter | None:
    if filter is None:
        return None
    read = parse(filter)
    if read.is_empty:
        raise InvalidArgument(refusal)
    return read
