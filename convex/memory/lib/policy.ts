/**
 * What a principal may call, and how each call is kept within what is theirs.
 *
 * `POLICY` names every function that `memory/principal:*` runs; any other is refused, and so is any
 * argument that is not named here. It is the table of
 * `convex_memory/embedded/functions/memory/policy.py`, which says what the roles in it mean.
 */

/** What becomes of a value: a role, members of an object, elements of an array or of a tuple. */
export type Shape = string | readonly Shape[] | Members;
/** The shapes of an object's members. */
export type Members = { readonly [name: string]: Shape };

/** How one function is kept within what is a principal's. */
export type Rule = {
  /** What it must be called as. */
  readonly kind: "query" | "mutation" | "action";
  /** The shape of its arguments. */
  readonly takes: Members;
  /** The shape of its answer. */
  readonly gives: Shape;
};

const STORAGE_FUNCTION = "mastra/storage:handle";

/** Function, and of the storage function its operation and table, → the rule for it. */
export const POLICY: Readonly<Record<string, Rule>> = {
  "mastra/storage:handle load mastra_threads": {
    "kind": "mutation",
    "takes": { "op": "plain", "tableName": "plain", "keys": "thread_keys" },
    "gives": {
      "result": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
    },
  },
  "mastra/storage:handle queryTable mastra_messages": {
    "kind": "mutation",
    "takes": { "op": "plain", "tableName": "plain", "filters": "in_thread" },
    "gives": { "result": [{ "id": "message", "thread_id": "thread" }] },
  },
  "mastra/storage:handle omGetLatest mastra_observational_memory": {
    "kind": "mutation",
    "takes": { "op": "plain", "tableName": "plain", "lookupKey": "lookup" },
    "gives": {
      "result": {
        "id": "observation",
        "lookupKey": "text",
        "threadId": "thread",
        "observedMessageIds": ["message"],
      },
    },
  },
  "mastra/storage:handle omGetHistory mastra_observational_memory": {
    "kind": "mutation",
    "takes": {
      "op": "plain",
      "tableName": "plain",
      "lookupKey": "lookup",
      "limit": "plain",
      "offset": "plain",
      "from": "plain",
      "to": "plain",
    },
    "gives": {
      "result": [
        {
          "id": "observation",
          "lookupKey": "text",
          "threadId": "thread",
          "observedMessageIds": ["message"],
        },
      ],
    },
  },
  "mastra/storage:handle omUpdateActive mastra_observational_memory": {
    "kind": "mutation",
    "takes": {
      "op": "plain",
      "tableName": "plain",
      "id": "observation",
      "observations": "plain",
      "tokenCount": "plain",
      "lastObservedAt": "plain",
      "observedMessageIds": ["message"],
      "updatedAt": "plain",
      "observedTimezone": "plain",
    },
    "gives": { "error": "text" },
  },
  "mastra/storage:handle insert mastra_observational_memory": {
    "kind": "mutation",
    "takes": {
      "op": "plain",
      "tableName": "plain",
      "record": {
        "id": "observation",
        "lookupKey": "lookup",
        "threadId": "thread",
        "resourceId": "owner",
        "observedMessageIds": ["message"],
        "scope": "plain",
        "config": "plain",
        "metadata": "plain",
        "observedTimezone": "plain",
        "lastObservedAt": "plain",
        "totalTokensObserved": "plain",
        "generationCount": "plain",
        "activeObservations": "plain",
        "activeObservationsPendingUpdate": "plain",
        "originType": "plain",
        "lastReflectionAt": "plain",
        "pendingMessageTokens": "plain",
        "observationTokenCount": "plain",
        "bufferedObservationChunks": "plain",
        "bufferedReflection": "plain",
        "bufferedReflectionTokens": "plain",
        "bufferedReflectionInputTokens": "plain",
        "reflectedObservationLineCount": "plain",
        "isObserving": "plain",
        "isReflecting": "plain",
        "isBufferingObservation": "plain",
        "isBufferingReflection": "plain",
        "lastBufferedAtTokens": "plain",
        "lastBufferedAtTime": "plain",
        "createdAt": "plain",
        "updatedAt": "plain",
      },
    },
    "gives": { "error": "text" },
  },
  "mastra/storage:handle queryTable mastra_observational_memory": {
    "kind": "mutation",
    "takes": { "op": "plain", "tableName": "plain", "filters": "lookups", "limit": "plain" },
    "gives": {
      "result": [
        {
          "id": "observation",
          "lookupKey": "text",
          "threadId": "thread",
          "observedMessageIds": ["message"],
        },
      ],
    },
  },
  "mastra/storage:handle deleteMany mastra_observational_memory": {
    "kind": "mutation",
    "takes": { "op": "plain", "tableName": "plain", "ids": ["observation"] },
    "gives": { "error": "text" },
  },
  "mastra/cache:handle": {
    "kind": "mutation",
    "takes": {
      "op": "plain",
      "key": "key",
      "keyPrefix": "key",
      "value": "plain",
      "expiresAt": "plain",
      "from": "plain",
      "to": "plain",
    },
    "gives": { "error": "text" },
  },
  "memory/meta:version": { "kind": "query", "takes": {}, "gives": "plain" },
  "memory/meta:stats": { "kind": "query", "takes": { "resourceId": "owner" }, "gives": "plain" },
  "memory/messages:save": {
    "kind": "mutation",
    "takes": {
      "messages": [
        {
          "id": "message",
          "thread_id": "thread",
          "resourceId": "owner",
          "content": "plain",
          "role": "plain",
          "type": "plain",
          "createdAt": "plain",
        },
      ],
      "thread": {
        "id": "thread",
        "resourceId": "owner",
        "title": "plain",
        "metadata": "plain",
        "expiresAt": "plain",
      },
      "onExisting": "plain",
      "now": "plain",
      "expiries": [["message", "plain"]],
      "supersedes": [["message", "message"]],
    },
    "gives": { "results": [{ "id": "message" }], "threads": ["thread"] },
  },
  "memory/messages:page": {
    "kind": "query",
    "takes": {
      "threadId": "thread",
      "limit": "plain",
      "resourceId": "owner",
      "order": "plain",
      "cursor": "plain",
      "role": "plain",
      "since": "plain",
      "until": "plain",
      "charsMax": "plain",
    },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
      "messages": [{ "id": "message", "thread_id": "thread" }],
      "marks": [{ "id": "message", "supersededBy": "message" }],
    },
  },
  "memory/messages:around": {
    "kind": "query",
    "takes": {
      "messageId": "message",
      "before": "plain",
      "after": "plain",
      "threadId": "thread",
      "resourceId": "owner",
    },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
      "messages": [{ "id": "message", "thread_id": "thread" }],
      "marks": [{ "id": "message", "supersededBy": "message" }],
    },
  },
  "memory/messages:get": {
    "kind": "query",
    "takes": { "ids": ["message"], "resourceId": "owner" },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
      "messages": [{ "id": "message", "thread_id": "thread" }],
      "marks": [{ "id": "message", "supersededBy": "message" }],
    },
  },
  "memory/messages:update": {
    "kind": "mutation",
    "takes": {
      "messageId": "message",
      "threadId": "thread",
      "resourceId": "owner",
      "text": "plain",
      "metadata": "plain",
      "expiresAt": "plain",
      "now": "plain",
    },
    "gives": {
      "message": { "id": "message", "thread_id": "thread" },
      "marks": [{ "id": "message", "supersededBy": "message" }],
    },
  },
  "memory/messages:remove": {
    "kind": "mutation",
    "takes": {
      "ids": ["message"],
      "threadId": "thread",
      "resourceId": "owner",
      "purgeAt": "plain",
    },
    "gives": { "removed": ["message"] },
  },
  "memory/messages:restore": {
    "kind": "mutation",
    "takes": { "ids": ["message"], "resourceId": "owner" },
    "gives": { "restored": ["message"] },
  },
  "memory/threads:get": {
    "kind": "query",
    "takes": { "threadId": "thread", "resourceId": "owner" },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
    },
  },
  "memory/threads:list": {
    "kind": "query",
    "takes": {
      "limit": "plain",
      "resourceId": "owner",
      "order": "plain",
      "by": "plain",
      "cursor": "plain",
    },
    "gives": {
      "threads": [
        {
          "id": "thread",
          "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
        },
      ],
    },
  },
  "memory/threads:update": {
    "kind": "mutation",
    "takes": {
      "threadId": "thread",
      "resourceId": "owner",
      "title": "plain",
      "metadata": "plain",
      "expiresAt": "plain",
      "now": "plain",
    },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
    },
  },
  "memory/threads:remove": {
    "kind": "mutation",
    "takes": { "threadId": "thread", "resourceId": "owner", "purgeAt": "plain" },
    "gives": "plain",
  },
  "memory/threads:restore": {
    "kind": "mutation",
    "takes": { "threadId": "thread", "resourceId": "owner" },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
    },
  },
  "memory/threads:clone": {
    "kind": "mutation",
    "takes": {
      "threadId": "thread",
      "newThreadId": "thread",
      "resourceId": "owner",
      "newResourceId": "owner",
      "title": "plain",
      "metadata": "plain",
      "messageLimit": "plain",
      "messageIds": ["message"],
      "since": "plain",
      "until": "plain",
      "now": "plain",
    },
    "gives": {
      "thread": {
        "id": "thread",
        "metadata": { "clone": { "sourceThreadId": "thread", "lastMessageId": "message" } },
      },
      "messageIds": [["message", "message"]],
    },
  },
  "memory/search:messages": {
    "kind": "query",
    "takes": {
      "query": "plain",
      "cursor": "plain",
      "idsOnly": "plain",
      "limit": "plain",
      "resourceId": "owner",
      "threadId": "thread",
      "role": "plain",
      "since": "plain",
      "until": "plain",
      "metadata": "plain",
    },
    "gives": {
      "hits": [{ "id": "message", "message": { "id": "message", "thread_id": "thread" } }],
      "marks": [{ "id": "message", "supersededBy": "message" }],
    },
  },
  "memory/search:semantic": {
    "kind": "action",
    "takes": {
      "vector": "plain",
      "embedder": "plain",
      "ids": ["message"],
      "limit": "plain",
      "resourceId": "owner",
      "threadId": "thread",
      "role": "plain",
      "since": "plain",
      "until": "plain",
      "metadata": "plain",
    },
    "gives": { "hits": [{ "id": "message" }], "scores": [["message", "plain"]] },
  },
  "memory/working:get": {
    "kind": "query",
    "takes": { "resourceId": "owner", "threadId": "thread" },
    "gives": "plain",
  },
  "memory/working:update": {
    "kind": "mutation",
    "takes": {
      "resourceId": "owner",
      "threadId": "thread",
      "text": "plain",
      "mode": "plain",
      "now": "plain",
    },
    "gives": "plain",
  },
  "memory/vectors:search": {
    "kind": "action",
    "takes": {
      "indexName": "name",
      "vector": "plain",
      "limit": "plain",
      "filter": "plain",
      "includeVector": "plain",
      "exact": "plain",
      "embedder": "plain",
    },
    "gives": "plain",
  },
  "memory/vectors:upsert": {
    "kind": "mutation",
    "takes": { "indexName": "name", "items": "plain", "embedder": "plain" },
    "gives": "plain",
  },
  "memory/vectors:update": {
    "kind": "mutation",
    "takes": {
      "indexName": "name",
      "id": "plain",
      "filter": "plain",
      "vector": "plain",
      "metadata": "plain",
    },
    "gives": "plain",
  },
  "memory/vectors:remove": {
    "kind": "mutation",
    "takes": { "indexName": "name", "ids": "plain", "filter": "plain" },
    "gives": "plain",
  },
  "memory/vectors:createIndex": {
    "kind": "mutation",
    "takes": { "indexName": "name", "dimension": "plain", "metric": "plain", "now": "plain" },
    "gives": "plain",
  },
  "memory/vectors:deleteIndex": {
    "kind": "mutation",
    "takes": { "indexName": "name", "keepIndex": "plain" },
    "gives": "plain",
  },
  "memory/vectors:describe": {
    "kind": "query",
    "takes": { "indexName": "name" },
    "gives": { "indexName": "name" },
  },
  "memory/vectors:list": {
    "kind": "query",
    "takes": { "namespace": "namespace" },
    "gives": { "indexes": [{ "indexName": "name" }] },
  },
};

/** The rule for a call, or undefined when principals may not make it. */
export function ruleFor(path: string, args: Readonly<Record<string, unknown>>): Rule | undefined {
  const [op, table] = [args["op"], args["tableName"]];
  const name = path === STORAGE_FUNCTION ? `${path} ${String(op)} ${String(table)}` : path;
  return Object.hasOwn(POLICY, name) ? POLICY[name] : undefined;
}
