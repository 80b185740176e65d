/** Which buffered observation chunks become active, and what a swap answers. */
import { invalidArgument } from "../lib/errors";
import { isFiniteNumber, isObject, type UncheckedObject } from "../lib/values";

/** What stands between two texts that become one. */
export const SEPARATOR = "\n\n";

/** A swap tries to leave this many message tokens raw, or the retention floor if that is less. */
const REMAINING_TOKENS_MAX = 1000;
/** How far past its target a swap may go, as a part of the retention floor. */
const OVERSHOOT_MAX = 0.95;
/** How the ids begin that storage adapters give to the chunks they append. */
const MADE_ID = "ombuf-";

/** One buffered chunk of observations, as some writer left it. */
export type Chunk = UncheckedObject;

/** A place to cut the chunks: how many are before it, and their message tokens. */
interface Boundary {
  readonly chunks: number;
  readonly tokens: number;
}

/** What decides how much of the buffer is activated. */
export interface Activation {
  /** Which part of the threshold to free, 0 to 1. */
  readonly ratio: number;
  /** Message tokens at which observation is due. */
  readonly threshold: number;
  /** Message tokens in the context now. */
  readonly pending: number;
  /** Go past the target however far, as long as enough stays. */
  readonly force: boolean;
}

/**
 * How many chunks, from the first on, to activate.
 *
 * Activating a chunk takes the messages it observed out of the context. The messages that stay
 * should come down to the retention floor, `threshold · (1 - ratio)` tokens, rather a little below
 * than above, but not to almost nothing.
 *
 * @param messageTokens Tokens of the messages that each chunk observed, in order; not empty.
 * @returns At least 1, at most all of them.
 */
export function activationBoundary(
  messageTokens: readonly number[],
  { ratio, threshold, pending, force }: Activation,
): number {
  const floor = threshold * (1 - ratio);
  const target = Math.max(0, pending - floor);
  const least = Math.min(REMAINING_TOKENS_MAX, floor);
  const { over, under } = nearest(messageTokens, target);
  if (over !== undefined && pending - over.tokens >= least) {
    if (force || over.tokens - target <= OVERSHOOT_MAX * floor) return over.chunks;
  }
  if (under !== undefined && pending - under.tokens >= least) return under.chunks;
  return over?.chunks ?? 1;
}

/** The nearest boundary that reaches the target, and the nearest short of it. */
function nearest(
  messageTokens: readonly number[],
  target: number,
): { over?: Boundary; under?: Boundary } {
  let over: Boundary | undefined;
  let under: Boundary | undefined;
  let tokens = 0;
  for (const [at, more] of messageTokens.entries()) {
    tokens += more;
    const boundary = { chunks: at + 1, tokens };
    if (tokens >= target) {
      if (over === undefined || tokens < over.tokens) over = boundary;
    } else if (tokens > (under?.tokens ?? 0)) {
      under = boundary;
    }
  }
  return { over, under };
}

/**
 * The chunks that may be activated, and those of the buffer that have to stay.
 *
 * Callers send the chunks they have read, with fresh token counts. Meanwhile others may have
 * appended to the buffer, or activated some of it: what was appended stays, what is not there any
 * more is not activated again. A list that shares nothing with any buffer is taken as it is, as the
 * protocol has it.
 */
export function candidatesAndOthers(
  buffer: readonly Chunk[],
  given: unknown,
): { candidates: readonly Chunk[]; others: readonly Chunk[] } {
  if (!Array.isArray(given)) return { candidates: buffer, others: [] };
  if (!given.every(isObject)) {
    throw invalidArgument("bufferedChunks must be an array of objects.");
  }
  const buffered = new Set(buffer.map(idOf));
  const known = given.map((chunk) => [idOf(chunk), chunk] as const);
  const fresh = new Map(known.filter(([id]) => id && buffered.has(id)));
  if (fresh.size === 0 && !given.some((chunk) => idOf(chunk).startsWith(MADE_ID))) {
    return { candidates: given, others: [] };
  }
  return {
    candidates: [...fresh.values()],
    others: buffer.filter((chunk) => !fresh.has(idOf(chunk))),
  };
}

/** What a swap answers when it activates these chunks. */
export function activationOf(chunks: readonly Chunk[]): Record<string, unknown> & {
  messageTokensActivated: number;
  observationTokensActivated: number;
} {
  const counts = {
    chunksActivated: chunks.length,
    messageTokensActivated: sum(chunks.map((chunk) => tokensOf(chunk, "messageTokens"))),
    observationTokensActivated: sum(chunks.map((chunk) => tokensOf(chunk, "tokenCount"))),
    messagesActivated: sum(chunks.map((chunk) => messageIds(chunk).length)),
    activatedCycleIds: chunks.map((chunk) => chunk["cycleId"]).filter(Boolean),
    activatedMessageIds: chunks.flatMap(messageIds),
  };
  const last = chunks.at(-1);
  if (last === undefined) return counts;
  const { suggestedContinuation, currentTask } = last;
  return {
    ...counts,
    observations: observationsOf(chunks),
    perChunk: chunks.map((chunk) => ({
      cycleId: chunk["cycleId"] ?? "",
      messageTokens: tokensOf(chunk, "messageTokens"),
      observationTokens: tokensOf(chunk, "tokenCount"),
      messageCount: messageIds(chunk).length,
      observations: observations(chunk),
    })),
    ...(suggestedContinuation == null ? {} : { suggestedContinuation }),
    ...(currentTask == null ? {} : { currentTask }),
  };
}

/** The observations of chunks as one text. */
export function observationsOf(chunks: readonly Chunk[]): string {
  return chunks.map(observations).join(SEPARATOR);
}

/** The active text with newly activated observations after it. */
export function appended(active: string, observedAt: unknown, added: string): string {
  if (!active) return added;
  return [active, `--- message boundary (${String(observedAt)}) ---`, added].join(SEPARATOR);
}

/** A token count of a chunk; one that is missing is 0. */
export function tokensOf(chunk: Chunk, name: string): number {
  const value = chunk[name];
  return isFiniteNumber(value) ? value : 0;
}

function idOf({ id }: Chunk): string {
  return typeof id === "string" ? id : "";
}

function messageIds({ messageIds: ids }: Chunk): unknown[] {
  return Array.isArray(ids) ? ids : [];
}

function observations({ observations: text }: Chunk): string {
  return typeof text === "string" ? text : "";
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
