// What a deployment removes by itself: expired cache keys, and notes on removals given up.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import crons from "../../convex/crons";
import { emptyDeployment, type Answer, type Deployment } from "./deployment";

const NOW = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;

let deployment: Deployment;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  deployment = emptyDeployment();
});
afterEach(() => {
  vi.useRealTimers();
});

async function cache(op: string, rest: Record<string, unknown> = {}): Promise<Answer> {
  const request = { op, keyPrefix: "p:", expiresAt: null, ...rest };
  return await deployment.mutation(internal.mastra.cache.handle, request);
}

async function list(key: string, count: number, value: string, expiresAt: number | null) {
  for (let n = 0; n < count; n += 1) await cache("listPush", { key, value, expiresAt });
}

async function stored() {
  return await deployment.run(async (ctx) => ({
    keys: (await ctx.db.query("mastra_cache").take(9000)).map(({ key }) => key),
    items: (await ctx.db.query("mastra_cache_list_items").take(9000)).length,
  }));
}

async function sweep(): Promise<void> {
  await deployment.mutation(internal.memory.upkeep.sweep, {});
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
}

test("it is done every hour", () => {
  expect(crons.crons).toEqual({
    "memory upkeep": {
      name: "memory/upkeep:sweep",
      args: [{}],
      schedule: { type: "interval", hours: 1 },
    },
    "memory forgetting": {
      name: "memory/upkeep:forget",
      args: [{ hourly: true }],
      schedule: { type: "interval", hours: 1 },
    },
  });
});

test("expired keys go with their items, the others stay", async () => {
  await cache("set", { key: "p:for ever", value: 1 });
  await cache("set", { key: "p:later", value: 1, expiresAt: NOW + HOUR });
  await cache("set", { key: "p:now", value: 1, expiresAt: NOW });
  await cache("increment", { key: "p:counter", expiresAt: NOW - 1 });
  await list("p:old list", 60, "x", NOW + 1000);
  await list("p:list", 3, "x", null);
  vi.setSystemTime(NOW + 1000);
  await sweep();
  expect(await stored()).toEqual({ keys: ["p:for ever", "p:later", "p:list"], items: 3 });
  const { cacheKeys } = await deployment.query(internal.memory.meta.stats, {});
  expect(cacheKeys).toBe(3);
  expect((await cache("get", { key: "p:later" })).result).toBe(1);
});

test("more than one transaction removes is removed in several", async () => {
  await deployment.run(async (ctx) => {
    const row = { keyPrefix: "p:", kind: "list" as const, counter: 1300, expiresAt: NOW };
    await ctx.db.insert("mastra_cache", { ...row, key: "long" });
    for (let index = 0; index < 1300; index += 1) {
      const item = { key: "long", keyPrefix: "p:", index, value: "0" };
      await ctx.db.insert("mastra_cache_list_items", item);
    }
    for (let n = 0; n < 1200; n += 1) {
      const value = { key: `k${n}`, keyPrefix: "p:", kind: "value" as const, value: "0" };
      await ctx.db.insert("mastra_cache", { ...value, expiresAt: NOW });
    }
  });
  await deployment.mutation(internal.memory.upkeep.sweep, {});
  const { items } = await stored();
  expect(items).toBe(800);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await stored()).toEqual({ keys: [], items: 0 });
});

test("a deletion that its caller gave up is finished", async () => {
  await list("p:list", 60, "x", null);
  expect(await cache("delete", { key: "p:list" })).toEqual({ ok: true, hasMore: true });
  expect(await stored()).toEqual({ keys: ["p:list"], items: 35 });
  await sweep();
  expect(await stored()).toEqual({ keys: [], items: 0 });
});

test("items that are too large to be read at once are removed all the same", async () => {
  const large = "x".repeat(900_000);
  const until = async (op: string) => {
    let answer = await cache(op, { key: "p:list" });
    while (answer.hasMore) answer = await cache(op, { key: "p:list" });
    expect(answer).toMatchObject({ ok: true });
  };
  for (const removed of [sweep, () => until("delete"), () => until("clear"), () => until("get")]) {
    await list("p:list", 20, large, NOW + 1000);
    vi.setSystemTime(NOW + 1000);
    await removed();
    expect(await stored()).toEqual({ keys: [], items: 0 });
    vi.setSystemTime(NOW);
  }
});

test("how far a removal by filter has come is forgotten when nobody goes on", async () => {
  await deployment.run(async (ctx) => {
    for (const [indexName, calledAt] of [
      ["old", NOW - 61_000],
      ["recent", NOW - 59_000],
    ] as const) {
      await ctx.db.insert("memory_vector_scans", { indexName, filter: "[]", after: 0, calledAt });
    }
  });
  await sweep();
  const left = await deployment.run((ctx) => ctx.db.query("memory_vector_scans").take(9));
  expect(left.map(({ indexName }) => indexName)).toEqual(["recent"]);
});
