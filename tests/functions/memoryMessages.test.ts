import type { FunctionReturnType } from "convex/server";
import { expect, test } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, refusalOf } from "./deployment";
import { idsOf, message, say } from "./memoryDeployment";

type Page = FunctionReturnType<typeof internal.memory.messages.page>;

test("a page continues behind its cursor, also among messages of one instant", async () => {
  const deployment = emptyDeployment();
  await say(
    deployment,
    [0, 1, 1, 1, 2].map((second, n) => message(`m${n}`, second)),
  );
  const read = async (order: string) => {
    const found: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Page = await deployment.query(internal.memory.messages.page, {
        threadId: "t",
        limit: 2,
        order,
        cursor,
      });
      found.push(...idsOf(page.messages));
      cursor = page.cursor;
    } while (cursor !== null);
    return found;
  };
  expect(await read("oldest")).toEqual(["m0", "m1", "m2", "m3", "m4"]);
  expect(await read("newest")).toEqual(["m4", "m3", "m2", "m1", "m0"]);
});

test("a span that is narrower than the cursor's place holds on the next page", async () => {
  const deployment = emptyDeployment();
  await say(
    deployment,
    Array.from({ length: 6 }, (_, n) => message(`m${n}`, n)),
  );
  const ask = { threadId: "t", limit: 1 };
  const oldest = await deployment.query(internal.memory.messages.page, { ...ask, order: "oldest" });
  const later = await deployment.query(internal.memory.messages.page, {
    threadId: "t",
    limit: 9,
    order: "oldest",
    cursor: oldest.cursor,
    since: message("", 3).createdAt,
    until: message("", 5).createdAt,
  });
  expect(idsOf(later.messages)).toEqual(["m3", "m4"]);
  const newest = await deployment.query(internal.memory.messages.page, ask);
  const earlier = await deployment.query(internal.memory.messages.page, {
    threadId: "t",
    limit: 9,
    cursor: newest.cursor,
    until: message("", 2).createdAt,
  });
  expect(idsOf(earlier.messages)).toEqual(["m1", "m0"]);
});

test("a page of large messages ends early and the next one goes on", async () => {
  const deployment = emptyDeployment();
  const text = "x".repeat(900_000);
  for (let n = 0; n < 12; n += 1) await say(deployment, [message(`m${n}`, n, { text })]);
  const ask = { threadId: "t", limit: 50, order: "oldest" };
  const first = await deployment.query(internal.memory.messages.page, ask);
  expect(first.messages.length).toBeGreaterThan(5);
  expect(first.messages.length).toBeLessThan(12);
  const rest = await deployment.query(internal.memory.messages.page, {
    ...ask,
    cursor: first.cursor,
  });
  expect([...idsOf(first.messages), ...idsOf(rest.messages)]).toHaveLength(12);
  expect(rest.cursor).toBeNull();
});

test("the characters of a page are counted as people count them", async () => {
  const deployment = emptyDeployment();
  await say(
    deployment,
    [0, 1, 2].map((n) => message(`m${n}`, n, { text: "😀".repeat(10) })),
  );
  const count = async (charsMax: number) => {
    const page = await deployment.query(internal.memory.messages.page, {
      threadId: "t",
      limit: 9,
      charsMax,
    });
    return page.messages.length;
  };
  expect([await count(10), await count(11), await count(20), await count(21)]).toEqual([
    1, 2, 2, 3,
  ]);
});

test("more than one read may hold is refused with a code", async () => {
  const deployment = emptyDeployment();
  const text = "x".repeat(900_000);
  const ids = Array.from({ length: 20 }, (_, n) => `m${n}`);
  for (const [n, id] of ids.entries()) await say(deployment, [message(id, n, { text })]);
  const { code } = await refusalOf(deployment.query(internal.memory.messages.get, { ids }));
  expect(code).toBe("limit_exceeded");
});

test("a row that breaks its declaration is refused whole, naming the field", async () => {
  const deployment = emptyDeployment();
  const broken = { ...message("b", 1), role: undefined };
  const refused = await refusalOf(
    deployment.mutation(internal.memory.messages.save, {
      messages: [message("a", 0), broken],
      thread: { id: "t", resourceId: "ann" },
    }),
  );
  expect(refused.code).toBe("invalid_argument");
  expect(refused.message).toContain("role");
  expect(await deployment.query(internal.memory.threads.get, { threadId: "t" })).toEqual({
    thread: null,
    messages: 0,
  });
});

test("a refusal shows an id in printable ASCII", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [message("it's 😀\n", 0)]);
  const again = [message("it's 😀\n", 0, { text: "else" })];
  const refused = await refusalOf(
    deployment.mutation(internal.memory.messages.save, { messages: again }),
  );
  expect(refused.code).toBe("conflict");
  expect(refused.message).toContain('"it\'s \\U0001f600\\n"');
});

test("limits out of range are refused, not clipped", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [message("a", 0)]);
  for (const limit of [0, 201, 1.5]) {
    const refused = await refusalOf(
      deployment.query(internal.memory.messages.page, { threadId: "t", limit }),
    );
    expect(refused).toEqual({
      code: "invalid_argument",
      message: "limit must be an integer between 1 and 200.",
    });
  }
});

/** The functions of some modules, by their paths. */
function functionsOf(found: Record<string, unknown>): Map<string, { isInternal?: boolean }> {
  const functions = new Map<string, { isInternal?: boolean }>();
  for (const [path, module] of Object.entries(found)) {
    for (const [name, each] of Object.entries(module as Record<string, unknown>)) {
      const isFunction = ["isQuery", "isMutation", "isAction"].some((kind) => kind in Object(each));
      const file = path.replace(/^.*\/|\.ts$/g, "");
      if (isFunction) functions.set(`memory/${file}:${name}`, each as { isInternal?: boolean });
    }
  }
  return functions;
}

test("no function can be called without the admin key", () => {
  const all = functionsOf(import.meta.glob("../../convex/memory/*.ts", { eager: true }));
  expect(all.size).toBeGreaterThan(24);
  expect([...all].filter(([, each]) => each.isInternal !== true)).toEqual([]);
});

test("the version lists exactly the functions there are", async () => {
  const { version, functions } = await emptyDeployment().query(internal.memory.meta.version, {});
  const there = functionsOf(
    import.meta.glob(["../../convex/memory/*.ts", "!**/upkeep.ts", "!**/*Rows.ts"], {
      eager: true,
    }),
  );
  expect(version).toBe("1");
  expect(functions).toEqual([...there.keys()].sort());
});
