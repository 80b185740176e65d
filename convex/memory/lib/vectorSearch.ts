/**
 * Nearest neighbours over Convex's vector indexes, which only actions may search.
 *
 * A search has three steps: what the index is, which rows are nearest, what those rows hold. What
 * a filter says of one thread or one resource is asked inside the vector index. Anything else is
 * asked of the 256 nearest rows, the most that Convex returns. When fewer match than were asked
 * for, and there may be more behind those 256, a small index is looked at row by row; of a large
 * one the answer says that it is not exhausted.
 */
import { makeFunctionReference, type VectorFilterBuilder } from "convex/server";
import type { Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import type { ActionCtx } from "../../_generated/server";
import { VECTOR_RESULTS_MAX } from "../../lib/limits";
import type { NativeVectorTable } from "../../lib/tables";
import { every } from "./conditions";
import { Filter } from "./filter";
import { nativeTable } from "./nativeVectors";
import { noTable } from "./vectorIndexes";
import { narrowed, type Narrowing } from "./vectorSelection";

/** Vectors of an index that is looked at row by row: 1,000 of 1,536 dimensions are 14 MB. */
export const SCANNED_MAX = 1000;

/** What a search needs to know of an index. */
export type Described = {
  readonly indexName: string;
  readonly dimension: number;
  readonly count: number;
  /** Texts that have no vector yet. */
  readonly pending: number;
};
/** A row that was found, as `memory/vectorRows:read` answers it. */
export type FoundRow = {
  readonly nativeId: string;
  readonly id: string;
  readonly created: number;
  readonly isZero: boolean;
  readonly metadata: Value;
  readonly vector?: number[];
};
/** What `memory/vectorRows:read` takes. */
export type ReadArgs = {
  readonly indexName: string;
  readonly table: string;
  readonly nativeIds: string[];
  readonly filter: Value;
  readonly includeVector: boolean;
};

/** What `memory/vectorRows:rank` takes. */
export type RankArgs = {
  readonly indexName: string;
  readonly table: string;
  readonly vector: number[];
  readonly limit: number;
  readonly filter: Value;
  readonly includeVector: boolean;
  readonly after: string | null;
};
/** What it answers: the best of the rows it looked at, and the id to go on behind. */
export type Ranked = {
  readonly rows: (FoundRow & { readonly score: number })[];
  readonly next: string | null;
};

/** A match as an answer holds it. */
export type Match = {
  readonly id: string;
  readonly score: number;
  readonly metadata: Value;
  readonly vector?: number[];
};

const READ = makeFunctionReference<"query", ReadArgs, { rows: FoundRow[]; read: number }>(
  "memory/vectorRows:read",
);

const RANK = makeFunctionReference<"query", RankArgs, Ranked>("memory/vectorRows:rank");

/** What is searched for. */
export type Question = {
  readonly index: Described;
  readonly vector: number[];
  readonly limit: number;
  readonly filter: Filter;
  /** The filter as it came, for the query that reads the rows. */
  readonly written: Value;
  readonly includeVector: boolean;
  /** Whether every vector is to be compared, however many there are. */
  readonly isExact: boolean;
};

/**
 * The vectors most similar to one, best first, equal ones in creation order.
 *
 * @throws `invalid_argument` when no native table has the index's dimension.
 */
export async function nearest(
  ctx: ActionCtx,
  question: Question,
): Promise<{ matches: Match[]; exhausted: boolean }> {
  const { index, limit, filter } = question;
  const table = nativeTable(index.dimension);
  if (table === undefined) throw noTable(index.dimension);
  if (question.isExact) {
    return { matches: await scanned(ctx, question, table), exhausted: true };
  }
  const { narrowing, rest } = narrowed(filter, index.indexName);
  const isNarrowedWhole = new Filter(every(rest)).isEmpty;
  let found = await search(ctx, question, table, narrowing, isNarrowedWhole ? limit : undefined);
  if (found.isDoubtful && isNarrowedWhole) {
    found = await search(ctx, question, table, narrowing, undefined);
  }
  const matches = found.matches.slice(0, limit);
  if (matches.length === limit || found.isAll) return { matches, exhausted: true };
  if (index.count > SCANNED_MAX) return { matches, exhausted: false };
  return { matches: await scanned(ctx, question, table), exhausted: true };
}

/** Look at every row of the index. */
async function scanned(
  ctx: ActionCtx,
  { index: { indexName }, vector, limit, written: filter, includeVector }: Question,
  table: NativeVectorTable,
): Promise<Match[]> {
  const question = { indexName, table, vector, limit, filter, includeVector };
  let best: Ranked["rows"] = [];
  let after: string | null = null;
  do {
    const { rows, next }: Ranked = await ctx.runQuery(RANK, { ...question, after });
    best = bestFirst([...best, ...rows]).slice(0, limit);
    after = next;
  } while (after !== null);
  return best.map(matchOf);
}

/** Rows by their scores, equal ones in creation order. */
export function bestFirst<Row extends { score: number; created: number }>(rows: Row[]): Row[] {
  return rows.sort((left, right) => right.score - left.score || left.created - right.created);
}

function matchOf({ id, score, metadata, vector }: FoundRow & { score: number }): Match {
  return { id, score, metadata, ...(vector === undefined ? {} : { vector }) };
}

/**
 * Search once.
 *
 * @returns The matches; whether they are all there are; and whether more rows may have belonged
 *   among them, because of those found some have no direction, or wait to be removed.
 */
async function search(
  ctx: ActionCtx,
  question: Question,
  table: NativeVectorTable,
  narrowing: Narrowing | undefined,
  limit = VECTOR_RESULTS_MAX,
): Promise<{ matches: Match[]; isAll: boolean; isDoubtful: boolean }> {
  const { index, vector, written, includeVector } = question;
  const results = await ctx.vectorSearch(table, "by_embedding", {
    vector,
    limit,
    filter: (q) => filtered(q, narrowing, index.indexName),
  });
  const rows = await readAll(ctx, {
    indexName: index.indexName,
    table,
    nativeIds: results.map(({ _id }): string => _id),
    filter: written,
    includeVector,
  });
  const scores = new Map<string, number>(results.map(({ _id, _score }) => [_id, _score]));
  const isZeroQuery = vector.every((coordinate) => coordinate === 0);
  const scored = rows.map((row) => {
    // What has no direction is similar to nothing; Convex says that its score is 0.
    const none = isZeroQuery || row.isZero;
    return { ...row, score: none ? -1 : Math.fround(scores.get(row.nativeId) ?? -1) };
  });
  return {
    matches: bestFirst(scored).map(matchOf),
    isAll: results.length < limit,
    isDoubtful: results.length === limit && (rows.length < limit || rows.some((row) => row.isZero)),
  };
}

/** The vector index of every native table, as far as filters go. */
type NativeFilter = VectorFilterBuilder<
  Doc<NativeVectorTable>,
  {
    vectorField: "embedding";
    dimensions: number;
    filterFields: "indexName" | "indexResource" | "indexThread";
  }
>;

function filtered(q: NativeFilter, narrowing: Narrowing | undefined, indexName: string) {
  if (narrowing === undefined) return q.eq("indexName", indexName);
  return q.or(...narrowing.values.map((value) => q.eq(narrowing.field, value)));
}

/** The rows with some ids that satisfy the filter, in as many reads as their size takes. */
async function readAll(ctx: ActionCtx, args: ReadArgs): Promise<FoundRow[]> {
  const found: FoundRow[] = [];
  let { nativeIds } = args;
  while (nativeIds.length > 0) {
    const { rows, read } = await ctx.runQuery(READ, { ...args, nativeIds });
    found.push(...rows);
    nativeIds = nativeIds.slice(read);
  }
  return found;
}
