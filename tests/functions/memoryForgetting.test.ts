// What is kept for a while before it is gone: what only TypeScript can see of it.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { type Deployment, emptyDeployment, storage } from "./deployment";
import { idsOf, message, messages, say } from "./memoryDeployment";

const NOW = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const { forgetting, messages: functions, meta, search, threads, upkeep } = internal.memory;

let deployment: Deployment;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  deployment = emptyDeployment();
});
afterEach(() => {
  vi.useRealTimers();
});

async function stored() {
  return await deployment.run(async (ctx) => ({
    messages: (await ctx.db.query("mastra_messages").take(9000)).length,
    texts: (await ctx.db.query("memory_message_texts").take(9000)).length,
    trash: (await ctx.db.query("memory_trash").take(9000)).length,
    parts: (await ctx.db.query("memory_trash_parts").take(9000)).length,
    notes: (await ctx.db.query("memory_notes").take(9000)).length,
  }));
}

async function pageOf(threadId = "t"): Promise<string[]> {
  const page = { threadId, limit: 200, order: "oldest" };
  return idsOf((await deployment.query(functions.page, page)).messages);
}

async function found(query: string): Promise<string[]> {
  const ask = { query, limit: 20, idsOnly: true };
  return idsOf((await deployment.query(search.messages, ask)).hits as { id: string }[]);
}

async function save(id: string, rest: Record<string, unknown> = {}): Promise<void> {
  const thread = { id: "t", resourceId: "ann" };
  await deployment.mutation(functions.save, { messages: [message(id, 0)], thread, ...rest });
}

test("what expires is deleted on time, and hidden where that is late", async () => {
  await save("a", { expiries: [["a", NOW + 5000]] });
  await save("b", { expiries: [["b", NOW + 2 * HOUR]] });
  // The clock has moved on, and nothing has run yet.
  vi.setSystemTime(NOW + 5000);
  expect(await pageOf()).toEqual(["b"]);
  expect(await found("says")).toEqual(["b"]);
  expect((await deployment.query(threads.get, { threadId: "t" })).messages).toBe(1);
  expect(await stored()).toMatchObject({ messages: 2, notes: 2 });
  vi.setSystemTime(NOW);
  vi.advanceTimersByTime(5000);
  await deployment.finishInProgressScheduledFunctions();
  expect(await stored()).toMatchObject({ messages: 1, texts: 1, notes: 1 });
  // Later than within the hour is for the cron, which schedules the hour that comes.
  vi.setSystemTime(NOW + 1.5 * HOUR);
  await deployment.mutation(upkeep.forget, { hourly: true });
  expect(await stored()).toMatchObject({ messages: 1 });
  vi.advanceTimersByTime(0.5 * HOUR);
  await deployment.finishInProgressScheduledFunctions();
  expect(await stored()).toMatchObject({ messages: 0, texts: 0, notes: 0 });
});

test("any mutation, Mastra's requests among them, finds nothing that has expired", async () => {
  await save("a", { expiries: [["a", NOW + 5000]] });
  vi.setSystemTime(NOW + 5000);
  expect((await storage(deployment, "queryTable", "mastra_messages")).result).toEqual([]);
  expect(await stored()).toMatchObject({ messages: 0, notes: 0 });
});

test("a thread that has expired can be begun anew at that very time", async () => {
  const thread = { id: "t", resourceId: "ann", expiresAt: NOW + 5000 };
  await deployment.mutation(functions.save, { messages: messages(5), thread });
  vi.setSystemTime(NOW + 5000);
  expect((await deployment.query(threads.list, { limit: 9 })).threads).toEqual([]);
  const other = { id: "t", resourceId: "bob" };
  const again = { ...message("m0", 0), resourceId: "bob" };
  const { threadCreated } = await deployment.mutation(functions.save, {
    messages: [again],
    thread: other,
  });
  expect([threadCreated, await pageOf()]).toEqual([true, ["m0"]]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await stored()).toMatchObject({ messages: 1, texts: 1, notes: 0 });
});

test("a message of any size can be kept, and comes back whole", async () => {
  const large = message("large", 0, { text: "\u0001🙂é".repeat(30_000) });
  await deployment.mutation(functions.save, { messages: [large] });
  await save("other");
  const ids = { ids: ["large"] };
  await deployment.mutation(functions.remove, { ...ids, purgeAt: NOW + HOUR });
  expect(await stored()).toMatchObject({ messages: 1, texts: 1, trash: 1, parts: 1 });
  await deployment.mutation(functions.restore, ids);
  expect(await stored()).toMatchObject({ messages: 2, texts: 2, trash: 0, parts: 0 });
  const [back] = (await deployment.query(functions.get, ids)).messages;
  expect(back).toMatchObject(large);
  await deployment.mutation(functions.remove, { ...ids, purgeAt: NOW + HOUR });
  vi.setSystemTime(NOW + HOUR);
  expect(await deployment.mutation(forgetting.sweep, {})).toEqual({ hasMore: true });
  expect(await deployment.mutation(forgetting.sweep, {})).toEqual({ hasMore: false });
  expect(await stored()).toMatchObject({ trash: 0, parts: 0 });
});

test("a large thread goes and comes back in batches, and nothing of it is lost", async () => {
  await say(deployment, messages(1300));
  const t = { threadId: "t" };
  const removed = await deployment.mutation(threads.remove, { ...t, purgeAt: NOW + HOUR });
  expect(removed).toEqual({ found: true, removedMessages: 1300, hasMore: true });
  expect((await storage(deployment, "queryTable", "mastra_messages")).result).toEqual([]);
  // What has not gone yet never goes; what has comes back a batch at a time.
  const first = await deployment.mutation(threads.restore, t);
  expect(first).toMatchObject({ found: true, restoredMessages: 400, hasMore: true });
  // It is kept until that can be finished.
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  vi.setSystemTime(NOW + HOUR);
  await deployment.mutation(forgetting.sweep, {});
  const second = await deployment.mutation(threads.restore, t);
  expect(second).toMatchObject({ restoredMessages: 400, hasMore: false });
  expect((await deployment.query(threads.get, t)).messages).toBe(1300);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await stored()).toMatchObject({ messages: 1300, texts: 1300, trash: 0 });
  expect(await deployment.query(meta.stats, {})).toMatchObject({ threads: 1, messages: 1300 });
});

test("a removal that is given up is finished, and purged when its time is over", async () => {
  await say(deployment, messages(1000));
  await deployment.mutation(threads.remove, { threadId: "t", purgeAt: NOW + HOUR });
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await stored()).toMatchObject({ messages: 0, texts: 0, trash: 1001 });
  vi.setSystemTime(NOW + HOUR);
  await deployment.mutation(upkeep.forget, { hourly: true });
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await stored()).toMatchObject({ trash: 0 });
});

test("deleted for good after all, nothing of a thread is kept", async () => {
  await say(deployment, messages(1500));
  await deployment.mutation(threads.remove, { threadId: "t", purgeAt: NOW + HOUR });
  const again = await deployment.mutation(threads.remove, { threadId: "t" });
  expect(again).toMatchObject({ found: true, removedMessages: 0 });
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await stored()).toMatchObject({ messages: 0, texts: 0, trash: 0 });
  expect(await deployment.mutation(threads.restore, { threadId: "t" })).toMatchObject({
    found: false,
  });
});

test("threads of one id are kept apart while their messages still go", async () => {
  await say(deployment, messages(1000));
  await deployment.mutation(threads.remove, { threadId: "t", purgeAt: NOW + HOUR });
  const thread = { id: "t", resourceId: "bob" };
  const said = [{ ...message("m5", 0), resourceId: "bob" }];
  await deployment.mutation(functions.save, { messages: said, thread });
  await deployment.mutation(threads.remove, { threadId: "t", purgeAt: NOW + HOUR });
  expect(await deployment.mutation(threads.restore, { threadId: "t", resourceId: "bob" }))
    .toMatchObject({ found: true, hasMore: false });
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await pageOf()).toEqual(["m5"]);
  await deployment.mutation(threads.remove, { threadId: "t", resourceId: "bob" });
  let restored = 0;
  let hasMore = true;
  while (hasMore) {
    const answer = await deployment.mutation(threads.restore, {
      threadId: "t",
      resourceId: "ann",
    });
    restored += answer.restoredMessages;
    ({ hasMore } = answer);
  }
  expect(restored).toBe(1000);
});

test("a message that another supersedes has no search text until that one goes", async () => {
  await save("old");
  await save("new", { supersedes: [["new", "old"]] });
  expect(await found("says old")).toEqual(["new"]);
  expect(await stored()).toMatchObject({ messages: 2, texts: 1, notes: 1 });
  await storage(deployment, "deleteMany", "mastra_messages", { ids: ["new"] });
  expect(await found("says old")).toEqual(["old"]);
  expect(await stored()).toMatchObject({ messages: 1, texts: 1, notes: 0 });
});

test("emptying Mastra's tables empties what is kept of them", async () => {
  await save("a");
  await save("b");
  await deployment.mutation(functions.remove, { ids: ["b"], purgeAt: NOW + HOUR });
  await deployment.mutation(threads.remove, { threadId: "t", purgeAt: NOW + HOUR });
  await storage(deployment, "clearTable", "mastra_messages");
  await storage(deployment, "clearTable", "mastra_threads");
  expect(await stored()).toMatchObject({ messages: 0, trash: 0 });
});
