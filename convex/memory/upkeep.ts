/**
 * Work that mutations leave for later, because one transaction cannot do it or must not wait for
 * it. The deployment itself calls these, `adopt` excepted; each is harmless once too often.
 */
import { makeFunctionReference } from "convex/server";
import { v } from "convex/values";
import { internalMutation } from "../_generated/server";
import { WritableDocuments } from "../lib/documents";
import { FORGET, SWEEP } from "../lib/upkeepCrons";
import { adoptRows, beginAdoption, forgetCounts, type Progress } from "./lib/adoption";
import { scheduleExpiries } from "./lib/expiries";
import { forgetScans, removeExpired } from "./lib/sweeping";
import { following } from "./lib/followed";
import { forgetSome } from "./lib/forgetting";
import { lastNumber, NUMBER } from "./lib/history";
import { forgetDeleted } from "./lib/messageFollowing";
import { continueQueueing } from "./lib/queueing";
import { dropMessages, keepForRestoring } from "./lib/trash";
import { continueRemoval } from "./lib/threadRemoval";
import { continueVectorRemoval } from "./lib/vectorRemoval";

const ADOPT = makeFunctionReference<"mutation", { progress?: Progress }, null>(
  "memory/upkeep:adopt",
);
const vProgress = v.object({
  table: v.number(),
  from: v.number(),
  until: v.array(v.number()),
});

/** Changes one call numbers. */
const NUMBERED_MAX = 1000;
/** Changes that are kept; a reader that is further behind starts over. */
const CHANGES_KEPT = 100_000;
/** Old changes one call forgets. */
const FORGOTTEN_MAX = 1000;

/** Give changes their numbers, in the order of their commits, and forget the oldest. */
export const number = internalMutation({
  args: {},
  returns: v.null(),
  handler: async (ctx) => {
    const documents = new WritableDocuments(ctx.db);
    let last = await lastNumber(documents);
    // Nothing is committed at or before the snapshot any more, so writers are not in the way.
    const snapshot = ctx.meta.getSnapshotTs();
    const rows = await ctx.db
      .query("memory_changes")
      .withIndex("by_sequence", (q) => q.eq("sequence", undefined).lte("commitTs", snapshot))
      .take(NUMBERED_MAX);
    for (const row of rows) {
      last += 1;
      await documents.patch("memory_changes", row, { sequence: last });
    }
    const range = { index: "by_sequence", gt: 0, lte: last - CHANGES_KEPT };
    const old = await documents.take("memory_changes", range, FORGOTTEN_MAX);
    for (const row of old) await documents.delete("memory_changes", row);
    if (rows.length === NUMBERED_MAX || old.length === FORGOTTEN_MAX) {
      await ctx.scheduler.runAfter(0, NUMBER, {});
    }
    return null;
  },
});

/**
 * Remove what nobody will read any more, a batch at a time: cache keys that have expired, notes on
 * removals that were given up. `crons.ts` has it done every hour.
 */
export const sweep = internalMutation({
  args: {},
  returns: v.null(),
  handler: async (ctx) => {
    await following(ctx, async (documents) => {
      const moreKeys = await removeExpired(documents);
      const moreScans = await forgetScans(documents);
      if (moreKeys || moreScans) await ctx.scheduler.runAfter(0, SWEEP, {});
    });
    return null;
  },
});

/**
 * Take over the rows that were there before these functions were deployed, or before a dimension
 * was added: `npx convex run memory/upkeep:adopt`, once. It goes on by itself until it is done;
 * what is deleted meanwhile may leave the counts too low, and running it again corrects them.
 */
export const adopt = internalMutation({
  args: { progress: v.optional(vProgress) },
  returns: v.null(),
  handler: async (ctx, args) => {
    await following(ctx, async (documents) => {
      let progress: Progress | undefined = args.progress;
      if (progress === undefined) {
        const more = await forgetCounts(documents);
        // Counts are forgotten in the transaction that says from when on rows count themselves.
        if (!more) progress = await beginAdoption(documents);
      } else {
        progress = await adoptRows(documents, progress);
        if (progress === undefined) return;
      }
      const rest = progress === undefined ? {} : { progress };
      await ctx.scheduler.runAfter(0, ADOPT, rest);
    });
    return null;
  },
});

/** Go on removing the messages of a thread that is gone. */
export const removeMessages = internalMutation({
  args: { threadId: v.string() },
  returns: v.null(),
  handler: async (ctx, { threadId }) => {
    await following(ctx, async (documents) => {
      await continueRemoval(documents, threadId);
    });
    return null;
  },
});

/**
 * Delete what has expired, or was deleted long enough ago, a batch at a time. It is scheduled for
 * when something expires; `crons.ts` has it done every hour too, and schedules the hour.
 */
export const forget = internalMutation({
  args: { hourly: v.optional(v.boolean()) },
  returns: v.null(),
  handler: async (ctx, { hourly }) => {
    await following(ctx, async (documents) => {
      if (await forgetSome(documents)) await ctx.scheduler.runAfter(0, FORGET, {});
      if (hourly === true) await scheduleExpiries(documents);
    });
    return null;
  },
});

const vKept = { threadId: v.string(), owner: v.string() };

/** Go on keeping the messages of a thread that is being restored. */
export const keepTrash = internalMutation({
  args: { ...vKept, after: v.number() },
  returns: v.null(),
  handler: async (ctx, { after, ...kept }) => {
    await following(ctx, async (documents) => {
      await keepForRestoring(documents, kept, after);
    });
    return null;
  },
});

/** Go on deleting what the trash holds of a thread. */
export const dropTrash = internalMutation({
  args: { ...vKept, withThread: v.boolean(), upto: v.number() },
  returns: v.null(),
  handler: async (ctx, which) => {
    await following(ctx, async (documents) => {
      await dropMessages(documents, which);
    });
    return null;
  },
});

/** Remove what followed messages that are gone: their search texts, their vectors. */
export const forgetMessages = internalMutation({
  args: { messages: v.array(v.object({ messageId: v.id("mastra_messages"), id: v.string() })) },
  returns: v.null(),
  handler: async (ctx, { messages }) => {
    await following(ctx, async (documents) => {
      await forgetDeleted(documents, messages);
    });
    return null;
  },
});

/** Go on putting the texts of an index into the queue of what is to be embedded. */
export const queueTexts = internalMutation({
  args: { indexName: v.string() },
  returns: v.null(),
  handler: async (ctx, { indexName }) => {
    await following(ctx, async (documents) => {
      await continueQueueing(documents, indexName);
    });
    return null;
  },
});

/** Go on removing the vectors of an index that is gone, or was emptied. */
export const removeVectors = internalMutation({
  args: { indexName: v.string() },
  returns: v.null(),
  handler: async (ctx, { indexName }) => {
    await following(ctx, async (documents) => {
      await continueVectorRemoval(documents, indexName);
    });
    return null;
  },
});
