import { defineTable } from "convex/server";
import { v } from "convex/values";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { type Deployment, emptyDeployment, refusalOf } from "./deployment";
import { message, say } from "./memoryDeployment";

vi.mock("../../convex/schema", async () => {
  const { defineSchema } = await import("convex/server");
  const { memoryTables, nativeVectors } = await import("../../convex/lib/tables");
  const embedding = v.array(v.float64());
  const vectorIndex = { vectorField: "embedding", dimensions: 3 } as const;
  return {
    default: defineSchema({
      ...memoryTables,
      memory_vectors_3: nativeVectors(3),
      articles: defineTable({ id: v.string(), slug: v.string(), embedding })
        .index("by_slug", ["slug"])
        .index("by_record_id", ["id"])
        .vectorIndex("by_embedding", vectorIndex),
      pictures: defineTable({ file: v.string(), embedding })
        .index("by_file", ["file"])
        .vectorIndex("by_embedding", vectorIndex),
      nameless: defineTable({ a: v.string(), b: v.string(), embedding })
        .index("by_both", ["a", "b"])
        .vectorIndex("by_embedding", vectorIndex),
      ordinary: defineTable({ id: v.string() }).index("by_record_id", ["id"]),
    }),
  };
});

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
});
afterEach(() => {
  vi.useRealTimers();
});

const { page, restore, tables } = internal.memory.transfer;
const createdAt = "2026-01-01T00:00:00.000Z";

/** Every row of a table. */
async function rowsOf(deployment: Deployment, table: string): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  let cursor: string | null = null;
  do {
    const answer: { rows: string[]; cursor: string | null } = await deployment.query(page, {
      table,
      cursor,
    });
    rows.push(...answer.rows.map((text) => JSON.parse(text) as Record<string, unknown>));
    ({ cursor } = answer);
  } while (cursor !== null);
  return rows;
}

/** Restore rows in as many calls as it takes; how many those were. */
async function restoreAll(
  deployment: Deployment,
  table: string,
  rows: readonly object[],
  onExisting = "keep",
): Promise<number> {
  let [done, calls] = [0, 0];
  while (done < rows.length) {
    const texts = rows.slice(done, done + 500).map((row) => JSON.stringify(row));
    const answer = await deployment.mutation(restore, { table, rows: texts, onExisting });
    expect(answer.done).toBeGreaterThan(0);
    done += answer.done;
    calls += 1;
  }
  return calls;
}

test("the app's vector tables move, if their rows have a key", async () => {
  const answer = await emptyDeployment().query(tables, {});
  const native = answer.tables.filter((each) => "native" in each);
  const fields = { dimension: 3, vectorField: "embedding" };
  expect(native).toEqual([
    { table: "articles", rows: null, native: { ...fields, idField: "id" } },
    { table: "pictures", rows: null, native: { ...fields, idField: "file" } },
  ]);
  expect(answer.leftOut.map(({ table }) => table)).toEqual(["nameless"]);
  expect(answer.leftOut[0]?.why).toContain("by_record_id");
  expect(answer.dimensions).toEqual([3, 256, 384, 512, 768, 1024, 1536, 2048, 3072]);
});

test("a table that the schema does not have is refused before any row is", async () => {
  const deployment = emptyDeployment();
  const native = { dimension: 3, idField: "id", vectorField: "embedding" };
  for (const table of ["books", "nameless", "ordinary", "memory_vectors_3", "memory_changes"]) {
    const call = deployment.mutation(restore, { table, rows: [], native, dryRun: true });
    expect(await refusalOf(call)).toMatchObject({ code: "not_found" });
  }
});

test("rows of the app's tables are held against the schema", async () => {
  const deployment = emptyDeployment();
  const embedding = [1, 0, 0];
  for (const [row, words] of [
    [{ id: "a", embedding }, "needs the field slug"],
    [{ id: "a", slug: 5, embedding }, "Field slug of articles must be string"],
    [{ id: "a", slug: "a", colour: "red", embedding }, "has no field colour"],
  ] as const) {
    const rows = [JSON.stringify(row)];
    const refusal = await refusalOf(deployment.mutation(restore, { table: "articles", rows }));
    expect(refusal).toMatchObject({ code: "invalid_argument", details: { position: 0 } });
    expect(refusal.message).toContain(words);
  }
});

test("a call stores what one transaction takes, and leaves the rest", async () => {
  const deployment = emptyDeployment();
  // Each in a thread of its own: so many look-ups are as many as there can be.
  const small = Array.from({ length: 500 }, (_, n) => message(`m${n}`, n, { thread_id: `t${n}` }));
  expect(await restoreAll(deployment, "mastra_messages", small)).toBe(1);
  const changed = small.map((row) => ({ ...row, role: "assistant" }));
  expect(await restoreAll(deployment, "mastra_messages", changed, "replace")).toBe(1);
  expect(await rowsOf(deployment, "mastra_messages")).toEqual(changed);

  const vectors = Array.from({ length: 250 }, (_, n) => ({
    id: `v${n}`,
    indexName: `i${n % 3}`,
    embedding: new Array<number>(3072).fill(n),
    metadata: { thread_id: "t" },
  }));
  const calls = await restoreAll(deployment, "mastra_vectors", vectors);
  expect(calls).toBeGreaterThan(1);
  const others = vectors.map((row) => ({ ...row, metadata: { n: 1 } }));
  await restoreAll(deployment, "mastra_vectors", others, "replace");
  expect(await rowsOf(deployment, "mastra_vectors")).toEqual(others);
  expect((await deployment.query(internal.memory.meta.stats, {})).vectors).toBe(250);
});

test("large lists that are in the way are removed some at a time", async () => {
  const deployment = emptyDeployment();
  const value = "x".repeat(5000);
  const list = { key: "l", keyPrefix: "", kind: "list", counter: 2500, expiresAt: null };
  await restoreAll(deployment, "mastra_cache", [list]);
  const items = Array.from({ length: 2500 }, (_, index) => ({
    key: "l",
    keyPrefix: "",
    index,
    value,
  }));
  await restoreAll(deployment, "mastra_cache_list_items", items);
  const rows = [JSON.stringify({ ...list, counter: 0 })];
  const outcomes: number[] = [];
  while (outcomes.at(-1) !== 1) {
    const call = { table: "mastra_cache", rows, onExisting: "replace" };
    const { done } = await deployment.mutation(restore, call);
    outcomes.push(done);
    expect(await rowsOf(deployment, "mastra_cache_list_items")).toEqual([]);
  }
  expect(outcomes.length).toBeGreaterThan(2);
  const left = await deployment.run(
    async (ctx) => await ctx.db.query("mastra_cache_list_items").take(1),
  );
  expect(left).toEqual([]);
});

test("messages that wait to be removed are passed over, however large they are", async () => {
  const deployment = emptyDeployment();
  const large = Array.from({ length: 40 }, (_, n) =>
    message(`m${n}`, n, { text: "x".repeat(900_000) }),
  );
  for (const each of large) await say(deployment, [each]);
  await deployment.mutation(internal.memory.threads.remove, { threadId: "t" });
  const waiting = await deployment.run(
    async (ctx) => await ctx.db.query("memory_removals").take(9),
  );
  expect(waiting).toHaveLength(1);
  const kept = message("kept", 1, { thread_id: "other" });
  await restoreAll(deployment, "mastra_messages", [kept]);
  expect(await rowsOf(deployment, "mastra_messages")).toEqual([kept]);
  // The id of a message that is going is free.
  const again = message("m39", 1, { thread_id: "other" });
  await restoreAll(deployment, "mastra_messages", [again]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await rowsOf(deployment, "mastra_messages")).toEqual([kept, again]);
});

test("vectors of an index that was emptied are passed over, and their ids are free", async () => {
  const deployment = emptyDeployment();
  const indexName = "i";
  const index = { id: "i", indexName, metric: "cosine", dimension: 3, createdAt };
  await restoreAll(deployment, "mastra_vector_indexes", [index]);
  const vectors = Array.from({ length: 1700 }, (_, n) => ({
    id: `v${n}`,
    indexName,
    embedding: [n, 1, 0],
  }));
  await restoreAll(deployment, "mastra_vectors", vectors);
  await deployment.mutation(internal.memory.vectors.deleteIndex, { indexName, keepIndex: true });
  const left = await deployment.run(async (ctx) => await ctx.db.query("mastra_vectors").take(9));
  expect(left.length).toBeGreaterThan(0);
  expect(await rowsOf(deployment, "mastra_vectors")).toEqual([]);
  const again = [{ id: "v1699", indexName, embedding: [0, 0, 1] }];
  await restoreAll(deployment, "mastra_vectors", again);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await rowsOf(deployment, "mastra_vectors")).toEqual(again);
  const found = await deployment.action(internal.memory.vectors.search, {
    indexName,
    vector: [0, 0, 1],
    limit: 9,
  });
  expect(found.matches.map(({ id }) => id)).toEqual(["v1699"]);
});
