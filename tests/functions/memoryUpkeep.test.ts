import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment } from "./deployment";
import { idsOf, message, say } from "./memoryDeployment";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
});
afterEach(() => {
  vi.useRealTimers();
});

test("rows that others wrote before are found and counted once they are adopted", async () => {
  const deployment = emptyDeployment();
  const vector = new Array<number>(256).fill(0.5);
  const createdAt = "2026-01-01T00:00:00.000Z";
  await deployment.run(async (ctx) => {
    const thread = { id: "t", resourceId: "ann", title: "", createdAt, updatedAt: createdAt };
    await ctx.db.insert("mastra_threads", thread);
    for (let n = 0; n < 700; n += 1) {
      await ctx.db.insert("mastra_messages", message(`m${n}`, n, { text: `old tea${n}` }));
    }
    await ctx.db.insert("mastra_vector_indexes", {
      id: "x",
      indexName: "x",
      dimension: 256,
      metric: "cosine",
      createdAt,
    });
    const metadata = { thread_id: "t" };
    await ctx.db.insert("mastra_vectors", { id: "v", indexName: "x", embedding: vector, metadata });
  });
  vi.advanceTimersByTime(1000);
  await say(deployment, [message("new", 900, { text: "new tea" })]);
  await deployment.mutation(internal.memory.upkeep.adopt, {});
  // Written while it goes on: whoever writes such a row counts it.
  vi.advanceTimersByTime(0);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  await say(deployment, [message("newer", 901)]);
  const stats = await deployment.query(internal.memory.meta.stats, {});
  expect(stats).toMatchObject({ threads: 1, messages: 702, vectors: 1 });
  expect((await deployment.query(internal.memory.threads.get, { threadId: "t" })).messages).toBe(
    702,
  );
  const answer = await deployment.query(internal.memory.search.messages, {
    query: "tea699",
    limit: 9,
  });
  expect(answer.hits[0]).toMatchObject({ message: { id: "m699" }, score: 1 });
  const found = await deployment.action(internal.memory.vectors.search, {
    indexName: "x",
    vector,
    limit: 3,
    filter: ["eq", "thread_id", "t"],
  });
  expect(idsOf(found.matches)).toEqual(["v"]);
  await deployment.mutation(internal.memory.upkeep.adopt, {});
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await deployment.query(internal.memory.meta.stats, {})).toMatchObject({
    messages: 702,
    vectors: 1,
  });
});
