/** Putting every text of an index into the queue of what is to be embedded, the newest first. */
import { makeFunctionReference } from "convex/server";
import type { Doc } from "../../_generated/dataModel";
import { type Binding, bindingOf, enqueue } from "./embeddingQueue";
import type { FollowedDocuments } from "./followed";
import { supersededBy } from "./notes";
import { vectorsGoneUpTo } from "./removals";

/** Texts one call puts into the queue. */
const ROWS_MAX = 400;

const CONTINUE = makeFunctionReference<"mutation", { indexName: string }, null>(
  "memory/upkeep:queueTexts",
);

/** Have every message, or every kept text of an index, embedded. */
export async function enqueueAll(documents: FollowedDocuments, bound: Binding): Promise<void> {
  const found = await queueingOf(documents, bound.indexName);
  // What is stored from now on follows by itself.
  const row = { indexName: bound.indexName, before: Number.MAX_VALUE };
  await documents.upsert("memory_queueings", row, found);
  await continueQueueing(documents, bound.indexName);
}

/** Go on with an index, and see to it that somebody goes on after that. */
export async function continueQueueing(
  documents: FollowedDocuments,
  indexName: string,
): Promise<void> {
  const row = await queueingOf(documents, indexName);
  if (row === null) return;
  const bound = await bindingOf(documents, indexName);
  const before = bound === null ? undefined : await enqueueSome(documents, bound, row.before);
  if (before === undefined) {
    await documents.delete("memory_queueings", row);
  } else {
    await documents.patch("memory_queueings", row, { before });
    await documents.scheduler.runAfter(0, CONTINUE, { indexName });
  }
}

/** Whether texts of an index are still to be put into the queue. */
export async function isQueueing(documents: FollowedDocuments, indexName: string) {
  return (await queueingOf(documents, indexName)) !== null;
}

async function queueingOf(
  documents: FollowedDocuments,
  indexName: string,
): Promise<Doc<"memory_queueings"> | null> {
  return await documents.first("memory_queueings", { index: "by_index", equals: [indexName] });
}

/** Put the next texts into the queue; say which creation time to go on before. */
async function enqueueSome(
  documents: FollowedDocuments,
  bound: Binding,
  before: number,
): Promise<number | undefined> {
  switch (bound.use) {
    case "messages":
      return await enqueueMessages(documents, bound, before);
    case "texts":
      return await enqueueKept(documents, bound, before);
    case "retired":
      return undefined;
  }
}

async function enqueueMessages(
  documents: FollowedDocuments,
  { indexName }: Binding,
  before: number,
): Promise<number | undefined> {
  // Rows that different calls wrote at the same moment have the same creation time.
  const range = { descending: true, lte: before };
  const { rows, hasMore } = await documents.some("mastra_messages", range, ROWS_MAX);
  for (const { id, _id: messageId, _creationTime: order } of rows) {
    if ((await supersededBy(documents, id)) !== undefined) continue;
    await enqueue(documents, indexName, id, { messageId, order });
  }
  return hasMore ? rows.at(-1)?._creationTime : undefined;
}

async function enqueueKept(
  documents: FollowedDocuments,
  { indexName }: Binding,
  before: number,
): Promise<number | undefined> {
  const upto = (await vectorsGoneUpTo(documents, indexName)) ?? 0;
  const range = { index: "by_index", equals: [indexName], descending: true, lte: before, gt: upto };
  const { rows, hasMore } = await documents.some("memory_kept_texts", range, ROWS_MAX);
  for (const { id } of rows) await enqueue(documents, indexName, id);
  return hasMore ? rows.at(-1)?._creationTime : undefined;
}
