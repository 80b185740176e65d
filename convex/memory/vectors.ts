/**
 * `memory/vectors:*`: vector indexes that are made at run time, searched where the rows are.
 *
 * They are the indexes of the wire protocol (`mastra_vector_indexes`, `mastra_vectors`), so a
 * Mastra app's `ConvexVector` sees the same ones; see `lib/nativeVectors.ts` for how its vectors
 * are found.
 */
import { makeFunctionReference } from "convex/server";
import { type Value, v } from "convex/values";
import { internalAction, internalMutation, internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { invalidArgument } from "../lib/errors";
import {
  VECTOR_DIMENSION_MAX,
  VECTOR_DIMENSION_MIN,
  VECTOR_INDEXES_MAX,
  VECTOR_RESULTS_MAX,
  VECTOR_UPSERT_BATCH,
} from "../lib/limits";
import type { UncheckedObject } from "../lib/values";
import { choice, given, nowIso, optionalText, text, vAny, vText, whole } from "./lib/arguments";
import { countOf, keys } from "./lib/counts";
import { bindingOf, countWaiting, keepText } from "./lib/embeddingQueue";
import { readFilter } from "./lib/filter";
import { following, type FollowedDocuments } from "./lib/followed";
import { boundForUpsert, putVector, textFor } from "./lib/textVectors";
import {
  findIndex,
  findVector,
  indexesIn,
  indexNamed,
  indexNameOf,
  indexOfDimension,
  itemFor,
  METRIC,
  metadataFor,
  type Vector,
  vectorFor,
  type VectorIndex,
  withMetadata,
} from "./lib/vectorIndexes";
import { removeAll, removeByFilter, removeByIds } from "./lib/vectorRemoval";
import { type Described, nearest } from "./lib/vectorSearch";
import { look } from "./lib/vectorSelection";

const DESCRIBE = makeFunctionReference<
  "query",
  { indexName: string; embedder: string | null },
  Described
>("memory/vectorRows:describe");

/** Make an index; making the same one again changes nothing. */
export const createIndex = internalMutation({
  args: { indexName: v.string(), dimension: v.number(), metric: vText, now: vText },
  returns: v.object({ created: v.boolean() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const name = indexNameOf(args.indexName);
      const [least, most] = [VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX];
      const dimension = whole(args.dimension, "dimension", least, most);
      choice(args.metric, "metric", [METRIC]);
      return { created: await indexOfDimension(documents, name, dimension, nowIso(args.now)) };
    }),
});

/** Return an index's dimension, metric and number of vectors. */
export const describe = internalQuery({
  args: { indexName: v.string() },
  returns: v.object({
    indexName: v.string(),
    dimension: v.number(),
    metric: v.string(),
    count: v.number(),
    embedder: v.union(v.string(), v.null()),
    pending: v.number(),
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const { indexName, dimension, metric } = await indexNamed(documents, args.indexName);
    const count = await countOf(documents, keys.vectorsIn(indexName));
    const embedder = (await bindingOf(documents, indexName))?.embedder ?? null;
    const pending =
      embedder === null ? 0 : await countWaiting(documents, indexName);
    return { indexName, dimension, metric, count, embedder, pending };
  },
});

/** Return every index, or those of one name space, oldest first. */
export const list = internalQuery({
  args: { namespace: vText },
  returns: v.object({
    indexes: v.array(
      v.object({ indexName: v.string(), dimension: v.number(), metric: v.string() }),
    ),
  }),
  handler: async (ctx, args) => {
    const within = optionalText(args.namespace, "namespace");
    const rows = await indexesIn(new Documents(ctx.db), within, VECTOR_INDEXES_MAX);
    return {
      indexes: rows.map(({ indexName, dimension, metric }) => ({ indexName, dimension, metric })),
    };
  },
});

/**
 * Store vectors, each in place of the one with its id; all of them or none.
 *
 * With `embedder`, every item has the text its vector was made from, and the text is kept: an index
 * holds vectors of one embedder, or vectors that callers made, never both.
 */
export const upsert = internalMutation({
  args: { indexName: v.string(), items: v.array(v.any()), embedder: vText },
  returns: v.object({ upserted: v.number() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const index = await indexNamed(documents, args.indexName);
      const embedder = optionalText(args.embedder, "embedder");
      const bound = await boundForUpsert(documents, index, embedder);
      const { length } = args.items;
      if (length < 1 || length > VECTOR_UPSERT_BATCH) {
        throw invalidArgument(`items must be an array of 1 to ${VECTOR_UPSERT_BATCH} vectors.`);
      }
      for (const [position, each] of args.items.entries()) {
        const item = itemFor(each, position, index);
        await putVector(documents, bound ?? index, item);
        if (bound !== null) {
          const said = textFor(each as UncheckedObject, position);
          await keepText(documents, bound.indexName, item.id, said);
        }
      }
      return { upserted: length };
    }),
});

/** Change the vector, the metadata, or both, of one vector or of all that match. */
export const update = internalMutation({
  args: { indexName: v.string(), id: vText, filter: vAny, vector: vAny, metadata: vAny },
  returns: v.object({ updated: v.number() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const index = await indexNamed(documents, args.indexName);
      if (isGiven(args.vector)) await boundForUpsert(documents, index, undefined);
      const embedding = isGiven(args.vector) ? vectorFor(args.vector, "vector", index) : undefined;
      const metadata = isGiven(args.metadata) ? metadataFor(args.metadata) : undefined;
      if (embedding === undefined && metadata === undefined) {
        throw invalidArgument("Give a vector or metadata to change.");
      }
      refuseBothOrNeither(args.id, args.filter, "id");
      const rows = isGiven(args.id)
        ? await named(documents, index, args.id)
        : await selected(documents, index, args.filter as Value);
      for (const row of rows) {
        await documents.patch("mastra_vectors", row, {
          ...(embedding === undefined ? {} : { embedding }),
          ...(metadata === undefined ? {} : { metadata: withMetadata(row.metadata, metadata) }),
        });
      }
      return { updated: rows.length };
    }),
});

/** Delete vectors by id or by filter, a batch at a time. */
export const remove = internalMutation({
  args: { indexName: v.string(), ids: given(v.array(v.string())), filter: vAny },
  returns: v.object({ removed: v.number(), hasMore: v.boolean() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const index = await indexNamed(documents, args.indexName);
      refuseBothOrNeither(args.ids, args.filter, "ids");
      if (isGiven(args.ids)) return await removeByIds(documents, index, args.ids);
      const filter = readFilter(args.filter as Value);
      return await removeByFilter(documents, index, filter, JSON.stringify(args.filter));
    }),
});

/** Delete an index with all its vectors, or its vectors only; at once to whoever looks. */
export const deleteIndex = internalMutation({
  args: { indexName: v.string(), keepIndex: given(v.boolean()) },
  returns: v.object({ found: v.boolean(), removed: v.number() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const name = indexNameOf(args.indexName);
      const row = await findIndex(documents, name);
      const removed = await removeAll(documents, name);
      if (row !== null && args.keepIndex !== true) {
        await documents.delete("mastra_vector_indexes", row);
      }
      return { found: row !== null, removed };
    }),
});

/** Return the vectors most similar to one, best first, equal ones in creation order. */
export const search = internalAction({
  args: {
    indexName: v.string(),
    vector: v.any(),
    limit: v.number(),
    filter: vAny,
    includeVector: given(v.boolean()),
    exact: given(v.boolean()),
    embedder: vText,
  },
  returns: v.object({
    matches: v.array(
      v.object({
        id: v.string(),
        score: v.number(),
        metadata: v.any(),
        vector: v.optional(v.array(v.number())),
      }),
    ),
    exhausted: v.boolean(),
    count: v.number(),
    pending: v.number(),
  }),
  handler: async (ctx, args) => {
    const embedder = optionalText(args.embedder, "embedder") ?? null;
    const index = await ctx.runQuery(DESCRIBE, { indexName: args.indexName, embedder });
    const { matches, exhausted } = await nearest(ctx, {
      index,
      limit: whole(args.limit, "limit", 1, VECTOR_RESULTS_MAX),
      vector: vectorFor(args.vector, "vector", index),
      filter: readFilter(args.filter as Value | undefined),
      written: (args.filter as Value | undefined) ?? null,
      includeVector: args.includeVector === true,
      isExact: args.exact === true,
    });
    return { matches, exhausted, count: index.count, pending: index.pending };
  },
});

// --- Arguments

function isGiven<T>(value: T | null | undefined): value is T {
  return value !== undefined && value !== null;
}

function refuseBothOrNeither(ids: unknown, filter: unknown, name: string): void {
  if (isGiven(ids) === isGiven(filter)) {
    throw invalidArgument(`Give either ${name} or filter, not both and not neither.`);
  }
}

async function named(
  documents: FollowedDocuments,
  index: VectorIndex,
  id: string,
): Promise<Vector[]> {
  const row = await findVector(documents, index.indexName, text(id, "id"));
  return row === null || (await documents.isGone("mastra_vectors", row)) ? [] : [row];
}

async function selected(
  documents: FollowedDocuments,
  index: VectorIndex,
  filter: Value,
): Promise<Vector[]> {
  const found: Vector[] = [];
  for await (const { load } of look(documents, index, readFilter(filter))) {
    const row = await load();
    if (row !== undefined) found.push(row);
  }
  return found;
}
