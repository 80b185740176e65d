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
