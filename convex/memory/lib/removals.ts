/** Threads and indexes that are gone while their rows still wait to be removed. */
import type { Doc } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";

/** A thread that is gone, and up to which message. */
export type Removal = Doc<"memory_removals">;

/** The removals of a thread that are under way, the earliest first; rarely more than one. */
export async function removalsOf(documents: Documents, threadId: string): Promise<Removal[]> {
  return await documents.remembered(removalsKey(threadId), async () => {
    const removals: Removal[] = [];
    if (!(await anyRemovals(documents))) return removals;
    const range = { index: "by_thread", equals: [threadId] };
    for await (const row of documents.scan("memory_removals", range)) removals.push(row);
    return removals;
  });
}

/** What is remembered of a thread's removals is out of date. */
export function forgetRemovals(documents: Documents, threadId: string): void {
  documents.forget(ANY);
  documents.forget(removalsKey(threadId));
}

function removalsKey(threadId: string): string {
  return `removals of ${threadId}`;
}

const ANY = "removals";

async function anyRemovals(documents: Documents): Promise<boolean> {
  return await documents.remembered(
    ANY,
    async () => (await documents.first("memory_removals", {})) !== null,
  );
}

/** The `_creationTime` up to which a thread's messages are gone; undefined when none are. */
export async function goneUpTo(
  documents: Documents,
  threadId: string,
): Promise<number | undefined> {
  return (await removalsOf(documents, threadId)).at(-1)?.upto;
}

/** The removal that a message waits for, or undefined. */
export async function removalFor(
  documents: Documents,
  { thread_id: threadId, _creationTime: created }: Doc<"mastra_messages">,
): Promise<Removal | undefined> {
  return (await removalsOf(documents, threadId)).find(({ upto }) => created <= upto);
}

/** The `_creationTime` up to which an index's vectors are gone; undefined when none are. */
export async function vectorsGoneUpTo(
  documents: Documents,
  indexName: string,
): Promise<number | undefined> {
  return await documents.remembered(`index removed ${indexName}`, async () => {
    const range = { index: "by_index", equals: [indexName] };
    return (await documents.first("memory_vector_removals", range))?.upto;
  });
}
