/**
 * Every table of Convex Memory, for `schema.ts` or for the schema of the app it lives in:
 *
 * ```ts
 * import { memoryTables } from "./lib/tables";
 * export default defineSchema({ ...memoryTables, myTable: defineTable({ … }) });
 * ```
 */
import { defineTable } from "convex/server";
import { v } from "convex/values";
import * as mastra from "./mastraTables";

/**
 * The dimensions for which these tables have a native vector table. Convex fixes a vector index's
 * dimension in the schema; for another one, put its table into the schema:
 *
 * ```ts
 * export default defineSchema({ ...memoryTables, memory_vectors_640: nativeVectors(640) });
 * ```
 */
export const NATIVE_DIMENSIONS = [256, 384, 512, 768, 1024, 1536, 2048, 3072] as const;

/** A dimension with a native vector table. */
export type NativeDimension = (typeof NATIVE_DIMENSIONS)[number];

/** The name of a native vector table; those that a schema adds are named alike. */
export type NativeVectorTable = `memory_vectors_${NativeDimension}`;

/**
 * A native vector table: rows of every index of one dimension, `metadata` as JSON text.
 *
 * A Convex vector filter can only OR equalities, so what has to hold together is one field:
 * `indexResource` is the JSON text `[indexName, resourceId]`, `indexThread` that of
 * `[indexName, threadId]`.
 *
 * @param dimensions The length of the vectors, 2 to 4096. The table has to be called
 *   `memory_vectors_` and this number.
 */
export function nativeVectors(dimensions: number) {
  return defineTable({
    indexName: v.string(),
    id: v.string(),
    embedding: v.array(v.float64()),
    metadata: v.optional(v.string()),
    resourceId: v.optional(v.string()),
    threadId: v.optional(v.string()),
    indexResource: v.optional(v.string()),
    indexThread: v.optional(v.string()),
  })
    .index("by_index_id", ["indexName", "id"])
    .index("by_index_resource", ["indexResource"])
    .index("by_index_thread", ["indexThread"])
    .vectorIndex("by_embedding", {
      vectorField: "embedding",
      dimensions,
      filterFields: ["indexName", "indexResource", "indexThread"],
    });
}

/**
 * The words of each message that has any, for full-text search, in the form in which they are
 * compared (`memory/lib/searchWords.ts`). A row stands beside
 * `mastra_messages`, whose rows keep Mastra's shape, and follows every write of them. After a
 * large deletion a text may outlive its message for a moment: whoever finds one looks it up.
 */
const messageTexts = defineTable({
  messageId: v.id("mastra_messages"),
  threadId: v.string(),
  resourceId: v.optional(v.string()),
  role: v.string(),
  createdAt: v.string(),
  text: v.string(),
  /** Who says it, in lower case, and whether it ends with a question; absent in older rows. */
  speaker: v.optional(v.string()),
  asks: v.optional(v.boolean()),
})
  .index("by_message", ["messageId"])
  .index("by_thread_created", ["threadId", "createdAt"])
  .index("by_resource_created", ["resourceId", "createdAt"])
  .index("by_created", ["createdAt"])
  .searchIndex("search_text", {
    searchField: "text",
    filterFields: ["threadId", "resourceId"],
  });

/**
 * What was written, in the order in which it was committed. The commit timestamp is filled in by
 * the deployment, so writers never wait for each other as they would for a counter; `sequence`,
 * the place in the whole history, is filled in later (`memory/upkeep:number`).
 */
const changes = defineTable({
  commitTs: v.commitTs(),
  sequence: v.optional(v.number()),
  table: v.string(),
  id: v.string(),
  kind: v.union(v.literal("insert"), v.literal("update"), v.literal("delete")),
  threadId: v.optional(v.string()),
  resourceId: v.optional(v.string()),
})
  .index("by_sequence", ["sequence", "commitTs"])
  .index("by_resource_sequence", ["resourceId", "sequence", "commitTs"]);

/**
 * How many rows there are of a kind; nothing can be counted that does not fit into one read. Many
 * write at once, so a count is spread over several rows, and is their sum.
 */
const counts = defineTable({
  key: v.string(),
  shard: v.number(),
  count: v.number(),
}).index("by_key", ["key", "shard"]);

/**
 * Threads that are gone while their messages still wait to be removed: those created up to `upto`
 * (a `_creationTime`) are as if they were not there. A thread that was begun anew and removed again
 * has several rows, each for the messages up to its `upto` and behind the one before.
 */
const removals = defineTable({
  threadId: v.string(),
  resourceId: v.string(),
  upto: v.number(),
  /** Until when the messages are kept in the trash; absent where they are not. */
  purgeAt: v.optional(v.number()),
  /** How many there were to remove; those that are removed taken off. */
  left: v.optional(v.number()),
}).index("by_thread", ["threadId"]);

/**
 * Vector indexes whose vectors still wait to be removed: those created up to `upto` (a
 * `_creationTime`) are as if they were not there.
 */
const vectorRemovals = defineTable({
  indexName: v.string(),
  upto: v.number(),
}).index("by_index", ["indexName"]);

/**
 * How far a removal of vectors by filter has come, between two calls of it: `after` is the
 * `_creationTime` it looked at last.
 */
const vectorScans = defineTable({
  indexName: v.string(),
  filter: v.string(),
  after: v.number(),
  calledAt: v.number(),
})
  .index("by_index_filter", ["indexName", "filter"])
  .index("by_called", ["calledAt"]);

/**
 * Indexes whose vectors the server makes from texts, and the embedder that does: vectors of
 * different ones cannot be compared. One such index holds the vectors of messages; those that held
 * them before are retired, and emptied as the vectors are made anew. Vectors created up to `after`
 * (a `_creationTime`) were made by an earlier embedder.
 */
const boundIndexes = defineTable({
  indexName: v.string(),
  embedder: v.string(),
  dimension: v.number(),
  use: v.union(v.literal("texts"), v.literal("messages"), v.literal("retired")),
  after: v.number(),
})
  .index("by_index", ["indexName"])
  .index("by_use", ["use"])
  .index("by_embedder", ["embedder"]);

/** The texts that vectors of such an index were made from; those of messages are the messages. */
const keptTexts = defineTable({
  indexName: v.string(),
  id: v.string(),
  text: v.string(),
})
  .index("by_index_id", ["indexName", "id"])
  // by_index_id begins the same; this one is in creation order.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_index", ["indexName"]);

/**
 * Texts whose vector is missing or out of date. A row is new, and so is its ticket, whenever the
 * text changes; it is claimed for a while by the worker that embeds the text, and goes in the
 * transaction that stores the vector. `order` says which is the newest, in milliseconds.
 */
const embeddingQueue = defineTable({
  indexName: v.string(),
  id: v.string(),
  ticket: v.number(),
  messageId: v.optional(v.id("mastra_messages")),
  claimedUntil: v.number(),
  order: v.number(),
})
  .index("by_index_id", ["indexName", "id"])
  // by_index_id begins the same; this one is in creation order.
  // eslint-disable-next-line @convex-dev/no-duplicate-indexes
  .index("by_index", ["indexName"])
  .index("by_claim", ["indexName", "claimedUntil", "order"])
  .index("by_ticket", ["ticket"]);

/**
 * Indexes whose texts are still being put into that queue, the newest first: those created before
 * `before` (a `_creationTime`) are not there yet.
 */
const queueings = defineTable({
  indexName: v.string(),
  before: v.number(),
}).index("by_index", ["indexName"]);

/**
 * What is noted of messages and threads beside their rows: when they expire, in milliseconds since
 * the epoch, and which other message took the place of one in what is searched.
 */
const notes = defineTable({
  of: v.union(v.literal("mastra_messages"), v.literal("mastra_threads")),
  id: v.string(),
  expiresAt: v.optional(v.number()),
  supersededBy: v.optional(v.string()),
})
  .index("by_record", ["of", "id"])
  .index("by_expiry", ["expiresAt"])
  .index("by_successor", ["supersededBy"]);

/**
 * Deleted messages and threads that can be asked back until `purgeAt`: the row as JSON text, what
 * was noted of it, and the resource that may ask. A message that went with its thread comes back
 * with it. What one document has no room for stands in `memory_trash_parts`, in order.
 */
const trash = defineTable({
  of: v.union(v.literal("mastra_messages"), v.literal("mastra_threads")),
  id: v.string(),
  owner: v.string(),
  threadId: v.string(),
  withThread: v.boolean(),
  row: v.string(),
  hasParts: v.boolean(),
  expiresAt: v.optional(v.number()),
  supersededBy: v.optional(v.string()),
  supersedes: v.array(v.string()),
  purgeAt: v.number(),
})
  .index("by_record", ["of", "id", "owner"])
  .index("by_thread", ["threadId", "owner", "withThread"])
  .index("by_purge", ["purgeAt"]);

const trashParts = defineTable({
  trashId: v.id("memory_trash"),
  text: v.string(),
}).index("by_trash", ["trashId"]);

/** Every table, by its name. */
export const memoryTables = {
  mastra_threads: mastra.threads,
  mastra_messages: mastra.messages,
  mastra_resources: mastra.resources,
  mastra_workflow_snapshots: mastra.workflowSnapshots,
  mastra_scorers: mastra.scorers,
  mastra_schedules: mastra.schedules,
  mastra_schedule_triggers: mastra.scheduleTriggers,
  mastra_channel_installations: mastra.channelInstallations,
  mastra_channel_config: mastra.channelConfig,
  mastra_background_tasks: mastra.backgroundTasks,
  mastra_observational_memory: mastra.observationalMemory,
  mastra_vector_indexes: mastra.vectorIndexes,
  mastra_vectors: mastra.vectors,
  mastra_documents: mastra.documents,
  mastra_cache: mastra.cache,
  mastra_cache_list_items: mastra.cacheListItems,

  memory_message_texts: messageTexts,
  memory_changes: changes,
  memory_counts: counts,
  memory_removals: removals,
  memory_vector_removals: vectorRemovals,
  memory_vector_scans: vectorScans,
  memory_bound_indexes: boundIndexes,
  memory_kept_texts: keptTexts,
  memory_embedding_queue: embeddingQueue,
  memory_queueings: queueings,
  memory_notes: notes,
  memory_trash: trash,
  memory_trash_parts: trashParts,

  memory_vectors_256: nativeVectors(256),
  memory_vectors_384: nativeVectors(384),
  memory_vectors_512: nativeVectors(512),
  memory_vectors_768: nativeVectors(768),
  memory_vectors_1024: nativeVectors(1024),
  memory_vectors_1536: nativeVectors(1536),
  memory_vectors_2048: nativeVectors(2048),
  memory_vectors_3072: nativeVectors(3072),
};

/** The name of a table of Convex Memory. */
export type MemoryTable = keyof typeof memoryTables;
