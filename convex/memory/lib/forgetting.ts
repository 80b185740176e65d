/** What goes by itself: what has expired, or was deleted long enough ago. */
import type { FollowedDocuments } from "./followed";
import { dueNotes, type Note, note } from "./notes";
import { expireMessage, expireThread } from "./threadRemoval";
import { purge } from "./trash";

/** Rows that one call deletes because they have expired. */
const EXPIRED_MAX = 200;
/** Rows that any mutation deletes first, so that it, and whoever reads after it, sees none. */
const EXPIRED_FIRST_MAX = 20;

/**
 * Delete a batch of what is due.
 *
 * @returns Whether there was so much that there may be more.
 */
export async function forgetSome(documents: FollowedDocuments): Promise<boolean> {
  const moreExpired = await expireSome(documents, EXPIRED_MAX);
  if (documents.isHalfDone) return true;
  return (await purge(documents)) || moreExpired;
}

/** Delete some of what has expired and is still there; what is left goes when it was scheduled. */
export async function expireFirst(documents: FollowedDocuments): Promise<void> {
  await expireSome(documents, EXPIRED_FIRST_MAX);
}

/** Delete what has expired, as much as is given; say whether there is more. */
async function expireSome(documents: FollowedDocuments, most: number): Promise<boolean> {
  const due = await dueNotes(documents);
  for (const [at, each] of due.entries()) {
    if (at >= most || documents.isHalfDone) return true;
    await expire(documents, each);
  }
  return false;
}

async function expire(documents: FollowedDocuments, { of: table, id }: Note): Promise<void> {
  if (table === "mastra_threads") await expireThread(documents, id);
  else await expireMessage(documents, id);
  // The row may be gone already, and the note be left.
  await note(documents, table, id, { expiresAt: undefined });
}
