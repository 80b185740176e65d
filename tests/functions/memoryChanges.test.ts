import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment } from "./deployment";
import { message, say } from "./memoryDeployment";

beforeEach(() => {
  // Changes are numbered when a test says so, and each call stamps the thread anew.
  vi.spyOn(Math, "random").mockReturnValue(0.999);
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test("a change has the same number before and after it is given", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [message("a", 0), message("b", 1)]);
  vi.advanceTimersByTime(1000);
  await say(deployment, [message("c", 2, { resourceId: "bob" })]);
  const ask = { after: 0, limit: 1000 };
  const before = await deployment.query(internal.memory.changes.list, ask);
  expect(before.last).toBe(5);
  await deployment.mutation(internal.memory.upkeep.number, {});
  expect(await deployment.query(internal.memory.changes.list, ask)).toEqual(before);
  vi.advanceTimersByTime(1000);
  await say(deployment, [message("d", 3)]);
  const { changes, last } = await deployment.query(internal.memory.changes.list, ask);
  expect(changes.slice(0, 5)).toEqual(before.changes);
  expect(changes.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(last).toBe(7);
  await deployment.mutation(internal.memory.upkeep.number, {});
  const bob = await deployment.query(internal.memory.changes.list, { ...ask, resourceId: "bob" });
  expect(bob.changes).toEqual([
    {
      sequence: 4,
      table: "mastra_messages",
      id: "c",
      kind: "insert",
      threadId: "t",
      resourceId: "bob",
    },
  ]);
});

test("the oldest changes are forgotten, and whoever has missed some is told", async () => {
  const deployment = emptyDeployment();
  const kept = 100_000;
  const forgotten = 2500;
  await deployment.run(async (ctx) => {
    const { commitTs } = ctx.db.vars;
    const change = { commitTs, table: "mastra_threads", kind: "update" as const };
    const newest = kept + forgotten;
    for (const sequence of [...Array.from({ length: forgotten + 2 }, (_, n) => n + 1), newest]) {
      await ctx.db.insert("memory_changes", { ...change, id: `t${sequence}`, sequence });
    }
  });
  const ask = async (after: number, resourceId?: string) =>
    await deployment.query(internal.memory.changes.list, { after, limit: 2, resourceId });
  expect(await ask(0)).toMatchObject({ first: 1, last: kept + forgotten });
  await deployment.mutation(internal.memory.upkeep.number, {});
  expect((await ask(0)).first).toBe(1001);
  // It goes on by itself with what one call does not do.
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  const { changes, first, last } = await ask(0);
  expect([first, last]).toEqual([forgotten + 1, kept + forgotten]);
  expect(changes.map(({ sequence }) => sequence)).toEqual([forgotten + 1, forgotten + 2]);
  // Nobody of this resource wrote anything, so the answer alone would not show the gap.
  expect(await ask(0, "ann")).toEqual({ changes: [], first, last });
});

test("of a deployment without changes nothing was missed", async () => {
  const { query } = emptyDeployment();
  const answer = await query(internal.memory.changes.list, { after: 0, limit: 9 });
  expect(answer).toEqual({ changes: [], first: 1, last: 0 });
});

test("a page of changes is never longer than asked for, however much one call wrote", async () => {
  const deployment = emptyDeployment();
  await say(
    deployment,
    Array.from({ length: 30 }, (_, n) => message(`m${n}`, n)),
  );
  const found: string[] = [];
  for (let after = 0; ;) {
    const { changes } = await deployment.query(internal.memory.changes.list, { after, limit: 7 });
    if (changes.length === 0) break;
    expect(changes.length).toBeLessThanOrEqual(7);
    found.push(...changes.map(({ id }) => id));
    after = changes.at(-1)?.sequence ?? after;
    if (after === 7) await deployment.mutation(internal.memory.upkeep.number, {});
  }
  expect(found).toEqual(["t", ...Array.from({ length: 30 }, (_, n) => `m${n}`)]);
});
