/**
 * Storage operations that only observational memory has.
 *
 * A record holds what was observed of a thread, or of a resource, in one text. Newly observed
 * chunks wait in a buffer until a swap appends some of them to that text; a reflection condenses
 * the text and begins a new record, one generation later.
 */
import type { Doc } from "../_generated/dataModel";
import type { Value } from "convex/values";
import { byRecordId, type WritableDocuments } from "../lib/documents";
import { conflict, invalidArgument, notFound } from "../lib/errors";
import { QUERY_ROWS_MAX } from "../lib/limits";
import { isFiniteNumber, isObject, type UncheckedObject } from "../lib/values";
import {
  activationBoundary,
  activationOf,
  appended,
  candidatesAndOthers,
  observationsOf,
  SEPARATOR,
  tokensOf,
  type Chunk,
} from "./activation";
import { rowsReply, type Reply, type Request } from "./requests";
import type { TableOperation } from "./routes";

const RECORDS = "mastra_observational_memory";
type RecordRow = Doc<typeof RECORDS>;

/** Answer the newest generation of a lookup key, or null. */
async function getLatest(documents: WritableDocuments, request: Request): Promise<Reply> {
  return { ok: true, result: await documents.first(RECORDS, generationsOf(request)) };
}

/** Answer the generations of a lookup key, newest first, created within `from` and `to`. */
async function getHistory(documents: WritableDocuments, request: Request): Promise<Reply> {
  const offset = countArgument(request, "offset") ?? 0;
  const end = offset + (countArgument(request, "limit") ?? Infinity);
  const kept: RecordRow[] = [];
  let read = 0;
  for await (const row of documents.scan(RECORDS, generationsOf(request))) {
    if (kept.length >= end || read >= QUERY_ROWS_MAX) break;
    read += 1;
    if (isWithin(row.createdAt, request)) kept.push(row);
  }
  return rowsReply(kept.slice(offset));
}

/** Whether a time is between `from` and `to`, both included; one that is empty is no bound. */
function isWithin(time: string, { from, to }: Request): boolean {
  if (typeof from === "string" && time < from) return false;
  return typeof to !== "string" || to === "" || time <= to;
}

/** Replace the active text and what is known about the messages behind it. */
async function updateActive(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await recordOf(documents, request["id"]);
  const { tokenCount, observedTimezone } = request;
  const tokens = isFiniteNumber(tokenCount) && tokenCount >= 0 ? tokenCount : 0;
  await documents.patch(RECORDS, row, {
    activeObservations: request["observations"],
    lastObservedAt: request["lastObservedAt"],
    pendingMessageTokens: 0,
    observationTokenCount: tokens,
    totalTokensObserved: row.totalTokensObserved + tokens,
    observedMessageIds: request["observedMessageIds"],
    updatedAt: request["updatedAt"],
    // Mastra's adapter does not send it, ours does.
    ...(observedTimezone == null ? {} : { observedTimezone }),
  });
  return { ok: true };
}

/** Add a chunk to the end of the buffer. */
async function appendBufferedChunk(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await recordOf(documents, request["id"]);
  const { chunk, lastBufferedAtTime, updatedAt } = request;
  if (!isObject(chunk)) throw invalidArgument("chunk must be an object.");
  await documents.patch(RECORDS, row, {
    bufferedObservationChunks: JSON.stringify([...bufferOf(row), chunk]),
    updatedAt,
    ...(lastBufferedAtTime ? { lastBufferedAtTime } : {}),
  });
  return { ok: true };
}

/** Append the first chunks of the buffer to the active text; tell what was activated. */
async function swapBuffered(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await recordOf(documents, request["id"]);
  const buffer = bufferOf(row);
  const { candidates, others } = candidatesAndOthers(buffer, request["bufferedChunks"]);
  if (buffer.length === 0 || candidates.length === 0) {
    return { ok: true, result: activationOf([]) };
  }
  const messageTokens = candidates.map((chunk) => tokensOf(chunk, "messageTokens"));
  const count = activationBoundary(messageTokens, {
    ratio: numberArgument(request, "activationRatio"),
    threshold: numberArgument(request, "messageTokensThreshold"),
    pending: numberArgument(request, "currentPendingTokens"),
    force: Boolean(request["forceMaxActivation"]),
  });
  const activated = candidates.slice(0, count);
  const remaining = [...candidates.slice(count), ...others];
  const result = activationOf(activated);
  const observedAt =
    request["lastObservedAt"] ?? activated.at(-1)?.["lastObservedAt"] ?? request["now"];
  const pending = row.pendingMessageTokens - result.messageTokensActivated;
  await documents.patch(RECORDS, row, {
    activeObservations: appended(row.activeObservations, observedAt, observationsOf(activated)),
    observationTokenCount: row.observationTokenCount + result.observationTokensActivated,
    pendingMessageTokens: Math.max(0, pending),
    bufferedObservationChunks: remaining.length > 0 ? JSON.stringify(remaining) : null,
    lastObservedAt: observedAt,
    updatedAt: request["now"],
  });
  return { ok: true, result };
}

/** Add to the reflection that waits to be swapped in. */
async function updateBufferedReflection(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  const row = await recordOf(documents, request["id"]);
  const { reflection, reflectedObservationLineCount, updatedAt } = request;
  if (typeof reflection !== "string") throw invalidArgument("reflection must be text.");
  const waiting = row.bufferedReflection;
  const output = row.bufferedReflectionTokens ?? 0;
  const source = row.bufferedReflectionInputTokens ?? 0;
  await documents.patch(RECORDS, row, {
    bufferedReflection: waiting ? `${waiting}${SEPARATOR}${reflection}` : reflection,
    bufferedReflectionTokens: output + numberArgument(request, "tokenCount"),
    bufferedReflectionInputTokens: source + numberArgument(request, "inputTokenCount"),
    reflectedObservationLineCount,
    updatedAt,
  });
  return { ok: true };
}

/** Begin the next generation with the waiting reflection and what came after it. */
async function swapBufferedReflection(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  const { currentRecord: current, newId, tokenCount, now } = request;
  if (!isObject(current)) throw invalidArgument("currentRecord must be an object.");
  const row = await recordOf(documents, current["id"]);
  const reflection = row.bufferedReflection;
  if (!reflection) throw conflict("No buffered reflection to swap");
  if ((await documents.first(RECORDS, byRecordId(newId))) !== null) {
    throw conflict("There is an observational memory record with this newId already.");
  }
  const reflected = Math.max(0, Math.trunc(row.reflectedObservationLineCount ?? 0));
  const rest = row.activeObservations.split("\n").slice(reflected).join("\n").trim();
  const record = {
    id: newId,
    ...Object.fromEntries(CARRIED.map((name) => [name, current[name] ?? null])),
    generationCount: numberArgument(current, "generationCount") + 1,
    originType: "reflection",
    activeObservations: rest ? `${reflection}${SEPARATOR}${rest}` : reflection,
    activeObservationsPendingUpdate: null,
    lastReflectionAt: now,
    createdAt: now,
    updatedAt: now,
    observationTokenCount: tokenCount,
    pendingMessageTokens: 0,
    lastBufferedAtTokens: 0,
    lastBufferedAtTime: null,
    isObserving: false,
    isReflecting: false,
    isBufferingObservation: false,
    isBufferingReflection: false,
  };
  await documents.insert(RECORDS, record);
  await documents.patch(RECORDS, row, {
    bufferedReflection: null,
    bufferedReflectionTokens: null,
    bufferedReflectionInputTokens: null,
    reflectedObservationLineCount: null,
    updatedAt: now,
  });
  return { ok: true, result: record };
}

/** Merge a configuration into the stored one, at every level. */
async function updateConfig(documents: WritableDocuments, request: Request): Promise<Reply> {
  const row = await recordOf(documents, request["id"]);
  let config: string;
  try {
    config = JSON.stringify(mergedDeep(objectIn(row.config), objectIn(request["config"])));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw invalidArgument("config is nested too deeply to be merged.");
  }
  await documents.patch(RECORDS, row, { config, updatedAt: request["updatedAt"] });
  return { ok: true };
}

/** What a new generation takes over from the record that the caller read. */
const CARRIED = [
  "lookupKey",
  "scope",
  "threadId",
  "resourceId",
  "config",
  "metadata",
  "observedTimezone",
  "lastObservedAt",
  "totalTokensObserved",
] as const;

/** The operations, by name. */
export const OBSERVATION_OPERATIONS: Readonly<Record<string, TableOperation>> = {
  omGetLatest: { table: RECORDS, run: getLatest, hard: true },
  omGetHistory: { table: RECORDS, run: getHistory, hard: true },
  omUpdateActive: { table: RECORDS, run: updateActive, hard: true },
  omAppendBufferedChunk: { table: RECORDS, run: appendBufferedChunk, hard: true },
  omSwapBuffered: { table: RECORDS, run: swapBuffered, hard: true },
  omUpdateBufferedReflection: { table: RECORDS, run: updateBufferedReflection, hard: true },
  omSwapBufferedReflection: { table: RECORDS, run: swapBufferedReflection, hard: true },
  omUpdateConfig: { table: RECORDS, run: updateConfig, hard: true },
};

// --- Records

async function recordOf(documents: WritableDocuments, id: unknown): Promise<RecordRow> {
  const row = await documents.first(RECORDS, byRecordId(id));
  if (row === null) throw notFound(`Observational memory record not found: ${String(id)}`);
  return row;
}

function generationsOf({ lookupKey }: Request) {
  const equals = [(lookupKey ?? null) as Value];
  return { index: "by_lookup_key", equals, descending: true };
}

function bufferOf(row: RecordRow): Chunk[] {
  const stored = parsed(row.bufferedObservationChunks);
  return Array.isArray(stored) ? stored.filter(isObject) : [];
}

// --- Values

function numberArgument(request: UncheckedObject, name: string): number {
  const value = request[name];
  if (!isFiniteNumber(value)) throw invalidArgument(`${name} must be a number.`);
  return value;
}

function countArgument(request: Request, name: string): number | undefined {
  const value = request[name];
  if (value === undefined || value === null) return undefined;
  if (!isFiniteNumber(value) || value < 0) {
    throw invalidArgument(`${name} must be a number that is not negative.`);
  }
  return Math.floor(value);
}

function mergedDeep(stored: UncheckedObject, given: UncheckedObject): UncheckedObject {
  const merged = new Map(Object.entries(stored));
  for (const [name, value] of Object.entries(given)) {
    const before = merged.get(name);
    merged.set(name, isObject(before) && isObject(value) ? mergedDeep(before, value) : value);
  }
  return Object.fromEntries(merged);
}

function objectIn(text: unknown): UncheckedObject {
  const value = parsed(text);
  return isObject(value) ? value : {};
}

function parsed(text: unknown): unknown {
  if (typeof text !== "string") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
