import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { internal } from "../../convex/_generated/api";
import { emptyDeployment, refusalOf, storage, type Deployment } from "./deployment";
import { idsIn, idsOf } from "./memoryDeployment";

const DIMENSION = 256;
/** Of these, 28 KB each, a few hundred are more than one transaction takes. */
const LARGE = 3072;

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A vector at an angle to the first axis, of which the cosine falls as `step` rises. */
function at(step: number, dimension = DIMENSION): number[] {
  const vector = new Array<number>(dimension).fill(0);
  vector[0] = Math.cos(step / 10_000);
  vector[1] = Math.sin(step / 10_000);
  return vector;
}

async function upsert(
  { mutation }: Deployment,
  count: number,
  metadata: (n: number) => Record<string, unknown> | undefined = (n) => ({ n }),
  dimension = DIMENSION,
): Promise<void> {
  await mutation(internal.memory.vectors.createIndex, { indexName: "x", dimension });
  for (let start = 0; start < count; start += 100) {
    const items = Array.from({ length: Math.min(100, count - start) }, (_, n) => ({
      id: `v${start + n}`,
      vector: at(start + n, dimension),
      metadata: metadata(start + n),
    }));
    await mutation(internal.memory.vectors.upsert, { indexName: "x", items });
  }
}

async function search({ action }: Deployment, rest: Record<string, unknown> = {}) {
  const answer = await action(internal.memory.vectors.search, {
    indexName: "x",
    vector: at(0),
    limit: 3,
    ...rest,
  });
  return { ...answer, ids: idsOf(answer.matches) } as { ids: string[]; exhausted: boolean };
}

test("a dimension without a table is refused with those there are", async () => {
  const { mutation } = emptyDeployment();
  const refused = await refusalOf(
    mutation(internal.memory.vectors.createIndex, { indexName: "x", dimension: 640 }),
  );
  expect(refused.code).toBe("invalid_argument");
  expect(refused.message).toContain("256, 384, 512, 768, 1024, 1536, 2048, 3072");
  expect(refused.message).toContain("memory_vectors_640");
});

test("vectors that came over the wire are found, changed and counted like ours", async () => {
  const deployment = emptyDeployment();
  await storage(deployment, "insert", "mastra_vector_indexes", {
    record: {
      id: "x",
      indexName: "x",
      dimension: DIMENSION,
      metric: "cosine",
      createdAt: "2026-01-01T00:00:00.000Z",
    },
  });
  const records = [0, 1, 2].map((n) => ({ id: `w${n}`, embedding: at(n), metadata: { n } }));
  await storage(deployment, "batchInsert", "mastra_vector_x", { records });
  expect((await search(deployment)).ids).toEqual(["w0", "w1", "w2"]);
  await storage(deployment, "patch", "mastra_vector_x", { id: "w2", record: { embedding: at(0) } });
  await storage(deployment, "deleteMany", "mastra_vector_x", { ids: ["w1"] });
  await deployment.mutation(internal.memory.vectors.update, {
    indexName: "x",
    id: "w0",
    metadata: { seen: true },
  });
  const { matches } = await deployment.action(internal.memory.vectors.search, {
    indexName: "x",
    vector: at(0),
    limit: 9,
    includeVector: true,
  });
  expect(matches).toEqual([
    { id: "w0", score: 1, metadata: { n: 0, seen: true }, vector: at(0) },
    { id: "w2", score: 1, metadata: { n: 2 }, vector: at(0) },
  ]);
  const { count } = await deployment.query(internal.memory.vectors.describe, { indexName: "x" });
  expect(count).toBe(2);
});

test("vectors of ours are rows of the wire protocol", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 2);
  const { result } = await storage(deployment, "load", "mastra_vector_x", { keys: { id: "v1" } });
  expect(result).toMatchObject({ id: "v1", indexName: "x", metadata: { n: 1 }, embedding: at(1) });
  await storage(deployment, "clearTable", "mastra_vector_x");
  expect((await search(deployment)).ids).toEqual([]);
});

test("a filter on a thread or a resource is asked inside the vector index", async () => {
  const deployment = emptyDeployment();
  const owner = (n: number) => (n >= 1097 ? "far" : "near");
  await upsert(deployment, 1100, (n) => ({ n, thread_id: owner(n), resource_id: `r${n % 2}` }));
  const far = await search(deployment, { filter: ["eq", "thread_id", "far"] });
  expect(far).toMatchObject({ ids: ["v1097", "v1098", "v1099"], exhausted: true });
  const both = [
    "and",
    [
      ["eq", "resource_id", "r0"],
      ["eq", "thread_id", "far"],
    ],
  ];
  expect(await search(deployment, { filter: both })).toMatchObject({
    ids: ["v1098"],
    exhausted: true,
  });
  const either = ["in", "thread_id", ["far", "nobody"]];
  expect((await search(deployment, { filter: either })).ids).toHaveLength(3);
  // Of a large index, the rest is asked of the 256 nearest, and the answer says so.
  const rich = await search(deployment, { filter: ["gte", "n", 1000] });
  expect(rich).toMatchObject({ ids: [], exhausted: false });
  const near = await search(deployment, { filter: ["lt", "n", 2], limit: 2 });
  expect(near).toMatchObject({ ids: ["v0", "v1"], exhausted: true });
});

/** What Convex's vector index was asked, as a function sends it. */
interface VectorQuery {
  indexName: string;
  limit: number;
  expressions: unknown;
}

/** Note what vector indexes are asked from now on. */
function listening(): VectorQuery[] {
  const asked: VectorQuery[] = [];
  type Call = (operation: string, args: string) => Promise<string>;
  const { Convex } = globalThis as unknown as { Convex: { asyncSyscall: Call } };
  // A getter: each deployment has its own.
  const plain = Object.getOwnPropertyDescriptor(Convex, "asyncSyscall");
  const noted = () => async (operation: string, args: string) => {
    if (operation === "1.0/actions/vectorSearch") {
      asked.push((JSON.parse(args) as { query: VectorQuery }).query);
    }
    return await (plain?.get?.call(Convex) as Call)(operation, args);
  };
  vi.spyOn<{ asyncSyscall: unknown }, "asyncSyscall">(
    Convex,
    "asyncSyscall",
    "get",
  ).mockImplementation(noted);
  return asked;
}

/** A filter of Convex's that a field equals a text. */
function equals(field: string, value: string) {
  return { $eq: [{ $field: field }, { $literal: value }] };
}

test("Convex is asked for what is of a thread or a resource, else for the nearest", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 3, (n) => ({ n, thread_id: "t", resource_id: "r" }));
  const queryOf = async (filter: unknown) => {
    const asked = listening();
    await search(deployment, { filter, limit: 3 });
    vi.restoreAllMocks();
    expect(asked).toHaveLength(1);
    const [{ indexName, limit, expressions }] = asked as [VectorQuery];
    expect(indexName).toBe("memory_vectors_256.by_embedding");
    return { limit, expressions };
  };
  const ofIndex = equals("indexName", "x");
  expect(await queryOf(undefined)).toEqual({ limit: 3, expressions: ofIndex });
  const inThread = { limit: 3, expressions: { $or: [equals("indexThread", '["x","t"]')] } };
  expect(await queryOf(["eq", "thread_id", "t"])).toEqual(inThread);
  const ofResource = { $or: [equals("indexResource", '["x","r"]')] };
  expect(await queryOf(["eq", "resource_id", "r"])).toEqual({ limit: 3, expressions: ofResource });
  const either = ["t", "u"].map((id) => equals("indexThread", JSON.stringify(["x", id])));
  expect(await queryOf(["in", "thread_id", ["t", "u"]])).toEqual({
    limit: 3,
    expressions: { $or: either },
  });
  // What else a filter says is asked of as many rows as Convex returns at once.
  const rest = ["lt", "n", 9];
  expect(await queryOf(["and", [["eq", "thread_id", "t"], rest]])).toEqual({
    ...inThread,
    limit: 256,
  });
  for (const filter of [rest, ["not", ["eq", "thread_id", "u"]]]) {
    expect(await queryOf(filter)).toEqual({ limit: 256, expressions: ofIndex });
  }
});

test("an exact search compares every vector, and asks no vector index", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 1100);
  const filter = ["gte", "n", 1098];
  expect(await search(deployment, { filter })).toMatchObject({ ids: [], exhausted: false });
  const asked = listening();
  const exact = await search(deployment, { filter, exact: true });
  vi.restoreAllMocks();
  expect(exact).toMatchObject({ ids: ["v1098", "v1099"], exhausted: true });
  expect(asked).toEqual([]);
});

test("a small index is looked at row by row for what the nearest do not hold", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 400);
  const found = await search(deployment, { filter: ["gte", "n", 398] });
  expect(found).toMatchObject({ ids: ["v398", "v399"], exhausted: true });
});

test("vectors without direction come last, whatever Convex says of them", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 2, () => undefined);
  const zero = new Array<number>(DIMENSION).fill(0);
  const away = at(0).map((coordinate) => -coordinate / 2);
  const tilted = at(0).map((coordinate, axis) => (axis === 0 ? -0.1 : axis === 1 ? 1 : coordinate));
  await deployment.mutation(internal.memory.vectors.upsert, {
    indexName: "x",
    items: [
      { id: "zero", vector: zero },
      { id: "away", vector: away },
      { id: "tilted", vector: tilted },
    ],
  });
  expect((await search(deployment)).ids).toEqual(["v0", "v1", "tilted"]);
  expect((await search(deployment, { limit: 5 })).ids.slice(3)).toEqual(["zero", "away"]);
});

test("a large index is gone at once, and its vectors by themselves", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 200, (n) => ({ n }), LARGE);
  const large = { vector: at(0, LARGE) };
  const emptied = await deployment.mutation(internal.memory.vectors.deleteIndex, {
    indexName: "x",
    keepIndex: true,
  });
  expect(emptied).toEqual({ found: true, removed: 200 });
  expect(await search(deployment, large)).toMatchObject({ ids: [], count: 0 });
  // v199 still waits to be removed; stored again, it is a new vector.
  await deployment.mutation(internal.memory.vectors.upsert, {
    indexName: "x",
    items: [{ id: "v199", vector: at(5, LARGE) }],
  });
  expect((await search(deployment, large)).ids).toEqual(["v199"]);
  await deployment.finishAllScheduledFunctions(vi.runAllTimers);
  expect(await search(deployment, large)).toMatchObject({ ids: ["v199"], count: 1 });
  const left = await storage(deployment, "queryTable", "mastra_vector_x");
  expect(idsIn(left)).toEqual(["v199"]);
  expect((await deployment.query(internal.memory.meta.stats, {})).vectors).toBe(1);
  await deployment.mutation(internal.memory.vectors.deleteIndex, { indexName: "x" });
  expect((await refusalOf(search(deployment, large))).code).toBe("not_found");
});

test("a removal by filter goes on behind what it has looked at", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 300, (n) => ({ n }), LARGE);
  const calls: { removed: number; hasMore: boolean }[] = [];
  do {
    calls.push(
      await deployment.mutation(internal.memory.vectors.remove, {
        indexName: "x",
        filter: ["gte", "n", 290],
      }),
    );
  } while (calls.at(-1)?.hasMore);
  expect(calls.length).toBeGreaterThan(1);
  expect(calls.reduce((sum, { removed }) => sum + removed, 0)).toBe(10);
  const { count } = await deployment.query(internal.memory.vectors.describe, { indexName: "x" });
  expect(count).toBe(290);
});

test("a removal of one thread's vectors looks at nothing else", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 300, (n) => ({ thread_id: n % 60 === 0 ? "t" : "u" }), LARGE);
  const removed = await deployment.mutation(internal.memory.vectors.remove, {
    indexName: "x",
    filter: ["eq", "thread_id", "t"],
  });
  expect(removed).toEqual({ removed: 5, hasMore: false });
});

test("an update of more rows than one transaction reads is refused with a code", async () => {
  const deployment = emptyDeployment();
  await upsert(deployment, 580, (n) => ({ n }), LARGE);
  const refused = await refusalOf(
    deployment.mutation(internal.memory.vectors.update, {
      indexName: "x",
      filter: ["eq", "n", 1],
      metadata: { seen: true },
    }),
  );
  expect(refused.code).toBe("limit_exceeded");
});
