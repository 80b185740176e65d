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
import { conflict, invalidArgument } from "../lib/errors";
import {
  VECTOR_DIMENSION_MAX,
  VECTOR_DIMENSION_MIN,
  VECTOR_RESULTS_MAX,
  VECTOR_UPSERT_BATCH,
} from "../lib/limits";
import { choice, given, nowIso, text, vAny, vText, whole } from "./lib/arguments";
import { countOf, keys } from "./lib/counts";
import { readFilter } from "./lib/filter";
import { following, type FollowedDocuments } from "./lib/followed";
import { nativeTable } from "./lib/nativeVectors";
import { quoted } from "./lib/quoted";
import {
  findIndex,
  findVector,
  indexNamed,
  indexNameOf,
  itemFor,
  metadataFor,
  noTable,
  type Vector,
  vectorFor,
  type VectorIndex,
  withMetadata,
} from "./lib/vectorIndexes";
import { removeAll, removeByFilter, removeByIds } from "./lib/vectorRemoval";
import { type Described, nearest } from "./lib/vectorSearch";
import { look } from "./lib/vectorSelection";

/** Indexes that one answer lists. */
const INDEXES_MAX = 8000;

const DESCRIBE = makeFunctionReference<"query", { indexName: string }, Described>(
  "memory/vectorRows:describe",
);

/** Make an index; making the same one again changes nothing. */
export const createIndex = internalMutation({
  args: { indexName: v.string(), dimension: v.number(), metric: vText, now: vText },
  returns: v.object({ created: v.boolean() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const name = indexNameOf(args.indexName);
      const [least, most] = [VECTOR_DIMENSION_MIN, VECTOR_DIMENSION_MAX];
      const dimension = whole(args.dimension, "dimension", least, most);
      const metric = choice(args.metric, "metric", ["cosine"]);
      const row = await findIndex(documents, name);
      if (row !== null) {
        if (row.dimension === dimension) return { created: false };
        throw conflict(
          `Index ${quoted(name)} exists with ${row.dimension} dimensions, not ${dimension}. Use ` +
            "another name, or delete it first.",
        );
      }
      if (nativeTable(dimension) === undefined) throw noTable(dimension);
      const createdAt = nowIso(args.now);
      const record = { id: name, indexName: name, dimension, metric, createdAt };
      await documents.insert("mastra_vector_indexes", record);
      return { created: true };
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
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const { indexName, dimension, metric } = await indexNamed(documents, args.indexName);
    const count = await countOf(documents, keys.vectorsIn(indexName));
    return { indexName, dimension, metric, count };
  },
});

/** Return every index, oldest first. */
export const list = internalQuery({
  args: {},
  returns: v.object({
    indexes: v.array(
      v.object({ indexName: v.string(), dimension: v.number(), metric: v.string() }),
    ),
  }),
  handler: async (ctx) => {
    const rows = await new Documents(ctx.db).take("mastra_vector_indexes", {}, INDEXES_MAX);
    return {
      indexes: rows.map(({ indexName, dimension, metric }) => ({ indexName, dimension, metric })),
    };
  },
});

/** Store vectors, each in place of the one with its id; all of them or none. */
export const upsert = internalMutation({
  args: { indexName: v.string(), items: v.array(v.any()) },
  returns: v.object({ upserted: v.number() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const index = await indexNamed(documents, args.indexName);
      const { length } = args.items;
      if (length < 1 || length > VECTOR_UPSERT_BATCH) {
        throw invalidArgument(`items must be an array of 1 to ${VECTOR_UPSERT_BATCH} vectors.`);
      }
      for (const [position, each] of args.items.entries()) {
        const { id, embedding, metadata } = itemFor(each, position, index);
        // The vector is new: metadata said of the old one no longer holds.
        const record = { id, indexName: index.indexName, embedding, metadata };
        const row = await findVector(documents, index.indexName, id);
        await documents.upsert("mastra_vectors", record, row);
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
  }),
  handler: async (ctx, args) => {
    const index = await ctx.runQuery(DESCRIBE, { indexName: args.indexName });
    const { matches, exhausted } = await nearest(ctx, {
      index,
      limit: whole(args.limit, "limit", 1, VECTOR_RESULTS_MAX),
      vector: vectorFor(args.vector, "vector", index),
      filter: readFilter(args.filter as Value | undefined),
      written: (args.filter as Value | undefined) ?? null,
      includeVector: args.includeVector === true,
    });
    return { matches, exhausted, count: index.count };
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
