/** Removing a thread, and bringing it back: at once to whoever looks, its messages in batches. */
import { makeFunctionReference } from "convex/server";
import type { Doc } from "../../_generated/dataModel";
import { byRecordId, type Documents } from "../../lib/documents";
import { conflict } from "../../lib/errors";
import { quoted } from "../../lib/quoted";
import { countOf, keys } from "./counts";
import type { FollowedDocuments } from "./followed";
import { isDue } from "./notes";
import { forgetRemovals, type Removal, removalsOf } from "./removals";
import { findThread } from "./rows";
import {
  discard,
  type Discarded,
  discarded,
  discardedWithThread,
  drop,
  dropThread,
  keepForRestoring,
  putBack,
  takeAway,
} from "./trash";

type Thread = Doc<"mastra_threads">;
type Message = Doc<"mastra_messages">;

/** Messages one call removes. */
export const REMOVE_MESSAGES_MAX = 2000;
/** Messages one call moves into the trash, each looked for there. */
const DISCARD_MESSAGES_MAX = 800;
/** Messages one call brings back, each with all that follows it. */
const RESTORE_MESSAGES_MAX = 400;
/** Bytes of messages one call reads for it; what follows them is read and written too. */
const REMOVE_BYTES_MAX = 3 << 20;

const CONTINUE = makeFunctionReference<"mutation", { threadId: string }, null>(
  "memory/upkeep:removeMessages",
);

/** What a removal answers. */
export type Removed = {
  readonly found: boolean;
  readonly removedMessages: number;
  readonly hasMore: boolean;
};
/** What a restoration answers. */
export type Restored = {
  readonly found: boolean;
  readonly thread: Thread | null;
  readonly restoredMessages: number;
  readonly hasMore: boolean;
};

// --- Removing

/**
 * Remove a thread, or go on with its messages.
 *
 * @param documents The mutation's rows.
 * @param threadId The thread.
 * @param scope The resource it has to belong to.
 * @param purgeAt Until when all of it can be restored; undefined keeps nothing of it.
 */
export async function removeThread(
  documents: FollowedDocuments,
  threadId: string,
  scope: string | undefined,
  purgeAt: number | undefined,
): Promise<Removed> {
  const thread = await findThread(documents, threadId, scope);
  if (thread === null) return await removeFurther(documents, threadId, scope, purgeAt);
  const counted = await countOf(documents, keys.messagesIn(threadId));
  const begun = await beginRemoval(documents, thread, purgeAt);
  const removed = await removeBatch(documents, threadId);
  const isWhole = !(await isUnderWay(documents, begun));
  // What was stored before these functions were deployed has not been counted.
  const removedMessages = isWhole ? removed : Math.max(counted, removed);
  const hasMore = (await removalsIn(documents, threadId, scope)).length > 0;
  return { found: true, removedMessages, hasMore };
}

/** Go on with a thread that is gone, or delete for good what the trash holds of it. */
async function removeFurther(
  documents: FollowedDocuments,
  threadId: string,
  scope: string | undefined,
  purgeAt: number | undefined,
): Promise<Removed> {
  const removals = await removalsIn(documents, threadId, scope);
  if (removals.length === 0) {
    const item =
      purgeAt === undefined
        ? await discarded(documents, "mastra_threads", threadId, scope)
        : null;
    if (item !== null) await dropThread(documents, { threadId, owner: item.owner });
    return { found: item !== null, removedMessages: 0, hasMore: false };
  }
  if (purgeAt === undefined) {
    for (const { resourceId: owner } of removals) {
      await keepNothing(documents, threadId, owner);
      await dropThread(documents, { threadId, owner });
    }
  }
  await removeBatch(documents, threadId);
  const hasMore = (await removalsIn(documents, threadId, scope)).length > 0;
  return { found: true, removedMessages: 0, hasMore };
}

/** Go on with the messages of a thread that is gone, and see to it that somebody does. */
export async function continueRemoval(
  documents: FollowedDocuments,
  threadId: string,
): Promise<void> {
  await removeBatch(documents, threadId);
}

async function removalsIn(
  documents: Documents,
  threadId: string,
  scope: string | undefined,
): Promise<Removal[]> {
  const removals = await removalsOf(documents, threadId);
  return removals.filter(({ resourceId }) => scope === undefined || resourceId === scope);
}

async function isUnderWay(documents: Documents, removal: Removal): Promise<boolean> {
  const removals = await removalsOf(documents, removal.threadId);
  return removals.some(({ _id }) => _id === removal._id);
}

/**
 * Put a thread out of sight with its messages, which are removed later.
 *
 * @param documents The mutation's rows.
 * @param thread The thread.
 * @param purgeAt Until when it can be restored; undefined keeps nothing of it.
 */
export async function beginRemoval(
  documents: FollowedDocuments,
  thread: Thread,
  purgeAt: number | undefined,
): Promise<Removal> {
  const { id: threadId, resourceId: owner } = thread;
  const kept = { threadId, owner };
  if (purgeAt === undefined) {
    await documents.delete("mastra_threads", thread);
    await keepNothing(documents, threadId, owner);
    await dropThread(documents, kept);
  } else {
    if ((await discarded(documents, "mastra_threads", threadId, owner)) !== null) {
      // An earlier thread of this id: only the last one can be restored.
      await keepNothing(documents, threadId, owner);
      await dropThread(documents, kept, { onlyWithThread: true });
    }
    await discard(documents, "mastra_threads", thread, purgeAt, { owner });
  }
  const newest = { index: "by_thread", equals: [threadId], descending: true };
  const upto = (await documents.first("mastra_messages", newest))?._creationTime ?? 0;
  const left = await countOf(documents, keys.messagesIn(threadId));
  const row = { threadId, resourceId: owner, upto, purgeAt, left };
  const removalId = await documents.insert("memory_removals", row);
  await documents.dropCount(keys.messagesIn(threadId));
  const begun = await documents.get("memory_removals", removalId);
  if (begun === null) throw new Error("A removal just begun is there.");
  return begun;
}

/** Have the removals of an owner's thread that are under way delete for good. */
async function keepNothing(
  documents: FollowedDocuments,
  threadId: string,
  owner: string,
): Promise<void> {
  for (const removal of await removalsIn(documents, threadId, owner)) {
    if (removal.purgeAt === undefined) continue;
    await documents.patch("memory_removals", removal, { purgeAt: undefined });
  }
  forgetRemovals(documents, threadId);
}

/** Remove the next messages, the earliest removal first; say how many of the last one. */
async function removeBatch(documents: FollowedDocuments, threadId: string): Promise<number> {
  let removed = 0;
  for (const removal of await removalsOf(documents, threadId)) {
    const batch = await messagesToRemove(documents, removal);
    for (const message of batch.messages) await takeAway(documents, message);
    removed = batch.messages.length;
    if (batch.hasMore) {
      const left = Math.max(0, (removal.left ?? 0) - removed);
      await documents.patch("memory_removals", removal, { left });
    } else {
      await documents.delete("memory_removals", removal);
    }
    forgetRemovals(documents, threadId);
    if (!batch.hasMore && !documents.isHalfDone) continue;
    await documents.scheduler.runAfter(0, CONTINUE, { threadId });
    break;
  }
  return removed;
}

async function messagesToRemove(
  documents: Documents,
  { threadId, upto, purgeAt }: Removal,
): Promise<{ messages: Message[]; hasMore: boolean }> {
  const most = purgeAt === undefined ? REMOVE_MESSAGES_MAX : DISCARD_MESSAGES_MAX;
  const range = { index: "by_thread", equals: [threadId], lte: upto };
  const start = documents.bytesRead;
  const messages: Message[] = [];
  for await (const message of documents.scan("mastra_messages", range)) {
    const isFull = documents.bytesRead - start > REMOVE_BYTES_MAX && messages.length > 0;
    if (messages.length >= most || isFull) return { messages, hasMore: true };
    messages.push(message);
  }
  return { messages, hasMore: false };
}

// --- Restoring

/**
 * Bring back a removed thread that is still kept: at once, its messages a batch at a time.
 *
 * @param documents The mutation's rows.
 * @param threadId The thread.
 * @param scope The resource it has to belong to.
 * @throws `conflict` when the thread has been begun anew.
 */
export async function restoreThread(
  documents: FollowedDocuments,
  threadId: string,
  scope: string | undefined,
): Promise<Restored> {
  const item = await discarded(documents, "mastra_threads", threadId, scope);
  if (item !== null) await bringBack(documents, item);
  const thread = await findThread(documents, threadId, scope);
  const nothing = { found: false, thread: null, restoredMessages: 0, hasMore: false };
  if (thread === null) return nothing;
  const kept = { threadId, owner: thread.resourceId };
  const { rows, hasMore } = await discardedWithThread(documents, kept, RESTORE_MESSAGES_MAX);
  if (item === null && rows.length === 0 && !hasMore) return nothing;
  let restoredMessages = 0;
  for (const each of rows) {
    if (await makeRoomFor(documents, each)) {
      await putBack(documents, each);
      restoredMessages += 1;
    } else {
      await drop(documents, each);
    }
  }
  if (item !== null && hasMore) await keepForRestoring(documents, kept);
  return { found: true, thread, restoredMessages, hasMore };
}

async function bringBack(documents: FollowedDocuments, item: Discarded): Promise<void> {
  const { id: threadId, owner } = item;
  if ((await threadInTheWay(documents, threadId)) !== null) {
    throw conflict(
      `Thread ${quoted(threadId)} has been begun anew since it was deleted. Clone or delete the ` +
        "new one, then restore.",
    );
  }
  // Messages of it that still wait never went; those of an earlier thread do.
  const last = (await removalsOf(documents, threadId)).at(-1);
  if (last?.resourceId === owner && last.purgeAt !== undefined) {
    await documents.delete("memory_removals", last);
    documents.count([keys.messagesIn(threadId)], last.left ?? 0);
    forgetRemovals(documents, threadId);
  }
  await putBack(documents, item);
}

// --- What has expired

/** Delete a message that has expired. */
export async function expireMessage(documents: FollowedDocuments, id: string): Promise<void> {
  const message = await documents.first("mastra_messages", byRecordId(id));
  if (message !== null) await documents.delete("mastra_messages", message);
}

/** Delete a thread that has expired: at once to whoever looks, its messages soon. */
export async function expireThread(documents: FollowedDocuments, threadId: string): Promise<void> {
  const thread = await documents.first("mastra_threads", byRecordId(threadId));
  if (thread === null) return;
  await beginRemoval(documents, thread, undefined);
  await documents.scheduler.runAfter(0, CONTINUE, { threadId });
}

// --- What stands in the way of a new row

/** The thread that has an id; one that has expired is removed instead. */
export async function threadInTheWay(
  documents: FollowedDocuments,
  threadId: string,
): Promise<Thread | null> {
  const thread = await documents.first("mastra_threads", byRecordId(threadId));
  if (thread === null || !(await isDue(documents, "mastra_threads", threadId))) return thread;
  await expireThread(documents, threadId);
  return null;
}

/** The message that has an id; one that is gone, and only waits to be removed, is. */
export async function messageInTheWay(
  documents: FollowedDocuments,
  id: string,
): Promise<Message | null> {
  const message = await documents.first("mastra_messages", byRecordId(id));
  if (message === null) return null;
  if (await isDue(documents, "mastra_threads", message.thread_id)) {
    await expireThread(documents, message.thread_id);
  }
  if (await documents.isGone("mastra_messages", message)) {
    await takeAway(documents, message);
    return null;
  }
  if (!(await isDue(documents, "mastra_messages", id))) return message;
  await expireMessage(documents, id);
  return null;
}

/** Whether a message of the trash can take its place again; false when its id was used anew. */
export async function makeRoomFor(
  documents: FollowedDocuments,
  { id }: Discarded,
): Promise<boolean> {
  return (await messageInTheWay(documents, id)) === null;
}
