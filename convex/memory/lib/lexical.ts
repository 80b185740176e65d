/**
 * Search over messages by words, ranked by `windows.ts`; as `convex_memory/embedded/lexical.py`.
 *
 * Convex's text index finds messages that hold the words; which of them holds which, and how rare
 * each word is, is seen from these. Around the best of them the conversation is read.
 */
import type { QueryCtx } from "../../_generated/server";
import type { Documents } from "../../lib/documents";
import { readEach } from "../../lib/groups";
import { Conversations, type Text, type Turn } from "./conversations";
import { countOf, keys } from "./counts";
import { milliseconds } from "./isoText";
import { datesNamed, type NamedDate, spansOf } from "./queryDates";
import { comparableWords, LAST_TERM, searchedTerms, TERMS_MAX } from "./searchWords";
import { DATE, LATE_DAYS, LATE_SHARE, rarity, REACH, SPEAKER, windowScore } from "./windows";

/** Messages that one search looks at; Convex ends a search with an error at 1,024. */
const CANDIDATES_MAX = 1000;
/** Bytes of their texts, and of those of their neighbours. */
const CANDIDATE_BYTES_MAX = 4 << 20;
const NEIGHBOUR_BYTES_MAX = 2 << 20;
/** Messages around which the conversation is read: those whose words are the rarest. */
const HOLDERS_MAX = 200;
/** Of these at a time: each may read one text too many, and texts may be large. */
const HOLDERS_TOGETHER = 4;
/** Messages of the days that a question names, and bytes of them. */
const DATED_MAX = 500;
const DATED_BYTES_MAX = 1 << 19;
/** Spans of time that a question may name; "in May" is one for each year that there is. */
const SPANS_MAX = 24;
const DAY_MS = 86_400_000;

/** What a match must satisfy. */
export type Conditions = {
  readonly scope: string | undefined;
  readonly threadId: string | undefined;
  readonly role: string | undefined;
  /** The first millisecond, and the first that is beyond. */
  readonly since: number | undefined;
  readonly until: number | undefined;
};

/** One message found. */
export type Found = {
  readonly row: Text;
  /** Higher is better; 1 is the best of the answer. */
  readonly score: number;
  /** Whether it holds no word of the question, only stands beside one that does. */
  readonly near: boolean;
};

/**
 * The messages that hold words of a question, or stand beside some, best first; equal scores come
 * newest first. Some may be out of sight by now, or of a thread of another resource: the caller
 * looks at each.
 *
 * @returns Them, and whether they are all that there are.
 */
export async function search(
  ctx: QueryCtx,
  documents: Documents,
  words: readonly string[],
  question: string,
  conditions: Conditions,
): Promise<{ found: Found[]; isComplete: boolean }> {
  const terms = comparableWords(words);
  const { rows, isComplete } = await candidatesFor(ctx, documents, terms, conditions);
  const inScope = ({ resourceId }: Text) =>
    conditions.scope === undefined || (resourceId ?? conditions.scope) === conditions.scope;
  const conversations = new Conversations(documents, inScope, NEIGHBOUR_BYTES_MAX);
  const candidates = rows.map((row) => conversations.add(row));
  // Of what is not complete, a word's share of what was found says more than its number.
  const counted = isComplete ? await countIn(documents, conditions) : 0;
  const messages = Math.max(counted, candidates.length);
  const { held, weights } = weighed(candidates, terms, messages);
  const own = new Map(candidates.map((turn) => [turn, ownWeight(turn, held, weights)]));
  const holders = candidates
    .filter((turn) => (own.get(turn) ?? 0) > 0)
    .sort((left, right) => rankOf(right, own, conditions) - rankOf(left, own, conditions));
  const best = holders.slice(0, HOLDERS_MAX);
  const readAround = async (turn: Turn) => {
    await conversations.readAround(turn, REACH);
  };
  await readEach(best, readAround, HOLDERS_TOGETHER);
  const dated = await datedIn(documents, conversations, datesNamed(question), conditions);
  const scored = scoresOf(conversations.turns, { held, weights, dated, messages, words });
  const wanted = scored.filter(({ turn }) => turn.inScope && isWanted(turn, conditions));
  const isAll = isComplete && dated.isComplete && !conversations.isCut;
  return { found: bestFirst(wanted), isComplete: isAll && holders.length <= HOLDERS_MAX };
}

// --- Candidates

/** The texts that the search index finds, as far as one search may look. */
async function candidatesFor(
  ctx: QueryCtx,
  documents: Documents,
  terms: readonly string[],
  { scope, threadId }: Conditions,
): Promise<{ rows: Text[]; isComplete: boolean }> {
  // A message without a resource of its own is its thread's, which the index does not know.
  const resources = scope === undefined || threadId !== undefined ? [null] : [scope, undefined];
  const rows: Text[] = [];
  const start = documents.bytesRead;
  for (const resource of resources) {
    for await (const row of searched(ctx, documents, terms, threadId, resource)) {
      const isFull =
        rows.length >= CANDIDATES_MAX || documents.bytesRead - start > CANDIDATE_BYTES_MAX;
      if (isFull) return { rows, isComplete: false };
      rows.push(row);
    }
  }
  return { rows, isComplete: true };
}

/** Search once; `resource` null asks for no resource, undefined for those that have none. */
async function* searched(
  ctx: QueryCtx,
  documents: Documents,
  terms: readonly string[],
  threadId: string | undefined,
  resource: string | undefined | null,
): AsyncGenerator<Text> {
  const query = [...searchedTerms(terms), LAST_TERM].join(" ");
  documents.countLookup();
  const found = ctx.db.query("memory_message_texts").withSearchIndex("search_text", (q) => {
    let narrowed = q.search("text", query);
    if (threadId !== undefined) narrowed = narrowed.eq("threadId", threadId);
    return resource === null ? narrowed : narrowed.eq("resourceId", resource);
  });
  for await (const row of found) {
    documents.countRow(row);
    yield row;
  }
}

async function countIn(
  documents: Documents,
  { scope, threadId }: Conditions,
): Promise<number> {
  if (threadId !== undefined) return await countOf(documents, keys.messagesIn(threadId));
  return await countOf(documents, scope === undefined ? keys.messages : keys.messagesOf(scope));
}

// --- Words

/** The words that are held, the rarest first, and what each counts. */
function weighed(
  candidates: readonly Turn[],
  terms: readonly string[],
  messages: number,
): { held: string[]; weights: number[] } {
  const holding = new Map<string, { word: string; count: number }>();
  for (const word of terms) {
    const positions = candidates.flatMap((turn, at) => (turn.has(word) ? [at] : []));
    const key = positions.join();
    // Words that the same messages hold are one word.
    if (positions.length > 0 && !holding.has(key)) {
      holding.set(key, { word, count: positions.length });
    }
  }
  const rarest = [...holding.values()].sort((left, right) => left.count - right.count);
  const held = rarest.slice(0, TERMS_MAX);
  return {
    held: held.map(({ word }) => word),
    weights: held.map(({ count }) => rarity(count, messages)),
  };
}

function ownWeight(turn: Turn, held: readonly string[], weights: readonly number[]): number {
  return held.reduce((sum, word, at) => sum + (turn.has(word) ? (weights[at] ?? 0) : 0), 0);
}

/** Messages that are wanted themselves come first, then those whose words are the rarest. */
function rankOf(turn: Turn, own: ReadonlyMap<Turn, number>, conditions: Conditions): number {
  return (own.get(turn) ?? 0) + (isWanted(turn, conditions) ? 1e6 : 0);
}

function isWanted({ row, created }: Turn, { role, since, until }: Conditions): boolean {
  return (
    (role === undefined || row.role === role) &&
    (since === undefined || created >= since) &&
    (until === undefined || created < until)
  );
}

// --- Scores

type Scored = { readonly turn: Turn; readonly score: number; readonly near: boolean };

function scoresOf(
  turns: readonly Turn[],
  by: {
    readonly held: readonly string[];
    readonly weights: readonly number[];
    readonly dated: Dated;
    readonly messages: number;
    readonly words: readonly string[];
  },
): Scored[] {
  for (const turn of turns) turn.look(by.held);
  const { shareOf, count } = by.dated;
  const dateWeight = count === 0 ? 0 : DATE * rarity(count, Math.max(count, by.messages));
  return turns
    .map((turn) => {
      const score = windowScore(turn, by.weights) + dateWeight * shareOf(turn.created);
      const isNamed = by.words.some((word) => isCalled(turn.row.speaker, word));
      const near = !by.held.some((_, word) => turn.holds(word));
      return { turn, score: isNamed ? score * (1 + SPEAKER) : score, near };
    })
    .filter(({ score }) => score > 0);
}

/** Whether a speaker's name is, or begins with, a word. */
function isCalled(speaker: string | undefined, word: string): boolean {
  return speaker !== undefined && (speaker === word || speaker.startsWith(`${word} `));
}

function bestFirst(scored: Scored[]): Found[] {
  scored.sort(
    (left, right) =>
      right.score - left.score || right.turn.row._creationTime - left.turn.row._creationTime,
  );
  const best = scored[0]?.score ?? 1;
  return scored.map(({ turn, score, near }) => ({ row: turn.row, score: score / best, near }));
}

// --- Dates

/** Messages of the days that a question names, and those soon after. */
type Dated = {
  readonly shareOf: (created: number) => number;
  readonly count: number;
  readonly isComplete: boolean;
};

async function datedIn(
  documents: Documents,
  conversations: Conversations,
  named: readonly NamedDate[],
  conditions: Conditions,
): Promise<Dated> {
  const none = { shareOf: () => 0, count: 0, isComplete: true };
  if (named.length === 0) return none;
  const years = await yearsIn(documents, conditions);
  const spans = named
    .flatMap((each) =>
      spansOf(each, years).map((span) => ({
        ...span,
        lateUntil: span.ends + (each.month === undefined ? 0 : LATE_DAYS * DAY_MS),
      })),
    )
    .slice(0, SPANS_MAX);
  if (spans.length === 0) return none;
  const dated = new Set<Turn>();
  const start = documents.bytesRead;
  for (const { begins, lateUntil } of spans) {
    const range = {
      ...createdIn(conditions),
      gte: new Date(begins).toISOString(),
      lt: new Date(lateUntil).toISOString(),
    };
    for await (const row of documents.scan("memory_message_texts", range)) {
      const isFull = dated.size >= DATED_MAX || documents.bytesRead - start > DATED_BYTES_MAX;
      if (isFull) return { shareOf, count: dated.size, isComplete: false };
      dated.add(conversations.add(row));
    }
  }
  return { shareOf, count: dated.size, isComplete: true };

  function shareOf(created: number): number {
    const shares = spans.map(({ begins, ends, lateUntil }) => {
      if (created < begins || created >= lateUntil) return 0;
      return created < ends ? 1 : LATE_SHARE;
    });
    return Math.max(...shares);
  }
}

/** The years in which there are messages. */
async function yearsIn(documents: Documents, conditions: Conditions): Promise<number[]> {
  const range = createdIn(conditions);
  const first = await documents.first("memory_message_texts", range);
  const last = await documents.first("memory_message_texts", { ...range, descending: true });
  const [from, to] = [first, last].map((row) =>
    new Date(milliseconds(row?.createdAt ?? "")).getUTCFullYear(),
  ) as [number, number];
  const count = Number.isNaN(to - from) ? 0 : Math.min(to - from + 1, SPANS_MAX);
  // The last ones, where there are many.
  return Array.from({ length: count }, (_, at) => to - at);
}

function createdIn({ scope, threadId }: Conditions) {
  if (threadId !== undefined) return { index: "by_thread_created", equals: [threadId] };
  if (scope !== undefined) return { index: "by_resource_created", equals: [scope] };
  return { index: "by_created" };
}
