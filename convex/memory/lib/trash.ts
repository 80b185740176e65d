/**
 * Deleted messages and threads that can be asked back: moved out of their tables, out of sight of
 * every function, and purged when their time is over. As `convex_memory/embedded/forgetting.py`;
 * a row that comes back is a new one, with another `_id`.
 */
import { makeFunctionReference } from "convex/server";
import { convexToJson, type JSONValue, jsonToConvex, type Value } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import {
  byRecordId,
  type Documents,
  type StoredRow,
  withoutSystemFields,
} from "../../lib/documents";
import type { FollowedDocuments } from "./followed";
import { setExpiry } from "./expiries";
import { supersede } from "./messageFollowing";
import { type NotedTable, noteOf, superseded, supersededBy } from "./notes";
import { removalFor } from "./removals";

/** A row of the trash. */
export type Discarded = Doc<"memory_trash">;

type Message = Doc<"mastra_messages">;
type Fields = Record<string, Value>;

/** UTF-16 units of a row's text that one document holds: three bytes each at most. */
const PART_CHARS = 250_000;
/** Rows of the trash that one call drops. */
const DROPPED_MAX = 500;
/** How long messages of a thread are kept that somebody has begun to restore: a day. */
export const RESTORE_MS = 86_400_000;

/** A thread, and the resource that may ask it back. */
export type Kept = { readonly threadId: string; readonly owner: string };

const KEEP = makeFunctionReference<"mutation", Kept & { after: number }, null>(
  "memory/upkeep:keepTrash",
);
const DROP = makeFunctionReference<
  "mutation",
  Kept & { withThread: boolean; upto: number },
  null
>("memory/upkeep:dropTrash");

// --- Into the trash

/**
 * Move a message or a thread into the trash, in place of what its owner had there by this id.
 *
 * @param documents The mutation's rows.
 * @param table The row's table.
 * @param row The row.
 * @param purgeAt When it is gone for good; it is sooner where the row expires sooner.
 * @param to The resource that may ask it back (of a message that goes with its thread, that of the
 *   thread), and whether it is a message that goes, and comes back, with its thread.
 */
export async function discard<Table extends NotedTable>(
  documents: FollowedDocuments,
  table: Table,
  row: Doc<Table>,
  purgeAt: number,
  to: { readonly owner: string; readonly withThread?: boolean },
): Promise<void> {
  const { id, thread_id: threadId = id } = row as unknown as { id: string; thread_id?: string };
  const before = await ownedItem(documents, table, id, to.owner);
  if (before !== null) await drop(documents, before);
  const [text = "", ...parts] = partsOf(textOf(row as unknown as StoredRow));
  const trashId = await documents.insert("memory_trash", {
    of: table,
    id,
    owner: to.owner,
    threadId,
    withThread: to.withThread ?? false,
    row: text,
    hasParts: parts.length > 0,
    ...(await noted(documents, table, id, purgeAt)),
  });
  for (const each of parts) await documents.insert("memory_trash_parts", { trashId, text: each });
  await documents.delete(table, row);
}

async function noted(documents: Documents, table: NotedTable, id: string, purgeAt: number) {
  const note = await noteOf(documents, table, id);
  return {
    expiresAt: note?.expiresAt,
    supersededBy: note?.supersededBy,
    supersedes: table === "mastra_messages" ? await superseded(documents, id) : [],
    purgeAt: Math.min(purgeAt, note?.expiresAt ?? purgeAt),
  };
}

/** Do to a message that waits to be removed what is to be done: delete it, or keep it. */
export async function takeAway(documents: FollowedDocuments, message: Message): Promise<void> {
  const removal = await removalFor(documents, message);
  if (removal?.purgeAt === undefined) {
    await documents.delete("mastra_messages", message);
  } else {
    const to = { owner: removal.resourceId, withThread: true };
    await discard(documents, "mastra_messages", message, removal.purgeAt, to);
  }
}

function textOf(row: StoredRow): string {
  return JSON.stringify(convexToJson(withoutSystemFields(row) as Fields));
}

function partsOf(text: string): string[] {
  const parts: string[] = [];
  for (let at = 0; at < text.length; at += parts.at(-1)?.length ?? 0) {
    const last = text.charCodeAt(at + PART_CHARS - 1);
    const splitsPair = last >= 0xd800 && last <= 0xdbff;
    parts.push(text.slice(at, at + PART_CHARS - (splitsPair ? 1 : 0)));
  }
  return parts;
}

// --- What is in the trash

/**
 * A message or a thread that can be restored, or null.
 *
 * @param documents Where to look.
 * @param table `mastra_messages` or `mastra_threads`.
 * @param id Its id.
 * @param scope Whose it must be; undefined takes what was deleted last.
 */
export async function discarded(
  documents: Documents,
  table: NotedTable,
  id: string,
  scope: string | undefined,
): Promise<Discarded | null> {
  let found: Discarded | null = null;
  const range = {
    index: "by_record",
    equals: [table, id, ...(scope === undefined ? [] : [scope])],
  };
  for await (const item of documents.scan("memory_trash", range)) {
    if (item.purgeAt <= Date.now()) continue;
    if (found === null || item._creationTime > found._creationTime) found = item;
  }
  return found;
}

/** Messages that went with their thread, in the order in which they went, and whether more did. */
export async function discardedWithThread(
  documents: FollowedDocuments,
  kept: Kept,
  limit: number,
): Promise<{ rows: Discarded[]; hasMore: boolean }> {
  const { rows, hasMore } = await documents.some("memory_trash", inThread(kept, true), limit);
  const now = Date.now();
  for (const row of rows) if (row.purgeAt <= now) await drop(documents, row);
  return { rows: rows.filter(({ purgeAt }) => purgeAt > now), hasMore };
}

/**
 * Keep the messages of a thread that is being restored until that can be finished.
 *
 * @param after The `_creationTime` to go on behind.
 */
export async function keepForRestoring(
  documents: FollowedDocuments,
  kept: Kept,
  after = 0,
): Promise<void> {
  const range = { ...inThread(kept, true), gt: after };
  const { rows, hasMore } = await documents.some("memory_trash", range, DROPPED_MAX);
  const until = Date.now() + RESTORE_MS;
  for (const row of rows) {
    const purgeAt = Math.min(Math.max(row.purgeAt, until), row.expiresAt ?? until);
    await documents.patch("memory_trash", row, { purgeAt });
  }
  const last = rows.at(-1);
  if (!hasMore || last === undefined) return;
  await documents.scheduler.runAfter(0, KEEP, { ...kept, after: last._creationTime });
}

function inThread({ threadId, owner }: Kept, withThread: boolean) {
  return { index: "by_thread", equals: [threadId, owner, withThread] };
}

async function ownedItem(
  documents: Documents,
  table: NotedTable,
  id: string,
  owner: string,
): Promise<Discarded | null> {
  const range = { index: "by_record", equals: [table, id, owner] };
  return await documents.first("memory_trash", range);
}

async function fieldsOf(documents: Documents, item: Discarded): Promise<Fields> {
  let text = item.row;
  if (item.hasParts) {
    const range = { index: "by_trash", equals: [item._id] };
    for await (const part of documents.scan("memory_trash_parts", range)) text += part.text;
  }
  return jsonToConvex(JSON.parse(text) as JSONValue) as Fields;
}

// --- Out of the trash

/** Move a row from the trash back to its table. */
export async function putBack(documents: FollowedDocuments, item: Discarded): Promise<void> {
  // Another that has just come back may have noted that it superseded this one, or the reverse.
  const again = (await documents.get("memory_trash", item._id)) ?? item;
  const fields = await fieldsOf(documents, again);
  await drop(documents, again);
  await documents.insert(again.of, fields);
  if (again.expiresAt !== undefined) {
    await setExpiry(documents, again.of, again.id, again.expiresAt);
  }
  if (again.supersededBy !== undefined) {
    await supersededAgain(documents, again, fields, again.supersededBy);
  }
  for (const oldId of again.supersedes) await supersedeAgain(documents, again, fields, oldId);
}

async function supersededAgain(
  documents: FollowedDocuments,
  item: Discarded,
  fields: Fields,
  successorId: string,
): Promise<void> {
  const successor = await documents.first("mastra_messages", byRecordId(successorId));
  if (successor !== null) {
    if (belongTogether(successor, fields)) await supersede(documents, item.id, successorId);
    return;
  }
  // It may be in the trash too, and come back later.
  const other = await ownedItem(documents, "mastra_messages", successorId, item.owner);
  if (other === null) return;
  await documents.patch("memory_trash", other, { supersedes: [...other.supersedes, item.id] });
}

async function supersedeAgain(
  documents: FollowedDocuments,
  item: Discarded,
  fields: Fields,
  oldId: string,
): Promise<void> {
  const old = await documents.first("mastra_messages", byRecordId(oldId));
  if (old === null) {
    const other = await ownedItem(documents, "mastra_messages", oldId, item.owner);
    if (other !== null && other.supersededBy === undefined) {
      await documents.patch("memory_trash", other, { supersededBy: item.id });
    }
  } else if (belongTogether(old, fields) && !(await supersededBy(documents, oldId))) {
    await supersede(documents, oldId, item.id);
  }
}

/** Whether two messages are of one resource: an id may be another's by now. */
function belongTogether(message: Message, fields: Fields): boolean {
  return message.resourceId === fields["resourceId"];
}

// --- For good

/** Take a row out of the trash, for good unless it is put back. */
export async function drop(documents: FollowedDocuments, item: Discarded): Promise<void> {
  if (item.hasParts) {
    const range = { index: "by_trash", equals: [item._id] };
    for await (const part of documents.scan("memory_trash_parts", range)) {
      await documents.delete("memory_trash_parts", part);
    }
  }
  await documents.delete("memory_trash", item);
}

/** Delete what the trash holds of a thread, or only the thread with what went with it. */
export async function dropThread(
  documents: FollowedDocuments,
  kept: Kept,
  { onlyWithThread = false } = {},
): Promise<void> {
  const thread = await ownedItem(documents, "mastra_threads", kept.threadId, kept.owner);
  if (thread !== null) await drop(documents, thread);
  for (const withThread of onlyWithThread ? [true] : [true, false]) {
    const newest = { ...inThread(kept, withThread), descending: true };
    const upto = (await documents.first("memory_trash", newest))?._creationTime;
    if (upto !== undefined) await dropMessages(documents, { ...kept, withThread, upto });
  }
}

/** Delete messages of a thread from the trash; what one transaction has no room for, later. */
export async function dropMessages(
  documents: FollowedDocuments,
  which: Kept & { readonly withThread: boolean; readonly upto: number },
): Promise<void> {
  const range = { ...inThread(which, which.withThread), lte: which.upto };
  const { rows, hasMore } = await documents.some("memory_trash", range, DROPPED_MAX);
  for (const row of rows) await drop(documents, row);
  if (hasMore) await documents.scheduler.runAfter(0, DROP, { ...which });
}

/**
 * Delete a batch of what the trash holds of a table that is emptied.
 *
 * @returns Whether there is more of it.
 */
export async function dropAll(documents: FollowedDocuments, table: NotedTable): Promise<boolean> {
  const range = { index: "by_record", equals: [table] };
  const { rows, hasMore } = await documents.some("memory_trash", range, DROPPED_MAX);
  for (const row of rows) await drop(documents, row);
  if (table !== "mastra_messages") return hasMore;
  for await (const removal of documents.scan("memory_removals", {})) {
    if (removal.purgeAt !== undefined) {
      await documents.patch("memory_removals", removal, { purgeAt: undefined });
    }
  }
  documents.forget();
  return hasMore;
}

/** Delete a batch of what has been in the trash long enough; say whether there was any. */
export async function purge(documents: FollowedDocuments): Promise<boolean> {
  const range = { index: "by_purge", lte: Date.now() };
  const { rows } = await documents.some("memory_trash", range, DROPPED_MAX);
  for (const row of rows) await drop(documents, row);
  return rows.length > 0;
}
