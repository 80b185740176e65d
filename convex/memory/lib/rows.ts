/** What the `memory/*` functions share: whose rows are seen, and pages over them. */
import { v } from "convex/values";
import type { Doc, Id } from "../../_generated/dataModel";
import { byRecordId, type Documents, type Range } from "../../lib/documents";
import { notFound } from "../../lib/errors";
import { READ_BYTES_MAX } from "../../lib/limits";
import { quoted } from "../../lib/quoted";
import { memoryTables, type MemoryTable } from "../../lib/tables";
import type { Part } from "./cursors";
import { isDue } from "./notes";
import { goneUpTo } from "./removals";

/** Bytes after which a page ends early: an answer holds no more than one read may. */
export const PAGE_BYTES_MAX = READ_BYTES_MAX >> 1;

/** A thread as answers hold it: a row of the wire protocol. */
export const vThreadDoc = v.object({
  ...memoryTables.mastra_threads.validator.fields,
  _id: v.id("mastra_threads"),
  _creationTime: v.number(),
});
/** A message as answers hold it: a row of the wire protocol. */
export const vMessageDoc = v.object({
  ...memoryTables.mastra_messages.validator.fields,
  _id: v.id("mastra_messages"),
  _creationTime: v.number(),
});

type Thread = Doc<"mastra_threads">;
type Message = Doc<"mastra_messages">;

// --- What is seen

/** The thread with an id, or null when there is none or it belongs to another resource. */
export async function findThread(
  documents: Documents,
  threadId: string,
  scope: string | undefined,
): Promise<Thread | null> {
  const row = await documents.first("mastra_threads", byRecordId(threadId));
  if (row === null || (scope !== undefined && row.resourceId !== scope)) return null;
  return (await isDue(documents, "mastra_threads", row.id)) ? null : row;
}

/**
 * The thread with an id.
 *
 * @throws `not_found` when there is none, or it belongs to another resource.
 */
export async function threadNamed(
  documents: Documents,
  threadId: string,
  scope: string | undefined,
): Promise<Thread> {
  const row = await findThread(documents, threadId, scope);
  if (row === null) throw noThread(threadId);
  return row;
}

/** The refusal for a thread that is absent or somebody else's. */
export function noThread(threadId: string) {
  return notFound(
    `There is no thread ${quoted(threadId)}. List the threads there are, or save a message with ` +
      "this thread id to begin one.",
  );
}

/** The message with an id, or null when there is none or it belongs to another resource. */
export async function findMessage(
  documents: Documents,
  messageId: string,
  scope: string | undefined,
): Promise<Message | null> {
  const row = await documents.first("mastra_messages", byRecordId(messageId));
  if (row === null || !(await isThere(documents, row))) return null;
  return (await inScope(documents, row, scope)) ? row : null;
}

/** The message with an `_id`, or null when there is none. */
export async function findSeenMessage(
  documents: Documents,
  messageId: Id<"mastra_messages">,
): Promise<Message | null> {
  const row = await documents.get("mastra_messages", messageId);
  return row === null || !(await isThere(documents, row)) ? null : row;
}

/** Whether a message may be seen: its own resource decides, else its thread's. */
export async function inScope(
  documents: Documents,
  message: { resourceId?: string | undefined; thread_id: string },
  scope: string | undefined,
): Promise<boolean> {
  if (scope === undefined) return true;
  if (message.resourceId !== undefined) return message.resourceId === scope;
  return (await findThread(documents, message.thread_id, scope)) !== null;
}

/** Whether a message is there: not removed with its thread, not expired, nor its thread. */
export async function isThere(documents: Documents, message: Message): Promise<boolean> {
  return !(
    (await isRemoved(documents, message)) ||
    (await isDue(documents, "mastra_messages", message.id)) ||
    (await isDue(documents, "mastra_threads", message.thread_id))
  );
}

/** Whether a message's thread was removed, and the message waits to be. */
export async function isRemoved(documents: Documents, message: Message): Promise<boolean> {
  const upto = await goneUpTo(documents, message.thread_id);
  return upto !== undefined && message._creationTime <= upto;
}

// --- Pages

/** A place in an index: just after one row, in whichever direction the index is read. */
export type Place = { readonly value: string; readonly created: number; readonly id: string };

/** The types of a place's parts in a cursor. */
export const PLACE_KINDS = ["string", "number", "string"] as const;

/** A place as a cursor holds it. */
export function placeParts({ value, created, id }: Place): Part[] {
  return [value, created, id];
}

/** The place that a cursor holds; null at the beginning. */
export function placeIn(parts: Part[] | null): Place | null {
  if (parts === null) return null;
  const [value, created, id] = parts;
  return { value: String(value), created: Number(created), id: String(id) };
}

/** The rows of an index that `readAfter` reads. */
export type Slice = {
  /** An index that ends in `field`. */
  readonly index: string;
  /** What its fields before `field` must equal. */
  readonly equals: readonly string[];
  /** The field it is sorted by. */
  readonly field: string;
  readonly descending: boolean;
  /** Bounds of the field: the first value, and the first that is beyond. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
};

/** The rows of a slice after a place, or from the beginning. */
export async function* readAfter<Table extends MemoryTable>(
  documents: Documents,
  table: Table,
  slice: Slice,
  place: Place | null,
): AsyncGenerator<Doc<Table>> {
  const { index, equals, descending } = slice;
  if (place !== null) {
    // First what stands at the same value, then what is behind it.
    const bound = { [descending ? "lte" : "gte"]: place.created };
    const same = { index, equals: [...equals, place.value], descending, ...bound };
    for await (const row of documents.scan(table, same)) {
      const at = row as unknown as At;
      if (isBeyond(at, place, descending) && isWithin(at, slice)) yield row;
    }
  }
  yield* documents.scan(table, { index, equals, descending, ...boundsOf(slice, place) });
}

function boundsOf({ descending, since, until }: Slice, place: Place | null): Range {
  const first = since === undefined ? {} : { gte: since };
  const beyond = until === undefined ? {} : { lt: until };
  if (place === null) return { ...first, ...beyond };
  const { value } = place;
  // Another span may have been asked for than in the question before; the narrower bound holds.
  if (descending) {
    return { ...first, ...(until !== undefined && until < value ? beyond : { lt: value }) };
  }
  return { ...(since !== undefined && since > value ? first : { gt: value }), ...beyond };
}

/** What of a row says where it stands. */
type At = Readonly<Record<string, unknown>> & { _creationTime: number; _id: string };

function isBeyond(row: At, { created, id }: Place, descending: boolean): boolean {
  // Rows that different calls wrote at the same moment stand in the order of their ids.
  if (row._creationTime === created) return descending ? row._id < id : row._id > id;
  return descending ? row._creationTime < created : row._creationTime > created;
}

function isWithin(row: At, { field, since, until }: Slice): boolean {
  const value = String(row[field]);
  return (since === undefined || value >= since) && (until === undefined || value < until);
}
