/** The search text of messages (`memory_message_texts`), kept in step with the message rows. */
import type { Doc, Id } from "../_generated/dataModel";
import type { DatabaseWriter } from "../_generated/server";
import { indexedText } from "../memory/lib/searchWords";
import { messageText } from "./messageText";

/**
 * UTF-16 units of a message that are searched. Three bytes each at most, so the row stays within
 * a document's 1 MiB whatever the message holds.
 */
export const SEARCH_TEXT_CHARS_MAX = 250_000;

/** Add the search text of a message just inserted; a message without text gets no row. */
export async function addText(
  db: DatabaseWriter,
  messageId: Id<"mastra_messages">,
  message: Omit<Doc<"mastra_messages">, "_id" | "_creationTime">,
): Promise<void> {
  const text = indexedText(clipped(messageText(message.content)));
  if (!text) return;
  await db.insert("memory_message_texts", {
    messageId,
    threadId: message.thread_id,
    resourceId: message.resourceId,
    role: message.role,
    createdAt: message.createdAt,
    text,
  });
}

/** Bring the search text of a message in step with a change of it; says whether it looked it up. */
export async function replaceText(
  db: DatabaseWriter,
  before: Doc<"mastra_messages">,
  after: Doc<"mastra_messages">,
): Promise<boolean> {
  const same = (["content", "thread_id", "resourceId", "role", "createdAt"] as const).every(
    (name) => before[name] === after[name],
  );
  if (same) return false;
  await removeText(db, before._id);
  await addText(db, after._id, after);
  return true;
}

/** Remove the search text of a message that is deleted, if it has any. */
export async function removeText(
  db: DatabaseWriter,
  messageId: Id<"mastra_messages">,
): Promise<void> {
  const row = await db
    .query("memory_message_texts")
    .withIndex("by_message", (q) => q.eq("messageId", messageId))
    .first();
  if (row !== null) await db.delete("memory_message_texts", row._id);
}

function clipped(text: string): string {
  if (text.length <= SEARCH_TEXT_CHARS_MAX) return text;
  const last = text.charCodeAt(SEARCH_TEXT_CHARS_MAX - 1);
  const splitsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, SEARCH_TEXT_CHARS_MAX - (splitsPair ? 1 : 0));
}
