/** Vectors that the server makes of texts, and how they are stored. */
import type { Doc } from "../../_generated/dataModel";
import { byRecordId, type Documents } from "../../lib/documents";
import { conflict, limitExceeded, invalidArgument } from "../../lib/errors";
import { EMBED_TEXT_CHARS_MAX } from "../../lib/limits";
import { messageText } from "../../lib/messageText";
import { quoted } from "../../lib/quoted";
import type { UncheckedObject } from "../../lib/values";
import {
  bind,
  type Binding,
  bindingOf,
  keepText,
  keptText,
  retiredBindings,
  ticketed,
  type Waiting,
} from "./embeddingQueue";
import type { FollowedDocuments } from "./followed";
import { supersededBy } from "./notes";
import { findSeenMessage } from "./rows";
import { findVector, vectorFor, type VectorIndex } from "./vectorIndexes";

/** The index that holds the vectors of messages of a dimension, as Mastra names it. */
export function messagesIndexName(dimension: number): string {
  return dimension === 1536 ? "memory_messages" : `memory_messages_${dimension}`;
}

/** The refusal of texts of one embedder where those of another are. */
export function otherEmbedder(what: string, bound: string, given: string) {
  return conflict(
    `${what} are embedded by ${bound}, not by ${given}; their vectors cannot be compared. Set ` +
      "MEMORY_EMBEDDER to the one they have, or have them embedded anew with " +
      "`convex-memory reembed`.",
    { embedder: bound },
  );
}

// --- Texts that wait

/** The text that waits; undefined or empty where there is nothing to embed. */
export async function textOf(documents: Documents, row: Waiting): Promise<string | undefined> {
  if (row.messageId === undefined) return await keptText(documents, row.indexName, row.id);
  const message = await messageOf(documents, row);
  return message === null ? undefined : messageText(message.content);
}

/** The message that waits, or null when it is gone, or not searched. */
async function messageOf(
  documents: Documents,
  { messageId }: Waiting,
): Promise<Doc<"mastra_messages"> | null> {
  const message = messageId === undefined ? null : await findSeenMessage(documents, messageId);
  if (message === null) return null;
  return (await supersededBy(documents, message.id)) === undefined ? message : null;
}

/**
 * Store the vector of a text that was claimed.
 *
 * @returns False when the text has changed since, or is gone.
 * @throws `conflict` when the texts of its index are embedded by another embedder.
 */
export async function storeClaimed(
  documents: FollowedDocuments,
  embedder: string,
  ticket: number,
  vector: unknown,
): Promise<boolean> {
  const row = await ticketed(documents, ticket);
  if (row === null || (await documents.isGone("memory_embedding_queue", row))) return false;
  await documents.delete("memory_embedding_queue", row);
  const bound = await bindingOf(documents, row.indexName);
  if (bound === null || bound.embedder !== embedder) {
    const what = `The texts of index ${quoted(row.indexName)}`;
    throw otherEmbedder(what, bound?.embedder ?? "nothing", embedder);
  }
  if (row.messageId !== undefined) return await putMessageVector(documents, bound, row, vector);
  await putTextVector(documents, bound, row.id, vector);
  return true;
}

/** Store the vector of a message; false when the message is gone. */
async function putMessageVector(
  documents: FollowedDocuments,
  bound: Binding,
  row: Waiting,
  vector: unknown,
): Promise<boolean> {
  const message = await messageOf(documents, row);
  if (message === null) return false;
  for (const { indexName } of await retiredBindings(documents)) {
    const before = await findVector(documents, indexName, row.id);
    if (before !== null) await documents.delete("mastra_vectors", before);
  }
  const embedding = vectorFor(vector, "vector", bound);
  const metadata = await messageMetadata(documents, message);
  await putVector(documents, bound, { id: row.id, embedding, metadata });
  return true;
}

/** What Mastra's semantic recall looks for beside a message's vector. */
async function messageMetadata(documents: Documents, message: Doc<"mastra_messages">) {
  const thread =
    message.resourceId === undefined || message.resourceId === ""
      ? await documents.first("mastra_threads", byRecordId(message.thread_id))
      : null;
  const resource = message.resourceId || thread?.resourceId;
  return {
    message_id: message.id,
    thread_id: message.thread_id,
    role: message.role,
    created_at: message.createdAt,
    ...(resource ? { resource_id: resource } : {}),
  };
}

/** Store a vector that was made anew of a kept text; its metadata stays. */
async function putTextVector(
  documents: FollowedDocuments,
  bound: Binding,
  id: string,
  vector: unknown,
): Promise<void> {
  const embedding = vectorFor(vector, "vector", bound);
  const before = await findVector(documents, bound.indexName, id);
  const said = await keptText(documents, bound.indexName, id);
  await putVector(documents, bound, { id, embedding, metadata: before?.metadata as unknown });
  if (said !== undefined) await keepText(documents, bound.indexName, id, said);
}

/**
 * Store a vector in place of the one with its id.
 *
 * @param documents The mutation's rows.
 * @param index The index, and up to which creation time an earlier embedder made its vectors.
 * @param record What to store; metadata that is absent now was said of the vector before.
 */
export async function putVector(
  documents: FollowedDocuments,
  { indexName, after = 0 }: { readonly indexName: string; readonly after?: number },
  record: { readonly id: string; readonly embedding: number[]; readonly metadata?: unknown },
): Promise<void> {
  let found = await findVector(documents, indexName, record.id);
  if (found !== null && found._creationTime <= after) {
    // Its place in the order says that an earlier embedder made it.
    await documents.delete("mastra_vectors", found);
    found = null;
  }
  const { id, embedding, metadata } = record;
  await documents.upsert("mastra_vectors", { id, indexName, embedding, metadata }, found);
}

// --- Texts that callers upsert

/**
 * What an index has to be bound to for vectors to be stored in it; null when callers make them.
 *
 * @throws `conflict` when its vectors are of other origin.
 */
export async function boundForUpsert(
  documents: FollowedDocuments,
  { indexName, dimension }: VectorIndex,
  embedder: string | undefined,
): Promise<Binding | null> {
  const bound = await bindingOf(documents, indexName);
  if (embedder === undefined) {
    if (bound === null) return null;
    throw conflict(
      `Index ${quoted(indexName)} holds vectors that ${bound.embedder} made of texts; vectors of ` +
        "other origin cannot be compared with them. Give text, or use another index.",
    );
  }
  if (bound === null) {
    if (await hasVectors(documents, indexName)) throw notOf(indexName, null, embedder);
    return await bind(documents, { indexName, embedder, dimension, use: "texts" });
  }
  if (bound.embedder !== embedder || bound.use !== "texts") {
    throw notOf(indexName, bound, embedder);
  }
  return bound;
}

async function hasVectors(documents: FollowedDocuments, indexName: string): Promise<boolean> {
  const range = { index: "by_index", equals: [indexName], descending: true };
  const newest = await documents.first("mastra_vectors", range);
  return newest !== null && !(await documents.isGone("mastra_vectors", newest));
}

/** The refusal of texts for an index whose vectors are of other origin. */
export function notOf(indexName: string, bound: Binding | null, given: string) {
  const name = quoted(indexName);
  if (bound === null) {
    return conflict(
      `Index ${name} holds vectors that callers made, so texts embedded by ${given} cannot be ` +
        "compared with them. Give a vector, or use another index for texts.",
    );
  }
  if (bound.embedder === given) {
    return conflict(`Index ${name} holds the vectors of messages; use another for texts.`);
  }
  return conflict(
    `Index ${name} holds texts embedded by ${bound.embedder}, not by ${given}. Set ` +
      "MEMORY_EMBEDDER to that one, or embed them anew: `convex-memory reembed`.",
    { embedder: bound.embedder },
  );
}

/**
 * The text of one item of `upsert`, checked.
 *
 * @throws `invalid_argument` when it is missing or blank, `limit_exceeded` when it is too long.
 */
export function textFor({ text }: UncheckedObject, position: number): string {
  if (typeof text !== "string" || text.trim() === "") {
    throw invalidArgument(`items[${position}].text must be text, and not blank.`);
  }
  if (text.length > EMBED_TEXT_CHARS_MAX) {
    throw limitExceeded(
      `items[${position}].text has ${text.length.toLocaleString("en-US")} characters; at most ` +
        `${EMBED_TEXT_CHARS_MAX.toLocaleString("en-US")} are kept. Split it into several items.`,
    );
  }
  return text;
}
