/**
 * The rows of the cache, and how they are removed: some at a time, for a list may have any number
 * of items, and a transaction reads and writes only so much.
 */
import type { Doc } from "../_generated/dataModel";
import type { WritableDocuments } from "./documents";
import { CACHE_DELETE_ITEMS_MAX } from "./limits";

/** One row for each key. */
export const KEYS = "mastra_cache";
/** The items of lists. */
export const ITEMS = "mastra_cache_list_items";

/** The row of a key. */
export type CacheRow = Doc<typeof KEYS>;

/** The items of a key, in their order. */
export function itemsOf(key: string) {
  return { index: "by_key_index", equals: [key] };
}

/** Whether a row's time is over, so that it is as if it were not there. */
export function isExpired({ expiresAt }: CacheRow): boolean {
  return expiresAt !== null && expiresAt <= Date.now();
}

/**
 * Remove a key: its items, and with the last of them its row. Until then the row is a tombstone,
 * and expired, so that it does not stay where nobody goes on.
 *
 * @param documents Where.
 * @param key The key.
 * @param row Its row, or null when there is none.
 * @param most How many items.
 * @returns Whether there is more to remove.
 */
export async function removeKey(
  documents: WritableDocuments,
  key: string,
  row: CacheRow | null,
  most = CACHE_DELETE_ITEMS_MAX,
): Promise<boolean> {
  const { rows: items, hasMore } = await documents.some(ITEMS, itemsOf(key), most);
  for (const item of items) await documents.delete(ITEMS, item);
  if (row === null) return hasMore;
  if (!hasMore) await documents.delete(KEYS, row);
  else if (row.kind !== "deleted") {
    await documents.patch(KEYS, row, { kind: "deleted", expiresAt: 0 });
  }
  return hasMore;
}
