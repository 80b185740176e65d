/** Removing a thread: at once to whoever looks, its messages a batch at a time. */
import { makeFunctionReference } from "convex/server";
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { countOf, keys } from "./counts";
import type { FollowedDocuments } from "./followed";
import { findThread } from "./rows";

/** Messages one call removes. */
export const REMOVE_MESSAGES_MAX = 2000;
/** Bytes of messages one call reads for it; their search texts are read and written too. */
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

/**
 * Remove a thread, or go on with its messages.
 *
 * @param documents The mutation's rows.
 * @param threadId The thread.
 * @param scope The resource it has to belong to.
 */
export async function removeThread(
  documents: FollowedDocuments,
  threadId: string,
  scope: string | undefined,
): Promise<Removed> {
  const thread = await findThread(documents, threadId, scope);
  const removal = await removalOf(documents, threadId);
  if (thread === null) {
    if (removal === null || (scope !== undefined && removal.resourceId !== scope)) {
      return { found: false, removedMessages: 0, hasMore: false };
    }
    const { hasMore } = await removeMessages(documents, removal);
    return { found: true, removedMessages: 0, hasMore };
  }
  const counted = await countOf(documents, keys.messagesIn(threadId));
  await documents.delete("mastra_threads", thread);
  const begun = await beginRemoval(documents, thread, removal);
  const { removed, hasMore } = await removeMessages(documents, begun);
  if (hasMore) await documents.scheduler.runAfter(0, CONTINUE, { threadId });
  // What was stored before these functions were deployed has not been counted.
  const removedMessages = hasMore ? Math.max(counted, removed) : removed;
  return { found: true, removedMessages, hasMore };
}

/** Go on with the messages of a thread that is gone, and see to it that somebody does. */
export async function continueRemoval(
  documents: FollowedDocuments,
  threadId: string,
): Promise<void> {
  const removal = await removalOf(documents, threadId);
  if (removal === null) return;
  const { hasMore } = await removeMessages(documents, removal);
  if (hasMore) await documents.scheduler.runAfter(0, CONTINUE, { threadId });
}

async function removalOf(
  documents: Documents,
  threadId: string,
): Promise<Doc<"memory_removals"> | null> {
  return await documents.first("memory_removals", { index: "by_thread", equals: [threadId] });
}

/** Put the thread's messages out of sight. */
async function beginRemoval(
  documents: FollowedDocuments,
  { id: threadId, resourceId }: Doc<"mastra_threads">,
  removal: Doc<"memory_removals"> | null,
): Promise<Doc<"memory_removals">> {
  const newest = { index: "by_thread", equals: [threadId], descending: true };
  const upto = (await documents.first("mastra_messages", newest))?._creationTime ?? 0;
  const row = { threadId, resourceId, upto };
  if (removal === null) await documents.insert("memory_removals", row);
  else await documents.patch("memory_removals", removal, row);
  await documents.dropCount(keys.messagesIn(threadId));
  const begun = await removalOf(documents, threadId);
  if (begun === null) throw new Error("A removal just begun is there.");
  return begun;
}

async function removeMessages(
  documents: FollowedDocuments,
  removal: Doc<"memory_removals">,
): Promise<{ removed: number; hasMore: boolean }> {
  const range = { index: "by_thread", equals: [removal.threadId], lte: removal.upto };
  const start = documents.bytesRead;
  const batch: Doc<"mastra_messages">[] = [];
  let hasMore = false;
  for await (const message of documents.scan("mastra_messages", range)) {
    hasMore =
      batch.length >= REMOVE_MESSAGES_MAX ||
      (batch.length > 0 && documents.bytesRead - start > REMOVE_BYTES_MAX);
    if (hasMore) break;
    batch.push(message);
  }
  for (const message of batch) await documents.delete("mastra_messages", message);
  if (!hasMore) await documents.delete("memory_removals", removal);
  return { removed: batch.length, hasMore };
}
