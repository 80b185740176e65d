"""What a principal may call, and how each call is kept within what is theirs.

`POLICY` names every function that `memory/principal:*` runs; any other is refused, and so is any
argument that is not named here. `convex/memory/lib/policy.ts` holds the same table.

A shape says what becomes of a value. Text in it is a role:

| role | of an argument | of an answer |
|---|---|---|
| `plain` | stays as it is | |
| `owner` | the principal, also where it is absent; another resource is one that nobody has | |
| `thread`, `message` | the id under which the principal's row is stored | the principal's own id |
| `observation` | the same, of a generation of observational memory | the principal's own id |
| `lookup` | whose observational memory it is: the principal's, or that of a thread of theirs | |
| `lookups` | a filter by such a `lookupKey`, and by nothing else | |
| `in_thread` | a filter by the `thread_id` of a thread, and by nothing else | |
| `thread_keys` | a thread named by its `id`, and by nothing else | |
| `name`, `key` | a name in the principal's name space | the same without the name space |
| `namespace` | the principal's name space, also where it is absent | |
| `text` | | whatever it quotes of the name space is taken out |

An object gives the members, an array of one shape the elements, of several the places of a tuple.
Members that an argument's object does not list are refused; those that an answer's does not list
stay as they are. Of the storage function only those operations on those tables pass that have a
rule of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from convex_memory.deployment import CACHE_FUNCTION, STORAGE_FUNCTION, Kind

Shape: TypeAlias = "str | Mapping[str, Shape] | Sequence[Shape]"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one function is kept within what is a principal's.

    Attributes:
        kind: What it must be called as.
        takes: The shape of its arguments.
        gives: The shape of its answer.
    """

    kind: Kind
    takes: Mapping[str, Shape]
    gives: Shape = "plain"


_THREAD: Final[Shape] = {
    "id": "thread",
    "metadata": {"clone": {"sourceThreadId": "thread", "lastMessageId": "message"}},
}
_MESSAGE: Final[Shape] = {"id": "message", "thread_id": "thread"}
_MARKS: Final[Shape] = [{"id": "message", "supersededBy": "message"}]
_CONVERSATION: Final[Shape] = {"thread": _THREAD, "messages": [_MESSAGE], "marks": _MARKS}
_SEARCHED: Final[Mapping[str, Shape]] = {
    "limit": "plain", "resourceId": "owner", "threadId": "thread", "role": "plain",
    "since": "plain", "until": "plain", "metadata": "plain",
}  # fmt: skip
_OBSERVATION: Final[Shape] = {
    "id": "observation", "lookupKey": "text", "threadId": "thread",
    "observedMessageIds": ["message"],
}  # fmt: skip
_OPERATION: Final[Mapping[str, Shape]] = {"op": "plain", "tableName": "plain"}
THREADS: Final = "mastra_threads"
MESSAGES: Final = "mastra_messages"
OBSERVATIONS: Final = "mastra_observational_memory"

POLICY: Final[Mapping[str, Rule]] = {
    f"{STORAGE_FUNCTION} load {THREADS}": Rule(
        "mutation", {**_OPERATION, "keys": "thread_keys"}, {"result": _THREAD}
    ),
    f"{STORAGE_FUNCTION} queryTable {MESSAGES}": Rule(
        "mutation", {**_OPERATION, "filters": "in_thread"}, {"result": [_MESSAGE]}
    ),
    f"{STORAGE_FUNCTION} omGetLatest {OBSERVATIONS}": Rule(
        "mutation", {**_OPERATION, "lookupKey": "lookup"}, {"result": _OBSERVATION}
    ),
    f"{STORAGE_FUNCTION} omGetHistory {OBSERVATIONS}": Rule(
        "mutation",
        {
            **_OPERATION, "lookupKey": "lookup", "limit": "plain", "offset": "plain",
            "from": "plain", "to": "plain",
        },
        {"result": [_OBSERVATION]},
    ),
    f"{STORAGE_FUNCTION} omUpdateActive {OBSERVATIONS}": Rule(
        "mutation",
        {
            **_OPERATION, "id": "observation", "observations": "plain", "tokenCount": "plain",
            "lastObservedAt": "plain", "observedMessageIds": ["message"], "updatedAt": "plain",
            "observedTimezone": "plain",
        },
        {"error": "text"},
    ),
    f"{STORAGE_FUNCTION} insert {OBSERVATIONS}": Rule(
        "mutation",
        {
            **_OPERATION,
            "record": {
                "id": "observation", "lookupKey": "lookup", "threadId": "thread",
                "resourceId": "owner", "observedMessageIds": ["message"], "scope": "plain",
                "config": "plain", "metadata": "plain", "observedTimezone": "plain",
                "lastObservedAt": "plain", "totalTokensObserved": "plain",
                "generationCount": "plain", "activeObservations": "plain",
                "activeObservationsPendingUpdate": "plain", "originType": "plain",
                "lastReflectionAt": "plain", "pendingMessageTokens": "plain",
                "observationTokenCount": "plain", "bufferedObservationChunks": "plain",
                "bufferedReflection": "plain", "bufferedReflectionTokens": "plain",
                "bufferedReflectionInputTokens": "plain",
                "reflectedObservationLineCount": "plain", "isObserving": "plain",
                "isReflecting": "plain", "isBufferingObservation": "plain",
                "isBufferingReflection": "plain", "lastBufferedAtTokens": "plain",
                "lastBufferedAtTime": "plain", "createdAt": "plain", "updatedAt": "plain",
            },
        },
        {"error": "text"},
    ),
    f"{STORAGE_FUNCTION} queryTable {OBSERVATIONS}": Rule(
        "mutation",
        {**_OPERATION, "filters": "lookups", "limit": "plain"},
        {"result": [_OBSERVATION]},
    ),
    f"{STORAGE_FUNCTION} deleteMany {OBSERVATIONS}": Rule(
        "mutation", {**_OPERATION, "ids": ["observation"]}, {"error": "text"}
    ),
    CACHE_FUNCTION: Rule(
        "mutation",
        {
            "op": "plain", "key": "key", "keyPrefix": "key", "value": "plain",
            "expiresAt": "plain", "from": "plain", "to": "plain",
        },
        {"error": "text"},
    ),
    "memory/meta:version": Rule("query", {}),
    "memory/meta:stats": Rule("query", {"resourceId": "owner"}),
    "memory/messages:save": Rule(
        "mutation",
        {
            "messages": [
                {
                    "id": "message", "thread_id": "thread", "resourceId": "owner",
                    "content": "plain", "role": "plain", "type": "plain", "createdAt": "plain",
                }
            ],
            "thread": {
                "id": "thread", "resourceId": "owner", "title": "plain", "metadata": "plain",
                "expiresAt": "plain",
            },
            "onExisting": "plain",
            "now": "plain",
            "expiries": [["message", "plain"]],
            "supersedes": [["message", "message"]],
        },
        {"results": [{"id": "message"}], "threads": ["thread"]},
    ),
    "memory/messages:page": Rule(
        "query",
        {
            "threadId": "thread", "limit": "plain", "resourceId": "owner", "order": "plain",
            "cursor": "plain", "role": "plain", "since": "plain", "until": "plain",
            "charsMax": "plain",
        },
        _CONVERSATION,
    ),
    "memory/messages:around": Rule(
        "query",
        {
            "messageId": "message", "before": "plain", "after": "plain", "threadId": "thread",
            "resourceId": "owner",
        },
        _CONVERSATION,
    ),
    "memory/messages:get": Rule(
        "query", {"ids": ["message"], "resourceId": "owner"}, _CONVERSATION
    ),
    "memory/messages:update": Rule(
        "mutation",
        {
            "messageId": "message", "threadId": "thread", "resourceId": "owner", "text": "plain",
            "metadata": "plain", "expiresAt": "plain", "now": "plain",
        },
        {"message": _MESSAGE, "marks": _MARKS},
    ),
    "memory/messages:remove": Rule(
        "mutation",
        {"ids": ["message"], "threadId": "thread", "resourceId": "owner", "purgeAt": "plain"},
        {"removed": ["message"]},
    ),
    "memory/messages:restore": Rule(
        "mutation", {"ids": ["message"], "resourceId": "owner"}, {"restored": ["message"]}
    ),
    "memory/threads:get": Rule(
        "query", {"threadId": "thread", "resourceId": "owner"}, {"thread": _THREAD}
    ),
    "memory/threads:list": Rule(
        "query",
        {
            "limit": "plain", "resourceId": "owner", "order": "plain", "by": "plain",
            "cursor": "plain",
        },
        {"threads": [_THREAD]},
    ),
    "memory/threads:update": Rule(
        "mutation",
        {
            "threadId": "thread", "resourceId": "owner", "title": "plain", "metadata": "plain",
            "expiresAt": "plain", "now": "plain",
        },
        {"thread": _THREAD},
    ),
    "memory/threads:remove": Rule(
        "mutation", {"threadId": "thread", "resourceId": "owner", "purgeAt": "plain"}
    ),
    "memory/threads:restore": Rule(
        "mutation", {"threadId": "thread", "resourceId": "owner"}, {"thread": _THREAD}
    ),
    "memory/threads:clone": Rule(
        "mutation",
        {
            "threadId": "thread", "newThreadId": "thread", "resourceId": "owner",
            "newResourceId": "owner", "title": "plain", "metadata": "plain",
            "messageLimit": "plain", "messageIds": ["message"], "since": "plain",
            "until": "plain", "now": "plain",
        },
        {"thread": _THREAD, "messageIds": [["message", "message"]]},
    ),
    "memory/search:messages": Rule(
        "query",
        {"query": "plain", "cursor": "plain", "idsOnly": "plain", **_SEARCHED},
        {"hits": [{"id": "message", "message": _MESSAGE}], "marks": _MARKS},
    ),
    "memory/search:semantic": Rule(
        "action",
        {"vector": "plain", "embedder": "plain", "ids": ["message"], **_SEARCHED},
        {"hits": [{"id": "message"}], "scores": [["message", "plain"]]},
    ),
    "memory/working:get": Rule("query", {"resourceId": "owner", "threadId": "thread"}),
    "memory/working:update": Rule(
        "mutation",
        {
            "resourceId": "owner", "threadId": "thread", "text": "plain", "mode": "plain",
            "now": "plain",
        },
    ),
    "memory/vectors:search": Rule(
        "action",
        {
            "indexName": "name", "vector": "plain", "limit": "plain", "filter": "plain",
            "includeVector": "plain", "exact": "plain", "embedder": "plain",
        },
    ),
    "memory/vectors:upsert": Rule(
        "mutation", {"indexName": "name", "items": "plain", "embedder": "plain"}
    ),
    "memory/vectors:update": Rule(
        "mutation",
        {
            "indexName": "name", "id": "plain", "filter": "plain", "vector": "plain",
            "metadata": "plain",
        },
    ),
    "memory/vectors:remove": Rule(
        "mutation", {"indexName": "name", "ids": "plain", "filter": "plain"}
    ),
    "memory/vectors:createIndex": Rule(
        "mutation",
        {"indexName": "name", "dimension": "plain", "metric": "plain", "now": "plain"},
    ),
    "memory/vectors:deleteIndex": Rule("mutation", {"indexName": "name", "keepIndex": "plain"}),
    "memory/vectors:describe": Rule("query", {"indexName": "name"}, {"indexName": "name"}),
    "memory/vectors:list": Rule(
        "query", {"namespace": "namespace"}, {"indexes": [{"indexName": "name"}]}
    ),
}  # fmt: skip
"""Function → how a principal's call of it is kept within what is theirs."""


def rule_for(path: str, args: Mapping[str, object]) -> Rule | None:
    """Return the rule for a call, or None when principals may not make it."""
    if path != STORAGE_FUNCTION:
        return POLICY.get(path)
    return POLICY.get(f"{path} {args.get('op')} {args.get('tableName')}")
