// Texts that wait for their vectors: what only TypeScript can see of them.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { type Deployment, emptyDeployment, refusalOf, storage } from "./deployment";
import { message, messages, say } from "./memoryDeployment";

const NOW = Date.UTC(2026, 0, 1);
const { embeddings, messages: functions, search, vectors } = internal.memory;
const E1 = { embedder: "e1", dimension: 256 };

let deployment: Deployment;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  deployment = emptyDeployment();
});
afterEach(() => {
  vi.useRealTimers();
});

async function claim(limit = 256) {
  return (await deployment.mutation(embeddings.claim, { embedder: "e1", limit, leaseMs: 1000 }))
    .items;
}

/** A vector that points in one of 256 directions. */
function pointing(direction: number): number[] {
  return Array.from({ length: 256 }, (_, at) => (at === direction ? 1 : 0));
}

async function embed(direction = 0): Promise<number> {
  let stored = 0;
  for (let items = await claim(100); items.length > 0; items = await claim(100)) {
    const made = items.map(({ ticket }) => ({ ticket, vector: pointing(direction) }));
    stored += (await deployment.mutation(embeddings.store, { embedder: "e1", items: made })).stored;
  }
  return stored;
}

async function rows() {
  return await deployment.run(async (ctx) => ({
    texts: (await ctx.db.query("memory_message_texts").take(9000)).length,
    waiting: (await ctx.db.query("memory_embedding_queue").take(9000)).length,
    vectors: (await ctx.db.query("mastra_vectors").take(9000)).length,
    native: (await ctx.db.query("memory_vectors_256").take(9000)).length,
    kept: (await ctx.db.query("memory_kept_texts").take(9000)).length,
  }));
}

test("what is there before the first embedder is put into the queue by itself", async () => {
  await say(deployment, messages(900));
  const begun = await deployment.mutation(embeddings.begin, E1);
  expect(begun).toMatchObject({ indexName: "memory_messages_256", pending: 400, changed: true });
  // Written while it goes on: it waits once.
  vi.setSystemTime(NOW + 5000);
  await say(deployment, [message("new", 901), message("newer", 902)]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await deployment.query(embeddings.status, { embedder: "e1" })).toMatchObject({
    pending: 902,
    waiting: 902,
  });
  // The newest first, whenever they were put there.
  vi.setSystemTime(NOW + 10_000);
  const items = await claim(4);
  expect(items.map(({ text }) => text)).toEqual([
    "says newer",
    "says new",
    "says m899",
    "says m898",
  ]);
  expect(await deployment.run((ctx) => ctx.db.query("memory_queueings").first())).toBeNull();
});

test("two workers never get the same text", async () => {
  await deployment.mutation(embeddings.begin, E1);
  await say(deployment, messages(50));
  const [one, two] = await Promise.all([claim(30), claim(30)]);
  const tickets = [...one, ...two].map(({ ticket }) => ticket);
  expect(new Set(tickets).size).toBe(50);
  expect(tickets.every(Number.isSafeInteger)).toBe(true);
});

test("whoever writes a message has it embedded, and drops what it said before", async () => {
  await deployment.mutation(embeddings.begin, E1);
  await storage(deployment, "insert", "mastra_messages", { record: message("a", 0) });
  expect(await embed()).toBe(1);
  expect(await rows()).toMatchObject({ waiting: 0, vectors: 1, native: 1 });
  const { content } = message("a", 0, { text: "otherwise" });
  await storage(deployment, "patch", "mastra_messages", { id: "a", record: { content } });
  expect(await rows()).toMatchObject({ waiting: 1, vectors: 0, native: 0 });
  expect(await embed()).toBe(1);
  await storage(deployment, "patch", "mastra_messages", { id: "a", record: { type: "v3" } });
  expect(await rows()).toMatchObject({ waiting: 0, vectors: 1 });
  await storage(deployment, "deleteMany", "mastra_messages", { ids: ["a"] });
  expect(await rows()).toMatchObject({ texts: 0, waiting: 0, vectors: 0, native: 0 });
});

test("more than one transaction removes follows soon, and never what was stored anew", async () => {
  await deployment.mutation(embeddings.begin, E1);
  const thread = { id: "t", resourceId: "ann" };
  await say(deployment, messages(700));
  expect(await embed()).toBe(700);
  const removed = await deployment.mutation(internal.memory.threads.remove, { threadId: "t" });
  expect(removed).toEqual({ found: true, removedMessages: 700, hasMore: false });
  const left = await rows();
  expect(left.vectors).toBeGreaterThan(0);
  await deployment.mutation(functions.save, { messages: [message("m699", 1)], thread });
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await rows()).toEqual({ texts: 1, waiting: 1, vectors: 0, native: 0, kept: 0 });
  expect(await embed()).toBe(1);
  const status = await deployment.query(vectors.describe, { indexName: "memory_messages_256" });
  expect(status).toMatchObject({ count: 1, pending: 0, embedder: "e1" });
});

test("vectors of an earlier embedder are not compared, the dimension being the same", async () => {
  await deployment.mutation(embeddings.begin, E1);
  await say(deployment, messages(3));
  await embed(1);
  await deployment.mutation(embeddings.begin, { ...E1, embedder: "e2", switch: true });
  const ask = { vector: pointing(1), limit: 9 };
  const find = async () =>
    (await deployment.action(search.semantic, { ...ask, embedder: "e2", ids: ["m0"] })).scores;
  expect(await find()).toEqual([]);
  const indexName = "memory_messages_256";
  expect((await deployment.action(vectors.search, { ...ask, indexName })).matches).toEqual([]);
  const [item] = (
    await deployment.mutation(embeddings.claim, { embedder: "e2", limit: 9, leaseMs: 1000 })
  ).items;
  const items = [{ ticket: item?.ticket ?? 0, vector: pointing(1) }];
  await deployment.mutation(embeddings.store, { embedder: "e2", items });
  const { matches, pending } = await deployment.action(vectors.search, { ...ask, indexName });
  expect([matches.map(({ score }) => score), pending]).toEqual([[1], 2]);
});

test("an index that is deleted takes its texts with it, and none stored after", async () => {
  const indexName = "docs";
  await deployment.mutation(vectors.createIndex, { indexName, dimension: 256 });
  const upsert = async (from: number, count: number) => {
    const items = Array.from({ length: count }, (_, n) => ({
      id: `v${from + n}`,
      vector: pointing(0),
      text: `text ${from + n}`,
    }));
    await deployment.mutation(vectors.upsert, { indexName, embedder: "e1", items });
  };
  for (let n = 0; n < 1200; n += 100) await upsert(n, 100);
  await deployment.mutation(embeddings.reembed, { indexName, ...E1 });
  await deployment.mutation(vectors.deleteIndex, { indexName, keepIndex: true });
  expect(await deployment.query(vectors.describe, { indexName })).toMatchObject({
    count: 0,
    embedder: null,
    pending: 0,
  });
  await upsert(5, 1);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await rows()).toMatchObject({ waiting: 0, vectors: 1, native: 1, kept: 1 });
  await deployment.mutation(embeddings.reembed, { indexName, ...E1 });
  expect(await claim()).toMatchObject([{ text: "text 5" }]);
});

test("a dimension without a table is refused before anything is bound", async () => {
  const refused = await refusalOf(
    deployment.mutation(embeddings.begin, { embedder: "e1", dimension: 100 }),
  );
  expect(refused).toMatchObject({ code: "invalid_argument", details: { dimension: 100 } });
  expect(await deployment.query(embeddings.status, {})).toMatchObject({ embedder: null });
});

test("what the nearest vectors leave out of sight makes room for others", async () => {
  await deployment.mutation(embeddings.begin, E1);
  await say(deployment, messages(3));
  await embed(1);
  for (let n = 0; n < 300; n += 100) {
    const records = Array.from({ length: 100 }, (_, at) => ({
      id: `foreign${n + at}`,
      embedding: pointing(0),
    }));
    const table = "mastra_vector_memory_messages_256";
    await storage(deployment, "batchInsert", table, { records });
  }
  const { hits, exhausted } = await deployment.action(search.semantic, {
    embedder: "e1",
    vector: pointing(0),
    limit: 9,
  });
  expect(hits.map(({ id }) => id).sort()).toEqual(["m0", "m1", "m2"]);
  expect(exhausted).toBe(true);
});
