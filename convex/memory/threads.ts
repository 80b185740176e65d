/** `memory/threads:*`: get, list, update, remove and clone threads. */
import { type Value, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { internalMutation, internalQuery } from "../_generated/server";
import { byRecordId, Documents } from "../lib/documents";
import { PAGE_THREADS_MAX } from "../lib/limits";
import { mergedWithoutNulls } from "../lib/metadata";
import {
  choice,
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
import { cloneThread } from "./lib/clones";
import { countOf, keys } from "./lib/counts";
import { readCursor, writeCursor } from "./lib/cursors";
import { setExpiry } from "./lib/expiries";
import { following } from "./lib/followed";
import { dueMessages, isDue } from "./lib/notes";
import {
  findThread,
  isRemoved,
  PAGE_BYTES_MAX,
  type Place,
  PLACE_KINDS,
  placeIn,
  placeParts,
  readAfter,
  type Slice,
  threadNamed,
  vThreadDoc,
} from "./lib/rows";
import { removeThread, restoreThread } from "./lib/threadRemoval";

type Thread = Doc<"mastra_threads">;

/** Return a thread, or null, and how many messages it has. */
export const get = internalQuery({
  args: { threadId: v.string(), resourceId: vText },
  returns: v.object({ thread: v.union(vThreadDoc, v.null()), messages: v.number() }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const threadId = text(args.threadId, "threadId");
    const scope = optionalText(args.resourceId, "resourceId");
    const thread = await findThread(documents, threadId, scope);
    if (thread === null) return { thread, messages: 0 };
    const messages = await countOf(documents, keys.messagesIn(thread.id));
    return { thread, messages: messages - (await countDue(documents, thread.id)) };
  },
});

/** How many messages of a thread have expired and are counted still. */
async function countDue(documents: Documents, threadId: string): Promise<number> {
  let count = 0;
  for (const id of await dueMessages(documents)) {
    const message = await documents.first("mastra_messages", byRecordId(id));
    if (message?.thread_id === threadId && !(await isRemoved(documents, message))) count += 1;
  }
  return count;
}

/** Return one page of threads, by when they were last written to or created. */
export const list = internalQuery({
  args: { limit: v.number(), resourceId: vText, order: vText, by: vText, cursor: vText },
  returns: v.object({ threads: v.array(vThreadDoc), cursor: v.union(v.string(), v.null()) }),
  handler: async (ctx, args) => {
    const documents = new Documents(ctx.db);
    const limit = whole(args.limit, "limit", 1, PAGE_THREADS_MAX);
    const by = choice(args.by, "by", ["updatedAt", "createdAt"]);
    const order = choice(args.order, "order", ["newest", "oldest"]);
    const scope = optionalText(args.resourceId, "resourceId");
    const question = `threads:${JSON.stringify(scope ?? null)}:${by}:${order}`;
    const place = placeIn(readCursor(args.cursor, question, PLACE_KINDS));
    const which = by === "updatedAt" ? "updated" : "created";
    const slice = {
      index: scope === undefined ? `by_${which}` : `by_resource_${which}`,
      equals: scope === undefined ? [] : [scope],
      field: by,
      descending: order === "newest",
    };
    const threads: Thread[] = [];
    let more = false;
    for await (const thread of threadsAfter(documents, slice, place)) {
      more = threads.length >= limit;
      if (more) break;
      threads.push(thread);
      // The page ends early rather than be too large; whether there is more, the next one tells.
      more = documents.bytesRead > PAGE_BYTES_MAX;
      if (more) break;
    }
    const last = threads.at(-1);
    if (!more || last === undefined) return { threads, cursor: null };
    const at = { value: last[by], created: last._creationTime, id: last._id };
    return { threads, cursor: writeCursor(question, placeParts(at)) };
  },
});

/** The threads of a slice after a place, without those that have expired. */
async function* threadsAfter(
  documents: Documents,
  slice: Slice,
  place: Place | null,
): AsyncGenerator<Thread> {
  for await (const thread of readAfter(documents, "mastra_threads", slice, place)) {
    if (!(await isDue(documents, "mastra_threads", thread.id))) yield thread;
  }
}

/** Change title and metadata; what is not given stays. */
export const update = internalMutation({
  args: {
    threadId: v.string(),
    resourceId: vText,
    title: vText,
    metadata: vAny,
    expiresAt: vAny,
    now: vText,
  },
  returns: v.object({ thread: vThreadDoc }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const scope = optionalText(args.resourceId, "resourceId");
      const thread = await threadNamed(documents, text(args.threadId, "threadId"), scope);
      if (args.expiresAt !== undefined) {
        const at = time(args.expiresAt, "expiresAt");
        await setExpiry(documents, "mastra_threads", thread.id, at);
      }
      const changes: { updatedAt: string; title?: string; metadata?: unknown } = {
        updatedAt: nowIso(args.now),
      };
      if (typeof args.title === "string") changes.title = args.title;
      const metadata = args.metadata as Value | undefined;
      if (metadata !== undefined && metadata !== null) {
        changes.metadata = mergedWithoutNulls(thread.metadata, object(metadata, "metadata"));
      }
      return { thread: await documents.patch("mastra_threads", thread, changes) };
    }),
});

/**
 * Remove a thread at once, and its messages a batch at a time.
 *
 * The first call tells how many messages go; they are out of sight from then on. What is left when
 * nobody repeats the call is removed by itself. With `purgeAt` all of it can be restored until
 * then; without, what is kept of it goes too.
 */
export const remove = internalMutation({
  args: { threadId: v.string(), resourceId: vText, purgeAt: vAny },
  returns: v.object({ found: v.boolean(), removedMessages: v.number(), hasMore: v.boolean() }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const threadId = text(args.threadId, "threadId");
      const scope = optionalText(args.resourceId, "resourceId");
      return await removeThread(documents, threadId, scope, time(args.purgeAt, "purgeAt"));
    }),
});

/** Bring back a removed thread that is still kept: at once, its messages a batch at a time. */
export const restore = internalMutation({
  args: { threadId: v.string(), resourceId: vText },
  returns: v.object({
    found: v.boolean(),
    thread: v.union(vThreadDoc, v.null()),
    restoredMessages: v.number(),
    hasMore: v.boolean(),
  }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const threadId = text(args.threadId, "threadId");
      return await restoreThread(documents, threadId, optionalText(args.resourceId, "resourceId"));
    }),
});

/** Copy a thread and its messages, or some of them, in one transaction. */
export const clone = internalMutation({
  args: {
    threadId: v.string(),
    newThreadId: vText,
    resourceId: vText,
    newResourceId: vText,
    title: vText,
    metadata: vAny,
    messageLimit: vNumber,
    messageIds: v.optional(v.union(v.array(v.string()), v.null())),
    since: vText,
    until: vText,
    now: vText,
  },
  returns: v.object({
    thread: vThreadDoc,
    // Pairs, not an object: message ids need not be names Convex accepts for fields.
    messageIds: v.array(v.array(v.string())),
  }),
  handler: async (ctx, args) =>
    await following(ctx, async (documents) => {
      const metadata = args.metadata as Value | undefined;
      const messageLimit = args.messageLimit ?? undefined;
      return await cloneThread(documents, {
        threadId: text(args.threadId, "threadId"),
        scope: optionalText(args.resourceId, "resourceId"),
        newThreadId: optionalText(args.newThreadId, "newThreadId") ?? crypto.randomUUID(),
        newResourceId: optionalText(args.newResourceId, "newResourceId"),
        title: args.title ?? undefined,
        metadata:
          metadata === undefined || metadata === null ? {} : object(metadata, "metadata"),
        limit:
          messageLimit === undefined
            ? undefined
            : whole(messageLimit, "messageLimit", 0, 2 ** 53),
        messageIds: args.messageIds ?? [],
        since: optionalText(args.since, "since"),
        until: optionalText(args.until, "until"),
        now: nowIso(args.now),
      });
    }),
});
