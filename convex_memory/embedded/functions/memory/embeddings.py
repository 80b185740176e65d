"""`memory/embeddings:*`: the texts that wait for a vector, handed out and taken back.

The deployment never embeds: a server that has an embedder claims texts, embeds them and stores
the vectors. Many may do so at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convex_memory.embedded import embedding_queue
from convex_memory.embedded.documents import Documents, Record, Row
from convex_memory.embedded.embedding_queue import Binding, Waiting
from convex_memory.embedded.functions.function import (
    Args,
    allow_only,
    text_argument,
    whole_argument,
)
from convex_memory.embedded.functions.memory.rows import is_removed, now_iso
from convex_memory.embedded.functions.memory.vectors import (
    drop_vector,
    index_of_dimension,
    put_vector,
)
from convex_memory.embedded.tables import MESSAGES, THREADS, VECTOR_INDEXES
from convex_memory.embeddings import messages_index_name
from convex_memory.errors import Conflict, InvalidArgument, NotFound
from convex_memory.limits import (
    EMBED_CLAIM_CHARS_MAX,
    EMBED_CLAIM_ROWS_MAX,
    EMBED_LEASE_MS_MAX,
    EMBED_LEASE_MS_MIN,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
    VECTOR_UPSERT_BATCH,
)
from convex_memory.text import message_text
from convex_memory.values import Value


def begin(documents: Documents, args: Args) -> Value:
    """Say which embedder makes the vectors of messages; with `switch`, change it.

    The first call queues every message that there is.
    """
    allow_only(args, "embedder", "dimension", "switch", "now")
    embedder = text_argument(args, "embedder")
    dimension = whole_argument(args, "dimension", VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX)
    bound = embedding_queue.message_binding(documents.connection)
    changed = bound is None or bound.embedder != embedder or bound.dimension != dimension
    if changed:
        if bound is not None and args.get("switch") is not True:
            raise _other_embedder("The messages of this memory", bound.embedder, embedder)
        documents.will_write()
        name = messages_index_name(dimension)
        index_of_dimension(documents, name, dimension, now_iso(documents, args))
        bound = embedding_queue.bind(
            documents.connection, Binding(name, embedder, dimension, of_messages=True)
        )
        embedding_queue.enqueue_all(documents.connection, bound)
    assert bound is not None
    return {**_status(documents, bound), "changed": changed}


def status(documents: Documents, args: Args) -> Value:
    """Return the embedder of an index, or of messages, and how many texts wait.

    `waiting` counts over all indexes of `embedder`, where one is given.
    """
    allow_only(args, "indexName", "embedder")
    name = text_argument(args, "indexName", optional=True)
    embedder = text_argument(args, "embedder", optional=True)
    connection = documents.connection
    bound = (
        embedding_queue.message_binding(connection)
        if name is None
        else embedding_queue.binding(connection, name)
    )
    answer = (
        {"indexName": name, "embedder": None, "dimension": None, "pending": 0}
        if bound is None
        else _status(documents, bound)
    )
    if embedder is not None:
        answer["waiting"] = embedding_queue.waiting_for(connection, embedder)
    return answer


def claim(documents: Documents, args: Args) -> Value:
    """Hand out texts that wait for this embedder, newest first, for `leaseMs`."""
    allow_only(args, "embedder", "limit", "leaseMs")
    embedder = text_argument(args, "embedder")
    limit = whole_argument(args, "limit", 1, EMBED_CLAIM_ROWS_MAX)
    lease = whole_argument(args, "leaseMs", EMBED_LEASE_MS_MIN, EMBED_LEASE_MS_MAX)
    documents.will_write()
    now = documents.now_ms()
    items: list[Value] = []
    chars = 0
    for each in embedding_queue.claim(documents.connection, embedder, now, now + lease):
        text = _text_of(documents, each)
        if not text:
            # Nothing to embed: the message is gone, or has no words.
            embedding_queue.settle(documents.connection, each.ticket)
            continue
        items.append({"ticket": each.ticket, "text": text})
        chars += len(text)
        if len(items) == limit or chars >= EMBED_CLAIM_CHARS_MAX:
            break
    bound = embedding_queue.message_binding(documents.connection)
    if bound is not None and not embedding_queue.waiting(documents.connection, bound.name):
        embedding_queue.forget_retired(documents.connection)
    return {"items": items}


def store(documents: Documents, args: Args) -> Value:
    """Store the vectors of claimed texts; those whose text has changed meanwhile are dropped."""
    allow_only(args, "embedder", "items")
    embedder = text_argument(args, "embedder")
    items = args.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= VECTOR_UPSERT_BATCH:
        raise InvalidArgument(f"items must be an array of 1 to {VECTOR_UPSERT_BATCH} vectors.")
    stored = 0
    for position, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise InvalidArgument(f"items[{position}] must be {{ticket, vector}}.")
        allow_only(item, "ticket", "vector")
        ticket = whole_argument(item, "ticket", 0, 2**53)
        stored += _store_one(documents, embedder, ticket, item.get("vector"))
    return {"stored": stored, "stale": len(items) - stored}


def release(documents: Documents, args: Args) -> Value:
    """Give claimed texts back at once: their worker ends, or could not embed them."""
    allow_only(args, "tickets")
    tickets = args.get("tickets")
    if not isinstance(tickets, list) or not 1 <= len(tickets) <= EMBED_CLAIM_ROWS_MAX:
        raise InvalidArgument(f"tickets must be an array of 1 to {EMBED_CLAIM_ROWS_MAX} numbers.")
    documents.will_write()
    for ticket in tickets:
        number = whole_argument({"ticket": ticket}, "ticket", 0, 2**53)
        embedding_queue.release(documents.connection, number)
    return None


def reembed(documents: Documents, args: Args) -> Value:
    """Change the embedder of an index that has kept its texts, and queue all of them."""
    allow_only(args, "indexName", "embedder", "dimension")
    name, embedder = text_argument(args, "indexName"), text_argument(args, "embedder")
    dimension = whole_argument(args, "dimension", VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX)
    bound = embedding_queue.binding(documents.connection, name)
    if bound is None:
        raise NotFound(
            f"Index {name!a} keeps no texts to embed again: its vectors came from callers. Make a "
            "new index and upsert texts."
        )
    if bound.of_messages:
        return begin(documents, {"embedder": embedder, "dimension": dimension, "switch": True})
    documents.will_write()
    if bound.dimension != dimension:
        _change_dimension(documents, name, dimension)
    bound = embedding_queue.bind(documents.connection, Binding(name, embedder, dimension))
    embedding_queue.enqueue_all(documents.connection, bound)
    return {**_status(documents, bound), "changed": True}


# --- Rows


def _status(documents: Documents, bound: Binding) -> Record:
    return {
        "indexName": bound.name,
        "embedder": bound.embedder,
        "dimension": bound.dimension,
        "pending": embedding_queue.waiting(documents.connection, bound.name),
    }


def _text_of(documents: Documents, item: Waiting) -> str | None:
    if item.message is None:
        return embedding_queue.kept_text(documents.connection, item.index_name, item.id)
    row = _message(documents, item)
    return None if row is None else message_text(row.fields["content"])


def _message(documents: Documents, item: Waiting) -> Row | None:
    row = None if item.message is None else documents.at(MESSAGES, item.message)
    return None if row is None or is_removed(documents, row) else row


def _store_one(documents: Documents, embedder: str, ticket: int, vector: Any) -> int:
    item = embedding_queue.settle(documents.connection, ticket)
    if item is None:
        return 0
    bound = embedding_queue.binding(documents.connection, item.index_name)
    if bound is None or bound.embedder != embedder:
        bound_to = "nothing" if bound is None else bound.embedder
        raise _other_embedder(f"The texts of index {item.index_name!a}", bound_to, embedder)
    metadata: Any = None
    if item.message is not None:
        row = _message(documents, item)
        if row is None:
            return 0
        metadata = _message_metadata(documents, row)
        for name in embedding_queue.retired_indexes(documents.connection):
            drop_vector(documents, name, item.id)
    put_vector(documents, bound, item.id, vector, metadata)
    return 1


def _message_metadata(documents: Documents, message: Row) -> Record:
    """Return what Mastra's semantic recall looks for beside a message's vector."""
    thread = documents.first(THREADS, id=message.fields["thread_id"])
    resource = message.fields.get("resourceId") or (thread and thread.fields["resourceId"])
    return {
        "message_id": message.fields["id"],
        "thread_id": message.fields["thread_id"],
        "role": message.fields["role"],
        "created_at": message.fields["createdAt"],
        **({"resource_id": resource} if resource else {}),
    }


def _change_dimension(documents: Documents, name: str, dimension: int) -> None:
    row = documents.first(VECTOR_INDEXES, indexName=name)
    if row is not None:
        documents.patch(VECTOR_INDEXES, row, {"dimension": dimension})


def _other_embedder(what: str, bound: str, given: str) -> Conflict:
    return Conflict(
        f"{what} are embedded by {bound}, not by {given}; their vectors cannot be compared. Set "
        "MEMORY_EMBEDDER to the one they have, or have them embedded anew with "
        "`convex-memory reembed`.",
        details={"embedder": bound},
    )
