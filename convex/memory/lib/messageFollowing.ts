/**
 * What follows a message: its search text, its place in the queue of what is to be embedded, its
 * vector. Whoever writes a message, through whichever function, has them follow.
 */
import { makeFunctionReference, type Scheduler } from "convex/server";
import type { Doc, Id } from "../../_generated/dataModel";
import { byRecordId, type Documents } from "../../lib/documents";
import { dequeue, enqueue, messageBinding, retiredBindings, waitingRow } from "./embeddingQueue";
import type { FollowedDocuments } from "./followed";
import { addText, removeText, writeText } from "./messageTexts";
import { note, type NotedTable, superseded, supersededBy } from "./notes";

type Message = Doc<"mastra_messages">;
type MessageId = Id<"mastra_messages">;

/** A message that was deleted, and what followed it not yet. */
export type Deleted = { readonly messageId: MessageId; readonly id: string };

/** What of a message its search text and its vector are made from, or stands beside them. */
const FOLLOWED = ["id", "content", "thread_id", "resourceId", "role", "createdAt"] as const;
/** Deleted messages that one call of `forgetMessages` takes. */
const FORGOTTEN_TOGETHER = 400;

const FORGET = makeFunctionReference<"mutation", { messages: Deleted[] }, null>(
  "memory/upkeep:forgetMessages",
);

/** Have everything follow a message that was just stored. */
export async function follow(
  documents: FollowedDocuments,
  messageId: MessageId,
  message: Message,
): Promise<void> {
  await addText(documents, messageId, message);
  const bound = await messageBinding(documents);
  if (bound !== null) await enqueue(documents, bound.indexName, message.id, { messageId });
}

/** Have everything follow a change of a message. */
export async function followChange(
  documents: FollowedDocuments,
  before: Message,
  after: Message,
): Promise<void> {
  if (FOLLOWED.every((name) => before[name] === after[name])) return;
  if ((await supersededBy(documents, after.id)) !== undefined) return;
  await writeText(documents, after._id, after);
  const bound = await messageBinding(documents);
  if (bound === null) return;
  // What a message said before is not found any more, even while its new vector is made.
  await dequeue(documents, bound.indexName, before.id);
  await dropVectors(documents, before.id);
  await enqueue(documents, bound.indexName, after.id, { messageId: after._id });
}

/** Remove everything that followed a message which is deleted, or is not searched any more. */
export async function unfollow(
  documents: FollowedDocuments,
  { messageId, id }: Deleted,
): Promise<void> {
  await removeText(documents, messageId);
  const bound = await messageBinding(documents);
  if (bound === null) return;
  await dequeue(documents, bound.indexName, id);
  await dropVectors(documents, id);
}

/** Delete the vectors of a message. */
async function dropVectors(documents: FollowedDocuments, id: string): Promise<void> {
  const bound = await messageBinding(documents);
  const before = await retiredBindings(documents);
  for (const { indexName } of [...(bound === null ? [] : [bound]), ...before]) {
    const range = { index: "by_index_id", equals: [indexName, id] };
    const vector = await documents.first("mastra_vectors", range);
    if (vector !== null) await documents.delete("mastra_vectors", vector);
  }
}

// --- What is noted of rows

/**
 * Have a message take the place of another in what is searched.
 *
 * @returns False, and nothing changed, where that would go round in a circle.
 */
export async function supersede(
  documents: FollowedDocuments,
  oldId: string,
  newId: string,
): Promise<boolean> {
  let successor: string | undefined = newId;
  while (successor !== undefined) {
    if (successor === oldId) return false;
    successor = await supersededBy(documents, successor);
  }
  await note(documents, "mastra_messages", oldId, { supersededBy: newId });
  await searchAnew(documents, oldId);
  return true;
}

/** Forget what is noted of a row that was deleted; what it superseded is searched again. */
export async function forgetNotes(
  documents: FollowedDocuments,
  table: NotedTable,
  id: string,
): Promise<void> {
  await note(documents, table, id, { expiresAt: undefined, supersededBy: undefined });
  if (table !== "mastra_messages") return;
  for (const oldId of await superseded(documents, id)) {
    await note(documents, table, oldId, { supersededBy: undefined });
    await searchAnew(documents, oldId);
  }
}

/** Bring what is searched in step with a message that is superseded, or no longer is. */
export async function searchAnew(documents: FollowedDocuments, id: string): Promise<void> {
  const message = await documents.first("mastra_messages", byRecordId(id));
  if (message === null) return;
  await unfollow(documents, { messageId: message._id, id });
  if ((await supersededBy(documents, id)) === undefined) {
    await follow(documents, message._id, message);
  }
}

// --- What one transaction has no room for

/** Have what followed deleted messages removed after this transaction. */
export async function forgetLater(scheduler: Scheduler, deleted: Deleted[]): Promise<void> {
  for (let at = 0; at < deleted.length; at += FORGOTTEN_TOGETHER) {
    const messages = deleted.slice(at, at + FORGOTTEN_TOGETHER);
    await scheduler.runAfter(0, FORGET, { messages });
  }
}

/** Remove what followed deleted messages, as far as one transaction goes; the rest later. */
export async function forgetDeleted(
  documents: FollowedDocuments,
  deleted: readonly Deleted[],
): Promise<void> {
  for (const [at, each] of deleted.entries()) {
    if (documents.isHalfDone) {
      await forgetLater(documents.scheduler, deleted.slice(at));
      return;
    }
    const isStoredAnew = (await documents.first("mastra_messages", byRecordId(each.id))) !== null;
    if (isStoredAnew) {
      await removeText(documents, each.messageId);
      if (await isWaiting(documents, each.id)) await dropVectors(documents, each.id);
    } else {
      await unfollow(documents, each);
      await forgetNotes(documents, "mastra_messages", each.id);
    }
  }
}

/** Whether a message waits for its vector, so that the one there is out of date. */
async function isWaiting(documents: Documents, id: string): Promise<boolean> {
  const bound = await messageBinding(documents);
  return bound !== null && (await waitingRow(documents, bound.indexName, id)) !== null;
}
