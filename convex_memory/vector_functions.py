"""Vector indexes over our own functions, `memory/vectors:*`, which filter and rank in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from convex_memory.deployment import Deployment, Kind
from convex_memory.embeddings import (
    COSINE,
    IndexDescription,
    Metadata,
    VectorMatch,
    VectorMatches,
    list_in,
    number_in,
    object_in,
    optional_text_in,
    stored_metadata,
    stored_vector,
)
from convex_memory.filters import Filter, to_wire
from convex_memory.limits import VECTOR_UPSERT_BATCH
from convex_memory.values import Value
from convex_memory.vector_storage import batches, record_of

SEARCH: Final = "memory/vectors:search"
UPSERT: Final = "memory/vectors:upsert"
UPDATE: Final = "memory/vectors:update"
REMOVE: Final = "memory/vectors:remove"
CREATE_INDEX: Final = "memory/vectors:createIndex"
DELETE_INDEX: Final = "memory/vectors:deleteIndex"
DESCRIBE: Final = "memory/vectors:describe"
LIST: Final = "memory/vectors:list"

VECTOR_FUNCTIONS: Final = (
    SEARCH,
    UPSERT,
    UPDATE,
    REMOVE,
    CREATE_INDEX,
    DELETE_INDEX,
    DESCRIBE,
    LIST,
)
_REMOVE_IDS_MAX: Final = 1000


class FunctionVectors:
    """The operations of `ConvexVector` on `memory/vectors:*`.

    Args:
        deployment: Where the functions run.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def create_index(self, index_name: str, dimension: int) -> None:
        """Make the index; the same one again is fine, another dimension is `Conflict`."""
        await self._call(
            "mutation", CREATE_INDEX, indexName=index_name, dimension=dimension, metric=COSINE
        )

    async def list_indexes(self) -> list[str]:
        """The names, as the function orders them."""
        answer = await self._call("query", LIST)
        indexes = list_in(LIST, object_in(LIST, answer).get("indexes"))
        return [str(object_in(LIST, index).get("indexName")) for index in indexes]

    async def describe_index(self, index_name: str) -> IndexDescription:
        """The index's dimension and count."""
        answer = object_in(DESCRIBE, await self._call("query", DESCRIBE, indexName=index_name))
        return IndexDescription(
            index_name,
            int(number_in(DESCRIBE, answer.get("dimension"))),
            str(answer.get("metric", COSINE)),
            int(number_in(DESCRIBE, answer.get("count"))),
            embedder=optional_text_in(DESCRIBE, answer.get("embedder")),
            pending=int(number_in(DESCRIBE, answer.get("pending", 0))),
        )

    async def delete_index(self, index_name: str) -> None:
        """Forget the index and delete its vectors."""
        await self._call("mutation", DELETE_INDEX, indexName=index_name)

    async def truncate_index(self, index_name: str) -> None:
        """Delete the vectors."""
        await self._call("mutation", DELETE_INDEX, indexName=index_name, keepIndex=True)

    async def upsert(
        self,
        index_name: str,
        records: Sequence[tuple[str, list[float], Metadata | None]],
        *,
        texts: Sequence[str] | None = None,
        embedder: str | None = None,
    ) -> None:
        """Insert or replace records, in batches; with the texts that `embedder` made them of."""
        items: list[dict[str, Value]] = [record_of("vector", *record) for record in records]
        for item, text in zip(items, texts or (), strict=False):
            item["text"] = text
        args: dict[str, Value] = {} if embedder is None else {"embedder": embedder}
        for batch in batches(items, VECTOR_UPSERT_BATCH):
            await self._call("mutation", UPSERT, indexName=index_name, items=list(batch), **args)

    async def query(
        self,
        index_name: str,
        vector: list[float],
        top_k: int,
        filter: Filter,
        *,
        with_vectors: bool,
        exact: bool,
        embedder: str | None = None,
    ) -> VectorMatches:
        """The best matches."""
        args: dict[str, Value] = {} if filter.is_empty else {"filter": to_wire(filter)}
        if with_vectors:
            args["includeVector"] = True
        if exact:
            args["exact"] = True
        if embedder is not None:
            args["embedder"] = embedder
        answer = object_in(
            SEARCH,
            await self._call(
                "action", SEARCH, indexName=index_name, vector=vector, limit=top_k, **args
            ),
        )
        matches = [object_in(SEARCH, match) for match in list_in(SEARCH, answer.get("matches"))]
        return VectorMatches(
            [
                VectorMatch(
                    str(match.get("id")),
                    float(number_in(SEARCH, match.get("score"))),
                    stored_metadata(match.get("metadata")),
                    stored_vector(match.get("vector")) if with_vectors else None,
                )
                for match in matches
            ],
            exhausted=answer.get("exhausted") is not False,
            pending=int(number_in(SEARCH, answer.get("pending", 0))),
        )

    async def update(
        self,
        index_name: str,
        target: str | Filter,
        vector: list[float] | None,
        metadata: Metadata | None,
    ) -> int:
        """Change the record with this id, or every record that matches, in one transaction."""
        args: dict[str, Value] = (
            {"filter": to_wire(target)} if isinstance(target, Filter) else {"id": target}
        )
        if vector is not None:
            args["vector"] = vector
        if metadata is not None:
            args["metadata"] = metadata
        answer = await self._call("mutation", UPDATE, indexName=index_name, **args)
        return int(number_in(UPDATE, object_in(UPDATE, answer).get("updated")))

    async def delete(self, index_name: str, target: Sequence[str] | Filter) -> None:
        """Delete the records with these ids, or every record that matches."""
        if isinstance(target, Filter):
            await self._remove(index_name, filter=to_wire(target))
            return
        for ids in batches(target, _REMOVE_IDS_MAX):
            await self._remove(index_name, ids=list(ids))

    async def _remove(self, index_name: str, **args: Value) -> None:
        while True:
            answer = await self._call("mutation", REMOVE, indexName=index_name, **args)
            if not object_in(REMOVE, answer).get("hasMore"):
                return

    async def _call(self, kind: Kind, path: str, **args: Value) -> Value:
        # Everything sent from here has the same effect when it is sent twice.
        return await self._deployment.call(kind, path, args, retry=True)
