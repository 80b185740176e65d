/** `memory/messages:*`: save, page, look around, get and remove messages. */
import { type Value, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { internalMutation, internalQuery } from "../_generated/server";
import { byRecordId, Documents } from "../lib/documents";
import { invalidArgument, notFound } from "../lib/errors";
import { NEIGHBOURS_MAX, PAGE_MESSAGES_MAX } from "../lib/limits";
import { quoted } from "../lib/quoted";
import { changedContent, messageText } from "../lib/messageText";
import {
  choice,
  given,
  idsOf,
  nowIso,
  object,
  optionalText,
  text,
  time,
  vAny,
  vNumber,
  vText,
  whole,
} from "./lib/arguments";
import { readCursor, writeCursor } from "./lib/cursors";
import { setExpiry } from "./lib/expiries";
import { type FollowedDocuments, following } from "./lib/followed";
import { marksOf, vMarks } from "./lib/notes";
import {
  findMessage,
  findThread,
  PAGE_BYTES_MAX,
  PLACE_KINDS,
  placeIn,
  placeParts,
  threadNamed,
  vMessageDoc,
  vThreadDoc,
} from "./lib/rows";
import { saveMessages, vSaved, vThread } from "./lib/saving";
import { messagesOf, neighbours, placeOf } from "./lib/threadMessages";
import { makeRoomFor } from "./lib/threadRemoval";
import { discard, type Discarded, discarded, drop, putBack } from "./lib/trash";

/** Message ids one call takes. */
const IDS_MAX = 100;

type Message = Doc<"mastra_messages">;


/** Store messages, and their thread if it is new, in one transaction. */
export const save = internalMutation({
  args: {
    messages: v.array(v.any()),
    thread: given(vThread),
    onExisting: vText,
    now: vText,
    expiries: vAny,
    supersedes: vAny,
  },
  returns: vSaved,
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const replace = choice(args.onExisting, "onExisting", ["keep", "replace"]) === "replace";
      return await saveMessages(documents, args, replace, nowIso(args.now));
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
    marks: vMarks,
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
    return { thread, messages: taken, cursor, marks: await marksOf(documents, taken) };
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
    marks: vMarks,
  }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const before = whole(args.before, "before", 0, NEIGHBOURS_MAX);
    const after = whole(args.after, "after", 0, NEIGHBOURS_MAX);
    const message = await messageNamed(documents, args);
    const { earlier, later } = await neighbours(documents, message, before, after);
    const messages = [...earlier, message, ...later];
    return {
      thread: await findThread(documents, message.thread_id, undefined),
      messages,
      index: earlier.length,
      marks: await marksOf(documents, messages),
    };
  },
});

/** Return messages by id, in the order asked for; absent ones are left out. */
export const get = internalQuery({
  args: { ids: v.array(v.string()), resourceId: vText },
  returns: v.object({ messages: v.array(vMessageDoc), marks: vMarks }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const scope = optionalText(args.resourceId, "resourceId");
    const messages: Message[] = [];
    for (const id of idsOf(args.ids, IDS_MAX)) {
      const message = await findMessage(documents, id, scope);
      if (message !== null) messages.push(message);
    }
    return { messages, marks: await marksOf(documents, messages) };
  },
});

/**
 * Change what a message says, its metadata, or when it expires; the rest stays.
 */
export const update = internalMutation({
  args: {
    messageId: v.string(),
    threadId: vText,
    resourceId: vText,
    text: vText,
    metadata: vAny,
    expiresAt: vAny,
    now: vText,
  },
  returns: v.object({ message: vMessageDoc, marks: vMarks }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      let message = await messageNamed(documents, args);
      const said = optionalText(args.text, "text");
      const members = (args.metadata as Value | undefined) ?? undefined;
      const metadata = members === undefined ? undefined : object(members, "metadata");
      const isChanged = said !== undefined || metadata !== undefined;
      if (args.expiresAt !== undefined) {
        const at = time(args.expiresAt, "expiresAt");
        await setExpiry(documents, "mastra_messages", message.id, at);
      } else if (!isChanged) {
        throw invalidArgument("Give text, metadata or expiresAt to change.");
      }
      if (isChanged) {
        const content = changedContent(message.content, said, metadata);
        message = await documents.patch("mastra_messages", message, { content });
        const thread = await findThread(documents, message.thread_id, undefined);
        const updatedAt = nowIso(args.now);
        if (thread !== null) await documents.patch("mastra_threads", thread, { updatedAt });
      }
      return { message, marks: await marksOf(documents, [message]) };
    }),
});

/** Delete messages by id; say which there were. With `purgeAt` they can be restored until then. */
export const remove = internalMutation({
  args: { ids: v.array(v.string()), threadId: vText, resourceId: vText, purgeAt: vAny },
  returns: v.object({ removed: v.array(v.string()) }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const scope = optionalText(args.resourceId, "resourceId");
      const threadId = optionalText(args.threadId, "threadId");
      const purgeAt = time(args.purgeAt, "purgeAt");
      const removed: string[] = [];
      for (const id of idsOf(args.ids, IDS_MAX)) {
        const message = await findMessage(documents, id, scope);
        const found =
          message ??
          (purgeAt === undefined
            ? await discarded(documents, "mastra_messages", id, scope)
            : null);
        if (found === null || (threadId !== undefined && threadOf(found) !== threadId)) continue;
        if ("purgeAt" in found) await drop(documents, found);
        else if (purgeAt === undefined) await documents.delete("mastra_messages", found);
        else {
          const owner = await ownerOf(documents, found);
          await discard(documents, "mastra_messages", found, purgeAt, { owner });
        }
        removed.push(id);
      }
      return { removed };
    }),
});

/**
 * Bring back deleted messages that are still kept; say which.
 *
 * Their thread has to be there. What went with it comes back with it.
 */
export const restore = internalMutation({
  args: { ids: v.array(v.string()), resourceId: vText },
  returns: v.object({ restored: v.array(v.string()) }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const scope = optionalText(args.resourceId, "resourceId");
      const restored: string[] = [];
      for (const id of idsOf(args.ids, IDS_MAX)) {
        const item = await discarded(documents, "mastra_messages", id, scope);
        if (item === null || !(await mayComeBack(documents, item, scope))) continue;
        await putBack(documents, item);
        restored.push(id);
      }
      return { restored };
    }),
});

/**
 * The message that a call names.
 *
 * @throws `not_found` when there is none, in its thread if it names one.
 */
async function messageNamed(
  documents: Documents,
  args: {
    readonly messageId: string;
    readonly threadId?: string | null | undefined;
    readonly resourceId?: string | null | undefined;
  },
): Promise<Message> {
  const messageId = text(args.messageId, "messageId");
  const scope = optionalText(args.resourceId, "resourceId");
  const threadId = optionalText(args.threadId, "threadId");
  const message = await findMessage(documents, messageId, scope);
  if (message === null || (threadId !== undefined && message.thread_id !== threadId)) {
    const where = threadId === undefined ? "." : " in this thread.";
    throw notFound(`There is no message ${quoted(messageId)}${where}`);
  }
  return message;
}

// --- The trash

function threadOf(found: Message | Discarded): string {
  return "purgeAt" in found ? found.threadId : found.thread_id;
}

/** The resource a message belongs to: its own, else that of its thread, else none. */
async function ownerOf(documents: Documents, message: Message): Promise<string> {
  if (message.resourceId !== undefined) return message.resourceId;
  const thread = await documents.first("mastra_threads", byRecordId(message.thread_id));
  return thread?.resourceId ?? "";
}

async function mayComeBack(
  documents: FollowedDocuments,
  item: Discarded,
  scope: string | undefined,
): Promise<boolean> {
  const { threadId, owner, withThread } = item;
  if ((await findThread(documents, threadId, scope)) === null) return false;
  const isThreadKept =
    withThread && (await discarded(documents, "mastra_threads", threadId, owner)) !== null;
  return !isThreadKept && (await makeRoomFor(documents, item));
}

/** The characters of a text, where JavaScript's `length` counts those beyond 16 bits twice. */
function lengthOf(said: string): number {
  return said.length - (said.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}
