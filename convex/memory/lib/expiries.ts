/** When messages and threads expire. */
import { FORGET } from "../../lib/upkeepCrons";
import type { FollowedDocuments } from "./followed";
import { note, type NotedTable } from "./notes";

/** How soon something has to expire for its time to be scheduled; the rest comes every hour. */
const SCHEDULED_MS = 3_600_000;
/** Times of one such hour that are scheduled. */
const TIMES_MAX = 200;

/** Say when a message or a thread expires; undefined has it stay. */
export async function setExpiry(
  documents: FollowedDocuments,
  table: NotedTable,
  id: string,
  at: number | undefined,
): Promise<void> {
  await note(documents, table, id, { expiresAt: at });
  if (at !== undefined && at <= Date.now() + SCHEDULED_MS) await expireAt(documents, at);
}

async function expireAt(documents: FollowedDocuments, at: number): Promise<void> {
  await documents.remembered(`expires at ${at}`, () => documents.scheduler.runAt(at, FORGET, {}));
}

/** Have deleted on time what expires within the hour. */
export async function scheduleExpiries(documents: FollowedDocuments): Promise<void> {
  const now = Date.now();
  const range = { index: "by_expiry", gt: now, lte: now + SCHEDULED_MS };
  let times = 0;
  for await (const { expiresAt } of documents.scan("memory_notes", range)) {
    if (expiresAt !== undefined) await expireAt(documents, expiresAt);
    times += 1;
    if (times >= TIMES_MAX) break;
  }
}
