/** Messages by their meaning: the nearest vectors, and which of them the caller may see. */
import { makeFunctionReference } from "convex/server";
import type { Value } from "convex/values";
import type { ActionCtx } from "../../_generated/server";
import { VECTOR_RESULTS_MAX } from "../../lib/limits";
import { readFilter } from "./filter";
import { type Described, type Match, nearest, SCANNED_MAX } from "./vectorSearch";

type SeenArgs = { ids: string[]; resourceId: string | null; metadata?: Value };
type ScoreArgs = { indexName: string; vector: number[]; ids: string[] };
type Score = (string | number)[];

const SEEN = makeFunctionReference<"query", SeenArgs, { ids: string[]; read: number }>(
  "memory/searchRows:seen",
);
const SCORE = makeFunctionReference<"query", ScoreArgs, { scores: Score[]; read: number }>(
  "memory/searchRows:score",
);

/** A message found, and the cosine of its vector. */
export type Similar = { readonly id: string; readonly score: number };

/** What is searched for. */
export type MeaningQuestion = {
  readonly index: Described;
  readonly vector: number[];
  readonly limit: number;
  /** The filter over the metadata of vectors. */
  readonly filter: Value;
  readonly resourceId: string | null;
  /** Members that a message's own metadata must have. */
  readonly metadata: Value;
};

/** The messages most similar to a vector, best first. */
export async function similarMessages(
  ctx: ActionCtx,
  question: MeaningQuestion,
): Promise<{ hits: Similar[]; exhausted: boolean }> {
  const { index, limit } = question;
  const some = await ranked(ctx, question, false);
  // What is filtered out, or no message of ours, leaves room for more.
  const isCut = some.hits.length < limit && some.found === VECTOR_RESULTS_MAX;
  if (!isCut || index.count > SCANNED_MAX) {
    return { hits: some.hits, exhausted: some.hits.length < limit && some.exhausted && !isCut };
  }
  const { hits } = await ranked(ctx, question, true);
  return { hits, exhausted: hits.length < limit };
}

async function ranked(
  ctx: ActionCtx,
  { index, vector, limit, filter, resourceId, metadata }: MeaningQuestion,
  isExact: boolean,
): Promise<{ hits: Similar[]; found: number; exhausted: boolean }> {
  const { matches, exhausted } = await nearest(ctx, {
    index,
    vector,
    limit: isExact ? SCANNED_MAX : VECTOR_RESULTS_MAX,
    filter: readFilter(filter),
    written: filter,
    includeVector: false,
    isExact,
  });
  const args = { ids: matches.map(({ id }: Match) => id), resourceId, metadata };
  const seen = new Set(await seenOf(ctx, args));
  const hits = matches
    .filter(({ id }) => seen.has(id))
    .slice(0, limit)
    .map(({ id, score }) => ({ id, score }));
  return { hits, found: matches.length, exhausted };
}

async function seenOf(ctx: ActionCtx, args: SeenArgs): Promise<string[]> {
  const found: string[] = [];
  let { ids } = args;
  while (ids.length > 0) {
    const answer = await ctx.runQuery(SEEN, { ...args, ids });
    found.push(...answer.ids);
    ids = ids.slice(answer.read);
  }
  return found;
}

/** `[id, cosine]` for those of some messages that have a vector. */
export async function scoresOf(ctx: ActionCtx, args: ScoreArgs): Promise<Score[]> {
  const found: Score[] = [];
  let { ids } = args;
  while (ids.length > 0) {
    const answer = await ctx.runQuery(SCORE, { ...args, ids });
    found.push(...answer.scores);
    ids = ids.slice(answer.read);
  }
  return found;
}
