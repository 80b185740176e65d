/** What the action `memory/vectors:search` reads: the index it searches, the rows it finds. */
import { type Value, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { invalidArgument } from "../lib/errors";
import type { NativeVectorTable } from "../lib/tables";
import { nativeDimensions } from "../lib/vectorTables";
import { cosineTo } from "./lib/cosine";
import { countOf, keys } from "./lib/counts";
import { bindingOf, countWaiting, staleUpTo } from "./lib/embeddingQueue";
import { readFilter } from "./lib/filter";
import { metadataOf, nativeTable } from "./lib/nativeVectors";
import { dueNotes, isDue } from "./lib/notes";
import { vectorsGoneUpTo } from "./lib/removals";
import { PAGE_BYTES_MAX } from "./lib/rows";
import { notOf } from "./lib/textVectors";
import { findVector, indexNamed } from "./lib/vectorIndexes";
import { bestFirst, type FoundRow } from "./lib/vectorSearch";

const FOUND = {
  nativeId: v.string(),
  id: v.string(),
  created: v.number(),
  isZero: v.boolean(),
  metadata: v.any(),
  vector: v.optional(v.array(v.number())),
};

/**
 * Return what a search needs to know of an index.
 *
 * @throws `conflict` when its vectors are not those of the embedder given, if one is.
 */
export const describe = internalQuery({
  args: { indexName: v.string(), embedder: v.union(v.string(), v.null()) },
  returns: v.object({
    indexName: v.string(),
    dimension: v.number(),
    count: v.number(),
    pending: v.number(),
  }),
  handler: async (ctx, { indexName: name, embedder }) => {
    const documents = new Documents(ctx.db);
    const { indexName, dimension } = await indexNamed(documents, name);
    const bound = await bindingOf(documents, indexName);
    if (embedder !== null && bound?.embedder !== embedder) throw notOf(indexName, bound, embedder);
    const count = await countOf(documents, keys.vectorsIn(indexName));
    const pending = bound === null ? 0 : await countWaiting(documents, indexName);
    return { indexName, dimension, count, pending };
  },
});

/**
 * Return the rows with some ids that satisfy a filter. Those that are gone by now are left out.
 *
 * `read` says how many ids were looked at: an answer ends early rather than be too large.
 */
export const read = internalQuery({
  args: {
    indexName: v.string(),
    table: v.string(),
    nativeIds: v.array(v.string()),
    filter: v.any(),
    includeVector: v.boolean(),
  },
  returns: v.object({ rows: v.array(v.object(FOUND)), read: v.number() }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const table = nativeTableNamed(args.table);
    const filter = readFilter(args.filter as Value);
    const upto = await outOfSightUpTo(documents, args.indexName);
    const rows = [];
    let looked = 0;
    for (const nativeId of args.nativeIds) {
      if (documents.bytesRead > PAGE_BYTES_MAX) break;
      looked += 1;
      const id = ctx.db.normalizeId(table, nativeId);
      const row: Doc<NativeVectorTable> | null = id === null ? null : await ctx.db.get(table, id);
      if (row === null) continue;
      documents.countRow(row);
      if (upto > 0 && (await isGone(documents, row, upto))) continue;
      if (await hasExpired(documents, row)) continue;
      if (filter.matches(metadataOf(row))) rows.push(found(row, args.includeVector));
    }
    return { rows, read: looked };
  },
});

/**
 * Return the rows of an index most similar to a vector among those that satisfy a filter.
 *
 * One call looks at as many rows as its answer may hold, in the order of their ids; `next` is
 * the id to go on behind, null at the end.
 */
export const rank = internalQuery({
  args: {
    indexName: v.string(),
    table: v.string(),
    vector: v.array(v.number()),
    limit: v.number(),
    filter: v.any(),
    includeVector: v.boolean(),
    after: v.union(v.string(), v.null()),
  },
  returns: v.object({
    rows: v.array(v.object({ ...FOUND, score: v.number() })),
    next: v.union(v.string(), v.null()),
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const filter = readFilter(args.filter as Value);
    const upto = await outOfSightUpTo(documents, args.indexName);
    const scoreOf = cosineTo(args.vector);
    const rows: (FoundRow & { score: number })[] = [];
    const range = {
      index: "by_index_id",
      equals: [args.indexName],
      ...(args.after === null ? {} : { gt: args.after }),
    };
    let next: string | null = null;
    for await (const row of documents.scan(nativeTableNamed(args.table), range)) {
      const isThere =
        !(upto > 0 && (await isGone(documents, row, upto))) && !(await hasExpired(documents, row));
      if (isThere && filter.matches(metadataOf(row))) {
        rows.push({ ...found(row, args.includeVector), score: scoreOf(row.embedding) });
      }
      next = documents.bytesRead > PAGE_BYTES_MAX ? row.id : null;
      if (next !== null) break;
    }
    return { rows: bestFirst(rows).slice(0, args.limit), next };
  },
});

function found(row: Doc<NativeVectorTable>, includeVector: boolean): FoundRow {
  return {
    nativeId: row._id,
    id: row.id,
    created: row._creationTime,
    isZero: row.embedding.every((coordinate) => coordinate === 0),
    metadata: metadataOf(row) ?? null,
    ...(includeVector ? { vector: row.embedding } : {}),
  };
}

/** Vectors created up to here wait to be removed, or were made by an earlier embedder. */
async function outOfSightUpTo(documents: Documents, indexName: string): Promise<number> {
  const gone = (await vectorsGoneUpTo(documents, indexName)) ?? 0;
  return Math.max(gone, await staleUpTo(documents, indexName));
}

async function isGone(
  documents: Documents,
  { indexName, id }: Doc<NativeVectorTable>,
  upto: number,
): Promise<boolean> {
  const vector = await findVector(documents, indexName, id);
  return vector === null || vector._creationTime <= upto;
}

/** Whether a row is the vector of a message that has expired, or whose thread has. */
async function hasExpired(documents: Documents, row: Doc<NativeVectorTable>): Promise<boolean> {
  if ((await dueNotes(documents)).length === 0) return false;
  if ((await bindingOf(documents, row.indexName))?.use !== "messages") return false;
  return (
    (await isDue(documents, "mastra_messages", row.id)) ||
    (row.threadId !== undefined && (await isDue(documents, "mastra_threads", row.threadId)))
  );
}

function nativeTableNamed(name: string): NativeVectorTable {
  const dimension = nativeDimensions().find((each) => nativeTable(each) === name);
  const table = dimension === undefined ? undefined : nativeTable(dimension);
  if (table === undefined) throw invalidArgument(`${name} is not a native vector table.`);
  return table;
}
