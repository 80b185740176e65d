/**
 * Taking over rows that were there before these functions were deployed.
 *
 * What is derived from rows is derived when they are written. Rows that Mastra's own functions
 * wrote, or an import, have no search text and no native vector, and nobody has counted them;
 * and vectors of a dimension whose table was added later have none there.
 */
import type { Doc } from "../../_generated/dataModel";
import { READ_BYTES_MAX } from "../../lib/limits";
import type { MemoryTable } from "../../lib/tables";
import { countsOf, type FollowedDocuments } from "./followed";
import { writeText } from "./messageTexts";
import { supersededBy } from "./notes";
import { mirror } from "./nativeVectors";

/** The tables whose rows something is derived from, in the order in which they are taken over. */
const TABLES = [
  "mastra_threads",
  "mastra_messages",
  "mastra_resources",
  "mastra_vectors",
  "mastra_cache",
] as const satisfies readonly MemoryTable[];
const ROWS_MAX = 500;
const BYTES_MAX = READ_BYTES_MAX / 4;
const COUNTS_MAX = 4000;

/** How far it has come. */
export type Progress = {
  /** Which of the tables. */
  readonly table: number;
  /** The creation time it goes on behind. */
  readonly from: number;
  /** Each table's last creation time when it began: whoever writes later rows follows them. */
  readonly until: number[];
};

/** The progress at the beginning. */
export async function beginAdoption(documents: FollowedDocuments): Promise<Progress> {
  const until: number[] = [];
  for (const table of TABLES) {
    until.push((await documents.first(table, { descending: true }))?._creationTime ?? 0);
  }
  return { table: 0, from: 0, until };
}

/**
 * Forget the counts, a batch at a time.
 *
 * @returns Whether there may be more.
 */
export async function forgetCounts(documents: FollowedDocuments): Promise<boolean> {
  const rows = await documents.take("memory_counts", {}, COUNTS_MAX);
  for (const row of rows) await documents.delete("memory_counts", row);
  return rows.length === COUNTS_MAX;
}

/**
 * Take over a batch of rows.
 *
 * @returns Where to go on; undefined when all is done.
 */
export async function adoptRows(
  documents: FollowedDocuments,
  progress: Progress,
): Promise<Progress | undefined> {
  const table = TABLES[progress.table];
  if (table === undefined) return undefined;
  const start = documents.bytesRead;
  let taken = 0;
  const range = { gt: progress.from, lte: progress.until[progress.table] ?? 0 };
  for await (const row of documents.scan(table, range)) {
    await adopt(documents, table, row);
    taken += 1;
    if (taken >= ROWS_MAX || documents.bytesRead - start > BYTES_MAX) {
      return { ...progress, from: row._creationTime };
    }
  }
  return { ...progress, table: progress.table + 1, from: 0 };
}

async function adopt(
  documents: FollowedDocuments,
  table: (typeof TABLES)[number],
  row: Doc<(typeof TABLES)[number]>,
): Promise<void> {
  documents.count(countsOf(table, row));
  if (table === "mastra_vectors") await mirror(documents, row as Doc<"mastra_vectors">);
  if (table === "mastra_messages") {
    const message = row as Doc<"mastra_messages">;
    if ((await supersededBy(documents, message.id)) === undefined) {
      await writeText(documents, message._id, message);
    }
  }
}
