// The storage function where only Convex is as it is: transactions, limits, derived rows.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, message, refusalOf, storage, type Deployment } from "./deployment";

let deployment: Deployment;

beforeEach(() => {
  vi.useFakeTimers();
  deployment = emptyDeployment();
});

afterEach(() => {
  vi.useRealTimers();
});

async function textsOf(): Promise<string[]> {
  const rows = await deployment.run((ctx) => ctx.db.query("memory_message_texts").take(5000));
  return rows.map(({ text }) => text);
}

describe("a refused call leaves nothing", () => {
  const odd = { id: "b", embedding: "none" };

  test("where refusals are answers", async () => {
    const records = [{ id: "a", embedding: [1, 2] }, odd];
    const answer = await storage(deployment, "batchInsert", "mastra_vector_x", { records });
    expect(answer).toEqual({
      ok: false,
      error: "Field embedding of mastra_vectors must be array of number, not string.",
    });
    const { result } = await storage(deployment, "queryTable", "mastra_vector_x");
    expect(result).toEqual([]);
  });

  test("where refusals fail the call", async () => {
    const records = [message("a", "one"), { ...message("b", "two"), role: 3 }];
    const call = storage(deployment, "batchInsert", "mastra_messages", { records });
    expect(await refusalOf(call)).toEqual({
      code: "invalid_argument",
      message: "Field role of mastra_messages must be string, not number.",
    });
    const { result } = await storage(deployment, "queryTable", "mastra_messages");
    expect(result).toEqual([]);
    expect(await textsOf()).toEqual([]);
  });
});

describe("what one transaction cannot hold is refused with a code", () => {
  async function storeLarge(count: number): Promise<void> {
    for (let at = 0; at < count; at += 1) {
      const record = message(`m${at}`, "x".repeat(900_000));
      await storage(deployment, "insert", "mastra_messages", { record });
    }
  }

  test("rows of more bytes than it may read", async () => {
    await storeLarge(18);
    const filters = [{ field: "thread_id", value: "thread" }];
    const call = storage(deployment, "queryTable", "mastra_messages", { filters });
    expect((await refusalOf(call)).code).toBe("limit_exceeded");
    const few = await storage(deployment, "queryTable", "mastra_messages", { filters, limit: 5 });
    expect(few.result).toHaveLength(5);
  });

  test("more ids than it may look up", async () => {
    const ids = Array.from({ length: 4100 }, (_, at) => `m${at}`);
    const call = storage(deployment, "deleteMany", "mastra_messages", { ids });
    expect((await refusalOf(call)).code).toBe("limit_exceeded");
  });

  test("a row larger than a document", async () => {
    const record = message("m", "x".repeat(1 << 20));
    const refusal = await refusalOf(storage(deployment, "insert", "mastra_messages", { record }));
    expect(refusal.code).toBe("limit_exceeded");
    expect(refusal.message).toContain("1,048,576 (1 MiB)");
  });

  test("a value deeper than a document", async () => {
    let metadata: object = {};
    for (let level = 0; level < 16; level += 1) metadata = { metadata };
    const record = { id: "r", createdAt: "", updatedAt: "", metadata };
    const refusal = await refusalOf(storage(deployment, "insert", "mastra_resources", { record }));
    expect(refusal.message).toContain("nested too deeply");
  });
});

describe("a page of vectors", () => {
  async function store(count: number, dimension: number): Promise<void> {
    const embedding = Array.from({ length: dimension }, (_, at) => at);
    for (let at = 0; at < count; at += 50) {
      const ids = Array.from({ length: Math.min(50, count - at) }, (_, more) => at + more);
      const records = ids.map((id) => ({ id: `v${id}`, embedding }));
      await storage(deployment, "batchInsert", "mastra_vector_x", { records });
    }
  }

  test("ends before one call has read too much", async () => {
    await store(400, 4096);
    const seen: unknown[] = [];
    let pages = 0;
    let cursor: string | undefined;
    for (;;) {
      const page = { pageSize: 400, ...(cursor === undefined ? {} : { cursor }) };
      const answer = await storage(deployment, "queryTable", "mastra_vector_x", page);
      seen.push(...(answer.result as { id: string }[]).map(({ id }) => id));
      pages += 1;
      if (!answer.hasMore) break;
      cursor = answer.continuationCursor;
    }
    expect(pages).toBeGreaterThan(1);
    expect(seen).toEqual(Array.from({ length: 400 }, (_, at) => `v${at}`));
  });

  test("goes on after its last row was deleted", async () => {
    await store(4, 2);
    const first = await storage(deployment, "queryTable", "mastra_vector_x", { pageSize: 2 });
    await storage(deployment, "deleteMany", "mastra_vector_x", { ids: ["v1"] });
    const page = { pageSize: 2, cursor: first.continuationCursor };
    const next = await storage(deployment, "queryTable", "mastra_vector_x", page);
    expect((next.result as { id: string }[]).map(({ id }) => id)).toEqual(["v2", "v3"]);
    expect(next.hasMore).toBe(false);
  });
});

describe("the search text of a message", () => {
  test("follows what is written", async () => {
    await storage(deployment, "insert", "mastra_messages", { record: message("m", "tea") });
    expect(await textsOf()).toEqual(["tea"]);
    const { content } = message("m", "rye");
    await storage(deployment, "patch", "mastra_messages", { id: "m", record: { content } });
    expect(await textsOf()).toEqual(["rye"]);
    await storage(deployment, "patch", "mastra_messages", { id: "m", record: { content: "{}" } });
    expect(await textsOf()).toEqual([]);
    await storage(deployment, "insert", "mastra_messages", { record: message("m", "oak") });
    await storage(deployment, "deleteMany", "mastra_messages", { ids: ["m"] });
    expect(await textsOf()).toEqual([]);
  });

  test("does not show in the message", async () => {
    await storage(deployment, "insert", "mastra_messages", { record: message("m", "tea") });
    const { result } = await storage(deployment, "load", "mastra_messages", { keys: { id: "m" } });
    const { _id, _creationTime, ...row } = result as Record<string, unknown>;
    expect(row).toEqual(message("m", "tea"));
  });

  test("goes soon after a message that was one of very many", async () => {
    const ids = Array.from({ length: 1200 }, (_, at) => `m${at}`);
    for (let at = 0; at < ids.length; at += 400) {
      const records = ids.slice(at, at + 400).map((id) => message(id, id));
      await storage(deployment, "batchInsert", "mastra_messages", { records });
    }
    expect(await textsOf()).toHaveLength(1200);
    await storage(deployment, "deleteMany", "mastra_messages", { ids });
    const { result } = await storage(deployment, "queryTable", "mastra_messages");
    expect(result).toEqual([]);
    await deployment.finishAllScheduledFunctions(vi.runAllTimers);
    expect(await textsOf()).toEqual([]);
  });
});

test("changes of the rows that are followed are noted in commit order", async () => {
  await storage(deployment, "insert", "mastra_messages", { record: message("m", "tea") });
  const moved = { thread_id: "elsewhere" };
  await storage(deployment, "patch", "mastra_messages", { id: "m", record: moved });
  await storage(deployment, "deleteMany", "mastra_messages", { ids: ["m"] });
  await deployment.mutation(internal.mastra.cache.handle, {
    op: "set",
    key: "k",
    keyPrefix: "p",
    value: 1,
    expiresAt: null,
  });
  const rows = await deployment.run((ctx) => ctx.db.query("memory_changes").take(10));
  const seen = rows
    .sort((a, b) => Number((a.commitTs as bigint) - (b.commitTs as bigint)))
    .map(({ kind, id, threadId, resourceId }) => [kind, id, threadId, resourceId]);
  expect(seen).toEqual([
    ["insert", "m", "thread", "resource"],
    ["update", "m", "thread", "resource"],
    ["update", "m", "elsewhere", "resource"],
    ["delete", "m", "elsewhere", "resource"],
  ]);
});
