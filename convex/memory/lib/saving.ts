/** Storing messages, with their thread if it is new, and what is noted of them. */
import { type Value, v } from "convex/values";
import type { Doc } from "../../_generated/dataModel";
import { conflict, invalidArgument, notFound } from "../../lib/errors";
import { readEach } from "../../lib/groups";
import { SAVE_MESSAGES_MAX } from "../../lib/limits";
import { quoted } from "../../lib/quoted";
import { isObject, type UncheckedObject } from "../../lib/values";
import { type Of, text, time, vAny, vText } from "./arguments";
import { equal } from "./conditions";
import { messageBinding, waitingRow } from "./embeddingQueue";
import { setExpiry } from "./expiries";
import type { FollowedDocuments } from "./followed";
import { supersede } from "./messageFollowing";
import { findMessage, findThread, noThread } from "./rows";
import { messageInTheWay, threadInTheWay } from "./threadRemoval";

type Message = Doc<"mastra_messages">;
type Status = Of<typeof vStatus>;

/** The thread that messages belong to, as `save` takes it. */
export const vThread = v.object({
  id: v.string(),
  resourceId: v.string(),
  title: vText,
  metadata: v.optional(v.any()),
  expiresAt: vAny,
});
const vStatus = v.union(v.literal("stored"), v.literal("unchanged"), v.literal("replaced"));
const vEmbedding = v.union(v.literal("embedded"), v.literal("pending"), v.literal("off"));

/** What `save` answers. */
export const vSaved = v.object({
  results: v.array(
    v.object({ id: v.string(), status: vStatus, createdAt: v.string(), embedding: vEmbedding }),
  ),
  threadCreated: v.boolean(),
  threads: v.array(v.string()),
});

/** What to store. */
export type Saving = {
  readonly messages: readonly unknown[];
  readonly thread?: Of<typeof vThread> | null | undefined;
  readonly expiries?: unknown;
  readonly supersedes?: unknown;
};

/** Store messages, and their thread if it is new. */
export async function saveMessages(
  documents: FollowedDocuments,
  saving: Saving,
  replace: boolean,
  now: string,
): Promise<Of<typeof vSaved>> {
  const records = recordsOf(saving.messages);
  const threadCreated = await beginThread(documents, saving.thread, now);
  const touched = new Set<string>();
  const saved: { id: string; status: Status; createdAt: string }[] = [];
  for (const record of records) {
    const { status, row } = await saveOne(documents, record, replace);
    saved.push({ id: row.id, status, createdAt: row.createdAt });
    if (status !== "unchanged") touched.add(row.thread_id);
  }
  await noteSaved(documents, records, saving);
  const results = await readEach(saved, async (each) => ({
    ...each,
    embedding: await embeddingState(documents, each.id),
  }));
  for (const threadId of touched) await touch(documents, threadId, now);
  return { results, threadCreated, threads: [...touched] };
}

/** Note that a thread was written to. */
async function touch(documents: FollowedDocuments, threadId: string, now: string): Promise<void> {
  const thread = await findThread(documents, threadId, undefined);
  if (thread !== null && thread.updatedAt !== now) {
    await documents.patch("mastra_threads", thread, { updatedAt: now });
  }
}

/** Create the thread the messages belong to, if it is new; say whether it was. */
async function beginThread(
  documents: FollowedDocuments,
  thread: Of<typeof vThread> | null | undefined,
  now: string,
): Promise<boolean> {
  if (thread === undefined || thread === null) return false;
  const id = text(thread.id, "id");
  const resourceId = text(thread.resourceId, "resourceId");
  const found = await threadInTheWay(documents, id);
  if (found !== null) {
    if (found.resourceId !== resourceId) throw noThread(id);
    await expireThreadAt(documents, id, thread.expiresAt);
    return false;
  }
  await documents.insert("mastra_threads", {
    id,
    resourceId,
    title: thread.title ?? "",
    metadata: (thread.metadata as Value | undefined) ?? {},
    createdAt: now,
    updatedAt: now,
  });
  await expireThreadAt(documents, id, thread.expiresAt);
  return true;
}

async function expireThreadAt(
  documents: FollowedDocuments,
  threadId: string,
  expiresAt: unknown,
): Promise<void> {
  const at = time(expiresAt, "expiresAt");
  if (at !== undefined) await setExpiry(documents, "mastra_threads", threadId, at);
}

/** Note when the saved messages expire, and which others they supersede. */
async function noteSaved(
  documents: FollowedDocuments,
  records: readonly MessageRecord[],
  args: { readonly expiries?: unknown; readonly supersedes?: unknown },
): Promise<void> {
  const saved = new Map<unknown, MessageRecord>(records.map((record) => [record.id, record]));
  for (const [id, at] of pairsIn(args.expiries, "expiries", saved)) {
    await setExpiry(documents, "mastra_messages", id, time(at, "expiries"));
  }
  for (const [newId, oldId] of pairsIn(args.supersedes, "supersedes", saved)) {
    const scope = saved.get(newId)?.["resourceId"] as string | undefined;
    const isThere =
      typeof oldId === "string" && (await findMessage(documents, oldId, scope)) !== null;
    if (!isThere) throw notFound(`There is no message ${quoted(String(oldId))} to supersede.`);
    if (newId === oldId) throw invalidArgument("A message cannot supersede itself.");
    if (!(await supersede(documents, oldId, newId))) {
      throw invalidArgument(
        `Message ${quoted(newId)} is superseded by ${quoted(oldId)}, so it cannot supersede ` +
          "that one.",
      );
    }
  }
}

function pairsIn(
  pairs: unknown,
  name: string,
  saved: ReadonlyMap<unknown, MessageRecord>,
): [string, unknown][] {
  if (pairs === undefined || pairs === null) return [];
  const isPair = (pair: unknown) =>
    Array.isArray(pair) && pair.length === 2 && saved.has(pair[0] as unknown);
  if (!Array.isArray(pairs) || !pairs.every(isPair)) {
    throw invalidArgument(`${name} must be pairs that begin with the id of a message given.`);
  }
  return pairs as [string, unknown][];
}

/** Whether a message has its vector. */
async function embeddingState(
  documents: FollowedDocuments,
  id: string,
): Promise<Of<typeof vEmbedding>> {
  const bound = await messageBinding(documents);
  if (bound === null) return "off";
  return (await waitingRow(documents, bound.indexName, id)) === null ? "embedded" : "pending";
}

/** A message to save: an object whose id is there and whose other fields nobody has checked. */
type MessageRecord = UncheckedObject & { readonly id: Value };

async function saveOne(
  documents: FollowedDocuments,
  record: MessageRecord,
  replace: boolean,
): Promise<{ status: Status; row: Message }> {
  const found =
    typeof record.id === "string" ? await messageInTheWay(documents, record.id) : null;
  if (found === null) {
    await documents.insert("mastra_messages", record);
    return { status: "stored", row: record as unknown as Message };
  }
  if (replace) {
    return { status: "replaced", row: await documents.patch("mastra_messages", found, record) };
  }
  if (!isSame(found, record)) {
    throw conflict(
      `A message with id ${quoted(found.id)} is already stored with other content. Use ` +
        "another message id, or leave it out to have one made.",
    );
  }
  return { status: "unchanged", row: found };
}

function isSame(stored: Message, record: MessageRecord): boolean {
  const { content, thread_id: threadId, role } = record;
  if (stored.thread_id !== threadId || stored.role !== role) return false;
  return stored.content === content || isSameJson(stored.content, content);
}

function isSameJson(left: string, right: unknown): boolean {
  if (typeof right !== "string") return false;
  try {
    return equal(JSON.parse(left) as Value, JSON.parse(right) as Value);
  } catch {
    return false;
  }
}

function recordsOf(messages: readonly unknown[]): MessageRecord[] {
  if (messages.length < 1 || messages.length > SAVE_MESSAGES_MAX) {
    throw invalidArgument(`messages must be an array of 1 to ${SAVE_MESSAGES_MAX} messages.`);
  }
  messages.forEach((record, position) => {
    if (!isObject(record) || !record["id"]) {
      throw invalidArgument(`messages[${position}] must be an object with an id.`);
    }
  });
  const records = messages as MessageRecord[];
  if (new Set(records.map(({ id }) => id)).size < records.length) {
    throw invalidArgument("messages holds the same id twice; each message needs its own.");
  }
  return records;
}
