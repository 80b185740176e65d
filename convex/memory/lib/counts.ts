/** How many rows there are (`memory_counts`), without reading them. */
import type { Documents, WritableDocuments } from "../../lib/documents";

/** What is counted, as the key of a count. */
export const keys = {
  threads: "threads",
  messages: "messages",
  resources: "resources",
  vectors: "vectors",
  cacheKeys: "cacheKeys",
  threadsOf: (resourceId: string) => `threads of ${resourceId}`,
  messagesOf: (resourceId: string) => `messages of ${resourceId}`,
  messagesIn: (threadId: string) => `messages in ${threadId}`,
  vectorsIn: (indexName: string) => `vectors in ${indexName}`,
  waitingIn: (indexName: string) => `waiting in ${indexName}`,
} as const;

/** Rows a count is spread over: the more, the fewer writers meet at one. */
const SHARDS_OF_ALL = 16;
const SHARDS_OF_SOME = 4;

/** How many there are under a key. */
export async function countOf(documents: Documents, key: string): Promise<number> {
  let sum = 0;
  for await (const row of documents.scan("memory_counts", { index: "by_key", equals: [key] })) {
    sum += row.count;
  }
  // Rows that were there before these functions were deployed have not been counted.
  return Math.max(0, sum);
}

/** Add to the count under a key. */
export async function addToCount(
  documents: WritableDocuments,
  key: string,
  difference: number,
): Promise<void> {
  const shard = Math.floor(Math.random() * shardsOf(key));
  const range = { index: "by_key", equals: [key, shard] };
  const row = await documents.first("memory_counts", range);
  const count = (row?.count ?? 0) + difference;
  if (row === null) {
    await documents.insert("memory_counts", { key, shard, count });
  } else if (count === 0) {
    // What is gone leaves no row behind: threads and resources come and go for ever.
    await documents.delete("memory_counts", row);
  } else {
    await documents.patch("memory_counts", row, { count });
  }
}

/** Forget a count: nothing of it is left. */
export async function dropCount(documents: WritableDocuments, key: string): Promise<void> {
  for (const row of await documents.take("memory_counts", { index: "by_key", equals: [key] }, 64)) {
    await documents.delete("memory_counts", row);
  }
}

function shardsOf(key: string): number {
  // Writers of one thread meet at its row anyway, which says when it was last written to.
  if (key.startsWith(keys.messagesIn(""))) return 1;
  // Whoever saves a message adds to what waits for its vector.
  if (key.startsWith(keys.waitingIn(""))) return SHARDS_OF_ALL;
  return key.includes(" ") ? SHARDS_OF_SOME : SHARDS_OF_ALL;
}
