import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, refusalOf, storage, type Deployment } from "./deployment";
import { idsOf, message, say } from "./memoryDeployment";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A thread whose messages are too large to be removed in one transaction. */
async function largeThread(deployment: Deployment, count = 80): Promise<void> {
  const text = "x ".repeat(50_000);
  await say(
    deployment,
    Array.from({ length: count }, (_, n) => message(`m${n}`, n, { text })),
  );
}

test("a large thread is gone at once, and its messages by themselves", async () => {
  const deployment = emptyDeployment();
  await largeThread(deployment);
  const removed = await deployment.mutation(internal.memory.threads.remove, { threadId: "t" });
  expect(removed).toEqual({ found: true, removedMessages: 80, hasMore: true });
  const { messages } = await deployment.query(internal.memory.messages.get, { ids: ["m0", "m79"] });
  expect(messages).toEqual([]);
  const found = await deployment.query(internal.memory.search.messages, { query: "x", limit: 9 });
  expect(found.hits).toEqual([]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  const stats = await deployment.query(internal.memory.meta.stats, {});
  expect([stats.threads, stats.messages]).toEqual([0, 0]);
  const left = await storage(deployment, "queryTable", "mastra_messages");
  expect(left.result).toEqual([]);
  const again = await deployment.mutation(internal.memory.threads.remove, { threadId: "t" });
  expect(again).toEqual({ found: false, removedMessages: 0, hasMore: false });
});

test("a caller who repeats a removal is told when it is complete", async () => {
  const deployment = emptyDeployment();
  await largeThread(deployment);
  const answers: { found: boolean; removedMessages: number }[] = [];
  let hasMore = true;
  while (hasMore) {
    const { hasMore: more, ...answer } = await deployment.mutation(internal.memory.threads.remove, {
      threadId: "t",
      resourceId: "ann",
    });
    answers.push(answer);
    hasMore = more;
  }
  expect(answers.length).toBeGreaterThan(1);
  expect(answers[0]).toEqual({ found: true, removedMessages: 80 });
  expect(answers.slice(1).every(({ removedMessages }) => removedMessages === 0)).toBe(true);
  const left = await storage(deployment, "queryTable", "mastra_messages");
  expect(left.result).toEqual([]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
});

test("what is said in a thread begun anew survives the removal of the old one", async () => {
  const deployment = emptyDeployment();
  await largeThread(deployment);
  await deployment.mutation(internal.memory.threads.remove, { threadId: "t" });
  // m79 still waits to be removed; said again, it is a message of the new thread.
  await say(deployment, [message("new", 100), message("m79", 101, { text: "again" })]);
  await storage(deployment, "insert", "mastra_messages", {
    record: message("m78", 102, { text: "by wire" }),
  });
  const read = async () => {
    const page = await deployment.query(internal.memory.messages.page, {
      threadId: "t",
      limit: 200,
    });
    return idsOf(page.messages);
  };
  expect(await read()).toEqual(["m78", "m79", "new"]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await read()).toEqual(["m78", "m79", "new"]);
  expect((await deployment.query(internal.memory.threads.get, { threadId: "t" })).messages).toBe(3);
});

test("somebody else does not learn that a thread is being removed", async () => {
  const deployment = emptyDeployment();
  await largeThread(deployment);
  await deployment.mutation(internal.memory.threads.remove, { threadId: "t", resourceId: "ann" });
  const other = await deployment.mutation(internal.memory.threads.remove, {
    threadId: "t",
    resourceId: "bob",
  });
  expect(other).toEqual({ found: false, removedMessages: 0, hasMore: false });
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
});

test("a clone of more messages than one transaction copies is refused", async () => {
  const deployment = emptyDeployment();
  await largeThread(deployment, 170);
  const refused = await refusalOf(
    deployment.mutation(internal.memory.threads.clone, { threadId: "t", newThreadId: "u" }),
  );
  expect(refused.code).toBe("limit_exceeded");
  expect(
    (await deployment.query(internal.memory.threads.get, { threadId: "u" })).thread,
  ).toBeNull();
  const { thread, messageIds } = await deployment.mutation(internal.memory.threads.clone, {
    threadId: "t",
    newThreadId: "u",
    messageLimit: 3,
  });
  expect(messageIds.map(([old]) => old)).toEqual(["m167", "m168", "m169"]);
  expect(thread.metadata).toMatchObject({ clone: { lastMessageId: "m169" } });
});

test("counts follow whoever writes, also over the wire", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [message("a", 0), message("b", 1)]);
  await storage(deployment, "batchInsert", "mastra_messages", {
    records: [message("b", 2), message("c", 3), message("d", 4, { resourceId: "bob" })],
  });
  await storage(deployment, "patch", "mastra_messages", { id: "c", record: { thread_id: "u" } });
  await deployment.mutation(internal.mastra.cache.handle, {
    op: "set",
    key: "k",
    keyPrefix: "p",
    value: 1,
    expiresAt: null,
  });
  const { messages } = await deployment.query(internal.memory.threads.get, { threadId: "t" });
  expect(messages).toBe(3);
  const all = await deployment.query(internal.memory.meta.stats, {});
  expect(all).toMatchObject({ threads: 1, messages: 4, cacheKeys: 1, vectors: 0 });
  const bob = await deployment.query(internal.memory.meta.stats, { resourceId: "bob" });
  expect(bob).toMatchObject({ threads: 0, messages: 1, vectors: null });
  await storage(deployment, "deleteMany", "mastra_messages", { ids: ["a", "d", "nobody"] });
  expect((await deployment.query(internal.memory.meta.stats, {})).messages).toBe(2);
});
