/** What nobody will read any more: expired cache keys, and notes on removals that were given up. */
import { type CacheRow, KEYS, removeKey } from "../../lib/cacheRows";
import { READ_BYTES_MAX } from "../../lib/limits";
import type { FollowedDocuments } from "./followed";
import { SCAN_KEPT_MS } from "./vectorRemoval";

/** Rows one call removes. */
const ROWS_MAX = 500;

/**
 * Remove expired cache keys, and what is left of those that were being deleted.
 *
 * @returns Whether there are more.
 */
export async function removeExpired(documents: FollowedDocuments): Promise<boolean> {
  // Keys that never expire have null there, which comes before every number.
  const range = { index: "by_expiry", gt: null, lte: Date.now() };
  const { rows, hasMore } = await documents.some(KEYS, range, ROWS_MAX);
  let most = ROWS_MAX;
  for (const row of rows) {
    if (most <= 0 || documents.bytesRead > READ_BYTES_MAX / 2) return true;
    if (await removeKey(documents, row.key, row, most)) return true;
    most -= itemsIn(row) + 1;
  }
  return hasMore;
}

/** How many items a key had. */
function itemsIn({ kind, counter = 0 }: CacheRow): number {
  return kind === "list" || kind === "deleted" ? counter : 0;
}

/**
 * Forget how far removals by filter have come that nobody went on with.
 *
 * @returns Whether there are more.
 */
export async function forgetScans(documents: FollowedDocuments): Promise<boolean> {
  const range = { index: "by_called", lt: Date.now() - SCAN_KEPT_MS };
  const { rows, hasMore } = await documents.some("memory_vector_scans", range, ROWS_MAX);
  for (const row of rows) await documents.delete("memory_vector_scans", row);
  return hasMore;
}
