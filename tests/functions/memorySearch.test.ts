import { expect, test } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, storage, type Deployment } from "./deployment";
import { idsOf, message, say } from "./memoryDeployment";
import { indexedText, termsOf } from "../../convex/memory/lib/searchWords";

async function found(
  deployment: Deployment,
  query: string,
  rest: Record<string, unknown> = {},
): Promise<string[]> {
  const answer = await deployment.query(internal.memory.search.messages, {
    query,
    limit: 20,
    ...rest,
  });
  return idsOf(answer.hits.map((hit) => hit.message));
}

test("whole words are found in any form, and nothing that merely begins like them", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [
    message("a", 0, { text: "The CAFÉs were (closing)!" }),
    message("b", 1, { text: "cafeteria, closet" }),
  ]);
  expect(await found(deployment, "cafe")).toEqual(["a"]);
  expect(await found(deployment, "they closed")).toEqual(["a"]);
  expect(await found(deployment, "clos cafet")).toEqual([]);
});

test("more matching words, and rarer ones, come first", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [
    message("one", 0, { text: "kettle" }),
    message("both", 1, { text: "green kettle" }),
    message("long", 2, { text: `kettle ${"of many other words ".repeat(20)}` }),
    message("rare", 3, { text: "green" }),
  ]);
  expect(await found(deployment, "green kettle")).toEqual(["both", "rare", "one", "long"]);
});

test("a word too long for the index is found by its beginning", async () => {
  const deployment = emptyDeployment();
  const word = "9".repeat(40);
  await say(deployment, [message("a", 0, { text: `key ${word}` })]);
  expect(await found(deployment, word)).toEqual(["a"]);
  expect(indexedText("ナイロン".repeat(6))).toBe("ナイロンナイロンナイ");
});

test("a query is its telling words, at most fifteen", () => {
  expect(termsOf("What was the sailing like?")).toEqual(["sail", "like"]);
  expect(termsOf("to be or not to be")).toEqual(["to", "be", "or", "not"]);
  expect(termsOf("?!")).toEqual([]);
  expect(termsOf(Array.from({ length: 40 }, (_, n) => `w${n}`).join(" "))).toHaveLength(15);
});

test("a message without a resource is found as its thread's", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [message("a", 0, { text: "tea" })]);
  const { resourceId: _resourceId, ...record } = message("b", 1, { text: "tea" });
  await storage(deployment, "insert", "mastra_messages", { record });
  expect((await found(deployment, "tea", { resourceId: "ann" })).sort()).toEqual(["a", "b"]);
  expect(await found(deployment, "tea", { resourceId: "bob" })).toEqual([]);
});

test("a search that cannot look at every match says so", async () => {
  const deployment = emptyDeployment();
  const text = "tea ".repeat(60_000);
  for (let n = 0; n < 30; n += 1) await say(deployment, [message(`m${n}`, n, { text })]);
  const answer = await deployment.query(internal.memory.search.messages, {
    query: "tea",
    limit: 9,
  });
  const rest = { limit: 100, cursor: answer.cursor };
  const last = await deployment.query(internal.memory.search.messages, { query: "tea", ...rest });
  expect(answer.hits).toHaveLength(9);
  expect(last.hits.length).toBeLessThan(21);
  expect([last.cursor, last.exhausted]).toEqual([null, false]);
});

test("hits that are too large for one answer come on the next page", async () => {
  const deployment = emptyDeployment();
  const text = `tea ${"🙂".repeat(200_000)}`;
  for (let n = 0; n < 12; n += 1) await say(deployment, [message(`m${n}`, n, { text })]);
  const ask = { query: "tea", limit: 100 };
  const first = await deployment.query(internal.memory.search.messages, ask);
  expect(first.cursor).not.toBeNull();
  const rest = await deployment.query(internal.memory.search.messages, {
    ...ask,
    cursor: first.cursor,
  });
  expect(first.hits.length + rest.hits.length).toBe(12);
  expect([first.exhausted, rest.exhausted]).toEqual([false, true]);
});
