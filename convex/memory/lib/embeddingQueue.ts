/**
 * What waits to be embedded, and the indexes whose vectors the server makes from texts.
 *
 * Such an index is *bound* to an embedder: its vectors mean nothing to another. One bound index
 * holds the vectors of messages. A row of the queue is one text whose vector is missing or out of
 * date; its ticket is new whenever the text changes, so that a vector made of an older text is
 * known by its ticket and dropped. As `convex_memory/embedded/embedding_queue.py`.
 */
import type { Doc, Id } from "../../_generated/dataModel";
import type { Documents } from "../../lib/documents";
import { READ_BYTES_MAX } from "../../lib/limits";
import { countOf, keys } from "./counts";
import type { FollowedDocuments } from "./followed";
import { dueMessages } from "./notes";
import { vectorsGoneUpTo } from "./removals";

/** An index and the embedder that made its vectors. */
export type Binding = Doc<"memory_bound_indexes">;
/** One text that waits. */
export type Waiting = Doc<"memory_embedding_queue">;

type Vector = Doc<"mastra_vectors">;

/** Indexes of messages that are being emptied; each is another dimension. */
const RETIRED_MAX = 32;
/** Indexes of one embedder that one call looks at. */
const BOUND_MAX = 200;
/** Waiting texts that are looked at to count those of one resource. */
const COUNTED_MAX = 250;
const COUNTED_BYTES_MAX = READ_BYTES_MAX >> 1;

// --- Bindings

/** What an index is bound to, or null when its vectors come from callers. */
export async function bindingOf(documents: Documents, indexName: string): Promise<Binding | null> {
  return await documents.remembered(`bound ${indexName}`, () =>
    documents.first("memory_bound_indexes", { index: "by_index", equals: [indexName] }),
  );
}

/** The index of the vectors of messages, or null when there is none. */
export async function messageBinding(documents: Documents): Promise<Binding | null> {
  return await documents.remembered("bound for messages", () =>
    documents.first("memory_bound_indexes", { index: "by_use", equals: ["messages"] }),
  );
}

/** The indexes that held vectors of messages before, and may still. */
export async function retiredBindings(documents: Documents): Promise<Binding[]> {
  return await documents.remembered("bound before", () => {
    const range = { index: "by_use", equals: ["retired"] };
    return documents.take("memory_bound_indexes", range, RETIRED_MAX);
  });
}

/** The indexes of an embedder. */
export async function bindingsOf(documents: Documents, embedder: string): Promise<Binding[]> {
  const range = { index: "by_embedder", equals: [embedder] };
  return await documents.take("memory_bound_indexes", range, BOUND_MAX);
}

/** Up to which `_creationTime` an earlier embedder made the vectors of an index. */
export async function staleUpTo(documents: Documents, indexName: string): Promise<number> {
  return (await bindingOf(documents, indexName))?.after ?? 0;
}

/**
 * Bind an index; an index of messages takes the place of the one there was.
 *
 * Vectors that the index already holds are those of another embedder from now on.
 */
export async function bind(
  documents: FollowedDocuments,
  to: Pick<Binding, "indexName" | "embedder" | "dimension" | "use">,
): Promise<Binding> {
  const before = to.use === "messages" ? await messageBinding(documents) : null;
  if (before !== null) await documents.patch("memory_bound_indexes", before, { use: "retired" });
  const newest = { index: "by_index", equals: [to.indexName], descending: true };
  const after = (await documents.first("mastra_vectors", newest))?._creationTime ?? 0;
  const range = { index: "by_index", equals: [to.indexName] };
  const found = await documents.first("memory_bound_indexes", range);
  await documents.upsert("memory_bound_indexes", { ...to, after }, found);
  documents.forget();
  const bound = await bindingOf(documents, to.indexName);
  if (bound === null) throw new Error("An index just bound is there.");
  return bound;
}

/** Forget that an index is bound; its texts and what waits for it go with its vectors. */
export async function unbind(documents: FollowedDocuments, binding: Binding): Promise<void> {
  await documents.delete("memory_bound_indexes", binding);
  documents.forget();
}

// --- The queue

/** Have a text embedded; whatever waits under this id is out of date. */
export async function enqueue(
  documents: FollowedDocuments,
  indexName: string,
  id: string,
  message?: { readonly messageId: Id<"mastra_messages">; readonly order?: number },
): Promise<void> {
  await dequeue(documents, indexName, id);
  await documents.insert("memory_embedding_queue", {
    indexName,
    id,
    messageId: message?.messageId,
    ticket: Math.floor(Math.random() * Number.MAX_SAFE_INTEGER),
    claimedUntil: 0,
    order: message?.order ?? Date.now(),
  });
}

/** Take a text out of the queue. */
export async function dequeue(
  documents: FollowedDocuments,
  indexName: string,
  id: string,
): Promise<void> {
  const row = await waitingRow(documents, indexName, id);
  if (row !== null) await documents.delete("memory_embedding_queue", row);
}

/** What waits under an id, or null when its vector is there. */
export async function waitingRow(
  documents: Documents,
  indexName: string,
  id: string,
): Promise<Waiting | null> {
  const range = { index: "by_index_id", equals: [indexName, id] };
  const row = await documents.first("memory_embedding_queue", range);
  const upto = row === null ? undefined : await vectorsGoneUpTo(documents, indexName);
  return row !== null && upto !== undefined && row._creationTime <= upto ? null : row;
}

/** How many texts of an index wait, without those of messages that have expired. */
export async function countWaiting(documents: Documents, indexName: string): Promise<number> {
  let count = await countOf(documents, keys.waitingIn(indexName));
  for (const id of await dueMessages(documents)) {
    const row = await waitingRow(documents, indexName, id);
    if (row?.messageId !== undefined) count -= 1;
  }
  return count;
}

/** How many messages of a resource wait, among the newest `COUNTED_MAX` of an index that do. */
export async function countWaitingOf(
  documents: Documents,
  indexName: string,
  resourceId: string,
): Promise<number> {
  const range = { index: "by_claim", equals: [indexName], descending: true };
  const expired = new Set(await dueMessages(documents));
  const start = documents.bytesRead;
  let count = 0;
  for (const { messageId } of await documents.take("memory_embedding_queue", range, COUNTED_MAX)) {
    if (documents.bytesRead - start > COUNTED_BYTES_MAX) break;
    const message = messageId && (await documents.get("mastra_messages", messageId));
    if (message?.resourceId === resourceId && !expired.has(message.id)) count += 1;
  }
  return count;
}

/** The row with a ticket; null when the text has another by now, or is gone. */
export async function ticketed(documents: Documents, ticket: number): Promise<Waiting | null> {
  const range = { index: "by_ticket", equals: [ticket] };
  return await documents.first("memory_embedding_queue", range);
}

/** What waits in some indexes and nobody has claimed, the newest first. */
export async function* claimable(
  documents: Documents,
  bindings: readonly Binding[],
): AsyncGenerator<Waiting> {
  const now = Date.now();
  const free = bindings.map(({ indexName }) => ({ index: "by_claim", equals: [indexName, 0] }));
  const expired = bindings.map(({ indexName }) => ({ index: "by_claim", equals: [indexName] }));
  // What is saved while this reads has a later time, so that the two do not meet; what is left,
  // under a clock that differs, is looked for only where that is not enough.
  const ranges = [
    ...free.map((range) => ({ ...range, lte: now })),
    ...expired.map((range) => ({ ...range, gt: 0, lte: now })),
  ];
  yield* newestFirst(ranges.map((range) => waitingIn(documents, range)));
  yield* newestFirst(free.map((range) => waitingIn(documents, { ...range, gt: now })));
}

async function* waitingIn(
  documents: Documents,
  range: { index: string; equals: (string | number)[]; gt?: number; lte?: number },
): AsyncGenerator<Waiting> {
  const rows = documents.scan("memory_embedding_queue", { ...range, descending: true });
  for await (const row of rows) {
    const upto = await vectorsGoneUpTo(documents, row.indexName);
    if (upto === undefined || row._creationTime > upto) yield row;
  }
}

/** Some sequences, each newest first, as one. */
async function* newestFirst(sequences: AsyncGenerator<Waiting>[]): AsyncGenerator<Waiting> {
  const heads: { row: Waiting; rest: AsyncGenerator<Waiting> }[] = [];
  const advance = async (rest: AsyncGenerator<Waiting>): Promise<void> => {
    const next = await rest.next();
    if (next.done !== true) heads.push({ row: next.value, rest });
  };
  for (const sequence of sequences) await advance(sequence);
  while (heads.length > 0) {
    const at = heads.reduce((best, head, place) => (isNewer(head, heads[best]!) ? place : best), 0);
    const [{ row, rest }] = heads.splice(at, 1) as [(typeof heads)[number]];
    yield row;
    await advance(rest);
  }
}

function isNewer({ row }: { row: Waiting }, { row: other }: { row: Waiting }): boolean {
  if (row.order !== other.order) return row.order > other.order;
  return row._creationTime > other._creationTime;
}

// --- Kept texts

/** Keep the text a vector is made from, in place of the one before. */
export async function keepText(
  documents: FollowedDocuments,
  indexName: string,
  id: string,
  text: string,
): Promise<void> {
  const found = await documents.first("memory_kept_texts", keptRange(indexName, id));
  await documents.upsert("memory_kept_texts", { indexName, id, text }, found);
}

/** The text a vector was made from, or undefined. */
export async function keptText(
  documents: Documents,
  indexName: string,
  id: string,
): Promise<string | undefined> {
  const row = await documents.first("memory_kept_texts", keptRange(indexName, id));
  const upto = row === null ? undefined : await vectorsGoneUpTo(documents, indexName);
  return row === null || (upto !== undefined && row._creationTime <= upto) ? undefined : row.text;
}

/** Forget the text of a vector that is gone, or was replaced by one of other origin. */
export async function forgetText(
  documents: FollowedDocuments,
  indexName: string,
  id: string,
): Promise<void> {
  const row = await documents.first("memory_kept_texts", keptRange(indexName, id));
  if (row !== null) await documents.delete("memory_kept_texts", row);
  await dequeue(documents, indexName, id);
}

function keptRange(indexName: string, id: string) {
  return { index: "by_index_id", equals: [indexName, id] };
}

/** Forget the text of a vector that was deleted, or replaced by one of other origin. */
export async function followVector(
  documents: FollowedDocuments,
  before: Vector,
  after?: Vector,
): Promise<void> {
  if (after !== undefined && isSameVector(before.embedding, after.embedding)) return;
  const bound = await bindingOf(documents, before.indexName);
  if (bound?.use === "texts") await forgetText(documents, before.indexName, before.id);
}

function isSameVector(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((each, at) => each === right[at]);
}
