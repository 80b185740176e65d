/** Threads and indexes that are gone while their rows still wait to be removed. */
import type { Documents } from "../../lib/documents";

/** The `_creationTime` up to which a thread's messages are gone; undefined when none are. */
export async function goneUpTo(
  documents: Documents,
  threadId: string,
): Promise<number | undefined> {
  const range = { index: "by_thread", equals: [threadId] };
  return (await documents.first("memory_removals", range))?.upto;
}

/** The `_creationTime` up to which an index's vectors are gone; undefined when none are. */
export async function vectorsGoneUpTo(
  documents: Documents,
  indexName: string,
): Promise<number | undefined> {
  const range = { index: "by_index", equals: [indexName] };
  return (await documents.first("memory_vector_removals", range))?.upto;
}
