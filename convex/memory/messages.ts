/** `memory/messages:*`: save, page, look around, get and remove messages. */
import { type Value, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { internalMutation, internalQuery } from "../_generated/server";
import { Documents } from "../lib/documents";
import { conflict, invalidArgument, notFound } from "../lib/errors";
import { NEIGHBOURS_MAX, PAGE_MESSAGES_MAX, SAVE_MESSAGES_MAX } from "../lib/limits";
import { messageText } from "../lib/messageText";
import { isObject, type UncheckedObject } from "../lib/values";
import {
  choice,
  given,
  idsOf,
  nowIso,
  type Of,
  optionalText,
  text,
  vNumber,
  vText,
  whole,
} from "./lib/arguments";
import { equal } from "./lib/conditions";
import { readCursor, writeCursor } from "./lib/cursors";
import { type FollowedDocuments, following } from "./lib/followed";
import { quoted } from "./lib/quoted";
import {
  findMessage,
  findThread,
  noThread,
  PAGE_BYTES_MAX,
  PLACE_KINDS,
  placeIn,
  placeParts,
  threadNamed,
  vMessageDoc,
  vThreadDoc,
} from "./lib/rows";
import { messagesOf, neighbours, placeOf } from "./lib/threadMessages";

/** Message ids one call takes. */
const IDS_MAX = 100;

type Message = Doc<"mastra_messages">;
type Status = "stored" | "unchanged" | "replaced";

const vThread = v.object({
  id: v.string(),
  resourceId: v.string(),
  title: vText,
  metadata: v.optional(v.any()),
});
const vStatus = v.union(v.literal("stored"), v.literal("unchanged"), v.literal("replaced"));

/** Store messages, and their thread if it is new, in one transaction. */
export const save = internalMutation({
  args: {
    messages: v.array(v.any()),
    thread: given(vThread),
    onExisting: vText,
    now: vText,
  },
  returns: v.object({
    results: v.array(v.object({ id: v.string(), status: vStatus, createdAt: v.string() })),
    threadCreated: v.boolean(),
    threads: v.array(v.string()),
  }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const records = recordsOf(args.messages);
      const replace = choice(args.onExisting, "onExisting", ["keep", "replace"]) === "replace";
      const now = nowIso(args.now);
      const threadCreated = await beginThread(documents, args.thread, now);
      const touched = new Set<string>();
      const results: { id: string; status: Status; createdAt: string }[] = [];
      for (const record of records) {
        const { status, row } = await saveOne(documents, record, replace);
        results.push({ id: row.id, status, createdAt: row.createdAt });
        if (status !== "unchanged") touched.add(row.thread_id);
      }
      for (const threadId of touched) {
        const thread = await findThread(documents, threadId, undefined);
        if (thread !== null && thread.updatedAt !== now) {
          await documents.patch("mastra_threads", thread, { updatedAt: now });
        }
      }
      return { results, threadCreated, threads: [...touched] };
    }),
});

/** Return one page of a thread by index range, whatever the thread's length. */
export const page = internalQuery({
  args: {
    threadId: v.string(),
    limit: v.number(),
    resourceId: vText,
    order: vText,
    cursor: vText,
    role: vText,
    since: vText,
    until: vText,
    charsMax: vNumber,
  },
  returns: v.object({
    thread: vThreadDoc,
    messages: v.array(vMessageDoc),
    cursor: v.union(v.string(), v.null()),
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const scope = optionalText(args.resourceId, "resourceId");
    const thread = await threadNamed(documents, text(args.threadId, "threadId"), scope);
    const limit = whole(args.limit, "limit", 1, PAGE_MESSAGES_MAX);
    const charsMax = whole(args.charsMax, "charsMax", 1, 2 ** 53, 2 ** 53);
    const order = choice(args.order, "order", ["newest", "oldest"]);
    const role = optionalText(args.role, "role");
    const question = `messages:${thread.id}:${order}`;
    const read = messagesOf(documents, thread.id, {
      descending: order === "newest",
      after: placeIn(readCursor(args.cursor, question, PLACE_KINDS)),
      since: optionalText(args.since, "since"),
      until: optionalText(args.until, "until"),
    });
    const taken: Message[] = [];
    let [chars, more] = [0, false];
    let last: Message | undefined;
    for await (const message of read) {
      if (role === undefined || message.role === role) {
        more = taken.length >= limit || (taken.length > 0 && chars >= charsMax);
        if (more) break;
        taken.push(message);
        chars += lengthOf(messageText(message.content));
      }
      last = message;
      // The page ends early rather than be too large; whether there is more, the next one tells.
      more = documents.bytesRead > PAGE_BYTES_MAX;
      if (more) break;
    }
    const ends = !more || last === undefined;
    const cursor = ends ? null : writeCursor(question, placeParts(placeOf(last as Message)));
    return { thread, messages: taken, cursor };
  },
});

/** Return a message with its neighbours in the thread, oldest first. */
export const around = internalQuery({
  args: {
    messageId: v.string(),
    before: v.number(),
    after: v.number(),
    threadId: vText,
    resourceId: vText,
  },
  returns: v.object({
    thread: v.union(vThreadDoc, v.null()),
    messages: v.array(vMessageDoc),
    index: v.number(),
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const before = whole(args.before, "before", 0, NEIGHBOURS_MAX);
    const after = whole(args.after, "after", 0, NEIGHBOURS_MAX);
    const messageId = text(args.messageId, "messageId");
    const scope = optionalText(args.resourceId, "resourceId");
    const threadId = optionalText(args.threadId, "threadId");
    const message = await findMessage(documents, messageId, scope);
    if (message === null || (threadId !== undefined && message.thread_id !== threadId)) {
      const where = threadId === undefined ? "." : " in this thread.";
      throw notFound(`There is no message ${quoted(messageId)}${where}`);
    }
    const { earlier, later } = await neighbours(documents, message, before, after);
    return {
      thread: await findThread(documents, message.thread_id, undefined),
      messages: [...earlier, message, ...later],
      index: earlier.length,
    };
  },
});

/** Return messages by id, in the order asked for; absent ones are left out. */
export const get = internalQuery({
  args: { ids: v.array(v.string()), resourceId: vText },
  returns: v.object({ messages: v.array(vMessageDoc) }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const scope = optionalText(args.resourceId, "resourceId");
    const messages: Message[] = [];
    for (const id of idsOf(args.ids, IDS_MAX)) {
      const message = await findMessage(documents, id, scope);
      if (message !== null) messages.push(message);
    }
    return { messages };
  },
});

/** Delete messages by id; say which there were. */
export const remove = internalMutation({
  args: { ids: v.array(v.string()), threadId: vText, resourceId: vText },
  returns: v.object({ removed: v.array(v.string()) }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const scope = optionalText(args.resourceId, "resourceId");
      const threadId = optionalText(args.threadId, "threadId");
      const removed: string[] = [];
      for (const id of idsOf(args.ids, IDS_MAX)) {
        const message = await findMessage(documents, id, scope);
        if (message === null) continue;
        if (threadId !== undefined && message.thread_id !== threadId) continue;
        await documents.delete("mastra_messages", message);
        removed.push(id);
      }
      return { removed };
    }),
});

// --- Saving

/** Create the thread the messages belong to, if it is new; say whether it was. */
async function beginThread(
  documents: FollowedDocuments,
  thread: Of<typeof vThread> | null | undefined,
  now: string,
): Promise<boolean> {
  if (thread === undefined || thread === null) return false;
  const id = text(thread.id, "id");
  const resourceId = text(thread.resourceId, "resourceId");
  const found = await findThread(documents, id, undefined);
  if (found !== null) {
    if (found.resourceId !== resourceId) throw noThread(id);
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
  return true;
}

/** A message to save: an object whose id is there and whose other fields nobody has checked. */
type MessageRecord = UncheckedObject & { readonly id: Value };

async function saveOne(
  documents: FollowedDocuments,
  record: MessageRecord,
  replace: boolean,
): Promise<{ status: Status; row: Message }> {
  const range = { index: "by_record_id", equals: [record.id] };
  const found = await documents.first("mastra_messages", range);
  if (found === null || (await documents.isGone("mastra_messages", found))) {
    if (found !== null) await documents.delete("mastra_messages", found);
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

/** The characters of a text, where JavaScript's `length` counts those beyond 16 bits twice. */
function lengthOf(said: string): number {
  return said.length - (said.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}
