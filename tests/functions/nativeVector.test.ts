// Native vectors where the schema decides: which tables there are, and of which dimension.
import { convexTest } from "convex-test";
import { defineSchema } from "convex/server";
import { expect, test } from "vitest";
import { internal } from "../../convex/_generated/api";
import { memoryTables, NATIVE_DIMENSIONS } from "../../convex/lib/tables";
import { emptyDeployment, modules, refusalOf } from "./deployment";

const config = { tableName: "articles", vectorIndexName: "by_embedding" };

test("a table that the schema does not have is refused with what to do", async () => {
  const question = { op: "describe", config } as const;
  const call = emptyDeployment().query(internal.mastra.nativeVector.read, question);
  const refusal = await refusalOf(call);
  expect(refusal.code).toBe("not_found");
  expect(refusal.message).toContain("declares no vector table articles");
  expect(refusal.message).toContain("Declare another one in schema.ts");
});

test("clients that show nothing but the message of an error show the sentence", async () => {
  const question = { op: "describe", config } as const;
  const call = emptyDeployment().query(internal.mastra.nativeVector.read, question);
  const error = (await call.catch((thrown: unknown) => thrown)) as Error & { data: unknown };
  expect(error.name).toBe("ConvexError");
  expect(error.message).toMatch(/^The schema declares no vector table articles\. /);
  expect(error.data).toEqual({ code: "not_found", message: error.message });
});

test("a table of Convex Memory itself is refused", async () => {
  const own = { ...config, tableName: "memory_vectors_384" };
  const call = emptyDeployment().mutation(internal.mastra.nativeVector.write, {
    op: "upsert",
    config: own,
    ids: [],
    vectors: [],
  });
  expect((await refusalOf(call)).code).toBe("invalid_argument");
});

test.each([0, 257, 1.5])("a limit of %d is refused", async (limit) => {
  const call = emptyDeployment().action(internal.mastra.nativeVector.query, {
    config,
    vector: [1],
    limit,
  });
  expect((await refusalOf(call)).message).toBe(
    "Native vector query: limit must be an integer between 1 and 256",
  );
});

test("every dimension that is listed has a table with a vector index of it", () => {
  const exported = (defineSchema(memoryTables) as unknown as { export(): string }).export();
  const { tables } = JSON.parse(exported) as {
    tables: { tableName: string; vectorIndexes: unknown[] }[];
  };
  const indexes = Object.fromEntries(
    tables.map(({ tableName, vectorIndexes }) => [tableName, vectorIndexes]),
  );
  for (const dimensions of NATIVE_DIMENSIONS) {
    expect(indexes[`memory_vectors_${dimensions}`]).toMatchObject([
      { dimensions, filterFields: ["indexName", "indexResource", "indexThread"] },
    ]);
  }
});

test("an app's schema takes the tables beside its own", () => {
  expect(() => convexTest({ schema: defineSchema({ ...memoryTables }), modules })).not.toThrow();
});
