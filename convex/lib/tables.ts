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
})
  .index("by_message", ["messageId"])
  .index("by_thread", ["threadId"])
  .searchIndex("search_text", {
    searchField: "text",
    filterFields: ["threadId", "resourceId", "role"],
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
 * (a `_creationTime`) are as if they were not there.
 */
const removals = defineTable({
  threadId: v.string(),
  resourceId: v.string(),
  upto: v.number(),
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
}).index("by_index_filter", ["indexName", "filter"]);

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
