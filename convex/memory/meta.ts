/** `memory/meta:*`: what this deployment is and how much it holds. */
import { v } from "convex/values";
import { internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { VECTOR_INDEXES_MAX } from "../lib/limits";
import { optionalText, vText } from "./lib/arguments";
import { countOf, keys } from "./lib/counts";
import { lastNumber, waiting } from "./lib/history";

/** Raised when a `memory/*` function changes in a way that callers must know. */
export const FUNCTIONS_VERSION = "1";

const FUNCTIONS: readonly string[] = [
  "memory/changes:list",
  "memory/embeddings:begin",
  "memory/embeddings:claim",
  "memory/embeddings:reembed",
  "memory/embeddings:release",
  "memory/embeddings:status",
  "memory/embeddings:store",
  "memory/forgetting:sweep",
  "memory/messages:around",
  "memory/messages:get",
  "memory/messages:page",
  "memory/messages:remove",
  "memory/messages:restore",
  "memory/messages:save",
  "memory/messages:update",
  "memory/meta:stats",
  "memory/meta:version",
  "memory/principal:action",
  "memory/principal:mutation",
  "memory/principal:query",
  "memory/schedules:claim",
  "memory/search:messages",
  "memory/search:semantic",
  "memory/threads:clone",
  "memory/threads:get",
  "memory/threads:list",
  "memory/threads:remove",
  "memory/threads:restore",
  "memory/threads:update",
  "memory/transfer:page",
  "memory/transfer:restore",
  "memory/transfer:tables",
  "memory/vectors:createIndex",
  "memory/vectors:deleteIndex",
  "memory/vectors:describe",
  "memory/vectors:list",
  "memory/vectors:remove",
  "memory/vectors:search",
  "memory/vectors:update",
  "memory/vectors:upsert",
  "memory/working:get",
  "memory/working:update",
];

const vCount = v.union(v.number(), v.null());

/** Tell which of our functions this deployment has. */
export const version = internalQuery({
  args: {},
  returns: v.object({ version: v.string(), functions: v.array(v.string()) }),
  handler: async () => ({ version: FUNCTIONS_VERSION, functions: [...FUNCTIONS] }),
});

/** Count what there is, of one resource or of all. */
export const stats = internalQuery({
  args: { resourceId: vText },
  returns: v.object({
    threads: v.number(),
    messages: v.number(),
    resources: v.number(),
    vectorIndexes: vCount,
    vectors: vCount,
    cacheKeys: vCount,
    lastChange: vCount,
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const scope = optionalText(args.resourceId, "resourceId");
    if (scope !== undefined) {
      const range = { index: "by_record_id", equals: [scope] };
      return {
        threads: await countOf(documents, keys.threadsOf(scope)),
        messages: await countOf(documents, keys.messagesOf(scope)),
        resources: (await documents.first("mastra_resources", range)) === null ? 0 : 1,
        vectorIndexes: null,
        vectors: null,
        cacheKeys: null,
        lastChange: null,
      };
    }
    const last = await lastNumber(documents);
    return {
      threads: await countOf(documents, keys.threads),
      messages: await countOf(documents, keys.messages),
      resources: await countOf(documents, keys.resources),
      vectorIndexes: (await documents.take("mastra_vector_indexes", {}, VECTOR_INDEXES_MAX)).length,
      vectors: await countOf(documents, keys.vectors),
      cacheKeys: await countOf(documents, keys.cacheKeys),
      lastChange: last + (await waiting(documents, last)).length,
    };
  },
});
