/**
 * The change feed (`memory_changes`): what was written, in the order in which it was committed.
 *
 * A change's place is the deployment's commit timestamp, which follows commit order strictly and
 * which no writer waits for; the changes of one transaction follow in creation order. Callers know
 * a change by its place in the whole history, counted from 1 (`memory/lib/history.ts`).
 */
import type { Doc } from "../_generated/dataModel";
import type { DatabaseWriter } from "../_generated/server";
import type { MemoryTable } from "./tables";

/** What happened to a row. */
export type ChangeKind = Doc<"memory_changes">["kind"];

/** Where a row of a followed table holds the thread and the resource it belongs to. */
const FOLLOWED: Partial<Record<MemoryTable, { thread?: string; resource?: string }>> = {
  mastra_threads: { thread: "id", resource: "resourceId" },
  mastra_messages: { thread: "thread_id", resource: "resourceId" },
  mastra_resources: { resource: "id" },
  mastra_schedules: {},
  mastra_vector_indexes: {},
};

/** Whether writes of a table's rows are noted. */
export function isFollowed(table: MemoryTable): boolean {
  return FOLLOWED[table] !== undefined;
}

/**
 * Note that a row was written, if its table is one that is followed.
 *
 * @param db The mutation's database.
 * @param table The row's table.
 * @param kind What happened to it.
 * @param row The row; after the change, unless it was deleted.
 * @param before The row before an update.
 */
export async function noteChange(
  db: DatabaseWriter,
  table: MemoryTable,
  kind: ChangeKind,
  row: Readonly<Record<string, unknown>>,
  before?: Readonly<Record<string, unknown>>,
): Promise<void> {
  const followed = FOLLOWED[table];
  if (followed === undefined) return;
  const { thread, resource } = followed;
  const moved = thread !== undefined && before !== undefined && before[thread] !== row[thread];
  // Whoever looks at the thread that a message left has to hear of it too.
  for (const each of moved ? [before, row] : [row]) {
    await db.insert("memory_changes", {
      commitTs: db.vars.commitTs,
      table,
      id: String(each["id"]),
      kind,
      threadId: textOf(each, thread),
      resourceId: textOf(each, resource),
    });
  }
}

function textOf(row: Readonly<Record<string, unknown>>, name?: string): string | undefined {
  const value = name === undefined ? undefined : row[name];
  return typeof value === "string" ? value : undefined;
}
