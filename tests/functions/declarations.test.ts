// What deploying shows of the functions: who may call them, and with what.
import { describe, expect, test } from "vitest";
import { modules } from "./deployment";

interface Registered {
  isQuery?: boolean;
  isMutation?: boolean;
  isAction?: boolean;
  isInternal?: boolean;
  exportArgs(): string;
  exportReturns(): string;
}

async function registered(): Promise<[string, Registered][]> {
  const found: [string, Registered][] = [];
  for (const [path, load] of Object.entries(modules)) {
    if (path.includes("/_generated/")) continue;
    const name = path.replace(/^.*\/convex\/(.*)\.ts$/, "$1");
    for (const [exported, value] of Object.entries((await load()) as object)) {
      const { isQuery, isMutation, isAction } = Object(value) as Registered;
      if (!isQuery && !isMutation && !isAction) continue;
      found.push([`${name}:${exported}`, value as Registered]);
    }
  }
  return found;
}

const functions = await registered();

test("the functions of the wire protocol have their paths and kinds", () => {
  const kinds = Object.fromEntries(
    functions.map(([path, each]) => [
      path,
      each.isQuery ? "query" : each.isMutation ? "mutation" : "action",
    ]),
  );
  expect(kinds).toMatchObject({
    "mastra/storage:handle": "mutation",
    "mastra/cache:handle": "mutation",
    "mastra/nativeVector:query": "action",
    "mastra/nativeVector:read": "query",
    "mastra/nativeVector:write": "mutation",
  });
});

describe.each(functions)("%s", (path, each) => {
  test("is internal", () => {
    expect(each.isInternal).toBe(true);
  });

  test("says what it takes and gives", () => {
    const isWire = /^mastra\/(storage|cache):/.test(path);
    expect(JSON.parse(each.exportArgs())).toMatchObject({ type: isWire ? "any" : "object" });
    expect(JSON.parse(each.exportReturns())).not.toBeNull();
  });

  test("has no argument whose name Convex reserves", () => {
    const names = namesIn(JSON.parse(each.exportArgs()));
    expect(names.filter((name) => name.startsWith("$"))).toEqual([]);
  });
});

function namesIn(validator: unknown): string[] {
  if (Array.isArray(validator)) return validator.flatMap(namesIn);
  if (typeof validator !== "object" || validator === null) return [];
  const { type, value } = validator as { type?: string; value?: unknown };
  const names = type === "object" ? Object.keys(value as object) : [];
  return [...names, ...Object.values(validator).flatMap(namesIn)];
}
