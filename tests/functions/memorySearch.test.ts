import { expect, test } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, storage, type Deployment } from "./deployment";
import { message, say } from "./memoryDeployment";
import { datesNamed, spansOf } from "../../convex/memory/lib/queryDates";
import {
  comparableWords,
  indexedText,
  searchedTerms,
  tellingWords,
} from "../../convex/memory/lib/searchWords";
import { asksSomething, speakerOf } from "../../convex/memory/lib/speakers";

async function found(
  deployment: Deployment,
  query: string,
  rest: Record<string, unknown> = {},
): Promise<string[]> {
  return (await search(deployment, { query, limit: 20, ...rest })).hits.map(({ id }) => id);
}

/** Search for ids; those of messages that only stand beside a match come with `near`. */
async function search(
  deployment: Deployment,
  question: { query: string; limit: number } & Record<string, unknown>,
) {
  const args = { ...question, idsOnly: true };
  const { hits, ...rest } = await deployment.query(internal.memory.search.messages, args);
  return { ...rest, hits: hits as { id: string; score: number; near?: true }[] };
}

/** Messages of threads of their own, so that none stands beside another. */
async function sayApart(deployment: Deployment, texts: Record<string, string>): Promise<void> {
  for (const [id, text] of Object.entries(texts)) {
    const said = message(id, 0, { text, thread_id: `thread of ${id}` });
    await deployment.mutation(internal.memory.messages.save, { messages: [said] });
  }
}

test("whole words are found in any form, and nothing that merely begins like them", async () => {
  const deployment = emptyDeployment();
  await sayApart(deployment, { a: "The CAFÉs were (closing)!", b: "cafeteria, closet" });
  expect(await found(deployment, "cafe")).toEqual(["a"]);
  expect(await found(deployment, "they closed")).toEqual(["a"]);
  expect(await found(deployment, "clos cafet")).toEqual([]);
});

test("more matching words, and rarer ones, come first", async () => {
  const deployment = emptyDeployment();
  await sayApart(deployment, {
    one: "kettle",
    both: "green kettle",
    long: `kettle ${"of many other words ".repeat(20)}`,
    rare: "green",
  });
  expect(await found(deployment, "green kettle")).toEqual(["both", "rare", "long", "one"]);
});

test("an answer stands beside the question that has the words", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [
    message("far", 0, { text: "Hello." }),
    ...Array.from({ length: 9 }, (_, n) => message(`f${n}`, n + 1, { text: "Filling." })),
    message("question", 20, { text: "Where is the kettle?" }),
    message("answer", 21, { text: "In the shed." }),
    message("after", 22, { text: "Thanks." }),
  ]);
  const { hits, exhausted } = await search(deployment, { query: "kettle", limit: 20 });
  expect(hits.slice(0, 4)).toEqual([
    { id: "answer", score: 1, near: true },
    { id: "question", score: 1 / (0.75 * 1.4) },
    { id: "after", score: 0.75 ** 2 / (0.75 * 1.4), near: true },
    { id: "f8", score: 0.55 / (0.75 * 1.4), near: true },
  ].sort((left, right) => right.score - left.score));
  expect(hits.map(({ id }) => id)).not.toContain("far");
  expect(exhausted).toBe(true);
});

test("what surrounds a message is read from its conversation, whatever was found", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [
    ...Array.from({ length: 300 }, (_, n) => message(`m${n}`, 10 * n, { text: `kettle ${n}` })),
    message("between", 1495, { text: "nothing of it" }),
  ]);
  const answer = await search(deployment, { query: "kettle", limit: 256 });
  expect(answer.hits).toHaveLength(256);
  expect(answer.hits.find(({ id }) => id === "between")).toMatchObject({ near: true });
  // Not around every one of them was the conversation read.
  const rest = await search(deployment, { query: "kettle", limit: 256, cursor: answer.cursor });
  expect([answer.hits.length + rest.hits.length, rest.cursor, rest.exhausted]).toEqual([
    301,
    null,
    false,
  ]);
});

test("days that a question names, and speakers, count", async () => {
  const deployment = emptyDeployment();
  const at = (day: string) => `${day}T09:00:00.000Z`;
  const said = [
    { ...message("june", 0, { text: "We sailed.", thread_id: "x" }), createdAt: at("2025-06-07") },
    { ...message("may", 0, { text: "We sailed.", thread_id: "y" }), createdAt: at("2025-05-07") },
    { ...message("silent", 0, { text: "Rain.", thread_id: "z" }), createdAt: at("2025-05-07") },
    { ...message("late", 0, { text: "Snow.", thread_id: "w" }), createdAt: at("2025-05-19") },
    { ...message("bob", 0, { text: "Bob: oak", thread_id: "v" }), createdAt: at("2024-01-01") },
    { ...message("cyd", 0, { text: "Cyd: oak", thread_id: "u" }), createdAt: at("2024-01-01") },
  ];
  await deployment.mutation(internal.memory.messages.save, { messages: said });
  const { hits } = await search(deployment, { query: "sailing on 7 May", limit: 9 });
  expect(hits.map(({ id, near }) => [id, near])).toEqual([
    ["may", undefined],
    ["silent", true],
    ["june", undefined],
    ["late", true],
  ]);
  expect(await found(deployment, "oak, says Bob")).toEqual(["bob", "cyd"]);
});

test("dates are read as people write them", () => {
  expect(datesNamed("on 7th of May, 2023, or in June")).toEqual([
    { month: 5, day: 7, year: 2023 },
    { month: 6 },
  ]);
  expect(datesNamed("it may rain; march on")).toEqual([]);
  expect(datesNamed("2024-02-30 and 2024-13")).toEqual([
    { month: 2, day: 30, year: 2024 },
    { month: 13, year: 2024 },
  ]);
  expect(datesNamed("7/5/2023, 7.5.2023 or 7-May-2023")).toEqual([
    { month: 5, day: 7, year: 2023 },
    { month: 7, day: 5, year: 2023 },
    { month: 5, day: 7, year: 2023 },
  ]);
  expect(datesNamed("7-May-2023, 2023/5")).toEqual([{ month: 5, year: 2023 }]);
  expect(datesNamed("7-May-2023")).toEqual([{ month: 5, day: 7, year: 2023 }]);
  expect(datesNamed("back in 1999")).toEqual([{ year: 1999 }]);
  expect(spansOf({ month: 2, day: 30 }, [2024])).toEqual([]);
  expect(spansOf({ month: 13 }, [2024])).toEqual([]);
  expect(spansOf({ month: 12 }, [2024])).toEqual([
    { begins: Date.UTC(2024, 11, 1), ends: Date.UTC(2025, 0, 1) },
  ]);
});

test("who speaks, and who asks, is read from a text", () => {
  expect(speakerOf("[9:00] Ada Lovelace: tea?", undefined)).toBe("Ada Lovelace");
  expect(speakerOf("Ada: tea?", { name: " Bob " })).toBe("Bob");
  expect(speakerOf("see http://x: no", undefined)).toBe("");
  expect(asksSomething("Tea? [photo] ")).toBe(true);
  expect(asksSomething("Tea? Yes.")).toBe(false);
});

test("a word too long for the index is found by its beginning", async () => {
  const deployment = emptyDeployment();
  const word = "9".repeat(40);
  await say(deployment, [message("a", 0, { text: `key ${word}` })]);
  expect(await found(deployment, word)).toEqual(["a"]);
  expect(indexedText("ქართული".repeat(6))).toBe("ქართულიქარ");
  expect(indexedText("猫咪 ガ Café")).toBe("猫 咪 猫咪 ガ cafe");
  expect(tellingWords("北京烤鸭 猫 ΣΚΎΛΟΣ")).toEqual(["北京", "京烤", "烤鸭", "猫", "σκυλος"]);
});

test("a query is its telling words, of which the longest fifteen are searched for", () => {
  const terms = (query: string) => comparableWords(tellingWords(query));
  expect(terms("What was the sailing like?")).toEqual(["sail", "like"]);
  expect(terms("to be or not to be")).toEqual(["to", "be", "or", "not"]);
  expect(terms("?!")).toEqual([]);
  const many = Array.from({ length: 40 }, (_, n) => `w${"x".repeat(n)}`);
  expect(searchedTerms(many)).toEqual(many.slice(-15).reverse());
});

test("a message without a resource is found as its thread's", async () => {
  const deployment = emptyDeployment();
  await say(deployment, [message("a", 0, { text: "tea" })]);
  const { resourceId: _resourceId, ...record } = message("b", 1, { text: "tea" });
  await storage(deployment, "insert", "mastra_messages", { record });
  expect((await found(deployment, "tea", { resourceId: "ann" })).sort()).toEqual(["a", "b"]);
  expect(await found(deployment, "tea", { resourceId: "bob" })).toEqual([]);
});

/** Every page of a search, and whether the last one was the end. */
async function pagesOf(deployment: Deployment, query: string) {
  const pages: string[][] = [];
  let cursor: string | null = null;
  let exhausted = false;
  do {
    const answer = await search(deployment, { query, limit: 100, cursor });
    pages.push(answer.hits.map(({ id }) => id));
    ({ cursor, exhausted } = answer);
  } while (cursor !== null);
  return { pages, exhausted };
}

test("a search that cannot look at every match says so", async () => {
  const deployment = emptyDeployment();
  const text = "tea ".repeat(60_000);
  for (let n = 0; n < 30; n += 1) await say(deployment, [message(`m${n}`, n, { text })]);
  const { pages, exhausted } = await pagesOf(deployment, "tea");
  expect(pages.flat().length).toBeLessThan(30);
  expect(new Set(pages.flat()).size).toBe(pages.flat().length);
  expect(exhausted).toBe(false);
});

test("hits that are too large for one answer come on the next page", async () => {
  const deployment = emptyDeployment();
  const text = `tea ${"🙂".repeat(200_000)}`;
  for (let n = 0; n < 12; n += 1) await say(deployment, [message(`m${n}`, n, { text })]);
  const { pages, exhausted } = await pagesOf(deployment, "tea");
  expect(pages.length).toBeGreaterThan(2);
  expect(pages.flat().sort()).toEqual(Array.from({ length: 12 }, (_, n) => `m${n}`).sort());
  expect(exhausted).toBe(true);
});
