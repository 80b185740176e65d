/**
 * `mastra/nativeVector:query`, `:read` and `:write`: tables with a vector index.
 *
 * The caller's `config` names the table and its fields; the table stands in the schema.
 */
import { v, type Infer } from "convex/values";
import { internalAction, internalMutation, internalQuery } from "../_generated/server";
import { dimensionMismatch, invalidArgument, limitExceeded } from "../lib/errors";
import { readEach } from "../lib/groups";
import {
  DESCRIBE_COUNT_MAX,
  VECTOR_FILTER_VALUES_MAX,
  VECTOR_RESULTS_DEFAULT,
  VECTOR_RESULTS_MAX,
} from "../lib/limits";
import { isFiniteVector, isObject, type UncheckedObject } from "../lib/values";
import { vectorIndexOf, type VectorIndex } from "../lib/vectorTables";
import { VectorRows, type DynamicVectorSearch } from "./nativeVectorRows";

const vConfig = v.object({
  tableName: v.string(),
  vectorIndexName: v.string(),
  dimension: v.optional(v.number()),
  idField: v.optional(v.string()),
  idIndexName: v.optional(v.string()),
  vectorField: v.optional(v.string()),
  metadataField: v.optional(v.string()),
  filterFields: v.optional(v.array(v.string())),
});

const vCondition = v.object({
  field: v.string(),
  value: v.union(v.string(), v.number(), v.boolean(), v.null()),
});
/** Mastra names the second form `$or`, which Convex takes for a field name of its own. */
const vFilter = v.union(vCondition, v.object({ or: v.array(vCondition) }));

type Condition = Infer<typeof vCondition>;

/** Return `[{id, score}]`, the rows nearest to a vector, best first. */
export const query = internalAction({
  args: {
    config: vConfig,
    vector: v.array(v.number()),
    limit: v.optional(v.number()),
    filter: v.optional(vFilter),
  },
  returns: v.array(v.object({ id: v.string(), score: v.number() })),
  handler: async (ctx, { config, vector, limit = VECTOR_RESULTS_DEFAULT, filter }) => {
    if (!Number.isInteger(limit) || limit < 1 || limit > VECTOR_RESULTS_MAX) {
      throw invalidArgument(
        `Native vector query: limit must be an integer between 1 and ${VECTOR_RESULTS_MAX}`,
      );
    }
    const index = vectorIndexOf(config.tableName, config.vectorIndexName);
    checkVector(vector, "vector", index, config.tableName);
    const conditions = conditionsOf(filter, index, config.tableName);
    // No condition of several can hold.
    if (filter !== undefined && conditions.length === 0) return [];
    const search = ctx as unknown as DynamicVectorSearch;
    const found = await search.vectorSearch(config.tableName, index.name, {
      vector,
      limit,
      filter:
        conditions.length === 0
          ? undefined
          : (q) => q.or(...conditions.map(({ field, value }) => q.eq(field, value))),
    });
    return found.map(({ _id, _score }) => ({ id: _id, score: _score }));
  },
});

/** Hydrate search results, list rows by id, or count a table. */
export const read = internalQuery({
  args: {
    op: v.union(v.literal("getByConvexIds"), v.literal("listByIds"), v.literal("describe")),
    config: vConfig,
    ids: v.optional(v.array(v.string())),
    includeVector: v.optional(v.boolean()),
    countLimit: v.optional(v.number()),
  },
  returns: v.any(),
  handler: async (ctx, { op, config, ids, includeVector = false, countLimit }) => {
    vectorIndexOf(config.tableName, config.vectorIndexName);
    const rows = new VectorRows(config, ctx.db);
    if (op === "describe") return await describe(rows, countLimit);
    if (ids === undefined) throw invalidArgument("Native vector query: ids are required");
    if (op === "listByIds") return await readEach(ids, (id) => rows.find(id));
    const found = await readEach(ids, (id) => rows.get(id));
    const docs = found.filter((row) => row !== null);
    return includeVector ? docs : docs.map((row) => rows.withoutVector(row));
  },
});

/** Upsert, update or delete rows. */
export const write = internalMutation({
  args: {
    op: v.union(v.literal("upsert"), v.literal("updateById"), v.literal("deleteByIds")),
    config: vConfig,
    ids: v.optional(v.array(v.string())),
    vectors: v.optional(v.array(v.array(v.number()))),
    metadata: v.optional(v.any()),
    id: v.optional(v.string()),
    vector: v.optional(v.array(v.number())),
  },
  returns: v.object({ ok: v.literal(true) }),
  handler: async (ctx, args) => {
    const { op, config } = args;
    const index = vectorIndexOf(config.tableName, config.vectorIndexName);
    const rows = new VectorRows(config, ctx.db, ctx.db);
    if (op === "upsert") await upsert(rows, index, args);
    else if (op === "updateById") await updateById(rows, index, args);
    else await deleteByIds(rows, args);
    return { ok: true } as const;
  },
});

type WriteArgs = {
  ids?: string[];
  vectors?: number[][];
  metadata?: unknown;
  id?: string;
  vector?: number[];
};

async function describe(rows: VectorRows, countLimit = DESCRIBE_COUNT_MAX) {
  const limit = Math.floor(Math.min(Math.max(countLimit, 1), DESCRIBE_COUNT_MAX));
  // A row is as large as its vector, so the bytes of a call run out before the rows do.
  const { count, isWhole } = await rows.count(limit);
  return { count: Math.min(count, limit), countIsLimited: !isWhole || count > limit };
}

async function upsert(rows: VectorRows, index: VectorIndex, args: WriteArgs): Promise<void> {
  const { ids, vectors, metadata } = args;
  if (ids === undefined || vectors === undefined) {
    throw invalidArgument("Native vector upsert: ids and vectors are required");
  }
  const entries = matchingMetadata(ids, vectors, metadata);
  for (const [at, vector] of vectors.entries()) {
    checkVector(vector, `vectors[${at}]`, index, rows.table);
  }
  const found = await readEach(ids, (id) => rows.find(id));
  for (const [at, row] of found.entries()) {
    await rows.put(ids[at]!, row, vectors[at]!, entries?.[at]);
  }
}

function matchingMetadata(
  ids: readonly string[],
  vectors: readonly number[][],
  metadata: unknown,
): readonly UncheckedObject[] | undefined {
  const what = "Native vector upsert:";
  if (vectors.length !== ids.length) {
    throw invalidArgument(
      `${what} vectors length (${vectors.length}) must match ids length (${ids.length})`,
    );
  }
  if (metadata !== undefined && !Array.isArray(metadata)) {
    throw invalidArgument(`${what} metadata must be an array matching ids when provided`);
  }
  if (metadata !== undefined && metadata.length !== ids.length) {
    throw invalidArgument(
      `${what} metadata length (${metadata.length}) must match ids length (${ids.length})`,
    );
  }
  if (metadata?.every(isObject) === false) {
    throw invalidArgument(`${what} metadata entries must be objects when provided`);
  }
  if (new Set(ids).size !== ids.length) throw invalidArgument(`${what} ids must be unique`);
  return metadata;
}

async function updateById(rows: VectorRows, index: VectorIndex, args: WriteArgs): Promise<void> {
  const { id, vector, metadata } = args;
  if (!id) throw invalidArgument("Native vector update: id is required");
  if (metadata !== undefined && !isObject(metadata)) {
    throw invalidArgument("Native vector update: metadata must be an object when provided");
  }
  if (vector !== undefined) checkVector(vector, "vector", index, rows.table);
  const row = await rows.find(id);
  if (row !== null) await rows.change(row, vector, metadata);
}

async function deleteByIds(rows: VectorRows, { ids }: WriteArgs): Promise<void> {
  if (ids === undefined) {
    throw invalidArgument("Native vector deleteByIds: ids are required");
  }
  const found = await readEach(new Set(ids), (id) => rows.find(id));
  for (const row of found) if (row !== null) await rows.remove(row);
}

function checkVector(vector: unknown, what: string, index: VectorIndex, table: string): void {
  if (!isFiniteVector(vector)) {
    throw invalidArgument(`${what} must be an array of finite numbers.`);
  }
  if (vector.length !== index.dimensions) {
    throw dimensionMismatch(
      `Expected a vector with dimensions ${index.dimensions}, received ${vector.length} ` +
        `(table ${table}).`,
      index.dimensions,
      vector.length,
    );
  }
}

function conditionsOf(
  filter: Infer<typeof vFilter> | undefined,
  index: VectorIndex,
  table: string,
): Condition[] {
  if (filter === undefined) return [];
  const conditions = "or" in filter ? filter.or : [filter];
  if (conditions.length > VECTOR_FILTER_VALUES_MAX) {
    throw limitExceeded(
      `The filter has ${conditions.length} conditions; Convex takes at most ` +
        `${VECTOR_FILTER_VALUES_MAX}.`,
    );
  }
  const odd = conditions.find(({ field }) => !index.filterFields.includes(field));
  if (odd !== undefined) {
    const fields = index.filterFields.join(", ") || "none";
    throw invalidArgument(
      `Vector index ${table}.${index.name} does not filter by ${odd.field}; its filter fields ` +
        `are ${fields}.`,
    );
  }
  return conditions;
}
