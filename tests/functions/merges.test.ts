// The arithmetic of merges and activations, value by value.
import { expect, test } from "vitest";
import { activationBoundary } from "../../convex/mastra/activation";
import { mergedResult } from "../../convex/mastra/workflows";

const P = { __mastra_pending__: true };

test.each([
  [[1, null, 3], [null, 2], [1, 2, 3]],
  [[1, 2, 3], [null, null, null, 4], [1, 2, 3, 4]],
  [[1, 2, 3, 4, null], [P, 99, null, null, P, P], [1, 2, 3, 4, null, null]],
  [[{ status: "suspended", suspendedAt: 1 }, { status: "suspended" }], [P, P],
    [null, { status: "suspended" }]],
  [[P], [null], [P]],
  [[], [null, 1], [null, 1]],
])("outputs are merged element by element: %j + %j", (before, reported, merged) => {
  expect(mergedResult({ output: before }, { output: reported })).toEqual({ output: merged });
});

test("a step that starts again keeps what else its result says", () => {
  const before = { status: "suspended", output: [1] };
  expect(mergedResult(before, { status: "running", output: [P] })).toEqual(before);
  const reported = { status: "success", output: [2] };
  expect(mergedResult(before, reported)).toEqual(reported);
});

test.each([
  [undefined, { output: [1] }],
  [{ output: [1] }, { output: "text" }],
  [{ output: [1] }, "failed"],
])("a result without an output to merge replaces the other: %j + %j", (before, reported) => {
  expect(mergedResult(before, reported)).toEqual(reported);
});

test.each([
  [[700, 700], 0, 1000, 1400, false, 1],
  [[600, 300, 300], 0.8, 1000, 1100, false, 2],
  [[100, 100, 5000], 0.5, 1000, 1000, false, 2],
  [[5000], 0.5, 1000, 1000, false, 1],
  [[300, 600], 0.5, 1000, 1300, false, 1],
  [[300, 500], 0.5, 1000, 1300, false, 2],
  [[1000, 97400], 0.5, 100000, 100000, false, 1],
  [[1000, 97400], 0.5, 100000, 100000, true, 2],
  [[400, 400, 400], 1, 1000, 0, false, 1],
  [[0, 0], 1, 1000, 500, false, 1],
  [[100, 100, 5000], 0.5, 1000, 6000, true, 3],
])("of chunks %j, at %d of %d with %d pending (forced: %s), %d are activated",
  (chunks, ratio, threshold, pending, force, count) => {
    expect(activationBoundary(chunks, { ratio, threshold, pending, force })).toBe(count);
  });
