/**
 * The history of what was written, numbered from 1.
 *
 * Writers leave the number out, because a counter would make them wait for each other. Changes are
 * numbered afterwards, in the order of their commit timestamps (`memory/upkeep:number`). Whoever
 * reads before that counts on from the last number: a change that is committed later has a later
 * timestamp, so what a reader counts is what the row will be given.
 */
import { makeFunctionReference, type Scheduler } from "convex/server";
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";

/** Changes of which one, on the average, has them numbered. */
const NUMBERED_TOGETHER = 128;
/** Changes without a number that one read looks at; there are rarely more than a few hundred. */
const WAITING_MAX = 8000;

/** The mutation that numbers changes. */
export const NUMBER = makeFunctionReference<"mutation", Record<string, never>, null>(
  "memory/upkeep:number",
);

/** A change and its place in the history. */
export type Numbered = { readonly sequence: number; readonly change: Doc<"memory_changes"> };

/** Have changes numbered after this transaction, every now and then. */
export async function numberSoon(scheduler: Scheduler, changes: number): Promise<void> {
  if (Math.random() * NUMBERED_TOGETHER < changes) await scheduler.runAfter(0, NUMBER, {});
}

/** The number of the oldest change that is kept; the next one to be given when there is none. */
export async function firstNumber(documents: Documents, last: number): Promise<number> {
  const range = { index: "by_sequence", gt: 0 };
  return (await documents.first("memory_changes", range))?.sequence ?? last + 1;
}

/** The last number that was given; 0 when none was. */
export async function lastNumber(documents: Documents): Promise<number> {
  const range = { index: "by_sequence", descending: true };
  return (await documents.first("memory_changes", range))?.sequence ?? 0;
}

/** The changes that wait for their number, each with the one it will get. */
export async function waiting(documents: Documents, last: number): Promise<Numbered[]> {
  // Missing comes before every number in an index.
  const range = { index: "by_sequence", lt: 0 };
  const rows = await documents.take("memory_changes", range, WAITING_MAX);
  return rows.map((change, at) => ({ sequence: last + at + 1, change }));
}
