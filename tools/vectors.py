"""The `vectors` toolset: indexes of embeddings, and similarity search over them."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from convex_memory.errors import InvalidArgument, NotFound
from convex_memory.limits import (
    EMBED_TEXT_CHARS_MAX,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
    VECTOR_RESULTS_MAX,
    VECTOR_UPSERT_BATCH,
)
from convex_memory.native_vector import ConvexNativeVector
from convex_memory.text_vectors import TextVectors
from convex_memory.vector import ConvexVector, VectorMatches
from tools.adapters import Adapters
from tools.arguments import Id, Metadata
from tools.budget import CHARS_DEFAULT, MaxChars
from tools.toolset import Answer, Arguments, Progress, Toolset

vectors = Toolset("vectors")

Text = Annotated[str, Field(min_length=1, max_length=EMBED_TEXT_CHARS_MAX)]
Vector = Annotated[list[float], Field(min_length=1, max_length=VECTOR_DIMENSION_MAX)]
Filter = Annotated[
    dict[str, JsonValue] | None,
    Field(
        description="On metadata: {field: value} or {field: {$gt: 3}}; $eq $ne $gt $gte $lt $lte "
        "$in $nin $exists, joined by $and $or $not."
    ),
]


class IndexArguments(Arguments):
    """An index."""

    index: Id


class CreateIndexArguments(IndexArguments):
    """Arguments of `create_index`."""

    dimension: Annotated[
        int | None,
        Field(ge=VECTOR_DIMENSION_MIN, le=VECTOR_DIMENSION_MAX, description="Absent: for texts."),
    ] = None
    metric: Literal["cosine"] = "cosine"


class Index(Answer):
    """An index."""

    index: str
    dimension: int
    metric: str
    count: int | None = None
    count_is_limited: Annotated[bool | None, Field(description="There are more than count.")] = None
    embedder: Annotated[str | None, Field(description="What makes its vectors of texts.")] = None
    pending: Annotated[int | None, Field(description="Texts without a vector yet.")] = None


@vectors.tool("Create an index", repeatable=True)
async def create_index(
    arguments: CreateIndexArguments, adapters: Adapters, progress: Progress
) -> Index:
    """Make an index for embeddings of one dimension, or for texts. Repeating changes nothing."""
    dimension = arguments.dimension or await _texts(adapters).dimension()
    await _of(adapters, arguments.index).create_index(arguments.index, dimension, arguments.metric)
    return Index(index=arguments.index, dimension=dimension, metric=arguments.metric)


class ListIndexesArguments(Arguments):
    """Arguments of `list_indexes`."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: str | None = None


class Indexes(Answer):
    """A page of indexes."""

    indexes: list[str]
    next_cursor: str | None


@vectors.tool("List indexes", reads=True)
async def list_indexes(
    arguments: ListIndexesArguments, adapters: Adapters, progress: Progress
) -> Indexes:
    """List the indexes there are, by name."""
    native = await adapters.native_vector.list_indexes()
    names = sorted({*await adapters.vector.list_indexes(), *native})
    # The name is the cursor: it stays good while indexes come and go.
    rest = [name for name in names if arguments.cursor is None or name > arguments.cursor]
    page = rest[: arguments.limit]
    return Indexes(indexes=page, next_cursor=page[-1] if len(rest) > len(page) else None)


@vectors.tool("Describe an index", reads=True)
async def describe_index(
    arguments: IndexArguments, adapters: Adapters, progress: Progress
) -> Index:
    """Tell an index's dimension and how many embeddings it holds."""
    found = await _of(adapters, arguments.index).describe_index(arguments.index)
    return Index(
        index=arguments.index,
        dimension=found.dimension,
        metric=found.metric,
        count=found.count,
        count_is_limited=found.count_is_limited or None,
        embedder=found.embedder,
        pending=found.pending or None,
    )


class Item(Arguments):
    """One embedding to store."""

    id: Id | None = None
    vector: Vector | None = None
    text: Text | None = None
    metadata: Metadata | None = None


class UpsertArguments(IndexArguments):
    """Arguments of `upsert_embeddings`."""

    items: Annotated[list[Item], Field(min_length=1, max_length=VECTOR_UPSERT_BATCH)]


class Upserted(Answer):
    """What was stored."""

    index: str
    upserted: int
    ids: list[str]


@vectors.tool("Store embeddings", destroys=True, repeatable=True, long=True)
async def upsert_embeddings(
    arguments: UpsertArguments, adapters: Adapters, progress: Progress
) -> Upserted:
    """Store up to 100 vectors, or texts to embed, all or none; a known id is replaced."""
    items = arguments.items
    await progress(0, len(items))
    ids = [item.id or adapters.new_id() for item in items]
    metadata = [item.metadata for item in items]
    vectors = [item.vector for item in items if item.vector is not None]
    texts = [item.text for item in items if item.text is not None]
    if len(vectors) == len(items) and not texts:
        await _of(adapters, arguments.index).upsert(
            arguments.index, vectors, ids=ids, metadata=metadata
        )
    elif len(texts) == len(items) and not vectors:
        await _texts(adapters, arguments.index).upsert(
            arguments.index, texts, ids=ids, metadata=metadata
        )
    else:
        raise InvalidArgument("Give every item a vector, or every item a text.")
    await progress(len(ids), len(ids))
    return Upserted(index=arguments.index, upserted=len(set(ids)), ids=ids)


class QueryArguments(IndexArguments):
    """Arguments of `vector_query`."""

    vector: Vector | None = None
    text: Annotated[Text | None, Field(description="Instead of vector.")] = None
    top_k: Annotated[int, Field(ge=1, le=VECTOR_RESULTS_MAX)] = 10
    filter: Filter = None
    include_vectors: bool = False
    max_chars: MaxChars = CHARS_DEFAULT
    exact: Annotated[bool, Field(description="Compare with every vector.")] = False


class Match(Answer):
    """One embedding found."""

    id: str
    score: float
    metadata: dict[str, object] | None
    vector: list[float] | None = None


class Matches(Answer):
    """Embeddings found, best first."""

    matches: list[Match]
    exhausted: bool
    pending: Annotated[int | None, Field(description="Texts that cannot be found yet.")] = None
    left_out: Annotated[
        int | None,
        Field(description="Matches beyond max_chars; ask with more, or without vectors."),
    ] = None


@vectors.tool("Query vectors", reads=True)
async def vector_query(
    arguments: QueryArguments, adapters: Adapters, progress: Progress
) -> Matches:
    """Find the embeddings most similar to a vector or text, by cosine."""
    found = await _query(adapters, arguments)
    shown: list[Match] = []
    left = arguments.max_chars
    for match in found.matches:
        metadata: dict[str, object] | None = None if match.metadata is None else {**match.metadata}
        left -= len(json.dumps([metadata, match.vector], separators=(",", ":")))
        if shown and left < 0:
            break
        shown.append(Match(id=match.id, score=match.score, metadata=metadata, vector=match.vector))
    return Matches(
        matches=shown,
        exhausted=found.exhausted,
        pending=found.pending or None,
        left_out=len(found.matches) - len(shown) or None,
    )


async def _query(adapters: Adapters, arguments: QueryArguments) -> VectorMatches:
    if (arguments.vector is None) == (arguments.text is None):
        raise InvalidArgument("Give a vector or a text to look for.")
    if arguments.text is not None:
        return await _texts(adapters, arguments.index).query(
            arguments.index,
            arguments.text,
            top_k=arguments.top_k,
            filter=arguments.filter,
            include_vector=arguments.include_vectors,
            exact=arguments.exact,
        )
    if arguments.index not in adapters.native_indexes:
        return await adapters.vector.query(
            arguments.index,
            arguments.vector,
            top_k=arguments.top_k,
            filter=arguments.filter,
            include_vector=arguments.include_vectors,
            exact=arguments.exact,
        )
    if arguments.exact:
        raise InvalidArgument(
            f"Index {arguments.index!a} is a configured table, which only its own vector index "
            "searches. Leave exact out."
        )
    return await adapters.native_vector.query(
        arguments.index,
        arguments.vector,
        top_k=arguments.top_k,
        filter=arguments.filter,
        include_vector=arguments.include_vectors,
    )


class UpdateArguments(IndexArguments):
    """Arguments of `update_embedding`."""

    id: Id
    vector: Vector | None = None
    metadata: Annotated[Metadata | None, Field(description="Merged.")] = None


class Updated(Answer):
    """It was changed."""

    id: str
    updated: bool


@vectors.tool("Update an embedding", destroys=True, repeatable=True)
async def update_embedding(
    arguments: UpdateArguments, adapters: Adapters, progress: Progress
) -> Updated:
    """Change the vector or metadata of one embedding."""
    changed = await _of(adapters, arguments.index).update_vector(
        arguments.index, id=arguments.id, vector=arguments.vector, metadata=arguments.metadata
    )
    if changed == 0:
        raise NotFound(f"Index {arguments.index!a} has no embedding {arguments.id!a}.")
    return Updated(id=arguments.id, updated=True)


class DeleteArguments(IndexArguments):
    """Arguments of `delete_embeddings`."""

    ids: Annotated[list[Id] | None, Field(min_length=1, max_length=1000)] = None
    filter: Filter = None


class Deleted(Answer):
    """They are gone."""

    index: str
    deleted: bool


@vectors.tool("Delete embeddings", destroys=True, repeatable=True, long=True)
async def delete_embeddings(
    arguments: DeleteArguments, adapters: Adapters, progress: Progress
) -> Deleted:
    """Delete embeddings by ids, or all that match a filter."""
    await progress(0)
    await _of(adapters, arguments.index).delete_vectors(
        arguments.index, ids=arguments.ids, filter=arguments.filter
    )
    return Deleted(index=arguments.index, deleted=True)


@vectors.tool("Delete an index", destroys=True, repeatable=True, long=True)
async def delete_index(
    arguments: IndexArguments, adapters: Adapters, progress: Progress
) -> Deleted:
    """Delete an index with all its embeddings, for good."""
    index = _of(adapters, arguments.index)
    await index.describe_index(arguments.index)
    await progress(0)
    await index.delete_index(arguments.index)
    return Deleted(index=arguments.index, deleted=True)


def _texts(adapters: Adapters, index: str | None = None) -> TextVectors:
    """Return the adapter that embeds texts."""
    if index in adapters.native_indexes:
        raise InvalidArgument(
            f"Index {index!a} is a configured table, which keeps vectors only. Give a vector."
        )
    if adapters.text_vectors is None:
        raise InvalidArgument(
            "This server embeds no texts: MEMORY_EMBEDDER is off. Give vectors and a dimension."
        )
    return adapters.text_vectors


def _of(adapters: Adapters, index: str) -> ConvexVector | ConvexNativeVector:
    """Return the adapter that keeps an index: configured ones stand in the deployment's schema."""
    return adapters.native_vector if index in adapters.native_indexes else adapters.vector
