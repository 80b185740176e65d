/** The search text of messages (`memory_message_texts`), kept in step with the message rows. */
import type { Doc, Id } from "../../_generated/dataModel";
import type { WritableDocuments } from "../../lib/documents";
import { messageText } from "../../lib/messageText";
import { isObject } from "../../lib/values";
import { asksSomething, speakerOf } from "./speakers";
import { folded, indexedText } from "./searchWords";

type Message = Omit<Doc<"mastra_messages">, "_id" | "_creationTime">;
type MessageId = Id<"mastra_messages">;

/**
 * UTF-16 units of a message that are searched. Three bytes each at most, so the row stays within
 * a document's 1 MiB whatever the message holds.
 */
export const SEARCH_TEXT_CHARS_MAX = 250_000;

/** Bring the search text of a message in step with it; a message without text has no row. */
export async function writeText(
  documents: WritableDocuments,
  messageId: MessageId,
  message: Message,
): Promise<void> {
  const row = textRow(messageId, message);
  // The row stays where it is in creation order, as the message does.
  const found = await textOf(documents, messageId);
  if (row !== undefined) await documents.upsert("memory_message_texts", row, found);
  else if (found !== null) await documents.delete("memory_message_texts", found);
}

/** Add the search text of a message that was just stored. */
export async function addText(
  documents: WritableDocuments,
  messageId: MessageId,
  message: Message,
): Promise<void> {
  const row = textRow(messageId, message);
  if (row !== undefined) await documents.insert("memory_message_texts", row);
}

/** Remove the search text of a message, if it has any. */
export async function removeText(
  documents: WritableDocuments,
  messageId: MessageId,
): Promise<void> {
  const row = await textOf(documents, messageId);
  if (row !== null) await documents.delete("memory_message_texts", row);
}

async function textOf(documents: WritableDocuments, messageId: MessageId) {
  const range = { index: "by_message", equals: [messageId] };
  return await documents.first("memory_message_texts", range);
}

function textRow(messageId: MessageId, message: Message) {
  const said = clipped(messageText(message.content));
  if (said === "") return undefined;
  const speaker = speakerOf(said, metadataIn(message.content));
  // Whoever asks what somebody said names them, and few say their own name.
  const isNamed = speaker === "" || said.trimStart().startsWith(speaker);
  return {
    messageId,
    threadId: message.thread_id,
    resourceId: message.resourceId,
    role: message.role,
    createdAt: message.createdAt,
    text: indexedText(isNamed ? said : `${speaker}: ${said}`),
    speaker: speaker === "" ? undefined : folded(speaker),
    asks: asksSomething(said) ? true : undefined,
  };
}

function metadataIn(content: string): unknown {
  if (!content.includes('"metadata"')) return undefined;
  try {
    const parsed: unknown = JSON.parse(content);
    return isObject(parsed) ? parsed["metadata"] : undefined;
  } catch {
    return undefined;
  }
}

function clipped(text: string): string {
  if (text.length <= SEARCH_TEXT_CHARS_MAX) return text;
  const last = text.charCodeAt(SEARCH_TEXT_CHARS_MAX - 1);
  const splitsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, SEARCH_TEXT_CHARS_MAX - (splitsPair ? 1 : 0));
}
